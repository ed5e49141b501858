-- In which of the model's precisions a vector was made: "fp32", "int8", …
-- Vectors of one model compare across its precisions, so this refuses no search; it tells
-- `index --reembed` which ones another precision has still to make. Null in vectors that are older
-- than this column.
alter table embeddings add column precision text;

-- What everyday words come to in a model's space: hits are judged beside it ("calibrated").
-- It can be made again from the model alone; it is kept because that takes a second.
create table backgrounds (
    model integer primary key,
    -- Of the words: those of another version of the program are embedded anew.
    words_sha256 blob not null,
    -- The mean of the words' unit vectors: f32, little endian, as many as the model's dimension.
    mean blob not null,
    constraint backgrounds_model foreign key (model) references models (id) on delete cascade,
    constraint backgrounds_sha256_length check (length(words_sha256) = 32)
) strict;

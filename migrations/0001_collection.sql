-- The collection: pictures, where they lie, and what the models made of them.
-- This is the truth; every index is rebuilt from it.

-- A picture is its content: identical files are one picture with several places.
create table pictures (
    -- Autoincrement, so that the id of a removed picture never comes to mean another one.
    id integer primary key autoincrement,
    -- Identity of the content, over the bytes of the file as they are.
    sha256 blob not null,
    -- Upright, that is after the orientation that the camera noted: a page can lay out before loading.
    width integer not null,
    height integer not null,
    -- What the bytes are ("jpeg", "png", …), whatever the file's name says.
    format text not null,
    size_bytes integer not null,
    -- RFC 3339, UTC.
    added_at text not null,
    -- When a person deleted it. The row stays, without embeddings, so that the next index of its folder
    -- neither reads the file again nor brings it back.
    hidden_at text,
    constraint pictures_content_once unique (sha256),
    constraint pictures_sha256_length check (length(sha256) = 32),
    constraint pictures_have_pixels check (width > 0 and height > 0)
) strict;

-- A place is a path of the owner's; the file there is never touched.
create table places (
    id integer primary key,
    picture integer not null,
    -- The bytes of the path exactly as the system has them: a name need not be UTF-8.
    path blob not null,
    -- The same to show and to search in; what is not UTF-8 stands replaced.
    path_text text not null,
    -- With these two unchanged the file counts as known and is not read again.
    size_bytes integer not null,
    modified_ns integer not null,
    constraint places_path_once unique (path),
    constraint places_picture foreign key (picture) references pictures (id) on delete cascade
) strict;

create index places_by_picture on places (picture);

-- An upload has no place of its own: its original lies in the data folder under its content hash.
create table uploads (
    picture integer primary key,
    -- The file name that the client gave, to show; never a path to open.
    name text not null,
    uploaded_at text not null,
    constraint uploads_picture foreign key (picture) references pictures (id) on delete cascade
) strict;

create table models (
    id integer primary key,
    -- The id of the bundle's manifest.
    model_id text not null,
    dimension integer not null,
    -- 1 for the model that searches use. Another one may be embedding beside it and takes over at the end.
    is_current integer not null default 0,
    constraint models_id_once unique (model_id),
    constraint models_dimension_positive check (dimension > 0),
    constraint models_current_is_bool check (is_current in (0, 1))
) strict;

create unique index models_one_current on models (is_current) where is_current = 1;

create table embeddings (
    model integer not null,
    picture integer not null,
    -- f32, little endian, unit length, as many as the model's dimension.
    vector blob not null,
    constraint embeddings_once primary key (model, picture),
    constraint embeddings_model foreign key (model) references models (id) on delete cascade,
    constraint embeddings_picture foreign key (picture) references pictures (id) on delete cascade
) strict;

-- Removing a picture must not scan every vector.
create index embeddings_by_picture on embeddings (picture);

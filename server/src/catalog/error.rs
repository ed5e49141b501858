//! What can go wrong with the collection on disk, as far as a caller can tell it apart.
use std::path::PathBuf;

/// A failure of the catalog or of the data folder around it.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A reader came before anything was indexed.
    #[error("no collection in {}; run clipsight index DIR first, or give its --data", folder.display())]
    Missing {
        /// The data folder that was asked for.
        folder: PathBuf,
    },
    /// Another writer holds the data folder.
    #[error("data folder {} is in use by {holder}; wait for it, stop it, or give another --data", folder.display())]
    Locked {
        /// The data folder.
        folder: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// A file or folder of the data folder could not be made, opened or written.
    #[error("could not {doing} {}", path.display())]
    File {
        /// The verb: "create", "lock", …
        doing: &'static str,
        /// What it was about.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The catalog's bytes are not what was written. Nothing was changed.
    #[error("catalog {} is damaged and was left as it is; restore a copy of it, or move it away and index again", path.display())]
    Damaged {
        /// The catalog file.
        path: PathBuf,
        /// What was noticed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The catalog has migrations that this program does not know.
    #[error("catalog {} was written by a newer clipsight; update this one", path.display())]
    Newer {
        /// The catalog file.
        path: PathBuf,
    },
    /// The catalog lacks migrations, and a reader must not write.
    #[error("catalog {} was written by an older clipsight; run clipsight index or serve once to bring it up to date", path.display())]
    Older {
        /// The catalog file.
        path: PathBuf,
    },
    /// The collection's vectors come from another model.
    #[error(
        "the collection was embedded by model {collection} ({collection_dim} dimensions), not by {given} ({given_dim}); \
         give --model the one that fits, or run clipsight index --reembed"
    )]
    OtherModel {
        /// Id of the collection's model.
        collection: String,
        /// Its dimension.
        collection_dim: usize,
        /// Id of the model that was opened.
        given: String,
        /// Its dimension.
        given_dim: usize,
    },
    /// The disk, or a limit on the file, leaves no room.
    #[error(
        "no room left to {doing}; free some space and run it again, nothing stored so far is lost"
    )]
    NoRoom {
        /// What was being written.
        doing: &'static str,
        /// SQLite's words.
        source: sqlx::Error,
    },
    /// Any other answer of the database.
    #[error("could not {doing}")]
    Sql {
        /// What was asked of it.
        doing: &'static str,
        /// SQLite's words.
        source: sqlx::Error,
    },
}

/// SQLite's primary result codes (the low byte) that a caller can act on.
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_NOTADB: i32 = 26;
/// Extended code of a failed write, which is what a limit on the file's size gives.
const SQLITE_IOERR_WRITE: i32 = 778;

impl CatalogError {
    /// Sorts an error of the database at `path` into what can be told apart.
    pub(super) fn sql(doing: &'static str, path: &std::path::Path, source: sqlx::Error) -> Self {
        let code = code(&source);
        match code.map(|c| c & 0xff) {
            Some(SQLITE_CORRUPT | SQLITE_NOTADB) => {
                Self::Damaged { path: path.to_owned(), source: Box::new(source) }
            }
            Some(SQLITE_FULL) => Self::NoRoom { doing, source },
            _ if code == Some(SQLITE_IOERR_WRITE) => Self::NoRoom { doing, source },
            _ => Self::Sql { doing, source },
        }
    }
}

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

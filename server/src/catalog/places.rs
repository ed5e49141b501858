//! Places: which files are known already, and which have gone.
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clip::ModelId;

use super::{CatalogError, ContentHash, PictureId, Reader, Writer, path_bytes, path_from};

/// A file as it was when it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownPlace {
    /// Its length in bytes.
    pub size_bytes: u64,
    /// The time of its last change, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Nothing is left to do for its picture: the model has embedded it, or a person deleted it.
    pub settled: bool,
}

impl KnownPlace {
    /// Whether the file is still as it was.
    pub(crate) fn is(&self, now: &super::Place) -> bool {
        self.size_bytes == now.size_bytes && self.modified_ns == now.modified_ns
    }
}

/// A picture that no file holds any more; it is gone from the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vanished {
    /// What its id was.
    pub id: PictureId,
    /// Its content, under which its thumbnails lie.
    pub hash: ContentHash,
}

impl Reader {
    /// Every known place that is `root` or lies below it, with the state of its picture under `model`.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn known_places(
        &self,
        root: &Path,
        model: &ModelId,
    ) -> Result<HashMap<PathBuf, KnownPlace>, CatalogError> {
        let (from, to) = range_below(root);
        let rows: Vec<(Vec<u8>, i64, i64, bool)> = sqlx::query_as(
            "select l.path, l.size_bytes, l.modified_ns, p.hidden_at is not null or exists \
                (select 1 from embeddings e join models m on m.id = e.model \
                 where e.picture = p.id and m.model_id = ?) \
             from places l join pictures p on p.id = l.picture \
             where l.path = ? or (l.path >= ? and l.path < ?)",
        )
        .bind(&model.0)
        .bind(path_bytes(root))
        .bind(from)
        .bind(to)
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.sql("read known places", e))?;
        let known = |(path, size, modified_ns, settled): (Vec<u8>, i64, i64, bool)| {
            let size_bytes = size.cast_unsigned();
            (path_from(&path), KnownPlace { size_bytes, modified_ns, settled })
        };
        Ok(rows.into_iter().map(known).collect())
    }
}

impl Writer {
    /// Forgets places, then removes the pictures that are left without any, hidden ones excepted.
    ///
    /// # Errors
    /// What the database refuses; then nothing has changed.
    pub async fn forget_places(&self, gone: &[PathBuf]) -> Result<Vec<Vanished>, CatalogError> {
        const DOING: &str = "remove places";
        let mut tx = self.begin(DOING).await?;
        for path in gone {
            sqlx::query("delete from places where path = ?")
                .bind(path_bytes(path))
                .execute(&mut *tx)
                .await
                .map_err(|e| self.sql(DOING, e))?;
        }
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "delete from pictures where hidden_at is null \
                and not exists (select 1 from places where picture = pictures.id) \
                and not exists (select 1 from uploads where picture = pictures.id) \
             returning id, sha256",
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(|e| self.sql(DOING, e))?;
        tx.commit().await.map_err(|e| self.sql(DOING, e))?;
        rows.iter()
            .map(|(id, sha256)| {
                Ok(Vanished { id: PictureId(*id), hash: self.reader.hash(sha256)? })
            })
            .collect()
    }
}

/// The half-open range of path bytes below a folder: "/a/" to "/a0", as '0' follows '/'.
fn range_below(root: &Path) -> (Vec<u8>, Vec<u8>) {
    let mut from = path_bytes(root).to_vec();
    while from.last() == Some(&b'/') {
        from.pop();
    }
    let mut to = from.clone();
    from.push(b'/');
    to.push(b'/' + 1);
    (from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_a_folder_is_neither_its_sibling_nor_its_namesake() {
        for (root, path, below) in [
            ("/a", "/a/b.jpg", true),
            ("/a/", "/a/b/c.jpg", true),
            ("/", "/b.jpg", true),
            ("/a", "/a.jpg", false),
            ("/a", "/ab/c.jpg", false),
            ("/a", "/b/a/c.jpg", false),
        ] {
            let (from, to) = range_below(Path::new(root));
            let bytes = path.as_bytes();
            assert_eq!(bytes >= &from[..] && bytes < &to[..], below, "{root} {path}");
        }
    }
}

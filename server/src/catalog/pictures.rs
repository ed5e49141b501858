//! Questions about pictures. A hidden picture is no picture to any of them.
use std::collections::HashMap;
use std::path::PathBuf;

use clip::ModelId;

use super::{CatalogError, ContentHash, PictureId, Place, Reader, path_from};

/// What a hit shows of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The picture.
    pub id: PictureId,
    /// Its first place, absolute; the file name of an upload that lies nowhere else. Shown lossily.
    pub path: String,
    /// Upright width in pixels.
    pub width: u32,
    /// Upright height in pixels.
    pub height: u32,
}

/// All that is known of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What a hit shows.
    pub summary: Summary,
    /// Identity of the content.
    pub hash: ContentHash,
    /// What the bytes are: "jpeg", "png", …
    pub format: String,
    /// Length of the file in bytes.
    pub size_bytes: u64,
    /// When it came, RFC 3339.
    pub added_at: String,
    /// Where it lies, in the order of discovery.
    pub places: Vec<Place>,
    /// The file name that a client gave; then the original is in the data folder.
    pub upload: Option<String>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Pictures that can be found.
    pub pictures: u64,
    /// Of these, the ones that the current model has embedded.
    pub embedded: u64,
    /// Files of the owner's.
    pub places: u64,
    /// Pictures that were uploaded.
    pub uploads: u64,
    /// Pictures that somebody deleted.
    pub hidden: u64,
}

/// What is known of a content before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The picture.
    pub(crate) id: PictureId,
    /// Deleted by the user.
    pub(crate) hidden: bool,
    /// The model in question has embedded it.
    pub(crate) embedded: bool,
}

/// Hash, format, size in bytes, when it was added, and the name of its upload.
type PictureRow = (Vec<u8>, String, i64, String, Option<String>);

type SummaryRow = (i64, Option<String>, u32, u32);

impl Reader {
    /// Summaries of `ids` in their order; what is hidden or gone is left out.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn summaries(&self, ids: &[PictureId]) -> Result<Vec<Summary>, CatalogError> {
        let list = json_list(ids);
        let rows: Vec<SummaryRow> = sqlx::query_as(
            "select p.id, coalesce( \
                 (select path_text from places where picture = p.id order by id limit 1), \
                 (select name from uploads where picture = p.id)), p.width, p.height \
             from pictures p where p.hidden_at is null and p.id in (select value from json_each(?))",
        )
        .bind(list)
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.sql("read pictures", e))?;
        let mut found: HashMap<i64, Summary> =
            rows.into_iter().filter_map(|row| Some((row.0, summary(row)?))).collect();
        Ok(ids.iter().filter_map(|id| found.remove(&id.0)).collect())
    }

    /// One picture with all its places; none if it is hidden or gone.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn get(&self, id: PictureId) -> Result<Option<Picture>, CatalogError> {
        let Some(summary) = self.summaries(&[id]).await?.pop() else { return Ok(None) };
        let row: Option<PictureRow> = sqlx::query_as(
            "select sha256, format, size_bytes, added_at, \
                (select name from uploads where picture = pictures.id) as upload \
             from pictures where id = ? and hidden_at is null",
        )
        .bind(id.0)
        .fetch_optional(&self.pool)
        .await
        .map_err(|e| self.sql("read a picture", e))?;
        let Some((sha256, format, size_bytes, added_at, upload)) = row else { return Ok(None) };
        let places = self.places_of(id).await?;
        let hash = self.hash(&sha256)?;
        let size_bytes = size_bytes.cast_unsigned();
        Ok(Some(Picture { summary, hash, format, size_bytes, added_at, places, upload }))
    }

    async fn places_of(&self, id: PictureId) -> Result<Vec<Place>, CatalogError> {
        let rows: Vec<(Vec<u8>, i64, i64)> = sqlx::query_as(
            "select path, size_bytes, modified_ns from places where picture = ? order by id",
        )
        .bind(id.0)
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.sql("read the places of a picture", e))?;
        let place = |(path, size, modified_ns): (Vec<u8>, i64, i64)| Place {
            path: path_from(&path),
            size_bytes: size.cast_unsigned(),
            modified_ns,
        };
        Ok(rows.into_iter().map(place).collect())
    }

    /// The picture with this content, hidden or not.
    pub(crate) async fn find(
        &self,
        hash: &ContentHash,
        model: &ModelId,
    ) -> Result<Option<Known>, CatalogError> {
        let row: Option<(i64, bool, bool)> = sqlx::query_as(
            "select p.id, p.hidden_at is not null, exists (select 1 from embeddings e \
                 join models m on m.id = e.model where e.picture = p.id and m.model_id = ?) \
             from pictures p where p.sha256 = ?",
        )
        .bind(&model.0)
        .bind(hash.0.as_slice())
        .fetch_optional(&self.pool)
        .await
        .map_err(|e| self.sql("look for a picture by its content", e))?;
        Ok(row.map(|(id, hidden, embedded)| Known { id: PictureId(id), hidden, embedded }))
    }

    /// Pictures that can be found and that `model` has not embedded in this precision yet.
    pub(crate) async fn not_embedded(
        &self,
        model: &ModelId,
        precision: &str,
    ) -> Result<Vec<PictureId>, CatalogError> {
        let ids: Vec<i64> = sqlx::query_scalar(
            "select p.id from pictures p where p.hidden_at is null and not exists \
                (select 1 from embeddings e join models m on m.id = e.model \
                 where e.picture = p.id and m.model_id = ? and e.precision = ?) order by p.id",
        )
        .bind(&model.0)
        .bind(precision)
        .fetch_all(&self.pool)
        .await
        .map_err(|e| self.sql("look for pictures without an embedding", e))?;
        Ok(ids.into_iter().map(PictureId).collect())
    }

    /// How much there is.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn counts(&self) -> Result<Counts, CatalogError> {
        let row: (i64, i64, i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from pictures where hidden_at is null), \
                (select count(*) from embeddings where model = (select id from models where is_current = 1)), \
                (select count(*) from places join pictures p on p.id = picture where hidden_at is null), \
                (select count(*) from uploads), \
                (select count(*) from pictures where hidden_at is not null)",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|e| self.sql("count pictures", e))?;
        let [pictures, embedded, places, uploads, hidden] =
            [row.0, row.1, row.2, row.3, row.4].map(i64::cast_unsigned);
        Ok(Counts { pictures, embedded, places, uploads, hidden })
    }

    pub(super) fn hash(&self, bytes: &[u8]) -> Result<ContentHash, CatalogError> {
        bytes.try_into().map(ContentHash).map_err(|_| CatalogError::Damaged {
            path: self.path.to_path_buf(),
            source: "a content hash is not 32 bytes long".into(),
        })
    }
}

/// A picture without a place or an upload is about to be removed and shows no more.
fn summary((id, path, width, height): SummaryRow) -> Option<Summary> {
    Some(Summary { id: PictureId(id), path: path?, width, height })
}

/// Ids as a JSON array: one bound value however many there are.
fn json_list(ids: &[PictureId]) -> String {
    let ids: Vec<String> = ids.iter().map(PictureId::to_string).collect();
    format!("[{}]", ids.join(","))
}

impl Picture {
    /// Paths of the owner's files, in the order of discovery.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.places.iter().map(|place| &place.path)
    }
}

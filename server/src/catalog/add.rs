//! Adding pictures: content, place and vector in one transaction, so that a kill leaves all or none.
use clip::{Embedding, ModelId};
use sqlx::sqlite::SqliteConnection;

use super::{CatalogError, ContentHash, PictureId, Place, Writer, now, path_bytes};

/// Where a picture comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file of the owner's.
    Place(Place),
    /// An upload under this file name; its bytes lie in the data folder. It brings back what was deleted.
    Upload(String),
}

/// A picture that has been read, decoded and embedded.
#[derive(Clone, Debug)]
pub struct NewPicture {
    /// Identity of the content.
    pub hash: ContentHash,
    /// Upright width in pixels.
    pub width: u32,
    /// Upright height in pixels.
    pub height: u32,
    /// What the bytes are: "jpeg", "png", …
    pub format: &'static str,
    /// Length of the file in bytes.
    pub size_bytes: u64,
    /// Where it comes from.
    pub origin: Origin,
    /// What the model makes of it.
    pub embedding: Embedding,
}

/// What adding came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was embedded and can be found.
    Indexed,
    /// The content was there already, or a person had deleted it.
    Unchanged,
}

/// The picture that an addition came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Added {
    /// Its id.
    pub id: PictureId,
    /// New or not.
    pub status: Status,
}

const DOING: &str = "store pictures";

impl Writer {
    /// Stores pictures with their embeddings by `model`, made in its `precision`, all or none; one
    /// answer each, in their order. What was made in another precision is replaced.
    /// `model` must have been made known with [`Writer::use_model`] or [`Writer::add_model`].
    ///
    /// # Errors
    /// [`CatalogError::NoRoom`] and whatever else the database refuses; then nothing has changed.
    pub async fn add(
        &self,
        model: &ModelId,
        precision: &str,
        pictures: &[NewPicture],
    ) -> Result<Vec<Added>, CatalogError> {
        let mut tx = self.begin(DOING).await?;
        let model: i64 = sqlx::query_scalar("select id from models where model_id = ?")
            .bind(&model.0)
            .fetch_one(&mut *tx)
            .await
            .map_err(|e| self.sql(DOING, e))?;
        let mut added = Vec::with_capacity(pictures.len());
        for picture in pictures {
            let one = add_one(&mut tx, (model, precision), picture)
                .await
                .map_err(|e| self.sql(DOING, e))?;
            added.push(one);
        }
        tx.commit().await.map_err(|e| self.sql(DOING, e))?;
        Ok(added)
    }

    /// Notes that the content of known pictures lies at further places, all or none.
    ///
    /// # Errors
    /// As [`Writer::add`].
    pub async fn add_places(&self, links: &[(PictureId, Place)]) -> Result<(), CatalogError> {
        let mut tx = self.begin(DOING).await?;
        for (picture, place) in links {
            add_place(&mut tx, *picture, place).await.map_err(|e| self.sql(DOING, e))?;
        }
        tx.commit().await.map_err(|e| self.sql(DOING, e))
    }

    /// Notes that a known picture, not hidden, was uploaded too.
    ///
    /// # Errors
    /// As [`Writer::add`].
    pub async fn add_upload(&self, picture: PictureId, name: &str) -> Result<(), CatalogError> {
        let mut tx = self.begin(DOING).await?;
        add_upload(&mut tx, picture, name).await.map_err(|e| self.sql(DOING, e))?;
        tx.commit().await.map_err(|e| self.sql(DOING, e))
    }
}

async fn add_one(
    tx: &mut SqliteConnection,
    (model, precision): (i64, &str),
    picture: &NewPicture,
) -> Result<Added, sqlx::Error> {
    let id = add_content(tx, picture).await?;
    match &picture.origin {
        Origin::Place(place) => add_place(tx, id, place).await?,
        Origin::Upload(name) => add_upload(tx, id, name).await?,
    }
    // A deleted picture stays without a vector until an upload has brought it back.
    let fresh = sqlx::query(
        "insert into embeddings (model, picture, vector, precision) \
         select ?, id, ?, ? from pictures where id = ? and hidden_at is null \
         on conflict do update set vector = excluded.vector, precision = excluded.precision \
         where embeddings.precision is not excluded.precision",
    )
    .bind(model)
    .bind(picture.embedding.to_le_bytes())
    .bind(precision)
    .bind(id.0)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    let status = if fresh == 1 { Status::Indexed } else { Status::Unchanged };
    Ok(Added { id, status })
}

/// The row of a content, made where there is none.
async fn add_content(
    tx: &mut SqliteConnection,
    picture: &NewPicture,
) -> Result<PictureId, sqlx::Error> {
    sqlx::query(
        "insert into pictures (sha256, width, height, format, size_bytes, added_at) \
         values (?, ?, ?, ?, ?, ?) on conflict (sha256) do nothing",
    )
    .bind(picture.hash.0.as_slice())
    .bind(picture.width)
    .bind(picture.height)
    .bind(picture.format)
    .bind(picture.size_bytes.cast_signed())
    .bind(now())
    .execute(&mut *tx)
    .await?;
    let id = sqlx::query_scalar("select id from pictures where sha256 = ?")
        .bind(picture.hash.0.as_slice())
        .fetch_one(&mut *tx)
        .await?;
    Ok(PictureId(id))
}

async fn add_place(
    tx: &mut SqliteConnection,
    id: PictureId,
    place: &Place,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into places (picture, path, path_text, size_bytes, modified_ns) \
         values (?, ?, ?, ?, ?) on conflict (path) do update set picture = excluded.picture, \
         size_bytes = excluded.size_bytes, modified_ns = excluded.modified_ns",
    )
    .bind(id.0)
    .bind(path_bytes(&place.path))
    .bind(place.path.to_string_lossy().as_ref())
    .bind(place.size_bytes.cast_signed())
    .bind(place.modified_ns)
    .execute(tx)
    .await?;
    Ok(())
}

async fn add_upload(
    tx: &mut SqliteConnection,
    id: PictureId,
    name: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("update pictures set hidden_at = null where id = ?")
        .bind(id.0)
        .execute(&mut *tx)
        .await?;
    sqlx::query(
        "insert into uploads (picture, name, uploaded_at) values (?, ?, ?) on conflict do nothing",
    )
    .bind(id.0)
    .bind(name)
    .bind(now())
    .execute(tx)
    .await?;
    Ok(())
}

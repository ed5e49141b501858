//! The vectors of a model, for whoever builds an index of them.
use clip::{Embedding, ModelId};

use super::{CatalogError, PictureId, Reader};

/// Rows read at a time: some megabytes, whatever the size of the collection.
const PAGE: i64 = 4096;

impl Reader {
    /// Hands every embedding by `model` to `each`, in the order of the pictures' ids.
    ///
    /// # Errors
    /// [`CatalogError::Damaged`] for a stored vector that is not a unit vector of the model's dimension.
    pub async fn for_each_embedding(
        &self,
        model: &ModelId,
        mut each: impl FnMut(PictureId, Embedding),
    ) -> Result<(), CatalogError> {
        let Some((key, dim)) = self.model_row(model).await? else { return Ok(()) };
        let mut after = 0;
        loop {
            let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
                "select picture, vector from embeddings where model = ? and picture > ? \
                 order by picture limit ?",
            )
            .bind(key)
            .bind(after)
            .bind(PAGE)
            .fetch_all(&self.pool)
            .await
            .map_err(|e| self.sql("read embeddings", e))?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = *last;
            for (picture, bytes) in rows {
                each(PictureId(picture), self.vector(&bytes, dim)?);
            }
        }
    }

    /// The embedding of one picture by `model`; none for a picture that is hidden or not there.
    ///
    /// # Errors
    /// As [`Reader::for_each_embedding`].
    pub async fn embedding(
        &self,
        picture: PictureId,
        model: &ModelId,
    ) -> Result<Option<Embedding>, CatalogError> {
        let Some((key, dim)) = self.model_row(model).await? else { return Ok(None) };
        let bytes: Option<Vec<u8>> =
            sqlx::query_scalar("select vector from embeddings where model = ? and picture = ?")
                .bind(key)
                .bind(picture.0)
                .fetch_optional(&self.pool)
                .await
                .map_err(|e| self.sql("read an embedding", e))?;
        bytes.map(|bytes| self.vector(&bytes, dim)).transpose()
    }

    /// The row of a model and the dimension of its vectors.
    async fn model_row(&self, model: &ModelId) -> Result<Option<(i64, usize)>, CatalogError> {
        let row: Option<(i64, i64)> =
            sqlx::query_as("select id, dimension from models where model_id = ?")
                .bind(&model.0)
                .fetch_optional(&self.pool)
                .await
                .map_err(|e| self.sql("look for the model", e))?;
        Ok(row.map(|(key, dim)| (key, dim as usize)))
    }

    fn vector(&self, bytes: &[u8], dim: usize) -> Result<Embedding, CatalogError> {
        let damaged = |source| CatalogError::Damaged { path: self.path.to_path_buf(), source };
        let vector = Embedding::from_le_bytes(bytes).map_err(|e| damaged(Box::new(e)))?;
        if vector.dim() != dim {
            let words = format!("a vector of {} dimensions among those of {dim}", vector.dim());
            return Err(damaged(words.into()));
        }
        Ok(vector)
    }
}

//! What everyday words come to in a model's space, kept beside its vectors.
use clip::ModelId;

use super::{CatalogError, Reader, Writer};

/// The mean of the embeddings of some words; shorter than one, since they point apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Background {
    /// The sha-256 of the words.
    pub words: [u8; 32],
    /// As many numbers as the model's embeddings have.
    pub mean: Vec<f32>,
}

impl Reader {
    /// The mean of just these words by `model`; none where it was not kept, or that of other words.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn background(
        &self,
        model: &ModelId,
        words: [u8; 32],
    ) -> Result<Option<Background>, CatalogError> {
        let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
            "select mean, dimension from backgrounds join models on models.id = model \
             where model_id = ? and words_sha256 = ?",
        )
        .bind(&model.0)
        .bind(&words[..])
        .fetch_optional(&self.pool)
        .await
        .map_err(|e| self.sql("read the background of the model", e))?;
        Ok(row.and_then(|(bytes, dim)| {
            let (numbers, rest) = bytes.as_chunks::<4>();
            let mean: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            // What is damaged is made again.
            let whole = rest.is_empty() && mean.len() == dim as usize;
            (whole && mean.iter().all(|x| x.is_finite())).then_some(Background { words, mean })
        }))
    }
}

impl Writer {
    /// Keeps the background of `model` in place of an older one; a model that the collection does not
    /// know is left out.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn keep_background(
        &self,
        model: &ModelId,
        background: &Background,
    ) -> Result<(), CatalogError> {
        let bytes: Vec<u8> = background.mean.iter().flat_map(|x| x.to_le_bytes()).collect();
        sqlx::query(
            "insert or replace into backgrounds (model, words_sha256, mean) \
             select id, ?, ? from models where model_id = ?",
        )
        .bind(&background.words[..])
        .bind(bytes)
        .bind(&model.0)
        .execute(&self.pool)
        .await
        .map_err(|e| self.sql("keep the background of the model", e))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::DataFolder;

    #[tokio::test]
    async fn a_background_is_kept_for_its_model_and_its_words() {
        let temp = tempfile::tempdir().unwrap();
        let writer = Writer::open(DataFolder::new(temp.path()), "test").await.unwrap();
        let model = ModelId("m".to_owned());
        let kept = Background { words: [1; 32], mean: vec![0.25, -0.5] };
        // Before the model is known there is nothing to keep it with.
        writer.keep_background(&model, &kept).await.unwrap();
        assert_eq!(writer.reader.background(&model, [1; 32]).await.unwrap(), None);
        writer.use_model(&model, 2).await.unwrap();
        writer.keep_background(&model, &kept).await.unwrap();
        assert_eq!(writer.reader.background(&model, [1; 32]).await.unwrap(), Some(kept));
        assert_eq!(writer.reader.background(&model, [2; 32]).await.unwrap(), None);
        // Other words take its place; what is no vector of the model is as good as none.
        let other = Background { words: [2; 32], mean: vec![f32::NAN, 1.0] };
        writer.keep_background(&model, &other).await.unwrap();
        assert_eq!(writer.reader.background(&model, [1; 32]).await.unwrap(), None);
        assert_eq!(writer.reader.background(&model, [2; 32]).await.unwrap(), None);
    }
}

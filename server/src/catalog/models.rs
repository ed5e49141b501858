//! Which model made the collection's vectors: vectors of two models are never compared.
use clip::ModelId;

use super::{CatalogError, Reader, Writer};

/// The model that searches use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentModel {
    /// The id of its bundle.
    pub id: ModelId,
    /// Numbers in each of its embeddings.
    pub dim: usize,
}

impl Reader {
    /// The model of the collection; none before the first index.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn current_model(&self) -> Result<Option<CurrentModel>, CatalogError> {
        let row: Option<(String, i64)> =
            sqlx::query_as("select model_id, dimension from models where is_current = 1")
                .fetch_optional(&self.pool)
                .await
                .map_err(|e| self.sql("read the model of the collection", e))?;
        Ok(row.map(|(id, dim)| CurrentModel { id: ModelId(id), dim: dim as usize }))
    }

    /// Checks that `given` may search here: the collection is its own, or holds no vector yet.
    ///
    /// # Errors
    /// [`CatalogError::OtherModel`], which names the way out.
    pub async fn require_model(&self, given: &ModelId, dim: usize) -> Result<(), CatalogError> {
        let Some(current) = self.current_model().await? else { return Ok(()) };
        if current.id == *given && current.dim == dim {
            return Ok(());
        }
        let embedded: bool = sqlx::query_scalar(
            "select exists (select 1 from embeddings where model = \
                (select id from models where is_current = 1))",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(|e| self.sql("look for embeddings", e))?;
        if !embedded {
            return Ok(());
        }
        Err(CatalogError::OtherModel {
            collection: short(&current.id),
            collection_dim: current.dim,
            given: short(given),
            given_dim: dim,
        })
    }
}

impl Writer {
    /// Makes `given` the collection's model if it is so already or nothing is embedded yet.
    ///
    /// # Errors
    /// [`CatalogError::OtherModel`], which names the way out.
    pub async fn use_model(&self, given: &ModelId, dim: usize) -> Result<(), CatalogError> {
        self.reader.require_model(given, dim).await?;
        if self.reader.current_model().await?.is_some_and(|m| m.id == *given) {
            return Ok(());
        }
        self.add_model(given, dim).await?;
        self.switch_model(given).await
    }

    /// Lets `given` embed beside the current model, which goes on answering until
    /// [`Writer::switch_model`].
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn add_model(&self, given: &ModelId, dim: usize) -> Result<(), CatalogError> {
        sqlx::query(
            "insert into models (model_id, dimension) values (?, ?) on conflict do nothing",
        )
        .bind(&given.0)
        .bind(dim as i64)
        .execute(&self.pool)
        .await
        .map_err(|e| self.sql("note the model", e))?;
        Ok(())
    }

    /// Makes `given` the model that answers and forgets the others with their vectors, in one step.
    ///
    /// # Errors
    /// What the database refuses; then nothing has changed.
    pub async fn switch_model(&self, given: &ModelId) -> Result<(), CatalogError> {
        const DOING: &str = "switch the collection to the model";
        let mut tx = self.begin(DOING).await?;
        sqlx::query("delete from models where model_id <> ?")
            .bind(&given.0)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.sql(DOING, e))?;
        sqlx::query("update models set is_current = 1 where model_id = ?")
            .bind(&given.0)
            .execute(&mut *tx)
            .await
            .map_err(|e| self.sql(DOING, e))?;
        tx.commit().await.map_err(|e| self.sql(DOING, e))
    }
}

/// Enough of an id to tell two models apart in a sentence.
fn short(id: &ModelId) -> String {
    id.0.chars().take(12).collect()
}

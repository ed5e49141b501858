//! Deleting: a picture is gone from the next answer on and stays away when its folder is indexed again.
use super::{CatalogError, ContentHash, PictureId, Reader, Writer, now};

impl Reader {
    /// The contents of all hidden pictures: none of their bytes belong in the data folder.
    ///
    /// # Errors
    /// What the database refuses.
    pub async fn hidden(&self) -> Result<Vec<ContentHash>, CatalogError> {
        let rows: Vec<Vec<u8>> =
            sqlx::query_scalar("select sha256 from pictures where hidden_at is not null")
                .fetch_all(&self.pool)
                .await
                .map_err(|e| self.sql("read what was deleted", e))?;
        rows.iter().map(|sha256| self.hash(sha256)).collect()
    }
}

impl Writer {
    /// Hides a picture: its vectors and its upload go, its row stays. Answers its content, under which
    /// the data folder has files to clear away; none if it was hidden before or never there.
    ///
    /// # Errors
    /// What the database refuses; then nothing has changed.
    pub async fn hide(&self, id: PictureId) -> Result<Option<ContentHash>, CatalogError> {
        const DOING: &str = "delete a picture";
        let mut tx = self.begin(DOING).await?;
        let hash: Option<Vec<u8>> = sqlx::query_scalar(
            "update pictures set hidden_at = ? where id = ? and hidden_at is null returning sha256",
        )
        .bind(now())
        .bind(id.0)
        .fetch_optional(&mut *tx)
        .await
        .map_err(|e| self.sql(DOING, e))?;
        let Some(hash) = hash else { return Ok(None) };
        for statement in
            ["delete from embeddings where picture = ?", "delete from uploads where picture = ?"]
        {
            sqlx::query(statement)
                .bind(id.0)
                .execute(&mut *tx)
                .await
                .map_err(|e| self.sql(DOING, e))?;
        }
        tx.commit().await.map_err(|e| self.sql(DOING, e))?;
        self.reader.hash(&hash).map(Some)
    }
}

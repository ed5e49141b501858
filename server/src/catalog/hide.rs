//! Deleting: a picture is gone from the next answer on and stays away when its folder is indexed again.
use super::{CatalogError, ContentHash, PictureId, Writer, now};

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

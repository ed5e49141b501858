//! Pictures that come as bytes, and pictures that go.
use super::files::{original_path, remove_originals, remove_thumbnails, write_whole};
use super::prepare::{Decoded, PrepareError, hash};
use super::{EmbedFailure, FileError, Ingest, Model};
use crate::catalog::{Added, CatalogError, Origin, PictureId, Status};

/// The longest file name that is kept of an upload, in characters.
const MAX_NAME: usize = 255;

/// Why an upload was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The bytes are no picture that can be taken: the sender's affair.
    #[error(transparent)]
    Picture(clip::image::DecodeError),
    /// The bytes break the decoder: the sender's affair, too.
    #[error("the picture breaks its decoder and is not accepted")]
    Decoder,
    /// The model gave no embedding.
    #[error("the model cannot embed the picture")]
    Embed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The original could not be kept.
    #[error(transparent)]
    Original(#[from] FileError),
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The vector does not fit the index.
    #[error(transparent)]
    Index(#[from] crate::index::WrongDimension),
}

impl Ingest {
    /// Takes an uploaded picture: embeds it and keeps its bytes under `originals/`. What is there
    /// already is not embedded again; what was deleted comes back. `name` is for show.
    ///
    /// # Errors
    /// [`AddError`]; then the collection is as it was.
    pub fn add_bytes(&self, name: &str, bytes: &[u8]) -> Result<Added, AddError> {
        let name = shown_name(name);
        let hash = hash(bytes);
        let known = self.wait(self.catalog.reader.find(&hash, &self.model.id))?;
        if let Some(known) = known
            && known.embedded
            && self.keep_known(known.id, &name, bytes)?
        {
            return Ok(Added { id: known.id, status: Status::Unchanged });
        }
        let decoded = self.decode(bytes, hash).map_err(AddError::from)?;
        self.keep_new(name, bytes, decoded)
    }

    /// Notes that a known picture was uploaded as well; whether it is there still.
    fn keep_known(&self, id: PictureId, name: &str, bytes: &[u8]) -> Result<bool, AddError> {
        let _changing = self.change();
        let Some(picture) = self.wait(self.catalog.reader.get(id))? else { return Ok(false) };
        let original = original_path(&self.catalog.folder, picture.hash, &picture.format);
        if !original.is_file() {
            write_whole(&original, bytes)?;
        }
        self.wait(self.catalog.add_upload(id, name))?;
        Ok(true)
    }

    fn keep_new(&self, name: String, bytes: &[u8], decoded: Decoded) -> Result<Added, AddError> {
        let original = original_path(&self.catalog.folder, decoded.hash, decoded.format);
        let (waiting, values) = decoded.split();
        let embedding = match self.model.embedder.embed_images(vec![values]) {
            Ok(mut one) => one.pop().ok_or(AddError::Embed("no embedding came".into()))?,
            Err(EmbedFailure::Images(e) | EmbedFailure::Stopped(e)) => {
                return Err(AddError::Embed(e));
            }
        };
        let picture = waiting.complete(Origin::Upload(name), embedding);
        let _changing = self.change();
        write_whole(&original, bytes)?;
        let Model { id, precision, .. } = &self.model;
        let adding = self.catalog.add(id, precision, std::slice::from_ref(&picture));
        let added = self.wait(adding)?;
        let [one] = added[..] else { unreachable!("one picture, one answer") };
        if let Some(index) = &self.index {
            index.insert_all([(one.id.key(), &picture.embedding)])?;
        }
        Ok(one)
    }

    /// Deletes a picture: gone from the next answer on, and it stays away when its folder is indexed
    /// again. Files of the owner's are never touched. Whether there was one.
    ///
    /// # Errors
    /// What the catalog refuses; then the picture is still there.
    pub fn delete(&self, id: PictureId) -> Result<bool, CatalogError> {
        let _changing = self.change();
        let Some(hash) = self.wait(self.catalog.hide(id))? else { return Ok(false) };
        if let Some(index) = &self.index {
            index.remove_all([id.key()]);
        }
        remove_originals(&self.catalog.folder, hash);
        remove_thumbnails(&self.catalog.folder, hash);
        Ok(true)
    }
}

impl From<PrepareError> for AddError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Decode(error) => Self::Picture(error),
            _ => Self::Decoder,
        }
    }
}

/// The last part of a client's path, without control characters, of bearable length.
fn shown_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    let shown: String = last.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    if shown.is_empty() { "upload".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_an_upload_is_shown_without_its_path() {
        for (given, shown) in [
            ("a.jpg", "a.jpg"),
            ("../../etc/passwd", "passwd"),
            ("C:\\pictures\\b.png", "b.png"),
            ("line\nbreak\u{0}.gif", "linebreak.gif"),
            ("", "upload"),
            ("folder/", "upload"),
        ] {
            assert_eq!(shown_name(given), shown);
        }
        assert_eq!(shown_name(&"ä".repeat(1000)).chars().count(), MAX_NAME);
    }
}

//! One file to what the model takes: read, hashed, looked up, decoded, resized.
//! Runs on several threads; what it holds at a time is one file and its pixels.
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use clip::image::{DecodeError, DecodeLimits, DecodedImage, PixelValues, decode};
use sha2::{Digest, Sha256};

use super::walk::place;
use super::{Failure, Ingest, reason};
use crate::catalog::{CatalogError, ContentHash, Origin, PictureId, Place};

/// A larger file is refused before it is read.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Above so many pixels (120 MB of RGB) pictures are decoded one at a time.
const LARGE_PIXELS: u64 = 40_000_000;

/// A picture that only lacks its embedding.
pub(super) struct Decoded {
    pub(super) hash: ContentHash,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) format: &'static str,
    pub(super) size_bytes: u64,
    pub(super) values: PixelValues,
}

/// What a file turned out to be.
pub(super) enum Prepared {
    /// A picture to embed.
    New(Origin, Box<Decoded>),
    /// A place of a picture that needs nothing more.
    Known(Place, PictureId),
    /// The same content as another file of this run, which is on its way.
    Copy(Place, ContentHash),
    /// Not a picture that can be taken.
    Failed(Failure, Option<ContentHash>),
}

/// Contents that a thread of this run has taken on.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashSet<ContentHash>>);

impl Claims {
    /// Whether the caller is the first to come with this content.
    fn claim(&self, hash: ContentHash) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(hash)
    }
}

/// Why a file is not a picture to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    #[error("cannot be read")]
    Read(#[from] std::io::Error),
    #[error("the file has {0} bytes; more than {MAX_FILE_BYTES} are not read")]
    TooLong(u64),
    #[error("the file changed while it was read; index it again")]
    Changed,
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the picture breaks its decoder and is not accepted")]
    Decoder,
    #[error("no small copy can be made of the picture")]
    Thumbnail,
}

impl Ingest {
    /// Prepares one file.
    ///
    /// # Errors
    /// Only what the catalog refuses; a bad file is an answer.
    pub(super) fn prepare(&self, found: &Place, claims: &Claims) -> Result<Prepared, CatalogError> {
        let (place, bytes) = match read(&found.path) {
            Ok(read) => read,
            Err(error) => return Ok(Prepared::Failed(failure(&found.path, &error), None)),
        };
        let hash = hash(&bytes);
        if let Some(known) = self.wait(self.catalog.reader.find(&hash, &self.model.id))?
            && (known.hidden || known.embedded)
        {
            return Ok(Prepared::Known(place, known.id));
        }
        if !claims.claim(hash) {
            return Ok(Prepared::Copy(place, hash));
        }
        Ok(match self.decode(&bytes, hash) {
            Ok(decoded) => Prepared::New(Origin::Place(place), Box::new(decoded)),
            Err(error) => Prepared::Failed(failure(&place.path, &error), Some(hash)),
        })
    }

    /// Decodes and resizes a picture's bytes.
    pub(super) fn decode(&self, bytes: &[u8], hash: ContentHash) -> Result<Decoded, PrepareError> {
        with_pixels(bytes, &self.limits, |picture| Decoded {
            hash,
            width: picture.pixels.width(),
            height: picture.pixels.height(),
            format: picture.format.subtype(),
            size_bytes: bytes.len() as u64,
            values: self.model.processor.process(&picture.pixels),
        })
    }
}

/// Decodes a picture, makes something smaller of it, and lets its pixels go. Large ones wait for each
/// other, so that threads do not multiply their memory. Nobody's file ends the run by a panic.
pub(super) fn with_pixels<T>(
    bytes: &[u8],
    limits: &DecodeLimits,
    make: impl FnOnce(&DecodedImage) -> T,
) -> Result<T, PrepareError> {
    static LARGE: Mutex<()> = Mutex::new(());
    let decode_within = |max_pixels| {
        let limits = DecodeLimits { max_pixels, ..DecodeLimits::default() };
        catch_unwind(|| decode(bytes, &limits)).map_err(|_| PrepareError::Decoder)
    };
    let made = |picture: DecodedImage| {
        // What it makes is dropped with the panic, so nothing half made is seen.
        catch_unwind(AssertUnwindSafe(|| make(&picture))).map_err(|_| PrepareError::Decoder)
    };
    match decode_within(limits.max_pixels.min(LARGE_PIXELS))? {
        Err(DecodeError::TooLarge { .. }) if limits.max_pixels > LARGE_PIXELS => {
            let _turn = LARGE.lock().unwrap_or_else(PoisonError::into_inner);
            made(decode_within(limits.max_pixels)??)
        }
        picture => made(picture?),
    }
}

/// The whole file and what it was while it was read.
pub(super) fn read(path: &Path) -> Result<(Place, Vec<u8>), PrepareError> {
    let file = File::open(path)?;
    let before = place(path, &file.metadata()?);
    if before.size_bytes > MAX_FILE_BYTES {
        return Err(PrepareError::TooLong(before.size_bytes));
    }
    let mut bytes = Vec::with_capacity(before.size_bytes as usize);
    (&file).take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    let after = place(path, &file.metadata()?);
    if after != before || bytes.len() as u64 != before.size_bytes {
        return Err(PrepareError::Changed);
    }
    Ok((before, bytes))
}

/// The identity of a content.
pub(super) fn hash(bytes: &[u8]) -> ContentHash {
    ContentHash(Sha256::digest(bytes).into())
}

/// The identity of a file's content, without holding it.
pub(super) fn hash_file(file: &mut File) -> std::io::Result<ContentHash> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(ContentHash(hasher.finalize().into())),
            len => hasher.update(&chunk[..len]),
        }
    }
}

pub(super) fn failure(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure { path: path.display().to_string(), reason: reason(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_sha_256_of_the_bytes() {
        // FIPS 180-2, appendix B.1
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(b"abc").to_string(), expected);
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"abc").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(hash_file(&mut file).unwrap().to_string(), expected);
    }
}

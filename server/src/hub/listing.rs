//! What a repository holds, as the hub tells it.

use serde::Deserialize;

use super::RepoName;

/// The files of a repository at one commit.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The repository.
    pub name: RepoName,
    /// The commit that the files belong to.
    pub commit: String,
    /// Its terms as the card declares them; none where it does not.
    pub license: Option<String>,
    /// The files.
    pub files: Vec<RemoteFile>,
}

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Path in the repository, with forward slashes.
    pub path: String,
    /// Its length.
    pub size_bytes: u64,
    /// What its bytes must come to.
    pub digest: Digest,
}

/// The hash by which a hub knows a file, as lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// Of the bytes; for files kept beside git.
    Sha256(String),
    /// Git's own: SHA-1 over `blob LENGTH\0` and the bytes.
    GitBlob(String),
}

impl Digest {
    /// The hexadecimal digits alone.
    #[must_use]
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default, rename = "cardData")]
    card: Option<Card>,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Card {
    #[serde(default)]
    license: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: u64,
    blob_id: String,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
}

impl Listing {
    /// Reads the hub's answer for `/api/models/…?blobs=true`.
    ///
    /// # Errors
    /// What does not fit, by serde.
    pub(super) fn parse(name: RepoName, text: &str) -> Result<Self, serde_json::Error> {
        let answer: Answer = serde_json::from_str(text)?;
        let license = answer.card.and_then(|card| Some(card.license.as_str()?.to_owned()));
        let file = |sibling: Sibling| RemoteFile {
            path: sibling.rfilename,
            size_bytes: sibling.size,
            digest: match sibling.lfs {
                Some(lfs) => Digest::Sha256(lfs.sha256),
                None => Digest::GitBlob(sibling.blob_id),
            },
        };
        let files = answer.siblings.into_iter().map(file).collect();
        Ok(Self { name, commit: answer.sha, license, files })
    }

    /// A file by its path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

//! Public models: what a repository of a model hub holds, which of its files make a model for this
//! machine, and bringing them here whole.
//!
//! Speaks the protocol of Hugging Face's hub, through the crate `hf-hub` for addresses, tokens and
//! listings; knows nothing of collections, searches or the command line.
//! Invariant: a file under its own name is complete and has the hash that the hub told; what is
//! under way lies beside it as `.part` and is gone on with by the next try.

mod download;
mod error;
mod listing;
mod plan;

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use hf_hub::api::sync::{ApiBuilder, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use ureq::Agent;

pub use error::HubError;
pub use listing::{Digest, Listing, RemoteFile};
pub use plan::{Plan, plan};

/// How long a hub may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name of a repository, `ORG/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoName(String);

impl RepoName {
    /// Checks a name as a person types it.
    ///
    /// # Errors
    /// [`HubError::Name`] where it is not `ORG/NAME`.
    pub fn new(name: &str) -> Result<Self, HubError> {
        let fits = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        match name.split_once('/') {
            Some((org, model)) if fits(org) && fits(model) => Ok(Self(name.to_owned())),
            _ => Err(HubError::Name { name: name.to_owned() }),
        }
    }

    /// As typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a folder for it: `ORG--NAME`.
    #[must_use]
    pub fn folder_name(&self) -> String {
        self.0.replace('/', "--")
    }
}

/// A hub, by its address.
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    agent: Agent,
}

impl Hub {
    /// The hub that `HF_ENDPOINT` names, else Hugging Face's; with the token in `HF_TOKEN` or in
    /// the place where Hugging Face's own tools keep it.
    #[must_use]
    pub fn from_env() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        // Without a home the crate has no place to look in, and panics.
        let has_place = set("HF_HOME").is_some() || std::env::home_dir().is_some();
        let kept = || has_place.then(|| Cache::from_env().token()).flatten();
        let token = set("HF_TOKEN").or_else(kept);
        Self::new(&endpoint, token, PATIENCE)
    }

    /// A hub at an address; `patience` is how long it may be silent.
    #[must_use]
    pub fn new(endpoint: &str, token: Option<String>, patience: Duration) -> Self {
        let agent = Agent::config_builder()
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_recv_body(Some(patience))
            .http_status_as_error(false)
            .user_agent(concat!("clipsight/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), token, agent }
    }

    /// Its address.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What a repository holds, at `revision` (a branch, tag or commit).
    ///
    /// # Errors
    /// [`HubError`] where the hub is not reached, does not know the repository, or is not understood.
    pub fn listing(&self, name: &RepoName, revision: &str) -> Result<Listing, HubError> {
        let address = format!(
            "{}/api/models/{}/revision/{revision}?blobs=true",
            self.endpoint,
            name.as_str()
        );
        let mut response = self.get(&address, None)?;
        match response.status().as_u16() {
            200 => {}
            401 | 403 | 404 => {
                return Err(HubError::NoRepository {
                    name: name.as_str().to_owned(),
                    endpoint: self.endpoint.clone(),
                    status: response.status().as_u16(),
                });
            }
            status => return Err(HubError::Status { address, status }),
        }
        let text = response
            .body_mut()
            .read_to_string()
            .map_err(|source| HubError::Unreachable { address: address.clone(), source })?;
        Listing::parse(name.clone(), &text).map_err(|source| HubError::Listing { address, source })
    }

    /// Brings the files of a plan into `folder`; those that are there already are only checked.
    /// `progress` hears the bytes that are there of all of them.
    ///
    /// # Errors
    /// [`HubError`]; what has arrived stays for the next try.
    pub fn fetch(
        &self,
        listing: &Listing,
        plan: &Plan,
        folder: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), HubError> {
        let repository = self.repository(listing)?;
        let mut before = 0;
        for file in &plan.files {
            let there = folder.join(checked(&file.path)?);
            let address = repository.url(&file.path);
            download::fetch(self, &address, file, &there, &mut |done| progress(before + done))?;
            before += file.size_bytes;
        }
        Ok(())
    }

    /// Brings one file of a listing into `folder`, if it is there.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn fetch_file(&self, listing: &Listing, path: &str, folder: &Path) -> Result<(), HubError> {
        let files = listing.file(path).into_iter().cloned().collect();
        self.fetch(listing, &Plan { precision: String::new(), files }, folder, &mut |_| {})
    }

    fn repository(&self, listing: &Listing) -> Result<ApiRepo, HubError> {
        // It only makes addresses for us, so it needs no place for files.
        let api = ApiBuilder::from_cache(Cache::new(PathBuf::new()))
            .with_endpoint(self.endpoint.clone())
            .build()
            .map_err(|source| HubError::Client { source: Box::new(source) })?;
        let (name, commit) = (listing.name.as_str().to_owned(), listing.commit.clone());
        Ok(api.repo(Repo::with_revision(name, RepoType::Model, commit)))
    }

    /// A GET; the token goes to the hub alone, never along a redirection to another host.
    fn get(&self, address: &str, range: Option<&str>) -> Result<Response, HubError> {
        let mut request = self.agent.get(address);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(range) = range {
            request = request.header("range", range);
        }
        let unreachable = |source| HubError::Unreachable { address: address.to_owned(), source };
        request.call().map_err(unreachable)
    }
}

type Response = ureq::http::Response<ureq::Body>;

/// A path of a listing that stays below the folder it is put into.
fn checked(path: &str) -> Result<&Path, HubError> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !path.is_empty() {
        Ok(Path::new(path))
    } else {
        Err(HubError::Path { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_an_organization_and_a_name() {
        assert_eq!(
            RepoName::new("Xenova/clip-vit.b_32").unwrap().folder_name(),
            "Xenova--clip-vit.b_32"
        );
        for wrong in ["clip", "a/b/c", "/b", "a/", "../b", "a/..", "a b/c", "a/b?x"] {
            assert!(RepoName::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_file_of_a_listing_leaves_its_folder() {
        assert!(checked("onnx/vision_model.onnx").is_ok());
        for wrong in ["../x", "/etc/x", "a/../../x", ""] {
            assert!(checked(wrong).is_err(), "{wrong}");
        }
    }
}

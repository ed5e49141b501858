//! Why a model does not come from a hub.

use std::path::PathBuf;

use thiserror::Error;

/// Why a model does not come from a hub.
#[derive(Debug, Error)]
pub enum HubError {
    /// Not the name of a repository.
    #[error("{name} names no repository; write ORG/NAME, as in Xenova/clip-vit-base-patch32")]
    Name {
        /// As typed.
        name: String,
    },
    /// The hub does not show it.
    #[error(
        "the hub at {endpoint} has no model {name} that we may see ({status}); check the name, and \
         set HF_TOKEN for one that wants a sign-in"
    )]
    NoRepository {
        /// The repository.
        name: String,
        /// The hub.
        endpoint: String,
        /// Its answer.
        status: u16,
    },
    /// No answer, or one that broke off.
    #[error(
        "no answer from {address}; check the network, or name another hub by HF_ENDPOINT, and try \
         again: what has arrived is kept"
    )]
    Unreachable {
        /// What was asked for.
        address: String,
        /// What went wrong.
        source: ureq::Error,
    },
    /// The answer began and stopped.
    #[error("{address} stopped sending; try again: what has arrived is kept")]
    Stalled {
        /// What was asked for.
        address: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// An answer that says no.
    #[error("{address} answered with status {status}; try again later")]
    Status {
        /// What was asked for.
        address: String,
        /// The answer.
        status: u16,
    },
    /// The listing is none.
    #[error("{address} did not answer as a model hub does; check HF_ENDPOINT")]
    Listing {
        /// What was asked for.
        address: String,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The client for the hub cannot be made.
    #[error("cannot speak to the hub")]
    Client {
        /// Why.
        source: Box<hf_hub::api::sync::ApiError>,
    },
    /// A listing names a file outside of its folder.
    #[error("the hub names a file {path:?} that would lie outside of the model's folder; refused")]
    Path {
        /// As listed.
        path: String,
    },
    /// More or fewer bytes than were told.
    #[error("{path} came with {found} bytes instead of {expected}; try again")]
    Size {
        /// The file.
        path: String,
        /// As listed.
        expected: u64,
        /// As received.
        found: u64,
    },
    /// Other bytes than were told.
    #[error(
        "{path} came with another hash than the hub lists, so it is damaged or was replaced; it was \
         thrown away, try again"
    )]
    Hash {
        /// The file.
        path: String,
    },
    /// A file cannot be written, or not read back.
    #[error("cannot write and check {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Weights for training, no graphs.
    #[error(
        "{name} holds weights ({weights}) but no ONNX graphs; put its files into a folder, then: \
         clipsight-trainer train RECIPE.toml --init FOLDER, and clipsight-trainer export RUN"
    )]
    WeightsOnly {
        /// The repository.
        name: String,
        /// Their file.
        weights: String,
    },
    /// Nothing that we could serve.
    #[error(
        "{name} holds no graphs in an arrangement that we know (onnx/vision_model*.onnx with \
         onnx/text_model*.onnx, visual/model.onnx with textual/model.onnx, visual.onnx with text.onnx \
         or textual.onnx, or one onnx/model*.onnx for both); it holds: {found}"
    )]
    NoGraphs {
        /// The repository.
        name: String,
        /// Some of its files.
        found: String,
    },
    /// A file without which the graphs cannot be used.
    #[error("{name} has graphs but no {file}, without which they cannot be used")]
    Incomplete {
        /// The repository.
        name: String,
        /// What is missing.
        file: String,
    },
    /// The precision that was asked for is not there.
    #[error("{name} has no precision {wanted}; it has: {there}")]
    Precision {
        /// The repository.
        name: String,
        /// As asked for.
        wanted: String,
        /// What there is.
        there: String,
    },
}

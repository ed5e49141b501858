//! What can go wrong between a bundle and its embeddings.

use std::path::PathBuf;

use clip::embedding::EmbeddingError;
use thiserror::Error;

/// Errors of this crate, each with the thing it is about.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// No ONNX Runtime was found anywhere.
    #[error(
        "ONNX Runtime was not found (looked at {looked_at}); run `make onnxruntime` in the checkout, \
         or name the library with --onnxruntime FILE or ORT_DYLIB_PATH"
    )]
    LibraryMissing {
        /// The places, in order.
        looked_at: String,
    },
    /// A file is there but is no ONNX Runtime that we can use.
    #[error(
        "{} is not an ONNX Runtime that Clipsight can use (1.31 or newer is needed): {reason}; run \
         `make onnxruntime`, or name another with --onnxruntime FILE",
        path.display()
    )]
    LibraryUnusable {
        /// The file.
        path: PathBuf,
        /// The loader's words.
        reason: String,
    },
    /// A session was asked for before [`crate::library::load`].
    #[error("ONNX Runtime is not loaded yet")]
    NotLoaded,
    /// The bundle holds no graphs of that precision.
    #[error("the model in {} has no precision {precision:?}; it has {available}", dir.display())]
    Precision {
        /// The bundle.
        dir: PathBuf,
        /// As asked for.
        precision: String,
        /// What is there.
        available: String,
    },
    /// The folder holds no graphs that we could tell apart.
    #[error("the model in {} has no graphs that can be run; it holds: {found}; {way_out}", dir.display())]
    NoGraphs {
        /// The folder.
        dir: PathBuf,
        /// Some of its files.
        found: String,
        /// What the reader can do.
        way_out: &'static str,
    },
    /// A graph does not load.
    #[error("cannot load the graph {}: {reason}", path.display())]
    Graph {
        /// The graph's file.
        path: PathBuf,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// A graph loads, but takes or gives something else than an encoder of this bundle would.
    #[error("the graph {} is not the encoder that its bundle describes: {reason}", path.display())]
    Signature {
        /// The graph's file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A run failed.
    #[error("the graph {} failed: {reason}", path.display())]
    Run {
        /// The graph's file.
        path: PathBuf,
        /// ONNX Runtime's words.
        reason: String,
    },
    /// The graph ran, but what came out is no embedding.
    #[error("the graph {} gave no usable embedding for item {item} of its batch", path.display())]
    Embedding {
        /// The graph's file.
        path: PathBuf,
        /// Index in the batch.
        item: usize,
        /// Why not.
        source: EmbeddingError,
    },
    /// A reference input of the bundle is missing or broken.
    #[error("the reference input {name} of the model cannot be used: {reason}")]
    Reference {
        /// The text or the picture's path.
        name: String,
        /// Why.
        reason: String,
    },
    /// The bundle does not reproduce its own answers.
    #[error(
        "the model in {} does not reproduce its own answers: cosine {cosine:.6} for {name:?}, \
         {tolerance} expected at {precision}; the files are damaged, or this processor or this ONNX \
         Runtime computes otherwise: {way_out}",
        dir.display()
    )]
    SelfCheck {
        /// The bundle.
        dir: PathBuf,
        /// The text or the picture's path.
        name: String,
        /// What was reached.
        cosine: f32,
        /// What the manifest asks for.
        tolerance: f32,
        /// The precision that runs.
        precision: String,
        /// What the reader can do.
        way_out: String,
    },
    /// What ran where could not be recorded.
    #[error(
        "cannot record where the nodes of {} run: {reason}; name a folder that can be written \
         with TMPDIR",
        path.display()
    )]
    Profile {
        /// The graph or the recording.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The provider that was demanded does not run the model.
    #[error(
        "the model cannot run on CUDA: {reason}; leave out --provider cuda to run it on the CPU"
    )]
    Provider {
        /// Why not.
        reason: String,
    },
}

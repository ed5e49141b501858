//! Losses: what a batch of pairs is pulled toward.
//!
//! Each is a pure function of normalized embeddings and a learned scale.
//! This room knows nothing of towers, data or optimizers.
//! Invariant: no function here keeps state or changes its arguments.

mod info_nce;

pub use info_nce::{info_nce, related_pairs};

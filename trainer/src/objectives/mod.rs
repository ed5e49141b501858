//! Losses: what a batch of pairs is pulled toward.
//!
//! Each is a pure function of normalized embeddings and a learned scale, and answers a scalar in f32
//! whatever kind its embeddings have.
//! This room knows nothing of towers, data or optimizers.
//! Invariant: no function here keeps state or changes its arguments.

mod blocks;
mod dcl;
mod distance;
mod info_nce;
mod margin;
mod mining;
mod negative_cosine;
mod nt_xent;
mod related;
mod sigmoid;
mod sup_con;
mod swapped_prediction;
#[cfg(test)]
mod testing;
mod triplet;
mod two_views;

use tch::{Kind, Tensor};

pub use dcl::dcl;
pub use distance::Distance;
pub use info_nce::{info_nce, info_nce_with_negative_texts, info_nce_with_negatives};
pub use margin::{margin, margin_in_batch};
pub use mining::{Chosen, Mining, hardest, semi_hard};
pub use negative_cosine::negative_cosine;
pub use nt_xent::nt_xent;
pub use related::{Related, related_pairs};
pub use sigmoid::sigmoid;
pub use sup_con::{sup_con, sup_con_pairs};
pub use swapped_prediction::{Sharing, sinkhorn, swapped_prediction};
pub use triplet::{Triplets, triplet, triplet_in_batch};

/// A batch of pairs, and what is learned beside the towers.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// Normalized, `[B, D]`.
    pub images: &'a Tensor,
    /// Normalized, `[B, D]`; row i belongs to row i of the images.
    pub texts: &'a Tensor,
    /// A scalar, as a log.
    pub logit_scale: &'a Tensor,
    /// A scalar, of a model whose logits have one.
    pub logit_bias: Option<&'a Tensor>,
    /// Which pairs are no negatives to each other.
    pub related: &'a Related,
    /// What is wrong of the images, where that is looked at.
    pub negatives: Option<Negatives<'a>>,
}

/// Texts that are wrong of images of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Negatives<'a> {
    /// Normalized, `[N, D]`.
    pub texts: &'a Tensor,
    /// Bool `[B, N]`: true where a text is right of an image after all.
    pub excluded: &'a Tensor,
}

/// In f32, through which gradients pass back in the kind that `tensor` has: products of bf16 would
/// lose what a scale of 100 makes of them.
fn wide(tensor: &Tensor) -> Tensor {
    tensor.to_kind(Kind::Float)
}

/// `exp(logit_scale)` times the cosine of each query `[R, D]` with each candidate `[C, D]`: `[R, C]`.
///
/// The scale is applied to the queries, which are fewer numbers than the products.
fn logits(queries: &Tensor, candidates: &Tensor, logit_scale: &Tensor) -> Tensor {
    (logit_scale.exp() * queries).matmul(&candidates.tr())
}

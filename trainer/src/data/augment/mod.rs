//! What training varies: how a picture is looked at, and how a caption is worded.
//!
//! [`picture`] draws cuts, mirroring and colors and applies them; [`text`] drops, moves and replaces
//! words; [`pair`] gives two views of both sides of a draw.
//! This room knows nothing of tensors or models.
//! Invariant: what is drawn is a function of (seed, epoch, draw, view), so that a resumed run sees
//! what an uninterrupted one sees, whatever thread draws it; what is applied is a function of what
//! was drawn.

pub mod pair;
pub mod picture;
pub mod text;

use rand_chacha::ChaCha8Rng;

use super::mixture::{Draw, random};

pub use picture::{Augmentation, Look, PictureView, Views};
pub use text::{TextAugmentation, TextViews};

/// Apart from the streams that [`mixture`](super::mixture) draws from, and from each other's.
#[derive(Clone, Copy)]
enum Side {
    Picture = 63,
    Text = 62,
}

/// The generator of one view of one draw; view 0 is what training with one view sees.
fn stream(side: Side, (seed, epoch): (u64, u64), draw: &Draw, view: usize) -> ChaCha8Rng {
    let key = (1u64 << side as u32) | ((view as u64) << 32) | draw.set as u64;
    let mut rng = random(seed, epoch, key);
    rng.set_stream(((draw.pair as u64) << 20) | draw.turn as u64);
    rng
}

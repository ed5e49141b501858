//! What training varies: how a picture is looked at.
//!
//! [`picture`] draws cuts, mirroring and colors and applies them.
//! This room knows nothing of tensors or models.
//! Invariant: what is drawn is a function of (seed, epoch, draw, view), so that a resumed run sees
//! what an uninterrupted one sees, whatever thread draws it; what is applied is a function of what
//! was drawn.

pub mod picture;

use rand_chacha::ChaCha8Rng;

use super::mixture::{Draw, random};

pub use picture::{Augmentation, PictureView, Views};

/// Apart from the streams that [`mixture`](super::mixture) draws from, and from each other's.
#[derive(Clone, Copy)]
enum Side {
    Picture = 63,
}

/// The generator of one view of one draw; view 0 is what training with one view sees.
fn stream(side: Side, (seed, epoch): (u64, u64), draw: &Draw, view: usize) -> ChaCha8Rng {
    let key = (1u64 << side as u32) | ((view as u64) << 32) | draw.set as u64;
    let mut rng = random(seed, epoch, key);
    rng.set_stream(((draw.pair as u64) << 20) | draw.turn as u64);
    rng
}

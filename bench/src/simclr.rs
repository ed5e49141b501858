//! Steps of `SimCLR` beside `lightly`'s, with one encoder and one batch.

use anyhow::Result;

use crate::peers::{Peer, example, figure, in_turns, output_of, script};

/// Rounds of both.
const ROUNDS: usize = 3;
/// As both programs print it.
const STEPS: &str = "steps/s";
/// Pictures of a step, each seen twice.
const BATCHES: [&str; 2] = ["128", "512"];

/// The image tower of `recipes/alone.toml` from random weights.
pub(crate) fn measure() -> Result<()> {
    for batch in BATCHES {
        println!("\n## A step of SimCLR, ViT of 64 pixels, {batch} pictures, f32, two threads\n");
        let size = ["--batch", batch];
        let here = || figure(&output_of(example("simclr_step")?.args(size))?, STEPS);
        let there = || figure(&output_of(script("simclr_step.py")?.args(size))?, STEPS);
        in_turns(ROUNDS, STEPS, &mut [Peer::new("here", here), Peer::new("lightly", there)])?;
    }
    Ok(())
}

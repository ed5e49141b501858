//! Steps over a batch that is large for its memory: at once, in micro-batches and with gradient
//! checkpointing, beside `open_clip` and its `--accum-freq`, in seconds and in memory.

use anyhow::Result;

use crate::peers::{Peer, example, figure, in_turns, output_of, script};

/// Rounds of all.
const ROUNDS: usize = 3;
/// As both programs print it.
const PAIRS: &str = "pairs/s";
const MEMORY: &str = "MB";

/// Ways over the same batch: names, and what both programs are asked for.
const WAYS: [(&str, &[&str]); 4] = [
    ("in micro-batches of 32, with checkpointing", &["--micro-batch", "32", "--checkpointing"]),
    ("with checkpointing", &["--checkpointing"]),
    ("in micro-batches of 32", &["--micro-batch", "32"]),
    ("at once", &[]),
];

/// The rate of what a program printed, whose memory is held against the highest `peak` so far.
fn noted(printed: &str, peak: &mut f64) -> Result<f64> {
    *peak = figure(printed, MEMORY)?.max(*peak);
    figure(printed, PAIRS)
}

/// The CLIP of `recipes/small-clip` from random weights.
pub(crate) fn measure() -> Result<()> {
    for (name, way) in WAYS {
        println!("\n## A step of a small CLIP over 256 pairs {name}, f32, two threads\n");
        let mut memory = [0f64; 2];
        let [ours, theirs] = &mut memory;
        let here = || noted(&output_of(example("large_batch")?.args(way))?, ours);
        let there = || noted(&output_of(script("accumulated_step.py")?.args(way))?, theirs);
        in_turns(ROUNDS, PAIRS, &mut [Peer::new("here", here), Peer::new("open_clip", there)])?;
        println!(
            "\nPeak above the weights: here {:.0} MB, open_clip {:.0} MB.",
            memory[0], memory[1]
        );
    }
    Ok(())
}

//! Objectives forward and backward beside those of others, each size in turns.

use anyhow::Result;

use crate::peers::{Peer, example, figure, in_turns, output_of, script};

/// Rounds of all that take part.
const ROUNDS: usize = 3;
/// As all programs print it.
const PAIRS: &str = "pairs/s";
/// Pairs of a batch. Those of two views hold a matrix that is four times as large.
const BATCHES: [&str; 4] = ["1024", "4096", "8192", "16384"];
const BATCHES_OF_TWO_VIEWS: [&str; 3] = ["1024", "4096", "8192"];
/// Ours, by the names on the command line, whose each is held against, and by which batches.
const OBJECTIVES: [(&str, &str, &[&str]); 4] = [
    ("info-nce", "open_clip", &BATCHES),
    ("sigmoid", "open_clip", &BATCHES),
    ("nt-xent", "lightly", &BATCHES_OF_TWO_VIEWS),
    ("dcl", "lightly", &BATCHES_OF_TWO_VIEWS),
];
/// Where the whole matrix would take 24 GB, ours alone.
const LARGEST: &str = "32768";

/// All objectives that somebody else has too.
pub(crate) fn measure() -> Result<()> {
    println!("\n## Objectives, forward and backward, dimension 512, f32, two threads");
    for (objective, peer, batches) in OBJECTIVES {
        for &batch in batches {
            println!("\n{objective}, {batch} pairs:\n");
            let arguments = [objective, "--batch", batch, "--rounds", "1"];
            let here = || figure(&output_of(example("objectives")?.args(arguments))?, PAIRS);
            let there = || figure(&output_of(script("objectives.py")?.args(arguments))?, PAIRS);
            in_turns(ROUNDS, PAIRS, &mut [Peer::new("here", here), Peer::new(peer, there)])?;
        }
    }
    println!("\nWith the most memory beyond the embeddings, in the last column:\n");
    for (objective, batch) in [("plain", "8192"), ("info-nce", "8192"), ("info-nce", LARGEST)] {
        let arguments = [objective, "--batch", batch, "--rounds", "1", "--warm-up", "0"];
        print!("{}", output_of(example("objectives")?.args(arguments))?);
    }
    Ok(())
}

//! Pictures made ready for training, beside torchvision.

use std::path::Path;

use anyhow::Result;

use crate::full_clip::Workshop;
use crate::peers::{Peer, example, figure, in_turns, output_of, script};

/// Rounds of both.
const ROUNDS: usize = 3;
/// JPEGs that pictures are taken from.
const PICTURES: usize = 1000;
/// As both programs print it.
const PICTURES_PER_S: &str = "pictures/s";

/// The usual recipe of contrastive learning on pictures, on two threads, with and without decoding.
pub(crate) fn measure(workshop: &Workshop<'_>) -> Result<()> {
    let pictures = workshop.pictures(PICTURES)?;
    for (from, told) in [("pixels", "decoded pictures"), ("files", "JPEGs in memory")] {
        println!("\n## From {told} of 500 pixels to a tower's input of 224, two threads\n");
        let mut both = [
            Peer::new("here", here(&pictures, from)),
            Peer::new("torchvision", there(&pictures, from)),
        ];
        in_turns(ROUNDS, PICTURES_PER_S, &mut both)?;
    }
    Ok(())
}

fn here<'a>(pictures: &'a Path, from: &'a str) -> impl FnMut() -> Result<f64> + 'a {
    move || {
        let mut program = example("augment")?;
        figure(&output_of(program.arg(pictures).args(["--from", from]))?, PICTURES_PER_S)
    }
}

fn there<'a>(pictures: &'a Path, from: &'a str) -> impl FnMut() -> Result<f64> + 'a {
    move || {
        let mut program = script("augment.py")?;
        figure(&output_of(program.arg(pictures).args(["--from", from]))?, PICTURES_PER_S)
    }
}

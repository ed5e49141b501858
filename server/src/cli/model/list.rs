//! `clipsight model list`: public models that are worth a try.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::super::{Outcome, output};

/// Names public models that this program serves
///
/// Fetch one with `clipsight model pull NAME`. Any other repository in the same layout works as well.
#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// A public model.
#[derive(Serialize)]
struct PublicModel {
    name: &'static str,
    /// Both towers together.
    million_parameters: u32,
    /// Pixels of a side of what it sees.
    image_size: u32,
    languages: &'static str,
    license: &'static str,
    /// Zero-shot top-1 on ImageNet in percent, as its makers published it.
    imagenet_top_1: f32,
    /// Where that stands.
    figures: &'static str,
}

const CLIP_PAPER: &str = "Radford et al. 2021, arXiv:2103.00020, table 11";

const fn clip(name: &'static str, size: u32, image_size: u32, top_1: f32) -> PublicModel {
    PublicModel {
        name,
        million_parameters: size,
        image_size,
        languages: "English",
        license: "MIT",
        imagenet_top_1: top_1,
        figures: CLIP_PAPER,
    }
}

const MODELS: [PublicModel; 4] = [
    clip("Xenova/clip-vit-base-patch32", 151, 224, 63.2),
    clip("Xenova/clip-vit-base-patch16", 150, 224, 68.6),
    clip("Xenova/clip-vit-large-patch14", 428, 224, 75.3),
    clip("Xenova/clip-vit-large-patch14-336", 428, 336, 76.2),
];

pub(super) fn run(args: &ListArgs) -> Result<Outcome> {
    if args.json {
        output::json(&MODELS)?;
        return Ok(Outcome::Done);
    }
    let row = |model: &PublicModel| {
        [
            model.name.to_owned(),
            format!("{} M", model.million_parameters),
            // A byte, or four, for each number.
            output::size(u64::from(model.million_parameters) * 1_000_000),
            output::size(u64::from(model.million_parameters) * 4_000_000),
            format!("{} px", model.image_size),
            model.languages.to_owned(),
            model.license.to_owned(),
            format!("{:.1} % ({})", model.imagenet_top_1, model.figures),
        ]
    };
    let heading = [
        "name",
        "size",
        "int8",
        "fp32",
        "picture",
        "languages",
        "license",
        "ImageNet zero-shot top-1",
    ];
    let rows: Vec<[String; 8]> = MODELS.iter().map(row).collect();
    output::table(heading, &rows).iter().try_for_each(|line| output::line(line))?;
    output::tell("\nfetch one with: clipsight model pull NAME");
    Ok(Outcome::Done)
}

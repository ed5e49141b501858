//! `clipsight-trainer temperature`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::eval::{percent, unusable};
use super::model::{About, ModelArgs};
use super::{Ending, print_json};
use crate::curves;
use crate::data::Dataset;
use crate::eval::{self, Embedder, Sharpness, SharpnessFigures};
use crate::watch::Stop;

/// Flags of `temperature`.
#[derive(Debug, Args)]
pub(super) struct TemperatureArgs {
    /// A set with captions; each caption chooses among all of its pictures.
    #[arg(long, value_name = "DATA")]
    captions: PathBuf,
    /// Temperatures beside the model's own, separated by commas; each divides the cosines before the
    /// softmax.
    #[arg(
        long,
        value_name = "T,…",
        value_delimiter = ',',
        value_parser = temperature,
        default_value = "0.01,0.02,0.05,0.07,0.1,0.2,0.5,1"
    )]
    at: Vec<f64>,
    /// The picture.
    #[arg(long, value_name = "FILE", default_value = "temperature.png")]
    out: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Print one JSON document in place of the table.
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Serialize)]
struct Drawn {
    model: String,
    precision: String,
    /// The model's own temperature, 1 / e^`logit_scale`; none where its files do not tell it.
    temperature: Option<f64>,
    picture: String,
    #[serde(flatten)]
    figures: SharpnessFigures,
}

pub(super) fn run(args: &TemperatureArgs, stop: &Stop) -> anyhow::Result<Ending> {
    let drawn = args.model.with(stop, |embedder, about| draw(args, embedder, about))?;
    if args.json {
        print_json(&drawn)?;
    } else {
        print_table(&drawn);
    }
    Ok(if drawn.figures.unusable.is_empty() { Ending::Done } else { Ending::Partly })
}

fn draw(
    args: &TemperatureArgs,
    embedder: &mut dyn Embedder,
    about: About,
) -> anyhow::Result<Drawn> {
    let set = Arc::new(Dataset::open(&args.captions, &about.templates)?);
    let own = about.logit_scale.map(|log| f64::from(-log).exp());
    let mut temperatures: Vec<f64> = args.at.iter().copied().chain(own).collect();
    temperatures.sort_unstable_by(f64::total_cmp);
    temperatures.dedup();
    let figures = eval::sharpness(embedder, &set, &temperatures)?;
    curves::draw_sharpness(&figures, own, &args.out)?;
    Ok(Drawn {
        model: args.model.model.display().to_string(),
        precision: about.precision,
        temperature: own,
        picture: args.out.display().to_string(),
        figures,
    })
}

/// A temperature between 0.0001, where a softmax is a choice, and 1000, where it is a draw.
fn temperature(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(value) if (1e-4..=1e3).contains(&value) => Ok(value),
        _ => Err("a temperature is a number between 0.0001 and 1000".to_owned()),
    }
}

fn print_table(drawn: &Drawn) {
    let figures = &drawn.figures;
    println!("{} · {}", drawn.model, drawn.precision);
    println!("\n{} · {} pictures, {} captions", figures.set, figures.pictures, figures.captions);
    println!(
        "{:>11}{:>15}{:>12}{:>21}",
        "temperature", "right picture", "entropy", "effective pictures"
    );
    for Sharpness { temperature, probability, entropy, effective_pictures, .. } in &figures.at {
        let own = if Some(*temperature) == drawn.temperature { "  the model's own" } else { "" };
        println!(
            "{:>11}{:>15}{:>12}{effective_pictures:>21.1}{own}",
            curves::temperature_words(*temperature),
            percent(*probability as f32),
            percent(*entropy as f32),
        );
    }
    unusable(&figures.unusable);
    println!("\n{}", drawn.picture);
}

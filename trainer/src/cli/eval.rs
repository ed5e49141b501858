//! `clipsight-trainer eval`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use clip::metrics::Retrieval;
use serde::Serialize;

use super::model::{About, ModelArgs};
use super::{Ending, print_json};
use crate::curves;
use crate::data::{BadSample, Dataset};
use crate::eval::bootstrap::Interval;
use crate::eval::calibration::Calibration;
use crate::eval::{
    self, CaptionStudy, Embedder, EvalError, LabelFigures, LabelStudy, Labelled, LearnedFigures,
    PictureStudy,
};
use crate::watch::Stop;

/// Flags of `eval`.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    #[command(flatten)]
    sets: Sets,
    /// Templates for the labels, one a line, {} where the class goes; default: the model's own.
    #[arg(long, value_name = "FILE", requires = "labels")]
    templates: Option<PathBuf>,
    /// A labelled set of the same classes, from whose pictures a linear probe and the nearest neighbors
    /// learn; both are measured on the labels.
    #[arg(long, value_name = "DATA", requires = "labels")]
    probe: Option<PathBuf>,
    /// Draw how far the confidence in a label is from its accuracy, as a PNG.
    #[arg(long, value_name = "FILE", requires = "labels")]
    reliability: Option<PathBuf>,
    /// Draw which class is taken for which, as a PNG; with --probe for the linear probe as well.
    #[arg(long, value_name = "FILE", requires = "labels")]
    confusion: Option<PathBuf>,
    /// Decides what is drawn at random: the bootstrap's pictures, and what is held back to choose a
    /// temperature or a penalty on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    model: ModelArgs,
    /// Print one JSON document in place of the table.
    #[arg(long)]
    json: bool,
}

/// What to measure on: at least one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Sets {
    /// A set with captions: recall of pictures by words and of words by pictures.
    #[arg(long, value_name = "DATA")]
    captions: Option<PathBuf>,
    /// A labelled set: top-1 and top-5 accuracy, and whether probabilities can be believed.
    #[arg(long, value_name = "DATA")]
    labels: Option<PathBuf>,
}

/// What is printed.
#[derive(Serialize)]
struct Measured {
    model: String,
    precision: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    captions: Option<CaptionStudy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<LabelStudy>,
    /// In their place, of a model that knows no words.
    #[serde(rename = "labels", skip_serializing_if = "Option::is_none")]
    pictures: Option<PictureStudy>,
}

impl Measured {
    /// Whether every sample of every set could be used.
    fn all_used(&self) -> bool {
        let labels = self.labels.as_ref();
        let learned = labels.and_then(|labels| labels.learned.as_ref());
        let captions = self.captions.iter().map(|study| &study.figures.unusable);
        let labels = labels.into_iter().map(|study| &study.figures.unusable);
        let learned = learned.into_iter().map(|learned| &learned.unusable);
        let pictures = self.pictures.as_ref();
        let pictures = pictures.into_iter().flat_map(|p| [&p.unusable, &p.learned.unusable]);
        captions.chain(labels).chain(learned).chain(pictures).all(Vec::is_empty)
    }
}

pub(super) fn run(args: &EvalArgs, stop: &Stop) -> anyhow::Result<Ending> {
    let templates = args.templates.as_deref().map(read_templates).transpose()?;
    let measured =
        args.model.with(stop, |embedder, about| measure(args, embedder, about, templates))?;
    match (&measured.labels, &measured.pictures) {
        (Some(labels), _) => draw(args, labels)?,
        (None, Some(pictures)) => draw_probe(args, pictures)?,
        (None, None) => {}
    }
    if args.json {
        print_json(&measured)?;
    } else {
        print_table(&measured);
    }
    Ok(if measured.all_used() { Ending::Done } else { Ending::Partly })
}

fn measure(
    args: &EvalArgs,
    embedder: &mut dyn Embedder,
    about: About,
    templates: Option<Vec<String>>,
) -> anyhow::Result<Measured> {
    let temperature = about.temperature();
    let templates = templates.unwrap_or(about.templates);
    let open = |path: &PathBuf| Dataset::open(path, &templates).map(Arc::new);
    let captions = args.sets.captions.as_ref().map(open).transpose()?;
    let labels = args.sets.labels.as_ref().map(open).transpose()?;
    let training = args.probe.as_ref().map(open).transpose()?;
    if captions.is_some() && !embedder.knows_words() {
        return Err(EvalError::NoWords.into());
    }
    let seed = args.seed;
    let captions = captions.map(|set| eval::study_captions(embedder, &set, seed)).transpose()?;
    let (mut known, mut pictures) = (None, None);
    if let Some(set) = &labels {
        let (templates, training) = (templates.as_slice(), training.as_ref());
        let labelled = Labelled { set, templates, temperature, training, seed };
        if embedder.knows_words() {
            known = Some(eval::study_labels(embedder, &labelled)?);
        } else {
            pictures = Some(eval::study_pictures(embedder, &labelled)?);
        }
    }
    Ok(Measured {
        model: args.model.model.display().to_string(),
        precision: about.precision,
        captions,
        labels: known,
        pictures,
    })
}

/// What is drawn of a model that knows no words.
fn draw_probe(args: &EvalArgs, study: &PictureStudy) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.reliability.is_none(),
        "there is no reliability to draw: the run knows no words; leave --reliability out"
    );
    if let Some(file) = &args.confusion {
        curves::draw_confusion(&[("linear probe", &study.learned.confusion)], file)?;
    }
    Ok(())
}

fn draw(args: &EvalArgs, labels: &LabelStudy) -> anyhow::Result<()> {
    if let Some(file) = &args.reliability {
        let calibration = labels.calibration.as_ref().context(
            "there is no reliability to draw: the model gives each label a probability of its own, \
             or the set has fewer than two pictures; leave --reliability out",
        )?;
        curves::draw_reliability(calibration, file)?;
    }
    if let Some(file) = &args.confusion {
        let mut all = vec![("zero-shot", &labels.confusion)];
        all.extend(labels.learned.as_ref().map(|learned| ("linear probe", &learned.confusion)));
        curves::draw_confusion(&all, file)?;
    }
    Ok(())
}

fn read_templates(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the templates {}", path.display()))?;
    let templates: Vec<String> =
        text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    anyhow::ensure!(!templates.is_empty(), "{} holds no template", path.display());
    Ok(templates)
}

fn print_table(measured: &Measured) {
    println!("{} · {}", measured.model, measured.precision);
    if let Some(captions) = &measured.captions {
        print_captions(captions);
    }
    if let Some(labels) = &measured.labels {
        print_labels(labels);
    }
    if let Some(pictures) = &measured.pictures {
        print_pictures(pictures);
    }
}

fn print_pictures(study: &PictureStudy) {
    println!("\n{} · {} pictures, {} classes", study.set, study.pictures, study.classes);
    println!("{:20}{:>8}{:>18}", "", "top-1", "95 % of draws");
    print_learned(&study.learned);
    print_geometry(
        &[("alignment", study.alignment), ("uniformity", study.uniformity)],
        &study.intervals,
    );
    unusable(&study.unusable);
    unusable(&study.learned.unusable);
}

fn print_captions(study: &CaptionStudy) {
    let c = &study.figures;
    println!("\n{} · {} pictures, {} captions", c.set, c.pictures, c.captions);
    println!("{:16}{:>8}{:>8}{:>8}{:>14}", "", "R@1", "R@5", "R@10", "median rank");
    row("text → image", &c.text_to_image);
    draws(&study.intervals.text_to_image);
    row("image → text", &c.image_to_text);
    draws(&study.intervals.image_to_text);
    let figures = [
        ("alignment", Some(study.alignment)),
        ("image_uniformity", study.image_uniformity),
        ("text_uniformity", study.text_uniformity),
    ];
    print_geometry(&figures, &study.intervals.geometry);
    unusable(&c.unusable);
}

fn row(name: &str, r: &Retrieval) {
    let [one, five, ten] = [r.recall_at_1, r.recall_at_5, r.recall_at_10].map(percent);
    println!("{name:16}{one:>8}{five:>8}{ten:>8}{:>14}", r.median_rank);
}

/// The intervals of a row of recall.
fn draws(intervals: &Intervals) {
    let ends = |name, unit: f64| {
        let ends = intervals.get(name).copied().unwrap_or([f64::NAN; 2]);
        ends.map(|end| end * unit)
    };
    let share = |name| {
        let [low, high] = ends(name, 100.0);
        format!("{low:.0}–{high:.0}")
    };
    let [one, five, ten] = ["recall_at_1", "recall_at_5", "recall_at_10"].map(share);
    let [low, high] = ends("median_rank", 1.0);
    let median = format!("{low}–{high}");
    println!("{:16}{one:>8}{five:>8}{ten:>8}{median:>14}", "  95 % of draws");
}

fn print_geometry(figures: &[(&str, Option<f64>)], intervals: &Intervals) {
    let told = |&(name, value): &(&str, Option<f64>)| {
        let (value, [low, high]) = (value?, intervals.get(name)?);
        Some(format!("{} {value:.2} ({low:.2} – {high:.2})", name.replace('_', " ")))
    };
    let told: Vec<String> = figures.iter().filter_map(told).collect();
    println!("{}", told.join(", "));
}

fn print_labels(study: &LabelStudy) {
    let l = &study.figures;
    let templates = l.templates.len();
    println!("\n{} · {} pictures, {} classes, {templates} templates", l.set, l.pictures, l.classes);
    print_accuracies(l, study);
    print_geometry(
        &[("alignment", study.alignment), ("uniformity", study.uniformity)],
        &study.intervals,
    );
    if let [first, ..] = study.mistakes.as_slice() {
        println!(
            "most often mistaken: {} for {}, {} pictures",
            first.class, first.taken_for, first.pictures
        );
    }
    if let Some(calibration) = &study.calibration {
        print_calibration(calibration);
    }
    unusable(&l.unusable);
    if let Some(learned) = &study.learned {
        unusable(&learned.unusable);
    }
}

fn print_accuracies(l: &LabelFigures, study: &LabelStudy) {
    println!("{:20}{:>8}{:>18}{:>8}{:>18}", "", "top-1", "95 % of draws", "top-5", "95 % of draws");
    let of = |name, intervals: &Intervals| intervals.get(name).map(interval).unwrap_or_default();
    let (one, five) = (of("top_1", &study.intervals), of("top_5", &study.intervals));
    let top_1 = percent(l.classification.top_1);
    let top_5 = percent(l.classification.top_5);
    println!("{:20}{top_1:>8}{one:>18}{top_5:>8}{five:>18}", "image → class");
    study.learned.iter().for_each(print_learned);
}

fn print_learned(learned: &LearnedFigures) {
    let LearnedFigures { set, pictures, linear_probe, nearest_neighbors, .. } = learned;
    for (name, key, accuracy) in [
        ("linear probe", "linear_probe", linear_probe),
        ("nearest neighbors", "nearest_neighbors", nearest_neighbors),
    ] {
        let ends = learned.intervals.get(key).map(interval).unwrap_or_default();
        println!("{name:20}{:>8}{ends:>18}", percent(*accuracy as f32));
    }
    println!("both learned from {set}, {pictures} pictures; penalty {:.2e}", learned.penalty);
}

fn print_calibration(calibration: &Calibration) {
    let Calibration { fitted_on, measured_on, own, fitted } = calibration;
    println!("\n{:20}{:>12}{:>8}{:>18}{:>9}", "", "temperature", "ECE", "95 % of draws", "NLL");
    for (name, at) in [("its own", own), ("fitted", fitted)] {
        println!(
            "{name:20}{:>12}{:>8}{:>18}{:>9.3}",
            curves::temperature_words(at.temperature),
            percent(at.expected_calibration_error as f32),
            interval(&at.expected_calibration_error_interval),
            at.negative_log_likelihood,
        );
    }
    println!("fitted on {fitted_on} of the pictures, both measured on the other {measured_on}");
}

pub(super) fn percent(share: f32) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Intervals by the names of their figures.
type Intervals = BTreeMap<&'static str, Interval>;

/// Both ends in per cent.
fn interval(&[low, high]: &Interval) -> String {
    format!("{:.1} – {:.1} %", 100.0 * low, 100.0 * high)
}

/// Bad samples that are named one by one; `--json` names all.
const NAMED: usize = 5;

pub(super) fn unusable(bad: &[BadSample]) {
    for sample in bad.iter().take(NAMED) {
        println!("{} left out: {}", sample.key, sample.reason);
    }
    if !bad.is_empty() {
        println!("{} samples could not be used", bad.len());
    }
}

//! `clipsight classify`: which label fits a picture best.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;

use super::{Outcome, collection, output};
use crate::search::{Classified, Classifier, Classify};
use crate::settings::{ModelSettings, PictureSettings, QueueSettings};

/// Says which of some labels fits a picture best
///
/// Any words can be labels; nothing is trained for them. The probabilities are among the labels
/// given and sum to one, so leave a label like "something else" if none may fit.
///
/// Example: clipsight classify photo.jpg --labels cat,dog,horse
#[derive(Debug, Args)]
pub(super) struct ClassifyArgs {
    /// The picture
    file: PathBuf,
    /// The labels, separated by commas
    #[arg(
        long,
        value_name = "A,B,C",
        value_delimiter = ',',
        required_unless_present = "labels_file"
    )]
    labels: Vec<String>,
    /// File with further labels, one a line
    #[arg(long, value_name = "FILE")]
    labels_file: Option<PathBuf>,
    /// Sentence with {} where the label goes; may be repeated [default: the model's own]
    #[arg(long, value_name = "SENTENCE")]
    template: Vec<String>,
    /// Most labels to show
    #[arg(long, value_name = "N", default_value_t = 5)]
    limit: usize,
    /// Print the answer as JSON, as the API gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelSettings,
    #[command(flatten)]
    pictures: PictureSettings,
}

pub(super) fn run(args: &ClassifyArgs) -> Result<Outcome> {
    let request = request(args)?;
    let bytes = std::fs::read(&args.file)
        .with_context(|| format!("cannot read {}", args.file.display()))?;
    let classified = collection::tokio()?.block_on(async {
        let embedder =
            collection::embedder(&args.model, &args.pictures, &QueueSettings::default())?;
        let classifier = Classifier::new(embedder.clone());
        classifier.check(&request)?;
        let picture = embedder.picture(Arc::new(bytes)).await;
        let picture = picture.with_context(|| args.file.display().to_string())?;
        Ok::<_, anyhow::Error>(classifier.rank(&request, &picture.embedding).await?)
    })?;
    if args.json {
        output::json(&classified)?;
    } else {
        show(&classified)?;
    }
    Ok(Outcome::Done)
}

fn request(args: &ClassifyArgs) -> Result<Classify> {
    let mut labels: Vec<String> = args.labels.iter().map(|l| l.trim().to_owned()).collect();
    if let Some(path) = &args.labels_file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        labels.extend(lines.map(str::to_owned));
    }
    let templates = (!args.template.is_empty()).then(|| args.template.clone());
    Ok(Classify { picture: None, labels, templates, limit: args.limit })
}

fn show(classified: &Classified) -> Result<()> {
    let row = |label: &crate::search::Label| {
        let percent = format!("{:.1} %", label.probability * 100.0);
        [format!("{percent:>7}"), format!("{:.3}", label.score), label.label.clone()]
    };
    let rows: Vec<[String; 3]> = classified.labels.iter().map(row).collect();
    for line in output::table(["  share", "score", "label"], &rows) {
        output::line(&line)?;
    }
    Ok(())
}

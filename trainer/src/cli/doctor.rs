//! `clipsight-trainer doctor`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use clip::ModelBundle;

use super::bars::Bars;
use super::{Ending, print_json, threads};
use crate::data::Dataset;
use crate::doctor::{Context, Examination, Finding, Report, Severity, Summary, examine};
use crate::recipe::{self, Recipe};
use crate::watch::Stop;

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The sets, in any layout that training reads: the one to train on and the held-out ones, so that
    /// they are compared; default: those that the recipe of --for names.
    #[arg(value_name = "DATA", required_unless_present = "model")]
    sets: Vec<PathBuf>,
    /// The recipe, run or bundle that the sets are for: captions are counted in its tokens and held
    /// against what its text tower sees.
    #[arg(long = "for", value_name = "RECIPE_RUN_OR_BUNDLE")]
    model: Option<PathBuf>,
    /// Print one JSON document in place of the table; it names everything.
    #[arg(long)]
    json: bool,
}

/// What the sets are for.
enum Purpose {
    Recipe(Box<Recipe>),
    Bundle(Box<ModelBundle>),
}

impl Purpose {
    fn of(path: &Path) -> anyhow::Result<Self> {
        let of_run = path.join("recipe.toml");
        let is_run = of_run.is_file() && !path.join("onnx").is_dir();
        if path.is_dir() && !is_run {
            return Ok(Self::Bundle(Box::new(ModelBundle::open(path)?)));
        }
        let file = if is_run { &of_run } else { path };
        Ok(Self::Recipe(Box::new(recipe::load(file, &[])?)))
    }

    fn context(&self) -> anyhow::Result<Context> {
        Ok(match self {
            Self::Recipe(recipe) => Context::of_recipe(recipe)?,
            Self::Bundle(bundle) => Context::of_bundle(bundle)?,
        })
    }

    fn templates(&self) -> Vec<String> {
        match self {
            Self::Recipe(recipe) => recipe.templates(),
            Self::Bundle(bundle) => bundle.templates(),
        }
    }

    /// What is to be trained on and measured on, each once.
    fn sets(&self) -> anyhow::Result<Vec<PathBuf>> {
        let Self::Recipe(recipe) = self else {
            anyhow::bail!("a bundle names no sets; name some, or a recipe in --for");
        };
        let trained = recipe.data.iter().map(|data| &data.path);
        let measured = recipe.eval.captions.iter().chain(&recipe.eval.labels);
        let mut sets: Vec<PathBuf> = Vec::new();
        for path in trained.chain(measured) {
            if !sets.contains(path) {
                sets.push(path.clone());
            }
        }
        Ok(sets)
    }
}

pub(super) fn run(args: &DoctorArgs, stop: &Stop) -> anyhow::Result<Ending> {
    let purpose = args.model.as_deref().map(Purpose::of).transpose()?;
    let context = purpose.as_ref().map(Purpose::context).transpose()?;
    let usual = || vec![clip::zero_shot::DEFAULT_TEMPLATE.to_owned()];
    let templates = purpose.as_ref().map_or_else(usual, Purpose::templates);
    let paths = match &purpose {
        Some(purpose) if args.sets.is_empty() => purpose.sets()?,
        _ => args.sets.clone(),
    };
    let first =
        |(at, path): &(usize, &PathBuf)| paths.iter().position(|one| one == *path) == Some(*at);
    let paths: Vec<PathBuf> =
        paths.iter().enumerate().filter(first).map(|(_, path)| path.clone()).collect();
    let open = |path: &PathBuf| Dataset::open(path, &templates).map(Arc::new);
    let sets = paths.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let mut bars = Bars::default();
    let mut examination =
        Examination { context: context.as_ref(), threads: threads(), watch: &mut bars, stop };
    let report = examine(&sets, &mut examination)?;
    bars.finish();
    if args.json {
        print_json(&report)?;
    } else {
        print_report(&report);
    }
    Ok(if report.hurts() { Ending::Partly } else { Ending::Done })
}

/// Things of a finding that are named one by one; `--json` names all.
const NAMED: usize = 3;

fn print_report(report: &Report) {
    for summary in &report.sets {
        print_summary(summary);
    }
    for finding in &report.findings {
        print_finding(finding);
    }
    let of = |severity| report.findings.iter().filter(|f| f.severity == severity).count();
    println!("\nharm: {}, notes: {}", of(Severity::Harm), of(Severity::Note));
    match report.context_length {
        Some(length) => println!("captions were held against {length} tokens"),
        None => println!(
            "captions were not counted in tokens; name a recipe, run or bundle in --for to have them \
             held against what its text tower sees"
        ),
    }
}

fn print_summary(summary: &Summary) {
    let mut words = vec![format!("{} pictures", summary.pictures)];
    words.extend(summary.captions.map(|captions| format!("{captions} captions")));
    words.extend(summary.median_words.map(|words| format!("{words} words in the middle one")));
    words.extend(summary.classes.map(|classes| format!("{classes} classes")));
    if let (Some([width, height]), Some(largest)) = (summary.smallest, summary.largest) {
        let to = if [width, height] == largest {
            String::new()
        } else {
            format!(" to {}×{}", largest[0], largest[1])
        };
        words.push(format!("{width}×{height}{to} pixels"));
    }
    println!("{} · {}", summary.set, words.join(", "));
}

fn print_finding(finding: &Finding) {
    let severity = match finding.severity {
        Severity::Harm => "harm",
        Severity::Note => "note",
    };
    println!("\n{severity}  {}", finding.what);
    for thing in finding.things.iter().take(NAMED) {
        println!("      {thing}");
    }
    if let Some(more) = finding.things.len().checked_sub(NAMED + 1) {
        println!("      and {} more", more + 1);
    }
    println!("      → {}", finding.cure);
}

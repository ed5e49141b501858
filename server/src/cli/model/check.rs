//! `clipsight model check`: does a model answer as it was measured.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use clip::ModelBundle;
use runtime::{Model, ModelOptions, RuntimeError};
use serde::Serialize;

use super::super::{Outcome, output};
use crate::settings::ModelSettings;

/// Runs a model and compares its answers with those it was measured by
///
/// A bundle carries texts and pictures with the embeddings that they must give. This runs each
/// precision that the bundle holds over them. Ends with 1 if one does not reproduce them.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// Folder of the bundle [default: the one of --model]
    dir: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelSettings,
}

/// What came of a bundle.
#[derive(Serialize)]
struct Checked {
    dir: PathBuf,
    id: Option<String>,
    checks: Vec<Check>,
}

/// What came of one precision.
#[derive(Serialize)]
struct Check {
    precision: String,
    /// What ran it, by ONNX Runtime's record of a run.
    provider: Option<&'static str>,
    /// What its matrix products multiplied in that run.
    arithmetic: Option<String>,
    dim: Option<usize>,
    /// Reference inputs that were compared.
    compared: usize,
    lowest_cosine: Option<f32>,
    tolerance: Option<f32>,
    passed: bool,
    /// Why it did not pass.
    reason: Option<String>,
}

pub(super) fn run(args: &CheckArgs) -> Result<Outcome> {
    runtime::library::load(args.model.onnxruntime().as_deref())?;
    let dir = args.dir.clone().map_or_else(|| args.model.model(), Ok)?;
    let bundle = ModelBundle::open(&dir)?;
    let names: Vec<String> = match &args.model.precision {
        Some(name) => vec![name.clone()],
        None => runtime::precisions(&bundle)?.into_keys().collect(),
    };
    if names.is_empty() {
        bail!(
            "{} holds no graphs (onnx/vision_model*.onnx with onnx/text_model*.onnx)",
            dir.display()
        );
    }
    let checks: Vec<Check> =
        names.into_iter().map(|name| check(&bundle, name, &args.model)).collect();
    let passed = checks.iter().all(|check| check.passed);
    let id = bundle.manifest.as_ref().map(|manifest| manifest.id.0.clone());
    let checked = Checked { dir, id, checks };
    if args.json {
        output::json(&checked)?;
    } else {
        show(&checked)?;
    }
    Ok(if passed { Outcome::Done } else { Outcome::Partly })
}

fn check(bundle: &ModelBundle, precision: String, settings: &ModelSettings) -> Check {
    let manifest = bundle.manifest.as_ref();
    let tolerance = manifest.and_then(|m| Some(m.precisions.get(&precision)?.tolerance));
    let blank = Check {
        precision: precision.clone(),
        provider: None,
        arithmetic: None,
        dim: None,
        compared: 0,
        lowest_cosine: None,
        tolerance,
        passed: false,
        reason: None,
    };
    match compare(bundle, precision, settings) {
        Ok((model, Some(found))) => Check {
            provider: Some(model.provider),
            arithmetic: Some(model.arithmetic),
            dim: Some(model.dim),
            compared: found.compared,
            lowest_cosine: Some(found.lowest_cosine),
            passed: true,
            ..blank
        },
        Ok((model, None)) => Check {
            provider: Some(model.provider),
            arithmetic: Some(model.arithmetic),
            dim: Some(model.dim),
            reason: Some("it runs, but has no manifest.json to compare with".to_owned()),
            ..blank
        },
        Err(error) => Check { reason: Some(format!("{:#}", anyhow::Error::new(error))), ..blank },
    }
}

fn compare(
    bundle: &ModelBundle,
    precision: String,
    settings: &ModelSettings,
) -> Result<(Model, Option<runtime::SelfCheck>), RuntimeError> {
    let options = ModelOptions { threads: settings.thread_count(), precision: Some(precision) };
    let mut model = Model::open_on(bundle, &options, settings.provider.into())?;
    let found = runtime::self_check(&mut model, bundle)?;
    Ok((model, found))
}

fn show(checked: &Checked) -> Result<()> {
    let number = |value: Option<f32>| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.6}"));
    let row = |check: &Check| {
        let verdict = match &check.reason {
            Some(reason) => format!("no: {reason}"),
            None => "yes".to_owned(),
        };
        let compared = check.compared.to_string();
        let (lowest, wanted) = (number(check.lowest_cosine), number(check.tolerance));
        let runs_on = check.provider.unwrap_or("-").to_owned();
        let computes_in = check.arithmetic.clone().unwrap_or_else(|| "-".to_owned());
        [check.precision.clone(), runs_on, computes_in, compared, lowest, wanted, verdict]
    };
    let rows: Vec<[String; 7]> = checked.checks.iter().map(row).collect();
    output::line(&format!(
        "{} ({})",
        checked.dir.display(),
        checked.id.as_deref().unwrap_or("no id")
    ))?;
    let heading = [
        "precision",
        "runs on",
        "computes in",
        "compared",
        "lowest cosine",
        "wanted",
        "reproduced",
    ];
    output::table(heading, &rows).iter().try_for_each(|line| output::line(line))
}

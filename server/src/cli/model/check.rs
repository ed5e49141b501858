//! `clipsight model check`: does a model answer as it was measured.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use clip::ModelBundle;
use clip::tokenize::Padding;
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
    understood: Understood,
    checks: Vec<Check>,
}

/// What was read from the files beside the graphs.
#[derive(Serialize)]
struct Understood {
    /// How the files are arranged.
    layout: &'static str,
    family: String,
    /// `[H, W]` of what the image tower sees.
    image_size: [usize; 2],
    context_length: usize,
    /// How texts are prepared, in words.
    texts: String,
}

impl Understood {
    fn of(bundle: &ModelBundle) -> Self {
        let rules = bundle.tokenizer.rules();
        let padded = match rules.padding {
            Padding::Longest => "no longer than they are".to_owned(),
            Padding::Full(side) => format!("filled up on the {} by {}", side.name(), rules.pad_id),
        };
        Self {
            layout: bundle.layout.name,
            family: bundle.rules.family.clone(),
            image_size: [bundle.processor.height(), bundle.processor.width()],
            context_length: rules.context_length,
            texts: format!("{}, {padded}", rules.cleaning),
        }
    }
}

/// What came of one precision.
#[derive(Default, Serialize)]
struct Check {
    precision: String,
    /// What ran it, by ONNX Runtime's record of a run.
    provider: Option<&'static str>,
    /// What its matrix products multiplied in that run.
    arithmetic: Option<String>,
    dim: Option<usize>,
    /// Inputs and output of the image tower's graph, in words.
    image: Option<String>,
    /// Inputs and output of the text tower's graph, in words.
    text: Option<String>,
    /// Scale from cosine to logit, as a logarithm; none where neither files nor graph tell it.
    logit_scale: Option<f32>,
    logit_bias: Option<f32>,
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
        None => runtime::precisions(&bundle).into_keys().collect(),
    };
    if names.is_empty() {
        // It says what was found instead.
        Model::open(&bundle, &ModelOptions::default())?;
    }
    let checks: Vec<Check> =
        names.into_iter().map(|name| check(&bundle, name, &args.model)).collect();
    let passed = checks.iter().all(|check| check.passed);
    let id = bundle.manifest.as_ref().map(|manifest| manifest.id.0.clone());
    let checked = Checked { dir, id, understood: Understood::of(&bundle), checks };
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
    let mut found = Check { precision: precision.clone(), tolerance, ..Check::default() };
    let (model, compared) = match compare(bundle, precision, settings) {
        Ok(compared) => compared,
        Err(error) => {
            found.reason = Some(format!("{:#}", anyhow::Error::new(error)));
            return found;
        }
    };
    found.provider = Some(model.provider);
    found.dim = Some(model.dim);
    found.image = Some(model.image.describe());
    found.text = Some(model.text.describe());
    found.logit_scale = model.logits.map(|logits| logits.logit_scale);
    found.logit_bias = model.logits.and_then(|logits| logits.logit_bias);
    let caution = model.caution();
    found.arithmetic = Some(model.arithmetic);
    match compared {
        Some(compared) => {
            found.compared = compared.compared;
            found.lowest_cosine = Some(compared.lowest_cosine);
            found.passed = true;
        }
        None => {
            let unknown = "it runs, but has no manifest.json to compare with".to_owned();
            found.reason = Some(match caution {
                Some(caution) => format!("{unknown}; {caution}"),
                None => unknown,
            });
        }
    }
    found
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
    let understood = &checked.understood;
    output::line(&format!(
        "{} ({})",
        checked.dir.display(),
        checked.id.as_deref().unwrap_or("no id")
    ))?;
    output::line(&format!(
        "layout {}, family {}; pictures of {}×{}; texts of up to {} tokens, {}",
        understood.layout,
        understood.family,
        understood.image_size[1],
        understood.image_size[0],
        understood.context_length,
        understood.texts
    ))?;
    for check in &checked.checks {
        show_graphs(check)?;
    }
    let rows: Vec<[String; 7]> = checked.checks.iter().map(row).collect();
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

/// What was understood of the graphs of a precision that runs.
fn show_graphs(check: &Check) -> Result<()> {
    let (Some(image), Some(text)) = (&check.image, &check.text) else { return Ok(()) };
    output::line(&format!("{}: pictures {image}", check.precision))?;
    output::line(&format!("{}: texts {text}", check.precision))?;
    let scale = check.logit_scale.map(f32::exp);
    output::line(&match (scale, check.logit_bias) {
        (Some(scale), Some(bias)) => {
            format!("{}: sigmoid of {scale:.2} times the cosine, {bias:+.2}", check.precision)
        }
        (Some(scale), None) => {
            format!("{}: softmax of {scale:.2} times the cosine", check.precision)
        }
        (None, _) => format!(
            "{}: scale and bias are not told; a softmax of 100 times the cosine is taken \
             (model_config.json beside it can say logit_scale, logit_bias, activation_function)",
            check.precision
        ),
    })
}

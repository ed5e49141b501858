//! `clipsight model pull`: a public model in one line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use clip::bundle::MANIFEST;
use clip::{Manifest, ModelBundle};
use indicatif::{ProgressBar, ProgressStyle};
use runtime::{Model, ModelOptions, SelfCheck};
use serde::Serialize;

use super::super::{Outcome, output};
use crate::hub::{Hub, Plan, RepoName, plan};
use crate::settings::{ModelSettings, data_folder};

/// Fetches a public model from a model hub and checks that it runs here
///
/// Takes the graphs of one precision, the best for this machine or the one of --precision, with
/// what they need. What a broken connection has left is gone on with by the next try.
///
/// The hub is Hugging Face's, or the one that `HF_ENDPOINT` names; `HF_TOKEN` is sent to it.
#[derive(Debug, Args)]
pub(in crate::cli) struct PullArgs {
    /// The repository, for example Xenova/clip-vit-base-patch32
    #[arg(value_name = "ORG/NAME")]
    repository: String,
    /// Branch, tag or commit of the repository
    #[arg(long, value_name = "NAME", default_value = "main")]
    revision: String,
    /// Folder for the model [default: models/ORG--NAME in clipsight's XDG data folder]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Print what was fetched as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelSettings,
}

/// What was fetched and how it runs.
#[derive(Serialize)]
struct Pulled {
    repository: String,
    commit: String,
    license: Option<String>,
    dir: PathBuf,
    size_bytes: u64,
    precision: String,
    provider: &'static str,
    arithmetic: String,
    dim: usize,
    /// How its files are arranged.
    layout: &'static str,
    /// Whether it came with answers to compare with, and gave them.
    self_checked: bool,
}

pub(super) fn run(args: &PullArgs) -> Result<Outcome> {
    // What the machine can do decides what is fetched, so it is looked at first.
    runtime::library::load(args.model.onnxruntime().as_deref())?;
    let name = RepoName::new(&args.repository)?;
    let dir = match &args.into {
        Some(dir) => dir.clone(),
        None => data_folder(None)?.join("models").join(name.folder_name()),
    };
    let hub = Hub::from_env();
    let listing = hub.listing(&name, &args.revision)?;
    let preference = runtime::precision_order(args.model.provider.into());
    // A bundle of our own says in its manifest which files are which.
    let mut manifest = None;
    if listing.file(MANIFEST).is_some() {
        hub.fetch_file(&listing, MANIFEST, &dir)?;
        manifest = Manifest::read(&dir.join(MANIFEST))?;
    }
    let wanted = args.model.precision.as_deref();
    let plan = plan(&listing, manifest.as_ref(), wanted, preference)?;
    output::tell(&format!(
        "{} from {}: {} of {} into {}",
        name.as_str(),
        hub.endpoint(),
        output::size(plan.size_bytes()),
        plan.precision,
        dir.display()
    ));
    let bar = bar(&plan)?;
    hub.fetch(&listing, &plan, &dir, &mut |done| bar.set_position(done))?;
    bar.finish_and_clear();
    let (model, layout, check) = opened(args, &dir, &plan)
        .with_context(|| format!("{} is here, but cannot be served", name.as_str()))?;
    let pulled = Pulled {
        repository: args.repository.clone(),
        commit: listing.commit,
        license: listing.license,
        size_bytes: plan.size_bytes(),
        precision: plan.precision,
        provider: model.provider,
        arithmetic: model.arithmetic,
        dim: model.dim,
        layout,
        self_checked: check.is_some(),
        dir,
    };
    show(&pulled, args.json)?;
    Ok(Outcome::Done)
}

fn bar(plan: &Plan) -> Result<ProgressBar> {
    let bar = ProgressBar::new(plan.size_bytes());
    let words =
        "{bar:32} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(words)?);
    Ok(bar)
}

/// Opens both graphs and runs them once, as a server does at its start, then its self-check where it
/// has one.
fn opened(
    args: &PullArgs,
    dir: &Path,
    plan: &Plan,
) -> Result<(Model, &'static str, Option<SelfCheck>)> {
    let bundle = ModelBundle::open(dir)?;
    let precision = Some(plan.precision.clone());
    let options = ModelOptions { threads: args.model.thread_count(), precision };
    let mut model = Model::open_on(&bundle, &options, args.model.provider.into())?;
    let check = runtime::self_check(&mut model, &bundle)?;
    Ok((model, bundle.layout.name, check))
}

fn show(pulled: &Pulled, json: bool) -> Result<()> {
    if json {
        return output::json(pulled);
    }
    let license = pulled.license.as_deref().unwrap_or("no license declared; read its README.md");
    output::line(&format!(
        "{} runs here: {} on {}, computing in {}, {} dimensions; license: {license}",
        pulled.repository, pulled.precision, pulled.provider, pulled.arithmetic, pulled.dim
    ))?;
    output::line(if pulled.self_checked {
        "It gives the answers that it was measured by."
    } else {
        "It came without answers to compare with, so nothing more could be checked."
    })?;
    output::line("It is served by:")?;
    output::line(&format!("  clipsight serve --model {}", pulled.dir.display()))
}

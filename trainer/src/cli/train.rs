//! `clipsight-trainer train`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::bars::Bars;
use super::{Ending, chain, report, threads, together};
use crate::processes::Processes;
use crate::recipe::{self, Recipe};
use crate::run::Run;
use crate::train::{Surroundings, train};
use crate::watch::{Stop, Watch};

/// Flags of `train`.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    /// The recipe, a TOML file; with --resume it may be left out.
    #[arg(value_name = "RECIPE", required_unless_present = "resume")]
    recipe: Option<PathBuf>,
    /// Change a key of the recipe, for example --set train.epochs=5; may be repeated.
    #[arg(long = "set", value_name = "KEY.PATH=VALUE", requires = "recipe")]
    sets: Vec<String>,
    /// Start from this CLIP's folder (config.json, model.safetensors, tokenizer.json), from what this run
    /// has learned, of a CLIP or over the same two towers, or from the bundle that such a run was exported
    /// to; it goes before the recipe's model.init.
    #[arg(long, value_name = "DIR", requires = "recipe")]
    init: Option<PathBuf>,
    /// The run's folder; default: runs/NAME-N beside you, NAME being the recipe's.
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with a run that stopped, exactly as if it had not.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
}

pub(super) fn run(args: TrainArgs, stop: &Stop) -> anyhow::Result<Ending> {
    let group = together::joined()?;
    let ended = one(args, group.as_ref().map_or(Processes::ALONE, Processes::of), stop);
    match group {
        Some(group) => together::left(group, ended),
        None => ended,
    }
}

/// What this process does, alone or as the first or another one of several.
fn one(args: TrainArgs, processes: Processes<'_>, stop: &Stop) -> anyhow::Result<Ending> {
    let load = |path| recipe::load_from(path, &args.sets, args.init.as_deref());
    let wanted = args.recipe.as_deref().map(load).transpose()?;
    if !processes.is_first() {
        return together::help(args.resume.as_deref(), wanted, processes, stop);
    }
    let run = match (args.resume, wanted) {
        (Some(folder), wanted) => resume(&folder, wanted)?,
        (None, Some(recipe)) => {
            let recipe = together::placed(recipe);
            let folder = match (args.out, args.recipe) {
                (Some(folder), _) => folder,
                (None, path) => free_folder(path.as_deref().unwrap_or(Path::new("recipe.toml"))),
            };
            Run::create(&folder, recipe)?
        }
        (None, None) => bail!("name a recipe, or a run with --resume"),
    };
    together::alike(&run.recipe, processes)?;
    let mut bars = Bars::default();
    bars.say(&format!("the run is {}", run.folder.display()));
    let mut around = Surroundings { watch: &mut bars, stop, threads: threads(), processes };
    let outcome = train(&run, &mut around)
        .with_context(|| format!("the training in {} did not end", run.folder.display()))?;
    // The others have done their part and wait for the end.
    around.processes = Processes::ALONE;
    let reported = outcome.finished.then(|| report::end(&run, &mut around));
    bars.finish();
    let folder = run.folder.display();
    if !outcome.finished {
        let steps = outcome.steps;
        eprintln!(
            "stopped after step {steps}; go on with: clipsight-trainer train --resume {folder}"
        );
        return Ok(Ending::Partly);
    }
    let next = if run.recipe.train.method.knows_words() {
        format!("write the bundle with: clipsight-trainer export {folder} --out BUNDLE")
    } else {
        format!(
            "see what can be learned from it with: clipsight-trainer eval {folder} --labels DEV \
             --probe TRAIN; a training with words begins from it by --init {folder}"
        )
    };
    eprintln!("{} steps done; {next}", outcome.steps);
    if let Some(Err(error)) = reported {
        eprintln!(
            "the way back was not measured: {}; try again with: clipsight-trainer blend {folder}",
            chain(&error)
        );
        return Ok(Ending::Partly);
    }
    if outcome.unusable > 0 {
        eprintln!("{} samples could not be used", outcome.unusable);
        return Ok(Ending::Partly);
    }
    Ok(Ending::Done)
}

/// A run keeps its recipe: another one is another run.
fn resume(folder: &Path, wanted: Option<Recipe>) -> anyhow::Result<Run> {
    let run = Run::open(folder)?;
    let same = |mut wanted: Recipe| {
        wanted.train.precision = wanted.train.precision.or(run.recipe.train.precision);
        wanted == run.recipe
    };
    if !wanted.is_none_or(same) {
        bail!(
            "the recipe is not the one that {} was begun with; leave it out to go on with that, or \
             leave --resume out to begin anew",
            folder.display()
        );
    }
    Ok(run)
}

/// `runs/NAME-N`, the first that is free; a `recipe.toml` is named after its folder.
fn free_folder(recipe: &Path) -> PathBuf {
    let recipe = std::path::absolute(recipe).unwrap_or_else(|_| recipe.to_owned());
    let stem = recipe.file_stem().filter(|stem| *stem != "recipe");
    let folder = recipe.parent().and_then(Path::file_name);
    let name = stem.or(folder).unwrap_or_default().to_string_lossy().into_owned();
    let candidate = |n: u32| Path::new("runs").join(format!("{name}-{n}"));
    (1..).map(candidate).find(|path| !path.exists()).unwrap_or_else(|| candidate(0))
}

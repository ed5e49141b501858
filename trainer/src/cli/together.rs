//! `train` in several processes, started as `torchrun` starts programs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use collective::{Group, Patience, Place};

use super::{Ending, chain, threads};
use crate::device::Placement;
use crate::processes::Processes;
use crate::recipe::Recipe;
use crate::run::Run;
use crate::train::{Surroundings, train};
use crate::watch::{Silent, Stop};

/// Seconds within which all processes have to come.
const JOIN_TIMEOUT: &str = "CLIPSIGHT_JOIN_TIMEOUT_S";

/// Seconds after which a process that gives no life sign is lost.
const SILENCE_TIMEOUT: &str = "CLIPSIGHT_SILENCE_TIMEOUT_S";

/// The processes that the environment speaks of, joined; none where it speaks of this one alone.
pub(super) fn joined() -> anyhow::Result<Option<Group>> {
    let Some(place) = Place::of_environment()? else { return Ok(None) };
    let usual = Patience::default();
    let patience = Patience {
        joining: seconds(JOIN_TIMEOUT)?.unwrap_or(usual.joining),
        silence: seconds(SILENCE_TIMEOUT)?.unwrap_or(usual.silence),
    };
    let mut group = Group::join(&place, patience).context("the processes cannot train together")?;
    group.agree("version of clipsight-trainer", env!("CARGO_PKG_VERSION"))?;
    let device = Placement::of_process(place.local_rank, None).device;
    if let Err(error) = group.compute_on(device) {
        group.tell_end(&error.to_string());
        return Err(error).context("the processes cannot train together");
    }
    Ok(Some(group))
}

fn seconds(name: &str) -> anyhow::Result<Option<Duration>> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    match value.to_str().and_then(|value| value.trim().parse().ok()) {
        Some(seconds @ 1..=86_400) => Ok(Some(Duration::from_secs(seconds))),
        _ => bail!("{name}={} is no number of seconds from 1 to 86400", value.display()),
    }
}

/// Ends together with the others, or tells them why this process does not.
pub(super) fn left(group: Group, ended: anyhow::Result<Ending>) -> anyhow::Result<Ending> {
    match ended {
        Ok(ending) => {
            // All is done and written; who is lost now takes nothing away.
            if let Err(error) = group.close() {
                eprintln!("note: {error}");
            }
            Ok(ending)
        }
        Err(error) => {
            group.tell_end(&chain(&error));
            Err(error)
        }
    }
}

/// With the arithmetic of this machine written down, so that the run goes on in it on whatever machine.
pub(super) fn placed(mut recipe: Recipe) -> Recipe {
    recipe.train.precision.get_or_insert_with(|| Placement::choose(None).precision());
    recipe
}

/// Refuses to train by different recipes. Where files lie may differ from machine to machine; what they
/// hold is compared when they are read.
pub(super) fn alike(recipe: &Recipe, processes: Processes<'_>) -> anyhow::Result<()> {
    let written = toml::to_string(&recipe.clone().without_folders())?;
    Ok(processes.agree("recipe", &written)?)
}

/// Computes along without a word and without a file: what it has to keep meanwhile lies in a temporary
/// folder.
pub(super) fn help(
    resume: Option<&Path>,
    wanted: Option<Recipe>,
    processes: Processes<'_>,
    stop: &Stop,
) -> anyhow::Result<Ending> {
    let recipe = match (wanted, resume) {
        (Some(recipe), _) => placed(recipe),
        (None, Some(folder)) => Run::open(folder)?.recipe,
        (None, None) => bail!("name a recipe, or a run with --resume"),
    };
    alike(&recipe, processes)?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let run = Run::create(folder.path(), recipe)?;
    let mut around = Surroundings { watch: &mut Silent, stop, threads: threads(), processes };
    let outcome = train(&run, &mut around)?;
    let whole = outcome.finished && outcome.unusable == 0;
    Ok(if whole { Ending::Done } else { Ending::Partly })
}

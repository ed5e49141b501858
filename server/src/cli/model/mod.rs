//! `clipsight model`: looking after models.

mod check;
mod list;
mod pull;

use anyhow::Result;
use clap::Subcommand;

use super::Outcome;

/// Looks after models
#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    Check(check::CheckArgs),
    List(list::ListArgs),
    Pull(pull::PullArgs),
}

pub(super) fn run(command: &ModelCommand) -> Result<Outcome> {
    match command {
        ModelCommand::Check(args) => check::run(args),
        ModelCommand::List(args) => list::run(args),
        ModelCommand::Pull(args) => pull::run(args),
    }
}

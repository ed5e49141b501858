//! `clipsight completions`: what makes a shell complete the words of this program.

use std::io::Write;

use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome};

/// Prints a script that makes a shell complete clipsight's commands and flags
///
/// Examples:
///   clipsight completions bash > ~/.local/share/bash-completion/completions/clipsight
///   clipsight completions zsh > ~/.zfunc/_clipsight      (with ~/.zfunc in fpath)
///   clipsight completions fish > ~/.config/fish/completions/clipsight.fish
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<Outcome> {
    // Into memory first: the generator panics on a pipe that was closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "clipsight", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Outcome::Done)
}

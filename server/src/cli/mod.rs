//! The command line: a thin edge that turns words into calls and answers into lines.
//!
//! Knows nothing of how anything is found, embedded or stored.
//! Invariant: with `--json`, standard output holds one JSON document and nothing else; whatever
//! happens, the program ends with 0 (done), 1 (done with failures, or nothing found) or 2 (could
//! not do it), and says the reason once.

mod classify;
mod collection;
mod completions;
mod index;
mod model;
mod output;
mod progress;
mod search;
mod serve;
mod signals;
mod status;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::settings::layers_of;

/// Finds your photographs by what is on them.
///
/// Clipsight reads pictures once, keeps what a model makes of them, and then finds them by words, by
/// other pictures, or by both.
/// Pictures are only read, never changed.
///
/// Start with `clipsight index ~/Pictures`, then `clipsight search a dog on the beach`, or
/// `clipsight serve` for the page.
///
/// Every flag can also be set as CLIPSIGHT_… in the environment or in clipsight.toml; the flag wins
/// over the environment, and the environment over the file.
#[derive(Debug, Parser)]
#[command(name = "clipsight", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Settings file [default: ./clipsight.toml, else clipsight/clipsight.toml in the XDG folder]
    ///
    /// Its keys are the long flags with `_` for `-`, for example `max_pixels = 300000000`.
    #[arg(long, global = true, value_name = "FILE", help_heading = "General")]
    config: Option<PathBuf>,
    /// What is logged to standard error: error, warn, info, debug, or a filter for each module
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "General")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Index(index::IndexArgs),
    Search(search::SearchArgs),
    Classify(classify::ClassifyArgs),
    Serve(serve::ServeArgs),
    Status(status::StatusArgs),
    #[command(subcommand)]
    Model(model::ModelCommand),
    Completions(completions::CompletionsArgs),
}

/// How a command that could be done came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// All of it.
    Done,
    /// With failures, or nothing was found.
    Partly,
}

/// Runs the words of the command line to their exit code.
#[must_use]
pub fn main() -> ExitCode {
    runtime::environment::settle(&[]);
    let words: Vec<OsString> = std::env::args_os().collect();
    match parse(&words).and_then(run) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partly) => ExitCode::from(1),
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(2)
        }
    }
}

fn parse(words: &[OsString]) -> Result<Cli> {
    let command = layers_of(Cli::command(), words)?;
    // clap prints help and usage errors itself, and ends with 0 and 2 as we would.
    let matches = command.try_get_matches_from(words).unwrap_or_else(|error| error.exit());
    Ok(Cli::from_arg_matches(&matches)?)
}

fn run(cli: Cli) -> Result<Outcome> {
    log(&cli)?;
    match cli.command {
        Command::Index(args) => index::run(&args),
        Command::Search(args) => search::run(&args),
        Command::Classify(args) => classify::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Model(command) => model::run(&command),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Starts logging to standard error: with times for the server, which runs for days.
fn log(cli: &Cli) -> Result<()> {
    let serving = matches!(cli.command, Command::Serve(_));
    // ONNX Runtime warns with every CUDA model that the arithmetic of shapes stays on the CPU.
    let usual = if serving { "warn,ort=error,clipsight=info" } else { "warn,ort=error" };
    let filter = EnvFilter::try_new(cli.log.as_deref().unwrap_or(usual)).with_context(
        || "--log takes error, warn, info, debug, or a list like warn,clipsight=debug",
    )?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    if serving {
        log.init();
    } else {
        log.without_time().init();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn layers_leave_every_command_well_formed() {
        let words = ["clipsight".into()];
        layers_of(Cli::command(), &words).unwrap().debug_assert();
    }
}

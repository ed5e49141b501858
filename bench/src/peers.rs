//! Programs of others beside ours: each is run in its turn, a few rounds of all, since machines are
//! shared and what is measured later is measured on another machine.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::timing::at;

/// The environment that `make bench` makes for them.
const PYTHON: &str = ".runtime/peers/bin/python";

/// Examples of the trainer, where a release build leaves them.
const EXAMPLES: &str = "target/release/examples";

/// One that takes part.
pub(crate) struct Peer<'a> {
    pub(crate) name: &'a str,
    /// Runs it once and answers its figure.
    pub(crate) run: Box<dyn FnMut() -> Result<f64> + 'a>,
}

impl<'a> Peer<'a> {
    pub(crate) fn new(name: &'a str, run: impl FnMut() -> Result<f64> + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// Runs all in turns and prints their figures in `unit`, of which more is better, and how many times
/// the median of the last one each median is.
pub(crate) fn in_turns(rounds: usize, unit: &str, peers: &mut [Peer<'_>]) -> Result<()> {
    let mut figures = vec![Vec::new(); peers.len()];
    for _ in 0..rounds {
        for (peer, figures) in peers.iter_mut().zip(&mut figures) {
            figures.push((peer.run)().with_context(|| peer.name.to_owned())?);
        }
    }
    let medians: Vec<f64> = figures.iter().map(|figures| at(figures, 0.5)).collect();
    let last = medians.last().copied().context("nobody takes part")?;
    println!("| | {unit}, in turns | median | beside the last |\n|---|---|---|---|");
    for ((peer, figures), median) in peers.iter().zip(&figures).zip(medians) {
        let rounds: Vec<String> = figures.iter().map(|figure| format!("{figure:.1}")).collect();
        let (name, rounds) = (peer.name, rounds.join(", "));
        println!("| {name} | {rounds} | {median:.1} | {:.2} |", median / last);
    }
    Ok(())
}

/// A script of `bench/peers`.
pub(crate) fn script(name: &str) -> Result<Command> {
    let missing = "it is missing; `make bench` makes it (scripts/fetch_peers.sh)";
    ensure!(Path::new(PYTHON).is_file(), "{PYTHON}: {missing}");
    let mut command = Command::new(PYTHON);
    command.arg(format!("bench/peers/{name}"));
    Ok(command)
}

/// An example of the trainer.
pub(crate) fn example(name: &str) -> Result<Command> {
    let path = Path::new(EXAMPLES).join(name);
    let cure = "cargo build --release -p clipsight-trainer --examples";
    ensure!(path.is_file(), "{} is missing; build it with: {cure}", path.display());
    Ok(Command::new(path))
}

/// Runs a program to its end and answers what it printed.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}:\n{error}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The number before `unit` in what a program printed.
pub(crate) fn figure(printed: &str, unit: &str) -> Result<f64> {
    let before = printed.split(unit).next().filter(|before| before.len() < printed.len());
    let number = before.and_then(|before| before.split_whitespace().last()?.parse().ok());
    number.with_context(|| format!("there is no figure in {unit} in what it printed: {printed}"))
}

//! The command line: flags to rooms, outcomes to words and exit codes.
//!
//! No decision about training, measuring or exporting is made here.
//! Invariant: standard output holds what was asked for and nothing else.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this room talks to a person")]

mod bars;
mod blend;
mod doctor;
mod eval;
mod export;
mod model;
mod report;
mod temperature;
mod together;
mod train;

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use signal_hook::consts::SIGXFSZ;

use crate::watch::Stop;

/// Aligns an image tower and a text tower on pictures with captions, measures the result and
/// exports it as ONNX.
#[derive(Debug, Parser)]
#[command(name = "clipsight-trainer", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with sets of pictures before anything is trained or measured on them.
    Doctor(doctor::DoctorArgs),
    /// Train by a recipe, or go on with a run.
    Train(train::TrainArgs),
    /// Measure a bundle or a run on held-out sets.
    Eval(eval::EvalArgs),
    /// Draw how sharply a model tells pictures apart, at several temperatures.
    Temperature(temperature::TemperatureArgs),
    /// Go back a part of the way from what a run ended at to what it began from, and measure what is won
    /// and what is kept.
    Blend(blend::BlendArgs),
    /// Write a run's model as a bundle that the server serves.
    Export(export::ExportArgs),
}

/// How a command ended, when it could be done.
enum Ending {
    /// All of it.
    Done,
    /// With failures, or not to its end.
    Partly,
}

static STOP: Stop = Stop::new();

/// Runs the command of this process and answers its exit code: 0 done, 1 done with failures,
/// 2 could not.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::environment::settle();
    let ended = listen().and_then(|()| match cli.command {
        Command::Doctor(args) => doctor::run(&args, &STOP),
        Command::Train(args) => train::run(args, &STOP),
        Command::Eval(args) => eval::run(&args, &STOP),
        Command::Temperature(args) => temperature::run(&args, &STOP),
        Command::Blend(args) => blend::run(&args, &STOP),
        Command::Export(args) => export::run(&args, &STOP),
    });
    match ended {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Partly) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::from(2)
        }
    }
}

/// Ctrl-C asks to stop; a second one ends the process at once. A write past a limit on the size of
/// files fails, and that is told, instead of ending the process with half a file behind it.
fn listen() -> anyhow::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    ctrlc::set_handler(|| {
        if STOP.ask() {
            std::process::exit(2);
        }
        eprintln!("stopping at the next good place; press Ctrl-C again to end at once");
    })?;
    Ok(())
}

/// An error with its causes in one line; a cause that its effect already tells is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = without_frames(&text);
        if !words.iter().any(|said| said.contains(text)) {
            words.push(text.to_owned());
        }
    }
    words.join(": ")
}

/// Without the thirty C++ frames that libtorch puts behind what it says.
fn without_frames(text: &str) -> &str {
    text.split_once("\nException raised from ").map_or(text, |(said, _)| said)
}

/// Threads of this machine.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Prints one JSON document.
fn print_json<T: serde::Serialize>(value: &T) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_libtorch_is_told_without_its_frames() {
        let a = tch::Tensor::zeros([2, 3], (tch::Kind::Float, tch::Device::Cpu));
        let Err(error) = a.f_matmul(&a) else { panic!("2 x 3 times 2 x 3 was multiplied") };
        assert!(error.to_string().contains("frame #"), "{error}");
        let told = chain(&anyhow::Error::new(error).context("the step failed"));
        assert!(told.ends_with("cannot be multiplied (2x3 and 2x3)"), "{told}");
        assert!(told.starts_with("the step failed: "), "{told}");
    }
}

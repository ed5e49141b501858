//! The command line of the trainer.

use std::process::ExitCode;

fn main() -> ExitCode {
    clipsight_trainer::cli::main()
}

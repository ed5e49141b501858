//! The command line of the server.

use std::process::ExitCode;

fn main() -> ExitCode {
    clipsight::cli::main()
}

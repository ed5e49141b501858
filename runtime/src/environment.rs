//! Settings that libraries read once, when they are loaded: they must stand before `main` does
//! anything else.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// ONNX Runtime for Linux writes an id of the device below the home folder and reports what it runs
/// to its makers, unless this is set before it is loaded (seen in 1.32). Nobody who keeps pictures on
/// a machine of their own has asked for that.
const NO_TELEMETRY: (&str, &str) = ("ORT_DISABLE_TELEMETRY", "1");

/// Starts this program over with the `settings` that the environment lacks, and with ONNX Runtime's
/// telemetry off; what the user has set stays. Comes back when nothing is lacking, or when the system
/// refuses to start it over.
///
/// To be called first of all in `main`: what was done before is done twice.
pub fn settle(settings: &[(&str, &str)]) {
    let lacking: Vec<_> = settings
        .iter()
        .chain([&NO_TELEMETRY])
        .filter(|(name, _)| std::env::var_os(name).is_none())
        .copied()
        .collect();
    if let (false, Ok(program)) = (lacking.is_empty(), std::env::current_exe()) {
        let mut arguments = std::env::args_os();
        let mut command = Command::new(program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        // A refusal costs speed, and telemetry is then turned off a little later.
        let _ = command.args(arguments).envs(lacking).exec();
    }
}

//! The release binary as other programs run it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// Where `make build` leaves it.
pub(crate) const BINARY: &str = "target/release/clipsight";

/// A server that ends with this value.
pub(crate) struct Server {
    pub(crate) process: Child,
    pub(crate) address: String,
    /// Held open: a server whose output nobody reads any more ends.
    _output: BufReader<ChildStdout>,
}

pub(crate) fn index(model: &Path, pictures: &Path, data: &Path) -> Result<()> {
    let status = command("index", model, data).arg(pictures).stdout(Stdio::null()).status()?;
    ensure!(status.success(), "indexing ended with {status}");
    Ok(())
}

/// `clipsight VERB` over a model and a data folder, its standard error unread.
pub(crate) fn command(verb: &str, model: &Path, data: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.arg(verb).arg("--model").arg(model).arg("--data").arg(data).stderr(Stdio::null());
    command
}

impl Server {
    pub(crate) fn start(model: &Path, data: &Path) -> Result<Self> {
        let mut process = command("serve", model, data)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {BINARY}; run `make build` first"))?;
        let mut output = BufReader::new(process.stdout.take().context("the server has no output")?);
        let mut line = String::new();
        while output.read_line(&mut line)? > 0 {
            if let Some(at) = line.find("http://") {
                let address = line[at..].split_whitespace().next().unwrap_or("").to_owned();
                return Ok(Self { process, address, _output: output });
            }
            line.clear();
        }
        bail!("the server ended before it said its address")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The figures are taken; how the process ends does not matter any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

//! Indexing killed over and over at random moments: what a reader had seen is there afterwards, nothing
//! stands twice, and the run that is left alone ends with everything.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clipsight::catalog::{CatalogError, Counts, DataFolder, Reader};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::program::BINARY;

const KILLS: usize = 100;
/// The longest that a run lives, in milliseconds: from before the first write to many batches later.
const LONGEST_MS: u64 = 6000;

pub(crate) fn measure(pictures: &Path) -> Result<()> {
    println!("\n## Killed {KILLS} times while indexing\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let (mut kills, mut collections, mut midway) = (0, 0, 0);
    while kills < KILLS {
        let temp = tempfile::tempdir()?;
        let data = DataFolder::new(temp.path().join("data"));
        let mut last = Counts::default();
        collections += 1;
        while kills < KILLS {
            let life = Duration::from_millis(rng.random_range(50..LONGEST_MS));
            let (seen, ended) = runtime.block_on(killed(pictures, &data, life))?;
            let now = runtime.block_on(counts(&data))?;
            ensure!(now.pictures >= seen.pictures.max(last.pictures), "{now:?} after {seen:?}");
            ensure!(now.embedded == now.pictures, "half a picture: {now:?}");
            if ended {
                break;
            }
            kills += 1;
            midway += usize::from(now.pictures > last.pictures);
            last = now;
        }
        let status = index(pictures, &data).status()?;
        ensure!(status.success(), "the run that was left alone ended with {status}");
        let end = runtime.block_on(counts(&data))?;
        let fresh = DataFolder::new(temp.path().join("fresh"));
        ensure!(index(pictures, &fresh).status()?.success(), "an undisturbed run failed");
        let whole = runtime.block_on(counts(&fresh))?;
        ensure!(end == whole, "{end:?} instead of {whole:?}");
    }
    println!(
        "{kills} kills over {collections} collections, {midway} of them after something was stored: \
         nothing that had been seen was lost, nothing stood twice."
    );
    Ok(())
}

fn index(pictures: &Path, data: &DataFolder) -> Command {
    let mut command = Command::new(BINARY);
    command.arg("index").arg(pictures).arg("--data").arg(data.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Lets a run live so long; what a reader saw last, and whether the run ended by itself.
async fn killed(pictures: &Path, data: &DataFolder, life: Duration) -> Result<(Counts, bool)> {
    let start = Instant::now();
    let run = index(pictures, data).spawn();
    let mut run = run.with_context(|| format!("cannot run {BINARY}; run `make build` first"))?;
    let mut seen = Counts::default();
    while start.elapsed() < life {
        seen = counts(data).await?;
        if run.try_wait()?.is_some() {
            return Ok((seen, true));
        }
    }
    run.kill()?;
    run.wait()?;
    Ok((seen, false))
}

async fn counts(data: &DataFolder) -> Result<Counts> {
    let reader = match Reader::open(data).await {
        Ok(reader) => reader,
        Err(CatalogError::Missing { .. }) => return Ok(Counts::default()),
        Err(error) => return Err(error.into()),
    };
    let counts = reader.counts().await?;
    reader.close().await;
    Ok(counts)
}

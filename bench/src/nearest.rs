//! The graph against the exact scan, by captions over pictures: how many of the nearest it finds, how
//! quickly, and what it costs to have one. `bench/peers/usearch_nearest.py` does the same with `USearch`.

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use clip::Embedding;
use clipsight::index::{ExactIndex, Found, Growth, LiveIndex, PathTaken, VectorIndex};

use crate::peers::{output_of, script};
use crate::vectors::{self, Vectors};

const LIMIT: usize = 10;
const QUERIES: usize = 1000;

/// What the queries came to.
struct Asked {
    found: Vec<Found>,
    times: Vec<Duration>,
}

/// Compares both ways over so many vectors, which lie in `folder` for `USearch` as well.
pub(crate) fn measure(real: &Vectors, counts: &[usize], folder: &Path) -> Result<()> {
    println!("\n## Ten nearest pictures of a caption, one thread\n");
    println!(
        "| vectors | index | ready after | median | 99 % | recall@10 |\n|---|---|---|---|---|---|"
    );
    for &count in counts {
        let collection = vectors::grown(&real.pictures, count)?;
        vectors::write(&folder.join(format!("collection-{count}.f32")), &collection)?;
        compare(&real.captions[..QUERIES.min(real.captions.len())], &collection)?;
    }
    println!("\nUSearch, the same vectors:\n");
    print!(
        "{}",
        output_of(
            script("usearch_nearest.py")?
                .arg(folder)
                .arg("--counts")
                .args(counts.iter().map(usize::to_string))
        )?
    );
    Ok(())
}

fn compare(queries: &[Embedding], collection: &[Embedding]) -> Result<()> {
    let count = collection.len();
    let exact = LiveIndex::new(filled(collection)?);
    let scanned = ask(&exact, queries)?;
    row(count, "exact", Duration::ZERO, &scanned, &scanned);
    let temp = tempfile::tempdir()?;
    let threads = std::thread::available_parallelism()?.get();
    let (folder, model) = (temp.path().to_owned(), "bench".to_owned());
    let growth = Growth { exact_below: 0, folder, model, threads };
    // Twice: the first builds the graph, the second reads its snapshot.
    for what in ["hnsw, built", "hnsw, from its snapshot"] {
        let vectors = filled(collection)?;
        let start = Instant::now();
        let live = LiveIndex::growing(vectors, growth.clone());
        live.settle();
        let ready = start.elapsed();
        row(count, what, ready, &ask(&live, queries)?, &scanned);
    }
    Ok(())
}

fn filled(collection: &[Embedding]) -> Result<ExactIndex> {
    let mut index = ExactIndex::new(collection[0].dim());
    for (key, vector) in (0..).zip(collection) {
        index.insert(key, vector)?;
    }
    Ok(index)
}

fn ask(index: &LiveIndex, queries: &[Embedding]) -> Result<Asked> {
    let (mut found, mut times) = (Vec::new(), Vec::new());
    for query in queries {
        let start = Instant::now();
        found.push(index.search(query, LIMIT, None)?);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(Asked { found, times })
}

fn row(count: usize, what: &str, ready: Duration, asked: &Asked, scanned: &Asked) {
    let ms =
        |share: f64| asked.times[(asked.times.len() as f64 * share) as usize].as_secs_f64() * 1e3;
    let keys = |found: &Found| found.hits.iter().map(|hit| hit.key).collect::<HashSet<_>>();
    let pairs = asked.found.iter().zip(&scanned.found);
    let shared: usize = pairs.map(|(a, b)| keys(a).intersection(&keys(b)).count()).sum();
    let recall = shared as f64 / (LIMIT * asked.found.len()) as f64;
    // A search that the graph could not lead was scanned, and is told.
    let by_scan = asked.found.iter().filter(|found| found.path_taken == PathTaken::Exact).count();
    let note = if what == "exact" { String::new() } else { format!(" ({by_scan} by scan)") };
    let ready = ready.as_secs_f64();
    println!(
        "| {count} | {what}{note} | {ready:.1} s | {:.2} ms | {:.2} ms | {recall:.4} |",
        ms(0.5),
        ms(0.99)
    );
}

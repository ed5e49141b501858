//! Searching stored vectors.

use anyhow::Result;
use clip::Embedding;
use clipsight::index::{ExactIndex, VectorIndex};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::timing::repeat;

const DIM: usize = 384;
/// Pictures of a collection cluster; directions drawn evenly would be an easier case than real ones.
const CLUSTERS: usize = 200;
const RUNS: usize = 51;

pub(crate) fn measure() -> Result<()> {
    println!("\n## Ten nearest of many, {DIM} dimensions, one thread\n");
    println!("| vectors | index | median (fastest to slowest) |\n|---|---|---|");
    for count in [20_000, 100_000] {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let centers: Vec<Vec<f32>> = (0..CLUSTERS).map(|_| direction(&mut rng)).collect();
        let mut index = ExactIndex::new(DIM);
        for key in 0..count {
            index.insert(key, &near(&mut rng, &centers)?)?;
        }
        let query = near(&mut rng, &centers)?;
        let timing = repeat(RUNS, || Ok(index.search(&query, 10, None).map(drop)?))?;
        println!("| {count} | exact | {} |", timing.per_item(1));
    }
    Ok(())
}

fn direction(rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..DIM).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn near(rng: &mut ChaCha8Rng, centers: &[Vec<f32>]) -> Result<Embedding> {
    let center = &centers[rng.random_range(0..centers.len())];
    let noise = direction(rng);
    Ok(Embedding::new(center.iter().zip(noise).map(|(c, n)| c + 0.5 * n).collect())?)
}

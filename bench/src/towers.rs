//! The towers of a bundle on one core.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clip::ModelBundle;
use clip::image::{DecodeLimits, PixelValues, decode};
use runtime::{Model, ModelOptions};

use crate::timing::repeat;

const BATCH: usize = 8;
const RUNS: usize = 15;

pub(crate) fn measure(model: &Path, pictures: &Path) -> Result<()> {
    runtime::library::load(None)?;
    let bundle = ModelBundle::open(model)?;
    let precisions = runtime::precisions(&bundle);
    println!("\n## Towers, one thread\n");
    println!("| precision | what | median (fastest to slowest) |\n|---|---|---|");
    let files = jpegs(pictures)?;
    let bytes = files.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let decoded = bytes
        .iter()
        .map(|bytes| decode(bytes, &DecodeLimits::default()))
        .collect::<Result<Vec<_>, _>>()?;
    let prepared = repeat(RUNS, || {
        for bytes in &bytes {
            let pixels = decode(bytes, &DecodeLimits::default())?.pixels;
            std::hint::black_box(bundle.processor.process(&pixels));
        }
        Ok(())
    })?;
    println!("| – | decode and resize a picture | {} |", prepared.per_item(bytes.len()));
    let values: Vec<PixelValues> =
        decoded.iter().map(|image| bundle.processor.process(&image.pixels)).collect();
    for precision in precisions.into_keys() {
        one_precision(&bundle, precision, &values)?;
    }
    Ok(())
}

fn one_precision(bundle: &ModelBundle, precision: String, values: &[PixelValues]) -> Result<()> {
    let options = ModelOptions { threads: 1, precision: Some(precision.clone()) };
    let mut model = Model::open(bundle, &options)?;
    let single = repeat(RUNS, || Ok(model.image.embed(&values[..1]).map(drop)?))?;
    println!("| {precision} | a picture alone | {} |", single.per_item(1));
    let batch = repeat(RUNS, || Ok(model.image.embed(values).map(drop)?))?;
    println!(
        "| {precision} | a picture in a batch of {BATCH} | {} |",
        batch.per_item(values.len())
    );
    for text in ["two brown dogs play with a red ball", &"snow ".repeat(500)] {
        let ids = bundle.tokenizer.encode(text)?;
        let timing =
            repeat(RUNS, || Ok(model.text.embed(std::slice::from_ref(&ids)).map(drop)?))?;
        println!("| {precision} | a text of {} tokens | {} |", ids.ids.len(), timing.per_item(1));
    }
    Ok(())
}

/// The first few JPEG files below a folder.
fn jpegs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read the pictures in {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "jpg") {
                found.push(path);
            }
        }
    }
    found.sort();
    found.truncate(BATCH);
    anyhow::ensure!(found.len() == BATCH, "{} holds fewer than {BATCH} JPEGs", folder.display());
    Ok(found)
}

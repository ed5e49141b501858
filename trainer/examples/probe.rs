//! Embeds two labelled sets and writes the embeddings down, so that what other programs learn from them
//! can be held against our linear probe and neighbors, which are printed.
//!
//! ```console
//! $ cargo run --release -p clipsight-trainer --example probe -- models/starter \
//!     rsscn7/train.tar rsscn7/dev.tar features.safetensors
//! $ python trainer/tests/fixtures/compare_probe.py features.safetensors
//! ```
#![expect(clippy::print_stdout, reason = "this is a program whose answer is its output")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use clip::ModelBundle;
use clipsight_trainer::data::Dataset;
use clipsight_trainer::eval::nearest::by_neighbors;
use clipsight_trainer::eval::probe::{Features, Probe};
use clipsight_trainer::eval::{BundleEmbedder, Embedder};
use clipsight_trainer::tensor_file::TensorFile;
use clipsight_trainer::watch::{Silent, Stop};
use tch::{Kind, Tensor};

/// Writes embeddings and classes of two sets, and prints what we learn from the first of the second.
#[derive(Parser)]
struct Arguments {
    /// The model.
    bundle: PathBuf,
    /// A labelled set to learn from.
    train: PathBuf,
    /// A labelled set with the same classes in the same order.
    test: PathBuf,
    /// Where `train`, `train_classes`, `test`, `test_classes` and `penalty` are written.
    out: PathBuf,
}

fn main() -> Result<()> {
    clipsight_trainer::environment::settle();
    let arguments = Arguments::parse();
    let bundle = ModelBundle::open(&arguments.bundle)?;
    runtime::library::load(None)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = runtime::ModelOptions { threads, precision: None };
    let (mut watch, stop) = (Silent, Stop::new());
    let mut embedder = BundleEmbedder::open(bundle, &options, &mut watch, &stop)?;
    let train = features(&mut embedder, &arguments.train)?;
    let test = features(&mut embedder, &arguments.test)?;
    let probe = Probe::choose(&train, 0)?;
    let accuracy = |answers: &Tensor| -> Result<f64> {
        let right = answers.f_eq_tensor(&test.classes)?.f_mean(Kind::Double)?;
        Ok(100.0 * right.f_double_value(&[])?)
    };
    println!("penalty {:e}", probe.strength);
    println!("linear probe {:.2} %", accuracy(&probe.classify(&test)?)?);
    println!("nearest neighbors {:.2} %", accuracy(&by_neighbors(&train, &test)?)?);
    let tensors = [
        ("train", train.rows),
        ("train_classes", train.classes),
        ("test", test.rows),
        ("test_classes", test.classes),
        ("penalty", Tensor::from(probe.strength)),
    ];
    let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    TensorFile { tensors, ..TensorFile::default() }.write(&arguments.out)?;
    Ok(())
}

fn features(embedder: &mut dyn Embedder, path: &Path) -> Result<Features> {
    let set = Arc::new(Dataset::open(path, &[])?);
    let found = embedder.pictures(&set)?;
    let known = set.pairs.iter().zip(&found.embeddings);
    let known: Vec<_> = known.filter_map(|(pair, e)| Some((pair.class?, e.as_ref()?))).collect();
    let rows: Vec<&[f32]> = known.iter().map(|(_, embedding)| embedding.as_slice()).collect();
    let classes: Vec<usize> = known.iter().map(|(class, _)| *class).collect();
    let named = || format!("{} cannot be compared", path.display());
    Features::new(&rows, &classes, set.classes.len()).with_context(named)
}

//! A full-size CLIP made by `bench/peers/full_clip.py`: loaded, compared, trained, exported, compared
//! again and measured.
//!
//! ```console
//! $ cargo run --release -p clipsight-trainer --example full_clip -- FOLDER [--threads 2]
//! ```
//! Ends with an error where an answer differs by more than [`TOLERANCE`].
#![expect(clippy::print_stdout, reason = "this is a program whose answer is its output")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use clipsight_trainer::model::{DualEncoder, LOGIT_SCALE, ModelError, Side, Torch, Weights};
use clipsight_trainer::objectives::{info_nce, related_pairs};
use clipsight_trainer::onnx::WeightStorage;
use clipsight_trainer::optimizer::{AdamW, Parameter};
use runtime::{Graph, Input};
use tch::{Kind, Tensor};

/// How much a number of an answer may differ.
const TOLERANCE: f64 = 1e-4;

/// As the script trains.
const LEARNING_RATE: f64 = 1e-5;
const WEIGHT_DECAY: f64 = 0.1;

/// Loads, compares, trains and measures a CLIP.
#[derive(Parser)]
struct Arguments {
    /// What the script made.
    folder: PathBuf,
    /// Threads of libtorch and of ONNX Runtime.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Measure the training step alone.
    #[arg(long)]
    train_only: bool,
}

/// What the model is fed, `[B, 3, S, S]` and `[B, L]`.
struct Batch {
    pixels: Tensor,
    ids: Tensor,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tch::set_num_threads(i32::try_from(arguments.threads)?);
    runtime::library::load(None)?;
    let folder = &arguments.folder;
    let start = Instant::now();
    let (model, weights) = DualEncoder::from_checkpoint(folder)?;
    println!("loaded in {:.1} s", start.elapsed().as_secs_f64());
    let expected = Tensor::read_safetensors(folder.join("expected.safetensors"))?;
    let recorded = |name: &str| -> Result<Tensor> {
        let found = expected.iter().find(|(found, _)| found == name);
        Ok(found.with_context(|| format!("expected.safetensors lacks {name}"))?.1.shallow_clone())
    };
    let batch = Batch { pixels: recorded("pixel_values")?, ids: recorded("input_ids")? };
    if arguments.train_only {
        return train(&model, &weights, &batch).map(drop);
    }
    let reference = [recorded("image_features")?, recorded("text_features")?];
    let found = tch::no_grad(|| features(&model, &weights, &batch))?;
    close("image features, libtorch and transformers", &found[0], &reference[0])?;
    close("text features, libtorch and transformers", &found[1], &reference[1])?;
    let normalized = reference.map(|features| lengths_one(&features));
    export_and_compare(&model, &weights, &batch, &normalized, &arguments)?;

    let trained = train(&model, &weights, &batch)?;
    let embeddings = tch::no_grad(|| embeddings(&model, &trained, &batch))?;
    let moved = difference(&embeddings[0], &normalized[0]);
    ensure!(moved > TOLERANCE, "training changed nothing");
    println!("after training, embeddings have moved by up to {moved:.3}");
    export_and_compare(&model, &trained, &batch, &embeddings, &arguments)
}

/// Before normalization: `[B, D]` of pictures and of texts.
fn features(
    model: &DualEncoder,
    weights: &Weights,
    batch: &Batch,
) -> Result<[Tensor; 2], ModelError> {
    let mut ops = Torch::new(weights);
    let image = model.image_pooled(&mut ops, &batch.pixels)?;
    let text = model.text_pooled(&mut ops, &batch.ids, &batch.ids)?;
    Ok([
        model.features(&mut ops, Side::Image, &image)?,
        model.features(&mut ops, Side::Text, &text)?,
    ])
}

fn embeddings(
    model: &DualEncoder,
    weights: &Weights,
    batch: &Batch,
) -> Result<[Tensor; 2], ModelError> {
    let mut ops = Torch::new(weights);
    let image = model.image_embeddings(&mut ops, &batch.pixels)?;
    let text = model.text_embeddings(&mut ops, &batch.ids, &batch.ids)?;
    Ok([image, text])
}

/// As many steps as the script makes, with the same settings.
fn train(model: &DualEncoder, weights: &Weights, batch: &Batch) -> Result<Weights> {
    let mut learned = Weights::new();
    let mut parameters = Vec::new();
    for (name, tensor) in weights.iter() {
        let tensor = tensor.copy().set_requires_grad(true);
        learned.insert(name, tensor.shallow_clone());
        let name = name.to_owned();
        parameters.push(Parameter { name, tensor, learning_rate: LEARNING_RATE, decays: true });
    }
    let mut optimizer = AdamW::new(WEIGHT_DECAY);
    let rows: Vec<i64> = (0..batch.ids.size()[0]).collect();
    let related = related_pairs(&rows, &rows);
    let mut losses = Vec::new();
    let took = median_ms(3, || {
        parameters.iter_mut().for_each(|parameter| parameter.tensor.zero_grad());
        let [images, texts] = embeddings(model, &learned, batch)?;
        let loss = info_nce(&images, &texts, learned.get(LOGIT_SCALE)?, &related);
        loss.backward();
        optimizer.step(&parameters, 1.0);
        losses.push(format!("{:.4}", loss.double_value(&[])));
        Ok(())
    })?;
    println!("training step, batch {}: {took:.0} ms; losses {}", rows.len(), losses.join(" "));
    Ok(learned)
}

/// Writes both graphs in f32, int8 and int8 multiplied as such, compares the first and measures all.
fn export_and_compare(
    model: &DualEncoder,
    weights: &Weights,
    batch: &Batch,
    expected: &[Tensor; 2],
    arguments: &Arguments,
) -> Result<()> {
    let folder = arguments.folder.join("onnx");
    std::fs::create_dir_all(&folder)?;
    for (storage, suffix) in [
        (WeightStorage::F32, ""),
        (WeightStorage::Int8, "_int8_widened"),
        (WeightStorage::Int8Dynamic, "_int8"),
    ] {
        let (vision, text) =
            (format!("vision_model{suffix}.onnx"), format!("text_model{suffix}.onnx"));
        let (vision, text) = (folder.join(vision), folder.join(text));
        std::fs::write(&vision, model.export_image_graph(weights, storage)?)?;
        std::fs::write(&text, model.export_text_graph(weights, storage)?)?;
        let inputs = [("pixel_values", &batch.pixels), ("input_ids", &batch.ids)];
        for ((path, (name, input)), expected) in [vision, text].iter().zip(inputs).zip(expected) {
            let mut graph = Graph::open(path, arguments.threads)?;
            let found = run(&mut graph, name, input)?;
            let what = path.file_name().unwrap_or_default().to_string_lossy();
            if storage == WeightStorage::F32 {
                close(&format!("{what} and libtorch"), &found, expected)?;
            } else {
                let cosine =
                    (&found * expected).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
                println!("{what}: cosine {:.4} at worst", cosine.min().double_value(&[]));
            }
            for batch in [1, 8] {
                let input = input.narrow(0, 0, batch);
                let took = median_ms(7, || run(&mut graph, name, &input).map(drop))?;
                println!("{what}, batch {batch}: {took:.1} ms");
            }
        }
    }
    Ok(())
}

fn run(graph: &mut Graph, name: &str, input: &Tensor) -> Result<Tensor> {
    let shape: Vec<usize> =
        input.size().iter().map(|&dim| usize::try_from(dim)).collect::<Result<_, _>>()?;
    let flat = input.contiguous().view([-1]);
    let output = if input.kind() == Kind::Int64 {
        graph.run(&[(name, Input::I64(&Vec::<i64>::try_from(flat)?, &shape))])?
    } else {
        graph.run(&[(name, Input::F32(&Vec::<f32>::try_from(flat)?, &shape))])?
    };
    let output = output.first().context("the graph has no output")?;
    Ok(Tensor::from_slice(&output.data).view([input.size()[0], -1]))
}

/// The median of `times` runs after one that does not count.
fn median_ms(times: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    run()?;
    let mut took = Vec::new();
    for _ in 0..times {
        let start = Instant::now();
        run()?;
        took.push(start.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Ok(took[times / 2])
}

fn lengths_one(features: &Tensor) -> Tensor {
    features / features.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float).sqrt()
}

fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    (found - expected).abs().max().double_value(&[])
}

fn close(what: &str, found: &Tensor, expected: &Tensor) -> Result<()> {
    let worst = difference(found, expected);
    println!("{what} differ by {worst:.1e} at worst");
    ensure!(worst < TOLERANCE, "{what} differ by more than {TOLERANCE}");
    Ok(())
}

//! A full-size CLIP made by `bench/peers/full_clip.py`: loaded, compared, trained, exported, compared
//! again and measured.
//!
//! ```console
//! $ cargo run --release -p clipsight-trainer --example full_clip -- FOLDER [--threads 2]
//! ```
//! Ends with an error where an answer differs by more than [`TOLERANCE`].
#![expect(clippy::print_stdout, reason = "this is a program whose answer is its output")]

use std::path::{Path, PathBuf};
use std::slice;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use clip::config::TextConfig;
use clip::image::PixelValues;
use clip::zero_shot::DEFAULT_TEMPLATE;
use clip::{Embedding, ModelBundle, TokenIds};
use clipsight_trainer::export::{Inputs, Request, Samples, Subject, export_unmeasured};
use clipsight_trainer::model::{DualEncoder, LOGIT_SCALE, ModelError, Side, Torch, Weights};
use clipsight_trainer::objectives::{info_nce, related_pairs};
use clipsight_trainer::optimizer::{Gradients, Optimizer, Parameter};
use clipsight_trainer::recipe::OptimizerSection;
use runtime::{Model, ModelOptions};
use tch::{Device, Kind, Tensor};

/// How much a number of an answer may differ.
const TOLERANCE: f64 = 1e-4;

/// As the script trains.
const LEARNING_RATE: f64 = 1e-5;
const WEIGHT_DECAY: f64 = 0.1;

/// Loads, compares, trains, exports and measures a CLIP.
#[derive(Parser)]
struct Arguments {
    /// What the script made.
    folder: PathBuf,
    /// Where the bundle goes; it must not exist yet, or be empty.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Threads of libtorch.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// What the model is fed, `[B, 3, S, S]` and `[B, L]`.
struct Batch {
    pixels: Tensor,
    ids: Tensor,
}

/// The folder and its inputs as a bundle's readers have them.
struct Case {
    folder: PathBuf,
    inputs: Inputs,
    threads: usize,
}

fn main() -> Result<()> {
    clipsight_trainer::environment::settle();
    let Arguments { folder, out, threads } = Arguments::parse();
    tch::set_num_threads(i32::try_from(threads)?);
    runtime::library::load(None)?;
    let start = Instant::now();
    let (model, weights) = DualEncoder::from_checkpoint(&folder)?;
    println!("loaded in {:.1} s", start.elapsed().as_secs_f64());
    let expected = Tensor::read_safetensors(folder.join("expected.safetensors"))?;
    let recorded = |name: &str| -> Result<Tensor> {
        let found = expected.iter().find(|(found, _)| found == name);
        Ok(found.with_context(|| format!("expected.safetensors lacks {name}"))?.1.shallow_clone())
    };
    let batch = Batch { pixels: recorded("pixel_values")?, ids: recorded("input_ids")? };
    let reference = [recorded("image_features")?, recorded("text_features")?];
    let found = tch::no_grad(|| features(&model, &weights, &batch))?;
    close("image features, libtorch and transformers", &found[0], &reference[0])?;
    close("text features, libtorch and transformers", &found[1], &reference[1])?;

    let case = Case { inputs: inputs(&batch, &model)?, threads, folder };
    let [image, text] = &reference;
    let expected = [rows(image)?, rows(text)?];
    let out = out.unwrap_or_else(|| case.folder.join("bundle"));
    let bundle = export_and_compare(&model, &weights, &case, expected, &out)?;
    measure(&bundle, &case.inputs)?;

    let trained = train(&model, &weights, &batch)?;
    let [image, text] = tch::no_grad(|| embeddings(&model, &trained, &batch))?;
    let moved = difference(&image, &lengths_one(&reference[0]));
    ensure!(moved > TOLERANCE, "training changed nothing");
    println!("after training, embeddings have moved by up to {moved:.3}");
    let place = tempfile::tempdir_in(&case.folder)?;
    let expected = [rows(&image)?, rows(&text)?];
    export_and_compare(&model, &trained, &case, expected, &place.path().join("trained")).map(drop)
}

/// The same inputs one by one; a text ends where its end token stands.
fn inputs(batch: &Batch, model: &DualEncoder) -> Result<Inputs> {
    let TextConfig::ClipText(text) = &model.config.text_config else { bail!("no CLIP") };
    let side = model.config.vision_config.image_size();
    let mut inputs = Inputs { pixels: Vec::new(), tokens: Vec::new() };
    for row in 0..batch.ids.size()[0] {
        let data = Vec::<f32>::try_from(batch.pixels.get(row).contiguous().view([-1]))?;
        inputs.pixels.push(PixelValues { data, height: side, width: side });
        let mut ids = Vec::<i64>::try_from(batch.ids.get(row))?;
        let end = ids.iter().position(|id| *id == text.eos_token_id).context("no end token")?;
        ids.truncate(end + 1);
        inputs.tokens.push(TokenIds { ids, truncated: false });
    }
    Ok(inputs)
}

/// `[B, D]` as embeddings.
fn rows(features: &Tensor) -> Result<Vec<Embedding>> {
    (0..features.size()[0])
        .map(|row| Ok(Embedding::new(Vec::<f32>::try_from(features.get(row).contiguous())?)?))
        .collect()
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
    let mut optimizer = Optimizer::new(OptimizerSection::default(), WEIGHT_DECAY);
    let rows = Tensor::arange(batch.ids.size()[0], (Kind::Int64, Device::Cpu));
    let related = related_pairs(&rows, &rows);
    let mut losses = Vec::new();
    let took = median_ms(3, || {
        let [images, texts] = embeddings(model, &learned, batch)?;
        let loss = info_nce(&images, &texts, learned.get(LOGIT_SCALE)?, &related);
        let gradients = Gradients::of(&loss, &parameters, 0.0)?;
        optimizer.step(&parameters, &gradients, 1.0)?;
        losses.push(format!("{:.4}", loss.double_value(&[])));
        Ok(())
    })?;
    println!("training step, batch {}: {took:.0} ms; losses {}", rows.numel(), losses.join(" "));
    Ok(learned)
}

/// Writes a bundle in all precisions; each answers as `expected`, the f32 one number by number.
fn export_and_compare(
    model: &DualEncoder,
    weights: &Weights,
    case: &Case,
    expected: [Vec<Embedding>; 2],
    out: &Path,
) -> Result<ModelBundle> {
    let processor = std::fs::read(case.folder.join("preprocessor_config.json"))?;
    let [images, texts] = expected;
    let subject = Subject {
        model,
        weights,
        tokenizer: &case.folder.join("tokenizer.json"),
        context_length: model.config.text_config.max_position_embeddings(),
        processor: serde_json::from_slice(&processor)?,
        templates: vec![DEFAULT_TEMPLATE.to_owned()],
        samples: Samples { inputs: case.inputs.clone(), images, texts },
    };
    let start = Instant::now();
    let report = export_unmeasured(&subject, out, &Request::default(), case.threads)?;
    println!("{} in {:.0} s:", out.display(), start.elapsed().as_secs_f64());
    for check in report.checks {
        println!("  {check}");
    }
    Ok(ModelBundle::open(out)?)
}

/// Size, and milliseconds for a picture and a text, on one thread.
fn measure(bundle: &ModelBundle, inputs: &Inputs) -> Result<()> {
    let manifest = bundle.manifest.as_ref().context("the bundle has a manifest")?;
    for (name, stored) in &manifest.precisions {
        let size = |file: &str| std::fs::metadata(bundle.dir.join(file)).map(|file| file.len());
        let megabytes = (size(&stored.vision)? + size(&stored.text)?) as f64 / 1e6;
        let options = ModelOptions { threads: 1, precision: Some(name.clone()) };
        let mut run = Model::open(bundle, &options)?;
        let mut took = Vec::new();
        for batch in [1, 8] {
            let pixels = &inputs.pixels[..batch];
            let all = median_ms(7, || Ok(run.image.embed(pixels).map(drop)?))?;
            took.push(format!("{:.1} ms a picture in a batch of {batch}", all / batch as f64));
        }
        let text = inputs.tokens.last().context("there is a text")?;
        let all = median_ms(15, || Ok(run.text.embed(slice::from_ref(text)).map(drop)?))?;
        took.push(format!("{all:.1} ms for a text of {} tokens", text.ids.len()));
        println!("{name}: {megabytes:.0} MB, computes in {}: {}", run.arithmetic, took.join(", "));
    }
    Ok(())
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

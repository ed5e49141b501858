//! A bundle or a run that is asked for embeddings: what `eval` and `temperature` have in common.

use std::path::PathBuf;

use clap::Args;
use clip::ModelBundle;
use clip::zero_shot::Logits;

use super::bars::Bars;
use super::threads;
use crate::checkpoint::Checkpoint;
use crate::device::Placement;
use crate::encoder::Encoder;
use crate::eval::{BundleEmbedder, Embedder, RunEmbedder};
use crate::model::{LOGIT_BIAS, LOGIT_SCALE};
use crate::processes::Processes;
use crate::recipe::Precision;
use crate::run::Run;
use crate::train::{Surroundings, pass, restore};
use crate::watch::Stop;

/// Which model, and how it runs.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// A bundle, measured through ONNX Runtime as it is served, or a run, measured through libtorch
    /// at its newest checkpoint.
    #[arg(value_name = "BUNDLE_OR_RUN")]
    pub(super) model: PathBuf,
    /// The precision of a bundle, as its manifest names it; default: the one that is served.
    #[arg(long, value_name = "NAME")]
    precision: Option<String>,
    /// ONNX Runtime's library; default: the one below .runtime, else the loader's.
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH")]
    onnxruntime: Option<PathBuf>,
}

/// What is known of a model beside its embeddings.
pub(super) struct About {
    /// What computes, in words.
    pub(super) precision: String,
    /// Templates that it wants classes put into.
    pub(super) templates: Vec<String>,
    /// What it learned, as a log; none where a public model's files do not tell it.
    pub(super) logit_scale: Option<f32>,
    /// Whether each label has a probability of its own, by a sigmoid.
    pub(super) sigmoid: bool,
}

impl About {
    /// What its softmax divides cosines by, the server's default where the model does not tell; none
    /// for a sigmoid.
    pub(super) fn temperature(&self) -> Option<f64> {
        let scale = self.logit_scale.unwrap_or(Logits::default().logit_scale);
        (!self.sigmoid).then(|| f64::from(-scale).exp())
    }
}

impl ModelArgs {
    /// Opens the model and lets `work` ask it.
    pub(super) fn with<T>(
        &self,
        stop: &Stop,
        work: impl FnOnce(&mut dyn Embedder, About) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let mut bars = Bars::default();
        let is_run = self.model.join("recipe.toml").is_file() && !self.model.join("onnx").is_dir();
        if is_run {
            self.with_run(&mut bars, stop, work)
        } else {
            self.with_bundle(&mut bars, stop, work)
        }
    }

    fn with_run<T>(
        &self,
        bars: &mut Bars,
        stop: &Stop,
        work: impl FnOnce(&mut dyn Embedder, About) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let none = "--precision is for bundles; a run computes in f32";
        anyhow::ensure!(self.precision.is_none(), none);
        let run = Run::open(&self.model)?;
        let mut encoder = Encoder::from_recipe(&run.recipe)?;
        let checkpoint = Checkpoint::newest(&run.checkpoints())?;
        restore(&mut encoder, &checkpoint)?;
        let place = Placement::choose(Some(Precision::F32));
        encoder.place(place.device, place.kind)?;
        let of = if checkpoint.average.is_empty() { "" } else { ", average of the weights" };
        let about = About {
            precision: format!("fp32 (libtorch){of}"),
            templates: run.recipe.templates(),
            logit_scale: encoder.weights.data(LOGIT_SCALE)?.1.first().copied(),
            sigmoid: encoder.weights.has(LOGIT_BIAS),
        };
        let cache = run.cache();
        let mut around =
            Surroundings { watch: bars, stop, threads: threads(), processes: Processes::ALONE };
        work(&mut RunEmbedder { pass: pass(&encoder, &cache, &mut around) }, about)
    }

    fn with_bundle<T>(
        &self,
        bars: &mut Bars,
        stop: &Stop,
        work: impl FnOnce(&mut dyn Embedder, About) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let bundle = ModelBundle::open(&self.model)?;
        runtime::library::load(self.onnxruntime.as_deref())?;
        let templates = bundle.templates();
        let logits = bundle.rules.logits;
        let logit_scale = logits.map(|logits| logits.logit_scale);
        let sigmoid = logits.is_some_and(|logits| logits.logit_bias.is_some());
        let precision = self.precision.clone();
        let options = runtime::ModelOptions { threads: threads(), precision };
        let mut embedder = BundleEmbedder::open(bundle, &options, bars, stop)?;
        let precision = embedder.precision().to_owned();
        work(&mut embedder, About { precision, templates, logit_scale, sigmoid })
    }
}

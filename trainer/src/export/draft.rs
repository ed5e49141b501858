//! A bundle in the making, in a folder beside its place.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clip::bundle::{Licence, Manifest, Precision as Stored, Reference, ReferenceEmbeddings};
use clip::image::{DecodeLimits, decode};
use clip::{Embedding, ModelBundle, ModelId, TokenIds};
use runtime::{Model, ModelOptions};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::reference::{TEXTS, pictures};
use super::samples::{Samples, worst_cosine, worst_difference};
use super::{COMPACT_COSINE, COMPACT_RECALL, EXACT, ExportError, Precision, Report};
use crate::encoder::{Encoder, hex, processor_config};
use crate::eval::BundleEmbedder;
use crate::model::LOGIT_SCALE;
use crate::onnx::WeightStorage;
use crate::run::Run;
use crate::train::{Figures, HeldOut, Surroundings, measure, measure_with};

/// Lowest cosine between an answer recorded here and the same answer elsewhere. All arithmetic is
/// f32, so machines differ by the order of their sums alone.
const TOLERANCE: f32 = 0.9995;

/// Batches that the f32 graphs are compared in.
const BATCHES: [usize; 2] = [1, 3];

pub(super) struct Draft {
    folder: TempDir,
    pub(super) manifest: Manifest,
    checks: Vec<String>,
    /// How the compact form stores the image and the text tower.
    compact: [WeightStorage; 2],
}

impl Draft {
    /// Writes everything but graphs: configuration, tokenizer, processor, reference pictures.
    pub(super) fn begin(
        run: &Run,
        encoder: &Encoder,
        out: &Path,
        licences: &[Licence],
    ) -> Result<Self, ExportError> {
        let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |source| ExportError::Write { path: parent.to_owned(), source };
        std::fs::create_dir_all(parent).map_err(failed)?;
        // Not its owner's alone, as temporary folders are by default: it becomes the bundle.
        let mut builder = tempfile::Builder::new();
        let folder = builder
            .prefix(".exporting-")
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(parent)
            .map_err(failed)?;
        let tokenizer = std::fs::read(&encoder.tokenizer_file)
            .map_err(|source| ExportError::Read { path: encoder.tokenizer_file.clone(), source })?;
        let config = serde_json::to_vec_pretty(&encoder.model.config)?;
        let processor = serde_json::to_vec_pretty(&processor_config(&run.recipe.image))?;
        let id = model_id(encoder, &[&config, &tokenizer, &processor])?;
        let (manifest, compact) = (manifest(run, encoder, id)?, [WeightStorage::Int8; 2]);
        let mut draft = Self { folder, manifest, checks: Vec::new(), compact };
        draft.manifest.licences = licences.to_vec();
        draft.write("config.json", &config)?;
        draft.write("tokenizer.json", &tokenizer)?;
        draft.write("preprocessor_config.json", &processor)?;
        for (name, png) in pictures()? {
            draft.write(name, &png)?;
            draft.manifest.reference.pictures.push(name.to_owned());
        }
        Ok(draft)
    }

    /// The f32 graphs, compared with libtorch number by number.
    pub(super) fn add_exact(
        &mut self,
        encoder: &Encoder,
        samples: &Samples,
    ) -> Result<(), ExportError> {
        let storage = [WeightStorage::F32; 2];
        let mut model = self.add(Precision::Fp32, encoder, storage)?;
        for batch in BATCHES {
            let (images, texts) = answers(&mut model, samples, batch)?;
            for (tower, found, expected) in
                [("image", images, &samples.images), ("text", texts, &samples.texts)]
            {
                let difference = worst_difference(&found, expected);
                if difference.is_nan() || difference > EXACT {
                    return Err(ExportError::Differs { tower, difference });
                }
                self.checks.push(format!(
                    "{tower}: f32 in ONNX Runtime equals libtorch within {difference:.1e} ({} \
                     samples, batches of {batch})",
                    expected.len()
                ));
            }
        }
        Ok(())
    }

    /// The compact graphs: int8 for a tower that keeps its answers by it, else f16.
    pub(super) fn add_compact(
        &mut self,
        encoder: &Encoder,
        samples: &Samples,
    ) -> Result<(), ExportError> {
        loop {
            let mut storage = self.compact;
            let mut model = self.add(Precision::Int8, encoder, storage)?;
            let (images, texts) = answers(&mut model, samples, 1)?;
            let found = [
                ("image", worst_cosine(&images, &samples.images)),
                ("text", worst_cosine(&texts, &samples.texts)),
            ];
            let mut again = false;
            for ((tower, cosine), storage) in found.into_iter().zip(&mut storage) {
                if cosine >= COMPACT_COSINE {
                    continue;
                }
                if *storage == WeightStorage::F16 {
                    return Err(ExportError::Coarse { tower, cosine });
                }
                (*storage, again) = (WeightStorage::F16, true);
                self.checks.push(format!("{tower}: int8 keeps a cosine of only {cosine:.4}"));
            }
            if !again {
                for ((tower, cosine), storage) in found.into_iter().zip(storage) {
                    let words = storage.words();
                    self.checks
                        .push(format!("{tower}: cosine to f32 {cosine:.5} at worst ({words})"));
                }
                return Ok(());
            }
            self.compact = storage;
        }
    }

    /// Stores one more tower of the compact form as f16; false where both are already. The image
    /// tower first: kernels of few numbers lose more by int8 than large matrices do.
    fn widen(&mut self, encoder: &Encoder) -> Result<bool, ExportError> {
        let Some(tower) = self.compact.iter_mut().find(|s| **s == WeightStorage::Int8) else {
            return Ok(false);
        };
        *tower = WeightStorage::F16;
        self.add(Precision::Int8, encoder, self.compact)?;
        Ok(true)
    }

    /// Writes the graphs of a precision, names them in the manifest and opens them.
    fn add(
        &mut self,
        precision: Precision,
        encoder: &Encoder,
        [image, text]: [WeightStorage; 2],
    ) -> Result<Model, ExportError> {
        let ending = match precision {
            Precision::Fp32 => "",
            Precision::Int8 => "_int8",
        };
        let vision_file = format!("onnx/vision_model{ending}.onnx");
        let text_file = format!("onnx/text_model{ending}.onnx");
        self.write(&vision_file, &encoder.model.export_image_graph(&encoder.weights, image)?)?;
        self.write(&text_file, &encoder.model.export_text_graph(&encoder.weights, text)?)?;
        let weights =
            format!("image: {}; text: {}; all arithmetic f32", image.words(), text.words());
        let stored = Stored { vision: vision_file, text: text_file, weights, tolerance: TOLERANCE };
        self.manifest.precisions.insert(precision.name().to_owned(), stored);
        self.write_manifest()?;
        let options = ModelOptions { threads: 1, precision: Some(precision.name().to_owned()) };
        Ok(Model::open(&self.open()?, &options)?)
    }

    pub(super) fn drop_precision(&mut self, precision: Precision) -> Result<(), ExportError> {
        if let Some(stored) = self.manifest.precisions.remove(precision.name()) {
            for file in [stored.vision, stored.text] {
                let path = self.folder.path().join(file);
                std::fs::remove_file(&path)
                    .map_err(|source| ExportError::Write { path, source })?;
            }
        }
        self.write_manifest()
    }

    /// Measures what was written on the recipe's held-out sets, as it will be served, and refuses a
    /// compact form that finds noticeably less than libtorch does.
    pub(super) fn measure(
        &mut self,
        run: &Run,
        encoder: &Encoder,
        around: &mut Surroundings<'_>,
    ) -> Result<(), ExportError> {
        let held_out = HeldOut::open(&run.recipe)?;
        if held_out.is_empty() {
            self.checks.push("no figures: the recipe's [eval] names no set".to_owned());
            return Ok(());
        }
        let trained = measure(run, encoder, &held_out, around)?;
        let mut figures = serde_json::Map::new();
        let names: Vec<String> = self.manifest.precisions.keys().cloned().collect();
        for name in names {
            let served = loop {
                let served = self.measure_one(&name, &held_out, around)?;
                match compare(&trained, &served) {
                    Ok(()) => break served,
                    Err(ExportError::Forgets { what, points })
                        if name == Precision::Int8.name() && self.widen(encoder)? =>
                    {
                        let words = "so one tower more is stored as f16";
                        self.checks
                            .push(format!("int8 loses {points:.2} points of {what}, {words}"));
                    }
                    Err(error) => return Err(error),
                }
            };
            self.checks.push(format!("{name}: {}", served.sentence()));
            // By way of text, which keeps 0.261 from becoming 0.26100000739.
            let text = serde_json::to_string(&served)?;
            figures.insert(name, serde_json::from_str(&text)?);
        }
        self.manifest.figures = figures.into();
        Ok(())
    }

    /// The figures of one precision as it will be served.
    fn measure_one(
        &self,
        precision: &str,
        held_out: &HeldOut,
        around: &mut Surroundings<'_>,
    ) -> Result<Figures, ExportError> {
        let precision = Some(precision.to_owned());
        let options = ModelOptions { threads: around.threads, precision };
        let mut embedder = BundleEmbedder::open(self.open()?, &options, around.watch, around.stop)?;
        Ok(measure_with(&mut embedder, held_out, &self.manifest.templates)?)
    }

    /// Records what each precision answers to the reference inputs.
    pub(super) fn record_references(&mut self, threads: usize) -> Result<(), ExportError> {
        let names: Vec<String> = self.manifest.precisions.keys().cloned().collect();
        self.manifest.reference.texts = TEXTS.map(str::to_owned).to_vec();
        self.write_manifest()?;
        let mut embeddings = BTreeMap::new();
        for name in names {
            let bundle = self.open()?;
            let options = ModelOptions { threads, precision: Some(name.clone()) };
            let mut model = Model::open(&bundle, &options)?;
            embeddings.insert(name, self.reference_answers(&bundle, &mut model)?);
        }
        self.manifest.reference.embeddings = embeddings;
        self.write_manifest()
    }

    fn reference_answers(
        &self,
        bundle: &ModelBundle,
        model: &mut Model,
    ) -> Result<ReferenceEmbeddings, ExportError> {
        let mut all = ReferenceEmbeddings::default();
        for text in TEXTS {
            let tokens =
                bundle.tokenizer.encode(text).map_err(crate::encoder::EncoderError::from)?;
            all.texts.extend(model.text.embed(&[tokens])?.into_iter().map(Embedding::into_vec));
        }
        for name in &self.manifest.reference.pictures {
            let path = self.folder.path().join(name);
            let bytes = std::fs::read(&path)
                .map_err(|source| ExportError::Read { path: path.clone(), source })?;
            let picture = decode(&bytes, &DecodeLimits::default())
                .map_err(|e| ExportError::Read { path, source: std::io::Error::other(e) })?;
            let pixels = bundle.processor.process(&picture.pixels);
            all.pictures.extend(model.image.embed(&[pixels])?.into_iter().map(Embedding::into_vec));
        }
        Ok(all)
    }

    /// Opens the bundle as its readers do, lets it check itself, and moves it to its place.
    pub(super) fn finish(mut self, out: &Path, threads: usize) -> Result<Report, ExportError> {
        for name in self.manifest.precisions.keys() {
            let bundle = self.open()?;
            let options = ModelOptions { threads, precision: Some(name.clone()) };
            let mut model = Model::open(&bundle, &options)?;
            if let Some(check) = runtime::self_check(&mut model, &bundle)? {
                let (compared, lowest) = (check.compared, check.lowest_cosine);
                self.checks.push(format!(
                    "{name}: the self-check holds ({compared} answers, cosine {lowest:.6} at worst)"
                ));
            }
        }
        let size_bytes = self.size_bytes()?;
        let failed = |source| ExportError::Write { path: out.to_owned(), source };
        let moved = std::fs::rename(self.folder.path(), out);
        moved.map_err(failed)?;
        // The temporary folder has another name now; there is nothing left to remove.
        let _ = self.folder.keep();
        Ok(Report { id: self.manifest.id.to_string(), checks: self.checks, size_bytes })
    }

    fn size_bytes(&self) -> Result<u64, ExportError> {
        let (mut folders, mut total) = (vec![self.folder.path().to_owned()], 0);
        while let Some(folder) = folders.pop() {
            let failed = |source| ExportError::Read { path: folder.clone(), source };
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let metadata = entry.metadata().map_err(failed)?;
                if metadata.is_dir() {
                    folders.push(entry.path());
                } else {
                    total += metadata.len();
                }
            }
        }
        Ok(total)
    }

    fn open(&self) -> Result<ModelBundle, ExportError> {
        Ok(ModelBundle::open(self.folder.path())?)
    }

    fn write_manifest(&self) -> Result<(), ExportError> {
        self.write("manifest.json", &serde_json::to_vec(&self.manifest)?)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path: PathBuf = self.folder.path().join(name);
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, bytes));
        written.map_err(|source| ExportError::Write { path, source })
    }
}

/// All samples through both towers, `batch` at a time.
fn answers(
    model: &mut Model,
    samples: &Samples,
    batch: usize,
) -> Result<(Vec<Embedding>, Vec<Embedding>), ExportError> {
    let (mut images, mut texts) = (Vec::new(), Vec::new());
    for chunk in samples.pixels.chunks(batch) {
        images.extend(model.image.embed(chunk)?);
    }
    for chunk in samples.tokens.chunks(batch) {
        let chunk: &[TokenIds] = chunk;
        texts.extend(model.text.embed(chunk)?);
    }
    Ok((images, texts))
}

/// sha-256 over the f32 weights in the order of their names, then `files`.
fn model_id(encoder: &Encoder, files: &[&[u8]]) -> Result<ModelId, ExportError> {
    let mut hasher = Sha256::new();
    for (name, _) in encoder.weights.iter() {
        let (shape, data) = encoder.weights.data(name)?;
        hasher.update(name.as_bytes());
        hasher.update(format!("{shape:?}").as_bytes());
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
    for file in files {
        hasher.update((file.len() as u64).to_le_bytes());
        hasher.update(file);
    }
    Ok(ModelId(hex(&hasher.finalize())))
}

fn manifest(run: &Run, encoder: &Encoder, id: ModelId) -> Result<Manifest, ExportError> {
    let logit_scale = encoder.weights.data(LOGIT_SCALE)?.1.first().copied();
    Ok(Manifest {
        id,
        logit_scale: logit_scale.unwrap_or(encoder.model.config.logit_scale_init_value),
        logit_bias: None,
        templates: run.recipe.templates(),
        context_length: encoder.tokenizer.context_length(),
        precisions: BTreeMap::new(),
        reference: Reference::default(),
        figures: json!({}),
        licences: Vec::new(),
        made_by: concat!("clipsight-trainer ", env!("CARGO_PKG_VERSION")).to_owned(),
    })
}

/// Refuses a form that finds noticeably less than the model that was trained.
fn compare(trained: &Figures, served: &Figures) -> Result<(), ExportError> {
    let mut pairs = Vec::new();
    if let (Some(a), Some(b)) = (&trained.captions, &served.captions) {
        let (a_text, b_text) = (a.text_to_image.recall_at_10, b.text_to_image.recall_at_10);
        pairs.push(("text→image R@10", a_text - b_text));
        let (a_image, b_image) = (a.image_to_text.recall_at_10, b.image_to_text.recall_at_10);
        pairs.push(("image→text R@10", a_image - b_image));
    }
    if let (Some(a), Some(b)) = (&trained.labels, &served.labels) {
        pairs.push(("top-1", a.classification.top_1 - b.classification.top_1));
    }
    match pairs.into_iter().find(|(_, loss)| *loss > COMPACT_RECALL) {
        Some((what, loss)) => Err(ExportError::Forgets { what, points: 100.0 * loss }),
        None => Ok(()),
    }
}

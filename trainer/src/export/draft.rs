//! A bundle in the making, in a folder beside its place.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clip::bundle::{Licence, Manifest, Precision as Stored, Reference, ReferenceEmbeddings};
use clip::config::ModelType;
use clip::{Embedding, ModelBundle, ModelId};
use runtime::{Model, ModelOptions};
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::forms::{Forms, Precision};
use super::narrow::{BATCH, MARGIN};
use super::reference::{self, TEXTS};
use super::samples::worst_cosine;
use super::{ExportError, Report, Subject};
use crate::encoder::hex;
use crate::model::{LOGIT_BIAS, LOGIT_SCALE, Side, Weights};
use crate::train::Figures;

pub(super) struct Draft {
    folder: TempDir,
    pub(super) family: ModelType,
    pub(super) manifest: Manifest,
    pub(super) checks: Vec<String>,
}

impl Draft {
    /// Writes everything but graphs: configuration, tokenizer, processor, reference pictures.
    pub(super) fn begin(
        subject: &Subject<'_>,
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
        let tokenizer = std::fs::read(subject.tokenizer)
            .map_err(|source| ExportError::Read { path: subject.tokenizer.to_owned(), source })?;
        let config = serde_json::to_vec_pretty(&subject.model.config)?;
        let processor = serde_json::to_vec_pretty(&subject.processor)?;
        let id = model_id(subject.weights, &[&config, &tokenizer, &processor])?;
        let (family, manifest) = (subject.model.config.model_type, manifest(subject, id)?);
        let mut draft = Self { folder, family, manifest, checks: Vec::new() };
        draft.manifest.licences = licences.to_vec();
        draft.write("config.json", &config)?;
        draft.write("tokenizer.json", &tokenizer)?;
        draft.write("preprocessor_config.json", &processor)?;
        for (name, png) in reference::pictures()? {
            draft.write(name, &png)?;
            draft.manifest.reference.pictures.push(name.to_owned());
        }
        Ok(draft)
    }

    /// Writes the graphs of a precision and names them in the manifest.
    pub(super) fn add_graphs(
        &mut self,
        precision: Precision,
        subject: &Subject<'_>,
        forms: &Forms,
    ) -> Result<(), ExportError> {
        let Subject { model, weights, .. } = subject;
        let vision = format!("onnx/vision_model{}.onnx", precision.suffix());
        let text = format!("onnx/text_model{}.onnx", precision.suffix());
        self.write(&vision, &model.export_image_graph(weights, forms.image.storage)?)?;
        self.write(&text, &model.export_text_graph(weights, forms.text.storage)?)?;
        let weights = format!("image: {}; text: {}", forms.image.words(), forms.text.words());
        let tolerance = forms.image.tolerance().min(forms.text.tolerance());
        let depends = forms.image.depends_on_batch() || forms.text.depends_on_batch();
        let batch = if depends { BATCH } else { 1 };
        let stored = Stored { vision, text, weights, tolerance, batch };
        self.manifest.precisions.insert(precision.name().to_owned(), stored);
        self.write_manifest()
    }

    /// Lowers the tolerance of a precision whose answers were seen to differ by `spread` (1 - cosine)
    /// between batches.
    pub(super) fn tolerate(&mut self, precision: &str, spread: f32) {
        if let Some(stored) = self.manifest.precisions.get_mut(precision) {
            stored.tolerance = stored.tolerance.min(1.0 - MARGIN * spread);
        }
    }

    /// Runs `look` while the manifest names a precision of the image tower of `precision` and the
    /// text tower of f32.
    pub(super) fn with_text_of_f32<T>(
        &mut self,
        precision: Precision,
        look: impl FnOnce(&Self, &str) -> Result<T, ExportError>,
    ) -> Result<T, ExportError> {
        const MIXED: &str = "mixed";
        let stored = |precision: Precision| self.manifest.precisions.get(precision.name()).cloned();
        if let (Some(mut mixed), Some(exact)) = (stored(precision), stored(Precision::Fp32)) {
            mixed.text = exact.text;
            self.manifest.precisions.insert(MIXED.to_owned(), mixed);
        }
        self.write_manifest()?;
        let seen = look(self, MIXED);
        self.manifest.precisions.remove(MIXED);
        self.write_manifest()?;
        seen
    }

    /// Writes figures down by way of text, which keeps 0.261 from becoming 0.26100000739.
    pub(super) fn keep_figures(
        &mut self,
        precision: Precision,
        figures: &Figures,
    ) -> Result<(), ExportError> {
        let text = serde_json::to_string(figures)?;
        self.manifest.figures[precision.name()] = serde_json::from_str(&text)?;
        self.checks.push(format!("{}: {}", precision.name(), figures.sentence()));
        Ok(())
    }

    /// Takes the graphs of a precision out again.
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

    /// Records what each precision answers to the reference inputs, one by one.
    pub(super) fn record_references(&mut self, threads: usize) -> Result<(), ExportError> {
        self.manifest.reference.texts = TEXTS.map(str::to_owned).to_vec();
        self.write_manifest()?;
        let inputs = reference::inputs(&self.open()?, &self.manifest.reference.pictures)?;
        for (name, stored) in self.manifest.precisions.clone() {
            let mut model = self.open_model(&name, threads)?;
            let mut answers = |side| {
                let alone = inputs.answers(side, &mut model, 1)?;
                let together = inputs.answers(side, &mut model, stored.batch)?;
                self.tolerate(&name, 1.0 - worst_cosine(&alone, &together));
                Ok::<_, ExportError>(alone.into_iter().map(Embedding::into_vec).collect())
            };
            let (texts, pictures) = (answers(Side::Text)?, answers(Side::Image)?);
            let answers = ReferenceEmbeddings { texts, pictures };
            self.manifest.reference.embeddings.insert(name, answers);
        }
        self.write_manifest()
    }

    /// Opens the bundle as its readers do, lets it check itself, and moves it to its place.
    pub(super) fn finish(mut self, out: &Path, threads: usize) -> Result<Report, ExportError> {
        for name in self.manifest.precisions.keys() {
            let mut model = self.open_model(name, threads)?;
            if let Some(check) = runtime::self_check(&mut model, &self.open()?)? {
                let (compared, lowest) = (check.compared, check.lowest_cosine);
                let tolerance = self.manifest.precisions[name].tolerance;
                self.checks.push(format!(
                    "{name}: the self-check holds ({compared} answers, cosine {lowest:.6} at \
                     worst, {tolerance:.4} asked)"
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

    /// A precision of the bundle as it is so far.
    pub(super) fn open_model(&self, precision: &str, threads: usize) -> Result<Model, ExportError> {
        let options = ModelOptions { threads, precision: Some(precision.to_owned()) };
        Ok(Model::open(&self.open()?, &options)?)
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

    /// The bundle as it is so far.
    pub(super) fn open(&self) -> Result<ModelBundle, ExportError> {
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

/// sha-256 over the f32 weights in the order of their names, then `files`.
fn model_id(weights: &Weights, files: &[&[u8]]) -> Result<ModelId, ExportError> {
    let mut hasher = Sha256::new();
    for (name, _) in weights.iter() {
        let (shape, data) = weights.data(name)?;
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

fn manifest(subject: &Subject<'_>, id: ModelId) -> Result<Manifest, ExportError> {
    let number = |name| subject.weights.data(name).map(|(_, numbers)| numbers.first().copied());
    let logit_scale = number(LOGIT_SCALE)?;
    let logit_bias = if subject.weights.has(LOGIT_BIAS) { number(LOGIT_BIAS)? } else { None };
    Ok(Manifest {
        id,
        logit_scale: logit_scale.unwrap_or(subject.model.config.logit_scale_init_value),
        logit_bias,
        score_deviation: None,
        templates: subject.templates.clone(),
        context_length: subject.context_length,
        precisions: BTreeMap::new(),
        reference: Reference::default(),
        figures: json!({}),
        licences: Vec::new(),
        made_by: concat!("clipsight-trainer ", env!("CARGO_PKG_VERSION")).to_owned(),
    })
}

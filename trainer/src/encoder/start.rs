//! What an encoder is made of before the first step: a CLIP's folder, two pretrained towers, what a run
//! over these has learned, by its folder or by the bundle it was exported to, or a configuration alone.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clip::config::{
    BertConfig, EfficientNetLiteConfig, LiteVariant, ModelConfig, ModelType, TextConfig,
    VisionConfig,
};
use clip::tokenize::Tokenizer;
use sha2::{Digest, Sha256};

use super::bundle::{self, Bundle};
use super::{EncoderError, classes, hex};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::model::{
    Differences, DualEncoder, LOGIT_BIAS, ModelError, OtherShape, Side, TowerFiles, Weights,
};
use crate::recipe::{ImageEncoder, ModelKind, Recipe, Start, TextEncoder, Towers};
use crate::run::Run;

/// Channels that every EfficientNet-Lite pools (Tan and Le 2019, table 1; the head is not scaled in
/// the Lite release).
const LITE_HIDDEN_SIZE: usize = 1280;

/// An id for the end token that old files of CLIP carry and that means the highest of a text.
const MEANINGLESS_END: i64 = 2;

/// The start of an encoder.
pub(super) struct Origin {
    pub(super) model: DualEncoder,
    pub(super) weights: Weights,
    /// Names of the image tower's classes, of a model that has them.
    pub(super) classes: Vec<Vec<String>>,
    /// sha-256 (hex) over the files that the weights depend on.
    pub(super) digest: String,
    /// Whether the projections begin anew, and have not been learned before.
    pub(super) begins: bool,
    /// Weights that the run which is begun from does not have; none without such a run.
    pub(super) untaught: Vec<String>,
    /// Where tokenizer and processor are looked for, in this order.
    folders: Vec<PathBuf>,
}

impl Origin {
    /// Reads or draws the weights that `recipe` starts from.
    pub(super) fn of(recipe: &Recipe) -> Result<Self, EncoderError> {
        match recipe.model.start()? {
            Start::Towers(towers) => Self::towers(recipe, towers),
            Start::Checkpoint { folder, config } if bundle::is_one(folder) => {
                Self::clip_bundle(recipe, folder, config)
            }
            Start::Checkpoint { folder, config } if folder.join("recipe.toml").is_file() => {
                Self::clip_run(recipe, &Run::open(folder)?, config)
            }
            Start::Checkpoint { folder, config } => Self::checkpoint(recipe, folder, config),
            Start::Nothing { config } => Self::nothing(recipe, config),
        }
    }

    /// Pretrained towers with projections that start anew from the recipe's seed.
    fn towers(recipe: &Recipe, towers: Towers<'_>) -> Result<Self, EncoderError> {
        let image = weights_file(towers.image_weights);
        let text = weights_file(towers.text_weights);
        let mut files = vec![image.as_path(), text.as_path()];
        files.extend(towers.classes);
        let digest = digest(&files)?;
        let classes = towers.classes.map(|file| classes::read(file, &image)).transpose()?;
        let classes = classes.unwrap_or_default();
        let TextEncoder::Bert = towers.text;
        let bert = bert(&text.with_file_name("config.json"))?;
        let model = model(recipe, dual_encoder(recipe, towers, bert, classes.len()))?;
        let files = TowerFiles { image: &image, text: &text };
        let weights = model.from_towers(files, recipe.train.seed)?;
        let folders = vec![folder_of(&text)];
        let (begins, untaught) = (true, Vec::new());
        let mut origin = Self { model, weights, classes, digest, begins, untaught, folders };
        origin.answer_classes(recipe)?;
        match towers.init {
            Some(folder) if bundle::is_one(folder) => origin.after_bundle(folder),
            Some(folder) => origin.after(&Run::open(folder)?, towers),
            None => Ok(origin),
        }
    }

    /// Lets the text tower answer for the classes' names, where the model has classes.
    fn answer_classes(&mut self, recipe: &Recipe) -> Result<(), EncoderError> {
        let Some(classes) = self.model.classes() else { return Ok(()) };
        let name = classes.names_parameter().name;
        let tokenizer = self.tokenizer(recipe.model.text.context_length)?;
        let answers = classes::answers(&self.model, &self.weights, &tokenizer, &self.classes)?;
        self.weights.insert(name, answers);
        Ok(())
    }

    /// The same with what `run` has learned over the same towers, and with what it began from.
    fn after(mut self, run: &Run, towers: Towers<'_>) -> Result<Self, EncoderError> {
        let same = match run.recipe.model.start()? {
            Start::Towers(theirs) => same_weights(theirs, towers)?,
            _ => false,
        };
        if !same {
            return Err(EncoderError::OtherTowers { run: run.folder.clone() });
        }
        let theirs = Self::learned(run)?;
        let both = !theirs.classes.is_empty() && !self.classes.is_empty();
        if both && theirs.classes != self.classes {
            return Err(EncoderError::OtherClasses { run: run.folder.clone() });
        }
        self.untaught = self.beyond(&theirs.weights);
        self.take(&theirs.weights)?;
        self.digest = hex(&Sha256::digest([theirs.digest, self.digest].concat()));
        self.begins = theirs.begins;
        Ok(self)
    }

    /// The same with the weights of a bundle over the same towers, as exact as its graphs hold them.
    fn after_bundle(mut self, folder: &Path) -> Result<Self, EncoderError> {
        let theirs = Bundle::of(folder, ModelType::DualEncoder)?;
        if theirs.model.classes().is_some() && self.model.classes().is_none() {
            let reason = "its pictures are placed by a classifier's words as well; name its classes in \
                          model.image.classes";
            return Err(theirs.refused(reason));
        }
        let learned = theirs.weights(&self.weights)?;
        self.untaught = self.beyond(&learned);
        self.take(&learned)?;
        self.digest = hex(&Sha256::digest([theirs.digest, self.digest].concat()));
        self.begins = false;
        Ok(self)
    }

    /// A CLIP out of a bundle's graphs.
    fn clip_bundle(
        recipe: &Recipe,
        folder: &Path,
        config: Option<&Path>,
    ) -> Result<Self, EncoderError> {
        let theirs = Bundle::of(folder, ModelType::Clip)?;
        let learned = theirs.weights(&Weights::new())?;
        let own = theirs.model.config.clone();
        let model = model(recipe, config.map_or(Ok(own), clip)?)?;
        let weights = Weights::random(&model.parameters(), recipe.train.seed);
        let mut folders = vec![folder.to_owned()];
        folders.extend(config.map(folder_of));
        let (classes, digest, untaught) = (Vec::new(), theirs.digest, Vec::new());
        let begins = false;
        let mut origin = Self { model, weights, classes, digest, begins, untaught, folders };
        origin.untaught = origin.beyond(&learned);
        origin.take(&learned)?;
        Ok(origin)
    }

    /// A CLIP with what `run` has learned of one, by the run's configuration or by `config`.
    fn clip_run(recipe: &Recipe, run: &Run, config: Option<&Path>) -> Result<Self, EncoderError> {
        if run.recipe.model.model_type != ModelKind::Clip {
            return Err(EncoderError::OtherFamily { run: run.folder.clone() });
        }
        let theirs = Self::learned(run)?;
        let config = config.map_or_else(|| Ok(theirs.model.config.clone()), clip)?;
        let model = model(recipe, config)?;
        let weights = Weights::random(&model.parameters(), recipe.train.seed);
        let Self { classes, digest, begins, folders, weights: learned, .. } = theirs;
        let untaught = Vec::new();
        let mut origin = Self { model, weights, classes, digest, begins, untaught, folders };
        origin.untaught = origin.beyond(&learned);
        origin.take(&learned)?;
        Ok(origin)
    }

    /// What `run` began from, with what it has learned since in its place.
    fn learned(run: &Run) -> Result<Self, EncoderError> {
        let mut before = Self::of(&run.recipe)?;
        let folder = run.checkpoints();
        let none = || CheckpointError::None { path: folder.clone() };
        let file = Checkpoint::newest_file(&folder)?.ok_or_else(none)?;
        let checkpoint = Checkpoint::read(&file)?;
        if checkpoint.towers != before.digest {
            return Err(EncoderError::Changed { run: run.folder.clone() });
        }
        for (name, tensor) in checkpoint.weights.into_iter().chain(checkpoint.average) {
            before.weights.insert(name, tensor);
        }
        before.weights.merge_adapters()?;
        let parts = [before.digest, digest(&[&file])?];
        before.digest = hex(&Sha256::digest(parts.concat()));
        before.begins &= !run.recipe.train.method.knows_words();
        Ok(before)
    }

    /// Weights that `learned` lacks and an embedding is made with: the bias of a sigmoid is none of them.
    fn beyond(&self, learned: &Weights) -> Vec<String> {
        let names = self.weights.iter().map(|(name, _)| name);
        let own = names.filter(|name| *name != LOGIT_BIAS && !learned.has(name));
        own.map(str::to_owned).collect()
    }

    /// Puts `learned` in the place of the weights of the same names; what this model has no place for
    /// is left out, but for what was measured for its projections.
    fn take(&mut self, learned: &Weights) -> Result<(), EncoderError> {
        let mut differences = Differences::default();
        let measured: Vec<String> = [Side::Image, Side::Text]
            .iter()
            .flat_map(|side| self.model.projection(*side).measured())
            .collect();
        for (name, tensor) in learned.iter() {
            match self.weights.get(name) {
                Ok(weight) if weight.size() != tensor.size() => {
                    let (name, expected) = (name.to_owned(), weight.size());
                    differences.shapes.push(OtherShape { name, expected, found: tensor.size() });
                }
                Err(_) if !measured.iter().any(|kept| kept == name) => {}
                _ => self.weights.insert(name, tensor.shallow_clone()),
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(ModelError::Differs(differences).into())
    }

    fn checkpoint(
        recipe: &Recipe,
        folder: &Path,
        config: Option<&Path>,
    ) -> Result<Self, EncoderError> {
        let own = folder.join("config.json");
        let file = config.unwrap_or(&own);
        let model = model(recipe, clip(file)?)?;
        let mut files = DualEncoder::checkpoint_files(folder)?;
        let weights = model.checkpoint_weights(folder)?;
        files.push(file.to_owned());
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let mut folders = vec![folder.to_owned()];
        folders.extend(config.map(folder_of));
        let (digest, begins) = (digest(&files)?, false);
        let (classes, untaught) = (Vec::new(), Vec::new());
        Ok(Self { model, weights, classes, digest, begins, untaught, folders })
    }

    /// Random weights from the recipe's seed.
    fn nothing(recipe: &Recipe, file: &Path) -> Result<Self, EncoderError> {
        let mut config = clip(file)?;
        if let Some(scale) = recipe.train.logit_scale_start() {
            config.logit_scale_init_value = scale as f32;
        }
        let model = model(recipe, config)?;
        let weights = Weights::random(&model.parameters(), recipe.train.seed);
        let digest = digest(&[file])?;
        let folders = vec![folder_of(file)];
        let (classes, begins, untaught) = (Vec::new(), true, Vec::new());
        Ok(Self { model, weights, classes, digest, begins, untaught, folders })
    }

    /// A file that lies beside the weights or the configuration.
    pub(super) fn beside(&self, name: &'static str) -> Result<PathBuf, EncoderError> {
        let found = self.folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        found.ok_or_else(|| EncoderError::Absent { name, folder: self.folders[0].clone() })
    }

    /// The tokenizer, held against what the text tower can look up.
    pub(super) fn tokenizer(&self, context: Option<usize>) -> Result<Tokenizer, EncoderError> {
        let text = &self.model.config.text_config;
        let longest = text.max_position_embeddings();
        let context = context.unwrap_or(longest);
        if context > longest {
            return Err(EncoderError::Context { asked: context, longest });
        }
        let path = self.beside("tokenizer.json")?;
        let tokenizer = Tokenizer::from_file(&path, context, text.pad_token_id())?;
        let (rows, end) = match text {
            TextConfig::Bert(bert) => (bert.vocab_size, None),
            TextConfig::ClipText(text) => (text.vocab_size, Some(text.eos_token_id)),
        };
        let known = tokenizer.vocabulary_size();
        if known > rows {
            let reason = format!("it knows {known} tokens, the text tower {rows}");
            return Err(EncoderError::Tokenizer { path, reason });
        }
        let last = tokenizer.encode("")?.ids.last().copied();
        match end.filter(|end| *end != MEANINGLESS_END) {
            Some(end) if last != Some(end) => {
                let reason = format!("it ends no text with the tower's end token, {end}");
                Err(EncoderError::Tokenizer { path, reason })
            }
            _ => Ok(tokenizer),
        }
    }
}

/// The model of `config`, with the bias that the recipe's objective wants.
fn model(recipe: &Recipe, config: ModelConfig) -> Result<DualEncoder, EncoderError> {
    let model = DualEncoder::new(config)?;
    Ok(match recipe.train.objective.logit_bias_init() {
        Some(init) => model.with_logit_bias(init),
        None => model,
    })
}

/// Whether both are over the same weights, wherever these lie.
fn same_weights(one: Towers<'_>, other: Towers<'_>) -> Result<bool, EncoderError> {
    let [one, other] =
        [one, other].map(|towers| [towers.image_weights, towers.text_weights].map(weights_file));
    let digest = |[image, text]: &[PathBuf; 2]| digest(&[image, text]);
    Ok(one == other || digest(&one)? == digest(&other)?)
}

/// The file that a tower's `weights` means.
fn weights_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("model.safetensors") } else { path.to_owned() }
}

fn folder_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(file).to_owned()
}

pub(super) fn digest(files: &[&Path]) -> Result<String, EncoderError> {
    let mut hasher = Sha256::new();
    let mut part = vec![0; 1 << 20];
    for path in files {
        let failed = |source| EncoderError::Tower { path: (*path).to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        loop {
            match file.read(&mut part).map_err(failed)? {
                0 => break,
                read => hasher.update(&part[..read]),
            }
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// A `config.json` that is a CLIP's.
fn clip(path: &Path) -> Result<ModelConfig, EncoderError> {
    let config = ModelConfig::from_file(path).map_err(crate::model::ModelError::from)?;
    match config.model_type {
        ModelType::Clip => Ok(config),
        ModelType::DualEncoder => Err(EncoderError::NotClip { path: path.to_owned() }),
    }
}

fn bert(path: &Path) -> Result<BertConfig, EncoderError> {
    let text = std::fs::read(path)
        .map_err(|source| EncoderError::Tower { path: path.to_owned(), source })?;
    serde_json::from_slice(&text)
        .map_err(|source| EncoderError::Config { path: path.to_owned(), source })
}

fn dual_encoder(
    recipe: &Recipe,
    towers: Towers<'_>,
    bert: BertConfig,
    classes: usize,
) -> ModelConfig {
    let variant = match towers.image {
        ImageEncoder::EfficientnetLite0 => LiteVariant::Lite0,
        ImageEncoder::EfficientnetLite1 => LiteVariant::Lite1,
        ImageEncoder::EfficientnetLite2 => LiteVariant::Lite2,
    };
    let logit_scale = recipe.train.logit_scale_start().map(|scale| scale as f32);
    ModelConfig {
        model_type: ModelType::DualEncoder,
        projection_dim: towers.dim,
        projection_bias: true,
        projection_hidden_size: towers.hidden,
        logit_scale_init_value: logit_scale.unwrap_or(clip::config::LOGIT_SCALE_INIT),
        vision_config: VisionConfig::EfficientnetLite(EfficientNetLiteConfig {
            variant,
            image_size: recipe.image.size.unwrap_or_default() as usize,
            hidden_size: LITE_HIDDEN_SIZE,
            batch_norm_eps: 1e-3,
            num_labels: towers.classes.map(|_| classes),
        }),
        text_config: TextConfig::Bert(bert),
    }
}

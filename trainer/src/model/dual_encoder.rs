//! Two towers, two projections, one scale.

use clip::config::{ModelConfig, TextConfig, VisionConfig};

use super::{
    Bert, Between, ClassMixture, ClipText, ClipVision, EfficientNetLite, ModelError, Ops,
    Projection,
};

/// Beginning of the names of the image tower's weights.
pub(super) const VISION: &str = "vision_model.";
/// Beginning of the names of the text tower's weights.
pub(super) const TEXT: &str = "text_model.";

/// One half of a dual encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Pictures.
    Image,
    /// Texts.
    Text,
}

/// A dual encoder by its configuration. It holds no weights: they are a [`Weights`] of their own,
/// named `vision_model.…`, `text_model.…` (then as in each tower's checkpoint),
/// `visual_projection.…`, `text_projection.…`, `logit_scale` and, of a sigmoid model, `logit_bias`, as
/// `transformers` names them; and `class_model.…` of a model with a [`ClassMixture`].
#[derive(Debug, Clone)]
pub struct DualEncoder {
    /// Its configuration.
    pub config: ModelConfig,
    /// Projection of the image tower's pooled output.
    pub image_projection: Projection,
    /// Projection of the text tower's pooled output.
    pub text_projection: Projection,
    /// Where `logit_bias` starts, of a model that has one.
    pub(super) logit_bias_init: Option<f64>,
    pub(super) image_tower: ImageTower,
    pub(super) text_tower: TextTower,
    pub(super) classes: Option<ClassMixture>,
}

#[derive(Debug, Clone)]
pub(super) enum ImageTower {
    EfficientNetLite(EfficientNetLite),
    ClipVision(ClipVision),
}

#[derive(Debug, Clone)]
pub(super) enum TextTower {
    Bert(Bert),
    ClipText(ClipText),
}

impl DualEncoder {
    /// The encoder of `config`.
    ///
    /// # Errors
    /// [`ModelError::Config`] where the configuration contradicts itself.
    pub fn new(config: ModelConfig) -> Result<Self, ModelError> {
        let (dim, bias) = (config.projection_dim, config.projection_bias);
        if dim == 0 {
            return Err(ModelError::Config { key: "projection_dim", rule: "be at least 1" });
        }
        if config.projection_hidden_size == Some(0) {
            return Err(ModelError::Config {
                key: "projection_hidden_size",
                rule: "be at least 1",
            });
        }
        let image_tower = match &config.vision_config {
            VisionConfig::EfficientnetLite(lite) => {
                ImageTower::EfficientNetLite(EfficientNetLite::new(lite, VISION))
            }
            VisionConfig::ClipVision(vision) => {
                ImageTower::ClipVision(ClipVision::new(vision, VISION)?)
            }
        };
        let text_tower = match &config.text_config {
            TextConfig::Bert(bert) => TextTower::Bert(Bert::new(bert, TEXT)?),
            TextConfig::ClipText(text) => TextTower::ClipText(ClipText::new(text, TEXT)?),
        };
        let (image, text) = (config.vision_config.hidden_size(), config.text_config.hidden_size());
        let projection = |name: &str, inputs| {
            Projection::new(name, inputs, dim, bias).with_hidden(config.projection_hidden_size)
        };
        let image_projection = projection("visual_projection", image);
        let text_projection = projection("text_projection", text);
        let classes = match &config.vision_config {
            VisionConfig::EfficientnetLite(lite) => {
                if lite.num_labels == Some(0) {
                    return Err(ModelError::Config { key: "num_labels", rule: "be at least 1" });
                }
                lite.num_labels.map(|labels| ClassMixture::new(lite, labels, text))
            }
            VisionConfig::ClipVision(_) => None,
        };
        Ok(Self {
            config,
            image_projection,
            text_projection,
            logit_bias_init: None,
            image_tower,
            text_tower,
            classes,
        })
    }

    /// The same with a bias that is added to the logits and starts at `init`: a sigmoid model.
    #[must_use]
    pub fn with_logit_bias(self, init: f64) -> Self {
        Self { logit_bias_init: Some(init), ..self }
    }

    /// The tower's answer for `pixels` `[B, 3, H, W]` → `[B, hidden]`, and beside it, of a model with
    /// classes, their mixture: `[B, hidden + text hidden]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn image_pooled<O: Ops>(
        &self,
        ops: &mut O,
        pixels: &O::Value,
    ) -> Result<O::Value, ModelError> {
        let shared = self.classes.as_ref().map_or(0, ClassMixture::shared_blocks);
        let x = self.image_beginning(ops, pixels, shared)?;
        self.image_rest(ops, x, shared)
    }

    /// What of images' pooled `[B, …]` is the tower's answer `[B, hidden]`, and the mixture of classes
    /// `[B, text hidden]` of a model that has them.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn image_parts<O: Ops>(
        &self,
        ops: &mut O,
        pooled: &O::Value,
    ) -> Result<Option<[O::Value; 2]>, ModelError> {
        let hidden = self.config.vision_config.hidden_size();
        self.classes.as_ref().map(|_| ops.parted(pooled, hidden)).transpose()
    }

    /// The classes whose mixture goes into an image's embedding.
    #[must_use]
    pub fn classes(&self) -> Option<&ClassMixture> {
        self.classes.as_ref()
    }

    /// What the image tower has of `pixels` `[B, 3, H, W]` after its first `blocks` blocks, as
    /// [`DualEncoder::image_rest`] takes it.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn image_beginning<O: Ops>(
        &self,
        ops: &mut O,
        pixels: &O::Value,
        blocks: usize,
    ) -> Result<O::Value, ModelError> {
        match &self.image_tower {
            ImageTower::EfficientNetLite(tower) => tower.beginning(ops, pixels, blocks),
            ImageTower::ClipVision(tower) => tower.beginning(ops, pixels, blocks),
        }
    }

    /// The answer from there, as [`DualEncoder::image_pooled`] has it. Of a model with classes, not
    /// more than their shared blocks may lie behind.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn image_rest<O: Ops>(
        &self,
        ops: &mut O,
        beginning: O::Value,
        blocks: usize,
    ) -> Result<O::Value, ModelError> {
        match (&self.image_tower, &self.classes) {
            (ImageTower::ClipVision(tower), _) => tower.rest(ops, beginning, blocks),
            (ImageTower::EfficientNetLite(tower), None) => tower.rest(ops, &beginning, blocks),
            (ImageTower::EfficientNetLite(tower), Some(classes)) => {
                let shared = classes.shared_blocks();
                let x = if blocks == shared {
                    beginning
                } else {
                    tower.through(ops, &beginning, blocks..shared)?
                };
                let pooled = tower.rest(ops, &x, shared)?; // [B, hidden]
                let mixture = classes.of_shared(ops, &x)?; // [B, text hidden]
                ops.beside(&pooled, &mixture)
            }
        }
    }

    /// Blocks of a tower.
    #[must_use]
    pub fn block_count(&self, side: Side) -> usize {
        match (side, &self.image_tower, &self.text_tower) {
            (Side::Image, ImageTower::EfficientNetLite(tower), _) => tower.block_count(),
            (Side::Image, ImageTower::ClipVision(tower), _) => tower.block_count(),
            (Side::Text, _, TextTower::Bert(tower)) => tower.block_count(),
            (Side::Text, _, TextTower::ClipText(tower)) => tower.block_count(),
        }
    }

    /// One block of the image tower, not its last, over what those before it answered, as
    /// [`DualEncoder::image_beginning`] has it.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn image_block<O: Ops>(
        &self,
        ops: &mut O,
        x: O::Value,
        block: usize,
    ) -> Result<O::Value, ModelError> {
        match &self.image_tower {
            ImageTower::EfficientNetLite(tower) => tower.through(ops, &x, block..block + 1),
            ImageTower::ClipVision(tower) => tower.through(ops, x, block..block + 1),
        }
    }

    /// What the first block of the text tower is fed: `ids` i64 `[B, L]` → `[B, L, W]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn text_beginning<O: Ops>(
        &self,
        ops: &mut O,
        ids: &O::Value,
    ) -> Result<O::Value, ModelError> {
        match &self.text_tower {
            TextTower::Bert(tower) => tower.beginning(ops, ids),
            TextTower::ClipText(tower) => tower.beginning(ops, ids),
        }
    }

    /// One block of the text tower over the tokens of `[ids, mask]`: `[B, L, W]` → `[B, L, W]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn text_block<O: Ops>(
        &self,
        ops: &mut O,
        x: O::Value,
        [ids, mask]: [&O::Value; 2],
        block: usize,
    ) -> Result<O::Value, ModelError> {
        match &self.text_tower {
            TextTower::Bert(tower) => tower.through(ops, x, mask, block..block + 1),
            TextTower::ClipText(tower) => tower.through(ops, x, ids, block..block + 1),
        }
    }

    /// What comes after the first `blocks` blocks of the text tower: `[B, L, W]` → `[B, hidden]`.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn text_rest<O: Ops>(
        &self,
        ops: &mut O,
        x: O::Value,
        [ids, mask]: [&O::Value; 2],
        blocks: usize,
    ) -> Result<O::Value, ModelError> {
        match &self.text_tower {
            TextTower::Bert(tower) => tower.rest(ops, x, mask, blocks),
            TextTower::ClipText(tower) => tower.rest(ops, x, ids, blocks),
        }
    }

    /// The tower's answer for `ids` and `mask` i64 `[B, L]` → `[B, hidden]`. A causal tower does not
    /// look at the mask.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn text_pooled<O: Ops>(
        &self,
        ops: &mut O,
        ids: &O::Value,
        mask: &O::Value,
    ) -> Result<O::Value, ModelError> {
        match &self.text_tower {
            TextTower::Bert(tower) => tower.pooled(ops, ids, mask),
            TextTower::ClipText(tower) => tower.pooled(ops, ids),
        }
    }

    /// Pooled `[B, hidden]` of one side → features `[B, D]`, not normalized.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn features<O: Ops>(
        &self,
        ops: &mut O,
        side: Side,
        pooled: &O::Value,
    ) -> Result<O::Value, ModelError> {
        self.features_between(ops, side, pooled, &mut Ok)
    }

    /// As [`DualEncoder::features`], with what becomes of hidden numbers on their way as
    /// [`Projection::features_between`] says.
    ///
    /// # Errors
    /// As [`Ops`] says, and those of `between`.
    pub fn features_between<O: Ops>(
        &self,
        ops: &mut O,
        side: Side,
        pooled: &O::Value,
        between: Between<'_, O::Value>,
    ) -> Result<O::Value, ModelError> {
        let projection = self.projection(side);
        let parts = match side {
            Side::Image => self.image_parts(ops, pooled)?,
            Side::Text => None,
        };
        let Some([own, mixture]) = parts else {
            return projection.features_between(ops, pooled, between);
        };
        let features = projection.features_between(ops, &own, between)?; // [B, D]
        let words = self.text_projection.linear(ops, &mixture)?;
        ops.add(features, &words)
    }

    /// Pooled `[B, hidden]` of one side → embeddings `[B, D]`, of length one.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn embeddings<O: Ops>(
        &self,
        ops: &mut O,
        side: Side,
        pooled: &O::Value,
    ) -> Result<O::Value, ModelError> {
        let features = self.features(ops, side, pooled)?;
        ops.l2_normalize(&features)
    }

    /// `pixels` `[B, 3, H, W]` → embeddings `[B, D]`, of length one.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn image_embeddings<O: Ops>(
        &self,
        ops: &mut O,
        pixels: &O::Value,
    ) -> Result<O::Value, ModelError> {
        let pooled = self.image_pooled(ops, pixels)?;
        self.embeddings(ops, Side::Image, &pooled)
    }

    /// `ids` and `mask` i64 `[B, L]` → embeddings `[B, D]`, of length one.
    ///
    /// # Errors
    /// As [`Ops`] says.
    pub fn text_embeddings<O: Ops>(
        &self,
        ops: &mut O,
        ids: &O::Value,
        mask: &O::Value,
    ) -> Result<O::Value, ModelError> {
        let pooled = self.text_pooled(ops, ids, mask)?;
        self.embeddings(ops, Side::Text, &pooled)
    }

    /// The projection of one side.
    #[must_use]
    pub fn projection(&self, side: Side) -> &Projection {
        match side {
            Side::Image => &self.image_projection,
            Side::Text => &self.text_projection,
        }
    }
}

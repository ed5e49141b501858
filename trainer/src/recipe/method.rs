//! `train.method`: what a training is made of, views, heads, targets and objective together.

use serde::{Deserialize, Serialize};

use super::{Objective, Recipe, RecipeError, Start, wrong};

/// `train.method`: a name, or a table with a name and that method's own keys.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name")]
pub enum Method {
    /// Pictures with their captions, by `train.objective`.
    #[serde(rename = "clip")]
    Clip(NoKeys),
    /// The same with a locked image tower.
    #[serde(rename = "lit")]
    Lit(NoKeys),
    /// Two views of a picture, told from all others of the batch.
    #[serde(rename = "simclr")]
    SimClr(SimClr),
    /// The same against a momentum encoder.
    #[serde(rename = "moco_v3")]
    MoCoV3(MoCoV3),
    /// One view foretells what a momentum encoder makes of the other.
    #[serde(rename = "byol")]
    Byol(Byol),
    /// The same without a momentum encoder.
    #[serde(rename = "simsiam")]
    SimSiam(SimSiam),
    /// Views foretell each other's prototypes.
    #[serde(rename = "swav")]
    SwAv(SwAv),
    /// Views of pictures of a class belong together.
    #[serde(rename = "sup_con")]
    SupCon(SimClr),
    /// `clip` and `simclr` at once.
    #[serde(rename = "slip")]
    Slip(Slip),
}

/// Keys of a method that has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoKeys {}

/// Keys of `simclr` and `sup_con`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimClr {
    /// Width between the projector's two layers; that of the tower where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// Width of what the projector answers.
    pub dim: usize,
    /// Divides cosines.
    pub temperature: f64,
}

/// Keys of `moco_v3`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MoCoV3 {
    /// Width within projector and predictor.
    pub hidden: usize,
    /// Width of what they answer.
    pub dim: usize,
    /// Divides cosines.
    pub temperature: f64,
    /// What the momentum encoder keeps of itself in the first step; it rises to 1.
    pub momentum: f64,
}

/// Keys of `byol`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Byol {
    /// Width within projector and predictor.
    pub hidden: usize,
    /// Width of what they answer.
    pub dim: usize,
    /// What the momentum encoder keeps of itself in the first step; it rises to 1.
    pub momentum: f64,
}

/// Keys of `simsiam`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimSiam {
    /// Width of the projector, within and of what it answers.
    pub dim: usize,
    /// Width within the predictor, a bottleneck.
    pub bottleneck: usize,
}

/// Keys of `swav`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwAv {
    /// Width between the projector's two layers.
    pub hidden: usize,
    /// Width of what it answers.
    pub dim: usize,
    /// How many prototypes views are shared out to.
    pub prototypes: usize,
    /// First steps in which they stay as they were drawn. Prototypes that learn at once can all become the
    /// same one, which foretells everything.
    pub freeze_prototypes: u64,
    /// Divides cosines.
    pub temperature: f64,
    /// How evenly a view may be shared out.
    pub epsilon: f64,
    /// Rounds of Sinkhorn's algorithm.
    pub iterations: usize,
    /// Views beside the two large ones, which show less of a picture.
    pub small_views: usize,
    /// Their edge in pixels; that of the large ones where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub small_size: Option<u32>,
    /// Least and largest share of a picture, in area, that they show.
    pub small_scale: [f64; 2],
}

/// Keys of `slip`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slip {
    /// Width within the projector.
    pub hidden: usize,
    /// Width of what it answers.
    pub dim: usize,
    /// Divides cosines between views.
    pub temperature: f64,
    /// What the loss between views counts beside that between pictures and captions.
    pub scale: f64,
}

/// What a method reads beside pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// What is said of them.
    Captions,
    /// Which class they show.
    Classes,
    /// Nothing.
    Nothing,
}

impl Default for Method {
    fn default() -> Self {
        Self::Clip(NoKeys {})
    }
}

impl Default for SimClr {
    /// As Chen et al. 2020, sections 2.1 and B.9.
    fn default() -> Self {
        Self { hidden: None, dim: 128, temperature: 0.1 }
    }
}

impl Default for MoCoV3 {
    /// As Chen et al. 2021, sections 3 and 4.
    fn default() -> Self {
        Self { hidden: 4096, dim: 256, temperature: 0.2, momentum: 0.99 }
    }
}

impl Default for Byol {
    /// As Grill et al. 2020, section 3.2.
    fn default() -> Self {
        Self { hidden: 4096, dim: 256, momentum: 0.996 }
    }
}

impl Default for SimSiam {
    /// As Chen and He 2021, section 3.
    fn default() -> Self {
        Self { dim: 2048, bottleneck: 512 }
    }
}

impl Default for SwAv {
    /// As Caron et al. 2020, sections 3.2 and appendix A.1, and as its code has it (`freeze_prototypes`).
    fn default() -> Self {
        Self {
            hidden: 2048,
            dim: 128,
            prototypes: 3000,
            freeze_prototypes: 313,
            temperature: 0.1,
            epsilon: 0.05,
            iterations: 3,
            small_views: 6,
            small_size: None,
            small_scale: [0.05, 0.14],
        }
    }
}

impl Default for Slip {
    /// As Mu et al. 2022, section 4.
    fn default() -> Self {
        Self { hidden: 4096, dim: 256, temperature: 0.1, scale: 1.0 }
    }
}

/// The widest layer of a head; a typing error above it would fill the memory.
const WIDEST: usize = 1 << 16;

impl Method {
    /// Its name in a recipe.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Clip(_) => "clip",
            Self::Lit(_) => "lit",
            Self::SimClr(_) => "simclr",
            Self::MoCoV3(_) => "moco_v3",
            Self::Byol(_) => "byol",
            Self::SimSiam(_) => "simsiam",
            Self::SwAv(_) => "swav",
            Self::SupCon(_) => "sup_con",
            Self::Slip(_) => "slip",
        }
    }

    /// What it reads beside pictures.
    #[must_use]
    pub fn reads(&self) -> Reads {
        match self {
            Self::Clip(_) | Self::Lit(_) | Self::Slip(_) => Reads::Captions,
            Self::SupCon(_) => Reads::Classes,
            _ => Reads::Nothing,
        }
    }

    /// Whether it joins pictures with words, so that its model can be searched.
    #[must_use]
    pub fn knows_words(&self) -> bool {
        self.reads() == Reads::Captions
    }

    pub(super) fn validate(&self, recipe: &Recipe) -> Result<(), RecipeError> {
        self.validate_keys()?;
        for (key, given) in [
            ("image.cache", recipe.image.cache),
            ("model.image.classes", recipe.model.image.classes.is_some()),
            ("train.class_pictures", recipe.train.class_pictures > 0),
        ] {
            if given && !matches!(self, Self::Clip(_) | Self::Lit(_)) {
                return self.refuse(key, "does not go with the views of this method; leave it out");
            }
        }
        let from_nothing = matches!(recipe.model.start()?, Start::Nothing { .. });
        if matches!(self, Self::Lit(_)) && from_nothing {
            let reason =
                "is missing: an image tower that stays as it is has to have learned something";
            return self.refuse("model.init", reason);
        }
        if self.knows_words() {
            return Ok(());
        }
        let (model, train) = (&recipe.model, &recipe.train);
        for (key, given) in [
            ("train.objective", train.objective != Objective::default()),
            ("train.logit_scale_init", train.logit_scale_init.is_some()),
            ("model.text.learning_rate", model.text.learning_rate > 0.0),
            ("model.text.dropout", model.text.dropout > 0.0),
            ("model.image.dropout", model.image.dropout > 0.0),
            ("text", recipe.text != super::TextSection::default()),
            ("eval.captions", recipe.eval.captions.is_some()),
            ("eval.labels", recipe.eval.labels.is_some()),
        ] {
            if given {
                let reason = "does not go with this method, which reads no captions and has a loss of \
                              its own; leave it out (eval RUN --labels DEV --probe TRAIN measures \
                              afterwards)";
                return self.refuse(key, reason);
            }
        }
        Ok(())
    }

    fn refuse(&self, key: &str, reason: &str) -> Result<(), RecipeError> {
        wrong(key, &format!("(with train.method = \"{}\") {reason}", self.name()))
    }

    fn validate_keys(&self) -> Result<(), RecipeError> {
        match *self {
            Self::Clip(_) | Self::Lit(_) => Ok(()),
            Self::SimClr(SimClr { hidden, dim, temperature })
            | Self::SupCon(SimClr { hidden, dim, temperature }) => {
                width("hidden", hidden.unwrap_or(1))?;
                width("dim", dim)?;
                positive("temperature", temperature)
            }
            Self::MoCoV3(MoCoV3 { hidden, dim, temperature, momentum }) => {
                width("hidden", hidden)?;
                width("dim", dim)?;
                positive("temperature", temperature)?;
                share("momentum", momentum)
            }
            Self::Byol(Byol { hidden, dim, momentum }) => {
                width("hidden", hidden)?;
                width("dim", dim)?;
                share("momentum", momentum)
            }
            Self::SimSiam(SimSiam { dim, bottleneck }) => {
                width("dim", dim)?;
                width("bottleneck", bottleneck)
            }
            Self::SwAv(swav) => swav.validate(),
            Self::Slip(Slip { hidden, dim, temperature, scale }) => {
                width("hidden", hidden)?;
                width("dim", dim)?;
                positive("temperature", temperature)?;
                positive("scale", scale)
            }
        }
    }
}

impl SwAv {
    fn validate(&self) -> Result<(), RecipeError> {
        width("hidden", self.hidden)?;
        width("dim", self.dim)?;
        if !(2..=WIDEST).contains(&self.prototypes) {
            return wrong("train.method.prototypes", "must lie between 2 and 65536");
        }
        positive("temperature", self.temperature)?;
        positive("epsilon", self.epsilon)?;
        if !(1..=100).contains(&self.iterations) {
            return wrong("train.method.iterations", "must lie between 1 and 100");
        }
        if self.small_views > 32 {
            return wrong("train.method.small_views", "must be at most 32");
        }
        if self.small_size.is_some_and(|size| !(8..=4096).contains(&size)) {
            return wrong("train.method.small_size", "must lie between 8 and 4096 pixels");
        }
        let [low, high] = self.small_scale;
        if !(0.01 <= low && low <= high && high <= 1.0) {
            let reason = "must be two rising shares between 0.01 and 1";
            return wrong("train.method.small_scale", reason);
        }
        Ok(())
    }
}

fn width(key: &str, value: usize) -> Result<(), RecipeError> {
    if (1..=WIDEST).contains(&value) {
        return Ok(());
    }
    wrong(&format!("train.method.{key}"), "must lie between 1 and 65536")
}

fn positive(key: &str, value: f64) -> Result<(), RecipeError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    wrong(&format!("train.method.{key}"), "must be a finite number above 0")
}

fn share(key: &str, value: f64) -> Result<(), RecipeError> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    wrong(&format!("train.method.{key}"), "must be at least 0 and less than 1")
}

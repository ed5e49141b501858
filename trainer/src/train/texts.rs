//! The captions that the loop draws: a locked tower's outputs over them, their tokens, or, where a
//! recipe asks for it, their words, which change each time.

use std::collections::HashMap;
use std::sync::Arc;

use clip::TokenIds;
use tch::Tensor;

use super::images::standardize;
use super::{Surroundings, TrainError, pass};
use crate::data::augment::{TextAugmentation, TextViews};
use crate::data::mixture::Draw;
use crate::data::{Caption, Dataset};
use crate::encoder::classes::caption;
use crate::encoder::{Encoder, EncoderError};
use crate::model::Side;
use crate::recipe::Recipe;
use crate::run::Run;
use crate::towers::TextInputs;

/// All captions of all sets.
pub(super) struct Texts {
    /// By pair over all sets.
    captions: Vec<Vec<Numbers>>,
    /// What is wrong of a pair's picture, as far as the objective looks at it; by pair over all sets.
    negatives: Vec<Vec<Numbers>>,
    /// Names of the classes of class pictures, by class.
    classes: Vec<Vec<Numbers>>,
    input: TextInput,
}

/// What a caption is known by.
#[derive(Clone, Copy)]
struct Numbers {
    /// Its row among the distinct texts.
    row: i64,
    /// Equal for captions that say the same.
    meaning: i64,
}

enum TextInput {
    /// A locked tower's outputs `[N, hidden]`.
    Pooled(Tensor),
    /// The tower is learned.
    Tokens(Vec<TokenIds>),
    /// The tower is learned, and captions are worded as they are drawn.
    Words(Vec<Arc<str>>, TextAugmentation),
}

/// What decides how an epoch's captions are worded, beside the draws.
pub(super) struct Wording {
    pub(super) seed: u64,
    pub(super) epoch: u64,
}

/// The caption of one draw.
pub(super) struct Drawn {
    draw: Draw,
    /// Whether it is the draw's caption (0) or its negative (1): they are worded each by itself.
    which: usize,
    row: i64,
    /// Equal for captions that say the same.
    pub(super) meaning: i64,
}

/// What varies in captions as they are drawn; none where nothing does.
pub(super) fn augmentation(recipe: &Recipe) -> Result<Option<TextAugmentation>, TrainError> {
    if recipe.text.drawn_keys().is_empty() {
        return Ok(None);
    }
    Ok(Some(TextAugmentation::open(&recipe.text)?))
}

impl Texts {
    /// Numbers the distinct captions; runs a locked tower over them and standardizes its outputs.
    pub(super) fn prepare(
        run: &Run,
        encoder: &mut Encoder,
        sets: &[Arc<Dataset>],
        augmentation: Option<TextAugmentation>,
        around: &mut Surroundings<'_>,
    ) -> Result<Self, TrainError> {
        let Numbered { texts, captions, negatives, classes } =
            Numbered::of(&run.recipe, &encoder.classes, sets);
        if let Some(augmentation) = augmentation {
            let input = TextInput::Words(texts, augmentation);
            return Ok(Self { captions, negatives, classes, input });
        }
        if !encoder.rates.is_locked(Side::Text) {
            let encode =
                |text: &Arc<str>| encoder.tokenizer.encode(text).map_err(EncoderError::from);
            let tokens = texts.iter().map(encode).collect::<Result<_, _>>()?;
            let input = TextInput::Tokens(tokens);
            return Ok(Self { captions, negatives, classes, input });
        }
        around.watch.say("the text tower is locked: its outputs are computed once and cached");
        let cache = run.cache();
        let pooled = pass(encoder, &cache, around).texts(&texts)?;
        standardize(encoder, Side::Text, &pooled)?;
        Ok(Self { captions, negatives, classes, input: TextInput::Pooled(pooled) })
    }

    /// The captions of draws, whose pairs are `pairs` over all sets.
    pub(super) fn captions(&self, draws: &[Draw], pairs: &[usize]) -> Vec<Drawn> {
        let of = |(draw, &pair): (&Draw, &usize)| {
            let Numbers { row, meaning } = self.captions[pair][draw.caption];
            Drawn { draw: *draw, which: 0, row, meaning }
        };
        draws.iter().zip(pairs).map(of).collect()
    }

    /// The names that class pictures have as captions.
    pub(super) fn of_classes(&self, draws: &[Draw]) -> Vec<Drawn> {
        let of = |draw: &Draw| {
            let Numbers { row, meaning } = self.classes[draw.pair][draw.caption];
            Drawn { draw: *draw, which: 0, row, meaning }
        };
        draws.iter().map(of).collect()
    }

    /// A negative of each draw whose pair has any, another one each time that the pair comes.
    pub(super) fn negatives(&self, draws: &[Draw], pairs: &[usize], epoch: u64) -> Vec<Drawn> {
        let of = |(draw, &pair): (&Draw, &usize)| {
            let all = &self.negatives[pair];
            let turn = (epoch as usize).wrapping_add(draw.turn) % all.len().max(1);
            let &Numbers { row, meaning } = all.get(turn)?;
            Some(Drawn { draw: *draw, which: 1, row, meaning })
        };
        draws.iter().zip(pairs).filter_map(of).collect()
    }

    /// What the text tower is fed, or what it has answered already.
    pub(super) fn inputs(
        &self,
        captions: &[Drawn],
        wording: &Wording,
        encoder: &Encoder,
    ) -> Result<TextInputs, TrainError> {
        Ok(match &self.input {
            TextInput::Pooled(pooled) => {
                let rows: Vec<i64> = captions.iter().map(|caption| caption.row).collect();
                let rows = encoder.moved(&Tensor::from_slice(&rows))?;
                TextInputs::Pooled(pooled.f_index_select(0, &rows)?)
            }
            TextInput::Tokens(tokens) => {
                let of = |caption: &Drawn| tokens[caption.row as usize].clone();
                TextInputs::Tokens(captions.iter().map(of).collect())
            }
            TextInput::Words(texts, augmentation) => {
                let &Wording { seed, epoch } = wording;
                let views = TextViews { augmentation: augmentation.clone(), seed, epoch };
                let encode = |caption: &Drawn| {
                    let text =
                        views.text(&caption.draw, caption.which, &texts[caption.row as usize]);
                    encoder.tokenizer.encode(&text)
                };
                let tokens = captions.iter().map(encode).collect::<Result<Vec<TokenIds>, _>>();
                TextInputs::Tokens(tokens.map_err(EncoderError::from)?)
            }
        })
    }
}

/// The distinct texts, and the numbers of all captions and negatives by pair over all sets, and of the names
/// of classes.
struct Numbered {
    texts: Vec<Arc<str>>,
    captions: Vec<Vec<Numbers>>,
    negatives: Vec<Vec<Numbers>>,
    classes: Vec<Vec<Numbers>>,
}

impl Numbered {
    /// Of what `sets` say; of what is wrong and of the names of `classes` as far as the recipe draws
    /// them.
    fn of(recipe: &Recipe, classes: &[Vec<String>], sets: &[Arc<Dataset>]) -> Self {
        let mut texts: Vec<Arc<str>> = Vec::new();
        let mut row_of: HashMap<Arc<str>, i64> = HashMap::new();
        let mut meaning_of: HashMap<Arc<str>, i64> = HashMap::new();
        let mut number = |caption: &Caption| {
            let row = *row_of.entry(Arc::clone(&caption.text)).or_insert_with(|| {
                texts.push(Arc::clone(&caption.text));
                texts.len() as i64 - 1
            });
            let count = meaning_of.len() as i64;
            let meaning = *meaning_of.entry(Arc::clone(&caption.meaning)).or_insert(count);
            Numbers { row, meaning }
        };
        let (mut captions, mut negatives) = (Vec::new(), Vec::new());
        let with_negatives = recipe.train.objective.takes_given_negatives();
        for pair in sets.iter().flat_map(|set| &set.pairs) {
            captions.push(pair.captions.iter().map(&mut number).collect());
            let wrong = if with_negatives { pair.negatives.as_slice() } else { &[] };
            negatives.push(wrong.iter().map(&mut number).collect());
        }
        let drawn = if recipe.train.class_pictures > 0 { classes } else { &[] };
        let mut name = |name: &String| {
            // As the class of a labelled set means its name, whatever the template.
            number(&Caption { text: caption(name).into(), meaning: name.to_lowercase().into() })
        };
        let classes = drawn.iter().map(|names| names.iter().map(&mut name).collect()).collect();
        Self { texts, captions, negatives, classes }
    }
}

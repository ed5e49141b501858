//! The towers over a batch, and the way back: `GradCache` (Gao et al. 2021, section 3).
//!
//! A step is cut behind the towers. [`Towers::forward`] answers pooled outputs that are leaves of
//! their own: what a method makes of them, heads, batch statistics, objective and scale, sees the
//! whole batch and knows nothing of how it went through the towers. [`Tape::backward`] takes the
//! gradients that arrive at the leaves back through the towers. A batch that goes through at once
//! keeps its graph in between; one that goes through in micro-batches keeps none and goes through a
//! second time, so that the memory is that of a micro-batch and the gradient that of the whole batch.
//! A tower with gradient checkpointing keeps, wherever it would keep a graph, the inputs of its blocks.
//!
//! This room knows nothing of files, objectives, the rules of optimizers or the loop.
//! Invariant: gradients are those of the whole batch, up to the order in which f32 is summed; what
//! comes out depends on nothing but inputs and weights, so the second way answers as the first did.

mod blocks;
mod part;
mod tape;

use clip::TokenIds;
use tch::{Kind, TchError, Tensor};

use crate::encoder::{Encoder, EncoderError};
use crate::methods::{Batch, Words};
use crate::model::{Side, Weights};
use crate::processes::Processes;

use blocks::Chain;
use part::Part;
pub use tape::Tape;
use tape::{Own, Passage};

/// Pairs of one step, before the towers.
#[derive(Debug)]
pub struct Inputs {
    /// The pictures, `B` of them; before the tower, this process's share of them.
    pub images: Images,
    /// What no picture shows and stands behind them: `[K, …]` as the image tower would answer.
    pub class_pictures: Option<Tensor>,
    /// What is said of them, for a method that reads it.
    pub texts: Option<Texts>,
    /// One a picture, class pictures included: [`Batch::picture_keys`].
    pub picture_keys: Vec<i64>,
    /// One a picture: [`Batch::class_keys`].
    pub class_keys: Vec<i64>,
}

/// Pictures, as far as they have come by themselves.
#[derive(Debug)]
pub enum Images {
    /// Behind a locked tower: `[B, hidden]`, on the encoder's device.
    Pooled(Tensor),
    /// Behind its first `blocks` blocks, which are locked: f16 `[B, …]`, on the CPU.
    Begun {
        /// As [`Encoder::beginnings`] gives them.
        rows: Tensor,
        /// How many blocks lie behind them.
        blocks: usize,
    },
    /// Before it: `[B, 3, H, W]` for each view, on the CPU.
    Pixels(Vec<Tensor>),
}

/// Texts with what they mean.
#[derive(Debug)]
pub struct Texts {
    /// As far as they have come by themselves.
    pub inputs: TextInputs,
    /// [`Words::keys`].
    pub keys: Vec<i64>,
}

/// Texts, as far as they have come by themselves.
#[derive(Debug)]
pub enum TextInputs {
    /// Behind a locked tower: `[N, hidden]`, on the encoder's device.
    Pooled(Tensor),
    /// Before it.
    Tokens(Vec<TokenIds>),
}

impl Inputs {
    /// How many pairs it has.
    #[must_use]
    pub fn pairs(&self) -> usize {
        let rows = |tensor: &Tensor| tensor.size()[0] as usize;
        match &self.images {
            Images::Pooled(rows_of) | Images::Begun { rows: rows_of, .. } => rows(rows_of),
            Images::Pixels(views) => views.first().map_or(0, rows),
        }
    }

    /// Its first `pairs` pictures, and as many texts, the longest ones: what goes through the towers,
    /// without keys that a method would need.
    #[must_use]
    pub fn first(&self, pairs: usize) -> Self {
        let pairs = pairs.min(self.pairs());
        let narrow = |whole: &Tensor| whole.narrow(0, 0, pairs as i64);
        let images = match &self.images {
            Images::Pooled(pooled) => Images::Pooled(narrow(pooled)),
            Images::Begun { rows, blocks } => Images::Begun { rows: narrow(rows), blocks: *blocks },
            Images::Pixels(views) => Images::Pixels(views.iter().map(narrow).collect()),
        };
        let texts = self.texts.as_ref().map(|texts| {
            let inputs = match &texts.inputs {
                TextInputs::Pooled(pooled) => TextInputs::Pooled(narrow(pooled)),
                TextInputs::Tokens(tokens) => {
                    let mut tokens = tokens.clone();
                    tokens.sort_by_key(|text| std::cmp::Reverse(text.ids.len()));
                    tokens.truncate(pairs);
                    TextInputs::Tokens(tokens)
                }
            };
            Texts { inputs, keys: Vec::new() }
        });
        let (picture_keys, class_keys) = (Vec::new(), Vec::new());
        Self { images, class_pictures: None, texts, picture_keys, class_keys }
    }
}

/// Why a batch cannot go through the towers.
#[derive(Debug, thiserror::Error)]
pub enum TowersError {
    /// The model.
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    /// Processes that take it together.
    #[error(transparent)]
    Processes(#[from] collective::Error),
    /// libtorch refused.
    #[error("libtorch cannot take a batch through the towers")]
    Torch(#[from] TchError),
}

/// Both towers at this moment of a training.
#[derive(Debug, Clone, Copy)]
pub struct Towers<'a> {
    /// With the weights that learn.
    pub encoder: &'a Encoder,
    /// Those of the momentum encoder's image tower, of a method that has one.
    pub target: Option<&'a Weights>,
    /// Pairs that go through at once, at least 1; all of a batch where absent. A pair has all its
    /// views, and a caption or a negative.
    pub micro_batch: Option<usize>,
    /// Whose blocks keep their inputs alone for the way back (gradient checkpointing).
    pub checkpointed: &'a [Side],
    /// Those that take a batch through the towers together, each its share of it.
    pub processes: Processes<'a>,
}

/// Pictures behind the image tower.
struct Seen {
    /// Each view, `[B, hidden]`.
    views: Vec<Tensor>,
    /// The same behind that of the momentum encoder; none where there is none.
    targets: Vec<Tensor>,
    /// What leads back; none where the answers were known beforehand.
    own: Option<Own>,
}

impl Towers<'_> {
    /// The towers' answers to a batch, and what leads back through the towers.
    ///
    /// # Errors
    /// [`TowersError`] for inputs that a tower does not take, or where the device has no room.
    pub fn forward(&self, inputs: Inputs) -> Result<(Batch, Tape), TowersError> {
        let Inputs { images, class_pictures, texts, picture_keys, class_keys } = inputs;
        let Seen { mut views, targets, own: image } = self.images(images)?;
        if let Some(more) = class_pictures {
            let longer = |pooled: &Tensor| Tensor::f_cat(&[pooled, &more], 0);
            views = views.iter().map(longer).collect::<Result<_, _>>()?; // [B + K, …]
        }
        let (words, text) = match texts {
            Some(Texts { inputs, keys }) => {
                let (pooled, text) = self.texts(inputs)?;
                (Some(Words { pooled, keys }), text)
            }
            None => (None, None),
        };
        let tape = Tape { image, text };
        let answers = Batch { views, targets, words, picture_keys, class_keys };
        Ok((leaves(answers, &tape), tape))
    }

    fn images(&self, images: Images) -> Result<Seen, TowersError> {
        let whole = match images {
            Images::Pooled(pooled) => {
                return Ok(Seen { views: vec![pooled], targets: Vec::new(), own: None });
            }
            Images::Begun { rows, blocks } => Part::Begun { rows, blocks },
            Images::Pixels(views) => Part::Pixels(views),
        };
        let (views, targets, passage) = self.own_images(whole)?;
        let (views, above) = self.of_all(views)?;
        let (targets, _) = self.of_all(targets)?;
        Ok(Seen { views, targets, own: Some(Own { passage, above }) })
    }

    /// The same of this process's rows.
    fn own_images(&self, whole: Part) -> Result<(Vec<Tensor>, Vec<Tensor>, Passage), TowersError> {
        if whole.rows() == 0 {
            // All pictures of its share are broken.
            let nothing = |_| Tensor::f_zeros([0, 0], (Kind::Float, self.encoder.device));
            let views = (0..whole.view_count()).map(nothing).collect::<Result<Vec<_>, _>>()?;
            let again = views.iter().filter(|_| self.target.is_some());
            let targets = again.map(Tensor::shallow_clone).collect();
            return Ok((views, targets, Passage::Kept(Vec::new())));
        }
        let Some(parts) = whole.cut(self.micro_batch) else {
            let part = whole.placed(self.encoder)?;
            let targets = self.targets(&part)?;
            let (views, passage) = self.at_once(Side::Image, &part)?;
            return Ok((views, targets, passage));
        };
        let (mut views, mut targets) = (Vec::new(), Vec::new());
        for part in &parts {
            let part = part.placed(self.encoder)?;
            views.push(tch::no_grad(|| part.pooled(self.encoder))?);
            targets.push(self.targets(&part)?);
        }
        let by_blocks = self.checkpointed.contains(&Side::Image);
        let passage = Passage::Again { parts, by_blocks, order: None };
        Ok((joined(&views)?, joined(&targets)?, passage))
    }

    /// The rows of all processes, `[B, hidden]` for each view, and how many lie above this one's.
    fn of_all(&self, own: Vec<Tensor>) -> Result<(Vec<Tensor>, usize), TowersError> {
        let mut above = 0;
        let mut all = Vec::with_capacity(own.len());
        for own in own {
            let rows;
            (rows, above) = self.processes.rows(own)?;
            all.push(rows);
        }
        Ok((all, above))
    }

    /// The answers to each view, `[B, hidden]`, without their graph, which is kept beside them.
    fn at_once(&self, side: Side, part: &Part) -> Result<(Vec<Tensor>, Passage), TowersError> {
        if self.checkpointed.contains(&side) {
            let chains = part.chains(self.encoder)?;
            let answers = chains.iter().map(Chain::answers).collect::<Result<Vec<_>, _>>()?;
            return Ok((answers.into_iter().flatten().collect(), Passage::Blocks(chains)));
        }
        let pooled = part.pooled(self.encoder)?;
        Ok((pooled.iter().map(Tensor::detach).collect(), Passage::Kept(pooled)))
    }

    fn targets(&self, part: &Part) -> Result<Vec<Tensor>, TowersError> {
        let target = self.target.map(|weights| tch::no_grad(|| part.views(self.encoder, weights)));
        Ok(target.transpose()?.unwrap_or_default())
    }

    /// Texts behind the text tower, `[N, hidden]`.
    fn texts(&self, texts: TextInputs) -> Result<(Tensor, Option<Own>), TowersError> {
        let tokens = match texts {
            TextInputs::Pooled(pooled) => return Ok((pooled, None)),
            TextInputs::Tokens(tokens) => tokens,
        };
        let share = self.processes.share(tokens.len());
        let (pooled, passage) = self.own_texts(tokens[share].to_vec())?;
        let (pooled, above) = self.processes.rows(pooled)?;
        Ok((pooled, Some(Own { passage, above })))
    }

    /// The same of this process's texts. In micro-batches they go through by their lengths, so that short
    /// ones are not filled up to the longest.
    fn own_texts(&self, mut tokens: Vec<TokenIds>) -> Result<(Tensor, Passage), TowersError> {
        if tokens.is_empty() {
            // Others have all that are left of a small batch.
            let nothing = Tensor::f_zeros([0, 0], (Kind::Float, self.encoder.device))?;
            return Ok((nothing, Passage::Kept(Vec::new())));
        }
        if self.micro_batch.is_none_or(|most| tokens.len() <= most) {
            let (mut pooled, passage) = self.at_once(Side::Text, &Part::Tokens(tokens))?;
            return Ok((pooled.remove(0), passage));
        }
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|&text| tokens[text].ids.len());
        let mut place = vec![0i64; order.len()];
        order.iter().enumerate().for_each(|(row, &text)| place[text] = row as i64);
        tokens = order.iter().map(|&text| tokens[text].clone()).collect();
        let parts = Part::Tokens(tokens).cut(self.micro_batch).unwrap_or_default();
        let pooled = |part: &Part| tch::no_grad(|| part.pooled(self.encoder));
        let pooled = parts.iter().map(pooled).collect::<Result<Vec<_>, _>>()?;
        let place = self.encoder.moved(&Tensor::from_slice(&place))?;
        let pooled = joined(&pooled)?.remove(0).f_index_select(0, &place)?; // [N, hidden]
        let order: Vec<i64> = order.into_iter().map(|text| text as i64).collect();
        let order = self.encoder.moved(&Tensor::from_slice(&order))?;
        let by_blocks = self.checkpointed.contains(&Side::Text);
        Ok((pooled, Passage::Again { parts, by_blocks, order: Some(order) }))
    }
}

/// The cut: from here on a method works on `answers` by themselves, and gradients arrive at them.
///
/// Of a batch that is spread over several processes the rows of all of them have come together here, so
/// that everyone computes the loss of the whole batch; [`Tape::backward`] takes back the rows that are
/// its own.
fn leaves(answers: Batch, tape: &Tape) -> Batch {
    let leaf = |learns: bool| move |pooled: Tensor| pooled.set_requires_grad(learns);
    let views = answers.views.into_iter().map(leaf(tape.image.is_some())).collect();
    let words = answers.words.map(|Words { pooled, keys }| {
        let pooled = leaf(tape.text.is_some())(pooled);
        Words { pooled, keys }
    });
    Batch { views, words, ..answers }
}

/// By part and view → by view, all parts one below the other.
fn joined(parts: &[Vec<Tensor>]) -> Result<Vec<Tensor>, TchError> {
    let views = parts.first().map_or(0, Vec::len);
    let view = |number: usize| {
        let parts: Vec<&Tensor> = parts.iter().map(|part| &part[number]).collect();
        Tensor::f_cat(&parts, 0)
    };
    (0..views).map(view).collect()
}

//! Some rows of a batch on their way through a tower.

use clip::TokenIds;
use tch::{TchError, Tensor};

use super::TowersError;
use super::blocks::{Chain, Feed};
use crate::device::fetched;
use crate::encoder::{Encoder, EncoderError};
use crate::model::{Torch, Weights};

/// Rows that go through a tower together.
#[derive(Debug)]
pub(super) enum Part {
    /// Through the image tower: `[B, 3, H, W]` for each view.
    Pixels(Vec<Tensor>),
    /// Through what comes after its first `blocks` blocks: f16 `[B, …]`.
    Begun { rows: Tensor, blocks: usize },
    /// Through the text tower.
    Tokens(Vec<TokenIds>),
}

impl Part {
    pub(super) fn rows(&self) -> usize {
        let first = |tensor: &Tensor| tensor.size()[0] as usize;
        match self {
            Self::Pixels(views) => views.first().map_or(0, first),
            Self::Begun { rows, .. } => first(rows),
            Self::Tokens(tokens) => tokens.len(),
        }
    }

    /// How many answers each row has.
    pub(super) fn view_count(&self) -> usize {
        match self {
            Self::Pixels(views) => views.len(),
            Self::Begun { .. } | Self::Tokens(_) => 1,
        }
    }

    /// The same in parts of `most` rows, the last one with what remains; none where it is no more than
    /// one.
    pub(super) fn cut(&self, most: Option<usize>) -> Option<Vec<Self>> {
        let rows = self.rows();
        let most = most.filter(|most| *most < rows)?.max(1);
        let part = |start: usize| {
            let length = most.min(rows - start);
            let narrow = |whole: &Tensor| whole.narrow(0, start as i64, length as i64);
            match self {
                Self::Pixels(views) => Self::Pixels(views.iter().map(narrow).collect()),
                Self::Begun { rows, blocks } => Self::Begun { rows: narrow(rows), blocks: *blocks },
                Self::Tokens(tokens) => Self::Tokens(tokens[start..start + length].to_vec()),
            }
        };
        Some((0..rows).step_by(most).map(part).collect())
    }

    /// The same on the device where `encoder` computes.
    pub(super) fn placed(&self, encoder: &Encoder) -> Result<Self, TowersError> {
        Ok(match self {
            Self::Pixels(views) => {
                let fetched = |view: &Tensor| fetched(view, encoder.device);
                Self::Pixels(views.iter().map(fetched).collect::<Result<_, _>>()?)
            }
            Self::Begun { rows, blocks } => {
                Self::Begun { rows: encoder.moved(rows)?, blocks: *blocks }
            }
            Self::Tokens(tokens) => Self::Tokens(tokens.clone()),
        })
    }

    /// The answers of the tower that learns: `[B, hidden]` for each view, for texts one.
    pub(super) fn pooled(&self, encoder: &Encoder) -> Result<Vec<Tensor>, TowersError> {
        match self {
            Self::Pixels(_) => self.views(encoder, &encoder.weights),
            Self::Begun { rows, blocks } => Ok(vec![encoder.rest(rows, *blocks)?]),
            Self::Tokens(tokens) => {
                Ok(vec![encoder.pooled_tokens(&tokens.iter().collect::<Vec<_>>())?])
            }
        }
    }

    /// The answers of an image tower with `weights` to each view, `[B, hidden]`; none of what are no
    /// pixels. Views of one size go through together.
    pub(super) fn views(
        &self,
        encoder: &Encoder,
        weights: &Weights,
    ) -> Result<Vec<Tensor>, TowersError> {
        let Self::Pixels(views) = self else { return Ok(Vec::new()) };
        let mut answers = Vec::with_capacity(views.len());
        for (pixels, count) in together(views)? {
            let mut ops = Torch::in_kind(weights, encoder.kind);
            let pooled = encoder.model.image_pooled(&mut ops, &pixels);
            let pooled = pooled.map_err(EncoderError::from)?; // [V · B, hidden]
            answers.extend(pooled.f_chunk(count as i64, 0)?);
        }
        Ok(answers)
    }

    /// The way through the tower that learns, of which the inputs of blocks are kept; one for the views of
    /// each size.
    pub(super) fn chains(&self, encoder: &Encoder) -> Result<Vec<Chain>, TowersError> {
        match self {
            Self::Pixels(views) => {
                let chain = |(pixels, count)| Chain::forward(encoder, Feed::Pixels(pixels), count);
                together(views)?.into_iter().map(chain).collect()
            }
            Self::Begun { rows, blocks } => {
                let feed = Feed::Begun { rows: rows.shallow_clone(), blocks: *blocks };
                Ok(vec![Chain::forward(encoder, feed, 1)?])
            }
            Self::Tokens(tokens) => {
                let feed = Feed::Tokens(encoder.tokens(&tokens.iter().collect::<Vec<_>>())?);
                Ok(vec![Chain::forward(encoder, feed, 1)?])
            }
        }
    }
}

/// Views of one size one below the other, `[V · B, 3, H, W]`, and how many they are.
fn together(views: &[Tensor]) -> Result<Vec<(Tensor, usize)>, TchError> {
    let pixels = |alike: &[Tensor]| match alike {
        [only] => Ok((only.shallow_clone(), 1)),
        several => Ok((Tensor::f_cat(several, 0)?, several.len())),
    };
    views.chunk_by(|a, b| a.size() == b.size()).map(pixels).collect()
}

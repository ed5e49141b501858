//! What leads back through the towers.

use tch::{Kind, TchError, Tensor};

use super::blocks::Chain;
use super::part::Part;
use super::{Towers, TowersError};
use crate::encoder::Encoder;
use crate::methods::Batch;

/// How a batch went through the towers.
#[derive(Debug)]
pub struct Tape {
    /// Through the image tower; none where its answers were known beforehand.
    pub(super) image: Option<Own>,
    /// Through the text tower, likewise.
    pub(super) text: Option<Own>,
}

/// The way of this process's rows through one tower.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) passage: Passage,
    /// Rows of other processes above them.
    pub(super) above: usize,
}

/// A batch's way through one tower.
#[derive(Debug)]
pub(super) enum Passage {
    /// At once: its answers `[B, hidden]` to each view, with their graph.
    Kept(Vec<Tensor>),
    /// At once, with the inputs of blocks in place of a graph.
    Blocks(Vec<Chain>),
    /// In micro-batches, of which nothing was kept.
    Again {
        parts: Vec<Part>,
        /// Whether blocks keep their inputs alone the second time.
        by_blocks: bool,
        /// The row of the batch that each of their rows is, i64 `[B]`, where they are in another order.
        order: Option<Tensor>,
    },
}

impl Tape {
    /// The gradients of `loss`, which a method made of `batch`, by each of `parameters`; undefined where
    /// it does not depend on one.
    ///
    /// # Errors
    /// [`TowersError`] where the loss depends on nothing that is learned, or the device has no room.
    pub fn backward(
        self,
        loss: &Tensor,
        batch: &Batch,
        parameters: &[&Tensor],
        towers: &Towers<'_>,
    ) -> Result<Vec<Tensor>, TowersError> {
        let words = || batch.words.iter().map(|words| &words.pooled);
        let leaves = batch.views.iter().chain(words()).filter(|leaf| leaf.requires_grad());
        let all: Vec<&Tensor> = parameters.iter().copied().chain(leaves).collect();
        let mut behind = Tensor::f_run_backward(&[loss], &all, false, false)?;
        let mut arrived = behind.split_off(parameters.len()).into_iter();
        let mut at = |leaf: &Tensor| {
            let asked = leaf.requires_grad().then(|| arrived.next()).flatten();
            (leaf.shallow_clone(), asked.filter(Tensor::defined))
        };
        let views: Vec<_> = batch.views.iter().map(&mut at).collect();
        let words: Vec<_> = words().map(at).collect();
        let mut of_towers = Sums::nothing(parameters.len());
        for (own, arrived) in [(self.image, views), (self.text, words)] {
            let reached = arrived.iter().any(|(_, gradient)| gradient.is_some());
            let Some(Own { passage, above }) = own.filter(|_| reached) else { continue };
            let from_own = |(leaf, gradient): (Tensor, Option<Tensor>)| {
                let whole = gradient.map_or_else(|| leaf.f_zeros_like(), Ok)?;
                whole.f_narrow(0, above as i64, whole.size()[0] - above as i64)
            };
            let arrived = arrived.into_iter().map(from_own).collect::<Result<Vec<_>, _>>()?;
            passage.backward(&arrived, parameters, towers.encoder, &mut of_towers)?;
        }
        // Several processes add up what each has taken back of its own rows. What lies behind the towers
        // has seen the whole batch in every one of them, and counts once.
        if towers.processes.is_first() {
            of_towers.add(behind)?;
        }
        Ok(towers.processes.sums(of_towers.gradients, parameters)?)
    }
}

impl Passage {
    /// Adds to `sums` what the gradients that arrived at the leaves, `[B + K, hidden]` for each view, say
    /// of `parameters`. Rows behind the tower's own are of what never went through it.
    fn backward(
        self,
        arrived: &[Tensor],
        parameters: &[&Tensor],
        encoder: &Encoder,
        sums: &mut Sums,
    ) -> Result<(), TowersError> {
        match self {
            Self::Kept(pooled) => through_graph(&pooled, arrived, parameters, sums)?,
            Self::Blocks(chains) => through_blocks(&chains, arrived, (parameters, encoder), sums)?,
            Self::Again { parts, by_blocks, order } => {
                let mut rest = arrived.iter().map(Tensor::shallow_clone).collect::<Vec<_>>();
                if let Some(order) = order {
                    let sorted = |view: &Tensor| view.f_index_select(0, &order);
                    rest = rest.iter().map(sorted).collect::<Result<_, _>>()?;
                }
                for part in &parts {
                    let placed = part.placed(encoder)?;
                    if by_blocks {
                        through_blocks(
                            &placed.chains(encoder)?,
                            &rest,
                            (parameters, encoder),
                            sums,
                        )?;
                    } else {
                        through_graph(&placed.pooled(encoder)?, &rest, parameters, sums)?;
                    }
                    let after = |view: &Tensor| {
                        let rows = part.rows() as i64;
                        view.f_narrow(0, rows, view.size()[0] - rows)
                    };
                    rest = rest.iter().map(after).collect::<Result<_, _>>()?;
                }
            }
        }
        Ok(())
    }
}

/// Back from `pooled`, `[R, hidden]` for each view, by the first rows of what arrived.
fn through_graph(
    pooled: &[Tensor],
    arrived: &[Tensor],
    parameters: &[&Tensor],
    sums: &mut Sums,
) -> Result<(), TowersError> {
    let learned = pooled.iter().zip(arrived).filter(|(pooled, _)| pooled.requires_grad());
    let scalars = learned.map(|(pooled, arrived)| product(pooled, arrived));
    let scalars = scalars.collect::<Result<Vec<_>, _>>()?;
    if !scalars.is_empty() {
        sums.add(Tensor::f_run_backward(&scalars, parameters, false, false)?)?;
    }
    Ok(())
}

/// The same back from the answers of `chains`.
fn through_blocks(
    chains: &[Chain],
    mut arrived: &[Tensor],
    (parameters, encoder): (&[&Tensor], &Encoder),
    sums: &mut Sums,
) -> Result<(), TowersError> {
    for chain in chains {
        let (of_it, others) = arrived.split_at(chain.views().min(arrived.len()));
        chain.backward(encoder, of_it, parameters, sums)?;
        arrived = others;
    }
    Ok(())
}

/// A scalar whose gradient by `answer`, `[R, …]`, is the first `R` rows of `gradient` (Gao et al. 2021,
/// equation 9).
pub(super) fn product(answer: &Tensor, gradient: &Tensor) -> Result<Tensor, TchError> {
    answer.f_mul(&gradient.f_narrow(0, 0, answer.size()[0])?)?.f_sum(Kind::Float)
}

/// Gradients by each parameter, summed over the parts of a batch.
pub(super) struct Sums {
    /// Undefined where there has been none.
    gradients: Vec<Tensor>,
    /// Whether the sum is in memory of its own: autograd may have given a gradient to another parameter
    /// too, so that it is not to be written to.
    own: Vec<bool>,
}

impl Sums {
    fn nothing(parameters: usize) -> Self {
        let gradients = (0..parameters).map(|_| Tensor::new()).collect();
        Self { gradients, own: vec![false; parameters] }
    }

    pub(super) fn add(&mut self, gradients: Vec<Tensor>) -> Result<(), TchError> {
        for ((sum, own), gradient) in self.gradients.iter_mut().zip(&mut self.own).zip(gradients) {
            match (gradient.defined(), sum.defined()) {
                (false, _) => {}
                (true, false) => *sum = gradient,
                (true, true) if *own => drop(sum.f_add_(&gradient)?),
                (true, true) => (*sum, *own) = (sum.f_add(&gradient)?, true),
            }
        }
        Ok(())
    }
}

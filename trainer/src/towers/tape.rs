//! What leads back through the towers.

use tch::{Kind, TchError, Tensor};

use super::part::Part;
use super::{Towers, TowersError};
use crate::methods::Batch;

/// How a batch went through the towers.
#[derive(Debug)]
pub struct Tape {
    /// Through the image tower; none where its answers were known beforehand.
    pub(super) image: Option<Passage>,
    /// Through the text tower, likewise.
    pub(super) text: Option<Passage>,
}

/// A batch's way through one tower.
#[derive(Debug)]
pub(super) enum Passage {
    /// At once: its answers `[B, hidden]` to each view, with their graph.
    Kept(Vec<Tensor>),
    /// In micro-batches, of which nothing was kept.
    Again {
        parts: Vec<Part>,
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
            asked.unwrap_or_else(Tensor::new)
        };
        let views: Vec<Tensor> = batch.views.iter().map(&mut at).collect();
        let words: Vec<Tensor> = words().map(at).collect();
        let mut of_towers = Sums::nothing(parameters.len());
        for (passage, arrived) in [(self.image, views), (self.text, words)] {
            if let Some(passage) = passage {
                passage.backward(&arrived, parameters, towers, &mut of_towers)?;
            }
        }
        // What several processes add up is `of_towers`: each has taken its own rows back, while what lies
        // behind the towers has seen the whole batch in every one of them.
        of_towers.add(behind)?;
        Ok(of_towers.gradients)
    }
}

impl Passage {
    pub(super) fn kept(pooled: Vec<Tensor>) -> Self {
        Self::Kept(pooled)
    }

    pub(super) fn again(parts: Vec<Part>, order: Option<Tensor>) -> Self {
        Self::Again { parts, order }
    }

    /// Adds to `sums` what the gradients that arrived at the leaves, `[B + K, hidden]` for each view, say
    /// of `parameters`. Rows behind the tower's own are of what never went through it.
    fn backward(
        self,
        arrived: &[Tensor],
        parameters: &[&Tensor],
        towers: &Towers<'_>,
        sums: &mut Sums,
    ) -> Result<(), TowersError> {
        match self {
            Self::Kept(pooled) => {
                let scalars = products(&pooled, arrived, 0)?;
                sums.add(backward(&scalars, parameters)?)?;
            }
            Self::Again { parts, order } => {
                let sorted = |view: &Tensor| match &order {
                    Some(order) if view.defined() => view.f_index_select(0, order),
                    _ => Ok(view.shallow_clone()),
                };
                let arrived = arrived.iter().map(sorted).collect::<Result<Vec<_>, _>>()?;
                let mut start = 0;
                for part in &parts {
                    let pooled = part.placed(towers.encoder)?.pooled(towers.encoder)?;
                    let scalars = products(&pooled, &arrived, start)?;
                    start += pooled.first().map_or(0, |view| view.size()[0]);
                    drop(pooled);
                    sums.add(backward(&scalars, parameters)?)?;
                }
            }
        }
        Ok(())
    }
}

/// Scalars whose gradients by `pooled`, `[R, hidden]` for each view, are the rows from `start` on of what
/// arrived (Gao et al. 2021, equation 9). A view that nothing arrived at has none.
fn products(pooled: &[Tensor], arrived: &[Tensor], start: i64) -> Result<Vec<Tensor>, TchError> {
    let product = |(pooled, arrived): (&Tensor, &Tensor)| {
        let rows = arrived.f_narrow(0, start, pooled.size()[0])?;
        pooled.f_mul(&rows)?.f_sum(Kind::Float)
    };
    let learned =
        |(pooled, arrived): &(&Tensor, &Tensor)| pooled.requires_grad() && arrived.defined();
    pooled.iter().zip(arrived).filter(learned).map(product).collect()
}

/// The gradients of the sum of `scalars`; none of no scalar.
fn backward(scalars: &[Tensor], parameters: &[&Tensor]) -> Result<Vec<Tensor>, TchError> {
    if scalars.is_empty() {
        return Ok(Vec::new());
    }
    Tensor::f_run_backward(scalars, parameters, false, false)
}

/// Gradients by each parameter, summed over the parts of a batch.
struct Sums {
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

    fn add(&mut self, gradients: Vec<Tensor>) -> Result<(), TchError> {
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

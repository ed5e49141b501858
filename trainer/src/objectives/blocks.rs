//! How a loss over all pairs of a large batch fits into memory: block by block of its rows.
//!
//! A batch of 32,768 has a billion similarities, and autograd would keep several numbers for each.
//! Where a loss is a sum over rows of the similarities, the gradients of a block of rows can be worked
//! out and added up before the next block is looked at, so that only one block stands in memory.

use std::array;

use tch::{Kind, Tensor};

/// Similarities that stand in memory at a time: 64 MiB in f32, of which a loss wants a handful. Large
/// enough that what is done once for each block costs nothing beside its products. Tests go row by row,
/// so that their few pairs make several blocks.
const ENTRIES: i64 = if cfg!(test) { 3 } else { 1 << 24 };

/// Some neighboring rows of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    pub(super) start: i64,
    pub(super) count: i64,
}

impl Rows {
    pub(super) fn all(count: i64) -> Self {
        Self { start: 0, count }
    }

    /// These rows of `tensor` `[B, …]`: `[R, …]`, a view.
    pub(super) fn of(self, tensor: &Tensor) -> Tensor {
        tensor.narrow(0, self.start, self.count)
    }

    /// Of these rows of a square matrix, `block` `[R, B]`, what stood on its diagonal: `[R]`, a view.
    pub(super) fn own(self, block: &Tensor) -> Tensor {
        block.diagonal(self.start, 0, 1)
    }
}

/// Whether a matrix with `columns` columns and as many rows stands in one block.
pub(super) fn is_one_block(columns: i64) -> bool {
    columns * columns <= ENTRIES
}

/// The blocks of a matrix of `rows` by `columns`, in order.
pub(super) fn blocks(rows: i64, columns: i64) -> impl Iterator<Item = Rows> {
    let count = (ENTRIES / columns.max(1)).clamp(1, rows.max(1));
    (0..rows)
        .step_by(count as usize)
        .map(move |start| Rows { start, count: count.min(rows - start) })
}

/// The sum over `blocks` of what `part` says of each, a scalar; its gradients by `inputs` are those of
/// the plain sum, but where there are several blocks they are worked out here and now, one after the
/// other.
///
/// `part` then sees inputs that are leaves of a graph of its own. Gradients of these gradients are none.
pub(super) fn sum_over<const N: usize>(
    blocks: impl Iterator<Item = Rows>,
    inputs: [&Tensor; N],
    part: impl Fn(&[Tensor; N], Rows) -> Tensor,
) -> Tensor {
    let blocks: Vec<Rows> = blocks.collect();
    if let [only] = blocks[..] {
        return part(&inputs.map(Tensor::shallow_clone), only);
    }
    let leaves = inputs.map(|input| input.detach().set_requires_grad(true));
    let mut value = Tensor::zeros([], (Kind::Double, inputs[0].device()));
    let mut gradients: [Option<Tensor>; N] = array::from_fn(|_| None);
    for rows in blocks {
        let (loss, parts) = tch::with_grad(|| {
            let loss = part(&leaves, rows); // []
            let gradients = Tensor::run_backward(&[&loss], &leaves, false, false);
            (loss.detach(), gradients)
        });
        value += loss;
        for (sum, part) in gradients.iter_mut().zip(parts).filter(|(_, part)| part.defined()) {
            match sum {
                Some(sum) => *sum += part,
                None => *sum = Some(part),
            }
        }
    }
    let gradients = inputs.iter().zip(&gradients).filter_map(|(x, g)| Some((*x, g.as_ref()?)));
    gradients.fold(value.to_kind(Kind::Float), |value, (input, gradient)| {
        value + without_value(&(input * gradient).sum(Kind::Float))
    })
}

/// Zero, with the gradient of `scalar`.
pub(super) fn without_value(scalar: &Tensor) -> Tensor {
    scalar - scalar.detach()
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::objectives::testing::alike;

    fn sizes(rows: i64, columns: i64) -> Vec<(i64, i64)> {
        blocks(rows, columns).map(|rows| (rows.start, rows.count)).collect()
    }

    #[test]
    fn blocks_cover_all_rows_once() {
        assert_eq!(sizes(3, 1), [(0, 3)]);
        assert_eq!(sizes(5, 1), [(0, 3), (3, 2)]);
        assert_eq!(sizes(2, 3 * ENTRIES), [(0, 1), (1, 1)]);
        assert!(sizes(0, 7).is_empty());
        assert!(is_one_block(1) && !is_one_block(2));
    }

    #[test]
    fn a_sum_over_blocks_has_value_and_gradients_of_the_whole() {
        tch::manual_seed(3);
        let random = || Tensor::randn([5, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let (x, y) = (random(), random());
        let unused = random();
        let part = |[x, y, _]: &[Tensor; 3], rows: Rows| {
            rows.of(x).matmul(&y.tr()).exp().sum(Kind::Float) // []
        };
        let whole =
            part(&[x.shallow_clone(), y.shallow_clone(), unused.shallow_clone()], Rows::all(5));
        let expected = Tensor::run_backward(&[&whole * 2.0], &[&x, &y], false, false);
        let threes = (0..5).step_by(3).map(|start| Rows { start, count: (5 - start).min(3) });
        let loss = sum_over(threes, [&x, &y, &unused], part);
        assert!((loss.double_value(&[]) / whole.double_value(&[]) - 1.0).abs() < 1e-6);
        let got = Tensor::run_backward(&[loss * 2.0], &[&x, &y], false, false);
        got.iter().zip(&expected).for_each(|(got, expected)| alike(got, expected));
    }

    #[test]
    fn a_sum_over_blocks_is_there_without_gradients_too() {
        let x = Tensor::from_slice(&[1f32, 2.0]);
        let part = |[x]: &[Tensor; 1], rows: Rows| rows.of(x).sum(Kind::Float);
        let loss = tch::no_grad(|| sum_over(blocks(2, 2), [&x], part));
        assert_eq!(loss.double_value(&[]), 3.0);
        assert!(!loss.requires_grad());
    }
}

//! What the tests of all objectives share.

use tch::{Device, Kind, Tensor};

use super::{Related, related_pairs};

/// Rows of two numbers each: f32 `[N, 2]`.
pub(super) fn rows(values: &[[f32; 2]]) -> Tensor {
    Tensor::from_slice(&values.concat()).view([-1, 2])
}

pub(super) fn related(pictures: &[i64], captions: &[i64]) -> Related {
    related_pairs(&Tensor::from_slice(pictures), &Tensor::from_slice(captions))
}

/// A batch in which nobody is related.
pub(super) fn unrelated(pairs: i64) -> Related {
    let keys = Tensor::arange(pairs, (Kind::Int64, Device::Cpu));
    related_pairs(&keys, &keys)
}

pub(super) fn bools(mask: &Tensor) -> Vec<bool> {
    Vec::<bool>::try_from(mask.flatten(0, -1)).unwrap()
}

pub(super) fn scale(value: f64) -> Tensor {
    Tensor::from(value.ln() as f32)
}

pub(super) fn close(loss: &Tensor, expected: f64) {
    let got = loss.double_value(&[]);
    assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
}

/// Demands that two tensors differ nowhere by more than a few roundings of their largest number.
pub(super) fn alike(got: &Tensor, expected: &Tensor) {
    let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    let difference = largest(&(got - expected));
    assert!(difference < 2e-6 * largest(expected).max(1.0), "{got:?} is off by {difference}");
}

/// Random unit vectors that ask for gradients.
pub(super) fn random(pairs: i64, width: i64) -> Tensor {
    let features = Tensor::randn([pairs, width], (Kind::Float, Device::Cpu));
    let length = features.norm_scalaropt_dim(2, [1i64].as_slice(), true);
    (features / length).set_requires_grad(true)
}

/// Demands a finite value and finite gradients of `loss` over embeddings of bf16 at temperatures from
/// 0.01 to 10, and the value that the same numbers have in f32.
pub(super) fn is_stable(loss: impl Fn(&Tensor, &Tensor, &Tensor) -> Tensor) {
    tch::manual_seed(5);
    let (a, b) = (random(9, 16), random(9, 16));
    let [a, b] = [a, b].map(|x| x.detach().to_kind(Kind::BFloat16).set_requires_grad(true));
    for temperature in [0.01, 0.1, 1.0, 10.0] {
        let scale = scale(1.0 / temperature).set_requires_grad(true);
        let narrow = loss(&a, &b, &scale);
        assert_eq!(narrow.kind(), Kind::Float);
        let wide = loss(&a.to_kind(Kind::Float), &b.to_kind(Kind::Float), &scale);
        close(&(&narrow - &wide), 0.0);
        for gradient in Tensor::run_backward(&[&narrow], &[&a, &b, &scale], false, false) {
            let finite = |gradient: &Tensor| gradient.isfinite().all().int64_value(&[]) == 1;
            assert!(!gradient.defined() || finite(&gradient), "at temperature {temperature}");
        }
    }
}

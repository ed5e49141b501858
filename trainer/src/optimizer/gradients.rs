//! The gradients of a loss, with a limit on their common norm.

use tch::{Kind, TchError, Tensor};

use super::Parameter;

/// What a loss says of parameters, in their order. Nothing of it is read, so a GPU computes on.
#[derive(Debug)]
pub struct Gradients {
    /// Undefined where the loss does not depend on the parameter.
    tensors: Vec<Tensor>,
    /// Their common norm: a scalar, f64, on their device.
    pub norm: Tensor,
    /// What a step multiplies them by, likewise.
    scale: Option<Tensor>,
}

impl Gradients {
    /// The gradients of `loss`; where their common norm is above `max_norm` (0 for no limit), a step
    /// takes them scaled down to it (Pascanu et al. 2013, algorithm 1).
    ///
    /// # Errors
    /// libtorch's, where the loss depends on nothing that is learned.
    pub fn of(loss: &Tensor, parameters: &[Parameter], max_norm: f64) -> Result<Self, TchError> {
        let leaves: Vec<&Tensor> = parameters.iter().map(|p| &p.tensor).collect();
        Self::limited(Tensor::f_run_backward(&[loss], &leaves, false, false)?, max_norm)
    }

    /// `tensors`, one a parameter, undefined where nothing depends on it; the limit as in
    /// [`Gradients::of`].
    ///
    /// # Errors
    /// libtorch's, where the device has no room.
    pub fn limited(tensors: Vec<Tensor>, max_norm: f64) -> Result<Self, TchError> {
        let defined = tensors.iter().filter(|gradient| gradient.defined());
        let norms = defined.map(Tensor::f_norm).collect::<Result<Vec<_>, _>>()?;
        let norm = if norms.is_empty() {
            Tensor::from(0f64)
        } else {
            Tensor::f_stack(&norms, 0)?.f_to_kind(Kind::Double)?.f_norm()?
        };
        let limited = || norm.f_reciprocal()?.f_mul_scalar(max_norm)?.f_clamp_max(1.0);
        let scale = if max_norm > 0.0 { Some(limited()?) } else { None };
        Ok(Self { tensors, norm, scale })
    }

    pub(super) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    pub(super) fn scale(&self) -> Option<Tensor> {
        self.scale.as_ref().map(Tensor::shallow_clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_scales_to_the_limit_and_tells_the_norm_before() {
        let tensor = Tensor::from_slice(&[0f32, 0.0]).set_requires_grad(true);
        let p = Parameter { name: "p".to_owned(), tensor, learning_rate: 0.1, decays: false };
        for (max_norm, scale) in [(0.0, 1.0), (10.0, 1.0), (1.0, 0.2)] {
            let loss = (&p.tensor * Tensor::from_slice(&[3f32, 4.0])).sum(Kind::Float);
            let gradients = Gradients::of(&loss, std::slice::from_ref(&p), max_norm).unwrap();
            assert!((gradients.norm.double_value(&[]) - 5.0).abs() < 1e-6);
            let found = gradients.scale().map_or(1.0, |found| found.double_value(&[]));
            assert!((found - scale).abs() < 1e-9);
        }
    }
}

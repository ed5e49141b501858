//! [`Ops`] that compute nothing and take back the weights of a graph that [`super::Onnx`] recorded: the
//! forward code asks for each weight in the way in which it was written.

use std::collections::BTreeMap;

use tch::Tensor;

use super::{
    BatchNorm, Bias, CLASSES, Conv, DualEncoder, EndToken, Heads, ModelError, Ops, Weights,
};
use crate::onnx::Stored;

/// A normalization that multiplies with less than this has no kernel that could be told.
const LEAST_SCALE: f64 = 1e-6;

/// Channels of a picture.
const COLORS: i64 = 3;

impl DualEncoder {
    /// The weights of this model out of its two graphs, as exact as these hold them, with projections
    /// that standardize nothing. `base` are weights of its towers: the graphs say nothing of their
    /// statistics and of rows that are never looked up, and the classifier that they hold is `base`'s.
    ///
    /// # Errors
    /// [`ModelError::Missing`] and [`ModelError::Shape`] where the graphs are those of another model.
    pub fn exported_weights(
        &self,
        [image, text]: [BTreeMap<String, Stored>; 2],
        base: &Weights,
    ) -> Result<Weights, ModelError> {
        let mut weights = Weights::new();
        let mut ops = Exported { stored: image, base, weights: &mut weights };
        self.image_embeddings(&mut ops, &())?;
        let mut ops = Exported { stored: text, base, weights: &mut weights };
        self.text_embeddings(&mut ops, &(), &())?;
        Ok(weights)
    }
}

struct Exported<'a> {
    stored: BTreeMap<String, Stored>,
    base: &'a Weights,
    weights: &'a mut Weights,
}

type Taken = Result<(), ModelError>;

impl Exported<'_> {
    fn stored(&self, name: &str) -> Result<&Stored, ModelError> {
        self.stored.get(name).ok_or_else(|| ModelError::Missing { name: name.to_owned() })
    }

    /// A weight of two dimensions.
    fn matrix(&self, name: &str) -> Result<Tensor, ModelError> {
        let weight = tensor(self.stored(name)?);
        let found = weight.size();
        if found.len() == 2 { Ok(weight) } else { Err(misshapen(name, &[-1, -1], found)) }
    }

    /// A weight that lies in the graph as it is.
    fn plain(&mut self, name: &str) -> Taken {
        let weight = tensor(self.stored(name)?);
        self.keep(name, weight);
        Ok(())
    }

    fn plain_if_there(&mut self, name: &str) -> Taken {
        if self.has(name) { self.plain(name) } else { Ok(()) }
    }

    fn keep(&mut self, name: &str, weight: Tensor) {
        // A classifier never learns, and its numbers are here as they were before they became smaller.
        let own = self.base.get(name).ok().filter(|_| name.starts_with(CLASSES));
        let weight = own.map_or(weight, Tensor::shallow_clone);
        self.weights.insert(name, weight);
    }
}

impl Ops for Exported<'_> {
    type Value = ();

    fn has(&self, name: &str) -> bool {
        self.stored.contains_key(name)
    }

    fn linear(&mut self, _x: &(), name: &str) -> Taken {
        let weight_name = format!("{name}.weight");
        let weight = self.matrix(&weight_name)?.tr().contiguous(); // [out, in]
        self.keep(&weight_name, weight);
        self.plain_if_there(&format!("{name}.bias"))
    }

    /// The kernel that gives the stored one by the statistics and the scale of `base`, and the shift that
    /// is left.
    fn conv_batch_norm(&mut self, _x: &(), name: &str, _conv: Conv, norm: BatchNorm<'_>) -> Taken {
        let weight_name = format!("{name}.weight");
        let part = |part: &str| self.base.get(&format!("{}.{part}", norm.name));
        let (gamma, mean) = (part("weight")?, part("running_mean")?);
        let variance = part("running_var")?;
        let (kernel, before) = (tensor(self.stored(&weight_name)?), self.base.get(&weight_name)?);
        if kernel.size() != before.size() {
            return Err(misshapen(&weight_name, &before.size(), kernel.size()));
        }
        let scale = gamma / (variance + norm.eps).sqrt(); // [O]
        let shift_name = format!("{}.folded", norm.name);
        let shift = tensor(self.stored(&shift_name)?);
        if shift.size() != scale.size() {
            return Err(misshapen(&shift_name, &scale.size(), shift.size()));
        }
        let by_channel = scale.view([-1, 1, 1, 1]);
        let told = by_channel.abs().ge(LEAST_SCALE);
        let divided = kernel / by_channel.masked_fill(&told.logical_not(), 1.0);
        let kernel = divided.where_self(&told, before);
        let bias = shift + mean * &scale;
        let kept = [("weight", gamma), ("running_mean", mean), ("running_var", variance)];
        let kept = kept.map(|(part, tensor)| (part, tensor.shallow_clone()));
        self.keep(&weight_name, kernel);
        self.keep(&format!("{}.bias", norm.name), bias);
        for (part, tensor) in kept {
            self.keep(&format!("{}.{part}", norm.name), tensor);
        }
        Ok(())
    }

    /// A kernel, or the rows of its pixels where they are multiplied as bytes.
    fn patches(&mut self, _x: &(), name: &str) -> Taken {
        let weight_name = format!("{name}.weight");
        let weight = tensor(self.stored(&weight_name)?);
        let weight = match weight.size()[..] {
            [rows, outputs] => {
                let side = (rows as f64 / COLORS as f64).sqrt() as i64;
                if side * side * COLORS != rows {
                    return Err(misshapen(&weight_name, &[outputs, COLORS, -1, -1], weight.size()));
                }
                let by_pixel = weight.view([side, side, COLORS, outputs]);
                by_pixel.permute([3, 2, 0, 1]).contiguous() // [O, 3, P, P]
            }
            _ => weight,
        };
        self.keep(&weight_name, weight);
        self.plain_if_there(&format!("{name}.bias"))
    }

    fn relu6(&mut self, _x: ()) -> Taken {
        Ok(())
    }

    fn gelu(&mut self, _x: &()) -> Taken {
        Ok(())
    }

    fn quick_gelu(&mut self, _x: &()) -> Taken {
        Ok(())
    }

    fn add(&mut self, _a: (), _b: &()) -> Taken {
        Ok(())
    }

    fn layer_norm(&mut self, _x: &(), name: &str, _eps: f64) -> Taken {
        self.plain(&format!("{name}.weight"))?;
        self.plain(&format!("{name}.bias"))
    }

    fn embedding(&mut self, _ids: &(), name: &str) -> Taken {
        self.plain(&format!("{name}.weight"))
    }

    fn leading_rows(&mut self, _ids: &(), name: &str) -> Taken {
        self.plain(&format!("{name}.weight"))
    }

    fn row(&mut self, name: &str, index: usize) -> Taken {
        let weight_name = format!("{name}.weight");
        let row = tensor(self.stored(&format!("{name}.row"))?);
        let table = self.base.get(&weight_name)?.copy();
        if table.size()[1..] != row.size() {
            return Err(misshapen(&weight_name, &table.size(), row.size()));
        }
        table.get(index as i64).copy_(&row);
        self.keep(&weight_name, table);
        Ok(())
    }

    fn all_rows(&mut self, name: &str) -> Taken {
        self.plain(&format!("{name}.weight"))
    }

    fn prepend(&mut self, _x: &(), name: &str) -> Taken {
        self.plain(name)
    }

    fn token(&mut self, _x: &(), _index: usize) -> Taken {
        Ok(())
    }

    fn one_token(&mut self, _x: &()) -> Taken {
        Ok(())
    }

    fn end_token(&mut self, _x: &(), _ids: &(), _end: EndToken) -> Taken {
        Ok(())
    }

    fn causal_bias(&mut self, _ids: &()) -> Taken {
        Ok(())
    }

    fn padding_bias(&mut self, _mask: &()) -> Taken {
        Ok(())
    }

    fn attention(&mut self, _qkv: [&(); 3], _heads: Heads, _bias: Bias<'_, ()>) -> Taken {
        Ok(())
    }

    fn masked_mean(&mut self, _x: &(), _mask: &()) -> Taken {
        Ok(())
    }

    fn global_average(&mut self, _x: &()) -> Taken {
        Ok(())
    }

    fn standardize(&mut self, _x: &(), name: &str) -> Taken {
        self.plain(&format!("{name}.input_mean"))?;
        self.plain(&format!("{name}.input_std"))
    }

    fn softmax(&mut self, _x: &()) -> Taken {
        Ok(())
    }

    fn beside(&mut self, _a: &(), _b: &()) -> Taken {
        Ok(())
    }

    fn parted(&mut self, _x: &(), _at: usize) -> Result<[(); 2], ModelError> {
        Ok([(), ()])
    }

    fn l2_normalize(&mut self, _x: &()) -> Taken {
        Ok(())
    }
}

fn misshapen(name: &str, expected: &[i64], found: Vec<i64>) -> ModelError {
    ModelError::Shape { name: name.to_owned(), expected: expected.to_vec(), found }
}

/// A copy as a tensor of the same shape.
fn tensor(stored: &Stored) -> Tensor {
    let dims: Vec<i64> = stored.dims.iter().map(|&dim| dim as i64).collect();
    Tensor::from_slice(&stored.data).view(dims.as_slice())
}

//! From the recipe's objective to the loss of a batch of pairs.

use tch::Tensor;

use crate::model::{LOGIT_BIAS, ModelError};
use crate::objectives::{
    Pairs, Triplets, dcl, info_nce, info_nce_with_negative_texts, margin_in_batch, nt_xent,
    sigmoid, sup_con_pairs, triplet, triplet_in_batch,
};
use crate::recipe::Objective;

impl Objective {
    /// What a batch loses: a scalar, f32.
    ///
    /// # Errors
    /// [`ModelError::Missing`] for a sigmoid loss without a `logit_bias`.
    pub(super) fn loss(&self, pairs: &Pairs<'_>) -> Result<Tensor, ModelError> {
        let &Pairs { images, texts, logit_scale, logit_bias, related, negatives } = pairs;
        Ok(match *self {
            Self::InfoNce { .. } => match negatives {
                None => info_nce(images, texts, logit_scale, related),
                Some(negatives) => {
                    info_nce_with_negative_texts(images, texts, logit_scale, related, negatives)
                }
            },
            Self::NtXent {} => nt_xent(images, texts, logit_scale, related),
            Self::Dcl {} => dcl(images, texts, logit_scale, related),
            Self::SupCon {} => sup_con_pairs(images, texts, logit_scale, related),
            Self::Sigmoid { .. } => {
                let absent = || ModelError::Missing { name: LOGIT_BIAS.to_owned() };
                sigmoid(images, texts, logit_scale, logit_bias.ok_or_else(absent)?, related)
            }
            Self::Triplet { margin, mining, distance, .. } => match negatives {
                None => {
                    triplet_in_batch(images, texts, related, Triplets { margin, distance, mining })
                }
                Some(negatives) => triplet(images, texts, negatives.texts, margin, distance),
            },
            Self::Margin { margin, mining } => {
                margin_in_batch(images, texts, related, margin, mining)
            }
        })
    }
}

//! The two ONNX graphs of a dual encoder.

use super::dual_encoder::TextTower;
use super::{DualEncoder, ModelError, Onnx, Side, Weights};
use crate::onnx::{Dimension, ElementType, WeightStorage};

impl DualEncoder {
    /// The image graph: `pixel_values` f32 `[batch, 3, S, S]` → `image_embeds` f32 `[batch, D]`, of
    /// length one. Standardization is folded into the projection.
    ///
    /// # Errors
    /// [`ModelError`] where a weight is missing or does not fit.
    pub fn export_image_graph(
        &self,
        weights: &Weights,
        storage: WeightStorage,
    ) -> Result<Vec<u8>, ModelError> {
        let weights = self.folded(weights)?;
        let mut ops = Onnx::new("vision_model", &weights, storage);
        let side = Dimension::Fixed(self.config.vision_config.image_size());
        let batch = Dimension::Named("batch");
        let shape = [batch, Dimension::Fixed(3), side, side];
        let pixels = ops.graph.input("pixel_values", ElementType::F32, &shape);
        let pixels = ops.enter(&pixels);
        let embeds = self.image_embeddings(&mut ops, &pixels)?;
        let shape = [batch, Dimension::Fixed(self.config.projection_dim)];
        ops.graph.output(&embeds, "image_embeds", ElementType::F32, &shape);
        Ok(ops.graph.finish())
    }

    /// The text graph: `input_ids` i64 `[batch, length]` (and `attention_mask`, likewise, where the
    /// tower is not causal) → `text_embeds` f32 `[batch, D]`, of length one. Standardization is
    /// folded into the projection.
    ///
    /// # Errors
    /// [`ModelError`] where a weight is missing or does not fit.
    pub fn export_text_graph(
        &self,
        weights: &Weights,
        storage: WeightStorage,
    ) -> Result<Vec<u8>, ModelError> {
        let weights = self.folded(weights)?;
        let mut ops = Onnx::new("text_model", &weights, storage);
        let shape = [Dimension::Named("batch"), Dimension::Named("length")];
        let ids = ops.graph.input("input_ids", ElementType::I64, &shape);
        let pooled = match &self.text_tower {
            TextTower::Bert(tower) => {
                let mask = ops.graph.input("attention_mask", ElementType::I64, &shape);
                tower.pooled(&mut ops, &ids, &mask)?
            }
            TextTower::ClipText(tower) => tower.pooled(&mut ops, &ids)?,
        };
        let embeds = self.embeddings(&mut ops, Side::Text, &pooled)?;
        let shape = [Dimension::Named("batch"), Dimension::Fixed(self.config.projection_dim)];
        ops.graph.output(&embeds, "text_embeds", ElementType::F32, &shape);
        Ok(ops.graph.finish())
    }

    /// `weights` with the standardizations gone into the projections: an image graph with classes has
    /// the text projection too.
    fn folded(&self, weights: &Weights) -> Result<Weights, ModelError> {
        let mut weights = weights.clone();
        for side in [Side::Image, Side::Text] {
            self.projection(side).fold(&mut weights)?;
        }
        Ok(weights)
    }
}

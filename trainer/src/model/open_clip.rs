//! The weight names of `open_clip` (and of the first release by `OpenAI`) as those of `transformers`.

use tch::{TchError, Tensor};

use super::{ModelError, Weights};

/// A weight that every vision transformer of `open_clip` has, and nobody else.
const MARK: &str = "visual.conv1.weight";

/// A text tower of its own keeps its weights under this prefix.
const OWN_TEXT: &str = "text.";

/// Whole names that differ.
const NAMES: [(&str, &str); 6] = [
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
    ("logit_scale", "logit_scale"),
];

/// Matrices that stand there the other way around, `[in, out]`.
const TRANSPOSED: [(&str, &str); 2] =
    [("visual.proj", "visual_projection.weight"), ("text_projection", "text_projection.weight")];

/// Beginnings of names that differ, up to `.weight` or `.bias`.
const NORMS: [(&str, &str); 3] = [
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("ln_final.", "text_model.final_layer_norm."),
];

/// Beginnings of the blocks' names, up to the number.
const BLOCKS: [(&str, &str); 2] = [
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
];

/// Parts of a block, up to `.weight` or `.bias`.
const PARTS: [(&str, &str); 5] = [
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("attn.out_proj", "self_attn.out_proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];

/// The same weights under the names of `transformers`; whatever is not `open_clip`'s stays as it is.
///
/// # Errors
/// [`ModelError::Torch`] where a weight cannot be transposed or split in three.
pub(super) fn renamed(weights: Weights) -> Result<Weights, ModelError> {
    if !weights.has(MARK) {
        return Ok(weights);
    }
    let mut renamed = Weights::new();
    for (name, tensor) in weights.into_parts() {
        let short = name.strip_prefix(OWN_TEXT).unwrap_or(&name);
        let split = |source| ModelError::Torch { operation: "rename", name: name.clone(), source };
        for (name, tensor) in rename(short, &tensor).map_err(split)? {
            renamed.insert(name, tensor);
        }
    }
    Ok(renamed)
}

/// What one weight becomes: itself under another name, or three.
fn rename(name: &str, tensor: &Tensor) -> Result<Vec<(String, Tensor)>, TchError> {
    if let Some((_, to)) = NAMES.iter().find(|(from, _)| *from == name) {
        return Ok(vec![((*to).to_owned(), tensor.shallow_clone())]);
    }
    if let Some((_, to)) = TRANSPOSED.iter().find(|(from, _)| *from == name) {
        return Ok(vec![((*to).to_owned(), tensor.f_tr()?.f_contiguous()?)]);
    }
    for (from, to) in NORMS {
        if let Some(part) = name.strip_prefix(from) {
            return Ok(vec![(format!("{to}{part}"), tensor.shallow_clone())]);
        }
    }
    for (from, to) in BLOCKS {
        if let Some((layer, part)) = name.strip_prefix(from).and_then(|rest| rest.split_once('.')) {
            return rename_in_block(&format!("{to}{layer}"), part, tensor);
        }
    }
    Ok(vec![(name.to_owned(), tensor.shallow_clone())])
}

/// Query, key and value stand one above the other in `attn.in_proj_{weight,bias}`.
fn rename_in_block(
    block: &str,
    part: &str,
    tensor: &Tensor,
) -> Result<Vec<(String, Tensor)>, TchError> {
    if let Some(kind) = part.strip_prefix("attn.in_proj_") {
        let thirds = tensor.f_chunk(3, 0)?;
        let named = ["q", "k", "v"].iter().zip(thirds);
        return named
            .map(|(letter, third)| {
                let name = format!("{block}.self_attn.{letter}_proj.{kind}");
                // A copy: a third of a shared tensor would be saved and trained as a view.
                Ok((name, third.copy()))
            })
            .collect();
    }
    let (stem, kind) = part.rsplit_once('.').unwrap_or((part, ""));
    let stem = PARTS.iter().find(|(from, _)| *from == stem).map_or(stem, |(_, to)| to);
    Ok(vec![(format!("{block}.{stem}.{kind}"), tensor.shallow_clone())])
}

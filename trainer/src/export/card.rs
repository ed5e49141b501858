//! The card of a bundle: its `README.md`.

use std::fmt::Write;
use std::path::Path;

use clip::config::ModelType;

use super::ExportError;
use super::draft::Draft;

/// Copies the owner's card, or writes one of what the manifest knows.
pub(super) fn write(draft: &Draft, own: Option<&Path>) -> Result<(), ExportError> {
    let text = match own {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|source| ExportError::Read { path: path.to_owned(), source })?,
        None => generated(draft),
    };
    draft.write("README.md", text.as_bytes())
}

fn generated(draft: &Draft) -> String {
    let manifest = &draft.manifest;
    let mut text = String::from("# A dual encoder for Clipsight\n\n");
    let _ = writeln!(text, "Written by {}; its id is `{}`.", manifest.made_by, manifest.id);
    text.push_str(match draft.family {
        ModelType::Clip => "`config.json` is that of a CLIP as `transformers` has it.",
        ModelType::DualEncoder => {
            "`config.json` describes two towers with a linear projection each (`dual-encoder`), \
             which `transformers` cannot load."
        }
    });
    text.push_str(" The ONNX graphs are complete.\n\n## Precisions\n\n");
    for (name, stored) in &manifest.precisions {
        let _ = writeln!(text, "- {name}: {}", stored.weights);
    }
    if manifest.figures.as_object().is_some_and(|figures| !figures.is_empty()) {
        let figures = serde_json::to_string_pretty(&manifest.figures).unwrap_or_default();
        let _ = writeln!(text, "\n## Figures\n\n```json\n{figures}\n```");
    }
    if !manifest.licences.is_empty() {
        text.push_str("\n## Made from\n\n");
        for licence in &manifest.licences {
            let _ = writeln!(text, "- {}: {} ({})", licence.what, licence.license, licence.source);
        }
    }
    text
}

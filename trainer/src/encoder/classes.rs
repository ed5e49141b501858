//! The names of the classes that the image tower's own classifier knows, and what the text tower
//! answers for them before any training.

use std::path::Path;

use clip::TokenIds;
use clip::tokenize::Tokenizer;
use clip::zero_shot::DEFAULT_TEMPLATE;
use tch::{TchError, Tensor};

use super::EncoderError;
use crate::model::{DualEncoder, ModelError, Torch, Weights, token_batch};

/// Between the names of one class.
const BETWEEN: &str = ", ";

/// Texts in a forward pass.
const TEXTS: usize = 50;

/// Reads a file of classes, as many as the file of the image tower `tower` has a classifier for.
///
/// # Errors
/// As [`parse`]; [`EncoderError::ClassCount`] where there are more or fewer,
/// [`EncoderError::Model`] for a tower without a classifier.
pub(super) fn read(path: &Path, tower: &Path) -> Result<Vec<Vec<String>>, EncoderError> {
    let classes = parse(path)?;
    let known = Weights::load(tower)?.get("_fc.bias")?.numel();
    if classes.len() != known {
        let (path, tower, named) = (path.to_owned(), tower.to_owned(), classes.len());
        return Err(EncoderError::ClassCount { path, named, tower, known });
    }
    Ok(classes)
}

/// A line is a class, in the order of the classifier's rows, with one name or several.
///
/// # Errors
/// [`EncoderError::Tower`] where the file cannot be read, [`EncoderError::Classes`] for a line without a
/// name.
fn parse(path: &Path) -> Result<Vec<Vec<String>>, EncoderError> {
    let unreadable = |source| EncoderError::Tower { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let line = |(number, line): (usize, &str)| {
        let names = line.split(BETWEEN).map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(str::to_owned).collect();
        let (path, line) = (path.to_owned(), number + 1);
        if names.is_empty() { Err(EncoderError::Classes { path, line }) } else { Ok(names) }
    };
    text.lines().enumerate().map(line).collect()
}

/// A class as a caption.
#[must_use]
pub fn caption(name: &str) -> String {
    DEFAULT_TEMPLATE.replace("{}", &name.to_lowercase())
}

/// What the text tower of `weights` answers for the first name of each class: `[hidden, labels]`, as a
/// linear map from shares has it.
///
/// # Errors
/// [`EncoderError`] where the tower cannot run.
pub(super) fn answers(
    model: &DualEncoder,
    weights: &Weights,
    tokenizer: &Tokenizer,
    classes: &[Vec<String>],
) -> Result<Tensor, EncoderError> {
    let tokens = classes.iter().map(|names| tokenizer.encode(&caption(&names[0])));
    let tokens = tokens.collect::<Result<Vec<TokenIds>, _>>()?;
    let part = |texts: &[TokenIds]| -> Result<Tensor, EncoderError> {
        let texts: Vec<&TokenIds> = texts.iter().collect();
        let (ids, mask) = token_batch(&tokenizer.pad_batch(&texts))?;
        Ok(tch::no_grad(|| model.text_pooled(&mut Torch::new(weights), &ids, &mask))?)
    };
    let parts = tokens.chunks(TEXTS).map(part).collect::<Result<Vec<_>, _>>()?;
    let columns =
        || -> Result<Tensor, TchError> { Ok(Tensor::f_cat(&parts, 0)?.f_tr()?.contiguous()) };
    let failed = |source| ModelError::Torch { operation: "cat", name: String::new(), source };
    Ok(columns().map_err(failed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_class_and_may_have_several_names() {
        let file = std::env::temp_dir().join(format!("classes-{}.txt", std::process::id()));
        std::fs::write(&file, "tench, Tinca tinca\ngoldfish\n").unwrap();
        assert_eq!(parse(&file).unwrap(), [vec!["tench", "Tinca tinca"], vec!["goldfish"]]);
        std::fs::write(&file, "tench\n \ngoldfish\n").unwrap();
        let error = parse(&file).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_name_is_put_into_the_usual_template_in_small_letters() {
        assert_eq!(caption("French loaf"), "a photo of a french loaf");
    }
}

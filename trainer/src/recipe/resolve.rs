//! From the text of a recipe to its typed form: `--set`, variables, paths.
//!
//! Paths are relative to the recipe's folder. `$NAME` and `${NAME}` are replaced by the environment;
//! a variable that begins a path and holds a relative path means the working folder, as it does in
//! a shell.

use std::path::{Component, Path, PathBuf};

use super::Recipe;

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {}", path.display())]
    Read {
        /// The recipe.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The text is no TOML.
    #[error("the recipe {} is not valid TOML", path.display())]
    Syntax {
        /// The recipe.
        path: PathBuf,
        /// Line and column.
        source: Box<toml::de::Error>,
    },
    /// A key is missing, unknown or of the wrong kind.
    #[error("the recipe does not fit: {reason}")]
    Shape {
        /// Names the key and what would do.
        reason: String,
    },
    /// A value is outside of what it may be.
    #[error("the recipe's key {key} {reason}")]
    Value {
        /// Dotted path of the key.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// `--set` without `=` or into something that is no table.
    #[error("--set {argument} cannot be applied: {reason}")]
    Set {
        /// As given.
        argument: String,
        /// What is wrong.
        reason: String,
    },
    /// A `$VARIABLE` without a value.
    #[error(
        "the recipe's key {key} needs the environment variable {variable}; set it and try again"
    )]
    Variable {
        /// Dotted path of the key.
        key: String,
        /// The variable's name.
        variable: String,
    },
}

/// serde's message stretches over lines; an error is one.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What relative paths and variables mean.
pub struct Resolver<'a> {
    /// The recipe's folder.
    pub base: PathBuf,
    /// The working folder.
    pub working: PathBuf,
    /// What `--init` names, absolute; it goes before the recipe's `model.init`.
    pub init: Option<PathBuf>,
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads a recipe, applies `sets` (`key.path=value`) and resolves its paths.
///
/// # Errors
/// See [`RecipeError`]; each names the file or the key.
pub fn load(path: &Path, sets: &[String]) -> Result<Recipe, RecipeError> {
    load_from(path, sets, None)
}

/// As [`load`], with `init` (relative to the working folder) as its `model.init`.
///
/// # Errors
/// As [`load`].
pub fn load_from(path: &Path, sets: &[String], init: Option<&Path>) -> Result<Recipe, RecipeError> {
    let read = |source| RecipeError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(read)?;
    let table: toml::Table = toml::from_str(&text)
        .map_err(|e| RecipeError::Syntax { path: path.to_owned(), source: Box::new(e) })?;
    let working = std::env::current_dir().map_err(read)?;
    let absolute = std::path::absolute(path).map_err(read)?;
    let base = absolute.parent().unwrap_or(&absolute).to_owned();
    let variable = |name: &str| std::env::var(name).ok();
    let init = init.map(|folder| working.join(folder));
    from_table(table, sets, &Resolver { base, working, init, variable: &variable })
}

/// The typed form of a parsed recipe.
///
/// # Errors
/// As [`load`], but for reading.
pub fn from_table(
    mut table: toml::Table,
    sets: &[String],
    resolver: &Resolver<'_>,
) -> Result<Recipe, RecipeError> {
    for set in sets {
        apply_set(&mut table, set)?;
    }
    let mut recipe: Recipe =
        table.try_into().map_err(|e| RecipeError::Shape { reason: one_line(&e) })?;
    if resolver.init.is_some() {
        recipe.model.init = None;
    }
    paths(&mut recipe).into_iter().try_for_each(|(key, path)| resolver.resolve(&key, path))?;
    let init = &mut recipe.model.init;
    *init = init.take().or_else(|| resolver.init.as_deref().map(normalize));
    recipe.validate()?;
    Ok(recipe)
}

/// All paths of a recipe, with their keys.
fn paths(recipe: &mut Recipe) -> Vec<(String, &mut PathBuf)> {
    let Recipe { model, text, data, eval, .. } = recipe;
    let mut paths = Vec::new();
    for (key, path) in [
        ("model.init", &mut model.init),
        ("model.config", &mut model.config),
        ("model.image.weights", &mut model.image.weights),
        ("model.image.classes", &mut model.image.classes),
        ("model.text.weights", &mut model.text.weights),
        ("eval.captions", &mut eval.captions),
        ("eval.labels", &mut eval.labels),
    ] {
        paths.extend(path.iter_mut().map(|path| (key.to_owned(), path)));
    }
    let numbered = data.iter_mut().enumerate();
    paths.extend(numbered.map(|(i, data)| (format!("data.{i}.path"), &mut data.path)));
    let synonyms = text.synonyms.iter_mut();
    paths.extend(synonyms.map(|s| ("text.synonyms.wordnet".to_owned(), &mut s.wordnet)));
    paths
}

impl Recipe {
    /// With the bare names of files, which is what can be the same on several machines.
    #[must_use]
    pub fn without_folders(mut self) -> Self {
        for (_, path) in paths(&mut self) {
            *path = path.file_name().map(PathBuf::from).unwrap_or_default();
        }
        self
    }
}

fn apply_set(table: &mut toml::Table, set: &str) -> Result<(), RecipeError> {
    let wrong =
        |reason: &str| RecipeError::Set { argument: set.to_owned(), reason: reason.to_owned() };
    let (path, text) = set.split_once('=').ok_or_else(|| wrong("write key.path=value"))?;
    let keys: Vec<&str> = path.split('.').map(str::trim).collect();
    let Some((last, parents)) = keys.split_last() else { return Err(wrong("the key is empty")) };
    if keys.iter().any(|k| k.is_empty()) {
        return Err(wrong("a part of the key is empty"));
    }
    let mut root = toml::Value::Table(std::mem::take(table));
    let mut at = &mut root;
    for key in parents {
        at = child(at, key).ok_or_else(|| wrong(&format!("{key} is not there")))?;
    }
    let value = parse_value(text);
    match at {
        toml::Value::Table(inner) => drop(inner.insert((*last).to_owned(), value)),
        toml::Value::Array(_) => {
            *child(at, last).ok_or_else(|| wrong(&format!("{last} is not there")))? = value;
        }
        _ => return Err(wrong("it leads into a plain value")),
    }
    if let toml::Value::Table(inner) = root {
        *table = inner;
    }
    Ok(())
}

/// A table's entry, made where absent, or an array's element by number.
fn child<'a>(value: &'a mut toml::Value, key: &str) -> Option<&'a mut toml::Value> {
    match value {
        toml::Value::Table(table) => {
            Some(table.entry(key).or_insert_with(|| toml::Value::Table(toml::Table::new())))
        }
        toml::Value::Array(array) => array.get_mut(key.parse::<usize>().ok()?),
        _ => None,
    }
}

/// A TOML value where the text is one, else the text itself: paths need no quotes.
fn parse_value(text: &str) -> toml::Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut t| t.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

impl Resolver<'_> {
    fn resolve(&self, key: &str, path: &mut PathBuf) -> Result<(), RecipeError> {
        let written = path.to_string_lossy().into_owned();
        if written.trim().is_empty() {
            return Err(RecipeError::Value { key: key.to_owned(), reason: "is empty".to_owned() });
        }
        let expanded = PathBuf::from(self.expand(key, &written)?);
        let base = if written.starts_with('$') { &self.working } else { &self.base };
        *path = normalize(&base.join(expanded));
        Ok(())
    }

    fn expand(&self, key: &str, text: &str) -> Result<String, RecipeError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let (name, tail) = match after.strip_prefix('{').and_then(|a| a.split_once('}')) {
                Some(braced) => braced,
                None => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len()))
                }
            };
            let value = (self.variable)(name).filter(|v| !v.is_empty()).ok_or_else(|| {
                RecipeError::Variable { key: key.to_owned(), variable: name.to_owned() }
            })?;
            out.push_str(&value);
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// `a/b/../c` becomes `a/c`, without asking the file system.
fn normalize(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(out.components().next_back(), Some(Component::Normal(_))) =>
            {
                out.pop();
            }
            _ => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Start;
    use super::*;

    const TEXT: &str = r#"
        [model]
        model_type = "dual-encoder"
        image = { encoder = "efficientnet-lite0", weights = "../towers/a" }
        text = { encoder = "bert", weights = "/towers/b" }
        projection = { dim = 384, learning_rate = 1e-3 }
        [image]
        size = 224
        resize_mode = "squash"
        mean = [0.5, 0.5, 0.5]
        std = [0.5, 0.5, 0.5]
        [[data]]
        path = "$DATA/train.tar"
        [train]
        batch_size = 10
        epochs = 2
    "#;

    fn resolve(text: &str, sets: &[&str]) -> Result<Recipe, RecipeError> {
        let variable = |name: &str| match name {
            "DATA" => Some("../data".to_owned()),
            _ => None,
        };
        let resolver = Resolver {
            base: "/home/r".into(),
            working: "/home/w".into(),
            init: None,
            variable: &variable,
        };
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        from_table(toml::from_str(text).unwrap(), &sets, &resolver)
    }

    #[test]
    fn paths_are_relative_to_the_recipe_and_variables_to_the_working_folder() {
        let recipe = resolve(TEXT, &["eval.captions=x${DATA}/dev.tar"]).unwrap();
        let Start::Towers(towers) = recipe.model.start().unwrap() else { panic!("{recipe:?}") };
        assert_eq!(towers.image_weights, Path::new("/home/towers/a"));
        assert_eq!(towers.text_weights, Path::new("/towers/b"));
        assert_eq!(recipe.data[0].path, Path::new("/home/data/train.tar"));
        assert_eq!(recipe.eval.captions.unwrap(), Path::new("/home/r/x../data/dev.tar"));
        assert_eq!(recipe.data[0].templates, ["a photo of a {}"]);
    }

    #[test]
    fn a_resolved_recipe_reads_back_as_itself() {
        let sets =
            ["train.seed=7", "data.0.weight=2.5", "train.logit_scale_init=4.605170185988092"];
        let recipe = resolve(TEXT, &sets).unwrap();
        assert_eq!((recipe.train.seed, recipe.data[0].weight), (7, 2.5));
        let again = resolve(&toml::to_string(&recipe).unwrap(), &[]).unwrap();
        assert_eq!(recipe, again);
    }

    #[test]
    fn errors_name_the_key() {
        let says = |sets: &[&str], words: &[&str]| {
            let message = resolve(TEXT, sets).unwrap_err().to_string();
            for word in words {
                assert!(message.contains(word), "{message} does not say {word}");
            }
        };
        says(&["train.batch_sise=3"], &["batch_sise"]);
        says(&["train.batch_size=many"], &["batch_size", "many"]);
        says(&["train.batch_size=1"], &["train.batch_size", "at least 2"]);
        says(&["model.image.encoder=resnet"], &["encoder", "resnet", "efficientnet-lite0"]);
        says(&["data.0.path=$NOWHERE/x"], &["data.0.path", "NOWHERE"]);
        says(&["data.0.templates=[\"a photo\"]"], &["data.0.templates", "a photo", "{}"]);
        says(&["data.3.weight=1"], &["data.3.weight"]);
        says(&["train.seed"], &["key.path=value"]);
        says(&["train.epochs.x=1"], &["plain value"]);
        says(&["train.weight_decay=nan"], &["train.weight_decay"]);
        says(&["data.0.weight=nan"], &["data.0.weight", "above 0"]);
        says(&["data.0.weight=1e9"], &["data.0.weight", "1000"]);
        says(&["model.config=x"], &["model.config", "dual-encoder", "model.image.weights"]);
        says(&["model.text={encoder=\"bert\"}"], &["model.text.weights", "missing"]);
        says(&["image={size=224}"], &["image.resize_mode", "missing"]);
        says(&["model.text.layer_decay=0"], &["model.text.layer_decay", "above 0"]);
        says(&["model.learning_rates={\"a.b\"=-1}"], &["model.learning_rates.\"a.b\""]);
    }

    #[test]
    fn a_clip_starts_from_a_folder_or_from_a_configuration_and_has_no_keys_of_towers() {
        let clip = "model={model_type=\"clip\",projection={learning_rate=1e-5}}";
        let none = resolve(TEXT, &[clip]).unwrap_err().to_string();
        assert!(none.contains("model.init") && none.contains("model.config"), "{none}");
        let recipe = resolve(TEXT, &[clip, "model.init=$DATA/clip", "image={}"]).unwrap();
        let folder = Path::new("/home/data/clip");
        let start = Start::Checkpoint { folder, config: None };
        assert_eq!(recipe.model.start().unwrap(), start);
        let recipe = resolve(TEXT, &[clip, "model.config=c.json"]).unwrap();
        let config = Path::new("/home/r/c.json");
        assert_eq!(recipe.model.start().unwrap(), Start::Nothing { config });
        for (set, key) in [
            ("model.image.encoder=efficientnet-lite0", "model.image.encoder"),
            ("model.text.weights=x", "model.text.weights"),
            ("model.projection.dim=3", "model.projection.dim"),
            ("train.logit_scale_init=1", "train.logit_scale_init"),
        ] {
            let error = resolve(TEXT, &[clip, "model.init=x", set]).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("does not go with"), "{error}");
        }
    }
}

//! A run: the folder in which a training leaves all that it knows.
//!
//! `recipe.toml` as resolved, `metrics.jsonl`, `curves.png`, `README.md`, `checkpoints/`, and `cache/` with the
//! outputs of locked towers, which may be deleted at any time.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::recipe::{self, Recipe, RecipeError};
use crate::tensor_file::write_atomically;

/// A run's folder and its recipe.
#[derive(Debug, Clone)]
pub struct Run {
    /// The folder.
    pub folder: PathBuf,
    /// As resolved when the run began.
    pub recipe: Recipe,
}

/// Why a run cannot be begun, opened or written to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system refused.
    #[error("cannot {verb} {}", path.display())]
    System {
        /// What was tried.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder is there and holds something.
    #[error("{} is not empty; go on with it by --resume, or name another by --out", path.display())]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// There is no recipe in it.
    #[error("{} is no run: it holds no recipe.toml", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// Its recipe cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The recipe cannot be written down.
    #[error("cannot write the recipe as TOML")]
    Write(#[from] toml::ser::Error),
}

impl Run {
    /// Begins a run in a new or empty folder.
    ///
    /// # Errors
    /// [`RunError::Taken`] when it holds something, others when it cannot be written.
    pub fn create(folder: &Path, recipe: Recipe) -> Result<Self, RunError> {
        let system = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| RunError::System { verb, path, source }
        };
        std::fs::create_dir_all(folder).map_err(system("make", folder))?;
        Self::free(folder)?;
        let path = folder.join("recipe.toml");
        let text = toml::to_string(&recipe)?;
        write_atomically(&path, text.as_bytes()).map_err(system("write", &path))?;
        let run = Self { folder: folder.to_owned(), recipe };
        std::fs::create_dir_all(run.cache()).map_err(system("make", &run.cache()))?;
        Ok(run)
    }

    /// Refuses a folder in which no run can begin; one that is not there is as good as an empty one.
    ///
    /// # Errors
    /// [`RunError::Taken`] when it holds something, [`RunError::System`] when it cannot be read.
    pub fn free(folder: &Path) -> Result<(), RunError> {
        let path = folder.to_owned();
        match std::fs::read_dir(folder) {
            Ok(mut entries) => {
                match entries.any(|entry| entry.is_ok_and(|e| e.file_name() != "cache")) {
                    true => Err(RunError::Taken { path }),
                    false => Ok(()),
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(RunError::System { verb: "read", path, source }),
        }
    }

    /// Opens a run that was begun before.
    ///
    /// # Errors
    /// [`RunError::NotARun`] without a recipe, [`RunError::Recipe`] with one that does not fit.
    pub fn open(folder: &Path) -> Result<Self, RunError> {
        let path = folder.join("recipe.toml");
        if !path.is_file() {
            return Err(RunError::NotARun { path: folder.to_owned() });
        }
        let run = Self { folder: folder.to_owned(), recipe: recipe::load(&path, &[])? };
        let cache = run.cache();
        std::fs::create_dir_all(&cache).map_err(|source| RunError::System {
            verb: "make",
            path: cache,
            source,
        })?;
        Ok(run)
    }

    /// Outputs of locked towers.
    #[must_use]
    pub fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// The newest checkpoints, as many as `train.keep_checkpoints` says.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    /// Writes the run's card, `README.md`.
    ///
    /// # Errors
    /// [`RunError::System`], naming the file.
    pub fn write_card(&self, text: &str) -> Result<(), RunError> {
        let path = self.folder.join("README.md");
        let system = |source| RunError::System { verb: "write", path: path.clone(), source };
        write_atomically(&path, text.as_bytes()).map_err(system)
    }

    /// Opens `metrics.jsonl` to go on after `step`; what a lost future wrote is taken out.
    ///
    /// # Errors
    /// [`RunError::System`], naming the file.
    pub fn metrics(&self, step: u64) -> Result<Metrics, RunError> {
        let path = self.folder.join("metrics.jsonl");
        let system = |verb| {
            let path = path.clone();
            move |source| RunError::System { verb, path, source }
        };
        let before = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other.map_err(system("read"))?,
        };
        let kept: String =
            before.lines().filter(|l| is_up_to(l, step)).fold(String::new(), |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            });
        write_atomically(&path, kept.as_bytes()).map_err(system("write"))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(system("open"))?;
        Ok(Metrics { path, file })
    }
}

fn is_up_to(line: &str, step: u64) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
    value.and_then(|v| v.get("step")?.as_u64()).is_some_and(|s| s <= step)
}

/// `metrics.jsonl`, open for more.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Adds one JSON object as one line.
    ///
    /// # Errors
    /// [`RunError::System`], naming the file.
    pub fn add<T: Serialize>(&mut self, line: &T) -> Result<(), RunError> {
        let system = |source| RunError::System { verb: "write", path: self.path.clone(), source };
        let mut text = serde_json::to_vec(line).map_err(|e| system(e.into()))?;
        text.push(b'\n');
        self.file.write_all(&text).map_err(system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_of_a_lost_future_are_taken_out() {
        let lines = [r#"{"step":1}"#, r#"{"step":2,"loss":0.5}"#, r#"{"step":3}"#, r#"{"st"#];
        assert_eq!(lines.map(|l| is_up_to(l, 2)), [true, true, false, false]);
    }

    #[test]
    fn a_folder_without_a_recipe_is_no_run() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Run::open(dir.path()), Err(RunError::NotARun { .. })));
    }
}

//! `clipsight.toml`: found, read, and turned into the words a flag would have been given.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{SettingsError, folders};

/// The name looked for in the working folder.
const FILE_NAME: &str = "clipsight.toml";

/// A settings file, read but not yet compared with the flags there are.
#[derive(Debug)]
pub struct SettingsFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its keys, in the order of the alphabet.
    pub keys: toml::Table,
}

impl SettingsFile {
    /// The file that counts for these command-line words: `--config FILE`, else `CLIPSIGHT_CONFIG`,
    /// else `./clipsight.toml`, else `clipsight/clipsight.toml` in the XDG configuration folder,
    /// else none.
    ///
    /// # Errors
    /// A file that was named but is missing; any file that cannot be read or is not TOML.
    pub fn find(words: &[OsString]) -> Result<Option<Self>, SettingsError> {
        let named = named_in(words)
            .or_else(|| std::env::var_os("CLIPSIGHT_CONFIG").filter(|value| !value.is_empty()));
        if let Some(path) = named {
            return Self::read(Path::new(&path)).map(Some);
        }
        let usual = [Some(PathBuf::from(FILE_NAME)), folders::config_folder()];
        match usual.into_iter().flatten().find(|path| path.is_file()) {
            Some(path) => Self::read(&path).map(Some),
            None => Ok(None),
        }
    }

    /// Reads one file.
    ///
    /// # Errors
    /// When it cannot be read or is not TOML.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::Unreadable { path: path.to_path_buf(), source })?;
        let keys = text.parse::<toml::Table>().map_err(|source| SettingsError::NotToml {
            path: path.to_path_buf(),
            source: Box::new(source),
        })?;
        Ok(Self { path: path.to_path_buf(), keys })
    }
}

/// The value of `--config` among the words, as clap would find it later.
fn named_in(words: &[OsString]) -> Option<OsString> {
    let mut rest = words.iter().take_while(|word| *word != OsStr::new("--"));
    while let Some(word) = rest.next() {
        if word == "--config" {
            return rest.next().cloned();
        }
        if let Some(value) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            return Some(OsString::from(value));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn config_is_found_in_both_spellings_and_not_after_the_dashes() {
        assert_eq!(named_in(&words(&["x", "serve", "--config", "a.toml"])), Some("a.toml".into()));
        assert_eq!(named_in(&words(&["x", "--config=b.toml", "serve"])), Some("b.toml".into()));
        assert_eq!(named_in(&words(&["x", "search", "--", "--config=c.toml"])), None);
    }

    #[test]
    fn a_named_file_that_is_missing_is_an_error_that_names_it() {
        let error = SettingsFile::find(&words(&["x", "--config", "/nowhere/c.toml"])).unwrap_err();
        assert!(error.to_string().contains("/nowhere/c.toml"), "{error}");
    }
}

//! Where things lie when nobody says: the data folder, the settings file, the starter model.

use std::path::{Path, PathBuf};

use super::SettingsError;

/// Where a checkout keeps the starter model.
pub(super) const STARTER: &str = "models/starter";

/// The data folder: `--data`, else `$XDG_DATA_HOME/clipsight`, else `~/.local/share/clipsight`.
///
/// # Errors
/// When nothing is named and there is no home either.
pub fn data_folder(named: Option<&Path>) -> Result<PathBuf, SettingsError> {
    match named {
        Some(path) => Ok(path.to_path_buf()),
        None => xdg("XDG_DATA_HOME", ".local/share").ok_or(SettingsError::NoDataFolder),
    }
}

/// `$XDG_CONFIG_HOME/clipsight/clipsight.toml`, should there be such a folder.
pub(super) fn config_folder() -> Option<PathBuf> {
    xdg("XDG_CONFIG_HOME", ".config").map(|folder| folder.join("clipsight.toml"))
}

/// The folder of the starter model in the checkout that holds the working folder or the program.
///
/// # Errors
/// When neither has one.
pub fn starter_model() -> Result<PathBuf, SettingsError> {
    let program = std::env::current_exe().ok();
    let beside_program = program.iter().flat_map(|path| path.ancestors().skip(1));
    std::iter::once(Path::new(""))
        .chain(beside_program)
        .flat_map(|folder| [folder.join(STARTER), folder.join(STARTER).join("bundle")])
        .find(|folder| folder.join("config.json").is_file())
        .ok_or(SettingsError::NoModel)
}

/// `$variable/clipsight`, else `~/fallback/clipsight`.
fn xdg(variable: &str, fallback: &str) -> Option<PathBuf> {
    // The XDG specification says that a relative path is invalid and to be ignored.
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = set.or_else(|| {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
        Some(Path::new(&home).join(fallback))
    })?;
    Some(folder.join("clipsight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_data_folder_is_taken_as_it_is() {
        assert_eq!(data_folder(Some(Path::new("some/where"))).unwrap(), Path::new("some/where"));
    }
}

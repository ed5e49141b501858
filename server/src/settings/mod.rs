//! What a person may set, one clap struct per topic.
//!
//! Knows nothing of what the settings do; the rooms take plain values.
//! Every long flag is also `CLIPSIGHT_…` in the environment and a key of `clipsight.toml`, by
//! construction: [`layered`] walks the finished command and adds both, so none can be forgotten.

mod file;
mod folders;
mod layers;
mod topics;

use std::path::PathBuf;

pub use file::SettingsFile;
pub use folders::{data_folder, starter_model};
pub use layers::{layered, layers_of};
pub use topics::{
    CollectionSettings, DataSettings, IndexSettings, ModelSettings, PictureSettings, QueueSettings,
    ServeSettings,
};

/// Why the settings could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is not there or cannot be read.
    #[error("cannot read the settings file {path}")]
    Unreadable {
        /// The file as it was named.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the settings file {path} is not TOML")]
    NotToml {
        /// The file as it was named.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key that is no flag of any command.
    #[error(
        "{path}: unknown key `{key}`; keys are the long flags with `_` for `-`, for example `max_pixels`"
    )]
    UnknownKey {
        /// The file as it was named.
        path: PathBuf,
        /// The key that nothing answers to.
        key: String,
    },
    /// A value that its flag would not accept.
    #[error("{path}: key `{key}`: {reason}")]
    BadValue {
        /// The file as it was named.
        path: PathBuf,
        /// The key of the value.
        key: String,
        /// What the flag says to the value.
        reason: String,
    },
    /// Neither `--data` nor a home folder to put it in.
    #[error("no data folder: neither XDG_DATA_HOME nor HOME is set; name one with --data DIR")]
    NoDataFolder,
    /// Neither `--model` nor the starter.
    #[error(
        "no model: the starter was not found at {} beside the working folder or the program; name a bundle with --model DIR",
        folders::STARTER
    )]
    NoModel,
}

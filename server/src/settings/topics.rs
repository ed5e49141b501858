//! The settings themselves; the comment of each is its help text.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, ValueEnum};

use super::{SettingsError, starter_model};

/// Where the collection lives.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Collection")]
pub struct DataSettings {
    /// Folder of the collection: catalog, thumbnails, uploads [default: clipsight in the XDG data folder]
    ///
    /// Pictures stay where they are; only what Clipsight knows about them is kept here.
    /// Different folders are different collections.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// Which model answers, and how it runs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelSettings {
    /// Folder of the model bundle [default: the starter, models/starter of the checkout]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Which of the bundle's precisions to run, for example int8 [default: the model's own choice]
    #[arg(long, value_name = "NAME")]
    pub precision: Option<String>,
    /// What computes: auto takes CUDA where it works and says why not where it does not
    ///
    /// CUDA needs an ONNX Runtime that is built with it, named by --onnxruntime. With cuda nothing
    /// runs on the processor instead: the start fails and says why.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub provider: ProviderSetting,
    /// Threads for the model and for decoding pictures [default: one per processor core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// The ONNX Runtime library [default: the one that `make onnxruntime` fetched]
    ///
    /// `ORT_DYLIB_PATH` in the environment names it too, as for other programs.
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
}

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProviderSetting {
    /// CUDA where it works, else the processor.
    Auto,
    /// The processor.
    Cpu,
    /// CUDA or an error.
    Cuda,
}

impl From<ProviderSetting> for runtime::Provider {
    fn from(setting: ProviderSetting) -> Self {
        match setting {
            ProviderSetting::Auto => Self::Auto,
            ProviderSetting::Cpu => Self::Cpu,
            ProviderSetting::Cuda => Self::Cuda,
        }
    }
}

impl ModelSettings {
    /// The number of threads to use: as set, else one per core.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.threads.map_or_else(cores, NonZeroUsize::get)
    }

    /// The ONNX Runtime library that was named: as set, else in `ORT_DYLIB_PATH`, where other
    /// programs look for it too.
    #[must_use]
    pub fn onnxruntime(&self) -> Option<PathBuf> {
        let shared = || std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
        self.onnxruntime.clone().or_else(|| shared().map(PathBuf::from))
    }

    /// The folder of the bundle: as set, else the starter's.
    ///
    /// # Errors
    /// When none is set and there is no starter.
    pub fn model(&self) -> Result<PathBuf, SettingsError> {
        self.model.clone().map_or_else(starter_model, Ok)
    }
}

/// Which pictures are accepted.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pictures")]
pub struct PictureSettings {
    /// Refuse pictures with more pixels than this before decoding them
    ///
    /// A decoded picture takes three bytes a pixel, so the default of 200 megapixels bounds one
    /// picture at 600 MB. Raise it for panoramas and scans if there is memory for them.
    #[arg(long, value_name = "PIXELS", default_value_t = 200_000_000)]
    pub max_pixels: u64,
}

/// A collection with what reads its pictures: all that the commands over one share.
#[derive(Debug, Clone, Args)]
pub struct CollectionSettings {
    /// Where it lies.
    #[command(flatten)]
    pub data: DataSettings,
    /// Which model it is searched by.
    #[command(flatten)]
    pub model: ModelSettings,
    /// Which pictures it takes.
    #[command(flatten)]
    pub pictures: PictureSettings,
}

/// How much may wait for the model.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Queues")]
pub struct QueueSettings {
    /// Most inputs that the model embeds in one run
    ///
    /// Batches are made of what waits and never waited for. More is slightly faster for pictures
    /// on many cores and takes more memory.
    #[arg(long, value_name = "N", default_value = "16")]
    pub batch: NonZeroUsize,
    /// Most requests that wait for each tower of the model; one more is refused with 503 and Retry-After
    ///
    /// This bounds how long an answer takes: whoever is let in waits for the batch that runs and for so
    /// many others, at the default about twice as long as under a load that just fills it. Raise it
    /// for senders who would rather wait than ask again.
    #[arg(long, value_name = "N", default_value = "8")]
    pub queue: NonZeroUsize,
    /// Text embeddings kept in memory; a repeated query then costs no model run
    #[arg(long, value_name = "N", default_value = "10000")]
    pub text_cache: NonZeroUsize,
}

/// How stored vectors are searched.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Search")]
pub struct IndexSettings {
    /// Number of pictures below which a search compares every one, which misses none
    ///
    /// Larger collections are searched by a graph (HNSW), which now and then misses one of the nearest.
    /// The graph is built beside the first searches and kept in the data folder. Comparing takes about a
    /// millisecond for each 20,000 pictures: raise this if that is quick enough for you.
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub exact_below: usize,
}

/// How the server meets the network.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub struct ServeSettings {
    /// Address and port to listen on; port 0 picks a free one
    ///
    /// There is no authentication: on any address but a loopback one, whoever reaches the port
    /// can see, add and delete pictures.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Further host name that requests may carry, for a proxy in front; may be repeated
    ///
    /// On a loopback address the Host header must name this machine, so that no web page can
    /// reach the server by a name that it made point here.
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Origin of another page that may ask this server, like `https://photos.example`; may be repeated
    ///
    /// Browsers keep pages from asking servers of other origins; whoever is named here may do all that
    /// the API can, deleting too.
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub cors_origin: Vec<String>,
    /// Largest body of an upload, in MiB
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 64,
        value_parser = within(1..=4096)
    )]
    pub max_upload_mib: u64,
    /// Most bodies with pictures that are received at once; one more is refused with 503
    #[arg(long, value_name = "N", default_value = "8")]
    pub uploads: NonZeroUsize,
    /// Seconds after which an unfinished request is answered with 503
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = within(1..=86_400)
    )]
    pub timeout_s: u64,
    /// Most connections held open at once; further ones wait to be accepted
    #[arg(long, value_name = "N", default_value = "512")]
    pub connections: NonZeroUsize,
    /// Seconds that open requests get to finish after Ctrl-C
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = within(0..=3600)
    )]
    pub grace_s: u64,
}

/// Takes what browsers send as an origin: a scheme, a host, perhaps a port, and nothing behind.
fn origin(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = |rest: &str| {
        rest.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
            && rest.starts_with(|c: char| c != ':')
    };
    match rest.is_some_and(host) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("name the origin as browsers do, like https://photos.example or \
            http://localhost:5173, without a path; \"*\" is not accepted"
            .to_owned()),
    }
}

/// Takes numbers within a range and names it for others.
fn within(range: RangeInclusive<u64>) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(range)
}

impl Default for QueueSettings {
    /// The same numbers as the flags have where they are not set.
    fn default() -> Self {
        let number = |n| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        Self { batch: number(16), queue: number(8), text_cache: number(10_000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    #[test]
    fn an_origin_is_what_browsers_send() {
        for good in ["https://photos.example", "http://LOCALHOST:5173", "http://[::1]:80"] {
            assert_eq!(origin(good), Ok(good.to_ascii_lowercase()));
        }
        for bad in
            ["*", "null", "photos.example", "https://photos.example/", "http://", "http://:80"]
        {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn default_queues_are_those_of_the_flags() {
        let command = QueueSettings::augment_args(Command::new("x"));
        let flags = QueueSettings::from_arg_matches(&command.get_matches_from(["x"])).unwrap();
        assert_eq!(flags, QueueSettings::default());
    }
}

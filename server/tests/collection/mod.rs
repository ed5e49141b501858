//! A collection on disk, through the rooms that change it.
//! The vectors here are colors of a picture's sixteen parts, so that what is found can be told by eye
//! and no model is needed; flows with the real model stand beside this folder.

mod broken;
mod deleting;
mod files;
mod interrupted;
mod models;
mod opening;
mod uploads;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use clip::image::{DecodeLimits, ImageFormat, ImageProcessor, PixelValues, RgbImage};
use clip::{Embedding, ModelId};
use clipsight::catalog::{Counts, DataFolder, PictureId, Writer};
use clipsight::index::{ExactIndex, LiveIndex, PathTaken};
use clipsight::ingest::{EmbedFailure, EmbedImages, Ingest, IngestError, Job, Model, ModelChange};
use clipsight::ingest::{Progress, Report};

/// Side of the tiny images that the vectors are made of.
const SIDE: usize = 4;
const DIM: usize = 3 * SIDE * SIDE;

/// An image's own values as its embedding, cut to `dim`; counts what it has embedded.
struct Colors {
    dim: usize,
    embedded: Mutex<usize>,
    /// Called before each batch.
    before: Box<dyn Fn() + Send + Sync>,
}

impl EmbedImages for Colors {
    fn embed_images(&self, images: Vec<PixelValues>) -> Result<Vec<Embedding>, EmbedFailure> {
        (self.before)();
        let one = |image: &PixelValues| Embedding::new(image.data[..self.dim].to_vec());
        let embeddings = images.iter().map(one).collect::<Result<Vec<_>, _>>().map_err(refused)?;
        *self.embedded.lock().unwrap() += embeddings.len();
        Ok(embeddings)
    }
}

fn refused(error: clip::embedding::EmbeddingError) -> EmbedFailure {
    EmbedFailure::Images(Box::new(error))
}

/// A collection in a temporary folder, with a folder of pictures beside it.
struct Collection {
    /// Before the folder, so that it is closed before that is removed.
    ingest: Option<Ingest>,
    colors: Arc<Colors>,
    index: Arc<LiveIndex>,
    writer: Writer,
    runtime: tokio::runtime::Runtime,
    temp: tempfile::TempDir,
}

impl Collection {
    fn new() -> Self {
        Self::with(DecodeLimits::default(), || {})
    }

    fn with(limits: DecodeLimits, before: impl Fn() + Send + Sync + 'static) -> Self {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("pictures")).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = DataFolder::new(temp.path().join("data"));
        let writer = runtime.block_on(Writer::open(folder, "test")).unwrap();
        let colors =
            Arc::new(Colors { dim: DIM, embedded: Mutex::new(0), before: Box::new(before) });
        let index = Arc::new(LiveIndex::new(ExactIndex::new(DIM)));
        let opening = Ingest::open(
            writer.clone(),
            model("colors", Arc::clone(&colors)),
            limits,
            Some(Arc::clone(&index)),
            ModelChange::Refuse,
        );
        let ingest = Some(runtime.block_on(opening).unwrap());
        Self { ingest, colors, index, writer, runtime, temp }
    }

    /// Starts another pipeline over the same folder, as the next process would.
    fn open_again(&self) -> Ingest {
        let model = model("colors", Arc::clone(&self.colors));
        let (writer, limits) = (self.writer.clone(), DecodeLimits::default());
        let index = Some(Arc::clone(&self.index));
        self.runtime
            .block_on(Ingest::open(writer, model, limits, index, ModelChange::Refuse))
            .unwrap()
    }

    fn ingest(&self) -> &Ingest {
        self.ingest.as_ref().unwrap()
    }

    fn pictures(&self) -> PathBuf {
        self.temp.path().join("pictures")
    }

    /// Puts a picture of one color into the folder.
    fn picture(&self, name: &str, color: [u8; 3]) -> PathBuf {
        let path = self.pictures().join(name);
        write(&path, &png(color));
        path
    }

    fn index_all(&self) -> Report {
        self.index_paths(&[self.pictures()]).unwrap()
    }

    fn index_paths(&self, roots: &[PathBuf]) -> Result<Report, IngestError> {
        index(self.ingest(), roots, &AtomicBool::new(false), &|_| {})
    }

    fn counts(&self) -> Counts {
        self.runtime.block_on(self.writer.reader.counts()).unwrap()
    }

    /// Pictures in the order of their likeness to a color.
    fn find(&self, color: [u8; 3]) -> Vec<PictureId> {
        let image = clip::image::decode(&png(color), &DecodeLimits::default()).unwrap();
        let values = processor().process(&image.pixels);
        let query = Embedding::new(values.data).unwrap();
        let found = self.index.search(&query, 100, None).unwrap();
        assert_eq!(found.path_taken, PathTaken::Exact);
        found.hits.into_iter().map(|hit| PictureId::from_key(hit.key)).collect()
    }

    /// Paths of the pictures found for a color, as they are shown.
    fn find_paths(&self, color: [u8; 3]) -> Vec<String> {
        let found = self.find(color);
        let summaries = self.runtime.block_on(self.writer.reader.summaries(&found)).unwrap();
        summaries.into_iter().map(|summary| summary.path).collect()
    }

    fn embedded(&self) -> usize {
        *self.colors.embedded.lock().unwrap()
    }
}

fn index(
    ingest: &Ingest,
    roots: &[PathBuf],
    cancel: &AtomicBool,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, IngestError> {
    ingest.index(&Job { roots, threads: 2, cancel, progress })
}

fn model(id: &str, colors: Arc<Colors>) -> Model {
    let (id, precision) = (ModelId(id.to_owned()), "fp32".to_owned());
    Model { id, precision, dim: colors.dim, processor: processor(), embedder: colors }
}

/// Squashes a picture to [`SIDE`] and centers its values on gray.
fn processor() -> ImageProcessor {
    let config = serde_json::json!({
        "size": { "height": SIDE, "width": SIDE }, "do_center_crop": false,
        "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
    });
    ImageProcessor::new(serde_json::from_value(config).unwrap()).unwrap()
}

const RED: [u8; 3] = [220, 20, 20];
const GREEN: [u8; 3] = [20, 200, 30];
const BLUE: [u8; 3] = [20, 30, 210];

fn png(color: [u8; 3]) -> Vec<u8> {
    encoded(color, ImageFormat::Png)
}

fn encoded(color: [u8; 3], format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(40, 30, image::Rgb(color)).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Indexed, unchanged, removed, failed.
fn figures(report: &Report) -> (u64, u64, u64, usize) {
    (report.indexed, report.unchanged, report.removed, report.failed.len())
}

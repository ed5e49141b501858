//! Files that are no pictures, or none that can be taken: named with their reason, and the rest goes on.
use super::*;

/// The reason told for each failed file, by its name.
fn reasons(report: &Report) -> Vec<(String, String)> {
    let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
    let mut reasons: Vec<_> =
        report.failed.iter().map(|f| (name(&f.path), f.reason.clone())).collect();
    reasons.sort();
    reasons
}

#[test]
fn each_bad_file_is_named_with_its_reason_and_the_good_ones_are_taken() {
    let limits = DecodeLimits { max_pixels: 2_000, ..DecodeLimits::default() };
    let collection = Collection::with(limits, || {});
    let at = |name: &str| collection.pictures().join(name);
    let jpeg = encoded(RED, ImageFormat::Jpeg);
    write(&at("cut.jpg"), &jpeg[..jpeg.len() - 20]);
    write(&at("empty.png"), b"");
    write(&at("words.jpg"), b"these are words and no picture");
    write(&at("really-a-png.jpg"), &png(GREEN));
    write(&at("cut.png"), &png(BLUE)[..60]);
    let mut large = std::io::Cursor::new(Vec::new());
    RgbImage::new(50, 41).write_to(&mut large, ImageFormat::Png).unwrap();
    write(&at("large.png"), &large.into_inner());
    let report = collection.index_all();
    let reasons = reasons(&report);
    let expected = [
        ("cut.jpg", "cut off"),
        ("cut.png", "PNG"),
        ("empty.png", "empty"),
        ("large.png", "--max-pixels"),
        ("words.jpg", "not a picture"),
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for ((name, reason), (expected, word)) in reasons.iter().zip(expected) {
        assert_eq!(name, expected);
        assert!(reason.contains(word), "{name}: {reason}");
    }
    assert_eq!(report.indexed, 1);
    assert!(collection.find_paths(GREEN)[0].ends_with("really-a-png.jpg"));
    // Told every time, since they are still there.
    assert_eq!(figures(&collection.index_all()), (0, 1, 0, 5));
}

#[test]
fn copies_of_a_bad_file_are_each_named() {
    let collection = Collection::new();
    write(&collection.pictures().join("a.jpg"), b"words");
    write(&collection.pictures().join("b.jpg"), b"words");
    collection.picture("c.png", RED);
    let report = collection.index_all();
    assert_eq!(figures(&report), (1, 0, 0, 2));
    let reasons = reasons(&report);
    assert_eq!(reasons[0].0, "a.jpg");
    assert_eq!(reasons[1].0, "b.jpg");
    assert_eq!(reasons[0].1, reasons[1].1);
}

#[test]
fn pipe_with_the_name_of_a_picture_is_not_opened() {
    let collection = Collection::new();
    collection.picture("a.png", RED);
    let pipe = collection.pictures().join("pipe.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(figures(&collection.index_all()), (1, 0, 0, 0));
}

#[test]
fn picture_that_the_model_cannot_embed_is_named_and_its_batch_goes_on() {
    let collection = Collection::new();
    collection.picture("red.png", RED);
    collection.picture("green.png", GREEN);
    collection.picture("blue.png", BLUE);
    let ingest = with(&collection, Arc::new(Refusing));
    let report =
        index(&ingest, &[collection.pictures()], &AtomicBool::new(false), &|_| {}).unwrap();
    assert_eq!(figures(&report), (2, 0, 0, 1));
    assert!(report.failed[0].path.ends_with("blue.png"));
    assert_eq!(
        report.failed[0].reason,
        "the model cannot embed the picture: dimension 0 of the embedding is not a finite number"
    );
}

#[test]
fn model_that_is_gone_ends_the_run_and_not_every_picture_is_blamed() {
    let collection = Collection::new();
    collection.picture("red.png", RED);
    collection.picture("green.png", GREEN);
    let ingest = with(&collection, Arc::new(Gone));
    let ended = index(&ingest, &[collection.pictures()], &AtomicBool::new(false), &|_| {});
    assert!(matches!(ended, Err(IngestError::Model(_))), "{ended:?}");
    assert_eq!(collection.counts(), Counts::default());
}

/// The same collection with another embedder.
fn with(collection: &Collection, embedder: Arc<dyn EmbedImages>) -> Ingest {
    let id = ModelId("colors".to_owned());
    let precision = "fp32".to_owned();
    let model = Model { id, precision, dim: DIM, processor: processor(), embedder };
    let limits = DecodeLimits::default();
    let writer = collection.writer.clone();
    let opening = Ingest::open(writer, model, limits, None, ModelChange::Refuse);
    collection.runtime.block_on(opening).unwrap()
}

/// A model whose thread has ended.
struct Gone;

impl EmbedImages for Gone {
    fn embed_images(&self, _: Vec<PixelValues>) -> Result<Vec<Embedding>, EmbedFailure> {
        Err(EmbedFailure::Stopped("its thread has ended".into()))
    }
}

/// A model that gives NaN for blue.
struct Refusing;

impl EmbedImages for Refusing {
    fn embed_images(&self, images: Vec<PixelValues>) -> Result<Vec<Embedding>, EmbedFailure> {
        let one = |image: &PixelValues| {
            let mut values = image.data.clone();
            if values[DIM - 1] > 0.3 {
                values[0] = f32::NAN;
            }
            Embedding::new(values)
        };
        images.iter().map(one).collect::<Result<Vec<_>, _>>().map_err(refused)
    }
}

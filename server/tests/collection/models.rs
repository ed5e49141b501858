//! Another model over a collection that has one.
use clipsight::catalog::CatalogError;

use super::*;

/// Another model of another dimension over the same collection.
fn other(collection: &Collection, change: ModelChange) -> Result<Ingest, CatalogError> {
    let colors = Colors { dim: 12, embedded: Mutex::new(0), before: Box::new(|| {}) };
    let model = model("other", Arc::new(colors));
    let limits = DecodeLimits::default();
    let opening = Ingest::open(collection.writer.clone(), model, limits, None, change);
    collection.runtime.block_on(opening)
}

/// How many embeddings a model has.
fn embeddings(collection: &Collection, id: &str) -> usize {
    let mut count = 0;
    let model = ModelId(id.to_owned());
    let reading = collection.writer.reader.for_each_embedding(&model, |_, _| count += 1);
    collection.runtime.block_on(reading).unwrap();
    count
}

#[test]
fn another_model_is_refused_with_the_way_out() {
    let collection = Collection::new();
    collection.picture("red.png", RED);
    collection.index_all();
    let error = other(&collection, ModelChange::Refuse).err().unwrap();
    let words = error.to_string();
    assert!(words.contains("clipsight index --reembed"), "{words}");
    assert!(words.contains("48 dimensions") && words.contains("(12)"), "{words}");
    let reader = &collection.writer.reader;
    let require = |id: &str, dim| {
        collection.runtime.block_on(reader.require_model(&ModelId(id.to_owned()), dim))
    };
    assert!(require("colors", DIM).is_ok());
    assert!(matches!(require("other", DIM), Err(CatalogError::OtherModel { .. })));
    assert!(matches!(require("colors", 12), Err(CatalogError::OtherModel { .. })));
}

#[test]
fn empty_collection_takes_any_model() {
    let collection = Collection::new();
    assert!(other(&collection, ModelChange::Refuse).is_ok());
    let model = collection.runtime.block_on(collection.writer.reader.current_model()).unwrap();
    assert_eq!(model.map(|m| (m.id.0, m.dim)), Some(("other".to_owned(), 12)));
}

#[test]
fn reembedding_covers_everything_and_then_switches() {
    let collection = Collection::new();
    collection.picture("a/red.png", RED);
    collection.picture("b/green.png", GREEN);
    collection.index_all();
    let uploaded = collection.ingest().add_bytes("blue.png", &png(BLUE)).unwrap();
    let hidden = collection.ingest().add_bytes("gray.png", &png([90, 90, 90])).unwrap();
    collection.ingest().delete(hidden.id).unwrap();

    let ingest = other(&collection, ModelChange::Reembed).unwrap();
    let roots = [collection.pictures().join("a")];
    let stopped = index(&ingest, &roots, &AtomicBool::new(true), &|_| {}).unwrap();
    assert!(stopped.interrupted);
    assert_eq!(embeddings(&collection, "colors"), 3, "the old model must answer until the end");

    let report = index(&ingest, &roots, &AtomicBool::new(false), &|_| {}).unwrap();
    assert_eq!(figures(&report), (3, 0, 0, 0));
    assert_eq!((embeddings(&collection, "colors"), embeddings(&collection, "other")), (0, 3));
    let counts = collection.counts();
    assert_eq!((counts.pictures, counts.embedded, counts.hidden), (3, 3, 1));
    let reader = &collection.writer.reader;
    let kept = collection.runtime.block_on(reader.get(uploaded.id)).unwrap().unwrap();
    assert_eq!(kept.upload.as_deref(), Some("blue.png"));
    // And back is refused in its turn.
    let back = collection.runtime.block_on(reader.require_model(&ModelId("colors".into()), DIM));
    assert!(matches!(back, Err(CatalogError::OtherModel { .. })));
}

#[test]
fn picture_that_could_not_be_embedded_anew_comes_back_when_its_folder_is_indexed() {
    let collection = Collection::new();
    collection.picture("a/red.png", RED);
    let away = collection.picture("b/green.png", GREEN);
    collection.index_all();
    let hideout = collection.temp.path().join("away.png");
    std::fs::rename(&away, &hideout).unwrap();
    let ingest = other(&collection, ModelChange::Reembed).unwrap();
    let run = |root: &str| {
        let roots = [collection.pictures().join(root)];
        index(&ingest, &roots, &AtomicBool::new(false), &|_| {}).unwrap()
    };
    let report = run("a");
    assert_eq!(figures(&report), (1, 0, 0, 1));
    assert!(report.failed[0].path.ends_with("b/green.png"), "{report:?}");
    std::fs::rename(&hideout, &away).unwrap();
    let ingest = other(&collection, ModelChange::Refuse).unwrap();
    let roots = [collection.pictures()];
    let report = index(&ingest, &roots, &AtomicBool::new(false), &|_| {}).unwrap();
    assert_eq!(figures(&report), (1, 1, 0, 0));
    assert_eq!(embeddings(&collection, "other"), 2);
}

#[test]
fn reembedding_replaces_what_the_same_model_made_in_another_precision() {
    let collection = Collection::new();
    collection.picture("a/red.png", RED);
    collection.picture("b/green.png", GREEN);
    collection.index_all();
    collection.ingest().add_bytes("blue.png", &png(BLUE)).unwrap();
    let roots = [collection.pictures().join("a")];
    let run = |precision: &str, change| {
        let colors = Arc::clone(&collection.colors);
        let model = Model { precision: precision.to_owned(), ..model("colors", colors) };
        let (writer, limits) = (collection.writer.clone(), DecodeLimits::default());
        let opening = Ingest::open(writer, model, limits, None, change);
        let ingest = collection.runtime.block_on(opening).unwrap();
        let report = index(&ingest, &roots, &AtomicBool::new(false), &|_| {}).unwrap();
        assert_eq!((report.failed.len(), report.removed), (0, 0));
        (report.indexed, collection.embedded())
    };
    // The precisions of one model compare, so nobody is made to embed anew ...
    assert_eq!(run("int8", ModelChange::Refuse), (0, 3));
    // ... and whoever asks for it gets all, below the given folders or not.
    assert_eq!(run("int8", ModelChange::Reembed), (3, 6));
    assert_eq!(run("int8", ModelChange::Reembed), (0, 6), "all of it is int8 already");
    assert_eq!(run("fp32", ModelChange::Reembed), (3, 9));
    assert_eq!(embeddings(&collection, "colors"), 3);
}

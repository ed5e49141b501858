//! Opening a data folder: twice, too early, and after its files were harmed.
use clipsight::catalog::{CatalogError, Reader};

use super::*;

/// A closed collection of two pictures.
fn closed() -> (tempfile::TempDir, DataFolder, tokio::runtime::Runtime) {
    let mut collection = Collection::new();
    collection.picture("red.png", RED);
    collection.picture("blue.png", BLUE);
    collection.index_all();
    collection.ingest = None;
    let Collection { writer, runtime, temp, .. } = collection;
    let folder = writer.folder.clone();
    runtime.block_on(writer.close());
    drop(writer);
    (temp, folder, runtime)
}

#[test]
fn second_writer_is_kept_out_and_readers_are_not() {
    let collection = Collection::new();
    collection.picture("red.png", RED);
    collection.index_all();
    let folder = collection.writer.folder.clone();
    let second = collection.runtime.block_on(Writer::open(folder.clone(), "clipsight index"));
    let error = second.unwrap_err();
    assert!(matches!(error, CatalogError::Locked { .. }));
    assert!(error.to_string().contains("test (process "), "{error}");
    let reader = collection.runtime.block_on(Reader::open(&folder)).unwrap();
    assert_eq!(collection.runtime.block_on(reader.counts()).unwrap().pictures, 1);
}

#[test]
fn reader_before_the_first_index_is_told_to_index() {
    let temp = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = DataFolder::new(temp.path().join("data"));
    let error = runtime.block_on(Reader::open(&folder)).unwrap_err();
    assert!(matches!(error, CatalogError::Missing { .. }));
    assert!(error.to_string().contains("clipsight index"), "{error}");
    assert!(!folder.path().exists(), "a reader made something");
}

#[test]
fn collection_is_as_it_was_when_it_is_opened_again() {
    let (_temp, folder, runtime) = closed();
    let writer = runtime.block_on(Writer::open(folder, "test")).unwrap();
    let counts = runtime.block_on(writer.reader.counts()).unwrap();
    assert_eq!((counts.pictures, counts.embedded, counts.places), (2, 2, 2));
    runtime.block_on(writer.use_model(&ModelId("colors".into()), DIM)).unwrap();
}

/// Both ways in must refuse, and the file must stay byte for byte.
fn refused(folder: &DataFolder, runtime: &tokio::runtime::Runtime, harm: &str) {
    let before = std::fs::read(folder.catalog()).unwrap();
    let reading = runtime.block_on(async {
        let reader = Reader::open(folder).await?;
        reader.for_each_embedding(&ModelId("colors".into()), |_, _| {}).await?;
        reader.counts().await
    });
    let writing = runtime.block_on(async {
        let writer = Writer::open(folder.clone(), "test").await?;
        writer.reader.for_each_embedding(&ModelId("colors".into()), |_, _| {}).await?;
        writer.reader.counts().await
    });
    for error in [reading.unwrap_err(), writing.unwrap_err()] {
        assert!(matches!(error, CatalogError::Damaged { .. }), "{harm}: {error:?}");
        assert!(error.to_string().contains("catalog.sqlite is damaged"), "{harm}: {error}");
    }
    assert!(std::fs::read(folder.catalog()).unwrap() == before, "{harm}: the file was changed");
}

#[test]
fn damaged_catalog_is_told_and_never_overwritten() {
    let (_temp, folder, runtime) = closed();
    let whole = std::fs::read(folder.catalog()).unwrap();
    let harm = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.catalog(), bytes).unwrap();
        refused(&folder, &runtime, name);
    };
    harm("empty", b"");
    harm("another file", b"this was a shopping list, and not a short one, so that it has a header");
    harm("truncated", &whole[..whole.len() / 2]);
    let mut scrambled = whole.clone();
    scrambled[4096..].fill(0xa5);
    harm("scrambled", &scrambled);
    std::fs::write(folder.catalog(), &whole).unwrap();
    assert!(runtime.block_on(Writer::open(folder, "test")).is_ok());
}

#[test]
fn log_without_its_catalog_is_damage() {
    let (_temp, folder, runtime) = closed();
    std::fs::rename(folder.catalog(), folder.path().join("catalog.sqlite-wal")).unwrap();
    let error = runtime.block_on(Writer::open(folder.clone(), "test")).unwrap_err();
    assert!(matches!(error, CatalogError::Damaged { .. }), "{error:?}");
    assert!(!folder.catalog().exists());
}

#[test]
fn unfinished_catalog_of_a_killed_first_start_is_started_anew() {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::new(temp.path());
    std::fs::write(temp.path().join("catalog.sqlite.new"), b"half").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let writer = runtime.block_on(Writer::open(folder, "test")).unwrap();
    assert_eq!(runtime.block_on(writer.reader.counts()).unwrap(), Counts::default());
    assert!(!temp.path().join("catalog.sqlite.new").exists());
}

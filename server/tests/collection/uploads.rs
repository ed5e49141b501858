//! Pictures that come as bytes.
use clipsight::catalog::Status;
use clipsight::ingest::{AddError, file_of};

use super::*;

#[test]
fn upload_is_found_under_its_name_and_its_bytes_are_kept() {
    let collection = Collection::new();
    let jpeg = encoded(RED, ImageFormat::Jpeg);
    let added = collection.ingest().add_bytes("holiday/red.jpg", &jpeg).unwrap();
    assert_eq!(added.status, Status::Indexed);
    assert_eq!(collection.find(RED), [added.id]);
    assert_eq!(collection.find_paths(RED), ["red.jpg"]);
    let reader = &collection.writer.reader;
    let picture = collection.runtime.block_on(reader.get(added.id)).unwrap().unwrap();
    let file = file_of(&collection.writer.folder, &picture).unwrap();
    assert!(file.starts_with(collection.writer.folder.originals()));
    assert_eq!(std::fs::read(&file).unwrap(), jpeg);

    let again = collection.ingest().add_bytes("other name.jpg", &jpeg).unwrap();
    assert_eq!((again.id, again.status), (added.id, Status::Unchanged));
    assert_eq!(collection.embedded(), 1);
    assert_eq!(collection.counts().uploads, 1);

    assert!(collection.ingest().delete(added.id).unwrap());
    assert!(!file.exists());
    assert!(collection.find(RED).is_empty());
}

#[test]
fn uploaded_picture_outlives_the_folder_that_held_it_too() {
    let collection = Collection::new();
    let path = collection.picture("red.png", RED);
    collection.picture("blue.png", BLUE);
    collection.index_all();
    let added = collection.ingest().add_bytes("mine.png", &png(RED)).unwrap();
    assert_eq!(added.status, Status::Unchanged);
    assert!(collection.find_paths(RED)[0].ends_with("pictures/red.png"), "a place comes first");
    std::fs::remove_file(path).unwrap();
    assert_eq!(figures(&collection.index_all()), (0, 1, 0, 0));
    assert_eq!(collection.find_paths(RED)[0], "mine.png");
}

#[test]
fn bytes_that_are_no_picture_are_the_senders_affair() {
    let collection = Collection::new();
    for bytes in [&b""[..], b"words", &png(RED)[..50]] {
        let error = collection.ingest().add_bytes("a.png", bytes).unwrap_err();
        assert!(matches!(error, AddError::Picture(_)), "{error}");
    }
    assert_eq!(collection.counts(), Counts::default());
    let originals = walkdir::WalkDir::new(collection.writer.folder.originals());
    assert_eq!(originals.into_iter().filter(|e| e.as_ref().unwrap().path().is_file()).count(), 0);
}

#[test]
fn same_bytes_from_many_at_once_are_one_picture() {
    let collection = Collection::new();
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let upload = || collection.ingest().add_bytes("a.png", &png(RED)).unwrap();
        let uploads: Vec<_> = (0..8).map(|_| scope.spawn(upload)).collect();
        uploads.into_iter().map(|upload| upload.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|added| added.id == statuses[0].id));
    assert_eq!(statuses.iter().filter(|added| added.status == Status::Indexed).count(), 1);
    assert_eq!(collection.find(RED).len(), 1);
    assert_eq!(collection.counts().pictures, 1);
}

//! Files that come, stay, move, change and go.
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use clipsight::ingest::IngestError;

use super::*;

#[test]
fn indexed_pictures_are_found_and_known_ones_not_read_again() {
    let collection = Collection::new();
    collection.picture("red.png", RED);
    collection.picture("inner/green.png", GREEN);
    collection.picture("blue.png", BLUE);
    assert_eq!(figures(&collection.index_all()), (3, 0, 0, 0));
    let found = collection.find_paths(GREEN);
    assert_eq!(found.len(), 3);
    assert!(found[0].ends_with("/pictures/inner/green.png"), "{found:?}");
    assert!(found[0].starts_with('/'));

    // Of the same length and time, other bytes: only reading would notice.
    let path = collection.pictures().join("red.png");
    let known = std::fs::metadata(&path).unwrap();
    std::fs::write(&path, vec![0; known.len() as usize]).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(known.modified().unwrap())
        .unwrap();
    assert_eq!(figures(&collection.index_all()), (0, 3, 0, 0));
    assert_eq!(collection.embedded(), 3);
}

#[test]
fn identical_files_are_embedded_once_and_each_place_is_kept() {
    let collection = Collection::new();
    for name in ["a.png", "b.png", "inner/c.png"] {
        collection.picture(name, RED);
    }
    assert_eq!(figures(&collection.index_all()), (1, 2, 0, 0));
    assert_eq!(collection.embedded(), 1);
    let counts = collection.counts();
    assert_eq!((counts.pictures, counts.places, counts.embedded), (1, 3, 1));
    // The picture stays as long as one of them does.
    std::fs::remove_file(collection.pictures().join("a.png")).unwrap();
    std::fs::remove_file(collection.pictures().join("b.png")).unwrap();
    assert_eq!(figures(&collection.index_all()), (0, 1, 0, 0));
    assert_eq!(collection.counts().places, 1);
    assert!(collection.find_paths(RED)[0].ends_with("inner/c.png"));
}

#[test]
fn moved_picture_keeps_its_id_and_is_not_embedded_again() {
    let collection = Collection::new();
    let old = collection.picture("old.png", RED);
    collection.index_all();
    let id = collection.find(RED);
    std::fs::create_dir(collection.pictures().join("album")).unwrap();
    std::fs::rename(old, collection.pictures().join("album/new.png")).unwrap();
    assert_eq!(figures(&collection.index_all()), (0, 1, 0, 0));
    assert_eq!(collection.find(RED), id);
    assert!(collection.find_paths(RED)[0].ends_with("album/new.png"));
    assert_eq!(collection.embedded(), 1);
}

#[test]
fn changed_file_is_a_new_picture_and_the_old_one_goes() {
    let collection = Collection::new();
    let path = collection.picture("a.png", RED);
    collection.index_all();
    let old = collection.find(RED);
    // Another length and another time.
    std::fs::write(&path, encoded(BLUE, ImageFormat::Bmp)).unwrap();
    assert_eq!(figures(&collection.index_all()), (1, 0, 1, 0));
    let new = collection.find(BLUE);
    assert_eq!(new.len(), 1);
    assert_ne!(new, old, "an id came to mean another picture");
}

#[test]
fn vanished_files_are_removed_below_the_given_paths_only() {
    let collection = Collection::new();
    collection.picture("a/red.png", RED);
    collection.picture("a/green.png", GREEN);
    collection.picture("b/blue.png", BLUE);
    collection.index_all();
    std::fs::remove_file(collection.pictures().join("a/red.png")).unwrap();
    std::fs::remove_file(collection.pictures().join("b/blue.png")).unwrap();
    let report = collection.index_paths(&[collection.pictures().join("a")]).unwrap();
    assert_eq!(figures(&report), (0, 1, 1, 0));
    let found = collection.find_paths(RED);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|path| !path.ends_with("red.png")));
    assert_eq!(collection.counts().pictures, 2);
}

#[test]
fn missing_or_empty_folder_removes_nothing() {
    let collection = Collection::new();
    collection.picture("a/red.png", RED);
    collection.picture("b/blue.png", BLUE);
    collection.index_all();
    let a = collection.pictures().join("a");
    std::fs::rename(&a, collection.temp.path().join("away")).unwrap();
    let missing = collection.index_paths(&[collection.pictures().join("b"), a.clone()]);
    assert!(matches!(missing, Err(IngestError::Root { .. })), "{missing:?}");
    std::fs::create_dir(&a).unwrap();
    let empty = collection.index_paths(std::slice::from_ref(&a));
    assert!(matches!(empty, Err(IngestError::EmptyRoot { .. })), "{empty:?}");
    assert_eq!(collection.counts().pictures, 2);
    assert_eq!(collection.find(RED).len(), 2);
}

#[test]
fn name_that_is_not_utf_8_is_shown_lossily_and_kept_exactly() {
    let collection = Collection::new();
    let name = OsStr::from_bytes(b"caf\xe9\xff.png");
    let path = collection.pictures().join(name);
    write(&path, &png(RED));
    assert_eq!(figures(&collection.index_all()), (1, 0, 0, 0));
    let id = collection.find(RED)[0];
    let picture = collection.runtime.block_on(collection.writer.reader.get(id)).unwrap().unwrap();
    assert!(picture.summary.path.ends_with("caf\u{fffd}\u{fffd}.png"), "{}", picture.summary.path);
    assert_eq!(picture.places[0].path, path.canonicalize().unwrap());
    let file = clipsight::ingest::file_of(&collection.writer.folder, &picture).unwrap();
    assert_eq!(std::fs::read(file).unwrap(), png(RED));
    assert_eq!(figures(&collection.index_all()), (0, 1, 0, 0));
}

#[test]
fn links_are_followed_and_their_loops_and_dead_ends_told() {
    let collection = Collection::new();
    collection.picture("red.png", RED);
    let outside = collection.temp.path().join("outside");
    write(&outside.join("green.png"), &png(GREEN));
    let link = |target: &Path, name| {
        std::os::unix::fs::symlink(target, collection.pictures().join(name)).unwrap();
    };
    link(&outside, "album");
    link(&collection.pictures(), "loop");
    link(Path::new("/nowhere/at/all.png"), "broken.png");
    let report = collection.index_all();
    assert_eq!(figures(&report), (2, 0, 0, 2), "{report:?}");
    assert!(collection.find_paths(GREEN)[0].ends_with("album/green.png"));
    assert_eq!(figures(&collection.index_all()), (0, 2, 0, 2));
}

#[test]
fn record_says_what_the_picture_is() {
    let collection = Collection::new();
    let path = collection.pictures().join("wide.jpg");
    write(&path, &encoded(RED, ImageFormat::Jpeg));
    collection.index_all();
    let id = collection.find(RED)[0];
    let picture = collection.runtime.block_on(collection.writer.reader.get(id)).unwrap().unwrap();
    assert_eq!((picture.summary.width, picture.summary.height), (40, 30));
    assert_eq!(picture.format, "jpeg");
    assert_eq!(picture.size_bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(picture.hash.to_string().len(), 64);
    assert!(picture.added_at.ends_with('Z'), "{}", picture.added_at);
    assert_eq!(picture.upload, None);
}

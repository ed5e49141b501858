//! Deleting and thumbnails.
use clipsight::catalog::{Picture, Status};
use clipsight::ingest::{FileError, thumbnail};

use super::*;

fn get(collection: &Collection, id: PictureId) -> Option<Picture> {
    collection.runtime.block_on(collection.writer.reader.get(id)).unwrap()
}

#[test]
fn deleted_picture_is_gone_at_once_and_stays_away_until_it_is_uploaded() {
    let collection = Collection::new();
    let path = collection.picture("red.png", RED);
    collection.picture("blue.png", BLUE);
    collection.index_all();
    let id = collection.find(RED)[0];
    assert!(collection.ingest().delete(id).unwrap());
    assert!(!collection.find(RED).contains(&id));
    assert!(get(&collection, id).is_none());
    assert!(!collection.ingest().delete(id).unwrap(), "deleted twice");
    assert_eq!(std::fs::read(&path).unwrap(), png(RED), "the owner's file was touched");

    // Neither the known place nor a further copy brings it back.
    collection.picture("copy.png", RED);
    assert_eq!(figures(&collection.index_all()), (0, 3, 0, 0));
    assert_eq!(collection.find(RED).len(), 1);
    let counts = collection.counts();
    assert_eq!((counts.pictures, counts.hidden, counts.places), (1, 1, 1));

    let added = collection.ingest().add_bytes("red.png", &png(RED)).unwrap();
    assert_eq!((added.id, added.status), (id, Status::Indexed));
    assert_eq!(collection.find(RED)[0], id);
    assert_eq!(get(&collection, id).unwrap().places.len(), 2);
}

#[test]
fn deleted_stays_away_even_if_its_file_was_gone_for_a_while() {
    let collection = Collection::new();
    let path = collection.picture("red.png", RED);
    collection.picture("blue.png", BLUE);
    collection.index_all();
    collection.ingest().delete(collection.find(RED)[0]).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(figures(&collection.index_all()), (0, 1, 0, 0));
    write(&path, &png(RED));
    assert_eq!(figures(&collection.index_all()), (0, 2, 0, 0));
    assert_eq!(collection.find(RED).len(), 1);
}

#[test]
fn thumbnail_keeps_the_shape_and_goes_with_its_picture() {
    let collection = Collection::new();
    let folder = &collection.writer.folder;
    let limits = DecodeLimits::default();
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(1000, 500, image::Rgb(RED))
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    let path = collection.pictures().join("wide.png");
    write(&path, &bytes.into_inner());
    collection.index_all();
    let id = collection.find(RED)[0];
    let picture = get(&collection, id).unwrap();
    for (asked, width) in [(1, 160), (200, 320), (320, 320), (5000, 1000)] {
        let file = thumbnail(folder, &picture, asked, &limits).unwrap();
        let small = image::open(&file).unwrap().into_rgb8();
        assert_eq!(small.dimensions(), (width, width / 2));
        let [r, g, b] = small.get_pixel(width / 2, width / 4).0;
        assert!(r > 200 && g < 50 && b < 50, "{r} {g} {b}");
    }
    // Kept: it is still given when the picture's file is away …
    std::fs::rename(&path, collection.temp.path().join("away.png")).unwrap();
    let kept = thumbnail(folder, &picture, 320, &limits).unwrap();
    // … but another size cannot be made, and says why.
    let gone = thumbnail(folder, &picture, 640, &limits).unwrap_err();
    assert!(matches!(gone, FileError::Gone { id: named } if named == id), "{gone}");
    collection.ingest().delete(id).unwrap();
    assert!(!kept.exists());
}

#[test]
fn original_that_a_killed_deletion_left_goes_with_the_next_start() {
    let collection = Collection::new();
    let red = collection.ingest().add_bytes("red.png", &png(RED)).unwrap();
    collection.ingest().add_bytes("blue.png", &png(BLUE)).unwrap();
    let originals = || {
        let files = walkdir::WalkDir::new(collection.writer.folder.originals());
        let files = files.into_iter().map(|entry| entry.unwrap().into_path());
        files.filter(|path| path.is_file()).collect::<Vec<_>>()
    };
    let before = originals();
    let bytes: Vec<_> = before.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert_eq!(before.len(), 2);
    collection.ingest().delete(red.id).unwrap();
    assert_eq!(originals().len(), 1);
    // As if the process had ended before the file was removed.
    before.iter().zip(bytes).for_each(|(path, bytes)| write(path, &bytes));
    collection.open_again();
    let after = originals();
    assert_eq!(after.len(), 1);
    assert_eq!(std::fs::read(&after[0]).unwrap(), png(BLUE));
}

#[test]
fn changed_file_is_not_given_out_for_the_picture_that_it_was() {
    let collection = Collection::new();
    let path = collection.picture("a.png", RED);
    collection.picture("inner/copy.png", RED);
    collection.index_all();
    let picture = get(&collection, collection.find(RED)[0]).unwrap();
    let file = || clipsight::ingest::file_of(&collection.writer.folder, &picture);
    std::fs::write(&path, png(BLUE)).unwrap();
    assert!(file().unwrap().ends_with("inner/copy.png"));
    // Touched, but the same bytes: found by their hash.
    let copy = collection.pictures().join("inner/copy.png");
    std::fs::write(&copy, png(RED)).unwrap();
    assert!(file().unwrap().ends_with("inner/copy.png"));
    std::fs::remove_file(copy).unwrap();
    assert!(matches!(file(), Err(FileError::Gone { .. })));
}

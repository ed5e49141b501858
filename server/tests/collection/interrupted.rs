//! Runs that end before their end, and what others see meanwhile.
use std::sync::atomic::Ordering;

use clipsight::catalog::Reader;

use super::*;

fn many(collection: &Collection, count: u8) {
    for n in 0..count {
        collection.picture(&format!("{n}.png"), [n * 2, 255 - n, n]);
    }
}

#[test]
fn cancelled_run_keeps_what_it_told_and_the_next_goes_on() {
    let collection = Collection::new();
    many(&collection, 100);
    let cancel = AtomicBool::new(false);
    let stop_early = |progress: Progress| {
        assert_eq!(progress.total, 100);
        if progress.done >= 32 {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let first = index(collection.ingest(), &[collection.pictures()], &cancel, &stop_early).unwrap();
    assert!(first.interrupted);
    assert!((32..100).contains(&first.indexed), "{first:?}");
    assert_eq!(collection.counts().pictures, first.indexed);
    let second = collection.index_all();
    assert!(!second.interrupted);
    assert_eq!(figures(&second), (100 - first.indexed, first.indexed, 0, 0));
    assert_eq!(collection.counts().pictures, 100);
    assert_eq!(collection.embedded(), 100, "something was embedded twice");
}

#[test]
fn cancelled_run_forgets_no_place() {
    let collection = Collection::new();
    many(&collection, 3);
    collection.index_all();
    std::fs::remove_file(collection.pictures().join("0.png")).unwrap();
    let cancel = AtomicBool::new(true);
    let report = index(collection.ingest(), &[collection.pictures()], &cancel, &|_| {}).unwrap();
    assert!(report.interrupted);
    assert_eq!(report.removed, 0);
    assert_eq!(collection.counts().pictures, 3);
}

#[test]
fn progress_ends_with_every_file_done() {
    let collection = Collection::new();
    many(&collection, 40);
    collection.picture("copy.png", [0, 255, 0]);
    write(&collection.pictures().join("bad.png"), b"words");
    let last = Mutex::new(None);
    let keep = |progress| *last.lock().unwrap() = Some(progress);
    let roots = [collection.pictures()];
    index(collection.ingest(), &roots, &AtomicBool::new(false), &keep).unwrap();
    let last = last.into_inner().unwrap().unwrap();
    assert_eq!((last.done, last.total), (42, 42));
    assert!(last.per_second > 0.0);
}

#[test]
fn reader_sees_a_whole_batch_or_nothing_of_it() {
    let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
    let reader: Arc<Mutex<Option<(Reader, tokio::runtime::Handle)>>> = Arc::default();
    let (into, from) = (Arc::clone(&seen), Arc::clone(&reader));
    let collection = Collection::with(DecodeLimits::default(), move || {
        let (reader, handle) = from.lock().unwrap().clone().unwrap();
        let counts = handle.block_on(reader.counts()).unwrap();
        assert_eq!((counts.pictures, counts.places), (counts.embedded, counts.embedded));
        into.lock().unwrap().push(counts.pictures);
    });
    let folder = &collection.writer.folder;
    let beside = collection.runtime.block_on(Reader::open(folder)).unwrap();
    *reader.lock().unwrap() = Some((beside, collection.runtime.handle().clone()));
    many(&collection, 64);
    collection.index_all();
    assert_eq!(*seen.lock().unwrap(), [0, 16, 32, 48]);
}

//! A graph on disk, so that a start need not build it: checked before it is read, put in place whole.
//! It holds links and keys, no vectors: those come from the catalog, and so does every score.
use std::fs::{self, File};
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hnsw_rs::prelude::{AnnT, HnswIo};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::exact::ExactIndex;
use super::graph::{Graph, Links, Node, Rows, rows_of};
use super::{Key, VectorIndex};

/// Raised when the files change their meaning, and when graphs of before are not to be kept: those
/// of format 1 could fall apart into islands that no search crossed.
const FORMAT: u32 = 2;
/// The folder of the snapshot in the index folder.
const NAME: &str = "hnsw";
/// What unfinished and replaced snapshots are called until they are gone.
const UNFINISHED: &str = ".unfinished-";
const MANIFEST: &str = "manifest.json";
const KEYS: &str = "keys";
/// The library adds its own endings to this.
const LINKS: &str = "links";
const FILES: [&str; 3] = [KEYS, "links.hnsw.graph", "links.hnsw.data"];

/// What a snapshot must say of itself to be read.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// Whose vectors were linked.
    model: String,
    dim: usize,
    count: usize,
    /// sha-256 of each of [`FILES`].
    sha256: [String; 3],
}

/// Why a snapshot was not written or not read. Nothing depends on one: the graph is built again.
#[derive(Debug, thiserror::Error)]
pub(super) enum SnapshotError {
    #[error("could not {doing} {}", path.display())]
    File { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is of another model or version", path.display())]
    Other { path: PathBuf },
    #[error("{} is damaged", path.display())]
    Damaged { path: PathBuf },
}

/// Writes the snapshot and puts it in the place of the last one.
pub(super) fn save(graph: &Graph, folder: &Path, model: &str) -> Result<(), SnapshotError> {
    clear_unfinished(folder);
    let file = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| SnapshotError::File { doing, path, source }
    };
    let temp = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(folder);
    let temp = temp.map_err(file("create a folder in", folder))?;
    let keys: Vec<u8> = graph.rows.keys().iter().flat_map(|key| key.to_le_bytes()).collect();
    fs::write(temp.path().join(KEYS), keys).map_err(file("write", temp.path()))?;
    dump(&graph.links, temp.path())?;
    let mut sha256 = [const { String::new() }; 3];
    for (sum, name) in sha256.iter_mut().zip(FILES) {
        let path = temp.path().join(name);
        *sum = checksum(&path).map_err(file("read back", &path))?;
    }
    let (dim, count) = (graph.rows.dim(), graph.rows.len());
    let manifest = Manifest { format: FORMAT, model: model.to_owned(), dim, count, sha256 };
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other);
    let path = temp.path().join(MANIFEST);
    manifest.and_then(|json| fs::write(&path, json)).map_err(file("write", &path))?;
    for name in FILES.into_iter().chain([MANIFEST]) {
        let path = temp.path().join(name);
        File::open(&path).and_then(|f| f.sync_all()).map_err(file("write", &path))?;
    }
    publish(temp, folder)
}

/// Swaps the finished folder for the one in place. A kill in between leaves none, which costs a build.
fn publish(temp: tempfile::TempDir, folder: &Path) -> Result<(), SnapshotError> {
    let place = folder.join(NAME);
    let old = folder.join(format!("{UNFINISHED}old"));
    let swap = || {
        match fs::rename(&place, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::rename(temp.path(), &place)?,
        }
        File::open(folder)?.sync_all()
    };
    swap().map_err(|source| SnapshotError::File { doing: "put in place", path: place, source })?;
    // It lies under its name now and must not be cleared away.
    let _renamed = temp.keep();
    clear_unfinished(folder);
    Ok(())
}

fn dump(links: &Links, folder: &Path) -> Result<(), SnapshotError> {
    // It panics where it cannot make a file, and may name its files otherwise than told.
    let dumped = catch_unwind(AssertUnwindSafe(|| links.file_dump(folder, LINKS)));
    let fail = |source| SnapshotError::File { doing: "write", path: folder.to_owned(), source };
    match dumped {
        Ok(Ok(name)) if name == LINKS => Ok(()),
        Ok(Ok(name)) => Err(fail(io::Error::other(format!("it was named {name}")))),
        Ok(Err(error)) => Err(fail(io::Error::other(error))),
        Err(_) => Err(fail(io::Error::other("the library panicked"))),
    }
}

/// Reads the snapshot over the vectors of `copy`; none where there is no snapshot.
pub(super) fn load(
    folder: &Path,
    model: &str,
    copy: &ExactIndex,
) -> Result<Option<Graph>, SnapshotError> {
    let place = folder.join(NAME);
    let path = place.join(MANIFEST);
    let damaged = |path: &Path| SnapshotError::Damaged { path: path.to_owned() };
    let json = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !place.exists() => {
            return Ok(None);
        }
        read => read.map_err(|_| damaged(&path))?,
    };
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|_| damaged(&path))?;
    if manifest.format != FORMAT || manifest.model != model || manifest.dim != copy.dim() {
        return Err(SnapshotError::Other { path: place });
    }
    // The library ends the process on some damaged files, so nothing unchecked reaches it.
    for (sum, name) in manifest.sha256.iter().zip(FILES) {
        let path = place.join(name);
        if checksum(&path).ok().as_ref() != Some(sum) {
            return Err(damaged(&path));
        }
    }
    let bytes = fs::read(place.join(KEYS)).map_err(|_| damaged(&place))?;
    let (keys, _) = bytes.as_chunks::<8>();
    let keys: Vec<Key> = keys.iter().map(|key| Key::from_le_bytes(*key)).collect();
    let rows = Arc::new(copy.arranged(&keys));
    if rows.len() != manifest.count || keys.len() != manifest.count {
        return Err(damaged(&place));
    }
    let links = links(&place, rows_of(&rows)).ok_or_else(|| damaged(&place))?;
    if links.get_nb_point() != manifest.count {
        return Err(damaged(&place));
    }
    Ok(Some(Graph { rows, links }))
}

/// The library's part; none where it does not take its own files.
fn links(place: &Path, rows: Rows) -> Option<Links> {
    let load = move || {
        // What is loaded borrows its loader, even where nothing is mapped. It is a path and some numbers,
        // and a process loads one graph: it may stay.
        let loader: &'static HnswIo = Box::leak(Box::new(HnswIo::new(place, LINKS)));
        loader.load_hnsw_with_dist::<Node, Rows>(rows).ok()
    };
    catch_unwind(AssertUnwindSafe(load)).ok().flatten()
}

/// Removes what a killed process left behind; what cannot be removed is in nobody's way.
fn clear_unfinished(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED)
            && let Err(error) = fs::remove_dir_all(entry.path())
        {
            tracing::warn!(path = %entry.path().display(), %error, "a folder could not be removed");
        }
    }
}

fn checksum(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::vector;
    use super::*;

    const DIM: usize = 16;

    fn vectors(keys: impl Iterator<Item = Key>) -> ExactIndex {
        let mut vectors = ExactIndex::new(DIM);
        keys.for_each(|key| vectors.insert(key, &vector(DIM, key)).unwrap());
        vectors
    }

    fn saved() -> (tempfile::TempDir, ExactIndex, Graph) {
        let folder = tempfile::tempdir().unwrap();
        let copy = vectors(0..600);
        let graph = Graph::build(&copy, 2).unwrap();
        save(&graph, folder.path(), "model").unwrap();
        (folder, copy, graph)
    }

    fn nearest(graph: &Graph, seed: Key) -> Vec<Key> {
        let query = graph.rows.padded(&vector(DIM, seed)).unwrap();
        let rows = graph.nearest(&query, 50).unwrap();
        rows.into_iter().map(|at| graph.rows.keys()[at]).collect()
    }

    #[test]
    fn loaded_graph_answers_as_the_saved_one_did() {
        let (folder, copy, graph) = saved();
        let loaded = load(folder.path(), "model", &copy).unwrap().unwrap();
        for seed in 1000..1020 {
            assert_eq!(nearest(&loaded, seed), nearest(&graph, seed));
        }
    }

    #[test]
    fn vectors_come_from_the_collection_in_whatever_order() {
        let (folder, _, graph) = saved();
        let turned = vectors((0..600).rev());
        let loaded = load(folder.path(), "model", &turned).unwrap().unwrap();
        assert_eq!(nearest(&loaded, 1000), nearest(&graph, 1000));
        // A picture that has gone since is far from everything.
        let fewer = vectors(1..600);
        let loaded = load(folder.path(), "model", &fewer).unwrap().unwrap();
        assert_ne!(nearest(&loaded, 0)[0], 0);
    }

    #[test]
    fn saving_again_replaces_and_leaves_nothing_unfinished() {
        let (folder, _, _) = saved();
        fs::create_dir(folder.path().join(".unfinished-killed")).unwrap();
        let copy = vectors(0..300);
        save(&Graph::build(&copy, 1).unwrap(), folder.path(), "model").unwrap();
        let loaded = load(folder.path(), "model", &copy).unwrap().unwrap();
        assert_eq!(loaded.rows.len(), 300);
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(names, [folder.path().join(NAME)]);
    }

    #[test]
    fn no_snapshot_is_no_error_and_another_model_is_told() {
        let (folder, copy, _) = saved();
        let empty = tempfile::tempdir().unwrap();
        assert!(load(empty.path(), "model", &copy).unwrap().is_none());
        let other = load(folder.path(), "other", &copy).err().unwrap();
        assert!(matches!(other, SnapshotError::Other { .. }), "{other}");
        let wider = load(folder.path(), "model", &ExactIndex::new(8)).err().unwrap();
        assert!(matches!(wider, SnapshotError::Other { .. }), "{wider}");
    }

    #[test]
    fn snapshot_of_an_older_format_is_not_taken() {
        let (folder, copy, _) = saved();
        let path = folder.path().join(NAME).join(MANIFEST);
        let mut manifest: Manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        manifest.format -= 1;
        fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
        let older = load(folder.path(), "model", &copy).err().unwrap();
        assert!(matches!(older, SnapshotError::Other { .. }), "{older}");
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let (folder, copy, _) = saved();
        for name in FILES.into_iter().chain([MANIFEST]) {
            let path = folder.path().join(NAME).join(name);
            let whole = fs::read(&path).unwrap();
            let mut flipped = whole.clone();
            flipped[whole.len() / 2] ^= 0x10;
            for harmed in [&whole[..whole.len() - 1], &whole[..whole.len() / 2], b"", &flipped[..]]
            {
                fs::write(&path, harmed).unwrap();
                let error = load(folder.path(), "model", &copy).err();
                assert!(error.is_some(), "{name} of {} bytes was taken", harmed.len());
            }
            fs::remove_file(&path).unwrap();
            assert!(load(folder.path(), "model", &copy).is_err(), "{name} was not missed");
            fs::write(&path, whole).unwrap();
        }
        assert!(load(folder.path(), "model", &copy).unwrap().is_some());
    }
}

//! Real vectors to search: captions and pictures of WebDataset shards, embedded by a bundle and kept
//! in a folder, since that takes minutes. Files are f32, little endian, one vector after the other.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clip::image::{DecodeLimits, decode};
use clip::{Embedding, ModelBundle};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use runtime::{Model, ModelOptions};

const BATCH: usize = 16;
/// Cosine between a picture's vector and that of its perturbed copy, about that of two shots of a scene.
const LIKENESS: f32 = 0.9;

/// Captions as queries, pictures as what is searched.
pub(crate) struct Vectors {
    pub(crate) captions: Vec<Embedding>,
    pub(crate) pictures: Vec<Embedding>,
}

/// Reads the vectors from `folder`, or embeds the shards and puts them there.
pub(crate) fn of_shards(model: &Path, shards: &[PathBuf], folder: &Path) -> Result<Vectors> {
    let files = ["captions.f32", "pictures.f32"].map(|name| folder.join(name));
    let bundle = ModelBundle::open(model)?;
    let dim = bundle.rules.dim.context("the files of this model do not tell its dimension")?;
    if files.iter().all(|file| file.is_file()) {
        let [captions, pictures] = [read(&files[0], dim)?, read(&files[1], dim)?];
        return Ok(Vectors { captions, pictures });
    }
    runtime::library::load(None)?;
    let threads = std::thread::available_parallelism()?.get();
    let mut model = Model::open(&bundle, &ModelOptions { threads, precision: None })?;
    let mut vectors = Vectors { captions: Vec::new(), pictures: Vec::new() };
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for shard in shards {
        for_each_member(shard, |name, bytes| {
            if name.ends_with(".txt") {
                let text = String::from_utf8(bytes)?;
                texts.push(bundle.tokenizer.encode(text.lines().next().unwrap_or_default())?);
            } else {
                let pixels = decode(&bytes, &DecodeLimits::default())?.pixels;
                images.push(bundle.processor.process(&pixels));
            }
            if images.len() == BATCH {
                vectors.pictures.extend(model.image.embed(&std::mem::take(&mut images))?);
            }
            if texts.len() == BATCH {
                vectors.captions.extend(model.text.embed(&std::mem::take(&mut texts))?);
            }
            Ok(())
        })?;
    }
    ensure!(
        !vectors.captions.is_empty(),
        "`nearest` wants shards of pictures with captions: --captions FILE.tar"
    );
    std::fs::create_dir_all(folder)?;
    write(&files[0], &vectors.captions)?;
    write(&files[1], &vectors.pictures)?;
    Ok(vectors)
}

fn for_each_member(shard: &Path, mut each: impl FnMut(&str, Vec<u8>) -> Result<()>) -> Result<()> {
    let file =
        std::fs::File::open(shard).with_context(|| format!("cannot read {}", shard.display()))?;
    for entry in tar::Archive::new(file).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        each(&name, bytes).with_context(|| format!("{name} in {}", shard.display()))?;
    }
    Ok(())
}

/// `count` vectors: the pictures themselves, then copies of them, each turned by another random amount.
pub(crate) fn grown(pictures: &[Embedding], count: usize) -> Result<Vec<Embedding>> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut grown: Vec<Embedding> = pictures.iter().take(count).cloned().collect();
    while grown.len() < count {
        let copy = perturbed(&pictures[grown.len() % pictures.len()], &mut rng)?;
        grown.push(copy);
    }
    Ok(grown)
}

/// The vector turned towards a random direction, to a cosine of about [`LIKENESS`].
fn perturbed(vector: &Embedding, rng: &mut impl Rng) -> Result<Embedding> {
    let noise = (0..vector.dim()).map(|_| rng.random_range(-1.0..1.0)).collect();
    let noise = Embedding::new(noise)?;
    let across = (1.0 - LIKENESS * LIKENESS).sqrt();
    Ok(Embedding::weighted_sum(&[(LIKENESS, vector), (across, &noise)])?)
}

/// Writes vectors for this program and for others.
pub(crate) fn write(path: &Path, vectors: &[Embedding]) -> Result<()> {
    let bytes: Vec<u8> = vectors.iter().flat_map(Embedding::to_le_bytes).collect();
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn read(path: &Path, dim: usize) -> Result<Vec<Embedding>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    bytes.chunks(dim * 4).map(|one| Ok(Embedding::from_le_bytes(one)?)).collect()
}

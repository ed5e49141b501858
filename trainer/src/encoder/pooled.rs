//! The towers' answers over whole sets, by the evaluation transform.
//!
//! A locked tower answers the same for the same input, so its answers are computed once and kept in
//! a file whose name is a digest of all that they depend on: a resumed run finds it again, and
//! anything changed misses it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use clip::TokenIds;
use clip::image::PixelValues;
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use super::{Encoder, EncoderError, hex};
use crate::data::decode::{Job, pictures};
use crate::data::{BadSample, Dataset};
use crate::tensor_file::TensorFile;
use crate::watch::{Stop, Watch};

/// Pictures in a forward pass.
const PICTURES: usize = 8;

/// Texts in a forward pass; they are sorted by length, so little of it is padding.
const TEXTS: usize = 64;

/// The image tower's answers over a set.
#[derive(Debug)]
pub struct PooledPictures {
    /// `[R, hidden]`, one row a picture that could be used.
    pub pooled: Tensor,
    /// The row of each pair of the set, none where its picture is broken.
    pub rows: Vec<Option<i64>>,
    /// The broken ones.
    pub bad: Vec<BadSample>,
}

/// How to run the towers over a set.
pub struct Pass<'a> {
    /// The model.
    pub encoder: &'a Encoder,
    /// Where a locked image tower's answers are kept; none for a tower that is learned.
    pub image_cache: Option<&'a Path>,
    /// The same for the text tower.
    pub text_cache: Option<&'a Path>,
    /// Threads that decode.
    pub threads: usize,
    /// Who looks on.
    pub watch: &'a mut dyn Watch,
    /// Who may ask to stop.
    pub stop: &'a Stop,
}

impl Pass<'_> {
    /// All pictures of a set.
    ///
    /// # Errors
    /// [`EncoderError::NoPicture`] when every one is broken, [`EncoderError::Stopped`] on request,
    /// others for what cannot run.
    pub fn pictures(&mut self, set: &Arc<Dataset>) -> Result<PooledPictures, EncoderError> {
        let processor = format!("{:?}", self.encoder.processor.config());
        let name = self.cache_name("image", &[set.identity(), processor]);
        let file = self.image_cache.map(|folder| folder.join(name));
        let found = match &file {
            Some(path) if path.exists() => restore(&TensorFile::read(path)?, set),
            _ => None,
        };
        let all = match found {
            Some(all) => PooledPictures { pooled: self.encoder.moved(&all.pooled)?, ..all },
            None => self.compute(set, file.as_deref())?,
        };
        match all.bad.first() {
            Some(first) if all.bad.len() == set.pairs.len() => {
                Err(EncoderError::NoPicture { set: set.name(), first: first.clone() })
            }
            _ => Ok(all),
        }
    }

    fn compute(
        &mut self,
        set: &Arc<Dataset>,
        file: Option<&Path>,
    ) -> Result<PooledPictures, EncoderError> {
        let total = set.pairs.len();
        let jobs = (0..total).map(|pair| Job { set: Arc::clone(set), pair }).collect();
        let (mut parts, mut waiting) = (Vec::new(), Vec::<PixelValues>::new());
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        let mut next = 0;
        for result in pictures(jobs, &self.encoder.processor, self.threads) {
            if self.stop.asked() {
                return Err(EncoderError::Stopped);
            }
            match result {
                Ok(pixels) => {
                    waiting.push(pixels);
                    rows.push(Some(next));
                    next += 1;
                }
                Err(sample) => {
                    bad.push(sample);
                    rows.push(None);
                }
            }
            if waiting.len() == PICTURES || (rows.len() == total && !waiting.is_empty()) {
                parts.push(tch::no_grad(|| self.encoder.pooled_pixels(&waiting))?);
                waiting.clear();
                let task = format!("pictures of {}", set.name());
                self.watch.progress(&task, rows.len() as u64, total as u64, "");
            }
        }
        let pooled = if parts.is_empty() { empty() } else { Tensor::cat(&parts, 0) };
        let all = PooledPictures { pooled, rows, bad };
        if let Some(path) = file {
            keep(&all, set).write(path)?;
        }
        Ok(all)
    }

    /// All of `texts`: `[N, hidden]`, in their order.
    ///
    /// # Errors
    /// [`EncoderError::Stopped`] on request, others for what cannot run.
    pub fn texts(&mut self, texts: &[Arc<str>]) -> Result<Tensor, EncoderError> {
        let words: Vec<String> = texts.iter().map(ToString::to_string).collect();
        let name = self.cache_name("text", &words);
        let file = self.text_cache.map(|folder| folder.join(name));
        if let Some(path) = &file
            && path.exists()
            && let Some(pooled) = TensorFile::read(path)?.tensors.remove("pooled")
        {
            return self.encoder.moved(&pooled);
        }
        let tokens = texts
            .iter()
            .map(|text| self.encoder.tokenizer.encode(text))
            .collect::<Result<Vec<TokenIds>, _>>()?;
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|&i| tokens[i].ids.len());
        let mut parts = Vec::new();
        for (done, chunk) in order.chunks(TEXTS).enumerate() {
            if self.stop.asked() {
                return Err(EncoderError::Stopped);
            }
            let batch: Vec<&TokenIds> = chunk.iter().map(|&i| &tokens[i]).collect();
            parts.push(tch::no_grad(|| self.encoder.pooled_tokens(&batch))?);
            let done = (done * TEXTS + chunk.len()) as u64;
            self.watch.progress("texts", done, texts.len() as u64, "");
        }
        if parts.is_empty() {
            return Ok(empty());
        }
        let mut place = vec![0i64; order.len()];
        for (row, &i) in order.iter().enumerate() {
            place[i] = row as i64;
        }
        let place = self.encoder.moved(&Tensor::from_slice(&place))?;
        let pooled = Tensor::cat(&parts, 0).index_select(0, &place);
        if let Some(path) = &file {
            let tensors = [("pooled".to_owned(), pooled.shallow_clone())].into();
            TensorFile { tensors, ..TensorFile::default() }.write(path)?;
        }
        Ok(pooled)
    }

    fn cache_name(&self, kind: &str, depends_on: &[String]) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.encoder.digest.as_bytes());
        if self.encoder.kind != Kind::Float {
            hasher.update(format!("{:?}", self.encoder.kind).as_bytes());
        }
        for part in depends_on {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        format!("{kind}-{}.safetensors", &hex(&hasher.finalize())[..16])
    }
}

fn empty() -> Tensor {
    Tensor::zeros([0, 0], (tch::Kind::Float, tch::Device::Cpu))
}

fn keep(all: &PooledPictures, set: &Dataset) -> TensorFile {
    let bad: Vec<(&str, &str)> =
        all.bad.iter().map(|b| (b.key.as_str(), b.reason.as_str())).collect();
    let words = [
        ("bad".to_owned(), serde_json::json!(bad).to_string()),
        ("pairs".to_owned(), set.pairs.len().to_string()),
    ];
    let tensors = [("pooled".to_owned(), all.pooled.shallow_clone())];
    TensorFile { tensors: tensors.into(), words: words.into() }
}

/// None where the file is not of this set after all.
fn restore(file: &TensorFile, set: &Dataset) -> Option<PooledPictures> {
    let bad: Vec<(String, String)> = serde_json::from_str(file.words.get("bad")?).ok()?;
    let bad: Vec<BadSample> =
        bad.into_iter().map(|(key, reason)| BadSample { key, reason }).collect();
    let pooled = file.tensors.get("pooled")?.shallow_clone();
    let broken: HashSet<&str> = bad.iter().map(|b| b.key.as_str()).collect();
    let mut next = 0;
    let rows: Vec<Option<i64>> = set
        .pairs
        .iter()
        .map(|pair| {
            let usable = !broken.contains(pair.key.as_str());
            next += i64::from(usable);
            usable.then_some(next - 1)
        })
        .collect();
    let fits = file.words.get("pairs")? == &set.pairs.len().to_string();
    (fits && pooled.size()[0] == next).then_some(PooledPictures { pooled, rows, bad })
}

//! The towers' answers over whole sets, by the evaluation transform.
//!
//! A locked tower answers the same for the same input, and so do the locked first blocks of one that
//! learns: their answers are computed once and kept in a file whose name is a digest of all that they
//! depend on. A resumed run finds it again, and anything changed misses it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use clip::TokenIds;
use clip::image::PixelValues;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::{Encoder, EncoderError, hex};
use crate::data::decode::{Job, pictures};
use crate::data::{BadSample, Dataset};
use crate::model::Side;
use crate::processes::Processes;
use crate::tensor_file::TensorFile;
use crate::watch::{Stop, Watch};

/// What goes through a tower in one forward pass.
struct AtOnce {
    pictures: usize,
    /// Kept answers of first blocks, through the others.
    kept: i64,
    /// They are sorted by length, so little of it is padding.
    texts: usize,
}

/// A CPU is fast at what its caches hold, a GPU at what fills it.
fn at_once(device: Device) -> AtOnce {
    if device.is_cuda() {
        return AtOnce { pictures: 256, kept: 512, texts: 512 };
    }
    AtOnce { pictures: 8, kept: 64, texts: 64 }
}

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

/// What the first blocks of the image tower answer over a set.
#[derive(Debug)]
pub struct Beginnings {
    /// f16 `[R, …]`, one row a picture that could be used: of the pictures as they are, and behind it
    /// of the mirrored ones where these were asked for.
    pub views: Vec<Tensor>,
    /// The row of each pair of the set, none where its picture is broken.
    pub rows: Vec<Option<i64>>,
    /// The broken ones.
    pub bad: Vec<BadSample>,
}

/// How to run the towers over a set.
pub struct Pass<'a> {
    /// The model.
    pub encoder: &'a Encoder,
    /// Where a locked image tower's answers are kept, or those of its locked first blocks; none for a
    /// tower that is learned.
    pub image_cache: Option<&'a Path>,
    /// The same for the text tower.
    pub text_cache: Option<&'a Path>,
    /// Threads that decode.
    pub threads: usize,
    /// Who looks on.
    pub watch: &'a mut dyn Watch,
    /// Who may ask to stop.
    pub stop: &'a Stop,
    /// Those that run the towers together, each over its share; the first keeps the cache.
    pub processes: Processes<'a>,
}

impl Pass<'_> {
    /// All pictures of a set.
    ///
    /// # Errors
    /// [`EncoderError::NoPicture`] when every one is broken, [`EncoderError::Stopped`] on request,
    /// others for what cannot run.
    pub fn pictures(&mut self, set: &Arc<Dataset>) -> Result<PooledPictures, EncoderError> {
        if let Some(blocks) = self.encoder.kept_blocks {
            let Beginnings { views, rows, bad } = self.beginnings(set, blocks, false)?;
            return Ok(PooledPictures { pooled: self.rest(&views[0], blocks)?, rows, bad });
        }
        let processor = format!("{:?}", self.encoder.processor.config());
        let name = self.cache_name(Side::Image, "image", &[set.identity(), processor])?;
        let encoder = self.encoder;
        let pooled = |images: &[PixelValues]| Ok(vec![encoder.pooled_pixels(images)?]);
        let Beginnings { views, rows, bad } = self.answers(set, &name, &pooled)?;
        Ok(PooledPictures { pooled: encoder.moved(&views[0])?, rows, bad })
    }

    /// What the first `blocks` blocks of the image tower make of all pictures of a set, and of the
    /// mirrored ones where `mirrored`.
    ///
    /// # Errors
    /// As [`Pass::pictures`].
    pub fn beginnings(
        &mut self,
        set: &Arc<Dataset>,
        blocks: usize,
        mirrored: bool,
    ) -> Result<Beginnings, EncoderError> {
        let processor = format!("{:?}", self.encoder.processor.config());
        let parts = [set.identity(), processor, format!("{blocks} blocks, mirrored: {mirrored}")];
        let name = self.cache_name(Side::Image, "beginning", &parts)?;
        let encoder = self.encoder;
        self.answers(set, &name, &|images| encoder.beginnings(images, blocks, mirrored))
    }

    /// What comes after the first `blocks` blocks, for the rows of `beginnings`: `[R, hidden]`, without
    /// gradients.
    ///
    /// # Errors
    /// As [`Encoder::rest`].
    pub fn rest(&self, beginnings: &Tensor, blocks: usize) -> Result<Tensor, EncoderError> {
        let share = self.processes.share(beginnings.size()[0] as usize);
        let (end, kept) = (share.end as i64, at_once(self.encoder.device).kept);
        let part = |start: usize| {
            let start = start as i64;
            let some = beginnings.narrow(0, start, kept.min(end - start));
            tch::no_grad(|| self.encoder.rest(&some, blocks))
        };
        let parts: Vec<Tensor> =
            share.step_by(kept as usize).map(part).collect::<Result<_, _>>()?;
        let own = if parts.is_empty() { empty() } else { Tensor::cat(&parts, 0) };
        self.encoder.moved(&self.processes.rows(own)?.0)
    }

    /// What `of` answers over a set: kept under `name`, or computed.
    fn answers(
        &mut self,
        set: &Arc<Dataset>,
        name: &str,
        of: Answer<'_>,
    ) -> Result<Beginnings, EncoderError> {
        let file = self.image_cache.map(|folder| folder.join(name));
        let found = match &file {
            Some(path) if self.processes.is_first() && path.exists() => {
                restore(&TensorFile::read(path)?, set)
            }
            _ => None,
        };
        let all = if self.found_by_first(found.is_some())? {
            self.gathered(found.unwrap_or_else(Beginnings::nothing))?
        } else {
            let own = self.compute(set, of)?;
            let all = self.gathered(own)?;
            if let (Some(path), true) = (&file, self.processes.is_first()) {
                keep(&all, set).write(path)?;
            }
            all
        };
        match all.bad.first() {
            Some(first) if all.bad.len() == set.pairs.len() => {
                Err(EncoderError::NoPicture { set: set.name(), first: first.clone() })
            }
            _ => Ok(all),
        }
    }

    /// Whether the first process has kept what is asked for.
    fn found_by_first(&self, own: bool) -> Result<bool, EncoderError> {
        Ok(self.processes.told_by_first(vec![u8::from(own)])? != [0])
    }

    /// The answers of all processes over their shares.
    fn gathered(&self, own: Beginnings) -> Result<Beginnings, EncoderError> {
        if self.processes.count() == 1 {
            return Ok(own);
        }
        let usable = own.rows.iter().map(Option::is_some).collect();
        let share = Share { views: own.views.len(), usable, bad: own.bad };
        let told = self.processes.told(share.written())?;
        let shares = told.iter().map(|told| Share::read(told)).collect::<Result<Vec<_>, _>>()?;
        let views = shares.iter().map(|share| share.views).max().unwrap_or_default();
        let mut own = own.views.into_iter();
        let view = |_| Ok(self.processes.rows(own.next().unwrap_or_else(empty))?.0);
        let views = (0..views).map(view).collect::<Result<_, EncoderError>>()?;
        let (mut rows, mut bad, mut next) = (Vec::new(), Vec::new(), 0);
        for share in shares {
            for usable in share.usable {
                rows.push(usable.then_some(next));
                next += i64::from(usable);
            }
            bad.extend(share.bad);
        }
        Ok(Beginnings { views, rows, bad })
    }

    /// This process's share.
    fn compute(&mut self, set: &Arc<Dataset>, of: Answer<'_>) -> Result<Beginnings, EncoderError> {
        let share = self.processes.share(set.pairs.len());
        let total = share.len();
        let jobs = share.map(|pair| Job { set: Arc::clone(set), pair }).collect();
        let mut parts: Vec<Vec<Tensor>> = Vec::new();
        let mut waiting = Vec::<PixelValues>::new();
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        let (mut next, most) = (0, at_once(self.encoder.device).pictures);
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
            if waiting.len() == most || (rows.len() == total && !waiting.is_empty()) {
                let answers = tch::no_grad(|| of(&waiting))?;
                parts.resize_with(answers.len(), Vec::new);
                parts.iter_mut().zip(answers).for_each(|(part, answer)| part.push(answer));
                waiting.clear();
                let task = format!("pictures of {}", set.name());
                self.watch.progress(&task, rows.len() as u64, total as u64, "");
            }
        }
        let views = if parts.is_empty() {
            vec![empty()]
        } else {
            parts.iter().map(|parts| Tensor::cat(parts, 0)).collect()
        };
        Ok(Beginnings { views, rows, bad })
    }

    /// All of `texts`: `[N, hidden]`, in their order.
    ///
    /// # Errors
    /// [`EncoderError::Stopped`] on request, others for what cannot run.
    pub fn texts(&mut self, texts: &[Arc<str>]) -> Result<Tensor, EncoderError> {
        let words: Vec<String> = texts.iter().map(ToString::to_string).collect();
        let name = self.cache_name(Side::Text, "text", &words)?;
        let file = self.text_cache.map(|folder| folder.join(name));
        let kept = match &file {
            Some(path) if self.processes.is_first() && path.exists() => {
                TensorFile::read(path)?.tensors.remove("pooled")
            }
            _ => None,
        };
        if self.found_by_first(kept.is_some())? {
            let (all, _) = self.processes.rows(kept.unwrap_or_else(empty))?;
            return self.encoder.moved(&all);
        }
        let tokens = texts
            .iter()
            .map(|text| self.encoder.tokenizer.encode(text))
            .collect::<Result<Vec<TokenIds>, _>>()?;
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|&i| tokens[i].ids.len());
        let mut parts = Vec::new();
        let most = at_once(self.encoder.device).texts;
        let chunks: Vec<&[usize]> = order.chunks(most).collect();
        let share = self.processes.share(chunks.len());
        for (done, chunk) in chunks[share].iter().enumerate() {
            if self.stop.asked() {
                return Err(EncoderError::Stopped);
            }
            let batch: Vec<&TokenIds> = chunk.iter().map(|&i| &tokens[i]).collect();
            parts.push(tch::no_grad(|| self.encoder.pooled_tokens(&batch))?);
            let done = (done * most + chunk.len()) as u64;
            self.watch.progress("texts", done, texts.len() as u64, "");
        }
        if chunks.is_empty() {
            return Ok(empty());
        }
        let own = if parts.is_empty() { empty() } else { Tensor::cat(&parts, 0) };
        let all = self.encoder.moved(&self.processes.rows(own)?.0)?;
        let mut place = vec![0i64; order.len()];
        for (row, &i) in order.iter().enumerate() {
            place[i] = row as i64;
        }
        let place = self.encoder.moved(&Tensor::from_slice(&place))?;
        let pooled = all.index_select(0, &place);
        if let (Some(path), true) = (&file, self.processes.is_first()) {
            let tensors = [("pooled".to_owned(), pooled.shallow_clone())].into();
            TensorFile { tensors, ..TensorFile::default() }.write(path)?;
        }
        Ok(pooled)
    }

    /// Names what `kind` answers by all that it depends on: the weights of the side that stay as they are,
    /// and `depends_on`.
    fn cache_name(
        &self,
        side: Side,
        kind: &str,
        depends_on: &[String],
    ) -> Result<String, EncoderError> {
        let mut hasher = Sha256::new();
        hasher.update(self.encoder.locked_digest(side)?.as_bytes());
        if self.encoder.kind != Kind::Float {
            hasher.update(format!("{:?}", self.encoder.kind).as_bytes());
        }
        for part in depends_on {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Ok(format!("{kind}-{}.safetensors", &hex(&hasher.finalize())[..16]))
    }
}

impl Beginnings {
    fn nothing() -> Self {
        Self { views: vec![empty()], rows: Vec::new(), bad: Vec::new() }
    }
}

/// What a process tells of its share of a set.
#[derive(Debug)]
struct Share {
    views: usize,
    /// Of each picture.
    usable: Vec<bool>,
    bad: Vec<BadSample>,
}

impl Share {
    fn written(&self) -> Vec<u8> {
        let bad: Vec<(&str, &str)> =
            self.bad.iter().map(|bad| (bad.key.as_str(), bad.reason.as_str())).collect();
        serde_json::json!((self.views, &self.usable, bad)).to_string().into_bytes()
    }

    fn read(told: &[u8]) -> Result<Self, EncoderError> {
        type Written = (usize, Vec<bool>, Vec<(String, String)>);
        let (views, usable, bad): Written =
            serde_json::from_slice(told).map_err(Processes::not_understood)?;
        let bad = bad.into_iter().map(|(key, reason)| BadSample { key, reason }).collect();
        Ok(Self { views, usable, bad })
    }
}

/// What is computed of a few pictures: a tensor `[B, …]` for each way of looking at them.
type Answer<'a> = &'a dyn Fn(&[PixelValues]) -> Result<Vec<Tensor>, EncoderError>;

fn empty() -> Tensor {
    Tensor::zeros([0, 0], (Kind::Float, Device::Cpu))
}

fn keep(all: &Beginnings, set: &Dataset) -> TensorFile {
    let bad: Vec<(&str, &str)> =
        all.bad.iter().map(|b| (b.key.as_str(), b.reason.as_str())).collect();
    let words = [
        ("bad".to_owned(), serde_json::json!(bad).to_string()),
        ("pairs".to_owned(), set.pairs.len().to_string()),
    ];
    let named = |(number, view): (usize, &Tensor)| (number.to_string(), view.shallow_clone());
    let tensors = all.views.iter().enumerate().map(named).collect();
    TensorFile { tensors, words: words.into() }
}

/// None where the file is not of this set after all.
fn restore(file: &TensorFile, set: &Dataset) -> Option<Beginnings> {
    let bad: Vec<(String, String)> = serde_json::from_str(file.words.get("bad")?).ok()?;
    let bad: Vec<BadSample> =
        bad.into_iter().map(|(key, reason)| BadSample { key, reason }).collect();
    let view = |number: usize| file.tensors.get(&number.to_string()).map(Tensor::shallow_clone);
    let views: Vec<Tensor> = (0..file.tensors.len()).map(view).collect::<Option<_>>()?;
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
    let whole = !views.is_empty() && views.iter().all(|view| view.size()[0] == next);
    (fits && whole).then_some(Beginnings { views, rows, bad })
}

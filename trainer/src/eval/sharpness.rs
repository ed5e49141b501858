//! How sharp the softmax over a model's similarities is at a temperature.

use std::sync::Arc;

use clip::Embedding;
use serde::Serialize;

use super::{Embedder, EvalError, usable};
use crate::data::{BadSample, Dataset};

/// What captions say of the pictures of a set, at several temperatures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SharpnessFigures {
    /// Its name.
    pub set: String,
    /// Pictures that each caption chooses among.
    pub pictures: usize,
    /// Captions measured.
    pub captions: usize,
    /// Samples that could not be used.
    pub unusable: Vec<BadSample>,
    /// One for each temperature, in the order in which they were asked for.
    pub at: Vec<Sharpness>,
}

/// Means over the captions of a set: of `softmax(cosine / temperature)` over all its pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sharpness {
    /// What the cosines are divided by; 1 / e^`logit_scale`.
    pub temperature: f64,
    /// Probability of the caption's own picture.
    pub probability: f64,
    /// Entropy as a share of ln N: 0 where one picture is certain, 1 where all N are alike.
    pub entropy: f64,
    /// e to the mean entropy: among how many pictures a caption is undecided.
    pub effective_pictures: f64,
    /// Rank from 1 and probability of the picture that holds it, whichever it is; ranks lie evenly on
    /// a logarithmic scale.
    pub by_rank: Vec<(usize, f64)>,
}

/// Embeds a set and measures it at each of `temperatures`, which are above 0.
///
/// # Errors
/// [`EvalError::WrongKind`] for a labelled set, others where the model cannot run.
pub fn sharpness(
    embedder: &mut dyn Embedder,
    set: &Arc<Dataset>,
    temperatures: &[f64],
) -> Result<SharpnessFigures, EvalError> {
    if !set.classes.is_empty() {
        let (wanted, flag) = ("captions", "eval --labels");
        return Err(EvalError::WrongKind { set: set.name(), wanted, flag });
    }
    let found = usable(embedder.pictures(set)?, set)?;
    let (mut texts, mut own) = (Vec::new(), Vec::new());
    for (image, &pair) in found.pairs.iter().enumerate() {
        for caption in &set.pairs[pair].captions {
            texts.push(Arc::clone(&caption.text));
            own.push(image);
        }
    }
    let texts = embedder.texts(&texts)?;
    Ok(SharpnessFigures {
        set: set.name(),
        pictures: found.images.len(),
        captions: texts.len(),
        unusable: found.bad,
        at: over_captions(&texts, &found.images, &own, temperatures),
    })
}

/// The same of embeddings; text `i` belongs to image `own[i]`.
fn over_captions(
    texts: &[Embedding],
    images: &[Embedding],
    own: &[usize],
    temperatures: &[f64],
) -> Vec<Sharpness> {
    let mut sums: Vec<Sums> = temperatures.iter().map(|_| Sums::new(images.len())).collect();
    for (text, &own) in texts.iter().zip(own) {
        let mut scores: Vec<f32> = images.iter().map(|image| text.cosine(image)).collect();
        let score = scores[own];
        scores.sort_unstable_by(|a, b| b.total_cmp(a));
        for (sums, &temperature) in sums.iter_mut().zip(temperatures) {
            sums.add(&scores, score, temperature);
        }
    }
    let captions = texts.len().max(1) as f64;
    let figures = |(sums, &temperature): (Sums, &f64)| sums.means(captions, temperature);
    sums.into_iter().zip(temperatures).map(figures).collect()
}

/// Sums over captions at one temperature.
struct Sums {
    probability: f64,
    entropy: f64,
    by_rank: Vec<f64>,
}

impl Sums {
    fn new(pictures: usize) -> Self {
        Self { probability: 0.0, entropy: 0.0, by_rank: vec![0.0; pictures] }
    }

    /// Adds a caption whose scores are `falling`, its own picture's being `own`.
    fn add(&mut self, falling: &[f32], own: f32, temperature: f64) {
        let Some(&best) = falling.first() else { return };
        let logit = |score: f32| f64::from(score - best) / temperature;
        let (mut sum, mut weighted) = (0.0, 0.0);
        for &score in falling {
            let weight = logit(score).exp();
            sum += weight;
            weighted += weight * logit(score);
        }
        for (place, &score) in self.by_rank.iter_mut().zip(falling) {
            *place += logit(score).exp() / sum;
        }
        self.probability += logit(own).exp() / sum;
        // -Σ p ln p with ln p = logit - ln Σ
        self.entropy += f64::ln(sum) - weighted / sum;
    }

    fn means(self, captions: f64, temperature: f64) -> Sharpness {
        let pictures = self.by_rank.len();
        let entropy = self.entropy / captions;
        let by_rank = ranks(pictures).into_iter();
        Sharpness {
            temperature,
            probability: self.probability / captions,
            entropy: if pictures > 1 { entropy / (pictures as f64).ln() } else { 0.0 },
            effective_pictures: entropy.exp(),
            by_rank: by_rank.map(|rank| (rank, self.by_rank[rank - 1] / captions)).collect(),
        }
    }
}

/// Ranks in a decade.
const IN_A_DECADE: f64 = 12.0;

/// Ranks from 1 to `last`, both of them among these.
fn ranks(last: usize) -> Vec<usize> {
    let rank = |place: u32| 10f64.powf(f64::from(place) / IN_A_DECADE).round() as usize;
    let mut ranks: Vec<usize> = (0..).map(rank).take_while(|rank| *rank < last).collect();
    ranks.dedup();
    ranks.extend((last > 0).then_some(last));
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(angle: f32) -> Embedding {
        Embedding::new(vec![angle.cos(), angle.sin()]).unwrap()
    }

    #[test]
    fn two_pictures_share_a_caption_by_the_softmax_of_their_cosines() {
        let (text, images) = (unit(0.0), [unit(0.0), unit(std::f32::consts::FRAC_PI_2)]);
        let at = over_captions(&[text], &images, &[0], &[0.5, 1.0]);
        for (found, temperature) in at.iter().zip([0.5f64, 1.0]) {
            // Cosines 1 and 0.
            let p = 1.0 / (1.0 + (-1.0 / temperature).exp());
            let entropy = -(p * p.ln() + (1.0 - p) * (1.0 - p).ln());
            assert!((found.probability - p).abs() < 1e-6, "{found:?}");
            assert!((found.entropy - entropy / 2f64.ln()).abs() < 1e-6, "{found:?}");
            assert!((found.effective_pictures - entropy.exp()).abs() < 1e-6, "{found:?}");
            assert_eq!(found.by_rank.iter().map(|(rank, _)| *rank).collect::<Vec<_>>(), [1, 2]);
            assert!((found.by_rank[0].1 - p).abs() < 1e-6, "{found:?}");
        }
    }

    #[test]
    fn low_temperatures_are_certain_even_of_the_wrong_picture_and_high_ones_of_none() {
        let (texts, images) = ([unit(0.0), unit(0.1)], [unit(0.0), unit(1.0), unit(2.0)]);
        // The first caption finds its picture, the second finds the same one, wrongly.
        let at = over_captions(&texts, &images, &[0, 1], &[1e-3, 1e3]);
        assert!((at[0].probability - 0.5).abs() < 1e-9 && at[0].effective_pictures < 1.001);
        assert!((at[0].by_rank[0].1 - 1.0).abs() < 1e-9 && at[0].entropy < 1e-6);
        assert!((at[1].probability - 1.0 / 3.0).abs() < 1e-3 && at[1].effective_pictures > 2.999);
    }

    #[test]
    fn probabilities_of_all_ranks_sum_to_one() {
        let images: Vec<Embedding> = (0..9u8).map(|i| unit(f32::from(i) / 3.0)).collect();
        let at = over_captions(&[unit(0.2)], &images, &[3], &[0.07]);
        assert_eq!(at[0].by_rank.len(), 9, "nine ranks stand close enough to be all there");
        let sum: f64 = at[0].by_rank.iter().map(|(_, p)| p).sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }

    #[test]
    fn ranks_reach_from_the_first_to_the_last() {
        assert_eq!(ranks(0), [0usize; 0]);
        assert_eq!(ranks(1), [1]);
        assert_eq!(ranks(4), [1, 2, 3, 4]);
        let many = ranks(1000);
        assert!(many.is_sorted() && many.first() == Some(&1) && many.last() == Some(&1000));
        assert!(many.len() < 40);
    }
}

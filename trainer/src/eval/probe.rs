//! The linear probe: what a linear classifier can read off frozen features (Radford et al. 2021,
//! appendix A.3).
//!
//! Multinomial logistic regression with an L2 penalty, by L-BFGS with at most 1,000 steps. The
//! strength of the penalty is chosen on a held-back part of the training set, among 97 strengths from
//! 1e-6 to 1e6, eight a decade (the paper's 96 logarithmic steps between them), by a search that
//! starts with every sixteenth and halves its stride around the best.
//! Difference from the paper: the features are the embeddings that search uses, of length one, not
//! the image tower's output before its projection; a bundle has no other.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, TchError, Tensor};

use super::lbfgs::{Minimum, Until, minimize};

/// Strengths that can be chosen, from [`WEAKEST`] on.
const STRENGTHS: usize = 97;

/// Between two neighbors.
const IN_A_DECADE: f64 = 8.0;

/// log10 of the weakest strength.
const WEAKEST: f64 = -6.0;

/// Strengths between two of the search's first ones.
const FIRST_STRIDE: usize = 16;

/// Of each class's pictures every so many is held back.
const HELD_BACK: usize = 5;

/// Steps as in the paper. Of the mean cross entropy over vectors of length one the gradient begins
/// small: scikit-learn's own limit, 1e-4, would end some fits where they began.
const FITTING: Until = Until { gradient: 1e-6, steps: 1000 };

/// Strengths are compared by accuracies, which settle before.
const SEARCHING: Until = Until { gradient: 1e-5, steps: 1000 };

/// Features of pictures whose classes are known.
#[derive(Debug)]
pub struct Features {
    /// `[N, D]`, f64.
    pub rows: Tensor,
    /// `[N]`, i64.
    pub classes: Tensor,
    /// How many classes there are.
    pub class_count: i64,
}

/// A fitted classifier.
#[derive(Debug)]
pub struct Probe {
    /// Weights with the bias as the last column, `[C, D + 1]`, f64.
    pub weights: Tensor,
    /// The strength of the penalty.
    pub strength: f64,
}

impl Features {
    /// Of `vectors`, picture by picture.
    ///
    /// # Errors
    /// libtorch's, for vectors of several lengths.
    pub fn new(
        vectors: &[&[f32]],
        classes: &[usize],
        class_count: usize,
    ) -> Result<Self, TchError> {
        let dim = vectors.first().map_or(0, |vector| vector.len()) as i64;
        let flat = Tensor::f_from_slice(&vectors.concat())?;
        let classes: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
        Ok(Self {
            rows: flat.f_view([vectors.len() as i64, dim])?.f_to_kind(Kind::Double)?,
            classes: Tensor::f_from_slice(&classes)?,
            class_count: class_count as i64,
        })
    }

    /// How many pictures there are.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::try_from(self.rows.size()[0]).unwrap_or(0)
    }

    fn of(&self, rows: &[i64]) -> Result<Self, TchError> {
        let rows = Tensor::f_from_slice(rows)?;
        Ok(Self {
            rows: self.rows.f_index_select(0, &rows)?,
            classes: self.classes.f_index_select(0, &rows)?,
            class_count: self.class_count,
        })
    }

    /// With a column of ones, which the bias goes with: `[N, D + 1]`.
    fn with_ones(&self) -> Result<Tensor, TchError> {
        let ones = Tensor::f_ones([self.rows.size()[0], 1], (Kind::Double, self.rows.device()))?;
        Tensor::f_cat(&[&self.rows, &ones], 1)
    }
}

impl Probe {
    /// Chooses a strength on a part of `train` that `seed` holds back, then fits all of it; where
    /// every class has a single picture there is nothing to choose by, and the strength is 1.
    ///
    /// # Errors
    /// libtorch's.
    pub fn choose(train: &Features, seed: u64) -> Result<Self, TchError> {
        let (kept, held_back) = split(train, seed)?;
        if held_back.count() == 0 {
            return Self::fit(train, strength(STRENGTHS / 2));
        }
        let mut fits: BTreeMap<usize, Minimum> = BTreeMap::new();
        let mut accuracy = |place: usize| {
            let start = nearest(&fits, place);
            let fit = fit(&kept, strength(place), start, SEARCHING)?;
            let right = right(&fit.at, &held_back)?.f_mean(Kind::Double)?.f_double_value(&[])?;
            fits.insert(place, fit);
            Ok(right)
        };
        let place = best(&mut accuracy)?;
        Self::fit_from(train, strength(place), nearest(&fits, place))
    }

    /// Fits `train` with a penalty of `strength`.
    ///
    /// # Errors
    /// libtorch's.
    pub fn fit(train: &Features, strength: f64) -> Result<Self, TchError> {
        Self::fit_from(train, strength, None)
    }

    fn fit_from(train: &Features, strength: f64, start: Option<&Tensor>) -> Result<Self, TchError> {
        Ok(Self { weights: fit(train, strength, start, FITTING)?.at, strength })
    }

    /// The class that each of `features` belongs to, `[N]`.
    ///
    /// # Errors
    /// libtorch's, for features of another length.
    pub fn classify(&self, features: &Features) -> Result<Tensor, TchError> {
        predicted(&self.weights, features)
    }
}

fn strength(place: usize) -> f64 {
    10f64.powf(WEAKEST + place as f64 / IN_A_DECADE)
}

/// Each class's pictures, shuffled by `seed`: a fifth of them apart, one at least, unless it is the
/// only one.
fn split(train: &Features, seed: u64) -> Result<(Features, Features), TchError> {
    let classes = Vec::<i64>::try_from(&train.classes)?;
    let mut of_class: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (row, class) in (0..).zip(classes) {
        of_class.entry(class).or_default().push(row);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (mut kept, mut held_back) = (Vec::new(), Vec::new());
    for mut rows in of_class.into_values() {
        rows.shuffle(&mut random);
        let apart = rows.len().div_ceil(HELD_BACK).min(rows.len() - 1);
        held_back.extend_from_slice(&rows[..apart]);
        kept.extend_from_slice(&rows[apart..]);
    }
    Ok((train.of(&kept)?, train.of(&held_back)?))
}

/// The place of the strength with the highest accuracy that the search finds; of equals the strongest.
fn best(accuracy: &mut impl FnMut(usize) -> Result<f64, TchError>) -> Result<usize, TchError> {
    // Strong first: that fits fast, and the weaker ones start from there.
    let mut next: Vec<usize> = (0..STRENGTHS).step_by(FIRST_STRIDE).rev().collect();
    let (mut found, mut stride): (BTreeMap<usize, f64>, _) = (BTreeMap::new(), FIRST_STRIDE);
    loop {
        for place in next {
            found.insert(place, accuracy(place)?);
        }
        let peak = found.iter().max_by(|a, b| a.1.total_cmp(b.1).then(a.0.cmp(b.0)));
        let peak = peak.map_or(STRENGTHS / 2, |(&place, _)| place);
        stride /= 2;
        if stride == 0 {
            return Ok(peak);
        }
        // What lies between two that were tried: never one of these.
        next = vec![peak + stride];
        next.extend(peak.checked_sub(stride));
        next.retain(|&place| place < STRENGTHS);
    }
}

/// The fit of the strength that is nearest to the one at `place`.
fn nearest(fits: &BTreeMap<usize, Minimum>, place: usize) -> Option<&Tensor> {
    fits.iter().min_by_key(|(other, _)| other.abs_diff(place)).map(|(_, fit)| &fit.at)
}

/// Minimizes the mean cross entropy plus `strength` / 2N times the squared weights; like
/// scikit-learn's `LogisticRegression(C = 1 / strength)` it leaves the bias alone.
fn fit(
    train: &Features,
    strength: f64,
    start: Option<&Tensor>,
    until: Until,
) -> Result<Minimum, TchError> {
    let inputs = train.with_ones()?; // [N, D + 1]
    let [count, width] = [inputs.size()[0], inputs.size()[1]];
    let targets = train.classes.f_one_hot(train.class_count)?.f_to_kind(Kind::Double)?; // [N, C]
    let penalized = Tensor::f_ones([width], (Kind::Double, inputs.device()))?;
    let _ = penalized.f_get(width - 1)?.f_zero_()?;
    let penalty = penalized.f_mul_scalar(strength / count as f64)?; // [D + 1]
    let zeros = || Tensor::f_zeros([train.class_count, width], (Kind::Double, inputs.device()));
    let start = start.map_or_else(zeros, |start| Ok(start.shallow_clone()))?; // [C, D + 1]
    minimize(&start, until, |weights| {
        let logits = inputs.f_matmul(&weights.f_tr()?)?; // [N, C]
        let logs = logits.f_log_softmax(1, Kind::Double)?; // [N, C]
        let entropy = logs.f_mul(&targets)?.f_sum(Kind::Double)?.f_double_value(&[])?;
        let pull = weights.f_mul(&penalty)?; // [C, D + 1]
        let squares = pull.f_mul(weights)?.f_sum(Kind::Double)?.f_double_value(&[])?;
        let wrong = logs.f_exp()?.f_sub(&targets)?.f_div_scalar(count as f64)?; // [N, C]
        let gradient = wrong.f_tr()?.f_matmul(&inputs)?.f_add(&pull)?; // [C, D + 1]
        Ok((squares / 2.0 - entropy / count as f64, gradient))
    })
}

fn predicted(weights: &Tensor, features: &Features) -> Result<Tensor, TchError> {
    features.with_ones()?.f_matmul(&weights.f_tr()?)?.f_argmax(1, false)
}

/// 1 for each of `features` that is classified rightly, else 0: `[N]`.
fn right(weights: &Tensor, features: &Features) -> Result<Tensor, TchError> {
    predicted(weights, features)?.f_eq_tensor(&features.classes)?.f_to_kind(Kind::Double)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three classes around corners of a triangle, `each` pictures of each; a tenth has the wrong
    /// label, so that weights without a penalty would grow.
    fn corners(each: usize) -> Features {
        let corners = [[1.0f32, 0.0], [-0.5, 0.9], [-0.5, -0.9]];
        let (mut vectors, mut classes) = (Vec::new(), Vec::new());
        for number in 0..3 * each {
            let (class, turn) = (number % 3, number as f32);
            let [x, y] = corners[class];
            vectors.push([x + 0.3 * (turn * 1.7).sin(), y + 0.3 * (turn * 2.3).cos()]);
            classes.push(if number % 10 == 9 { (class + 1) % 3 } else { class });
        }
        let vectors: Vec<&[f32]> = vectors.iter().map(<[f32; 2]>::as_slice).collect();
        Features::new(&vectors, &classes, 3).unwrap()
    }

    #[test]
    fn a_fit_is_the_minimum_that_autograd_finds_flat() {
        let (train, strength) = (corners(20), 0.5);
        let weights = Probe::fit(&train, strength).unwrap().weights.set_requires_grad(true);
        let logits = train.with_ones().unwrap().matmul(&weights.tr());
        let entropy = logits.cross_entropy_for_logits(&train.classes) * 60.0;
        let squares = weights.narrow(1, 0, 2).square().sum(Kind::Double) * (strength / 2.0);
        (entropy + squares).backward();
        let steepest = weights.grad().abs().max().double_value(&[]);
        assert!(steepest < 60.0 * FITTING.gradient, "{steepest}");
    }

    #[test]
    fn what_can_be_read_off_is_read_off() {
        let probe = Probe::choose(&corners(40), 1).unwrap();
        let accuracy = right(&probe.weights, &corners(50)).unwrap().mean(Kind::Double);
        assert!(accuracy.double_value(&[]) > 0.85, "{accuracy}");
        assert!(probe.weights.size() == [3, 3] && (1e-6..=1e6).contains(&probe.strength));
    }

    #[test]
    fn the_search_finds_a_peak_in_few_trials_and_prefers_the_stronger_of_equals() {
        let mut trials = 0;
        let mut hill = |place: usize| {
            trials += 1;
            Ok(-(place as f64 - 37.0).abs())
        };
        assert_eq!(best(&mut hill).unwrap(), 37);
        assert!(trials <= 7 + 2 * 4, "{trials}");
        assert_eq!(best(&mut |_| Ok(0.5)).unwrap(), STRENGTHS - 1);
        assert_eq!(best(&mut |place| Ok(-(place as f64))).unwrap(), 0);
        assert!((strength(0) - 1e-6).abs() < 1e-18 && (strength(96) - 1e6).abs() < 1e-6);
    }

    #[test]
    fn a_fifth_of_each_class_is_held_back_but_never_all_of_it() {
        let vectors = [[0.0f32]; 12];
        let vectors: Vec<&[f32]> = vectors.iter().map(<[f32; 1]>::as_slice).collect();
        let train = Features::new(&vectors, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2], 3).unwrap();
        let (kept, held_back) = split(&train, 0).unwrap();
        let counts = |part: &Features| {
            let classes = Vec::<i64>::try_from(&part.classes).unwrap();
            [0, 1, 2].map(|class| classes.iter().filter(|found| **found == class).count())
        };
        assert_eq!((counts(&kept), counts(&held_back)), ([7, 1, 1], [2, 1, 0]));
        let lone = Features::new(&vectors[..2], &[0, 1], 2).unwrap();
        assert_eq!(Probe::choose(&lone, 0).unwrap().strength, 1.0);
    }
}

//! Color jitter: brightness, contrast, saturation and hue, each by a little, in a random order
//! (`torchvision`'s `ColorJitter`).

use clip::image::RgbImage;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::{brightness, contrast, hue, saturation};

/// One change of the colors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// A factor, see [`brightness`](fn@brightness).
    Brightness(f32),
    /// A factor, see [`contrast`](fn@contrast).
    Contrast(f32),
    /// A factor, see [`saturation`](fn@saturation).
    Saturation(f32),
    /// A part of the color circle, see [`hue`](fn@hue).
    Hue(f32),
}

/// The four changes in the order in which they are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(pub [Change; 4]);

impl Jitter {
    /// Draws factors from 1 − amount (0 at least) to 1 + amount for `amounts` of brightness, contrast
    /// and saturation, a turn between −amount and amount for hue, and their order.
    pub(super) fn draw(amounts: [f64; 4], rng: &mut impl Rng) -> Self {
        let [b, c, s, h] = amounts;
        let mut between = |low: f64, high: f64| (low + rng.random::<f64>() * (high - low)) as f32;
        let mut factor = |amount: f64| between((1.0 - amount).max(0.0), 1.0 + amount);
        let factors = [factor(b), factor(c), factor(s)];
        let mut changes = [
            Change::Brightness(factors[0]),
            Change::Contrast(factors[1]),
            Change::Saturation(factors[2]),
            Change::Hue(between(-h, h)),
        ];
        changes.shuffle(rng);
        Self(changes)
    }

    /// Makes the changes, leaving out those that would change nothing.
    pub fn apply(&self, pixels: &mut RgbImage) {
        for change in self.0 {
            match change {
                Change::Hue(0.0)
                | Change::Brightness(1.0)
                | Change::Contrast(1.0)
                | Change::Saturation(1.0) => {}
                Change::Brightness(factor) => brightness(pixels, factor),
                Change::Contrast(factor) => contrast(pixels, factor),
                Change::Saturation(factor) => saturation(pixels, factor),
                Change::Hue(turns) => hue(pixels, turns),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::one;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn drawn(amounts: [f64; 4]) -> Vec<Jitter> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        (0..2000).map(|_| Jitter::draw(amounts, &mut rng)).collect()
    }

    /// Least and largest of a change, by its place in the unshuffled order.
    fn range(jitters: &[Jitter], which: usize) -> (f32, f32) {
        let of = |change: &Change| match (*change, which) {
            (Change::Brightness(x), 0) | (Change::Contrast(x), 1) => Some(x),
            (Change::Saturation(x), 2) | (Change::Hue(x), 3) => Some(x),
            _ => None,
        };
        let found = jitters.iter().filter_map(|jitter| jitter.0.iter().find_map(of));
        found.fold((f32::MAX, f32::MIN), |(low, high), x| (low.min(x), high.max(x)))
    }

    #[test]
    fn factors_fill_their_ranges_and_no_amount_is_no_change() {
        let jitters = drawn([0.4, 1.5, 0.0, 0.1]);
        let near = |(low, high): (f32, f32), expected: (f32, f32)| {
            (low - expected.0).abs() < 0.01 && (high - expected.1).abs() < 0.01
        };
        assert!(near(range(&jitters, 0), (0.6, 1.4)), "{:?}", range(&jitters, 0));
        assert!(near(range(&jitters, 1), (0.0, 2.5)), "{:?}", range(&jitters, 1));
        assert_eq!(range(&jitters, 2), (1.0, 1.0));
        assert!(near(range(&jitters, 3), (-0.1, 0.1)), "{:?}", range(&jitters, 3));
    }

    #[test]
    fn all_orders_come_up_equally_often() {
        let first = |kind: fn(&Change) -> bool| {
            drawn([0.4; 4]).iter().filter(|jitter| kind(&jitter.0[0])).count()
        };
        for count in [
            first(|c| matches!(c, Change::Brightness(_))),
            first(|c| matches!(c, Change::Contrast(_))),
            first(|c| matches!(c, Change::Saturation(_))),
            first(|c| matches!(c, Change::Hue(_))),
        ] {
            assert!((420..580).contains(&count), "{count}");
        }
    }

    #[test]
    fn the_order_matters_and_is_kept() {
        let (darker, paler) = (Change::Brightness(2.0), Change::Saturation(0.0));
        let still = [Change::Contrast(1.0), Change::Hue(0.0)];
        let after = |order: [Change; 2]| {
            let jitter = Jitter([order[0], order[1], still[0], still[1]]);
            one([200, 0, 0], |p| jitter.apply(p))
        };
        assert_eq!(after([darker, paler]), [76; 3]); // 255 → 76.2
        assert_eq!(after([paler, darker]), [118; 3]); // 59 · 2
    }
}

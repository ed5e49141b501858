//! Two views of both sides of a draw, for objectives that compare a pair with itself as well (`SLIP`,
//! Mu et al. 2022, for pictures; `DeCLIP`, Li et al. 2022, for both sides).

use clip::image::ImageProcessor;

use super::{PictureView, TextViews, Views};
use crate::data::Caption;
use crate::data::mixture::Draw;

/// How both sides of an epoch's draws are looked at.
#[derive(Debug, Clone)]
pub struct PairViews {
    /// Of pictures.
    pub pictures: Views,
    /// Of captions.
    pub texts: TextViews,
}

impl PairViews {
    /// Two views of the picture of one draw, of `size` (width, height). The first is the one that
    /// training with one view sees.
    #[must_use]
    pub fn of_picture(
        &self,
        draw: &Draw,
        size: (u32, u32),
        processor: &ImageProcessor,
    ) -> [PictureView; 2] {
        [0, 1].map(|which| self.pictures.view(draw, which, size, processor))
    }

    /// Two wordings of one draw: of its caption and of the next of its pair, which is the same one
    /// where it has no other. None where the draw is of another pair, with fewer captions.
    #[must_use]
    pub fn of_captions(&self, draw: &Draw, captions: &[Caption]) -> Option<[String; 2]> {
        let first = captions.get(draw.caption)?;
        let second = &captions[(draw.caption + 1) % captions.len()];
        let word = |which, caption: &Caption| self.texts.text(draw, which, &caption.text);
        Some([word(0, first), word(1, second)])
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::{SIZE, draw, processors, views};
    use super::super::text::TextAugmentation;
    use super::*;

    fn pair_views() -> PairViews {
        let pictures = views([0.3, 1.0], 0.5);
        let augmentation = TextAugmentation { word_dropout: 0.3, shuffle: 2, synonyms: None };
        let texts = TextViews { augmentation, seed: pictures.seed, epoch: pictures.epoch };
        PairViews { pictures, texts }
    }

    fn captions(texts: &[&str]) -> Vec<Caption> {
        let caption = |&text: &&str| Caption { text: text.into(), meaning: text.into() };
        texts.iter().map(caption).collect()
    }

    #[test]
    fn the_first_view_of_a_picture_is_the_usual_one_and_the_second_another() {
        let views = pair_views();
        for processor in processors() {
            for pair in 0..50 {
                let [first, second] = views.of_picture(&draw(pair), SIZE, &processor);
                assert_eq!(first, views.pictures.view(&draw(pair), 0, SIZE, &processor));
                assert_ne!(first, second);
            }
        }
    }

    #[test]
    fn a_pair_with_several_captions_gives_two_of_them_and_one_with_one_two_wordings_of_it() {
        let views = pair_views();
        let two = captions(&["a b c d e f g h", "i j k l m n o p"]);
        let at = Draw { caption: 1, ..draw(4) };
        let [first, second] = views.of_captions(&at, &two).unwrap();
        assert!(first.split(' ').all(|word| two[1].text.contains(word)), "{first}");
        assert!(second.split(' ').all(|word| two[0].text.contains(word)), "{second}");

        let [first, second] = views.of_captions(&draw(4), &two[..1]).unwrap();
        assert!(second.split(' ').all(|word| two[0].text.contains(word)), "{second}");
        assert_ne!(first, second);
        assert_eq!(views.of_captions(&at, &two[..1]), None);
    }
}

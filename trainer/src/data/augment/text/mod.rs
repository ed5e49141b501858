//! How a caption is worded in training: words left out, moved, and replaced by synonyms.
//!
//! [`TextViews`] words a caption anew each time that it is drawn; [`back_translation`] adds captions
//! once, before training. A word is what stands between white space, with its punctuation.

pub mod back_translation;
mod dropout;
mod inflection;
mod shuffle;
mod synonyms;
pub mod wordnet;

use std::sync::Arc;

use super::{Side, stream};
use crate::data::mixture::Draw;
use crate::recipe::TextSection;

pub use dropout::drop_words;
pub use shuffle::shuffle_words;
pub use synonyms::replace_words;
use wordnet::{WordNet, WordNetError};

/// What varies, and by how much; by default nothing does.
#[derive(Debug, Clone, Default)]
pub struct TextAugmentation {
    /// How often a word is left out, 0 to 1; one word always stays.
    pub word_dropout: f64,
    /// How many places a word may move.
    pub shuffle: usize,
    /// Where synonyms come from, and how often a word that has some gives way to one of them.
    pub synonyms: Option<(Arc<WordNet>, f64)>,
}

impl TextAugmentation {
    /// As a recipe's `[text]` says; reads `WordNet` where it is asked for.
    ///
    /// # Errors
    /// [`WordNetError`], naming what is missing or broken.
    pub fn open(text: &TextSection) -> Result<Self, WordNetError> {
        let synonyms = text.synonyms.as_ref().map(|section| {
            let wordnet = WordNet::open(&section.wordnet)?;
            Ok::<_, WordNetError>((Arc::new(wordnet), section.probability))
        });
        Ok(Self {
            word_dropout: text.word_dropout.unwrap_or(0.0),
            shuffle: text.shuffle.unwrap_or(0),
            synonyms: synonyms.transpose()?,
        })
    }
}

/// The wordings of an epoch.
#[derive(Debug, Clone)]
pub struct TextViews {
    /// What varies.
    pub augmentation: TextAugmentation,
    /// Of the whole run.
    pub seed: u64,
    /// From 0.
    pub epoch: u64,
}

impl TextViews {
    /// Wording `which` (from 0) of the caption of one draw: first synonyms, which know a name by its
    /// place, then what is left out, then the order.
    #[must_use]
    pub fn text(&self, draw: &Draw, which: usize, caption: &str) -> String {
        let what = &self.augmentation;
        let mut rng = stream(Side::Text, (self.seed, self.epoch), draw, which);
        let mut words: Vec<String> = caption.split_whitespace().map(str::to_owned).collect();
        if let Some((wordnet, probability)) = &what.synonyms {
            replace_words(&mut words, wordnet, *probability, &mut rng);
        }
        drop_words(&mut words, what.word_dropout, &mut rng);
        shuffle_words(&mut words, what.shuffle, &mut rng);
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTION: &str = "two small dogs run through the high grass near a lake";

    fn views() -> TextViews {
        let augmentation = TextAugmentation { word_dropout: 0.3, shuffle: 3, synonyms: None };
        TextViews { augmentation, seed: 4, epoch: 1 }
    }

    fn draw(pair: usize) -> Draw {
        Draw { set: 0, pair, caption: 0, turn: 0 }
    }

    #[test]
    fn a_wording_depends_on_seed_epoch_draw_and_view_alone() {
        let views = views();
        let of = |views: &TextViews, draw: Draw| views.text(&draw, 0, CAPTION);
        assert_eq!(of(&views, draw(7)), of(&views.clone(), draw(7)));
        assert_ne!(of(&views, draw(7)), of(&views, draw(8)));
        assert_ne!(of(&views, draw(7)), of(&views, Draw { turn: 1, ..draw(7) }));
        assert_ne!(of(&views, draw(7)), of(&TextViews { epoch: 2, ..views.clone() }, draw(7)));
        assert_ne!(of(&views, draw(7)), of(&TextViews { seed: 5, ..views.clone() }, draw(7)));
        assert_ne!(of(&views, draw(7)), views.text(&draw(7), 1, CAPTION));
    }

    #[test]
    fn without_a_key_a_caption_stays_as_it_is() {
        let augmentation = TextAugmentation::open(&TextSection::default()).unwrap();
        let still = TextViews { augmentation, ..views() };
        assert_eq!(still.text(&draw(1), 0, CAPTION), CAPTION);
    }

    #[test]
    fn no_word_is_made_up() {
        for pair in 0..200 {
            let text = views().text(&draw(pair), 0, CAPTION);
            assert!(!text.is_empty());
            let known = |word: &str| CAPTION.split(' ').any(|other| other == word);
            assert!(text.split(' ').all(known), "{text}");
        }
    }
}

//! What a bundle in the making finds on the recipe's held-out sets, beside what the trained model
//! finds there.

use runtime::ModelOptions;

use super::ExportError;
use super::draft::Draft;
use crate::encoder::Encoder;
use crate::eval::BundleEmbedder;
use crate::run::Run;
use crate::train::{Figures, HeldOut, Surroundings, measure, measure_with};

/// How much recall at 10 or accuracy a form may lose, as a share.
pub const MOST_LOST: f32 = 0.005;

/// The sets, and what libtorch finds there.
pub(super) struct Trial<'a, 'b> {
    held_out: HeldOut,
    trained: Figures,
    around: &'a mut Surroundings<'b>,
}

/// A figure that a form makes noticeably worse.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub(super) what: &'static str,
    /// In percentage points.
    pub(super) points: f32,
}

impl<'a, 'b> Trial<'a, 'b> {
    /// None where the recipe's `[eval]` names no set.
    pub(super) fn begin(
        run: &Run,
        encoder: &Encoder,
        around: &'a mut Surroundings<'b>,
    ) -> Result<Option<Self>, ExportError> {
        let held_out = HeldOut::open(&run.recipe)?;
        if held_out.is_empty() {
            return Ok(None);
        }
        let trained = measure(run, encoder, &held_out, around)?;
        Ok(Some(Self { held_out, trained, around }))
    }

    /// Of the trained model; none where no set with captions is held out.
    pub(super) fn score_deviation(&self) -> Option<f32> {
        self.trained.captions.as_ref().map(|captions| captions.score_deviation)
    }

    /// The figures of one precision of `draft` as it will be served.
    pub(super) fn figures(
        &mut self,
        draft: &Draft,
        precision: &str,
    ) -> Result<Figures, ExportError> {
        let precision = Some(precision.to_owned());
        let options = ModelOptions { threads: self.around.threads, precision };
        let around = &mut *self.around;
        let bundle = draft.open()?;
        let mut embedder = BundleEmbedder::open(bundle, &options, around.watch, around.stop)?;
        Ok(measure_with(&mut embedder, &self.held_out, &draft.manifest.templates)?)
    }

    /// What `served` misses that the trained model finds.
    pub(super) fn lost(&self, served: &Figures) -> Option<Lost> {
        let mut pairs = Vec::new();
        if let (Some(a), Some(b)) = (&self.trained.captions, &served.captions) {
            let (a_text, b_text) = (a.text_to_image.recall_at_10, b.text_to_image.recall_at_10);
            pairs.push(("text→image R@10", a_text - b_text));
            let (a_image, b_image) = (a.image_to_text.recall_at_10, b.image_to_text.recall_at_10);
            pairs.push(("image→text R@10", a_image - b_image));
        }
        if let (Some(a), Some(b)) = (&self.trained.labels, &served.labels) {
            pairs.push(("top-1", a.classification.top_1 - b.classification.top_1));
        }
        let (what, loss) = pairs.into_iter().find(|(_, loss)| *loss > MOST_LOST)?;
        Some(Lost { what, points: 100.0 * loss })
    }
}

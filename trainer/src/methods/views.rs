//! How methods look at pictures, unless a recipe says otherwise.

use crate::data::augment::Augmentation;
use crate::recipe::ImageSection;

/// One view of every picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// What varies.
    pub augmentation: Augmentation,
    /// Its edge in pixels; that of the image tower's input where absent.
    pub side: Option<u32>,
}

impl View {
    /// Of the tower's size, as `[image]` says and by `usual` where it says nothing.
    pub(super) fn of(image: &ImageSection, usual: Augmentation) -> Self {
        Self { augmentation: Augmentation::or(image, usual), side: None }
    }
}

/// As Chen et al. 2020 (`SimCLR`), appendix A, at strength 1.
pub(super) fn simclr() -> Augmentation {
    Augmentation {
        crop_scale: [0.08, 1.0],
        flip: 0.5,
        color_jitter: Some([0.8, 0.8, 0.8, 0.2]),
        grayscale: 0.2,
        blur: 0.5,
        ..Augmentation::default()
    }
}

/// The milder one of Chen and He 2021 (`SimSiam`), section 4, which is that of `MoCo` v2.
pub(super) fn mild() -> Augmentation {
    let color_jitter = Some([0.4, 0.4, 0.4, 0.1]);
    Augmentation { crop_scale: [0.2, 1.0], color_jitter, ..simclr() }
}

/// The two unlike ones of Grill et al. 2020 (`BYOL`), table 6, which `MoCo` v3 takes over.
pub(super) fn byol() -> [Augmentation; 2] {
    let first = Augmentation { color_jitter: Some([0.4, 0.4, 0.2, 0.1]), blur: 1.0, ..simclr() };
    [first, Augmentation { blur: 0.1, solarize: 0.2, ..first }]
}

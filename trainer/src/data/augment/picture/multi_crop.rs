//! Several views of one picture, some of them small (`SwAV`, Caron et al. 2020, section 3.2).

use clip::image::{ImageProcessor, ImageProcessorConfig, ProcessorError, Size};

use super::{PictureView, Views};
use crate::data::mixture::Draw;

/// A number of views of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crops {
    /// How many.
    pub count: usize,
    /// Their height and width in pixels.
    pub side: u32,
    /// Least and largest share, in area, of what the evaluation transform shows.
    pub scale: [f64; 2],
}

impl Crops {
    /// Two views of 224 pixels and six of 96, as `SwAV` has them.
    pub const SWAV: [Self; 2] = [
        Self { count: 2, side: 224, scale: [0.14, 1.0] },
        Self { count: 6, side: 96, scale: [0.05, 0.14] },
    ];
}

/// One of several views, and how large it is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SizedView {
    /// Height and width in pixels.
    pub side: u32,
    /// How the picture is looked at.
    pub view: PictureView,
}

impl Views {
    /// The views of one draw on a picture of `size` (width, height), kind after kind; all that is not
    /// told by `crops` is drawn as for a single view.
    ///
    /// A view of `side` pixels is made by the processor that [`of_side`] answers for it.
    #[must_use]
    pub fn multi_crop(
        &self,
        draw: &Draw,
        size: (u32, u32),
        processor: &ImageProcessor,
        crops: &[Crops],
    ) -> Vec<SizedView> {
        let kinds = crops.iter().flat_map(|kind| std::iter::repeat_n(kind, kind.count));
        let look = |(which, kind): (usize, &Crops)| {
            let mut views = self.clone();
            views.augmentation.crop_scale = kind.scale;
            SizedView { side: kind.side, view: views.view(draw, which, size, processor) }
        };
        kinds.enumerate().map(look).collect()
    }
}

/// A processor that shows the same part of a picture as `processor`, `side` by `side` pixels large.
///
/// # Errors
/// [`ProcessorError::Unusable`] for a side of zero.
pub fn of_side(processor: &ImageProcessor, side: u32) -> Result<ImageProcessor, ProcessorError> {
    let scaled = |edge: u32, whole: usize| {
        let scaled = f64::from(edge) * f64::from(side) / whole as f64;
        (scaled.round() as u32).max(side)
    };
    let size = match processor.config().size {
        Size::Rectangle { height, width } => Size::Rectangle {
            height: scaled(height, processor.height()),
            width: scaled(width, processor.width()),
        },
        Size::Shortest { shortest_edge: edge } | Size::Side(edge) => {
            Size::Shortest { shortest_edge: scaled(edge, processor.height()) }
        }
    };
    let crop_size = Some(Size::Rectangle { height: side, width: side });
    ImageProcessor::new(ImageProcessorConfig { size, crop_size, ..processor.config().clone() })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SIZE, draw, processors, views};
    use super::*;

    #[test]
    fn kinds_follow_each_other_with_areas_and_sides_of_their_own() {
        for processor in processors() {
            let (width, height) = processor.shown(SIZE.0, SIZE.1);
            let sights =
                views([1.0, 1.0], 0.0).multi_crop(&draw(3), SIZE, &processor, &Crops::SWAV);
            assert_eq!(sights.iter().map(|s| s.side).collect::<Vec<_>>(), {
                let mut sides = vec![224; 2];
                sides.extend([96; 6]);
                sides
            });
            for (sight, [low, high]) in
                sights.iter().zip([[0.14, 1.0]; 2].into_iter().chain([[0.05, 0.14]; 6]))
            {
                let cut = sight.view.view.cut.unwrap();
                let share = f64::from(cut.width * cut.height) / (width * height);
                assert!((low - 0.01..=high + 0.01).contains(&share), "{share}");
            }
            let different = |i: usize, j: usize| sights[i].view != sights[j].view;
            assert!(different(0, 1) && different(2, 3) && different(6, 7));
        }
    }

    #[test]
    fn a_processor_of_another_side_shows_the_same_part() {
        for processor in processors() {
            let small = of_side(&processor, 96).unwrap();
            assert_eq!((small.height(), small.width()), (96, 96));
            let (a, b) = (processor.shown(SIZE.0, SIZE.1), small.shown(SIZE.0, SIZE.1));
            assert!((a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9, "{a:?} {b:?}");
            assert!(of_side(&processor, 0).is_err());
        }
    }
}

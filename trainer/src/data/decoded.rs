//! Decoded pictures that are kept for the epochs to come, as long as there is room.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clip::image::{ImageProcessor, ImageProcessorConfig, ProcessorError, RgbImage, Size};

use super::mixture::Draw;

/// From so many times the wanted side on a picture is made smaller. Resizing by less would show.
const LARGE: f64 = 2.0;

/// To so many times the wanted side.
const SMALLER: f64 = 1.5;

/// Decoded pictures, by set and pair.
///
/// A picture that is much larger than training shows is made smaller whether it is kept or not, so that
/// what is learned does not depend on how much memory there is.
#[derive(Debug)]
pub struct DecodedCache {
    /// Shorter side from which on pictures are made smaller, in pixels.
    large: u32,
    smaller: ImageProcessor,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    pictures: HashMap<(usize, usize), Arc<RgbImage>>,
    /// Bytes that are not taken yet.
    room: u64,
}

impl DecodedCache {
    /// Keeps up to `room` bytes of pictures of which a shorter side of `wanted` pixels is all that is shown.
    ///
    /// # Errors
    /// [`ProcessorError`] where that is no side.
    pub fn new(wanted: u32, room: u64) -> Result<Self, ProcessorError> {
        let times = |factor: f64| (f64::from(wanted) * factor).ceil() as u32;
        let smaller = ImageProcessor::new(ImageProcessorConfig {
            size: Size::Shortest { shortest_edge: times(SMALLER) },
            do_center_crop: false,
            ..ImageProcessorConfig::default()
        })?;
        let kept = Mutex::new(Kept { pictures: HashMap::new(), room });
        Ok(Self { large: times(LARGE), smaller, kept })
    }

    /// The picture of `draw`, where it is kept.
    pub(super) fn get(&self, draw: &Draw) -> Option<Arc<RgbImage>> {
        self.kept().pictures.get(&(draw.set, draw.pair)).map(Arc::clone)
    }

    /// A picture as it is looked at: smaller where it is much larger than what is shown.
    pub(super) fn fitted<'p>(&self, picture: &'p RgbImage) -> Cow<'p, RgbImage> {
        if picture.width().min(picture.height()) < self.large {
            return Cow::Borrowed(picture);
        }
        Cow::Owned(self.smaller.resize(picture))
    }

    /// Keeps the picture of `draw`, which has been fitted, if there is room.
    pub(super) fn keep(&self, draw: &Draw, picture: Cow<'_, RgbImage>) {
        let bytes = picture.as_raw().len() as u64;
        if self.kept().room < bytes {
            return;
        }
        let picture = Arc::new(picture.into_owned());
        let mut kept = self.kept();
        // Another thread may have taken the room, or kept the same picture, by now.
        if kept.room >= bytes && !kept.pictures.contains_key(&(draw.set, draw.pair)) {
            kept.room -= bytes;
            kept.pictures.insert((draw.set, draw.pair), picture);
        }
    }

    /// What is kept is whole whatever became of a thread that held it.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(pair: usize) -> Draw {
        Draw { set: 0, pair, caption: 0, turn: 0 }
    }

    #[test]
    fn pictures_are_kept_while_there_is_room_and_each_once() {
        let cache = DecodedCache::new(10, 1000).unwrap();
        let picture = RgbImage::from_raw(10, 10, (0..=255).chain(0..44).collect()).unwrap();
        for _ in 0..2 {
            for pair in 0..5 {
                cache.keep(&draw(pair), Cow::Borrowed(&picture)); // 300 bytes
            }
        }
        let kept: Vec<bool> = (0..5).map(|pair| cache.get(&draw(pair)).is_some()).collect();
        assert_eq!(kept, [true, true, true, false, false]);
        assert_eq!(*cache.get(&draw(1)).unwrap(), picture);
        assert!(cache.get(&Draw { set: 1, ..draw(1) }).is_none());
        cache.keep(&draw(3), Cow::Owned(RgbImage::new(5, 5))); // 75 bytes of the last hundred
        assert!(cache.get(&draw(3)).is_some());
    }

    #[test]
    fn what_is_much_larger_than_what_is_shown_is_made_smaller() {
        let cache = DecodedCache::new(10, 0).unwrap();
        let size = |width, height| cache.fitted(&RgbImage::new(width, height)).dimensions();
        assert_eq!([size(19, 300), size(20, 40), size(80, 20)], [(19, 300), (15, 30), (60, 15)]);
        assert!(DecodedCache::new(0, 0).is_err());
    }
}

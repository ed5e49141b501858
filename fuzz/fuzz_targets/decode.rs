//! Any bytes through the decoder and the processor: an answer within the limits or an error.
#![no_main]

use clip::image::{DecodeLimits, ImageProcessor, ImageProcessorConfig, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = DecodeLimits { max_pixels: 1_000_000, ..DecodeLimits::default() };
    if let Ok(image) = decode(bytes, &limits) {
        let pixels = u64::from(image.pixels.width()) * u64::from(image.pixels.height());
        assert!(pixels > 0 && pixels <= limits.max_pixels);
        let processor = ImageProcessor::new(ImageProcessorConfig::default())
            .expect("the default configuration makes a processor");
        let values = processor.process(&image.pixels);
        assert!(values.data.iter().all(|value| value.is_finite()));
    }
});

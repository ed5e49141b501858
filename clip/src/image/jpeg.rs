//! Whether a JPEG is whole: decoders fill what is missing with gray and say nothing.

/// Whether the end marker stands behind the first scan.
///
/// Inside entropy-coded data a 0xFF byte is always followed by 0x00 or a restart marker, so
/// `FF D9` there is the end of the image (ITU-T T.81, B.1.1.5). Segments before the first scan are
/// skipped by their length, because a thumbnail in them has an end marker of its own.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    match first_scan(bytes) {
        Some(start) => bytes[start..].windows(2).any(|pair| pair == [0xFF, 0xD9]),
        None => false,
    }
}

/// Offset behind the first start-of-scan marker.
fn first_scan(bytes: &[u8]) -> Option<usize> {
    const START_OF_SCAN: u8 = 0xDA;
    let mut at = 2; // behind the start-of-image marker
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)?;
        let marker = *bytes.get(at + 1)?;
        match marker {
            START_OF_SCAN => return Some(at + 2),
            0xFF => at += 1, // fill bytes
            // markers without a segment: stuffing, TEM, restart, start and end of image
            0x00 | 0x01 | 0xD0..=0xD9 => at += 2,
            _ => {
                let length = u16::from_be_bytes([*bytes.get(at + 2)?, *bytes.get(at + 3)?]);
                at += 2 + usize::from(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SOI, an APP1 segment that holds an end marker, SOS with its header, data, and an end.
    const WHOLE: [u8; 17] =
        [0xFF, 0xD8, 0xFF, 0xE1, 0, 4, 0xFF, 0xD9, 0xFF, 0xDA, 0, 2, 0x12, 0xFF, 0x00, 0xFF, 0xD9];

    #[test]
    fn an_end_marker_behind_the_scan_is_needed() {
        assert!(is_whole(&WHOLE));
        assert!(!is_whole(&WHOLE[..15]));
    }

    #[test]
    fn the_end_marker_of_an_embedded_thumbnail_does_not_count() {
        assert!(!is_whole(&WHOLE[..8]));
    }

    #[test]
    fn bytes_behind_the_end_do_no_harm() {
        let mut with_trailer = WHOLE.to_vec();
        with_trailer.extend([0, 1, 2, 3]);
        assert!(is_whole(&with_trailer));
    }

    #[test]
    fn no_prefix_of_a_file_panics() {
        for end in 0..WHOLE.len() {
            assert!(!is_whole(&WHOLE[..end]));
        }
    }
}

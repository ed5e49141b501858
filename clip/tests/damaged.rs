//! Damaged files of every format: an answer or an error, never a panic, never more memory than
//! the limits allow.
//!
//! Each file is a whole picture, damaged as disks, downloads and attackers do it, by a generator
//! with a fixed seed. `CLIPSIGHT_DAMAGED=1000000` makes the corpus larger, to be run by
//! hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use clip::image::{DecodeLimits, decode};

/// Damaged files of a test run.
const FILES: usize = 10_000;

/// Pixels allowed: more than each of the whole pictures has, and little enough that a header which
/// lies about its size meets the limit.
const LIMITS: DecodeLimits = DecodeLimits { max_pixels: 1_000_000, drawing_side: 1024 };

/// `SplitMix64` (Steele, Lea and Flood 2014): a few lines, the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Whole pictures of every format that is built in: the fixtures of the pixel tests.
fn whole() -> Vec<Vec<u8>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folders =
        ["pixels", "heif", "svg"].map(|folder| fs::read_dir(fixtures.join(folder)).unwrap());
    let mut paths: Vec<_> = folders.into_iter().flatten().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let mut files: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    files.retain(|bytes| decode(bytes, &LIMITS).is_ok());
    files
}

/// One to three damages: bytes changed, sizes made extreme, pieces cut, doubled, moved or lost, two
/// files run together. Headers are hit as often as all the rest, for there lie sizes and offsets.
fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(3) {
        let end = if random.below(2) == 0 { bytes.len().min(64) } else { bytes.len() };
        let at = random.below(end);
        let piece = at..bytes.len().min(at + 1 + random.below(64));
        match random.below(12) {
            0..=3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            4 if at < bytes.len() => bytes[at] = random.next() as u8,
            5 => bytes[piece].fill([0, 0x7F, 0xFF][random.below(3)]),
            6 => bytes.truncate(at),
            7 => drop(bytes.drain(piece)),
            8 => {
                let copy = bytes[piece].to_vec();
                let to = random.below(bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            9 => {
                let from = random.below(other.len());
                drop(bytes.splice(at.., other[from..].iter().copied()));
            }
            _ => bytes[piece].iter_mut().for_each(|byte| *byte = random.next() as u8),
        }
    }
}

/// Makes the checksums of a PNG's chunks right again, or nothing behind them would be looked at.
fn mend_png(bytes: &mut [u8]) {
    const SIGNATURE: usize = 8;
    let mut at = SIGNATURE;
    while bytes.starts_with(b"\x89PNG") && at + 12 <= bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let sum = at + 8 + length;
        if sum + 4 > bytes.len() {
            return;
        }
        let crc = crc32(&bytes[at + 4..sum]);
        bytes[sum..sum + 4].copy_from_slice(&crc.to_be_bytes());
        at = sum + 4;
    }
}

/// ISO 3309, as PNG uses it (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc));
    !bytes.iter().fold(u32::MAX, byte)
}

/// Memory that this process has ever had resident, in bytes, where the system says so.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn damaged_files_are_answered_without_a_panic_and_within_their_memory() {
    let count = std::env::var("CLIPSIGHT_DAMAGED").map_or(FILES, |count| count.parse().unwrap());
    let (whole, mut random) = (whole(), Random(1));
    assert!(whole.len() > 12);
    let before = peak_memory();
    let (mut decoded, mut refused) = (0, 0);
    for file in 0..count {
        let mut bytes = whole[file % whole.len()].clone();
        damage(&mut bytes, &whole[random.below(whole.len())], &mut random);
        if random.below(2) == 0 {
            mend_png(&mut bytes);
        }
        match catch_unwind(|| decode(&bytes, &LIMITS)) {
            Ok(Ok(image)) => {
                let (width, height) = image.pixels.dimensions();
                assert!(u64::from(width) * u64::from(height) <= LIMITS.max_pixels, "file {file}");
                decoded += 1;
            }
            Ok(Err(_)) => refused += 1,
            Err(_) => {
                let kept = std::env::temp_dir().join(format!("clipsight-damaged-{file}"));
                fs::write(&kept, &bytes).unwrap();
                panic!("file {file} breaks its decoder; it is kept as {}", kept.display());
            }
        }
    }
    // Damage that leaves every file whole, or none, would test one path only.
    assert!(decoded > count / 20 && refused > count / 20, "{decoded} decoded, {refused} refused");
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        let grown = (after - before) >> 20;
        assert!(grown < 256, "{grown} MiB for pictures of at most a megapixel");
    }
}

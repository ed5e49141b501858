//! What bytes are, told by their beginning: the name of a file plays no part.

use image::ImageFormat;

/// A format of pictures that people own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG.
    Jpeg,
    /// PNG, animated or not.
    Png,
    /// WebP.
    WebP,
    /// GIF.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF.
    Tiff,
    /// SVG, uncompressed.
    Svg,
    /// AV1 in HEIF; read where the feature `avif` is built in.
    Avif,
    /// HEVC in HEIF, as telephones write it; read where the feature `heic` is built in.
    Heic,
}

impl Format {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::Jpeg,
        Self::Png,
        Self::WebP,
        Self::Gif,
        Self::Bmp,
        Self::Tiff,
        Self::Svg,
        Self::Avif,
        Self::Heic,
    ];

    /// Each format whose decoder is written in Rust, and is always there, with its name there.
    #[cfg(test)]
    pub(super) fn all_in_rust() -> impl Iterator<Item = (Self, ImageFormat)> {
        Self::ALL.into_iter().filter_map(|format| Some((format, format.in_rust()?)))
    }

    /// The format that begins like this; none for what is no picture that we know.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if let Some(format) = Self::of_brands(bytes) {
            return Some(format);
        }
        if is_svg(bytes) {
            return Some(Self::Svg);
        }
        let guess = image::guess_format(bytes).ok();
        Self::ALL.into_iter().find(|format| guess.is_some() && format.in_rust() == guess)
    }

    /// HEIF names its kinds in a box at the beginning (ISO/IEC 14496-12, 4.3; 23008-12, annex B): length,
    /// `ftyp`, the brand, a version, and further brands to the end of the box.
    fn of_brands(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let brands = rest.strip_prefix(b"ftyp")?;
        let length = (u32::from_be_bytes(*length) as usize).checked_sub(8)?.min(brands.len());
        let (brands, _) = brands[..length].as_chunks::<4>();
        let named = |names: &[&[u8; 4]]| brands.iter().any(|brand| names.contains(&brand));
        if named(&[b"avif", b"avis"]) {
            return Some(Self::Avif);
        }
        // The last two are HEIF with whatever inside, which the decoder will tell.
        let heic = [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];
        named(&heic).then_some(Self::Heic)
    }

    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.facts().0
    }

    /// As a media type has it behind `image/`.
    #[must_use]
    pub fn subtype(self) -> &'static str {
        self.facts().1
    }

    /// What the decoders in Rust call it; none for what they do not read.
    pub(super) fn in_rust(self) -> Option<ImageFormat> {
        self.facts().2
    }

    fn facts(self) -> (&'static str, &'static str, Option<ImageFormat>) {
        match self {
            Self::Jpeg => ("JPEG", "jpeg", Some(ImageFormat::Jpeg)),
            Self::Png => ("PNG", "png", Some(ImageFormat::Png)),
            Self::WebP => ("WebP", "webp", Some(ImageFormat::WebP)),
            Self::Gif => ("GIF", "gif", Some(ImageFormat::Gif)),
            Self::Bmp => ("BMP", "bmp", Some(ImageFormat::Bmp)),
            Self::Tiff => ("TIFF", "tiff", Some(ImageFormat::Tiff)),
            Self::Svg => ("SVG", "svg+xml", None),
            Self::Avif => ("AVIF", "avif", None),
            Self::Heic => ("HEIC", "heic", None),
        }
    }

    /// The feature that reads it, where that is not built in.
    pub(super) fn missing_feature(self) -> Option<&'static str> {
        match self {
            Self::Avif if !cfg!(feature = "avif") => Some("avif"),
            Self::Heic if !cfg!(feature = "heic") => Some("heic"),
            _ => None,
        }
    }
}

/// Whether the first element of an XML text is `svg`, whatever stands before it: a byte order mark, a
/// declaration, comments, a document type with declarations of its own.
fn is_svg(bytes: &[u8]) -> bool {
    let mut rest = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    for _ in 0..MAX_PROLOG {
        let end: &[u8] = if rest.starts_with(b"<?") {
            b"?>"
        } else if rest.starts_with(b"<!--") {
            b"-->"
        } else if !rest.starts_with(b"<!DOCTYPE") {
            break;
        } else if rest.iter().find(|byte| b"[>".contains(byte)) == Some(&b'[') {
            b"]>"
        } else {
            b">"
        };
        let Some(at) = rest.windows(end.len()).position(|window| window == end) else {
            return false;
        };
        rest = rest[at + end.len()..].trim_ascii_start();
    }
    let Some(name) = rest.strip_prefix(b"<") else { return false };
    let name = name.strip_prefix(b"svg:").unwrap_or(name);
    name.strip_prefix(b"svg")
        .and_then(<[u8]>::first)
        .is_some_and(|byte| byte.is_ascii_whitespace() || b">/".contains(byte))
}

/// Most declarations and comments before the first element.
const MAX_PROLOG: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn svg_is_told_by_its_first_element() {
        for (text, is) in [
            ("<svg/>", true),
            ("\u{feff} \n<svg xmlns='http://www.w3.org/2000/svg'>", true),
            ("<?xml version='1.0'?><!-- a > b --><!DOCTYPE svg [<!ENTITY a '>'>]>\n<svg>", true),
            ("<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'svg11.dtd'><svg:svg >", true),
            ("<!DOCTYPE html><html><svg>", false),
            ("<svgs>", false),
            ("<!-- <svg>", false),
            ("words <svg>", false),
            ("<svg", false),
        ] {
            assert_eq!(Format::of(text.as_bytes()), is.then_some(Format::Svg), "{text}");
        }
    }

    fn ftyp(brands: &[&[u8; 4]]) -> Vec<u8> {
        let mut bytes = (8 + 4 * brands.len() as u32).to_be_bytes().to_vec();
        bytes.extend(b"ftyp");
        bytes.extend(brands.iter().copied().flatten());
        bytes.extend(b"\0\0\0\x20metaavifheic");
        bytes
    }

    #[test]
    fn heif_is_told_by_any_of_its_brands() {
        let version = b"\0\0\0\0";
        for (brands, format) in [
            (&[b"avif", version, b"mif1", b"miaf"][..], Some(Format::Avif)),
            (&[b"mif1", version, b"mif1", b"avif"][..], Some(Format::Avif)),
            (&[b"heic", version, b"mif1", b"heic"][..], Some(Format::Heic)),
            (&[b"mif1", version, b"heix"][..], Some(Format::Heic)),
            (&[b"isom", version, b"mp41"][..], None),
            (&[][..], None),
        ] {
            assert_eq!(Format::of(&ftyp(brands)), format, "{brands:?}");
        }
    }

    #[test]
    fn beginnings_of_any_length_are_borne() {
        let whole = ftyp(&[b"heic", b"\0\0\0\0", b"mif1"]);
        for length in 0..whole.len() {
            let known = Format::of(&whole[..length]);
            assert_eq!(known.is_some(), length >= 12, "{length}");
        }
        // A box that claims to be shorter than its own head.
        assert_eq!(Format::of(b"\0\0\0\x04ftypheic"), None);
    }
}

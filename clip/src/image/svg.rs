//! SVG by resvg: shapes, gradients, filters; neither text, since there are no fonts, nor embedded
//! pictures.
//!
//! An SVG is a program for a painter, so nothing of it is trusted: no link is followed, not even to a
//! file of this machine; no script exists here; what it may cost is bounded before it is painted.

use image::RgbImage;
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::filter::Kind;
use resvg::usvg::{Group, ImageHrefResolver, Node, Options, Path, Rect, Tree, roxmltree};

use super::decode::{DecodeError, DecodeLimits};
use super::format::Format;

/// Largest file; each byte can become a node of some hundred bytes.
const MAX_BYTES: usize = 16 << 20;
/// Most elements, attributes and texts of a file.
const MAX_NODES: u32 = 500_000;
/// Most bytes that named entities may grow into.
const MAX_EXPANSION: usize = 1 << 20;
/// Most layers that lie within each other: each is a canvas of its own.
const MAX_LAYERS: u32 = 32;
/// Most work, in pixels touched: some seconds.
const MAX_WORK: u64 = 1_500_000_000;
/// What most steps of a filter cost for each pixel, beside filling it.
const FILTER_STEP: u64 = 40;
/// What a point of an outline costs, and what a dash does.
const OUTLINE: u64 = 100;

/// Parsing and painting go as deep as elements are nested, which the parser stops at 1,024.
const STACK_BYTES: usize = 64 << 20;

/// Why a drawing is not painted.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("its {found} bytes are more than {MAX_BYTES}, which is all that is read of an SVG")]
    TooLong { found: usize },
    #[error("it is not UTF-8")]
    Encoding(#[from] std::str::Utf8Error),
    #[error("its entities grow into more than {MAX_EXPANSION} bytes")]
    Entities,
    #[error("its XML is damaged, or has more than {MAX_NODES} nodes")]
    Xml(#[from] roxmltree::Error),
    #[error("it cannot be understood")]
    Drawing(#[from] resvg::usvg::Error),
    #[error("it draws nothing but text or embedded pictures, which are left out")]
    Blank,
    #[error("it nests more than {MAX_LAYERS} layers")]
    Layers,
    #[error("it takes too long to paint")]
    Work,
    #[error("there is no memory or thread to paint it")]
    Resources,
}

/// Paints an SVG on white, its longer side [`DecodeLimits::drawing_side`] pixels long or as long as the limits allow.
///
/// # Errors
/// [`DecodeError::Broken`] for what is damaged, draws nothing, or costs too much.
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    let broken =
        |source: Refusal| DecodeError::Broken { format: Format::Svg, source: Box::new(source) };
    std::thread::scope(|scope| {
        let painter = std::thread::Builder::new().name("svg".to_owned()).stack_size(STACK_BYTES);
        let painting = painter
            .spawn_scoped(scope, || paint(bytes, limits))
            .map_err(|_| broken(Refusal::Resources))?;
        // A panic of the painter is a fault of this drawing alone.
        painting.join().unwrap_or(Err(Refusal::Work)).map_err(broken)
    })
}

fn paint(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage, Refusal> {
    let tree = parse(bytes)?;
    let canvas = Canvas::of(tree.size().width(), tree.size().height(), limits);
    let Canvas { width, height, scale } = canvas;
    if !tree.root().has_children() {
        return Err(Refusal::Blank);
    }
    work(tree.root(), &canvas, 0, MAX_WORK)?;
    let mut pixmap = Pixmap::new(width, height).ok_or(Refusal::Resources)?;
    pixmap.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    // On white everything is opaque, so that multiplied and straight alpha are the same.
    let (pixels, _) = pixmap.data().as_chunks::<4>();
    let rgb = pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect();
    RgbImage::from_raw(width, height, rgb).ok_or(Refusal::Resources)
}

/// The tree of shapes, with every link cut.
fn parse(bytes: &[u8]) -> Result<Tree, Refusal> {
    if bytes.len() > MAX_BYTES {
        return Err(Refusal::TooLong { found: bytes.len() });
    }
    let text = std::str::from_utf8(bytes)?;
    if !entities_are_small(text) {
        return Err(Refusal::Entities);
    }
    let reading = roxmltree::ParsingOptions {
        allow_dtd: true,
        nodes_limit: MAX_NODES,
        ..roxmltree::ParsingOptions::default()
    };
    let document = roxmltree::Document::parse_with_options(text, reading)?;
    // Without these the parser would read files that the drawing names.
    let image_href_resolver = ImageHrefResolver {
        resolve_data: Box::new(|_, _, _| None),
        resolve_string: Box::new(|_, _| None),
    };
    let options = Options { image_href_resolver, ..Options::default() };
    Ok(Tree::from_xmltree(&document, &options)?)
}

/// Whether named entities, which an XML file may declare in its head, stay small however often they are
/// used. One that names another could grow with every level, so none may.
fn entities_are_small(text: &str) -> bool {
    let Some(declared) = text.find("<!ENTITY") else { return true };
    let end = text[declared..].find("]>").map_or(text.len(), |end| declared + end);
    let (head, body) = (&text[declared..end], &text[end..]);
    let uses = body.bytes().filter(|&byte| byte == b'&').count();
    !head.contains(['&', '%']) && head.len().saturating_mul(uses) <= MAX_EXPANSION
}

/// What a drawing is painted on.
#[derive(Debug, PartialEq)]
struct Canvas {
    /// In pixels.
    width: u32,
    /// In pixels.
    height: u32,
    /// Pixels for one of the drawing's own units.
    scale: f32,
}

impl Canvas {
    /// For a drawing of this size in its own units.
    fn of(width: f32, height: f32, limits: &DecodeLimits) -> Self {
        let longest = limits.drawing_side.max(1) as f32;
        let scale = longest / width.max(height);
        let wanted = f64::from(width * scale) * f64::from(height * scale);
        let shrink = (limits.max_pixels as f64 / wanted).sqrt().min(1.0) as f32;
        let scale = scale * shrink;
        let side = |length: f32| (length * scale).floor().clamp(1.0, longest) as u32;
        Self { width: side(width), height: side(height), scale }
    }

    /// In pixels.
    fn area(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Pixels in a box in the drawing's own units, most of which may lie outside.
    fn pixels(&self, bounds: Rect) -> u64 {
        let side = |length: f32| f64::from(length * self.scale).ceil();
        (side(bounds.width()) * side(bounds.height())) as u64
    }
}

/// What is left of `budget`, in pixels, after this group is painted: an upper bound, in which each shape
/// fills the box around it.
///
/// # Errors
/// [`Refusal::Work`] and [`Refusal::Layers`], as soon as they are sure.
fn work(group: &Group, canvas: &Canvas, layers: u32, budget: u64) -> Result<u64, Refusal> {
    if layers > MAX_LAYERS {
        return Err(Refusal::Layers);
    }
    let mut left = budget;
    for node in group.children() {
        left = left.checked_sub(own_work(node, canvas)).ok_or(Refusal::Work)?;
        let mut inner = Ok(left);
        node.subroots(|root| {
            if let Ok(left) = inner {
                inner = left.checked_sub(canvas.area()).ok_or(Refusal::Work);
            }
            if let Ok(left) = inner {
                inner = work(root, canvas, layers + 1, left);
            }
        });
        left = inner?;
        if let Node::Group(inner) = node {
            let isolated = u32::from(inner.should_isolate());
            left = work(inner, canvas, layers + isolated, left)?;
        }
    }
    Ok(left)
}

/// Pixels and points that a node itself costs, without what lies in it.
fn own_work(node: &Node, canvas: &Canvas) -> u64 {
    match node {
        Node::Group(group) => {
            let layer = u64::from(group.should_isolate()) * canvas.area();
            layer.saturating_add(filter_work(group, canvas))
        }
        Node::Path(path) => path_work(path, canvas),
        Node::Image(_) | Node::Text(_) => 0,
    }
}

fn path_work(path: &Path, canvas: &Canvas) -> u64 {
    let bounds = path.abs_stroke_bounding_box();
    let points = path.data().len() as u64;
    let dashes = path.stroke().and_then(|stroke| stroke.dasharray()).map_or(0.0, |dashes| {
        // No segment is longer than the two sides of the box around the path.
        let own = path.bounding_box();
        let length = points as f32 * (own.width() + own.height());
        length / dashes.iter().sum::<f32>().max(f32::MIN_POSITIVE) * dashes.len() as f32
    });
    let outline = OUTLINE.saturating_mul(points.saturating_add(dashes as u64));
    canvas.pixels(bounds).min(canvas.area()).saturating_add(outline)
}

/// What the filters of a group cost: some steps look at a neighborhood of each pixel.
fn filter_work(group: &Group, canvas: &Canvas) -> u64 {
    // Filters are computed two canvases beyond each edge: what lies there can come in.
    let region = canvas.pixels(group.abs_layer_bounding_box().to_rect()).min(25 * canvas.area());
    let (x, y) = group.abs_transform().get_scale();
    let scale = canvas.scale * x.max(y);
    let side = |radius: f32, most: u32| (2.0 * radius * scale + 1.0).min(most as f32) as u64;
    let steps = group.filters().iter().flat_map(|filter| filter.primitives());
    let efforts = steps.map(|step| match step.kind() {
        Kind::Turbulence(noise) => FILTER_STEP.saturating_mul(u64::from(noise.num_octaves())),
        Kind::ConvolveMatrix(kernel) => {
            u64::from(kernel.matrix().columns()) * u64::from(kernel.matrix().rows())
        }
        Kind::Morphology(grown) => {
            let (x, y) = (grown.radius_x().get(), grown.radius_y().get());
            side(x, canvas.width) * side(y, canvas.height)
        }
        _ => FILTER_STEP,
    });
    let effort = efforts.fold(0, |sum: u64, effort| sum.saturating_add(effort.max(FILTER_STEP)));
    region.saturating_mul(effort)
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::*;

    const HEAD: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 40 20""#;

    fn drawn(body: &str) -> Result<RgbImage, DecodeError> {
        let svg = format!("{HEAD}>{body}</svg>");
        decode(svg.as_bytes(), &DecodeLimits::default()).map(|decoded| decoded.pixels)
    }

    fn refusal(body: &str) -> String {
        let error = drawn(body).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    }

    #[test]
    fn shapes_are_painted_on_white_at_one_size() {
        let picture =
            drawn(r##"<rect width="20" height="20" fill="#f00" fill-opacity=".5"/>"##).unwrap();
        assert_eq!(picture.dimensions(), (1024, 512));
        assert_eq!(picture.get_pixel(100, 100).0, [255, 127, 127]);
        assert_eq!(picture.get_pixel(900, 100).0, [255; 3]);
    }

    #[test]
    fn size_keeps_to_the_limits_and_one_pixel_remains() {
        let limits = DecodeLimits { max_pixels: 800, ..DecodeLimits::default() };
        assert_eq!(Canvas::of(40.0, 20.0, &limits).width, 40);
        let thin = Canvas { width: 1024, height: 1, scale: 1024.0 / 1e6 };
        assert_eq!(Canvas::of(1e6, 1.0, &DecodeLimits::default()), thin);
        assert!((1..=1024).contains(&Canvas::of(1.0, 3e38, &limits).area()));
        let small = DecodeLimits { drawing_side: 300, ..DecodeLimits::default() };
        assert_eq!(Canvas::of(40.0, 20.0, &small), Canvas { width: 300, height: 150, scale: 7.5 });
    }

    #[test]
    fn what_draws_nothing_is_no_picture() {
        let text = refusal(r#"<text x="1" y="9">words</text>"#);
        assert!(text.contains("nothing but text"), "{text}");
        for damaged in ["<svg", "<svg xmlns='http://www.w3.org/2000/svg'><g></svg>"] {
            assert!(decode(damaged.as_bytes(), &DecodeLimits::default()).is_err());
        }
    }

    /// A picture of this machine, by every way in which an SVG can name one.
    #[test]
    fn no_file_is_read_through_a_link() {
        let temp = tempfile::tempdir().unwrap();
        let secret = temp.path().join("secret.png");
        RgbImage::from_pixel(4, 4, image::Rgb([255, 0, 0])).save(&secret).unwrap();
        let inner = temp.path().join("secret.svg");
        std::fs::write(
            &inner,
            format!(r#"{HEAD}><rect width="40" height="20" fill="red"/></svg>"#),
        )
        .unwrap();
        for file in [&secret, &inner] {
            let path = file.display();
            for link in [format!("{path}"), format!("file://{path}"), format!("file://{path}#a")] {
                let body = format!(
                    r##"<style>@import url("{link}");</style>
                    <filter id="f"><feImage xlink:href="{link}"/></filter>
                    <circle cx="1" cy="1" r="1" fill="#00f"/>
                    <image xlink:href="{link}" href="{link}" width="40" height="20"/>
                    <use xlink:href="{link}"/><use href="{link}"/>
                    <rect x="20" width="20" height="20" fill="none" filter="url(#f)"/>
                    <rect x="20" width="20" height="20" fill="url({link})"/>"##
                );
                let picture = drawn(&body).unwrap();
                let red = picture.pixels().any(|pixel| pixel.0[0] > 200 && pixel.0[1] < 100);
                assert!(!red, "{link} was read");
            }
        }
        // As an entity of the XML.
        let entity = format!(
            r#"<!DOCTYPE svg [<!ENTITY e SYSTEM "file://{}">]>{HEAD}><g>&e;</g><path d="M0 0h9v9"/></svg>"#,
            inner.display()
        );
        let read = decode(entity.as_bytes(), &DecodeLimits::default());
        assert!(read.is_err() || read.is_ok_and(|d| d.pixels.get_pixel(900, 400).0 == [255; 3]));
    }

    #[test]
    fn entities_and_uses_that_multiply_are_refused() {
        let laughs = |inner: &str| {
            let head = format!(r#"<!DOCTYPE svg [<!ENTITY a "{}">{inner}]>"#, "ha".repeat(2000));
            let body =
                format!("{HEAD}><desc>{}</desc><path d='M0 0h9v9'/></svg>", "&a;".repeat(9999));
            decode((head + &body).as_bytes(), &DecodeLimits::default()).is_err()
        };
        assert!(laughs(""));
        assert!(laughs(r#"<!ENTITY b "&a;&a;&a;">"#));
        let small = format!(
            r#"<!DOCTYPE svg [<!ENTITY red "fill='red'">]>{HEAD}><path d="M0 0h9v9" id="&red;"/></svg>"#
        );
        decode(small.as_bytes(), &DecodeLimits::default()).unwrap();

        let mut uses = r#"<defs><path id="u0" d="M0 0h40v20"/>"#.to_owned();
        for level in 1..12 {
            let previous = format!(r##"<use href="#u{}"/>"##, level - 1).repeat(10);
            uses += &format!(r#"<g id="u{level}">{previous}</g>"#);
        }
        refusal(&format!(r##"{uses}</defs><use href="#u11"/>"##));
    }

    #[test]
    fn what_would_take_minutes_is_refused_in_time() {
        let started = std::time::Instant::now();
        let deep = "<g opacity='.9'><rect width='9' height='9'/>".repeat(200) + &"</g>".repeat(200);
        assert!(refusal(&deep).contains("layers"));
        let steps = "<feTurbulence baseFrequency='.1' numOctaves='9'/>".repeat(500);
        let filtered = format!(
            "<filter id='f' width='9' height='9'>{steps}</filter><rect width='40' height='20' filter='url(#f)'/>"
        );
        assert!(refusal(&filtered).contains("too long"));
        for step in [
            "<feMorphology radius='30'/>",
            "<feTurbulence baseFrequency='.1' numOctaves='1000000'/>",
        ] {
            let heavy = format!(
                "<filter id='f'>{step}</filter><rect width='40' height='20' filter='url(#f)'/>"
            );
            assert!(refusal(&heavy).contains("too long"), "{step}");
        }
        let dashed = "<path d='M0 0L40 20' stroke='red' stroke-dasharray='.00001'/>".repeat(100);
        assert!(refusal(&dashed).contains("too long"));
        let shadow = "<filter id='f'><feDropShadow/></filter><g filter='url(#f)'><rect width='9' height='9'/></g>";
        drawn(&shadow.replace("rect", "rect stroke-dasharray='1' stroke='red'")).unwrap();
        refusal(&("<g>".repeat(100_000) + &"</g>".repeat(100_000)));
        assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
    }
}

//! Pictures that cannot be used, or on which there is little to see.

use super::{Finding, Kind, Look, Seen, Severity, counted};

/// Pixels of a shorter side below which little can be seen; towers take 224 and more.
const TINY: u32 = 64;

/// The longer side may be so many times the shorter one.
const MOST_EXTREME: f64 = 3.0;

/// Megapixels of a mean picture above which decoding holds a training up.
const LARGE: f64 = 4.0;

/// All that is wrong with the pictures of a set by themselves.
pub(super) fn findings(seen: &Seen<'_>) -> Vec<Finding> {
    let [tiny, extreme, blank] = of_each(seen);
    [left_out(seen), broken(seen), blank, tiny, extreme, large(seen)]
        .into_iter()
        .flatten()
        .collect()
}

fn left_out(seen: &Seen<'_>) -> Option<Finding> {
    let things: Vec<String> =
        seen.set.bad.iter().map(|bad| format!("{}: {}", bad.key, bad.reason)).collect();
    let (number, all) = (things.len(), things.len() + seen.set.pairs.len());
    let finding = Finding {
        kind: Kind::LeftOut,
        severity: Severity::Harm,
        what: format!(
            "{number} of {} of {} will be left out",
            counted(all, "sample", "samples"),
            seen.set.name()
        ),
        cure: "give each picture its caption or class and each text its picture, or take it out",
        things,
    };
    (number > 0).then_some(finding)
}

fn broken(seen: &Seen<'_>) -> Option<Finding> {
    let bad = seen.looks.iter().filter_map(|look| look.as_ref().err());
    let things: Vec<String> = bad.map(|bad| format!("{}: {}", bad.key, bad.reason)).collect();
    let finding = Finding {
        kind: Kind::BrokenPicture,
        severity: Severity::Harm,
        what: of(seen, things.len(), "cannot be decoded and will be left out"),
        cure: "fetch or write it anew, or take it out",
        things,
    };
    (!finding.things.is_empty()).then_some(finding)
}

/// What each picture is judged by alone: too small, of an extreme shape, of one color.
fn of_each(seen: &Seen<'_>) -> [Option<Finding>; 3] {
    let tiny = |look: &Look| look.width.min(look.height) < TINY;
    let extreme = |look: &Look| {
        let [width, height] = [look.width, look.height].map(f64::from);
        width.max(height) > MOST_EXTREME * width.min(height)
    };
    let size = |look: &Look| format!("{}×{}", look.width, look.height);
    [
        finding(
            seen,
            (Kind::TinyPicture, Severity::Harm, tiny),
            &format!("with fewer than {TINY} pixels on a side"),
            "find it larger or take it out; enlarged it shows no more",
            size,
        ),
        finding(
            seen,
            (Kind::ExtremeShape, Severity::Note, extreme),
            &format!("more than {MOST_EXTREME} times as long as wide, or the other way round"),
            "cut it into parts of its own: \"shortest\" shows the model its middle alone, and \"squash\" \
             takes its shape",
            size,
        ),
        finding(
            seen,
            (Kind::BlankPicture, Severity::Harm, |look: &Look| look.blank),
            "of a single color",
            "take it out; it stands in for a picture that is gone, and what is said of it cannot be seen",
            size,
        ),
    ]
}

fn finding(
    seen: &Seen<'_>,
    (kind, severity, is): (Kind, Severity, impl Fn(&Look) -> bool),
    words: &str,
    cure: &'static str,
    shown: impl Fn(&Look) -> String,
) -> Option<Finding> {
    let those = seen.whole().filter(|(_, look)| is(look));
    let things: Vec<String> = those.map(|(key, look)| format!("{key}: {}", shown(look))).collect();
    let what = of(seen, things.len(), words);
    (!things.is_empty()).then_some(Finding { kind, severity, what, cure, things })
}

fn large(seen: &Seen<'_>) -> Option<Finding> {
    let megapixels = |look: &Look| f64::from(look.width) * f64::from(look.height) / 1e6;
    let (mut number, mut sum) = (0.0, 0.0);
    for (_, look) in seen.whole() {
        (number, sum) = (number + 1.0, sum + megapixels(look));
    }
    if number == 0.0 || sum / number <= LARGE {
        return None;
    }
    let those = seen.whole().filter(|(_, look)| megapixels(look) > LARGE);
    Some(Finding {
        kind: Kind::LargePictures,
        severity: Severity::Note,
        what: format!(
            "the pictures of {} have {:.1} megapixels in the mean",
            seen.set.name(),
            sum / number
        ),
        cure: "make copies whose shorter side is 512 pixels: a learning image tower decodes each of them \
               in every epoch",
        things: those.map(|(key, look)| format!("{key}: {}×{}", look.width, look.height)).collect(),
    })
}

/// `words: 3 of 24 pictures of x.tar`
fn of(seen: &Seen<'_>, number: usize, words: &str) -> String {
    let all = counted(seen.set.pairs.len(), "picture", "pictures");
    format!("{words}: {number} of {all} of {}", seen.set.name())
}

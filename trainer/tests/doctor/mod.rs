//! `doctor` on sets with planted faults: each is found, named with its cure, and nothing else is.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use clip::image::{ImageFormat, RgbImage};
use serde_json::Value;
use tempfile::TempDir;

use crate::commands::{text, trainer};
use crate::tiny::{self, World};

/// A photograph of its own for each number, `width` by `height` pixels: waves across and down.
fn photo(number: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
        let wave = |channel: u32| {
            let across =
                (x * f64::from(3 + (number + channel) % 5) * 2.0 + f64::from(number)).sin();
            let down = (y * f64::from(2 + (number * 3 + channel) % 7) * 2.0).cos();
            (127.0 + 60.0 * across + 60.0 * down) as u8
        };
        [wave(0), wave(1), wave(2)].into()
    })
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn png(number: u32) -> Vec<u8> {
    encoded(&photo(number, 160, 120), ImageFormat::Png)
}

/// A folder of sets.
struct Sets(TempDir);

impl Sets {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path: PathBuf = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn pair(&self, stem: &str, picture: &[u8], captions: &str) {
        self.write(&format!("{stem}.png"), picture);
        self.write(&format!("{stem}.txt"), captions.as_bytes());
    }

    /// Pairs without fault, with pictures of these numbers.
    fn good(&self, set: &str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.pair(
                &format!("{set}/good{number}"),
                &png(number),
                &format!("scene number {number}"),
            );
        }
    }

    /// Runs the doctor; its report and its exit code.
    fn examine(&self, args: &[&str]) -> (Value, Option<i32>) {
        let args: Vec<&str> = ["doctor", "--json"].iter().chain(args).copied().collect();
        let output = trainer(self.path(), &args);
        let report = serde_json::from_slice(&output.stdout);
        (report.unwrap_or_else(|_| panic!("{}", text(&output.stderr))), output.status.code())
    }
}

/// `severity kind: first thing` of every finding.
fn told(report: &Value) -> Vec<String> {
    let words = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap();
    let one = |finding: &Value| {
        assert!(!words(&finding["what"]).is_empty() && !words(&finding["cure"]).is_empty());
        let (severity, kind) = (words(&finding["severity"]), words(&finding["kind"]));
        format!("{severity} {kind}: {}", words(&finding["things"][0]))
    };
    findings.iter().map(one).collect()
}

#[test]
fn a_set_without_fault_is_clean_and_ends_with_zero() {
    let sets = Sets::new();
    sets.good("train", 0..8);
    sets.good("dev", 8..12);
    let (report, code) = sets.examine(&["train", "dev"]);
    assert_eq!((told(&report), code), (vec![], Some(0)));
    assert_eq!(report["sets"][0]["pictures"], 8);
    assert_eq!(report["sets"][1]["captions"], 4);
    assert_eq!(report["sets"][1]["smallest"], serde_json::json!([160, 120]));
    assert_eq!(report["sets"][0]["median_words"], 3);
}

#[test]
fn faults_of_pictures_are_named() {
    let sets = Sets::new();
    sets.good("s", 0..8);
    let whole = png(20);
    sets.pair("s/cut", &whole[..whole.len() / 2], "a picture that is cut off");
    sets.write("s/mute.png", &png(21));
    let blank = RgbImage::from_pixel(160, 120, [250, 250, 250].into());
    sets.pair("s/blank", &encoded(&blank, ImageFormat::Png), "a picture that is gone");
    sets.pair("s/tiny", &encoded(&photo(22, 80, 60), ImageFormat::Png), "a thumb nail");
    sets.pair("s/wide", &encoded(&photo(23, 640, 100), ImageFormat::Png), "a wide view");
    let (report, code) = sets.examine(&["s"]);
    let found = told(&report);
    assert_eq!(
        found
            .iter()
            .map(|line| line.split_once(" cannot").map_or(&**line, |l| l.0))
            .collect::<Vec<_>>(),
        [
            "harm left_out: mute: has no .txt and no .cls",
            "harm broken_picture: cut: the PNG",
            "harm blank_picture: blank: 160×120",
            "harm tiny_picture: tiny: 80×60",
            "note extreme_shape: wide: 640×100",
        ]
    );
    assert_eq!(code, Some(1));
}

#[test]
fn faults_of_captions_are_named() {
    let sets = Sets::new();
    sets.good("s", 0..8);
    for (stem, number, captions) in [
        ("a", 8, "Two dogs run .\ntwo dogs"),
        ("b", 9, "two dogs run"),
        ("c", 10, "a cat on a mat"),
        ("d", 11, "a cat on a mat\na cat on a mat"),
        ("e", 12, "DSC_0001.JPG"),
        ("f", 13, "lighthouse"),
    ] {
        sets.pair(&format!("s/{stem}"), &png(number), captions);
    }
    let (report, code) = sets.examine(&["s"]);
    assert_eq!(
        told(&report),
        [
            "harm same_words: \"Two dogs run .\" (a), \"two dogs run\" (b)",
            "harm odd_caption: e: a file's name, \"DSC_0001.JPG\"",
            "note same_caption: \"a cat on a mat\": 2 pictures (c, d)",
            "note short_caption: f: \"lighthouse\"",
        ]
    );
    assert_eq!(code, Some(1));
}

#[test]
fn a_caption_that_stands_for_many_pictures_is_named() {
    let sets = Sets::new();
    sets.good("s", 0..8);
    for number in 8..18 {
        sets.pair(&format!("s/p{number}"), &png(number), "no description given");
    }
    let (report, _) = sets.examine(&["s"]);
    let found = told(&report);
    assert_eq!(found[0], "harm common_caption: \"no description given\": 10 pictures");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn twins_are_found_through_size_and_compression_within_and_across_sets() {
    let sets = Sets::new();
    sets.good("train", 0..12);
    sets.good("dev", 12..16);
    let copy = encoded(&photo(3, 320, 240), ImageFormat::Jpeg);
    sets.write("train/copy.jpg", &copy);
    sets.write("train/copy.txt", b"another view of number three");
    sets.pair("dev/leak", &encoded(&photo(5, 240, 180), ImageFormat::Png), "number five once more");
    let (report, code) = sets.examine(&["train", "dev"]);
    assert_eq!(
        told(&report),
        ["harm twins_across: leak ~ good5", "harm twins_within: copy, good3"]
    );
    let what = report["findings"][0]["what"].as_str().unwrap();
    assert_eq!(what, "1 of 5 pictures of dev look like pictures of train");
    assert_eq!(code, Some(1));
}

#[test]
fn faults_of_classes_are_named() {
    let sets = Sets::new();
    for number in 0..12 {
        sets.write(&format!("train/cat/{number}.png"), &png(number));
    }
    sets.write("train/dog/12.png", &png(12));
    sets.write("train/cow/0.png", &png(0));
    sets.write("train/cow/13.png", &png(13));
    for (class, number) in
        [("cat", 14), ("Dog", 15), ("Dog", 16), ("cow", 17), ("cat", 18), ("cow", 19)]
    {
        sets.write(&format!("dev/{class}/{number}.png"), &png(number));
    }
    let (report, code) = sets.examine(&["train", "dev"]);
    let found = told(&report);
    let [imbalance, contradicting, lone, twins, other] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(imbalance, "harm imbalance: cat: 12 pictures");
    assert!(
        contradicting.starts_with("harm contradicting_classes: cat/0.png of "),
        "{contradicting}"
    );
    assert!(contradicting.contains("cow/0.png") && contradicting.ends_with(" is cow"));
    assert_eq!(lone, "note lone_class: dog");
    assert_eq!(twins, "note twins_within: cat/0.png, cow/0.png");
    assert!(
        other.starts_with("note other_classes: dog (only ") && other.contains("has Dog"),
        "{other}"
    );
    assert_eq!(code, Some(1));
}

#[test]
fn a_class_that_no_picture_shows_is_named() {
    let sets = Sets::new();
    sets.write("classes.txt", b"cat\ndog\nunicorn\n");
    let member = |number: u32| {
        let (stem, class) = (format!("{number}"), (number % 2).to_string());
        [(format!("{stem}.png"), png(number)), (format!("{stem}.cls"), class.into_bytes())]
    };
    tiny::write_tar(&sets.path().join("x.tar"), (0..6).flat_map(member));
    let (report, code) = sets.examine(&["x.tar"]);
    assert_eq!((told(&report), code), (vec!["harm empty_class: unicorn".to_owned()], Some(1)));
}

#[test]
fn captions_are_counted_in_the_tokens_of_the_recipe() {
    let world = World::new();
    let sets = Sets::new();
    sets.good("s", 0..4);
    // The tower takes 40 tokens, two of which are special.
    sets.pair("s/long", &png(4), &"a red picture ".repeat(13));
    sets.pair("s/fits", &png(5), &format!("{}this", "a blue picture ".repeat(12)));
    let recipe = world.at("recipe.toml");
    let (report, code) = sets.examine(&["s", "--for", recipe.to_str().unwrap()]);
    let found = told(&report);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("harm long_caption: long: 41 tokens, \"a red picture a red"),
        "{found:?}"
    );
    assert_eq!((report["context_length"].as_u64(), code), (Some(40), Some(1)));
    let (report, _) = sets.examine(&["s"]);
    assert_eq!((told(&report), report["context_length"].as_u64()), (vec![], None));
}

#[test]
fn a_recipe_alone_names_its_sets_and_the_table_says_what_would_help() {
    let world = World::new();
    world.break_pictures();
    let output = trainer(&world.at(""), &["doctor", "--for", "recipe.toml"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    for words in [
        "captions.tar · 10 pictures, 10 captions",
        "labels.tar · 24 pictures, 6 classes",
        "harm  cannot be decoded and will be left out: 2 of 10 pictures of ",
        "      cut: ",
        "      → fetch or write it anew, or take it out",
        "captions were held against 40 tokens",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn what_cannot_be_examined_ends_with_two() {
    let world = World::new();
    for (args, words) in [
        (&["doctor"][..], "<DATA>"),
        (&["doctor", "no.tar"], "no.tar"),
        (&["doctor", "captions.tar", "--for", "nowhere"], "nowhere"),
        (&["doctor", "--for", "image"], "config.json"),
    ] {
        let output = trainer(&world.at(""), args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(words) && text(&output.stdout).is_empty(), "{args:?}: {said}");
    }
}

//! Augmentation by a line in a recipe: what is trained, what repeats, and what is refused.

use std::path::Path;

use clipsight_trainer::recipe::load;
use clipsight_trainer::run::Run;

use crate::commands::{text, trainer};
use crate::tiny::World;
use crate::training::{go, resumes_exactly, series};

/// Both towers learn.
const LEARNING: [&str; 2] = ["model.image.learning_rate=1e-4", "model.text.learning_rate=1e-3"];

const COLORFUL: [&str; 6] = [
    "image.color_jitter=[0.4, 0.4, 0.4, 0.1]",
    "image.grayscale=0.2",
    "image.blur=0.5",
    "image.solarize=0.1",
    "image.crop_scale=[0.3, 1]",
    "image.flip=0.5",
];

fn wordnet() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/wordnet");
    format!("text.synonyms={{ wordnet = \"{}\", probability = 0.5 }}", folder.display())
}

#[test]
fn a_resumed_run_with_everything_on_equals_an_uninterrupted_one() {
    let world = World::new();
    let synonyms = wordnet();
    let words = ["text.word_dropout=0.2", "text.shuffle=2", &synonyms, "train.epochs=2"];
    let recipe = world.recipe(&[&LEARNING[..], &COLORFUL, &words].concat());
    resumes_exactly(&world, &recipe);
}

/// The losses of a short training.
fn losses(world: &World, name: &str, sets: &[&str]) -> Vec<(u64, f64)> {
    let recipe = world.recipe(&[&LEARNING[..], &["train.epochs=1"], sets].concat());
    let run = Run::create(&world.at(name), recipe).unwrap();
    go(&run, None).0.unwrap();
    series(&run.folder, "loss")
}

#[test]
fn each_key_changes_what_is_seen() {
    let world = World::new();
    let plain = losses(&world, "plain", &[]);
    assert_eq!(losses(&world, "again", &[]), plain);
    let synonyms = wordnet();
    let single = [
        COLORFUL[0],
        "image.grayscale=1",
        "image.blur=1",
        "image.solarize=1",
        "text.word_dropout=0.5",
        "text.shuffle=3",
        &synonyms,
    ];
    for (number, set) in single.into_iter().enumerate() {
        assert_ne!(losses(&world, &format!("with{number}"), &[set]), plain, "{set}");
    }
}

#[test]
fn back_translations_are_asked_for_once_and_drawn_as_captions() {
    let world = World::new();
    let script = "echo asked >> asked; sed 's/picture/photo/; s/^this/a/'";
    let command = format!("text.back_translation={{ command = [\"sh\", \"-c\", \"{script}\"] }}");
    let here = world.at("");
    let arguments = ["train", "recipe.toml", "--out", "r", "--set", &command];
    let output = trainer(&here, &arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    // Two captions for each of 24 pictures; "this is red" for each of as many labelled ones.
    assert!(said.contains("72 captions added by back translation"), "{said}");
    let again = trainer(&here, &["train", "--resume", "r"]);
    assert_eq!(again.status.code(), Some(0), "{}", text(&again.stderr));
    let asked = std::fs::read_to_string(world.at("asked")).unwrap();
    assert_eq!(asked.lines().count(), 1);
}

#[test]
fn what_cannot_be_done_names_the_key_the_reason_and_the_way_out() {
    let world = World::new();
    let here = world.at("");
    let learns = "model.text.learning_rate=1e-3";
    let no_wordnet = "text.synonyms={ wordnet = \"nowhere\", probability = 0.2 }";
    let program = |script: &str| {
        format!("text.back_translation={{ command = [\"sh\", \"-c\", \"{script}\"] }}")
    };
    let (short, failing, silent) =
        (program("head -1"), program("cat; exit 7"), program("sed s/.*//"));
    for (sets, words) in [
        (&[no_wordnet, learns][..], &["nowhere", "index.noun", "apt-get install wordnet-base"][..]),
        (&["text.shuffle=2"], &["text.shuffle", "locked", "model.text.learning_rate"]),
        (&["image.blur=0.5"], &["image.blur", "locked", "model.image.learning_rate"]),
        (&["text.shufle=2"], &["`shufle`", "`word_dropout`", "`synonyms`"]),
        (&[short.as_str()], &["sh", "1 lines for", "one line for each"]),
        (&[failing.as_str()], &["sh", "text.back_translation.command", "exit status: 7"]),
        (&[silent.as_str()], &["empty line 1", "repeat a caption"]),
        (
            &["text.back_translation={ command = [\"no-such-program\"] }"],
            &["no-such-program", "text.back_translation.command", "PATH"],
        ),
    ] {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        let arguments: Vec<&str> = ["train", "recipe.toml"].into_iter().chain(sets).collect();
        let output = trainer(&here, &arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(said.matches("error: ").count(), 1, "{said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {said} does not say {word}");
        }
    }
}

#[test]
fn keys_out_of_their_range_are_refused_with_it() {
    let world = World::new();
    for (set, words) in [
        ("image.color_jitter=[0.4, 0.4, 0.4, 0.6]", ["image.color_jitter", "hue from 0 to 0.5"]),
        ("image.color_jitter=[-1, 0, 0, 0]", ["image.color_jitter", "from 0 to 10"]),
        ("image.color_jitter=[0.4, 0.4]", ["color_jitter", "array of length 4"]),
        ("image.color_jitter_probability=0.5", ["image.color_jitter_probability", "without"]),
        ("image.grayscale=1.5", ["image.grayscale", "between 0 and 1"]),
        ("image.blur=-0.1", ["image.blur", "between 0 and 1"]),
        ("image.solarize=nan", ["image.solarize", "between 0 and 1"]),
        ("image.blur_sigma=[0.1, 2]", ["image.blur_sigma", "image.blur"]),
        ("image={blur=0.5, blur_sigma=[2, 1]}", ["image.blur_sigma", "rising"]),
        ("image.colour_jitter=[1, 1, 1, 0]", ["`colour_jitter`", "`color_jitter`"]),
        ("text.word_dropout=1", ["text.word_dropout", "below 1"]),
        ("text.synonyms={wordnet=\"w\", probability=2}", ["text.synonyms.probability", "0 and 1"]),
        ("text.synonyms={wordnet=\"w\"}", ["text.synonyms", "`probability`"]),
        ("text.back_translation={command=[]}", ["text.back_translation.command", "is empty"]),
    ] {
        let error = load(&world.at("recipe.toml"), &[set.to_owned()]).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{set}: {error}");
    }
}

#[test]
fn wordnet_is_looked_for_beside_the_recipe() {
    let world = World::new();
    let recipe = world.recipe(&["text.synonyms={wordnet=\"dict\", probability=0.1}"]);
    assert_eq!(recipe.text.synonyms.unwrap().wordnet, world.at("dict"));
}

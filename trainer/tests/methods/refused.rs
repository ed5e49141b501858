//! What no method can learn from, and what is said of it.

use clipsight_trainer::recipe::load;
use clipsight_trainer::run::Run;

use super::{ALONE, LIT, SLIP, SUP_CON, learns, recipe, world};
use crate::commands::{text, trainer};
use crate::tiny::World;
use crate::training::go;
use crate::tuning;

/// What is said of a recipe that does not fit.
fn unread(world: &World, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load(&world.at("method.toml"), &sets).unwrap_err().to_string()
}

/// What is said of a training that cannot begin, with its cause.
fn refused(world: &World, sets: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::create(&folder.path().join("run"), recipe(world, sets)).unwrap();
    let error = go(&run, None).0.unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}; {}", cause.unwrap_or_default())
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{said} does not say {word}");
    }
}

#[test]
fn an_unknown_method_and_keys_that_it_does_not_have_are_told() {
    let world = world();
    says(&unread(&world, &[r#"train.method="simsam""#]), &["simsam", "simclr", "swav"]);
    let other = r#"train.method={ name = "byol", temperature = 0.1 }"#;
    says(&unread(&world, &[other]), &["temperature", "momentum"]);
    says(&unread(&world, &[r#"train.method={ name = "clip", dim = 3 }"#]), &["dim"]);
    for (keys, word) in [
        ("name = \"simclr\", dim = 0", "train.method.dim"),
        ("name = \"simclr\", temperature = 0", "train.method.temperature"),
        ("name = \"byol\", momentum = 1", "train.method.momentum"),
        ("name = \"swav\", prototypes = 1", "train.method.prototypes"),
        ("name = \"swav\", small_scale = [0.5, 0.2]", "train.method.small_scale"),
    ] {
        says(&unread(&world, &[&format!("train.method={{ {keys} }}")]), &[word]);
    }
}

#[test]
fn keys_that_a_method_without_captions_does_not_look_at_are_refused() {
    let world = world();
    for key in [
        "train.objective=\"sup_con\"",
        "model.text.learning_rate=1e-3",
        "text.word_dropout=0.1",
        "eval.labels=\"classes\"",
        "image.cache=true",
    ] {
        let name = key.split('=').next().unwrap();
        let name = if name.starts_with("text.") { "text" } else { name };
        says(&unread(&world, &[key]), &[name, "train.method = \"simclr\"", "leave it out"]);
    }
}

#[test]
fn towers_that_learn_or_do_not_against_the_method_are_told() {
    let world = world();
    let locked = "model.image.learning_rate=0";
    for method in [ALONE[0], SUP_CON[0]] {
        let said = refused(&world, &[method, locked, r#"data.0.path="classes""#]);
        says(&said, &["teaches the image tower", "model.image.learning_rate"]);
    }
    let init = format!("model.init={:?}", tuning::folder());
    let learning = refused(&world, &[LIT[0], LIT[1], LIT[3], &init]);
    says(&learning, &["keeps the image tower", "model.image.learning_rate"]);
    let mute = refused(&world, &[LIT[0], LIT[1], LIT[2], &init]);
    says(&mute, &["\"lit\"", "model.text.learning_rate"]);
    says(&unread(&world, &LIT), &["model.init", "\"lit\"", "has to have learned something"]);
    let small = r#"train.method={ name = "swav", small_size = 16 }"#;
    says(&refused(&world, &[small]), &["train.method.small_size is 16", "32 pixels alone"]);
}

#[test]
fn sets_that_lack_what_a_method_reads_are_told_with_the_method() {
    let world = world();
    let captions = r#"data.0.path="captions.tar""#;
    let pictures = r#"data.0.path="pictures""#;
    let said = refused(&world, &[SLIP[0], SLIP[2], pictures]);
    says(&said, &["\"slip\" reads", "/pictures does not say", "none of which has captions"]);
    let said = refused(&world, &[SUP_CON[0], pictures]);
    says(&said, &["\"sup_con\" reads", "\"simclr\""]);
    let said = refused(&world, &[SUP_CON[0], captions]);
    says(&said, &["reads classes", "captions.tar has captions"]);
    for class in ["upright", "falling", "checked"] {
        std::fs::remove_dir_all(world.at("classes").join(class)).unwrap();
    }
    says(&refused(&world, &SUP_CON), &["all pictures are of \"across\""]);
}

#[test]
fn a_run_that_knows_no_words_is_neither_searched_nor_exported() {
    let world = world();
    learns(&world, "alone", &[ALONE[0]], 10);
    let here = world.at("");
    for arguments in [
        &["eval", "alone", "--captions", "captions.tar"][..],
        &["eval", "alone", "--labels", "held-out"],
        &["export", "alone", "--out", "bundle"],
    ] {
        let output = trainer(&here, arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        says(&said, &["knows no words", "model.init"]);
    }
    assert!(!world.at("bundle").exists());
}

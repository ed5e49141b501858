//! Negatives that a table gives: what is learned from them, and what is said where they are missing.

use clipsight_trainer::run::Run;
use clipsight_trainer::train::TrainError;
use serde_json::json;

use crate::tiny::{COLORS, World, png};
use crate::training::{go, resumes_exactly, series};

const DATA: &str = r#"data=[{ path = "given.jsonl", weight = 3 }]"#;
const GIVEN: [&str; 2] = [
    r#"train.objective={ name = "info_nce", negatives = "given" }"#,
    r#"train.objective={ name = "triplet", negatives = "given", margin = 0.5 }"#,
];

/// Four pictures of each color; all but the last `without` name colors that they do not have.
fn table(without: usize) -> World {
    let world = World::new();
    let all = COLORS.len() * 4;
    let row = |at: usize| {
        let (color, bar) = (at % COLORS.len(), at / COLORS.len());
        let file = format!("{at}.png");
        std::fs::write(world.at(&file), png(COLORS[color].1, bar as u32)).unwrap();
        let name = |offset: usize| COLORS[(color + offset) % COLORS.len()].0;
        let mut row = json!({ "file": file, "caption": format!("a {} picture", name(0)) });
        if at < all - without {
            row["negatives"] =
                (1..COLORS.len()).map(|n| format!("a {} picture", name(n))).collect();
        }
        format!("{row}\n")
    };
    std::fs::write(world.at("given.jsonl"), (0..all).map(row).collect::<String>()).unwrap();
    world
}

fn run(world: &World, objective: &str) -> (Run, Result<f32, TrainError>, Vec<String>) {
    let sets = [DATA, objective, "train.epochs=30"];
    let run = Run::create(&world.at("run"), world.recipe(&sets)).unwrap();
    let (outcome, said) = go(&run, None);
    let top_1 = outcome.map(|outcome| outcome.figures.labels.unwrap().classification.top_1);
    (run, top_1, said)
}

#[test]
fn what_is_wrong_of_a_picture_teaches_what_is_right() {
    for objective in GIVEN {
        let world = table(0);
        let (run, top_1, _) = run(&world, objective);
        // By chance one in six.
        let top_1 = top_1.unwrap();
        assert!(top_1 > 0.6, "{objective}: top-1 {top_1}");
        let losses = series(&run.folder, "loss");
        assert!(losses[losses.len() - 1].1 < 0.7 * losses[0].1, "{objective}: {losses:?}");
    }
}

#[test]
fn a_resumed_run_draws_the_negatives_of_an_uninterrupted_one() {
    let words = ["model.text.learning_rate=1e-3", "text.word_dropout=0.2", "train.epochs=4"];
    let world = table(0);
    resumes_exactly(&world, &world.recipe(&[&[DATA, GIVEN[0]], &words[..]].concat()));
}

#[test]
fn a_triplet_set_without_negatives_is_refused_with_the_first_picture_that_has_none() {
    let world = table(3);
    let folder = world.at("");
    let folder = folder.file_name().unwrap().to_string_lossy();
    assert_eq!(
        run(&world, GIVEN[1]).1.unwrap_err().to_string(),
        format!(
            "train.objective.negatives = \"given\", but 3 of 24 pictures have no negative, the first \
             is 21.png of {folder}/given.jsonl; give them one each in a table's column \"negative\", \
             or train with negatives = \"batch\""
        )
    );
}

#[test]
fn info_nce_takes_the_negatives_that_there_are_and_wants_one_at_least() {
    let top_1 = run(&table(3), GIVEN[0]).1;
    assert!(top_1.unwrap() > 0.6);
    let refused = run(&table(24), GIVEN[0]).1.unwrap_err().to_string();
    assert!(refused.contains("24 of 24 pictures have no negative"), "{refused}");
}

#[test]
fn negatives_that_the_objective_does_not_look_at_are_told() {
    let (_, _, said) = run(&table(3), "train.objective=dcl");
    assert!(said.iter().any(|s| s.starts_with("the negatives of 21 pictures are passed over")));
    let (_, _, said) = run(&table(0), GIVEN[0]);
    assert!(!said.iter().any(|s| s.contains("passed over")), "{said:?}");
}

#[test]
fn a_text_that_is_right_and_wrong_at_once_is_a_bad_sample() {
    let world = table(0);
    let text = std::fs::read_to_string(world.at("given.jsonl")).unwrap();
    let both = text.replacen("\"a red picture\"", "\"a green picture\"", 1);
    std::fs::write(world.at("given.jsonl"), both).unwrap();
    let (_, top_1, said) = run(&world, GIVEN[1]);
    assert!(top_1.is_ok());
    let reason = "0.png left out: \"a green picture\" is among its captions and its negatives";
    assert!(said.iter().any(|s| s.ends_with(reason)), "{said:?}");
}

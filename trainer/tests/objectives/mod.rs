//! Objectives in a recipe: what each learns, what is kept of it, and what is refused.

mod given;
mod reference;
mod refused;

use clip::ModelBundle;
use clipsight_trainer::checkpoint::Checkpoint;
use clipsight_trainer::export::{Precision, Request};
use clipsight_trainer::run::Run;

use crate::exporting::write;
use crate::tiny::World;
use crate::training::{go, resumes_exactly, series};

/// All that there are, and those of their settings that go another way.
const OBJECTIVES: [&str; 12] = [
    "info_nce",
    "nt_xent",
    "dcl",
    "sup_con",
    "sigmoid",
    "triplet",
    r#"{ name = "triplet", mining = "all", distance = "euclidean" }"#,
    r#"{ name = "triplet", mining = "semi_hard", margin = 0.4 }"#,
    "margin",
    r#"{ name = "margin", mining = "hard" }"#,
    r#"{ name = "margin", mining = "semi_hard", margin = 1.2 }"#,
    r#"{ name = "sigmoid", logit_bias_init = -4.0 }"#,
];

#[test]
fn every_objective_lowers_its_loss_and_tells_the_colors_apart() {
    let world = World::new();
    for (number, objective) in OBJECTIVES.iter().enumerate() {
        let sets = ["train.epochs=30", &format!("train.objective={objective}")];
        let run = Run::create(&world.at(&format!("run{number}")), world.recipe(&sets)).unwrap();
        let figures = go(&run, None).0.unwrap().figures;
        let losses: Vec<f64> = series(&run.folder, "loss").into_iter().map(|(_, l)| l).collect();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..3]), mean(&losses[losses.len() - 3..]));
        assert!(last < first, "{objective}: from {first} to {last}");
        // By chance one in six colors, and ten of 24 pictures, of which four have the color.
        let (captions, labels) = (figures.captions.unwrap(), figures.labels.unwrap());
        let recall = captions.text_to_image.recall_at_10;
        assert!(recall > 0.7, "{objective}: recall {recall}");
        let top_1 = labels.classification.top_1;
        assert!(top_1 > 0.6, "{objective}: top-1 {top_1}");
    }
}

#[test]
fn a_resumed_run_equals_an_uninterrupted_one_whatever_is_learned_beside_the_towers() {
    for objective in ["triplet", "sigmoid"] {
        let world = World::new();
        resumes_exactly(&world, &world.recipe(&[&format!("train.objective={objective}")]));
    }
}

#[test]
fn a_scale_that_the_loss_does_not_know_stays_where_it_began() {
    let world = World::new();
    let sets = ["train.objective=triplet", "train.logit_scale_init=1.5", "train.epochs=1"];
    let run = Run::create(&world.at("run"), world.recipe(&sets)).unwrap();
    go(&run, None).0.unwrap();
    assert!(series(&run.folder, "logit_scale").iter().all(|(_, scale)| *scale == 1.5));
    assert!(!Checkpoint::newest(&run.checkpoints()).unwrap().weights.contains_key("logit_scale"));
}

#[test]
fn the_bias_of_a_sigmoid_model_is_learned_kept_and_served() {
    let world = World::new();
    let sets = ["train.objective=sigmoid", "train.epochs=6"];
    let run = Run::create(&world.at("run"), world.recipe(&sets)).unwrap();
    go(&run, None).0.unwrap();
    let scales = series(&run.folder, "logit_scale");
    assert!((scales[0].1 - 10f64.ln()).abs() < 0.02, "{scales:?}");
    let learned = &Checkpoint::newest(&run.checkpoints()).unwrap().weights["logit_bias"];
    let learned = learned.double_value(&[]) as f32;
    assert!((-10.0..-9.0).contains(&learned) && learned != -10.0, "{learned}");

    let request = Request { precisions: vec![Precision::Fp32], ..Request::default() };
    write(&run, &world, &request).unwrap();
    let bundle = ModelBundle::open(&world.at("bundle")).unwrap();
    assert_eq!(bundle.manifest.unwrap().logit_bias, Some(learned));
    assert_eq!(bundle.rules.logits.unwrap().logit_bias, Some(learned));
}

#[test]
fn a_recipe_keeps_its_objective_as_it_was_given() {
    let world = World::new();
    let given = r#"train.objective={ name = "triplet", margin = 0.25, mining = "all" }"#;
    let recipe = world.recipe(&[given]);
    let run = Run::create(&world.at("run"), recipe.clone()).unwrap();
    assert_eq!(Run::open(&run.folder).unwrap().recipe, recipe);
    let text = std::fs::read_to_string(run.folder.join("recipe.toml")).unwrap();
    for line in ["name = \"triplet\"", "margin = 0.25", "mining = \"all\"", "distance = \"cosine\""]
    {
        assert!(text.contains(line), "{text}");
    }
}

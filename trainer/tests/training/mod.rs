//! A recipe in, a run out: what is learned, what is resumed, what is refused.

mod begun;
mod bundled;
mod classes;
mod decoded;
mod kept;

use std::path::Path;

use clipsight_trainer::checkpoint::Checkpoint;
use clipsight_trainer::processes::Processes;
use clipsight_trainer::recipe::Recipe;
use clipsight_trainer::run::Run;
use clipsight_trainer::train::{Outcome, Surroundings, TrainError, train};
use clipsight_trainer::watch::{Silent, Stop, Watch};

use crate::tiny::World;

/// Asks to stop after a step, and keeps what was said.
struct Interrupter<'a> {
    after: Option<u64>,
    stop: &'a Stop,
    said: Vec<String>,
}

impl Watch for Interrupter<'_> {
    fn say(&mut self, sentence: &str) {
        self.said.push(sentence.to_owned());
    }

    fn progress(&mut self, task: &str, done: u64, _: u64, _: &str) {
        if task == "training" && Some(done) == self.after {
            self.stop.ask();
        }
    }
}

pub(crate) fn go(run: &Run, stop_after: Option<u64>) -> (Result<Outcome, TrainError>, Vec<String>) {
    let stop = Stop::new();
    let mut watch = Interrupter { after: stop_after, stop: &stop, said: Vec::new() };
    let outcome = train(
        run,
        &mut Surroundings {
            watch: &mut watch,
            stop: &stop,
            threads: 2,
            processes: Processes::ALONE,
        },
    );
    (outcome, watch.said)
}

/// Step and value of a key, line by line.
pub(crate) fn series(run: &Path, key: &str) -> Vec<(u64, f64)> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    lines.filter_map(|l| Some((l["step"].as_u64()?, l.get(key)?.as_f64()?))).collect()
}

/// Trains once without a stop and once with a stop in the middle of an epoch; both must agree.
pub(crate) fn resumes_exactly(world: &World, recipe: &Recipe) {
    let whole = Run::create(&world.at("whole"), recipe.clone()).unwrap();
    assert!(go(&whole, None).0.unwrap().finished);
    let broken = Run::create(&world.at("broken"), recipe.clone()).unwrap();
    let stopped = go(&broken, Some(4)).0.unwrap();
    assert_eq!((stopped.steps, stopped.finished), (4, false));
    let broken = Run::open(&broken.folder).unwrap();
    let (outcome, said) = go(&broken, None);
    assert!(outcome.unwrap().finished);
    assert!(said.contains(&"going on after step 4".to_owned()), "{said:?}");

    for key in ["loss", "logit_scale", "recall_at_10", "top_1"] {
        let expected = series(&whole.folder, key);
        assert!(!expected.is_empty());
        assert_eq!(series(&broken.folder, key), expected, "{key}");
    }
    let end = |run: &Run| Checkpoint::newest(&run.checkpoints()).unwrap();
    let (a, b) = (end(&whole), end(&broken));
    assert_eq!(a.step, b.step);
    for (name, tensor) in &a.weights {
        assert!(tensor == &b.weights[name], "{name} differs");
    }
    for (name, tensor) in &a.optimizer {
        assert!(tensor == &b.optimizer[name], "{name} differs");
    }
}

#[test]
fn a_resumed_run_with_locked_towers_equals_an_uninterrupted_one() {
    let world = World::new();
    let recipe = world.recipe(&["model.image.dropout=0.5", "model.text.dropout=0.2"]);
    resumes_exactly(&world, &recipe);
}

#[test]
fn a_resumed_run_with_learned_towers_equals_an_uninterrupted_one() {
    let world = World::new();
    let recipe = world.recipe(&[
        "model.image.learning_rate=1e-4",
        "model.text.learning_rate=1e-3",
        "image.flip=0.5",
        "train.epochs=2",
    ]);
    resumes_exactly(&world, &recipe);
}

#[test]
fn the_loss_falls_and_colors_are_told_apart() {
    let world = World::new();
    let run = Run::create(&world.at("run"), world.recipe(&["train.epochs=30"])).unwrap();
    let outcome = go(&run, None).0.unwrap();
    let losses = series(&run.folder, "loss");
    let (first, last) = (losses[0].1, losses[losses.len() - 1].1);
    assert!(last < 0.6 * first, "from {first} to {last}");
    let labels = outcome.figures.labels.unwrap();
    assert!(labels.classification.top_1 > 0.8, "{labels:?}");
    assert_eq!(outcome.unusable, 0);
}

#[test]
fn locked_towers_are_left_as_they_were_and_answer_from_the_cache() {
    let world = World::new();
    let run = Run::create(&world.at("run"), world.recipe(&["train.epochs=1"])).unwrap();
    let (outcome, said) = go(&run, None);
    assert!(outcome.is_ok());
    assert!(said.iter().any(|s| s.contains("image tower is locked") && s.contains("cached")));
    let learned = Checkpoint::newest(&run.checkpoints()).unwrap().weights;
    let names: Vec<&str> = learned.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "logit_scale",
            "text_projection.bias",
            "text_projection.input_mean",
            "text_projection.input_std",
            "text_projection.weight",
            "visual_projection.bias",
            "visual_projection.input_mean",
            "visual_projection.input_std",
            "visual_projection.weight",
        ]
    );
    // Two sets of pictures and their captions, the held-out captions and the classes' prompts.
    let cached = std::fs::read_dir(run.cache()).unwrap().count();
    assert!(cached >= 4, "{cached} files");
}

#[test]
fn broken_pictures_are_counted_and_named_and_the_rest_is_trained_on() {
    let world = World::new();
    world.break_pictures();
    let learned = ["train.epochs=2", "data.0.weight=4", "model.image.learning_rate=1e-4"];
    for sets in [&["train.epochs=1"][..], &learned] {
        let folder = world.at(&format!("run{}", sets.len()));
        let run = Run::create(&folder, world.recipe(sets)).unwrap();
        let (outcome, said) = go(&run, None);
        let outcome = outcome.unwrap();
        assert!(outcome.finished);
        let captions = outcome.figures.captions.unwrap();
        let keys: Vec<&str> = captions.unusable.iter().map(|b| b.key.as_str()).collect();
        assert_eq!((captions.pictures, keys), (8, vec!["cut", "words"]));
        assert_eq!(outcome.unusable, 2);
        for key in ["words left out", "cut left out"] {
            assert!(said.iter().any(|s| s.contains(key)), "{said:?}");
        }
    }
}

/// Trains an epoch, breaks `logit_scale` in the checkpoint, and goes on.
fn diverged(world: &World, sets: &[&str]) -> (Run, TrainError) {
    let recipe = world.recipe(&[&["train.epochs=1"], sets].concat());
    let mut run = Run::create(&world.at("run"), recipe).unwrap();
    go(&run, None).0.unwrap();
    let mut checkpoint = Checkpoint::newest(&run.checkpoints()).unwrap();
    let scale = checkpoint.weights.get_mut("logit_scale").unwrap();
    let _ = scale.fill_(f64::NAN);
    checkpoint.save(&run.checkpoints(), 2).unwrap();
    run.recipe.train.epochs = 2;
    let error = go(&run, None).0.unwrap_err();
    (run, error)
}

#[test]
fn a_loss_that_leaves_the_numbers_names_step_samples_checkpoint_and_cures() {
    let world = World::new();
    let (run, error) = diverged(&world, &["train.grad_clip=0", "train.precision=\"bf16\""]);
    let step = Checkpoint::newest(&run.checkpoints()).unwrap().step;
    let said = error.to_string();
    let TrainError::Diverged(divergence) = error else { panic!("{said}") };
    assert_eq!((divergence.step, divergence.samples), (step + 1, 20), "{said}");
    assert_eq!(divergence.named.len(), 5, "{said}");
    for words in [
        &format!("step {}: the loss is NaN", step + 1),
        "20 samples: ",
        " and 15 more",
        &format!(
            "stays, {}",
            run.checkpoints().join(format!("step-{step:08}.safetensors")).display()
        ),
        "lower learning rates",
        "train.grad_clip = 1 (it is off)",
        "train.precision = \"f32\"",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Two sets, whose samples have the same keys.
    let sets = ["captions.tar", "labels.tar"].map(|name| world.at(name));
    let sets = sets.map(|path| clipsight_trainer::data::Dataset::open(&path, &[]).unwrap());
    for name in &divergence.named {
        let (key, set) = name.split_once(" of ").unwrap();
        let set = sets.iter().find(|known| known.name() == set).unwrap();
        assert!(set.pairs.iter().any(|pair| pair.key == key), "{name}");
    }
}

#[test]
fn a_step_that_breaks_the_weights_leaves_no_broken_checkpoint() {
    let world = World::new();
    let sets = ["model.projection.learning_rate=1e38", "train.grad_clip=0"];
    let run = Run::create(&world.at("run"), world.recipe(&sets)).unwrap();
    let error = go(&run, None).0.unwrap_err();
    assert!(matches!(error, TrainError::Diverged(_)), "{error}");
    assert!(error.to_string().contains("step "), "{error}");
    if let Ok(kept) = Checkpoint::newest(&run.checkpoints()) {
        for (name, tensor) in kept.weights {
            assert!(tensor.isfinite().all().int64_value(&[]) == 1, "{name}");
        }
    }
}

#[test]
fn a_model_that_gives_no_embedding_any_more_has_diverged() {
    let world = World::new();
    let one_step = ["train.batch_size=60", "train.warmup_steps=0", "eval.every_epochs=1"];
    let steep = ["model.projection.learning_rate=1e30", "train.epochs=3"];
    let recipe = world.recipe(&[&one_step[..], &steep].concat());
    let error = go(&Run::create(&world.at("run"), recipe).unwrap(), None).0.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, TrainError::Diverged(_)), "{said}");
    for words in ["step 1: ", "embedding of ", "is not finite or zero after it", "lower learning"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_checkpoint_of_another_model_says_what_differs() {
    let world = World::new();
    let learned = ["train.epochs=1", "model.text.learning_rate=1e-4"];
    let mut run = Run::create(&world.at("run"), world.recipe(&learned)).unwrap();
    go(&run, None).0.unwrap();
    run.recipe = world.recipe(&["model.projection.dim=6", "model.image.learning_rate=1e-4"]);
    let said = go(&run, None).0.unwrap_err().to_string();
    for words in [
        "another model",
        "weight `text_projection.bias` has shape [8], the configuration asks for [6]",
        "weight `text_projection.weight` has shape [8, 24], the configuration asks for [6, 24]",
        "1 more have other shapes",
        "there is no weight `vision_model.",
        "put the recipe back",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn other_towers_under_the_same_name_are_noticed() {
    let world = World::new();
    let run = Run::create(&world.at("run"), world.recipe(&["train.epochs=1"])).unwrap();
    go(&run, None).0.unwrap();
    let path = world.at("image/model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let stop = Stop::new();
    let mut around =
        Surroundings { watch: &mut Silent, stop: &stop, threads: 1, processes: Processes::ALONE };
    assert!(matches!(train(&run, &mut around), Err(TrainError::Towers)));
}

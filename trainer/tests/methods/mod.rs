//! Methods without captions, and those with: what is learned, what is resumed, what follows.

mod reference;
mod refused;

use std::io::Cursor;
use std::path::Path;

use clip::image::{ImageFormat, RgbImage};
use clipsight_trainer::checkpoint::Checkpoint;
use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::recipe::{Recipe, load};
use clipsight_trainer::run::Run;
use clipsight_trainer::train::restore;

use crate::commands::{ok, text, trainer};
use crate::tiny::World;
use crate::training::{go, resumes_exactly, series};
use crate::tuning;

/// Ways in which the stripes of a picture run: its class.
const WAYS: [(&str, [u32; 2]); 4] =
    [("across", [0, 1]), ("upright", [1, 0]), ("falling", [1, 1]), ("checked", [2, 2])];

/// Pictures of each class in a set.
const EACH: u32 = 10;

fn recipe_text() -> String {
    format!(
        r#"
[model]
model_type = "clip"
config = "{0}/config.json"
image = {{ learning_rate = 1e-3 }}
projection = {{ learning_rate = 1e-3 }}

[[data]]
path = "pictures"

[train]
method = {{ name = "simclr", dim = 16 }}
batch_size = 20
epochs = 2
warmup_steps = 1
seed = 5
"#,
        tuning::folder().display()
    )
}

/// Stripes in two colors, `n` says which and how wide.
fn stripes([right, down]: [u32; 2], n: u32) -> Vec<u8> {
    let period = 6 + n % 5;
    let colors = [[40 + 10 * n as u8, 90, 200], [230, 200 - 9 * n as u8, 30]];
    let picture = RgbImage::from_fn(48, 40, |x, y| {
        let along = if (right, down) == (2, 2) {
            (x / period) + (y / period)
        } else {
            (right * x + down * y) / period
        };
        colors[(along % 2) as usize].into()
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A world with a folder of pictures alone, two of class folders, and recipes.
pub(crate) fn world() -> World {
    let world = World::new();
    std::fs::create_dir(world.at("pictures")).unwrap();
    for (set, first) in [("classes", 0), ("held-out", EACH)] {
        for (name, way) in WAYS {
            std::fs::create_dir_all(world.at(set).join(name)).unwrap();
            for n in first..first + EACH {
                let picture = stripes(way, n);
                std::fs::write(world.at(set).join(format!("{name}/{n}.png")), &picture).unwrap();
                if set == "classes" {
                    std::fs::write(world.at(&format!("pictures/{name}-{n}.png")), picture).unwrap();
                }
            }
        }
    }
    std::fs::write(world.at("method.toml"), recipe_text()).unwrap();
    world
}

pub(crate) fn recipe(world: &World, sets: &[&str]) -> Recipe {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load(&world.at("method.toml"), &sets).unwrap()
}

/// Small heads for all that learn from pictures alone.
const ALONE: [&str; 5] = [
    r#"train.method={ name = "simclr", hidden = 32, dim = 16 }"#,
    r#"train.method={ name = "moco_v3", hidden = 32, dim = 16 }"#,
    r#"train.method={ name = "byol", hidden = 32, dim = 16, momentum = 0.9 }"#,
    r#"train.method={ name = "simsiam", dim = 32, bottleneck = 8 }"#,
    r#"train.method={ name = "swav", hidden = 32, dim = 16, prototypes = 12, small_views = 2 }"#,
];

const SUP_CON: [&str; 2] =
    [r#"train.method={ name = "sup_con", hidden = 32, dim = 16 }"#, r#"data.0.path="classes""#];

const SLIP: [&str; 3] = [
    r#"train.method={ name = "slip", hidden = 32, dim = 16 }"#,
    r#"data.0.path="classes""#,
    "model.text.learning_rate=1e-3",
];

/// Beside `model.init`.
const LIT: [&str; 4] = [
    r#"train.method="lit""#,
    r#"data.0.path="classes""#,
    "model.image.learning_rate=0",
    "model.text.learning_rate=1e-3",
];

fn mean(values: &[(u64, f64)]) -> f64 {
    values.iter().map(|(_, value)| value).sum::<f64>() / values.len() as f64
}

/// Trains for `epochs`; the loss has to fall, and nothing may collapse.
fn learns(world: &World, name: &str, sets: &[&str], epochs: u64) -> Run {
    let epochs = format!("train.epochs={epochs}");
    let run = Run::create(&world.at(name), recipe(world, &[sets, &[&epochs]].concat())).unwrap();
    let (outcome, said) = go(&run, None);
    assert!(outcome.unwrap().finished);
    let losses = series(&run.folder, "loss");
    let (first, last) = (mean(&losses[..6]), mean(&losses[losses.len() - 6..]));
    assert!(last < first - 0.02 * first.abs(), "{name}: from {first} to {last}");
    for key in ["embedding_std", "effective_rank", "alignment", "uniformity"] {
        assert!(!series(&run.folder, key).is_empty(), "{name}: {key}");
    }
    assert!(series(&run.folder, "effective_rank").last().unwrap().1 > 2.0, "{name}");
    let warned = said.iter().any(|sentence| sentence.contains("collapsed"));
    assert!(!warned, "{name}: {said:?}");
    let card = std::fs::read_to_string(run.folder.join("README.md")).unwrap();
    assert!(!card.contains("collapsed") && card.contains("effective rank"), "{card}");
    run
}

#[test]
fn methods_learn_from_pictures_alone_and_do_not_collapse() {
    let world = world();
    for (number, method) in ALONE.iter().enumerate() {
        learns(&world, &format!("run{number}"), &[method], 15);
    }
}

#[test]
fn methods_learn_from_classes_and_captions_and_do_not_collapse() {
    let world = world();
    learns(&world, "sup_con", &SUP_CON, 15);
    let run = learns(&world, "slip", &SLIP, 15);
    // What is measured and exported is the model alone.
    let mut encoder = Encoder::from_recipe(&run.recipe).unwrap();
    let kept = Checkpoint::newest(&run.checkpoints()).unwrap();
    restore(&mut encoder, &kept).unwrap();
    assert!(kept.weights.keys().any(|name| name.starts_with("heads.")));
    assert!(encoder.weights.iter().all(|(name, _)| !name.starts_with("heads.")));
    let init = format!("model.init={:?}", tuning::folder());
    let run = learns(&world, "lit", &[&LIT[..], &[&init]].concat(), 15);
    let learned = Checkpoint::newest(&run.checkpoints()).unwrap().weights;
    assert!(learned.keys().all(|name| !name.starts_with("vision_model.")));
}

#[test]
fn resumed_methods_equal_uninterrupted_ones() {
    let of_pictures = ALONE.iter().map(|method| vec![*method]);
    for sets in of_pictures.chain([SUP_CON.to_vec(), SLIP.to_vec()]) {
        let world = world();
        let run = recipe(&world, &[&sets[..], &["train.epochs=3", "train.ema=0.9"]].concat());
        let whole = Run::create(&world.at("whole"), run.clone()).unwrap();
        assert!(go(&whole, None).0.unwrap().finished);
        let broken = Run::create(&world.at("broken"), run).unwrap();
        assert_eq!(go(&broken, Some(3)).0.unwrap().steps, 3);
        assert!(go(&Run::open(&broken.folder).unwrap(), None).0.unwrap().finished);
        for key in ["loss", "effective_rank", "alignment"] {
            assert_eq!(series(&broken.folder, key), series(&whole.folder, key), "{sets:?} {key}");
        }
        let end = |run: &Run| Checkpoint::newest(&run.checkpoints()).unwrap();
        let (a, b) = (end(&whole), end(&broken));
        assert!(a.weights.keys().any(|name| name.starts_with("heads.projector.")));
        for (kind, a, b) in
            [("weights", a.weights, b.weights), ("momentum", a.momentum, b.momentum)]
        {
            assert_eq!(a.len(), b.len());
            a.iter().for_each(|(name, tensor)| assert!(tensor == &b[name], "{kind} of {name}"));
        }
    }
}

#[test]
fn a_momentum_encoder_follows_slowly_and_is_kept() {
    let world = world();
    let run = Run::create(&world.at("run"), recipe(&world, &[ALONE[2]])).unwrap();
    go(&run, None).0.unwrap();
    let kept = Checkpoint::newest(&run.checkpoints()).unwrap();
    assert!(kept.momentum.keys().any(|name| name.starts_with("vision_model.")));
    let far = |a: &tch::Tensor, b: &tch::Tensor| (a - b).norm().double_value(&[]);
    let encoder = Encoder::from_recipe(&run.recipe).unwrap();
    let name = "vision_model.encoder.layers.0.mlp.fc1.weight";
    let begin = encoder.weights.get(name).unwrap();
    let (copy, now) = (&kept.momentum[name], &kept.weights[name]);
    assert!(far(copy, begin) > 0.0 && far(copy, begin) < far(now, begin));
}

#[test]
fn a_run_on_pictures_is_measured_by_what_can_be_learned_from_it_and_joined_with_words() {
    let world = world();
    let run = learns(&world, "alone", &[ALONE[0]], 15);
    let here = world.at("");
    let eval = ["eval", "alone", "--labels", "held-out", "--probe", "classes", "--json"];
    let output = trainer(&here, &eval);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["labels"]["pictures"], 40);
    // A quarter by chance; so short a training leaves all pictures near each other.
    assert!(found["labels"]["learned"]["linear_probe"].as_f64().unwrap() > 0.35, "{found}");
    assert!(found["labels"].get("top_1").is_none(), "{found}");
    ok(&trainer(&here, &eval[..eval.len() - 1]));

    // The image tower as the run left it, whatever its heads; the words anew.
    let init = format!("model.init={:?}", run.folder);
    let joined = recipe(&world, &[&SLIP[1..], &[r#"train.method="clip""#, &init]].concat());
    let learned = Checkpoint::newest(&run.checkpoints()).unwrap().weights;
    let encoder = Encoder::from_recipe(&joined).unwrap();
    let mut towers = 0;
    for (name, weight) in encoder.weights.iter() {
        assert!(!name.starts_with("heads."), "{name}");
        if let Some(tensor) = learned.get(name) {
            assert!(weight == tensor, "{name}");
            towers += 1;
        }
    }
    assert!(towers > 20, "{towers}");
    let joined = Run::create(&world.at("joined"), joined).unwrap();
    assert!(go(&joined, None).0.unwrap().finished);
    assert!(go(&joined, None).0.unwrap().finished, "a run goes on whatever it began from");
}

#[test]
fn clip_logs_how_its_embeddings_lie_and_resumes_as_before() {
    let world = World::new();
    let recipe = world.recipe(&[]);
    resumes_exactly(&world, &recipe);
    let [whole, broken] = ["whole", "broken"].map(|name| world.at(name));
    let spread = |run: &Path| series(run, "embedding_std");
    assert_eq!(spread(&whole).len(), 2);
    assert_eq!(spread(&whole), spread(&broken));
}

#[test]
fn a_collapse_is_warned_of_with_its_cure_and_the_card_says_so() {
    let world = world();
    // Every view of every picture is the same gray: there is nothing to tell apart.
    for entry in std::fs::read_dir(world.at("pictures")).unwrap() {
        let gray = RgbImage::from_pixel(40, 40, [127, 127, 127].into());
        gray.save(entry.unwrap().path()).unwrap();
    }
    let sets = [ALONE[1], "image.color_jitter=[0, 0, 0, 0]", "image.solarize=0"];
    let run = Run::create(&world.at("run"), recipe(&world, &sets)).unwrap();
    let (outcome, said) = go(&run, None);
    assert!(outcome.unwrap().finished);
    let card = std::fs::read_to_string(run.folder.join("README.md")).unwrap();
    for words in ["the embeddings have collapsed", "what helps: larger batches"] {
        assert!(said.iter().any(|sentence| sentence.contains(words)), "{said:?}");
        assert!(card.contains(words), "{card}");
    }
    let metrics = std::fs::read_to_string(run.folder.join("metrics.jsonl")).unwrap();
    assert!(metrics.contains("\"collapsed\":true"), "{metrics}");
}

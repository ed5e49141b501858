//! A batch that goes through the towers in micro-batches teaches what it teaches at once: gradients,
//! losses, resumed runs.

use clip::TokenIds;
use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::methods::{self, Batch, Branch, Learner, Words};
use clipsight_trainer::model::{Side, Torch, Weights};
use clipsight_trainer::processes::Processes;
use clipsight_trainer::recipe::{Recipe, load};
use clipsight_trainer::run::Run;
use clipsight_trainer::towers::{Images, Inputs, TextInputs, Texts, Towers};
use tch::{Device, Kind, Tensor};

use crate::methods as self_supervised;
use crate::tiny::World;
use crate::training::{go, resumes_exactly, series};
use crate::tuning;

/// Pairs of a batch.
const PAIRS: usize = 7;

/// One at a time, some that do not divide the batch, and all.
const MICRO_BATCHES: [usize; 3] = [1, 3, PAIRS];

/// Of the larger of a gradient's largest number and a hundredth of that of all: sums in another order, which
/// batch normalizations over seven pairs make larger.
const ROUNDING: f64 = 1e-3;

/// Captions of several lengths, two of which say the same, and behind them what is wrong of three.
const WORDS: [&str; 10] = [
    "red",
    "a green picture",
    "this is a blue picture",
    "yellow",
    "a picture",
    "this is black",
    "a green picture",
    "white",
    "this is a red picture",
    "a blue",
];

/// All that a step learns from: a model and a batch.
struct Case {
    recipe: Recipe,
    encoder: Encoder,
    target: Option<Weights>,
    views: Vec<Tensor>,
    tokens: Option<Vec<TokenIds>>,
}

impl Case {
    fn new(recipe: Recipe) -> Self {
        let mut encoder = Encoder::from_recipe(&recipe).unwrap();
        let method = methods::of(&recipe, &encoder);
        method.check(&encoder).unwrap();
        methods::add_heads(&mut encoder, &method.heads(), &recipe);
        let target = method.momentum().map(|_| apart(&encoder.weights));
        let names: Vec<String> = encoder.weights.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names.iter().filter(|name| encoder.rates.of(name) > 0.0) {
            let learned = encoder.weights.get(name).unwrap().set_requires_grad(true);
            encoder.weights.insert(name.as_str(), learned);
        }
        let side = recipe.image.size.unwrap_or(32);
        let view = |(number, view): (usize, methods::View)| {
            pictures(number, view.side.unwrap_or(side).into())
        };
        let views = method.views(&recipe.image).into_iter().enumerate().map(view).collect();
        let wrong = recipe.train.objective.takes_given_negatives();
        let words = if wrong { &WORDS[..] } else { &WORDS[..PAIRS] };
        let tokens = words.iter().map(|words| encoder.tokenizer.encode(words).unwrap()).collect();
        let tokens = recipe.train.method.knows_words().then_some(tokens);
        drop(method);
        Self { recipe, encoder, target, views, tokens }
    }

    fn parameters(&self) -> Vec<(&str, &Tensor)> {
        self.encoder.weights.iter().filter(|(_, tensor)| tensor.requires_grad()).collect()
    }

    fn keys(&self) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
        let meanings = (0..WORDS.len() as i64).map(|text| if text == 6 { 1 } else { text });
        let texts = self.tokens.as_ref().map_or(0, Vec::len);
        let pictures = vec![10, 11, 12, 13, 14, 15, 13];
        (meanings.take(texts).collect(), pictures, vec![0, 1, 0, 2, 1, 3, 2])
    }

    fn loss(&self, batch: &Batch) -> Tensor {
        let method = methods::of(&self.recipe, &self.encoder);
        let online = Branch { encoder: &self.encoder, weights: &self.encoder.weights };
        let weights = self.target.as_ref().unwrap_or(online.weights);
        let learner = Learner { online, target: Branch { weights, ..online }, step: 3 };
        method.step(batch, &learner).unwrap().loss
    }

    /// Loss and gradients by one graph over the whole batch, without a tape.
    fn at_once(&self) -> (f64, Vec<Tensor>) {
        let pooled = |weights: &Weights| {
            let mut ops = Torch::new(weights);
            let view = |view| self.encoder.model.image_pooled(&mut ops, view).unwrap();
            self.views.iter().map(view).collect::<Vec<_>>()
        };
        let (keys, picture_keys, class_keys) = self.keys();
        let words = self.tokens.as_ref().map(|tokens| {
            let tokens: Vec<&TokenIds> = tokens.iter().collect();
            Words { pooled: self.encoder.pooled_tokens(&tokens).unwrap(), keys }
        });
        let targets = self.target.as_ref().map(|target| tch::no_grad(|| pooled(target)));
        let (views, targets) = (pooled(&self.encoder.weights), targets.unwrap_or_default());
        let loss = self.loss(&Batch { views, targets, words, picture_keys, class_keys });
        let learned: Vec<&Tensor> =
            self.parameters().into_iter().map(|(_, tensor)| tensor).collect();
        let gradients = Tensor::run_backward(&[&loss], &learned, false, false);
        (loss.double_value(&[]), gradients)
    }

    fn in_micro_batches(
        &self,
        micro_batch: Option<usize>,
        checkpointed: &[Side],
    ) -> (f64, Vec<Tensor>) {
        let (keys, picture_keys, class_keys) = self.keys();
        let texts = self.tokens.as_ref().map(|tokens| {
            let inputs = TextInputs::Tokens(tokens.clone());
            Texts { inputs, keys }
        });
        let images = Images::Pixels(self.views.iter().map(Tensor::shallow_clone).collect());
        let inputs = Inputs { images, class_pictures: None, texts, picture_keys, class_keys };
        let (target, processes) = (self.target.as_ref(), Processes::ALONE);
        let towers =
            Towers { encoder: &self.encoder, target, micro_batch, checkpointed, processes };
        let (batch, tape) = towers.forward(inputs).unwrap();
        let loss = self.loss(&batch);
        let learned: Vec<&Tensor> =
            self.parameters().into_iter().map(|(_, tensor)| tensor).collect();
        let gradients = tape.backward(&loss, &batch, &learned, &towers).unwrap();
        (loss.double_value(&[]), gradients)
    }

    /// Gradients by each parameter have to be those of the whole batch, up to rounding.
    fn agrees(&self, what: &str) {
        let micro_batches = MICRO_BATCHES.map(Some).into_iter().chain([None]);
        self.agree(what, micro_batches.map(|at_once| (at_once, &[][..])));
    }

    /// The same with gradient checkpointing of either tower and of both, and without.
    fn agrees_checkpointed(&self, what: &str) {
        const WAYS: [(Option<usize>, &[Side]); 5] = [
            (Some(3), &[]),
            (None, &[Side::Image]),
            (None, &[Side::Text]),
            (None, &[Side::Image, Side::Text]),
            (Some(3), &[Side::Image, Side::Text]),
        ];
        self.agree(what, WAYS.into_iter());
    }

    fn agree<'a>(&self, what: &str, ways: impl Iterator<Item = (Option<usize>, &'a [Side])>) {
        let (loss, expected) = self.at_once();
        let defined = expected.iter().filter(|gradient| gradient.defined());
        let largest = |gradient: &Tensor| gradient.abs().max().double_value(&[]);
        let most = defined.map(largest).fold(0.0, f64::max);
        for (micro_batch, checkpointed) in ways {
            let (found_loss, found) = self.in_micro_batches(micro_batch, checkpointed);
            assert!((found_loss - loss).abs() < 1e-5 * loss.abs(), "{what}: {found_loss}, {loss}");
            for ((name, _), (found, expected)) in
                self.parameters().into_iter().zip(found.iter().zip(&expected))
            {
                let place = format!("{what}, {name}, {micro_batch:?} at once, {checkpointed:?}");
                assert_eq!(found.defined(), expected.defined(), "{place}");
                if found.defined() {
                    let scale = largest(expected).max(1e-2 * most);
                    let worst = largest(&(found - expected)) / scale;
                    assert!(worst < ROUNDING, "{place}: apart by {worst} of {scale}");
                }
            }
        }
    }

    fn gradient(&self, of: &str) -> f64 {
        let at = self.parameters().iter().position(|(name, _)| *name == of).unwrap();
        self.in_micro_batches(Some(3), &[]).1[at].abs().max().double_value(&[])
    }
}

/// Pictures `[PAIRS, 3, side, side]` of waves that differ from view to view.
fn pictures(view: usize, side: i64) -> Tensor {
    let size = [PAIRS as i64, 3, side, side];
    let numbers = Tensor::arange(size.iter().product::<i64>(), (Kind::Float, Device::Cpu));
    (numbers * (0.37 + 0.11 * view as f64)).sin().view(size)
}

/// Weights that are not those of the model, for its momentum encoder.
fn apart(weights: &Weights) -> Weights {
    let mut apart = Weights::new();
    for (name, tensor) in weights.iter() {
        apart.insert(name, tensor.detach() * 0.95);
    }
    apart
}

/// The text tower learns.
const TEXT: &str = "model.text.learning_rate=1e-3";

/// A CLIP with a vision transformer and CLIP's text tower, all of which learns.
fn clip(world: &World, sets: &[&str]) -> Case {
    let init = format!("model.init={:?}", tuning::folder());
    Case::new(self_supervised::recipe(world, &[&[&*init], sets].concat()))
}

#[test]
fn every_objective_of_pairs_has_the_gradient_of_the_whole_batch() {
    let world = self_supervised::world();
    for objective in [
        r#""info_nce""#,
        r#"{ name = "info_nce", negatives = "given" }"#,
        r#""nt_xent""#,
        r#""dcl""#,
        r#""sup_con""#,
        r#""sigmoid""#,
        r#"{ name = "triplet", margin = 0.2, mining = "hard" }"#,
        r#"{ name = "margin", margin = 0.2 }"#,
    ] {
        let objective = format!("train.objective={objective}");
        let case = clip(&world, &["train.method=clip", TEXT, &objective]);
        case.agrees(&objective);
        if case.recipe.train.objective.scales() {
            assert!(case.gradient("logit_scale") > 0.0, "{objective}");
        }
        if objective.contains("sigmoid") {
            assert!(case.gradient("logit_bias") > 0.0);
        }
    }
}

#[test]
fn every_method_has_the_gradient_of_the_whole_batch() {
    let world = self_supervised::world();
    for method in [
        r#"{ name = "simclr", hidden = 16, dim = 8 }"#,
        r#"{ name = "sup_con", hidden = 16, dim = 8 }"#,
        r#"{ name = "simsiam", dim = 8, bottleneck = 4 }"#,
        r#"{ name = "byol", hidden = 16, dim = 8 }"#,
        r#"{ name = "moco_v3", hidden = 16, dim = 8 }"#,
        r#"{ name = "swav", hidden = 16, dim = 8, prototypes = 5, small_views = 2 }"#,
    ] {
        let method = format!("train.method={method}");
        clip(&world, &[&method]).agrees(&method);
    }
    let slip = r#"train.method={ name = "slip", hidden = 16, dim = 8 }"#;
    let slip = clip(&world, &[slip, TEXT]);
    slip.agrees("slip");
    slip.agrees_checkpointed("slip");
}

#[test]
fn so_have_views_of_two_sizes_a_convolutional_tower_and_a_bert() {
    let world = World::new();
    let learning = ["model.image.learning_rate=1e-3", "model.text.learning_rate=1e-3"];
    Case::new(world.recipe(&learning)).agrees_checkpointed("clip");
    let recipe = std::fs::read_to_string(world.at("recipe.toml")).unwrap();
    let alone = format!(
        "{}[[data]]\npath = \"captions.tar\"\n[train]\nbatch_size = 7\nepochs = 1\n",
        recipe.split("[[data]]").next().unwrap()
    );
    std::fs::write(world.at("recipe.toml"), alone).unwrap();
    let swav = r#"train.method={ name = "swav", hidden = 16, dim = 8, prototypes = 5, small_views = 2, small_size = 20 }"#;
    Case::new(world.recipe(&[learning[0], swav])).agrees_checkpointed("swav");
}

#[test]
fn so_has_a_batch_of_which_one_tower_learns() {
    let world = self_supervised::world();
    let lit = ["train.method=lit", "model.image.learning_rate=0", TEXT];
    let case = clip(&world, &lit);
    assert!(case.parameters().iter().all(|(name, _)| !name.starts_with("vision_model.")));
    case.agrees("lit");
    case.agree("lit, checkpointed", [(None, &[Side::Image, Side::Text][..])].into_iter());
    let case = clip(&world, &["train.method=clip"]);
    assert!(case.parameters().iter().all(|(name, _)| !name.starts_with("text_model.")));
    case.agrees("a locked text tower");
}

#[test]
fn blocks_that_are_locked_end_the_way_back_through_those_that_keep_their_inputs() {
    let world = self_supervised::world();
    let locked = r#"model.learning_rates={ "vision_model.encoder.layers.0" = 0.0, "vision_model.embeddings" = 0.0, "vision_model.pre_layrnorm" = 0.0 }"#;
    let case = clip(&world, &["train.method=clip", TEXT, locked]);
    let of_tower = |(name, _): &(&str, &Tensor)| name.starts_with("vision_model.");
    assert!(
        case.parameters()
            .iter()
            .filter(|of| of_tower(of))
            .all(|(name, _)| { name.contains("layers.1.") || name.contains("post_layernorm") })
    );
    case.agrees_checkpointed("a locked block");
}

#[test]
fn so_have_adapters_of_low_rank() {
    let world = self_supervised::world();
    let lora =
        ["model.image.lora={ rank = 2, alpha = 4 }", "model.text.lora={ rank = 2, alpha = 4 }"];
    let case = clip(&world, &[&lora[..], &["train.method=clip", TEXT]].concat());
    assert!(case.parameters().iter().any(|(name, _)| name.contains("lora")));
    case.agrees_checkpointed("lora");
}

/// Both towers learn.
const LEARNING: [&str; 3] =
    ["model.image.learning_rate=1e-4", "model.text.learning_rate=1e-3", "image.flip=0.5"];

#[test]
fn a_training_in_micro_batches_has_the_losses_of_one_without() {
    let world = World::new();
    let losses = |name: &str, more: &[&str]| {
        let sets = [&LEARNING[..], &["train.epochs=2"], more].concat();
        let run = Run::create(&world.at(name), world.recipe(&sets)).unwrap();
        assert!(go(&run, None).0.unwrap().finished);
        series(&run.folder, "loss")
    };
    let expected = losses("whole", &[]);
    let found = losses("parts", &["train.micro_batch=7"]);
    for ((step, expected), (_, found)) in expected.iter().zip(&found) {
        assert!((found - expected).abs() < 1e-3 * expected, "step {step}: {found}, {expected}");
    }
    assert_eq!(losses("all", &["train.micro_batch=20"]), expected);
}

#[test]
fn a_resumed_run_in_micro_batches_equals_an_uninterrupted_one() {
    let world = World::new();
    let parts = ["train.epochs=2", "train.micro_batch=6", "model.text.gradient_checkpointing=true"];
    let sets = [&LEARNING[..], &parts].concat();
    resumes_exactly(&world, &world.recipe(&sets));
}

#[test]
fn as_many_pairs_go_at_once_as_fit_and_the_log_names_them() {
    let world = World::new();
    let sets = [&LEARNING[..], &["train.epochs=1", "train.micro_batch=auto"]].concat();
    let run = Run::create(&world.at("run"), world.recipe(&sets)).unwrap();
    let (outcome, said) = go(&run, None);
    assert!(outcome.unwrap().finished);
    let named = said.iter().filter(|words| words.starts_with("train.micro_batch: "));
    let named: Vec<&String> = named.collect();
    // The batch is small for any machine that runs this.
    assert!(named[0].contains("all 20 pairs at once") && named.len() == 1, "{said:?}");
    assert_eq!(Run::open(&run.folder).unwrap().recipe, run.recipe);
}

#[test]
fn micro_batches_that_cannot_be_are_told() {
    let world = World::new();
    let refused = |key: &str| {
        load(&world.at("recipe.toml"), &[format!("train.micro_batch={key}")])
            .unwrap_err()
            .to_string()
    };
    assert!(refused("0").contains("train.micro_batch must be at least 1"), "{}", refused("0"));
    for key in ["atuo", "-3", "2.5"] {
        let said = refused(key);
        assert!(said.contains("train.micro_batch is a number of pairs, or \"auto\""), "{said}");
    }
    let sets = ["train.micro_batch=64", "train.epochs=1"];
    let run = Run::create(&world.at("run"), world.recipe(&sets)).unwrap();
    let said = go(&run, None).1;
    let told = "train.micro_batch = 64 is not less than train.batch_size = 20";
    assert!(said.iter().any(|words| words.contains(told)), "{said:?}");
    let key = "model.text.gradient_checkpointing=true";
    let run = Run::create(&world.at("locked"), world.recipe(&[key])).unwrap();
    let said = go(&run, None).0.unwrap_err().to_string();
    assert!(said.contains("gradient_checkpointing would change nothing"), "{said}");
}

#[test]
fn beginnings_that_are_kept_go_through_the_rest_in_micro_batches() {
    let world = World::new();
    let rates = r#"model.learning_rates={ "vision_model._blocks.15" = 1e-3, "vision_model._conv_head" = 1e-3 }"#;
    let losses = |name: &str, more: &[&str]| {
        let classes = ["model.image.classes=classes.txt", "train.class_pictures=4"];
        let sets = [&["image.cache=true", rates, "train.epochs=2"], &classes[..], more].concat();
        let run = Run::create(&world.at(name), world.recipe(&sets)).unwrap();
        assert!(go(&run, None).0.unwrap().finished);
        series(&run.folder, "loss")
    };
    let expected = losses("whole", &[]);
    let parts = ["train.micro_batch=7", "model.image.gradient_checkpointing=true"];
    for ((step, expected), (_, found)) in expected.iter().zip(&losses("parts", &parts)) {
        assert!((found - expected).abs() < 1e-3 * expected, "step {step}: {found}, {expected}");
    }
}

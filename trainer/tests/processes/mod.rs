//! Several processes of the real binary that train as one, on this machine.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clipsight_trainer::checkpoint::Checkpoint;

use crate::commands::{text, trainer};
use crate::tiny::World;
use crate::training::series;
use crate::{methods, tuning};

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(600);

/// Processes with numbers of their own that know one address.
struct Party {
    children: Vec<Child>,
}

/// Where processes run.
#[derive(Clone, Copy)]
enum Where<'a> {
    /// On this machine.
    Here,
    /// Each in a network namespace of its own, the first at 10.77.0.1.
    Hosts(&'a [&'a str]),
}

impl Where<'_> {
    fn command(self, rank: usize) -> Command {
        let program = env!("CARGO_BIN_EXE_clipsight-trainer");
        match self {
            Self::Here => Command::new(program),
            Self::Hosts(names) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", names[rank], program]);
                command
            }
        }
    }
}

impl Party {
    /// Each with the arguments that `args` has for its number.
    fn start<'a>(
        here: &Path,
        size: usize,
        place: Where<'_>,
        args: impl Fn(usize) -> &'a [&'a str],
    ) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = if matches!(place, Where::Here) { "127.0.0.1" } else { "10.77.0.1" };
        let start = |rank: usize| {
            let mut command = place.command(rank);
            command
                .current_dir(here)
                .args(args(rank))
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            for (name, value) in [
                ("RANK", rank.to_string()),
                ("WORLD_SIZE", size.to_string()),
                ("LOCAL_RANK", rank.to_string()),
                ("MASTER_ADDR", address.to_owned()),
                ("MASTER_PORT", free.to_string()),
                ("CLIPSIGHT_JOIN_TIMEOUT_S", "300".to_owned()),
                ("CLIPSIGHT_SILENCE_TIMEOUT_S", "6".to_owned()),
            ] {
                command.env(name, value);
            }
            command.spawn().unwrap()
        };
        Self { children: (0..size).map(start).collect() }
    }

    fn alike(here: &Path, size: usize, args: &[&str]) -> Self {
        Self::start(here, size, Where::Here, |_| args)
    }

    /// Sends a signal to one of them.
    fn signal(&self, rank: usize, signal: &str) {
        let process = self.children[rank].id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    /// What those of `ranks` have said and how they ended; whoever is left then is killed.
    fn ended(mut self, ranks: &[usize]) -> Vec<Output> {
        let deadline = Instant::now() + DEADLINE;
        let mut running = |rank: usize| self.children[rank].try_wait().unwrap().is_none();
        while ranks.iter().any(|&rank| running(rank)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let late: Vec<usize> = ranks.iter().copied().filter(|&rank| running(rank)).collect();
        self.children.iter_mut().for_each(|child| drop(child.kill()));
        let children = std::mem::take(&mut self.children).into_iter();
        let outputs: Vec<Output> =
            children.map(|child| child.wait_with_output().unwrap()).collect();
        let said: Vec<String> = outputs.iter().map(|output| text(&output.stderr)).collect();
        assert!(late.is_empty(), "{late:?} did not end: {said:#?}");
        outputs
    }
}

impl Drop for Party {
    /// A test that fails leaves nobody behind.
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Trains alone and in `size` processes, which all end with `code`: the same losses, figures and weights.
fn equals_one_process(world: &World, size: usize, sets: &[&str], code: i32, place: Where<'_>) {
    let here = world.at("");
    let mut args = vec!["train", "recipe.toml"];
    sets.iter().for_each(|&set| args.extend(["--set", set]));
    let named = |out: &str| world.at(&format!("{out}-{size}-{}", sets.len()));
    let (alone, together) = (named("alone"), named("together"));
    let with = |out: &'_ Path| {
        let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        args.extend(["--out".to_owned(), out.display().to_string()]);
        args
    };
    let one = with(&alone);
    let output = trainer(&here, &one.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    let all = with(&together);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let ranks: Vec<usize> = (0..size).collect();
    let party = Party::start(&here, size, place, |_| &all);
    for (rank, output) in party.ended(&ranks).iter().enumerate() {
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{rank}: {said}");
        assert_eq!(said.is_empty(), rank > 0, "{rank}: {said}");
        let way = "gradients and embeddings over ";
        assert_eq!(said.matches(way).count(), usize::from(rank == 0), "{rank}: {said}");
    }
    // Of pictures and captions that are nearly alike, rounding may turn one around.
    for (key, near) in [("loss", 1e-5), ("recall_at_10", 0.1), ("top_1", 0.1)] {
        let (expected, found) = (series(&alone, key), series(&together, key));
        assert_eq!(expected.len(), found.len(), "{key}");
        for ((step, expected), (_, found)) in expected.iter().zip(&found) {
            assert!((expected - found).abs() < near, "{key} {step}: {found}, not {expected}");
        }
    }
    let newest = |run: &PathBuf| Checkpoint::newest(&run.join("checkpoints")).unwrap();
    let (expected, found) = (newest(&alone), newest(&together));
    assert!(expected.weights.keys().eq(found.weights.keys()));
    for (name, tensor) in &expected.weights {
        let apart = (tensor - &found.weights[name]).abs().max().double_value(&[]);
        assert!(apart < 1e-5, "{name}: {apart}");
    }
}

/// All of the model learns. `AdamW` divides each gradient by its size, so that of one that is nearly
/// zero the rounding decides; under SGD what is the same stays the same.
const LEARNED: [&str; 6] = [
    r#"train.optimizer="sgd""#,
    "train.grad_clip=1",
    "model.image.learning_rate=1e-3",
    "model.text.learning_rate=1e-3",
    "model.projection.learning_rate=1e-3",
    "image.flip=0.5",
];

/// A world whose recipe trains a CLIP. Its towers are smooth: a rectifier's answer turns around where
/// rounding takes its input over zero, and from then on steps differ by more than rounding.
fn smooth() -> World {
    let world = tuning::world();
    let recipe = std::fs::read_to_string(world.at("clip.toml")).unwrap();
    let init = format!("[model]\ninit = {:?}", tuning::folder().display().to_string());
    std::fs::write(world.at("recipe.toml"), recipe.replacen("[model]", &init, 1)).unwrap();
    world
}

/// Twenty steps and more.
fn twenty_steps_of(size: usize, more: &[&str], place: Where<'_>) {
    let world = smooth();
    let sets: Vec<&str> = [&LEARNED[..], &["train.epochs=12"], more].concat();
    equals_one_process(&world, size, &sets, 0, place);
    let alone = world.at(&format!("alone-{size}-{}", sets.len()));
    assert!(series(&alone, "loss").len() >= 20);
}

#[test]
fn two_and_three_processes_learn_what_one_does_with_the_whole_batch() {
    twenty_steps_of(3, &[], Where::Here);
    twenty_steps_of(2, &["train.micro_batch=4"], Where::Here);
}

#[test]
fn two_towers_are_spread_over_processes_too() {
    let world = World::new();
    let learned: Vec<&str> = [&LEARNED[..], &["train.epochs=2"]].concat();
    equals_one_process(&world, 3, &learned, 0, Where::Here);
    // Locked towers: each answers for a share of the sets before the first step.
    let locked = ["model.projection.learning_rate=1e-4", "train.epochs=7"];
    equals_one_process(&world, 2, &locked, 0, Where::Here);
}

#[test]
fn methods_with_a_momentum_encoder_are_spread_over_processes_too() {
    let world = methods::world();
    std::fs::copy(world.at("method.toml"), world.at("recipe.toml")).unwrap();
    let sets = [
        r#"train.method={ name = "byol", hidden = 32, dim = 16, momentum = 0.9 }"#,
        r#"train.optimizer="sgd""#,
        "train.grad_clip=1",
        "model.image.learning_rate=1e-3",
        "model.projection.learning_rate=1e-3",
        "train.epochs=10",
    ];
    equals_one_process(&world, 2, &sets, 0, Where::Here);
}

#[test]
fn broken_pictures_of_one_process_are_left_out_by_all() {
    let world = World::new();
    world.break_pictures();
    let few = ["data.0.weight=2", "train.batch_size=6", "train.epochs=1"];
    let sets: Vec<&str> = [&LEARNED[..], &few].concat();
    equals_one_process(&world, 3, &sets, 1, Where::Here);
}

/// The last step that a run has written down.
fn last_step(run: &Path) -> u64 {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["step"].as_u64();
    text.lines().filter_map(step).max().unwrap_or_default()
}

/// Waits until the run has made some steps beyond `before`.
fn has_learned(run: &Path, before: u64, party: &mut Party) {
    let deadline = Instant::now() + DEADLINE;
    while last_step(run) < before + 4 {
        assert!(Instant::now() < deadline, "it makes no steps");
        for child in &mut party.children {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// What `ranks` say of those who are lost; they end within a minute.
fn without(party: Party, ranks: &[usize]) -> Vec<String> {
    let lost_at = Instant::now();
    let outputs = party.ended(ranks);
    assert!(lost_at.elapsed() < Duration::from_secs(60), "{:?}", lost_at.elapsed());
    let said = |&rank: &usize| {
        let said = text(&outputs[rank].stderr);
        assert_eq!(outputs[rank].status.code(), Some(2), "{rank}: {said}");
        said
    };
    ranks.iter().map(said).collect()
}

#[test]
fn a_process_that_dies_or_stands_still_is_named_and_the_run_goes_on_with_others() {
    let world = World::new();
    let here = world.at("");
    let run = world.at("run");
    let begin = ["train", "recipe.toml", "--out", "run", "--set", "train.epochs=1000000"];
    let resume = ["train", "--resume", "run"];
    for (size, lost, signal) in [(3, 2, "-KILL"), (2, 0, "-STOP")] {
        let args: &[&str] = if signal == "-KILL" { &begin } else { &resume };
        let before = last_step(&run);
        let mut party = Party::alike(&here, size, args);
        has_learned(&run, before, &mut party);
        party.signal(lost, signal);
        let others: Vec<usize> = (0..size).filter(|&rank| rank != lost).collect();
        for said in without(party, &others) {
            assert!(said.contains(&format!("the process RANK={lost} (of {size}, host ")), "{said}");
            assert!(said.contains("--resume"), "{said}");
        }
        assert!(Checkpoint::newest(&run.join("checkpoints")).unwrap().step >= 3);
    }
    // Any of them may be asked to stop: all do, after the same step, with a whole checkpoint.
    let before = last_step(&run);
    let mut party = Party::alike(&here, 2, &resume);
    has_learned(&run, before, &mut party);
    party.signal(1, "-INT");
    let outputs = party.ended(&[0, 1]);
    let said = text(&outputs[0].stderr);
    assert_eq!(outputs[0].status.code(), Some(1), "{said}");
    assert_eq!(outputs[1].status.code(), Some(1), "{}", text(&outputs[1].stderr));
    let step = Checkpoint::newest(&run.join("checkpoints")).unwrap().step;
    assert!(said.contains(&format!("stopped after step {step};")), "{said}");
}

#[test]
fn processes_that_do_not_fit_together_say_why() {
    let world = World::new();
    let here = world.at("");
    let train = ["train", "recipe.toml", "--out", "run"];
    let with = |set: &'static str| [&train[..], &["--set", set]].concat();
    let refused = |size, args: &[&str], other: &[&str], words: &str| {
        let with = |rank| if rank == 1 { other } else { args };
        let outputs = Party::start(&here, size, Where::Here, with).ended(&[0, 1]);
        for output in &outputs {
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!world.at("run/checkpoints").exists());
        let _ = std::fs::remove_dir_all(world.at("run"));
    };
    let seed = "\"seed = 5\" instead of \"seed = 3\"";
    refused(2, &train, &with("train.seed=5"), seed);
    refused(
        3,
        &with("train.batch_size=2"),
        &with("train.batch_size=2"),
        "fewer than the 3 processes",
    );
    std::fs::create_dir(world.at("other")).unwrap();
    std::fs::copy(world.at("labels.tar"), world.at("other/captions.tar")).unwrap();
    std::fs::copy(world.at("classes.txt"), world.at("other/classes.txt")).unwrap();
    let other = with("data.0.path=other/captions.tar");
    refused(2, &train, &other, "was started with another set of pairs");
    let other = with("eval.captions=other/captions.tar");
    refused(2, &train, &other, "was started with another held-out set");
    let auto = with("train.micro_batch=auto");
    refused(2, &auto, &auto, "with several processes name a number of pairs");

    let alone = |name: &str, value: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clipsight-trainer"));
        let all = [("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("MASTER_ADDR", "127.0.0.1")];
        command.current_dir(&here).args(train).envs(all).env("RANK", "0").env("MASTER_PORT", "1");
        let output = command.env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    assert!(alone("RANK", "2").contains("RANK=2, but WORLD_SIZE=2"));
    assert!(alone("MASTER_PORT", "").contains("but not MASTER_PORT"));
    assert!(alone("CLIPSIGHT_JOIN_TIMEOUT_S", "soon").contains("is no number of seconds"));
    assert!(!world.at("run").exists());
}

/// `scripts/three_hosts.sh` makes the hosts, which wants root, and names them; there are none without it.
#[test]
#[expect(clippy::print_stdout, reason = "a test that had nothing to run on says so")]
fn three_hosts_learn_what_one_does_and_name_the_one_that_is_cut_off() {
    let told = std::env::var("THREE_HOSTS").unwrap_or_default();
    let hosts: Vec<(&str, &str)> = told.split(' ').filter_map(|h| h.split_once('=')).collect();
    if hosts.is_empty() {
        println!("not run: there are no hosts; make test-hosts makes them");
        return;
    }
    let names: Vec<&str> = hosts.iter().map(|(name, _)| *name).collect();
    twenty_steps_of(3, &[], Where::Hosts(&names));

    let world = World::new();
    let (here, run) = (world.at(""), world.at("run"));
    let args = ["train", "recipe.toml", "--out", "run", "--set", "train.epochs=1000000"];
    let mut party = Party::start(&here, 3, Where::Hosts(&names), |_| &args);
    has_learned(&run, 0, &mut party);
    assert!(
        Command::new("ip").args(["link", "set", hosts[2].1, "down"]).status().unwrap().success()
    );
    let said = without(party, &[0, 1, 2]);
    for said in &said[..2] {
        assert!(said.contains("RANK=2 (of 3, host ") && said.contains("at 10.77.0.3)"), "{said}");
    }
    assert!(
        said[2].contains("RANK=0 (of 3, host ") && said[2].contains("10.77.0.1"),
        "{}",
        said[2]
    );
    assert!(Checkpoint::newest(&run.join("checkpoints")).unwrap().step >= 3);
}

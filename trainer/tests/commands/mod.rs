//! The command line by its real binary: exit codes, and what stands on which stream.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use clipsight_trainer::checkpoint::Checkpoint;

use crate::tiny::World;

pub(crate) fn trainer(working: &Path, args: &[&str]) -> Output {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.runtime/onnxruntime");
    let mut command = Command::new(env!("CARGO_BIN_EXE_clipsight-trainer"));
    assert!(library.is_dir(), "ONNX Runtime is missing; run `make onnxruntime`");
    command.current_dir(working).args(args).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn ok(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_recipe_becomes_a_bundle_and_both_are_measured_alike() {
    let world = World::new();
    let here = world.at("");
    let trained = trainer(&here, &["train", "recipe.toml", "--set", "train.epochs=20"]);
    ok(&trained);
    assert_eq!(text(&trained.stdout), "");
    let name = here.file_name().unwrap().to_str().unwrap();
    let run = format!("runs/{name}-1");
    assert!(text(&trained.stderr).contains(&run), "{}", text(&trained.stderr));

    let exported = trainer(&here, &["export", &run, "--out", "bundle"]);
    ok(&exported);
    assert!(text(&exported.stdout).starts_with("bundle · model "));
    let measure = |model: &str| {
        let args =
            ["eval", model, "--captions", "captions.tar", "--labels", "labels.tar", "--json"];
        let output = trainer(&here, &args);
        ok(&output);
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let (of_run, of_bundle) = (measure(&run), measure("bundle"));
    // Bytes where the processor is fast at them, else f32.
    assert_eq!(of_bundle["precision"], runtime::precision_order(runtime::Provider::Cpu)[0]);
    assert_eq!(of_run["labels"]["top_1"], of_bundle["labels"]["top_1"]);
    assert_eq!(of_run["captions"]["pictures"], 24);
    let table = trainer(&here, &["eval", "bundle", "--captions", "captions.tar"]);
    ok(&table);
    assert!(text(&table.stdout).contains("text → image"), "{}", text(&table.stdout));
}

#[test]
fn what_cannot_be_done_is_said_once_and_ends_with_two() {
    let world = World::new();
    let here = world.at("");
    for (args, word) in [
        (&["train", "recipe.toml", "--set", "train.epoch=3"][..], "`epoch`"),
        (&["train", "nowhere.toml"], "nowhere.toml"),
        (&["train", "recipe.toml", "--set", "data.0.path=no.tar"], "no.tar"),
        (&["train", "--resume", "nowhere"], "nowhere is no run"),
        (&["eval", "nowhere", "--captions", "captions.tar"], "nowhere"),
        (&["temperature", "nowhere", "--captions", "captions.tar"], "nowhere"),
        (&["export", "nowhere", "--out", "b"], "nowhere is no run"),
    ] {
        let output = trainer(&here, args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert_eq!(text(&output.stdout), "", "{args:?}");
        assert_eq!(said.matches("error: ").count(), 1, "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
    }
}

#[test]
fn a_measurement_wants_a_set() {
    let output = trainer(&World::new().at(""), &["eval", "run", "--json"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--captions <DATA>|--labels <DATA>"), "{said}");
}

#[test]
fn samples_left_out_end_a_training_with_one() {
    let world = World::new();
    world.break_pictures();
    let output = trainer(&world.at(""), &["train", "recipe.toml", "--set", "train.epochs=1"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("2 samples could not be used"), "{said}");
}

#[test]
fn a_run_is_not_gone_on_with_by_another_recipe() {
    let world = World::new();
    let here = world.at("");
    let one = ["train", "recipe.toml", "--set", "train.epochs=1", "--out", "r"];
    ok(&trainer(&here, &one));
    let other = trainer(&here, &["train", "recipe.toml", "--resume", "r"]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("not the one"), "{}", text(&other.stderr));
    ok(&trainer(&here, &["train", "--resume", "r"]));
}

#[test]
fn ctrl_c_finishes_the_step_and_the_run_goes_on_from_there() {
    let world = World::new();
    let here = world.at("");
    let mut child = Command::new(env!("CARGO_BIN_EXE_clipsight-trainer"))
        .current_dir(&here)
        .args(["train", "recipe.toml", "--out", "r", "--set", "train.epochs=100000"])
        .args(["--set", "eval.every_epochs=100000"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.starts_with("training: ")), "it never began to train");
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let rest: Vec<String> = said.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("--resume r")), "{rest:?}");
    let checkpoint = Checkpoint::newest(&world.at("r/checkpoints")).unwrap();
    let metrics = std::fs::read_to_string(world.at("r/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count() as u64, checkpoint.step);
}

#[test]
fn a_full_disk_leaves_the_checkpoint_before_it_and_is_named() {
    let world = World::new();
    let here = world.at("");
    ok(&trainer(&here, &["train", "recipe.toml", "--set", "train.epochs=1", "--out", "r"]));
    let recipe = world.at("r/recipe.toml");
    let longer = std::fs::read_to_string(&recipe).unwrap().replace("epochs = 1", "epochs = 3");
    std::fs::write(&recipe, longer).unwrap();
    let checkpoints = world.at("r/checkpoints");
    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(&checkpoints).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let before = names();
    let kept = std::fs::read(checkpoints.join(&before[0])).unwrap();

    // Metrics fit below this size, a checkpoint does not.
    let limit = kept.len() / 2;
    let mut command = Command::new("prlimit");
    command.arg(format!("--fsize={limit}")).arg(env!("CARGO_BIN_EXE_clipsight-trainer"));
    let output = command.current_dir(&here).args(["train", "--resume", "r"]).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for words in ["error: ", "cannot write r/checkpoints/step-", "too large", "make room"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(names(), before, "nothing came, nothing went");
    assert_eq!(std::fs::read(checkpoints.join(&before[0])).unwrap(), kept);
    ok(&trainer(&here, &["train", "--resume", "r"]));
}

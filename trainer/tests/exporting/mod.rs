//! A run in, a bundle out that ONNX Runtime answers from, or nothing at all.

use std::sync::Arc;

use clip::ModelBundle;
use clipsight_trainer::checkpoint::Checkpoint;
use clipsight_trainer::data::Dataset;
use clipsight_trainer::encoder::Encoder;
use clipsight_trainer::eval::{BundleEmbedder, Embedder, RunEmbedder};
use clipsight_trainer::export::{ExportError, Precision, Report, Request, export};
use clipsight_trainer::processes::Processes;
use clipsight_trainer::run::Run;
use clipsight_trainer::train::{Surroundings, pass, restore, train};
use clipsight_trainer::watch::{Silent, Stop};
use runtime::ModelOptions;

use crate::tiny::World;

fn trained(world: &World) -> Run {
    let run = Run::create(&world.at("run"), world.recipe(&["train.epochs=12"])).unwrap();
    let stop = Stop::new();
    train(
        &run,
        &mut Surroundings {
            watch: &mut Silent,
            stop: &stop,
            threads: 2,
            processes: Processes::ALONE,
        },
    )
    .unwrap();
    run
}

pub(crate) fn write(run: &Run, world: &World, request: &Request) -> Result<Report, ExportError> {
    runtime::library::load(None).unwrap();
    let stop = Stop::new();
    let mut around =
        Surroundings { watch: &mut Silent, stop: &stop, threads: 2, processes: Processes::ALONE };
    export(run, &world.at("bundle"), request, &mut around)
}

#[test]
fn a_bundle_answers_in_onnx_runtime_as_the_run_does_in_libtorch() {
    let world = World::new();
    let run = trained(&world);
    let report = write(&run, &world, &Request::default()).unwrap();
    let bundle = ModelBundle::open(&world.at("bundle")).unwrap();
    let manifest = bundle.manifest.clone().unwrap();
    assert_eq!(manifest.id.to_string(), report.id);
    assert_eq!(manifest.templates, ["a photo of a {}", "a photo of {}", "this is {}"]);
    assert_eq!(manifest.precisions.keys().collect::<Vec<_>>(), ["fp16", "fp32", "int8"]);
    for precision in ["fp32", "fp16", "int8"] {
        assert!(manifest.figures[precision]["labels"]["top_1"].is_number(), "{precision}");
    }

    let stop = Stop::new();
    let mut encoder = Encoder::from_recipe(&run.recipe).unwrap();
    restore(&mut encoder, &Checkpoint::newest(&run.checkpoints()).unwrap()).unwrap();
    let set = Arc::new(Dataset::open(&world.at("captions.tar"), &[]).unwrap());
    let words: Arc<[Arc<str>]> = ["a red picture", "white", "this is a green photo of blue"]
        .map(Arc::from)
        .into_iter()
        .collect();
    let mut around =
        Surroundings { watch: &mut Silent, stop: &stop, threads: 2, processes: Processes::ALONE };
    let cache = run.cache();
    let mut torch = RunEmbedder { pass: pass(&encoder, &cache, &mut around) };
    let (pictures, texts) = (torch.pictures(&set).unwrap(), torch.texts(&words).unwrap());
    for (precision, lowest) in [("fp32", 0.999_999), ("fp16", 0.9999), ("int8", 0.99)] {
        let options = ModelOptions { threads: 1, precision: Some(precision.to_owned()) };
        let mut silent = Silent;
        let mut onnx = BundleEmbedder::open(bundle.clone(), &options, &mut silent, &stop).unwrap();
        for (a, b) in texts.iter().zip(onnx.texts(&words).unwrap()) {
            assert!(a.cosine(&b) > lowest, "{precision}: {}", a.cosine(&b));
        }
        for (a, b) in pictures.embeddings.iter().zip(onnx.pictures(&set).unwrap().embeddings) {
            let cosine = a.as_ref().unwrap().cosine(&b.unwrap());
            assert!(cosine > lowest, "{precision}: {cosine}");
        }
    }
}

#[test]
fn the_precisions_asked_for_are_written_and_share_one_id() {
    let world = World::new();
    let run = trained(&world);
    let request = |p| Request { precisions: vec![p], ..Request::default() };
    let compact = write(&run, &world, &request(Precision::Int8)).unwrap();
    let files = |folder: &str| {
        let mut names: Vec<String> = std::fs::read_dir(world.at(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(files("bundle/onnx"), ["text_model_int8.onnx", "vision_model_int8.onnx"]);
    assert_eq!(
        files("bundle"),
        [
            "README.md",
            "config.json",
            "manifest.json",
            "onnx",
            "preprocessor_config.json",
            "reference",
            "tokenizer.json"
        ]
    );
    std::fs::rename(world.at("bundle"), world.at("compact")).unwrap();
    let exact = write(&run, &world, &request(Precision::Fp32)).unwrap();
    assert_eq!(files("bundle/onnx"), ["text_model.onnx", "vision_model.onnx"]);
    assert_eq!(exact.id, compact.id);
    // Random towers may need f16; trained ones keep their answers by int8.
    assert!(compact.size_bytes < exact.size_bytes * 2 / 3);
}

#[test]
fn a_failed_export_leaves_nothing_behind() {
    let world = World::new();
    let run = trained(&world);
    let request = Request { card: Some(world.at("no-such-card.md")), ..Request::default() };
    let error = write(&run, &world, &request).unwrap_err();
    assert!(error.to_string().contains("no-such-card.md"), "{error}");
    let left: Vec<String> = std::fs::read_dir(world.at(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("bundle") || name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_folder_that_holds_something_is_not_overwritten() {
    let world = World::new();
    let run = trained(&world);
    std::fs::create_dir(world.at("bundle")).unwrap();
    std::fs::write(world.at("bundle/precious"), "mine").unwrap();
    let error = write(&run, &world, &Request::default()).unwrap_err();
    assert!(matches!(error, ExportError::Taken { .. }), "{error}");
    assert_eq!(std::fs::read(world.at("bundle/precious")).unwrap(), b"mine");
}

//! Pictures that are decoded once and kept (`image.decoded_cache_gb`).

use std::sync::Arc;

use clip::image::{ImageProcessor, ImageProcessorConfig};
use clipsight_trainer::data::augment::{Look, Views};
use clipsight_trainer::data::decode::{Job, augmented};
use clipsight_trainer::data::mixture::Draw;
use clipsight_trainer::data::{Dataset, DecodedCache};
use clipsight_trainer::recipe::{ImageSection, load};
use clipsight_trainer::run::Run;

use super::{go, series};
use crate::tiny::{World, png};

#[test]
fn a_kept_picture_is_seen_again_without_its_file_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("red.png");
    std::fs::write(&file, png([200, 10, 10], 1)).unwrap();
    std::fs::write(folder.path().join("red.txt"), "something red").unwrap();
    let set = Arc::new(Dataset::open(folder.path(), &[]).unwrap());
    let look = Look {
        views: Views::of(&ImageSection::default(), 1, 0),
        processor: ImageProcessor::new(ImageProcessorConfig::default()).unwrap(),
    };
    let seen = |cache: &Arc<DecodedCache>| {
        let job = Job { set: Arc::clone(&set), pair: 0 };
        let draw = Draw { set: 0, pair: 0, caption: 0, turn: 0 };
        let looks = vec![look.clone()];
        augmented(vec![(job, draw)], looks, |pixels| pixels, Arc::clone(cache), (1, 0))
            .next()
            .unwrap()
            .map(|mut views| views.remove(0).data)
    };
    let [with_room, without] =
        [1 << 20, 0].map(|room| Arc::new(DecodedCache::new(look.wanted_side(), room).unwrap()));
    let first = seen(&with_room).unwrap();
    assert_eq!(seen(&without).unwrap(), first);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(seen(&with_room).unwrap(), first);
    assert!(seen(&without).unwrap_err().reason.contains("cannot be read"));
}

#[test]
fn what_is_learned_does_not_depend_on_what_is_kept() {
    let world = World::new();
    let learned = |name: &str, more: &[&str]| {
        let sets = ["model.image.learning_rate=1e-4", "image.flip=0.5", "train.epochs=3"];
        let recipe = world.recipe(&[&sets, more].concat());
        let run = Run::create(&world.at(name), recipe).unwrap();
        go(&run, None).0.unwrap();
        series(&run.folder, "loss")
    };
    assert_eq!(learned("kept", &[]), learned("decoded", &["image.decoded_cache_gb=0"]));
}

#[test]
fn a_size_that_is_none_is_refused() {
    let world = World::new();
    let sets = ["image.decoded_cache_gb=-1".to_owned()];
    let error = load(&world.at("recipe.toml"), &sets).unwrap_err().to_string();
    assert!(error.contains("image.decoded_cache_gb") && error.contains("0, for none"), "{error}");
}

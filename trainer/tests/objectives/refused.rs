//! What cannot be trained with, and what is said of it.

use clipsight_trainer::recipe::load;
use clipsight_trainer::run::Run;

use crate::tiny::{World, png, write_tar};
use crate::training::go;

const NAMES: &str = "`info_nce`, `nt_xent`, `dcl`, `sup_con`, `sigmoid`, `triplet`, `margin`";

/// What is said of a recipe with `set`.
fn refused(world: &World, set: &str) -> String {
    load(&world.at("recipe.toml"), &[set.to_owned()]).unwrap_err().to_string()
}

#[test]
fn an_unknown_objective_or_key_is_named_with_those_that_there_are() {
    let world = World::new();
    let fit = |reason: &str| format!("the recipe does not fit: {reason} in `train.objective`");
    for (objective, reason) in [
        ("info_nec", format!("unknown variant `info_nec`, expected one of {NAMES}")),
        (
            r#"{ name = "triplet", margins = 0.2 }"#,
            "unknown field `margins`, expected one of `margin`, `negatives`, `mining`, `distance`"
                .to_owned(),
        ),
        (
            r#"{ name = "info_nce", margin = 0.2 }"#,
            "unknown field `margin`, expected `negatives`".to_owned(),
        ),
        (r#"{ margin = 0.2 }"#, "missing field `name`".to_owned()),
        (
            r#"{ name = "triplet", mining = "easy" }"#,
            "unknown variant `easy`, expected one of `all`, `hard`, `semi_hard`".to_owned(),
        ),
        (
            r#"{ name = "info_nce", negatives = "none" }"#,
            "unknown variant `none`, expected `batch` or `given`".to_owned(),
        ),
        ("3", "found integer in place of a name, or a table with a name".to_owned()),
    ] {
        assert_eq!(refused(&world, &format!("train.objective={objective}")), fit(&reason));
    }
}

#[test]
fn values_without_sense_and_a_batch_of_one_are_refused_with_what_would_do() {
    let world = World::new();
    let margin = "the recipe's key train.objective.margin must lie between 0 and 2, the farthest that \
                  two embeddings can be apart";
    for (set, words) in [
        (r#"train.objective={ name = "triplet", margin = 0.0 }"#, margin),
        (r#"train.objective={ name = "margin", margin = 2.5 }"#, margin),
        (
            r#"train.objective={ name = "sigmoid", logit_bias_init = nan }"#,
            "the recipe's key train.objective.logit_bias_init must be a finite number, as -10",
        ),
        (
            "train.batch_size=1",
            "the recipe's key train.batch_size must be at least 2: a pair alone has no negatives",
        ),
    ] {
        assert_eq!(refused(&world, set), words);
    }
}

#[test]
fn sets_without_negatives_are_refused_by_every_objective() {
    let world = World::new();
    let same = (0..6).flat_map(|n| {
        [
            (format!("{n}.png"), png([40 * n as u8, 9, 9], n)),
            (format!("{n}.txt"), b"a red picture".to_vec()),
        ]
    });
    write_tar(&world.at("same.tar"), same);
    let texts = "a red picture\na blue picture\n";
    let one =
        [("0.png".to_owned(), png([1, 2, 3], 0)), ("0.txt".to_owned(), texts.as_bytes().to_vec())];
    write_tar(&world.at("one.tar"), one);
    for data in ["same.tar", "one.tar"] {
        for objective in ["triplet", "info_nce", "sup_con"] {
            let sets = [
                &format!(r#"data=[{{ path = "{data}", weight = 4 }}]"#),
                &format!("train.objective={objective}"),
            ];
            let folder = world.at(&format!("{data}-{objective}"));
            let run = Run::create(&folder, world.recipe(&sets.map(String::as_str))).unwrap();
            assert_eq!(
                go(&run, None).0.unwrap_err().to_string(),
                "no two pairs of the training sets differ in picture and in caption or class, so \
                 that none is a negative to another; add pictures with other captions"
            );
        }
    }
}

#[test]
fn a_class_of_one_picture_is_refused_by_supervised_contrastive() {
    let world = World::new();
    let classes = [0, 0, 1, 2, 2].iter().enumerate().flat_map(|(n, class)| {
        [
            (format!("{n}.png"), png([40 * n as u8, 9, 9], n as u32)),
            (format!("{n}.cls"), class.to_string().into_bytes()),
        ]
    });
    write_tar(&world.at("classes.tar"), classes);
    let data = r#"data=[{ path = "classes.tar", weight = 4 }]"#;
    let train = |objective: &str| {
        let sets = [data, &format!("train.objective={objective}"), "train.epochs=1"];
        let run = Run::create(&world.at(objective), world.recipe(&sets)).unwrap();
        go(&run, None).0
    };
    let folder = world.at("");
    let folder = folder.file_name().unwrap().to_string_lossy();
    assert_eq!(
        train("sup_con").unwrap_err().to_string(),
        format!(
            "class \"green\" of {folder}/classes.tar has one picture, and sup_con draws the pictures \
             of a class together; add another one, take the class out, or train with \
             train.objective = \"info_nce\""
        )
    );
    assert!(train("info_nce").is_ok());
}

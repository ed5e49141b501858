//! Sets in every layout: what is read, what is left out and why, what is refused.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clip::image::{DecodeLimits, ImageFormat, RgbImage, decode};
use clipsight_trainer::data::decode::{Job, pictures};
use clipsight_trainer::data::{DataError, Dataset};
use clipsight_trainer::processes::Processes;
use clipsight_trainer::run::Run;
use clipsight_trainer::train::{Surroundings, train};
use clipsight_trainer::watch::{Silent, Stop};
use tempfile::TempDir;

use crate::tiny::{self, World};

/// A folder with files of our own making.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(name, bytes)| folder.write(name, bytes));
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn open(&self, name: &str) -> Result<Dataset, DataError> {
        Dataset::open(&self.at(name), &["a {}".to_owned(), "the {}".to_owned()])
    }

    /// Opens it and says all that was found: pairs with their captions, and bad samples.
    fn found(&self, name: &str) -> (Vec<String>, Vec<String>) {
        let set = self.open(name).unwrap();
        let pair = |p: &clipsight_trainer::data::Pair| {
            let texts: Vec<&str> = p.captions.iter().map(|c| &*c.text).collect();
            format!("{}: {}", p.key, texts.join(" | "))
        };
        let bad = |b: &clipsight_trainer::data::BadSample| format!("{}: {}", b.key, b.reason);
        (set.pairs.iter().map(pair).collect(), set.bad.iter().map(bad).collect())
    }

    fn refusal(&self, name: &str) -> String {
        self.open(name).unwrap_err().to_string()
    }
}

#[test]
fn a_folder_of_pictures_with_captions_beside_them() {
    let folder = Folder::new(&[
        ("b.jpg", b"picture b"),
        ("b.txt", b"one\n\n  two \n"),
        ("sub/A.v2.PNG", b"picture a"),
        ("sub/A.v2.txt", b"three"),
        ("mute.jpg", b"x"),
        ("blind.txt", b"words"),
        ("blank.jpg", b"x"),
        ("blank.txt", b" \n"),
        ("latin.jpg", b"x"),
        ("latin.txt", b"caf\xe9"),
        ("hollow.jpg", b""),
        ("hollow.txt", b"words"),
        ("twice.jpg", b"x"),
        ("twice.png", b"x"),
        ("twice.txt", b"words"),
        (".hidden.jpg", b"x"),
        ("notes.md", b"x"),
    ]);
    let (pairs, bad) = folder.found("");
    assert_eq!(pairs, ["b: one | two", "sub/A.v2: three"]);
    assert_eq!(
        bad,
        [
            "blank: its .txt is empty",
            "blind: has no picture",
            "hollow: its picture is empty",
            "latin: its .txt is not UTF-8",
            "mute: has no .txt and no .cls",
            "twice: has more than one picture",
        ]
    );
    let set = folder.open("").unwrap();
    assert_eq!(set.pairs[1].picture.read().unwrap(), b"picture a");
    assert!(set.classes.is_empty());
}

#[test]
fn a_folder_for_each_class_is_named_in_words() {
    let folder = Folder::new(&[
        ("golden_retriever/1.jpg", b"x"),
        ("golden_retriever/2.jpg", b"x"),
        ("t-shirt/1.jpg", b"x"),
        ("t-shirt/notes.txt", b"no caption of a picture"),
        ("_/1.jpg", b"x"),
        ("stray.jpg", b"x"),
        ("empty/readme.md", b"x"),
    ]);
    folder.write(Path::new(std::ffi::OsStr::from_bytes(b"caf\xe9")).join("1.jpg"), b"x");
    let (pairs, bad) = folder.found("");
    assert_eq!(
        pairs,
        [
            "golden_retriever/1.jpg: a golden retriever | the golden retriever",
            "golden_retriever/2.jpg: a golden retriever | the golden retriever",
            "t-shirt/1.jpg: a t-shirt | the t-shirt",
        ]
    );
    assert_eq!(
        bad,
        [
            "_/1.jpg: its class has no name",
            "caf\u{fffd}/1.jpg: the name of its class is not UTF-8",
            "stray.jpg: lies in no folder of a class",
        ]
    );
    let set = folder.open("").unwrap();
    assert_eq!(set.classes, ["golden retriever", "t-shirt"]);
    assert_eq!(set.pairs[2].class, Some(1));
    assert_eq!(&*set.pairs[2].captions[1].meaning, "t-shirt");
}

#[test]
fn a_table_with_captions_of_the_same_picture_in_several_rows() {
    let folder = Folder::new(&[("p/a.jpg", b"picture a"), ("b.jpg", b"picture b")]);
    let csv =
        "id,filepath,title\n1,p/a.jpg,\"one, two\"\n2,b.jpg,\"three\nfour\"\n3,./p/a.jpg,five\n";
    let tsv = csv.replace("\"one, two\"", "one, two").replace("id,", "id\t");
    let tsv = tsv.replace("filepath,", "filepath\t").replace("jpg,", "jpg\t");
    let tsv = tsv.replace("1,", "1\t").replace("2,", "2\t").replace("3,", "3\t");
    folder.write("t.csv", csv.as_bytes());
    folder.write("t.TSV", tsv.as_bytes());
    folder.write(
        "t.jsonl",
        br#"{"image":"p/a.jpg","text":["one, two","five"]}
            {"image":"b.jpg","text":"three\nfour"}"#,
    );
    for table in ["t.csv", "t.TSV", "t.jsonl"] {
        let (pairs, bad) = folder.found(table);
        assert_eq!(pairs, ["p/a.jpg: one, two | five", "b.jpg: three\nfour"], "{table}");
        assert!(bad.is_empty(), "{table}: {bad:?}");
        let set = folder.open(table).unwrap();
        assert_eq!(set.pairs[0].picture.read().unwrap(), b"picture a", "{table}");
    }
}

#[test]
fn bad_rows_of_a_table_are_named_by_their_line_and_bad_pictures_by_their_path() {
    let folder = Folder::new(&[("a.jpg", b"x"), ("sub/b.jpg", b"x"), ("hollow.jpg", b"")]);
    let absolute = folder.at("sub/b.jpg").display().to_string();
    let table = format!(
        "path,caption\na.jpg,good\na.jpg,\na.jpg,one,two\n,words\n../out.jpg,words\ngone.jpg,words\n\
         sub,words\nhollow.jpg,words\n{absolute},good\n"
    );
    folder.write("t.csv", table.as_bytes());
    let (pairs, bad) = folder.found("t.csv");
    assert_eq!(pairs, ["a.jpg: good".to_owned(), format!("{absolute}: good")]);
    let expected = [
        "line 3: a.jpg: its caption is empty",
        "line 4: has 3 fields where the first line has 2",
        "line 5: its path is empty",
        "line 6: ../out.jpg leads out of the table's folder",
        "gone.jpg: cannot be read: No such file",
        "sub: is not a file",
        "hollow.jpg: its picture is empty",
    ];
    assert_eq!(bad.len(), expected.len(), "{bad:#?}");
    for (found, expected) in bad.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }

    folder.write(
        "t.jsonl",
        b"{\"path\":\"a.jpg\",\"text\":\"good\"}\nno json\n{\"path\":\"a.jpg\"}\n",
    );
    let (pairs, bad) = folder.found("t.jsonl");
    assert_eq!(pairs, ["a.jpg: good"]);
    assert!(bad[0].starts_with("line 2: is no JSON object"), "{bad:?}");
    assert!(bad[1].starts_with("line 3: has none of caption"), "{bad:?}");
}

#[test]
fn shards_written_with_braces_are_one_set() {
    let folder = Folder::new(&[]);
    for shard in ["t-08.tar", "t-09.tar", "t-10.tar"] {
        let member = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.to_vec());
        let text = member("0.txt", shard.as_bytes());
        tiny::write_tar(&folder.at(shard), [member("0.jpg", shard.as_bytes()), text]);
    }
    let (pairs, bad) = folder.found("t-{08..10}.tar");
    assert_eq!(pairs, ["t-08.tar/0: t-08.tar", "t-09.tar/0: t-09.tar", "t-10.tar/0: t-10.tar"]);
    assert!(bad.is_empty());
    let set = folder.open("t-{09,10}.tar").unwrap();
    assert_eq!(set.pairs[1].picture.read().unwrap(), b"t-10.tar");
    assert!(folder.refusal("t-{10..12}.tar").contains("t-11.tar"));
    assert!(folder.refusal("t-{1..}.tar").contains("neither {000..009} nor {a,b}"));
}

#[test]
fn a_set_that_is_none_is_refused_with_what_was_looked_for() {
    let folder = Folder::new(&[
        ("empty/.keep", b""),
        ("mute/a.jpg", b"x"),
        ("mute/b.jpg", b"x"),
        ("deep/train/cat/1.jpg", b"x"),
        ("few/a/1.jpg", b"x"),
        ("few/a/2.jpg", b"x"),
        ("few/a/3.jpg", b"x"),
        ("few/a/3.txt", b"words"),
        ("table/metadata.csv", b"x"),
        ("table/a.jpg", b"x"),
        ("shards/train.tar", b"x"),
        ("bad/a.jpg", b""),
        ("bad/a.txt", b"words"),
        ("t.csv", b"path,caption\ngone.jpg,words\n"),
        ("columns.csv", b"a,b\n"),
        ("set.zip", b"x"),
    ]);
    for (name, words) in [
        ("empty", &["holds no pictures", "KEY.jpg beside KEY.txt", "CLASS/NAME.jpg"][..]),
        ("mute", &["2 pictures", "none of which has captions or a class"]),
        ("deep", &["train/cat/1.jpg", "CLASS/NAME.jpg"]),
        ("few", &["3 pictures of which 1 have captions"]),
        ("table", &["metadata.csv", "name metadata.csv itself"]),
        ("shards", &["train.tar", "name the tar itself"]),
        ("bad", &["no usable pair; a: its picture is empty"]),
        ("t.csv", &["no usable pair; gone.jpg: cannot be read"]),
        ("columns.csv", &["columns.csv has none of filepath, path", "in its first line"]),
        ("set.zip", &["set.zip is no set", ".csv", ".tar", "folder"]),
        ("nowhere", &["cannot read", "nowhere"]),
    ] {
        let reason = folder.refusal(name);
        for word in words {
            assert!(reason.contains(word), "{name}: {reason}");
        }
    }
}

#[test]
fn the_identity_of_a_set_changes_with_its_files() {
    let folder = Folder::new(&[
        ("set/a.jpg", b"x"),
        ("set/a.txt", b"words"),
        ("set/b.jpg", b"x"),
        ("set/b.txt", b"words"),
        ("t.csv", b"path,caption\nset/a.jpg,words\n"),
    ]);
    for name in ["set", "t.csv"] {
        let before = folder.open(name).unwrap().identity();
        assert_eq!(before, folder.open(name).unwrap().identity(), "{name}");
        folder.write("set/a.jpg", format!("longer by {name}").as_bytes());
        let after = folder.open(name).unwrap().identity();
        assert_ne!(before, after, "{name}");
        folder.write("set/c.jpg", b"x");
        folder.write("set/c.txt", b"words");
    }
    let two = folder.open("set").unwrap().identity();
    folder.write("set/d.jpg", b"x");
    folder.write("set/d.txt", b"words");
    assert_ne!(two, folder.open("set").unwrap().identity());
}

#[test]
fn pictures_that_cannot_be_decoded_are_named_and_the_others_come() {
    let whole = {
        let mut bytes = std::io::Cursor::new(Vec::new());
        RgbImage::new(20, 30).write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    };
    let mut huge = whole.clone();
    // width and height of the PNG's header, with its checksum
    huge[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x80, 0]);
    let checksum = crc(&huge[12..29]).to_be_bytes();
    huge[29..33].copy_from_slice(&checksum);
    let folder = Folder::new(&[
        ("c/cut.png", &whole[..whole.len() / 2]),
        ("c/good.png", &whole),
        ("c/huge.png", &huge),
        ("c/words.jpg", b"no picture at all"),
        ("c/gone.png", &whole),
    ]);
    let set = std::sync::Arc::new(folder.open("").unwrap());
    std::fs::remove_file(folder.at("c/gone.png")).unwrap();
    let jobs = (0..set.pairs.len()).map(|pair| Job { set: set.clone(), pair }).collect();
    let processor = clip::image::ImageProcessor::new(clip::image::ImageProcessorConfig::default());
    let results: Vec<_> = pictures(jobs, &processor.unwrap(), 2).collect();
    let said: Vec<String> = results
        .iter()
        .filter_map(|r| r.as_ref().err().map(|b| format!("{}: {}", b.key, b.reason)))
        .collect();
    assert_eq!(results.len() - said.len(), 1, "{said:?}");
    for (found, expected) in said.iter().zip([
        "c/cut.png: the PNG",
        "c/gone.png: cannot be read: No such file",
        "c/huge.png: 32768×32768 pixels are more than the limit of 200000000",
        "c/words.jpg: not a picture",
    ]) {
        assert!(found.starts_with(expected), "{found}");
    }
    assert!(!said.iter().any(|s| s.contains("--max-pixels")), "{said:?}");
}

/// A training on folders, measured on a table and on folders of classes.
#[test]
fn folders_and_tables_train_and_are_measured_as_tars_are() {
    let world = World::new();
    let write = |name: String, bytes: &[u8]| {
        let path = world.at(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let mut table = "file_name,text\ncaptioned/gone.png,a red picture\n".to_owned();
    for (color, value) in [("red", [220, 30, 30]), ("blue", [30, 40, 220])] {
        for n in 0..10 {
            let picture = tiny::png(value, n);
            write(format!("captioned/{color}{n}.png"), &picture);
            write(format!("captioned/{color}{n}.txt"), format!("a {color} picture").as_bytes());
            write(format!("classes/{color}/{n}.png"), &picture);
            table += &format!("captioned/{color}{n}.png,this is {color}\n");
        }
    }
    write("captioned/mute.png".to_owned(), &tiny::png([9; 3], 1));
    write("table.csv".to_owned(), table.as_bytes());
    let recipe = world.recipe(&[
        "data.0.path=captioned",
        "data.1.path=classes",
        "eval.captions=table.csv",
        "eval.labels=classes",
        "train.epochs=1",
        "train.batch_size=10",
        "model.image.learning_rate=1e-4",
        "image.crop_scale=[0.5, 1.0]",
        "image.flip=0.5",
    ]);
    let run = Run::create(&world.at("run"), recipe).unwrap();
    let (mut watch, stop) = (Silent, Stop::new());
    let mut around =
        Surroundings { watch: &mut watch, stop: &stop, threads: 2, processes: Processes::ALONE };
    let outcome = train(&run, &mut around).unwrap();
    assert!(outcome.finished);
    assert_eq!(outcome.unusable, 1);
    let (captions, labels) = (outcome.figures.captions.unwrap(), outcome.figures.labels.unwrap());
    assert_eq!((captions.pictures, captions.captions, captions.unusable.len()), (20, 20, 1));
    assert_eq!((labels.pictures, labels.classes), (20, 2));
    let curves = std::fs::read(run.folder.join("curves.png")).unwrap();
    assert!(decode(&curves, &DecodeLimits::default()).is_ok());
    let again = Run::open(&run.folder).unwrap();
    assert_eq!(again.recipe, run.recipe);
}

#[test]
fn a_set_whose_pictures_are_all_broken_ends_the_training_with_one_of_them() {
    let world = World::new();
    for n in 0..4 {
        let class = world.at(if n < 2 { "broken/red" } else { "broken/white" });
        std::fs::create_dir_all(&class).unwrap();
        std::fs::write(class.join(format!("{n}.png")), b"no picture").unwrap();
    }
    for rate in ["0", "1e-4"] {
        let recipe = world.recipe(&[
            "data.0.path=broken",
            "data.1.path=broken",
            &format!("model.image.learning_rate={rate}"),
        ]);
        let run = Run::create(&world.at(&format!("run-{rate}")), recipe).unwrap();
        let (mut watch, stop) = (Silent, Stop::new());
        let mut around = Surroundings {
            watch: &mut watch,
            stop: &stop,
            threads: 2,
            processes: Processes::ALONE,
        };
        let error = train(&run, &mut around).unwrap_err().to_string();
        assert!(error.contains("no picture of"), "{error}");
        let named = ["red/", "white/"].map(|class| format!("broken can be used; {class}"));
        assert!(named.iter().any(|named| error.contains(named)), "{error}");
    }
}

/// The checksum of PNG chunks (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |mut crc, &byte| {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 * (crc & 1));
        }
        crc
    })
}

#[test]
fn a_set_can_be_opened_for_its_pictures_alone_whatever_is_said_of_them() {
    let folder = Folder::new(&[
        ("plain/a.jpg", b"one"),
        ("plain/deep/er/b.png", b"two"),
        ("plain/a.txt", b"\n"),
        ("plain/hollow.jpg", b""),
        ("classes/cat/a.jpg", b"one"),
        ("table.csv", b"path\nplain/a.jpg\nplain/a.jpg\nplain/none.jpg\n"),
        (
            "table.jsonl",
            b"{\"path\":\"plain/a.jpg\"}\n{\"path\":\"plain/deep/er/b.png\",\"text\":7}\n",
        ),
    ]);
    tiny::write_tar(
        &folder.at("set.tar"),
        [("a.jpg", "x"), ("a.cls", "7"), ("b.jpg", "y"), ("c.txt", "words")]
            .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())),
    );
    let found = |name: &str| {
        let set = Dataset::pictures(&folder.at(name)).unwrap();
        assert!(set.pairs.iter().all(|pair| pair.captions.is_empty() && pair.class.is_none()));
        let keys = |all: Vec<&str>| all.join(" ");
        let bad = set.bad.iter().map(|b| b.key.as_str()).collect();
        (keys(set.pairs.iter().map(|p| p.key.as_str()).collect()), keys(bad))
    };
    let are = |pairs: &str, bad: &str| (pairs.to_owned(), bad.to_owned());
    assert_eq!(found("plain"), are("a.jpg deep/er/b.png", "hollow.jpg"));
    assert_eq!(found("classes"), are("cat/a.jpg", ""));
    assert_eq!(found("table.csv"), are("plain/a.jpg", "plain/none.jpg"));
    assert_eq!(found("table.jsonl"), are("plain/a.jpg plain/deep/er/b.png", ""));
    assert_eq!(found("set.tar"), are("a b", "c"));
    let refused = Dataset::pictures(&folder.at("")).unwrap_err().to_string();
    assert!(refused.contains("holds the table"), "{refused}");
}

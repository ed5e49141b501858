//! Flag over environment over file.

use super::*;

/// Runs in `folder`, with nothing but what is given.
fn data_of(folder: &Path, environment: Option<&str>, words: &[&str]) -> String {
    let mut command = program();
    command.current_dir(folder).args(["search", "a dog"]).args(words);
    if let Some(data) = environment {
        command.env("CLIPSIGHT_DATA", data);
    }
    refused(&command.output().unwrap())
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("clipsight.toml"), "data = 'from-file'").unwrap();
    assert!(data_of(temp.path(), None, &[]).contains("from-file"));
    assert!(data_of(temp.path(), Some("from-environment"), &[]).contains("from-environment"));
    let flag = data_of(temp.path(), Some("from-environment"), &["--data", "from-flag"]);
    assert!(flag.contains("from-flag"), "{flag}");
}

#[test]
fn a_file_is_taken_by_name_or_from_the_xdg_folder() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("other.toml"), "data = 'from-other'").unwrap();
    assert!(data_of(temp.path(), None, &["--config", "other.toml"]).contains("from-other"));
    let xdg = temp.path().join("config/clipsight");
    std::fs::create_dir_all(&xdg).unwrap();
    std::fs::write(xdg.join("clipsight.toml"), "data = 'from-xdg'").unwrap();
    let output = program()
        .current_dir(temp.path())
        .env("XDG_CONFIG_HOME", temp.path().join("config"))
        .args(["search", "a dog"])
        .output()
        .unwrap();
    assert!(refused(&output).contains("from-xdg"));
}

#[test]
fn without_any_setting_the_data_is_in_the_xdg_folder() {
    let temp = tempfile::tempdir().unwrap();
    let output = program()
        .current_dir(temp.path())
        .env("XDG_DATA_HOME", temp.path().join("share"))
        .args(["search", "a dog"])
        .output()
        .unwrap();
    let expected = temp.path().join("share/clipsight");
    assert!(refused(&output).contains(expected.to_str().unwrap()));
}

#[test]
fn a_key_or_value_that_is_not_accepted_is_named_with_its_file() {
    let temp = tempfile::tempdir().unwrap();
    let with = |text: &str| {
        std::fs::write(temp.path().join("clipsight.toml"), text).unwrap();
        data_of(temp.path(), None, &[])
    };
    for (text, word) in [
        ("dta = 'x'", "`dta`"),
        ("max_pixels = 'many'", "`max_pixels`"),
        ("threads = 0", "`threads`"),
        ("json = 1", "`json`"),
        ("data = ", "TOML"),
    ] {
        let said = with(text);
        assert!(said.contains(word) && said.contains("clipsight.toml"), "{said}");
    }
    let said = data_of(temp.path(), None, &["--config", "none.toml"]);
    assert!(said.contains("none.toml"), "{said}");
}

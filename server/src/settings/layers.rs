//! Flag over environment over file, for every flag of every command alike.
//!
//! clap already prefers a flag to its environment variable and that to its default value.
//! So the whole layering is: give every flag a variable, and turn the file's keys into defaults.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use super::{SettingsError, SettingsFile};

/// The command with its environment variables and with the settings file that these words name.
///
/// # Errors
/// A settings file that cannot be read, with an unknown key, or with a value its flag refuses.
pub fn layers_of(command: Command, words: &[OsString]) -> Result<Command, SettingsError> {
    layered(command, SettingsFile::find(words)?.as_ref())
}

/// The command with its environment variables and with the keys of the file as defaults.
///
/// # Errors
/// An unknown key, or a value that its flag refuses; both name the file and the key.
pub fn layered(command: Command, file: Option<&SettingsFile>) -> Result<Command, SettingsError> {
    let command = with_environment(command);
    let Some(file) = file else { return Ok(command) };
    let mut known = BTreeSet::new();
    check(&command, file, &mut known)?;
    match file.keys.keys().find(|key| !known.contains(key.as_str())) {
        Some(key) => Err(SettingsError::UnknownKey { path: file.path.clone(), key: key.clone() }),
        None => Ok(with_defaults(command, file)),
    }
}

/// The key of a flag in the file; none for what is no setting.
fn key_of(arg: &Arg) -> Option<String> {
    arg.get_long().filter(|long| !["help", "version", "config"].contains(long))?;
    arg.get_long().map(|long| long.replace('-', "_"))
}

fn with_environment(command: Command) -> Command {
    let named = |arg: Arg| match arg.get_long().map(|long| long.replace('-', "_").to_uppercase()) {
        Some(name) => arg.env(format!("CLIPSIGHT_{name}")).hide_env(true),
        None => arg,
    };
    command.mut_args(named).mut_subcommands(with_environment)
}

fn with_defaults(command: Command, file: &SettingsFile) -> Command {
    let named = |arg: Arg| {
        let value = key_of(&arg).and_then(|key| file.keys.get(&key));
        match value.and_then(words_of) {
            Some(words) if is_switch(&arg) && words == ["false"] => arg,
            Some(words) => arg.default_values(words),
            None => arg,
        }
    };
    command.mut_args(named).mut_subcommands(|sub| with_defaults(sub, file))
}

/// Refuses values that a flag would refuse, and notes which keys have a flag.
fn check(
    command: &Command,
    file: &SettingsFile,
    known: &mut BTreeSet<String>,
) -> Result<(), SettingsError> {
    for arg in command.get_arguments() {
        let Some(key) = key_of(arg) else { continue };
        if let Some(value) = file.keys.get(&key) {
            try_value(arg, value).map_err(|reason| SettingsError::BadValue {
                path: file.path.clone(),
                key: key.clone(),
                reason,
            })?;
        }
        known.insert(key);
    }
    command.get_subcommands().try_for_each(|sub| check(sub, file, known))
}

/// Runs the flag's own parser over a value of the file.
fn try_value(arg: &Arg, value: &toml::Value) -> Result<(), String> {
    let words = words_of(value).ok_or("a table or a date cannot be the value of a flag")?;
    if is_switch(arg) {
        let yes_or_no = value.is_bool();
        return if yes_or_no { Ok(()) } else { Err("expected true or false".to_owned()) };
    }
    let long = arg.get_long().unwrap_or_default();
    let line = std::iter::once("clipsight".to_owned())
        .chain(words.iter().map(|word| format!("--{long}={word}")));
    let alone = Command::new("clipsight").arg(arg.clone().env(None::<&str>).required(false));
    match alone.try_get_matches_from(line) {
        Ok(_) => Ok(()),
        Err(error) => Err(first_sentence(&error)),
    }
}

/// clap's own sentence, without its prefix and without the usage that follows.
fn first_sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or("not accepted");
    line.trim_start_matches("error: ").to_owned()
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// A value of the file as a command line would spell it.
fn words_of(value: &toml::Value) -> Option<Vec<String>> {
    match value {
        toml::Value::String(text) => Some(vec![text.clone()]),
        toml::Value::Integer(number) => Some(vec![number.to_string()]),
        toml::Value::Float(number) => Some(vec![number.to_string()]),
        toml::Value::Boolean(yes) => Some(vec![yes.to_string()]),
        toml::Value::Array(values) => {
            values.iter().map(words_of).collect::<Option<Vec<_>>>().map(|all| all.concat())
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn command() -> Command {
        Command::new("clipsight").subcommand(
            Command::new("serve")
                .arg(Arg::new("listen").long("listen").default_value("127.0.0.1:8080"))
                .arg(
                    Arg::new("max-pixels")
                        .long("max-pixels")
                        .value_parser(clap::value_parser!(u64)),
                )
                .arg(Arg::new("label").long("label").action(ArgAction::Append))
                .arg(Arg::new("json").long("json").action(ArgAction::SetTrue)),
        )
    }

    fn file(text: &str) -> SettingsFile {
        SettingsFile { path: PathBuf::from("clipsight.toml"), keys: text.parse().unwrap() }
    }

    fn parsed(text: &str, words: &[&str]) -> clap::ArgMatches {
        let line = ["clipsight", "serve"].iter().chain(words).copied();
        let matches = layered(command(), Some(&file(text))).unwrap().get_matches_from(line);
        matches.subcommand_matches("serve").unwrap().clone()
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let text = "listen = '127.0.0.1:1'\nmax_pixels = 7";
        let from_file = parsed(text, &[]);
        assert_eq!(from_file.get_one::<String>("listen").unwrap(), "127.0.0.1:1");
        assert_eq!(*from_file.get_one::<u64>("max-pixels").unwrap(), 7);
        let from_flag = parsed(text, &["--listen", "127.0.0.1:2"]);
        assert_eq!(from_flag.get_one::<String>("listen").unwrap(), "127.0.0.1:2");
    }

    #[test]
    fn arrays_and_switches_come_from_the_file_too() {
        let both = parsed("label = ['a', 'b']\njson = true", &[]);
        assert_eq!(both.get_many::<String>("label").unwrap().count(), 2);
        assert!(both.get_flag("json"));
        assert!(!parsed("json = false", &[]).get_flag("json"));
    }

    #[test]
    fn an_unknown_key_and_a_bad_value_name_key_and_file() {
        for (text, key) in [
            ("lisen = 'x'", "lisen"),
            ("max_pixels = 'many'", "max_pixels"),
            ("json = 'yes'", "json"),
            ("listen = ['a', 'b']", "listen"),
            ("[serve]\nlisten = 'x'", "serve"),
        ] {
            let error = layered(command(), Some(&file(text))).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains("clipsight.toml"), "{error}");
        }
    }

    #[test]
    fn every_flag_has_its_variable() {
        let command = layered(command(), None).unwrap();
        let serve = command.find_subcommand("serve").unwrap();
        let name = |arg: &Arg| arg.get_env().map(|name| name.to_string_lossy().into_owned());
        let names: Vec<_> = serve.get_arguments().map(name).collect();
        assert!(names.contains(&Some("CLIPSIGHT_MAX_PIXELS".to_owned())), "{names:?}");
        assert!(names.iter().all(Option::is_some), "{names:?}");
    }
}

//! Further captions by a program that the user names, as one that translates to another language and
//! back (Sennrich et al. 2016; as augmentation Edunov et al. 2018).

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::data::{Caption, Dataset};
use crate::tensor_file::write_atomically;

/// Captions that cannot be translated back. A program's own messages go where ours go.
#[derive(Debug, thiserror::Error)]
pub enum BackTranslationError {
    /// The program cannot be started.
    #[error(
        "cannot start {program}, which text.back_translation.command names; give the path of a \
         program, or the name of one that is found by PATH"
    )]
    Start {
        /// As the recipe says.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Its answer cannot be read.
    #[error("cannot read the answer of {program} (text.back_translation.command) as UTF-8")]
    Answer {
        /// As the recipe says.
        program: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It failed.
    #[error(
        "{program} (text.back_translation.command) ended with {status}; what it said of it stands \
         above"
    )]
    Failed {
        /// As the recipe says.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It does not answer line by line.
    #[error(
        "{program} (text.back_translation.command) wrote {found} lines for {expected} captions; it \
         must write one line for each that it reads, in their order"
    )]
    Lines {
        /// As the recipe says.
        program: String,
        /// Captions.
        expected: usize,
        /// Lines.
        found: usize,
    },
    /// It has no answer to a caption.
    #[error(
        "{program} (text.back_translation.command) wrote an empty line {line}, for the caption \
         \"{caption}\"; let it repeat a caption that it cannot translate"
    )]
    Nothing {
        /// As the recipe says.
        program: String,
        /// From 1.
        line: usize,
        /// What it was asked.
        caption: String,
    },
    /// The answers cannot be kept.
    #[error("cannot write {}", path.display())]
    Keep {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Adds to each pair what `command` makes of its captions, each new wording once, with the meaning of
/// the caption that it was made of; answers how many were added.
///
/// The command runs once over all distinct captions; its answers are kept in `cache` under a digest of
/// command and captions, and a resumed run finds them there.
///
/// # Errors
/// [`BackTranslationError`], naming the program and what it did.
pub fn add_captions(
    sets: &mut [Dataset],
    command: &[String],
    cache: &Path,
) -> Result<usize, BackTranslationError> {
    let mut known = HashSet::new();
    let captions = sets.iter().flat_map(|set| &set.pairs).flat_map(|pair| &pair.captions);
    let texts: Vec<Arc<str>> =
        captions.map(|caption| &caption.text).filter(|text| known.insert(*text)).cloned().collect();
    let answers = answers(&texts, command, cache)?;
    let again: HashMap<Arc<str>, Arc<str>> =
        texts.into_iter().zip(answers.into_iter().map(Arc::from)).collect();
    let mut added = 0;
    for pair in sets.iter_mut().flat_map(|set| &mut set.pairs) {
        let before = pair.captions.len();
        for at in 0..before {
            let Caption { text, meaning } = &pair.captions[at];
            let Some(text) = again.get(text) else { continue };
            if pair.captions.iter().all(|caption| caption.text != *text) {
                let caption = Caption { text: Arc::clone(text), meaning: Arc::clone(meaning) };
                pair.captions.push(caption);
            }
        }
        added += pair.captions.len() - before;
    }
    Ok(added)
}

/// A line for each text: from `cache`, or by the command.
fn answers(
    texts: &[Arc<str>],
    command: &[String],
    cache: &Path,
) -> Result<Vec<String>, BackTranslationError> {
    let path = cache.join(format!("back_translation-{}.txt", digest(texts, command)));
    if let Ok(kept) = std::fs::read_to_string(&path) {
        let lines: Vec<String> = kept.lines().map(str::to_owned).collect();
        if lines.len() == texts.len() {
            return Ok(lines);
        }
    }
    let lines = ask(texts, command)?;
    let whole = lines.iter().fold(String::new(), |whole, line| whole + line + "\n");
    write_atomically(&path, whole.as_bytes())
        .map_err(|source| BackTranslationError::Keep { path, source })?;
    Ok(lines)
}

/// Runs the command over the texts, each in one line.
fn ask(texts: &[Arc<str>], command: &[String]) -> Result<Vec<String>, BackTranslationError> {
    let program = command.first().map_or("", String::as_str);
    let named = || program.to_owned();
    let mut child = Command::new(program)
        .args(command.iter().skip(1))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|source| BackTranslationError::Start { program: named(), source })?;
    feed(&mut child, texts);
    let answer = |source| BackTranslationError::Answer { program: named(), source };
    let output = child.wait_with_output().map_err(answer)?;
    if !output.status.success() {
        return Err(BackTranslationError::Failed { program: named(), status: output.status });
    }
    let text = String::from_utf8(output.stdout)
        .map_err(|e| answer(std::io::Error::new(ErrorKind::InvalidData, e)))?;
    let lines: Vec<String> = text.lines().map(one_line).collect();
    if lines.len() != texts.len() {
        let (expected, found) = (texts.len(), lines.len());
        return Err(BackTranslationError::Lines { program: named(), expected, found });
    }
    if let Some(at) = lines.iter().position(String::is_empty) {
        let caption = texts[at].to_string();
        return Err(BackTranslationError::Nothing { program: named(), line: at + 1, caption });
    }
    Ok(lines)
}

/// Writes from a thread of its own: a program that answers as it reads would wait for us to read.
fn feed(child: &mut Child, texts: &[Arc<str>]) {
    let Some(mut input) = child.stdin.take() else { return };
    let whole = texts.iter().fold(String::new(), |whole, text| whole + &one_line(text) + "\n");
    // A program that stops reading is known by its answer.
    std::thread::spawn(move || drop(input.write_all(whole.as_bytes())));
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn digest(texts: &[Arc<str>], command: &[String]) -> String {
    let mut hasher = Sha256::new();
    let words = command.iter().map(String::as_str);
    hasher.update((command.len() as u64).to_le_bytes());
    for part in words.chain(texts.iter().map(AsRef::as_ref)) {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize()[..8].iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<Arc<str>> {
        texts.iter().map(|&text| text.into()).collect()
    }

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn fails(script: &str) -> String {
        ask(&texts(&["a dog", "a cat"]), &shell(script)).unwrap_err().to_string()
    }

    #[test]
    fn each_caption_is_a_line_whatever_white_space_is_in_it() {
        let asked = texts(&["a  dog\nruns", "ein Hund läuft"]);
        assert_eq!(ask(&asked, &shell("cat")).unwrap(), ["a dog runs", "ein Hund läuft"]);
    }

    #[test]
    fn many_captions_pass_a_program_that_answers_as_it_reads() {
        let many: Vec<Arc<str>> = (0..50_000).map(|n| format!("caption {n}").into()).collect();
        let answers = ask(&many, &shell("sed 's/caption/text/'")).unwrap();
        assert_eq!((answers.len(), answers[49_999].as_str()), (50_000, "text 49999"));
    }

    #[test]
    fn answers_are_kept_and_asked_for_again_where_text_or_command_changed() {
        let cache = tempfile::tempdir().unwrap();
        let counting = |more: &str| {
            let marks = cache.path().join("marks");
            shell(&format!("echo x >> {}; cat{more}", marks.display()))
        };
        let times = || std::fs::read_to_string(cache.path().join("marks")).unwrap().lines().count();
        let (first, second) = (texts(&["a", "b"]), texts(&["a", "c"]));
        for _ in 0..2 {
            assert_eq!(answers(&first, &counting(""), cache.path()).unwrap(), ["a", "b"]);
            assert_eq!(times(), 1);
        }
        answers(&second, &counting(""), cache.path()).unwrap();
        answers(&second, &counting(" -"), cache.path()).unwrap();
        assert_eq!(times(), 3);
        let damaged = format!("back_translation-{}.txt", digest(&first, &counting("")));
        std::fs::write(cache.path().join(damaged), "a\n").unwrap();
        assert_eq!(answers(&first, &counting(""), cache.path()).unwrap(), ["a", "b"]);
        assert_eq!(times(), 4);
    }

    #[test]
    fn what_a_program_does_wrong_is_said_with_its_name() {
        let missing = ask(&texts(&["a"]), &["no-such-program".to_owned()]).unwrap_err();
        let said = missing.to_string();
        assert!(said.contains("no-such-program") && said.contains("PATH"), "{said}");
        for (script, words) in [
            ("cat; exit 3", ["sh", "exit status: 3"]),
            ("head -1", ["1 lines for 2 captions", "one line for each"]),
            ("cat; echo more", ["3 lines for 2 captions", "one line for each"]),
            ("sed 's/a cat/ /'", ["empty line 2", "\"a cat\""]),
            ("printf '\\377\\n\\n'", ["sh", "UTF-8"]),
            ("true", ["0 lines for 2 captions", "text.back_translation.command"]),
        ] {
            let said = fails(script);
            assert!(words.iter().all(|word| said.contains(word)), "{script}: {said}");
        }
    }
}

//! What is printed: answers to standard output, everything else to standard error.

use std::io::{ErrorKind, Write};

use anyhow::Result;
use serde::Serialize;

/// Prints a line of the answer.
pub(super) fn line(text: &str) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Prints the answer as one JSON document.
pub(super) fn json(answer: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, answer)?;
    writeln!(out)?;
    Ok(())
}

/// Tells the person something that is not the answer.
#[expect(clippy::print_stderr, reason = "the command line talks to people here")]
pub(super) fn tell(text: &str) {
    eprintln!("{text}");
}

/// Says once why it could not be done, with the chain of causes.
pub(super) fn complain(error: &anyhow::Error) {
    let mut words: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // An error that shows its source's words says them once.
        if !words.last().is_some_and(|last| last.ends_with(&text)) {
            words.push(text);
        }
    }
    tell(&format!("error: {}", words.join(": ")));
}

/// Whether the reader of our output has gone, as `head` does: no fault of anybody's.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |kind| kind == Some(ErrorKind::BrokenPipe);
    error.chain().any(|cause| {
        closed(cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind))
            || closed(cause.downcast_ref::<serde_json::Error>().and_then(|e| e.io_error_kind()))
    })
}

/// Rows under a heading, each column as wide as its widest cell; the last is not padded.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heading[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(line(heading))
        .chain(rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str()))))
        .collect()
}

/// Bytes as people read them, in powers of ten.
pub(super) fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["1".to_owned(), "ä long one".to_owned()], ["22".to_owned(), "b".to_owned()]];
        assert_eq!(table(["n", "word"], &rows), ["n   word", "1   ä long one", "22  b"]);
    }

    #[test]
    fn sizes_are_read_at_a_glance() {
        let all = [0, 999, 1000, 999_999, 45_300_000].map(size);
        assert_eq!(all, ["0 B", "999 B", "1.0 kB", "1.0 MB", "45.3 MB"]);
    }
}

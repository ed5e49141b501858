//! A JSON object a line; a caption and a negative may be a list of them.

use serde_json::{Map, Value};

use super::{CAPTION, Entry, NEGATIVE, PICTURE, Row, column, optional_column};

/// All lines but blank ones; without `words` their pictures alone.
pub(super) fn rows(text: &[u8], words: bool) -> Vec<Row> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty())
        .map(|(content, line)| Row { line, content: row(content, words) })
        .collect()
}

fn row(line: &[u8], words: bool) -> Result<Entry, String> {
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|e| format!("is no JSON object: {e}"))?;
    let names = || object.keys().map(String::as_str);
    if !words {
        let picture = text(&object, column(names(), &PICTURE)?)?;
        return Ok(Entry { picture, captions: Vec::new(), negatives: Vec::new() });
    }
    let negative = optional_column(names(), &NEGATIVE)?;
    Ok(Entry {
        picture: text(&object, column(names(), &PICTURE)?)?,
        captions: texts(&object, column(names(), &CAPTION)?)?,
        negatives: negative.map(|at| texts(&object, at)).transpose()?.unwrap_or_default(),
    })
}

/// The text at place `at` of the object.
fn text(object: &Map<String, Value>, at: usize) -> Result<String, String> {
    let (name, value) = object.iter().nth(at).ok_or("is empty")?;
    Ok(value.as_str().ok_or_else(|| format!("has a {name} that is no text"))?.to_owned())
}

/// The text or the list of texts there.
fn texts(object: &Map<String, Value>, at: usize) -> Result<Vec<String>, String> {
    let (name, value) = object.iter().nth(at).ok_or("is empty")?;
    let texts = match value {
        Value::Null => Some(Vec::new()),
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(all) => all.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    texts.ok_or_else(|| format!("has a {name} that is no text and no list of texts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_path_and_one_caption_or_several() {
        let text = br#"{"path":"a.jpg","caption":"one","id":7}

{"file_name":"b.jpg","text":["two","three"],"negative":"four"}
{"path":"c.jpg","caption":"five","negatives":["six","seven"]}
{"path":"d.jpg","caption":"eight","negative":null}"#;
        let found: Vec<_> =
            rows(text, true).into_iter().map(|r| (r.line, r.content.unwrap())).collect();
        let entry = |picture: &str, captions: &[&str], negatives: &[&str]| {
            let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
            let (captions, negatives) = (texts(captions), texts(negatives));
            Entry { picture: picture.to_owned(), captions, negatives }
        };
        assert_eq!(
            found,
            [
                (1, entry("a.jpg", &["one"], &[])),
                (3, entry("b.jpg", &["two", "three"], &["four"])),
                (4, entry("c.jpg", &["five"], &["six", "seven"])),
                (5, entry("d.jpg", &["eight"], &[])),
            ]
        );
    }

    #[test]
    fn a_line_that_is_no_such_object_is_told() {
        for (line, word) in [
            (&b"{\"path\":"[..], "no JSON object"),
            (b"[1]", "no JSON object"),
            (b"{\"path\":\"a.jpg\"}", "none of caption"),
            (b"{\"path\":\"a\",\"image\":\"b\",\"text\":\"c\"}", "and"),
            (b"{\"path\":7,\"text\":\"c\"}", "path that is no text"),
            (b"{\"path\":\"a\",\"text\":[1]}", "no list of texts"),
            (b"{\"path\":\"a\",\"text\":\"b\",\"negative\":7}", "negative that is no text"),
            (b"{\"path\":\"caf\xe9\",\"text\":\"c\"}", "not UTF-8"),
        ] {
            let reason = row(line, true).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }
}

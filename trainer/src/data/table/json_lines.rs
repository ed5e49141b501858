//! A JSON object a line; a caption may be a list of captions.

use serde_json::{Map, Value};

use super::{CAPTION, Content, PICTURE, Row, column};

/// All lines but blank ones.
pub(super) fn rows(text: &[u8]) -> Vec<Row> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty())
        .map(|(content, line)| Row { line, content: row(content) })
        .collect()
}

fn row(line: &[u8]) -> Content {
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    let object: Map<String, Value> =
        serde_json::from_str(line).map_err(|e| format!("is no JSON object: {e}"))?;
    let (picture_name, picture) = value(&object, &PICTURE)?;
    let (caption_name, caption) = value(&object, &CAPTION)?;
    let wrong = |name: &str, kind: &str| format!("has a {name} that is no {kind}");
    let path = picture.as_str().ok_or_else(|| wrong(picture_name, "text"))?.to_owned();
    let captions = match caption {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(all) => all.iter().map(|c| c.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    Ok((path, captions.ok_or_else(|| wrong(caption_name, "text and no list of texts"))?))
}

fn value<'a>(
    object: &'a Map<String, Value>,
    wanted: &[&str],
) -> Result<(&'a str, &'a Value), String> {
    let at = column(object.keys().map(String::as_str), wanted)?;
    let (name, value) = object.iter().nth(at).ok_or("is empty")?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_path_and_one_caption_or_several() {
        let text = br#"{"path":"a.jpg","caption":"one","id":7}

{"file_name":"b.jpg","text":["two","three"]}"#;
        let found: Vec<_> = rows(text).into_iter().map(|r| (r.line, r.content.unwrap())).collect();
        let texts = |all: &[&str]| all.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                (1, ("a.jpg".to_owned(), texts(&["one"]))),
                (3, ("b.jpg".to_owned(), texts(&["two", "three"])))
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
            (b"{\"path\":\"caf\xe9\",\"text\":\"c\"}", "not UTF-8"),
        ] {
            let reason = row(line).unwrap_err();
            assert!(reason.contains(word), "{reason}");
        }
    }
}

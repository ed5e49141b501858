//! Rows of fields between commas or tabs, as spreadsheets write them (RFC 4180).

use csv::{ByteRecord, ReaderBuilder};

use super::{CAPTION, Entry, NEGATIVE, PICTURE, Row, column, optional_column};

/// All rows behind the header; without `words` their pictures alone.
///
/// # Errors
/// What is wrong with the header, to follow the table's name.
pub(super) fn rows(text: &[u8], delimiter: u8, words: bool) -> Result<Vec<Row>, String> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text);
    let header = reader.byte_headers().map_err(|e| format!("cannot be parsed: {e}"))?.clone();
    let names: Vec<&str> = header.iter().map(|n| std::str::from_utf8(n).unwrap_or("")).collect();
    let hint = |reason: String| {
        let tabs = delimiter == b',' && names.iter().any(|name| name.contains('\t'));
        let hint = if tabs { "; its columns are parted by tabs: name it .tsv" } else { "" };
        format!("{reason} in its first line{hint}")
    };
    let picture = column(names.iter().copied(), &PICTURE).map_err(hint)?;
    let (mut caption, mut negative) = (None, None);
    if words {
        caption = Some(column(names.iter().copied(), &CAPTION).map_err(hint)?);
        negative = optional_column(names.iter().copied(), &NEGATIVE).map_err(hint)?;
    }
    let (mut rows, mut record) = (Vec::new(), ByteRecord::new());
    let mut start = reader.position().byte() as usize;
    let mut line = 1 + count(&text[..start], b'\n');
    while reader.read_byte_record(&mut record).map_err(|e| format!("fails: {e}"))? {
        let end = reader.position().byte() as usize;
        let written = without_blank_lines(&text[start..end]);
        line += count(&text[start..end - written.len()], b'\n');
        let content = checked(&record, written, header.len()).and_then(|()| {
            let caption = caption.map(|at| field(&record, at, "caption")).transpose()?;
            let negative = negative.map(|at| field(&record, at, "negative")).transpose()?;
            Ok(Entry {
                picture: field(&record, picture, "path")?,
                captions: caption.into_iter().collect(),
                negatives: negative.into_iter().collect(),
            })
        });
        rows.push(Row { line, content });
        line += count(written, b'\n');
        start = end;
    }
    Ok(rows)
}

/// The reader passes over empty lines before a row.
fn without_blank_lines(text: &[u8]) -> &[u8] {
    let row = text.iter().position(|byte| !b"\r\n".contains(byte));
    &text[row.unwrap_or(text.len())..]
}

fn count(text: &[u8], wanted: u8) -> u64 {
    text.iter().filter(|&&byte| byte == wanted).count() as u64
}

/// The reader takes anything for fields; this says what is no row.
fn checked(record: &ByteRecord, written: &[u8], columns: usize) -> Result<(), String> {
    let odd = count(written, b'"') % 2 == 1;
    if odd && written.trim_ascii_end().contains(&b'\n') {
        return Err("opens a quote that it does not close".to_owned());
    }
    let fields = record.len();
    if fields != columns {
        return Err(format!(
            "has {fields} fields where the first line has {columns}; a text with the separator in \
             it stands in quotes"
        ));
    }
    Ok(())
}

fn field(record: &ByteRecord, at: usize, name: &str) -> Result<String, String> {
    let bytes = record.get(at).unwrap_or_default().to_vec();
    String::from_utf8(bytes).map_err(|_| format!("its {name} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Vec<(u64, Result<Entry, String>)> {
        rows(text, b',', true).unwrap().into_iter().map(|row| (row.line, row.content)).collect()
    }

    fn says(path: &str, caption: &str) -> Entry {
        Entry {
            picture: path.to_owned(),
            captions: vec![caption.to_owned()],
            negatives: Vec::new(),
        }
    }

    #[test]
    fn quotes_hold_commas_line_ends_and_quotes() {
        let text = b"\xef\xbb\xbfpath,caption\r\n\r\na.jpg,\"one, \"\"two\"\"\nthree\"\r\nb.jpg,5\" nails\r\n";
        assert_eq!(
            read(text),
            [(3, Ok(says("a.jpg", "one, \"two\"\nthree"))), (5, Ok(says("b.jpg", "5\" nails")))]
        );
    }

    #[test]
    fn a_table_may_have_a_column_of_negatives() {
        let found = read(b"path,caption,negative\na.jpg,a dog on a bed,a bed on a dog\n");
        let negatives = vec!["a bed on a dog".to_owned()];
        assert_eq!(found, [(2, Ok(Entry { negatives, ..says("a.jpg", "a dog on a bed") }))]);
    }

    #[test]
    fn malformed_rows_are_told_and_the_rows_behind_them_are_read() {
        let text = b"path,caption\na.jpg,\"open\nb.jpg,\"shut\"\nc.jpg,one, two\nd.jpg\ne.jpg,caf\xe9\nf.jpg,fine";
        let found = read(text);
        let reasons: Vec<&str> =
            found.iter().filter_map(|(_, row)| row.as_ref().err()).map(String::as_str).collect();
        assert_eq!(reasons.len(), 4, "{found:?}");
        assert!(reasons[0].contains("does not close"));
        assert!(reasons[1].starts_with("has 3 fields where the first line has 2"));
        assert!(reasons[2].starts_with("has 1 fields"));
        assert_eq!(reasons[3], "its caption is not UTF-8");
        assert_eq!(found[4], (7, Ok(says("f.jpg", "fine"))));
    }

    #[test]
    fn a_header_without_the_columns_is_refused_with_what_was_looked_for() {
        let reason = |text: &str| rows(text.as_bytes(), b',', true).unwrap_err();
        assert!(reason("a,b\n").contains("none of filepath, path"));
        assert!(reason("path,words\n").contains("none of caption, captions, title"));
        assert!(reason("filepath\ttitle\nx\ty\n").contains("name it .tsv"));
        assert!(reason("").contains("none of"));
    }
}

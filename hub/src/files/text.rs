//! Splits the bytes of a manifest as kubectl does: encodings, JSON, and YAML documents. Entry point: [`values`].

use serde_json::Value;

use super::{scalar, yaml};

/// The documents of a file, with warnings.
#[derive(Debug, Default, PartialEq)]
pub struct Values {
    /// The documents.
    pub documents: Vec<Value>,
    /// The warnings, each with its line.
    pub warnings: Vec<String>,
}

/// Reads all documents.
///
/// # Errors
/// Returns an error if a document can't be parsed. The text begins with the line number.
pub fn values(bytes: &[u8]) -> Result<Values, String> {
    let text = decode(bytes);
    let text = text.as_str();
    let mut read = match json(text) {
        Some(documents) => Values { documents, warnings: Vec::new() },
        None => all_yaml(text)?,
    };
    read.documents.iter_mut().for_each(scalar::normalise);
    Ok(read)
}

/// Returns whether the content is blank: it has not even a comment.
pub(super) fn is_blank(bytes: &[u8]) -> bool {
    decode(bytes).chars().all(|c| c.is_whitespace() || c == '\u{feff}' || c == '\0')
}

/// Decodes UTF-16 (by its byte order mark) or UTF-8. Invalid bytes become U+FFFD.
fn decode(bytes: &[u8]) -> String {
    let units = |from: fn([u8; 2]) -> u16| {
        let pairs = bytes[2..].chunks(2).map(|pair| from([pair[0], pair.get(1).copied().unwrap_or(0)]));
        String::from_utf16_lossy(&pairs.collect::<Vec<_>>())
    };
    match bytes {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Returns the consecutive documents of a JSON file. `None` if the text is not JSON; it may be YAML.
fn json(text: &str) -> Option<Vec<Value>> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().ok()
}

fn all_yaml(text: &str) -> Result<Values, String> {
    printable(text)?;
    let mut read = Values::default();
    for (line, document) in documents(text)? {
        let document = document.strip_prefix('\u{feff}').unwrap_or(document);
        let fault = |fault: yaml::Fault| format!("line {}: {}", fault.line + line, fault.text);
        let content = yaml::read(document).map_err(fault)?;
        read.documents.extend(content.value);
        let double =
            |(at, key)| format!("line {}: the key {key:?} is repeated; the last value is used", at + line);
        read.warnings.extend(content.doubles.into_iter().map(double));
    }
    Ok(read)
}

/// Returns the documents between `---` lines, each with the number of preceding lines.
fn documents(text: &str) -> Result<Vec<(usize, &str)>, String> {
    let (mut found, mut begin, mut first_line, mut at) = (Vec::new(), 0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let end = at + line.len();
        if let Some(rest) = line.strip_prefix("---") {
            if !matches!(rest.trim().chars().next(), None | Some('#')) {
                return Err(format!("line {}: only a comment may follow ---", number + 1));
            }
            found.push((first_line, &text[begin..at]));
            (begin, first_line) = (end, number + 1);
        }
        at = end;
    }
    found.push((first_line, &text[begin..]));
    Ok(found)
}

/// Rejects control characters that YAML doesn't allow.
fn printable(text: &str) -> Result<(), String> {
    let allowed = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match text.char_indices().find(|(_, c)| !allowed(*c)) {
        None => Ok(()),
        Some((at, c)) => {
            let line = text[..at].matches('\n').count() + 1;
            Err(format!("line {line}: the control character U+{:04X} is not allowed", u32::from(c)))
        }
    }
}

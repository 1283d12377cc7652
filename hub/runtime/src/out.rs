//! Text that programs print for people. Entry points: [`print()`], [`tell`], [`note`]; [`plain`] escapes text of unknown
//! origin.
//!
//! `println!` and `eprintln!` panic if their reader is gone, so the workspace's programs use neither.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::io::{self, Write};

use anyhow::Context as _;

/// Standard output has no reader any more. [`crate::finish`] turns it into the exit code of a broken pipe and prints nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("standard output was closed by its reader")]
pub struct ReaderGone;

/// The exit code that shells report for SIGPIPE (128 + 13).
pub(crate) const BROKEN_PIPE: u8 = 141;

/// Writes a line to standard output, for a command whose output is its purpose.
///
/// # Errors
/// [`ReaderGone`], which ends the command quietly; any other failure of the output, such as a full disk.
pub fn print(text: impl Display) -> anyhow::Result<()> {
    write_line(&mut io::stdout().lock(), text)
}

/// Writes a line to standard output, for a program that runs on if it has no reader: the text is lost then. Control
/// characters except line feeds are escaped.
pub fn tell(text: impl Display) {
    // The text may be lost, as documented.
    let _ = write_line(&mut io::stdout().lock(), plain_lines(&text.to_string()));
}

/// Writes a line to standard error. It is lost if there is no reader. Control characters except line feeds are escaped.
pub fn note(text: impl Display) {
    // The text may be lost, as documented.
    let _ = write_line(&mut io::stderr().lock(), plain_lines(&text.to_string()));
}

/// Escapes each line as [`plain`] does. Line feeds stay.
pub fn plain_lines(text: &str) -> String {
    text.split('\n').map(plain).collect::<Vec<_>>().join("\n")
}

fn write_line(to: &mut impl Write, text: impl Display) -> anyhow::Result<()> {
    // One write per line: other processes may write to the same terminal.
    let line = format!("{text}\n");
    checked(to.write_all(line.as_bytes()).and_then(|()| to.flush()))
}

/// Converts the result of a write to standard output.
///
/// # Errors
/// The errors of [`print()`].
pub fn checked(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        outcome => outcome.context("standard output"),
    }
}

/// Returns `text` with every character that a terminal acts on escaped as in Rust (`\u{1b}`, `\n`): control characters, and
/// characters that change the direction or the lines of text.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if acts(c) => escape(&mut escaped, c).unwrap_or_default(),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// Returns equivalent JSON in which strings have no characters that a terminal acts on. `json` may be compact or indented.
pub fn plain_json(json: &str) -> Cow<'_, str> {
    // Outside of strings, white space is the only such character in JSON.
    let acts = |c: char| acts(c) && !matches!(c, '\n' | '\r' | '\t');
    if !json.contains(acts) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        match acts(c) {
            true => write!(escaped, "\\u{:04x}", u32::from(c)).unwrap_or_default(),
            false => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

fn escape(to: &mut String, c: char) -> fmt::Result {
    write!(to, "\\u{{{:x}}}", u32::from(c))
}

fn acts(c: char) -> bool {
    let invisible = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}'];
    c.is_control() || c == '\u{feff}' || c == '\u{61c}' || invisible.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_terminals_act_on_are_escaped_and_others_stay() {
        for (text, expected) in [
            ("A/default/call/keyed", "A/default/call/keyed"),
            ("größer → 端口", "größer → 端口"),
            ("\u{1b}[2J\u{7}", "\\u{1b}[2J\\u{7}"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}gnp\u{2066}\u{feff}", "\\u{202e}gnp\\u{2066}\\u{feff}"),
        ] {
            assert_eq!(plain(text), expected);
        }
    }

    #[test]
    fn escaped_json_means_the_same() {
        for json in
            ["{\n\t\"a\u{9b}\u{7f}\": \"\\u001b\u{202e}\u{feff}端口\"\r\n}", "[\"nothing to escape: 端口\"]"]
        {
            let text = plain_json(json);
            assert!(!text.contains(|c| acts(c) && !"\n\r\t".contains(c)), "{text:?}");
            let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
            assert_eq!(read(&text), read(json));
        }
    }

    /// An output that fails in one way.
    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_lost_reader_is_a_broken_pipe() {
        let gone = write_line(&mut Failing(io::ErrorKind::BrokenPipe), "x").unwrap_err();
        assert!(gone.is::<ReaderGone>(), "{gone:#}");
        let full = write_line(&mut Failing(io::ErrorKind::StorageFull), "x").unwrap_err();
        assert!(!full.is::<ReaderGone>() && full.to_string() == "standard output", "{full:#}");
    }
}

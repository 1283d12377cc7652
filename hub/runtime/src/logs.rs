//! Logs on standard error: text for people, JSON lines for collectors. Entry point: [`init`]. Control characters are escaped
//! in both, because messages and fields may carry users' text.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use crate::out::{plain, plain_json};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One line of text for each event.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}

// === impl Format ===

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Text => "text",
            Format::Json => "json",
        })
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            other => Err(format!("{other:?} is neither text nor json")),
        }
    }
}

/// Starts logging for the whole process. `level` is a filter such as `info` or `warn,portreeve_hub=debug`. A second call
/// succeeds and changes nothing: tests start several roles in one process.
///
/// # Errors
/// The filter can't be parsed.
pub fn init(level: &str, format: Format) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(level)?;
    // No colours: their escape sequences can't be told from those in users' text.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let builder = builder.with_writer(move || Escaping { to: io::stderr(), format });
    // A line that can't be written is lost. Reporting the loss on the same standard error would panic.
    let builder = builder.log_internal_errors(false);
    // It fails only if logging was started before.
    let _started = match format {
        Format::Text => builder.with_target(false).try_init(),
        Format::Json => builder.json().try_init(),
    };
    Ok(())
}

/// Escapes every event before it is written. An event arrives as one buffer that ends with a line feed, and is written as one
/// line.
struct Escaping<W> {
    to: W,
    format: Format,
}

// === impl Escaping ===

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        let line = match self.format {
            Format::Text => plain(line),
            Format::Json => plain_json(line),
        };
        self.to.write_all(format!("{line}{end}").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_is_one_line_without_control_characters() {
        let written = |format, event: &str| {
            let mut to = Vec::new();
            let length = Escaping { to: &mut to, format }.write(event.as_bytes()).unwrap();
            assert_eq!(length, event.len());
            String::from_utf8(to).unwrap()
        };
        let text = written(Format::Text, "WARN name=\u{1b}[2J\u{9b}m\nINFO forged\n");
        assert_eq!(text, "WARN name=\\u{1b}[2J\\u{9b}m\\nINFO forged\n");
        let json = written(Format::Json, "{\"name\":\"\u{9b}m\u{202e}端口\"}\n");
        assert_eq!(json, "{\"name\":\"\\u009bm\\u202e端口\"}\n");
    }

    #[test]
    fn format_reads_what_it_writes() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("yaml".parse::<Format>().is_err());
    }
}

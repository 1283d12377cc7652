//! Logs on standard error: text for people, JSON lines for collectors. Entry point: [`init`]. Control characters are escaped
//! in both, because messages and fields may carry users' text.

use std::fmt::{self as text, Display};
use std::io::{self, Write};
use std::str::FromStr;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

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

impl Display for Format {
    fn fmt(&self, f: &mut text::Formatter<'_>) -> text::Result {
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
    // No colours: their escape sequences can't be told from those in users' text.
    let lines = fmt::layer().with_ansi(false).with_writer(move || Escaping { to: io::stderr(), format });
    // A line that can't be written is lost. Reporting the loss on the same standard error would panic.
    let lines = lines.log_internal_errors(false);
    let lines = match format {
        Format::Text => lines.with_target(false).boxed(),
        Format::Json => lines.json().boxed(),
    };
    // It fails only if logging was started before.
    let _started = tracing_subscriber::registry().with(filter(level)?).with(lines).try_init();
    Ok(())
}

/// Returns the filter of a text. For a level alone, which is the default, no [`EnvFilter`] is built: it keeps tables and
/// asks them about every span.
fn filter(text: &str) -> anyhow::Result<Box<dyn Layer<Registry> + Send + Sync>> {
    Ok(match text.parse::<LevelFilter>() {
        Ok(level) => level.boxed(),
        Err(_) => EnvFilter::try_new(text)?.boxed(),
    })
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
    fn level_alone_and_directives_are_filters() {
        let hint = |text: &str| filter(text).unwrap().max_level_hint();
        assert_eq!(hint("info"), Some(LevelFilter::INFO));
        assert_eq!(hint("off"), Some(LevelFilter::OFF));
        assert_eq!(hint(""), Some(LevelFilter::ERROR));
        assert_eq!(hint("warn,portreeve_hub=debug"), Some(LevelFilter::DEBUG));
        assert!(filter("portreeve_hub=loud").is_err());
    }

    #[test]
    fn format_reads_what_it_writes() {
        for format in [Format::Text, Format::Json] {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("yaml".parse::<Format>().is_err());
    }
}

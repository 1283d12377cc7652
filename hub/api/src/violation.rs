//! The broken rules of an object and the fields that break them, for objects that don't pass through the API server's
//! validation.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::names;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The field in the API server's notation, for example `spec.listeners[0].udp.port`.
    pub path: String,
    /// The rule, for the object's author.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Collects violations while a kind checks its fields. Each check corresponds to one keyword of the CRD's schema.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    found: Vec<Violation>,
    /// Whether the object may be older than some rules.
    stored: bool,
}

// === impl Checks ===

impl Checks {
    /// Creates checks for an object that is already stored, possibly since before some rules existed.
    pub(crate) fn of_stored() -> Self {
        Self { stored: true, ..Self::default() }
    }

    /// Adds a violation of `path` with `message` unless `ok`.
    pub(crate) fn must(&mut self, ok: bool, path: impl Into<String>, message: impl Into<String>) {
        if !ok {
            self.found.push(Violation { path: path.into(), message: message.into() });
        }
    }

    /// Adds a violation unless `ok`, except for objects that may be older than the rule.
    pub(crate) fn must_be_new(&mut self, ok: bool, path: &str, message: &str) {
        self.must(ok || self.stored, path, message);
    }

    /// Parses a text. A text that can't be parsed is a violation with the error as its message.
    pub(crate) fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, text: &str, path: &str) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.must(false, path, error.to_string())).ok()
    }

    /// Checks a required port number, 1 to 65,535. Returns it if it is valid.
    pub(crate) fn given_port(&mut self, value: Option<i32>, path: &str) -> Option<NonZeroU16> {
        self.must(value.is_some(), path, "is required");
        self.port(value?, path);
        u16::try_from(value?).ok().and_then(NonZeroU16::new)
    }

    /// Checks a required name of at most `most` characters. Returns it if it is not empty.
    pub(crate) fn given_name<'a>(
        &mut self,
        name: Option<&'a str>,
        most: usize,
        path: &str,
    ) -> Option<&'a str> {
        self.must(name.is_some(), path, "is required");
        self.length(name?, (1, most), path);
        name.filter(|name| !name.is_empty())
    }

    /// Checks a name of at most `most` characters, for which the empty text is the same as none. Returns it if there is one.
    pub(crate) fn optional_name<'a>(
        &mut self,
        name: Option<&'a str>,
        most: usize,
        path: &str,
    ) -> Option<&'a str> {
        let name = name.filter(|name| !name.is_empty())?;
        self.length(name, (1, most), path);
        Some(name)
    }

    /// Checks a list of at most `most.0` names, each of 1 to `most.1` characters.
    pub(crate) fn names(&mut self, names: &[String], most: (usize, usize), path: &str) {
        self.count(names.len(), (0, most.0), path);
        for (index, name) in names.iter().enumerate() {
            self.length(name, (1, most.1), &format!("{path}[{index}]"));
        }
    }

    /// Checks the schema's `minimum` and `maximum`.
    pub(crate) fn range(&mut self, value: i32, bounds: (i32, i32), path: &str) {
        let (low, high) = bounds;
        let message = match high {
            i32::MAX => format!("must be at least {low}, is {value}"),
            _ => format!("must be from {low} to {high}, is {value}"),
        };
        self.must((low..=high).contains(&value), path, message);
    }

    /// Checks a port number, 1 to 65,535.
    pub(crate) fn port(&mut self, value: i32, path: &str) {
        self.range(value, (1, 65_535), path);
    }

    /// Checks the schema's `minLength` and `maxLength`, in characters.
    pub(crate) fn length(&mut self, text: &str, bounds: (usize, usize), path: &str) {
        let (low, high) = bounds;
        let count = text.chars().count();
        self.must(count >= low, path, "must not be empty");
        self.must(count <= high, path, format!("must have at most {high} characters, has {count}"));
    }

    /// Checks a name that reaches a proxy: its length, and for new objects [`names::PLAIN_PATTERN`].
    pub(crate) fn proxy_name(&mut self, name: &str, bounds: (usize, usize), path: &str) {
        self.length(name, bounds, path);
        let bad = name.chars().find(|c| !names::is_plain(c.encode_utf8(&mut [0; 4])));
        if let Some(bad) = bad.filter(|_| !self.stored) {
            let rule = "must hold only letters, digits and !#$&()*+-./:;<=>?@[]^_{|}~";
            self.must(false, path, format!("{rule}, holds {bad:?}"));
        }
    }

    /// Checks the schema's `minItems`, `maxItems`, `minProperties` and `maxProperties`.
    pub(crate) fn count(&mut self, count: usize, bounds: (usize, usize), path: &str) {
        let (low, high) = bounds;
        self.must(
            (low..=high).contains(&count),
            path,
            format!("must have {low} to {high} entries, has {count}"),
        );
    }

    /// Reads the form of a stored object, which may be older than some rules.
    ///
    /// # Errors
    /// Returns the rules that it breaks.
    pub(crate) fn form_of_stored<F>(read: impl FnOnce(&mut Self) -> Option<F>) -> Result<F, Vec<Violation>> {
        let mut checks = Self::of_stored();
        let form = read(&mut checks);
        let broken = checks.done();
        form.filter(|_| broken.is_empty()).ok_or(broken)
    }

    /// Returns the violations in the order of the fields.
    pub(crate) fn done(self) -> Vec<Violation> {
        self.found
    }
}

//! Divides a template into tokens: [`lex`].

use super::error::{Error, Problem, shown};

/// A part of a template's text.
#[derive(Debug)]
pub struct Token<'t> {
    /// What it is.
    pub kind: Kind<'t>,
    /// Its line, from 1.
    pub line: usize,
    /// Whether space precedes it. Inside of actions only.
    pub spaced: bool,
}

/// The kinds of tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind<'t> {
    /// Text outside of actions.
    Text(&'t str),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.` alone.
    Dot,
    /// `.Name`, here without its dot.
    Field(&'t str),
    /// `$` or `$name`.
    Variable(&'t str),
    /// A keyword or a function.
    Word(&'t str),
    /// A text in quotes, without them.
    Quoted(String),
    /// A number.
    Int(i64),
    /// One of `:=`, `=`, `,`, `|`, `(` and `)`.
    Sign(&'static str),
}

const SIGNS: [&str; 6] = [":=", "=", ",", "|", "(", ")"];

/// Returns the tokens of a template. Comments and trimmed space are left out.
///
/// # Errors
/// Returns an error if an action, a comment or a text isn't closed, or if an action has a character that can't be there.
pub fn lex(text: &str) -> Result<Vec<Token<'_>>, Error> {
    let mut lexer = Lexer { text, at: 0, line: 1, tokens: Vec::new() };
    let mut trims = false;
    loop {
        let end = lexer.rest().find("{{").map_or(text.len(), |length| lexer.at + length);
        let mut piece = &text[lexer.at..end];
        if trims {
            piece = piece.trim_start();
        }
        if begins_with_trim(text.get(end + 2..).unwrap_or_default()) {
            piece = piece.trim_end();
        }
        if !piece.is_empty() {
            lexer.push(Kind::Text(piece), false);
        }
        lexer.advance(end - lexer.at);
        if end == text.len() {
            return Ok(lexer.tokens);
        }
        trims = lexer.action()?;
    }
}

/// Returns whether an action begins with `- `, which removes the space before it.
fn begins_with_trim(action: &str) -> bool {
    action.strip_prefix('-').is_some_and(|rest| rest.starts_with(is_space))
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    tokens: Vec<Token<'t>>,
}

// === impl Lexer ===

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn push(&mut self, kind: Kind<'t>, spaced: bool) {
        self.tokens.push(Token { kind, line: self.line, spaced });
    }

    /// Skips bytes, and counts their lines.
    fn advance(&mut self, bytes: usize) -> &'t str {
        let skipped = &self.text[self.at..self.at + bytes];
        self.line += skipped.matches('\n').count();
        self.at += bytes;
        skipped
    }

    fn error<T>(&self, problem: Problem) -> Result<T, Error> {
        Err(Error { line: self.line, problem })
    }

    /// Reads an action from its `{{`. Returns whether it removes the space after it.
    fn action(&mut self) -> Result<bool, Error> {
        let trim = begins_with_trim(&self.rest()[2..]);
        let skipped = if trim { "{{- ".len() } else { "{{".len() };
        let (at, line) = (self.at + skipped, self.line);
        if self.text[at..].starts_with("/*") {
            self.advance(skipped);
            return self.comment();
        }
        self.push(Kind::Open, false);
        self.advance(skipped);
        loop {
            let spaces = self.rest().len() - self.rest().trim_start_matches(is_space).len();
            self.advance(spaces);
            let trims = spaces > 0 && self.rest().starts_with("-}}");
            if trims || self.rest().starts_with("}}") {
                self.push(Kind::Close, spaces > 0);
                self.advance(if trims { 3 } else { 2 });
                return Ok(trims);
            }
            if self.rest().is_empty() {
                return Err(Error { line, problem: Problem::Unclosed("an action {{") });
            }
            self.token(spaces > 0)?;
        }
    }

    fn comment(&mut self) -> Result<bool, Error> {
        let Some(length) = self.rest().find("*/") else {
            return self.error(Problem::Unclosed("a comment {{/*"));
        };
        self.advance(length + 2);
        let spaced = self.rest().starts_with(is_space);
        let (after, trims) = match self.rest().trim_start_matches(is_space) {
            after if spaced && after.starts_with("-}}") => (&after[3..], true),
            after if !spaced && after.starts_with("}}") => (&after[2..], false),
            _ => return self.error(Problem::Unclosed("a comment {{/*")),
        };
        self.advance(self.rest().len() - after.len());
        Ok(trims)
    }

    /// Reads one token of an action.
    fn token(&mut self, spaced: bool) -> Result<(), Error> {
        let rest = self.rest();
        let mut chars = rest.chars();
        let (first, second) = (chars.next().unwrap_or_default(), chars.next().unwrap_or_default());
        if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            self.push(Kind::Sign(sign), spaced);
            self.advance(sign.len());
            return Ok(());
        }
        let (kind, length) = match first {
            '"' => self.quoted()?,
            '`' => self.raw()?,
            '$' => named(rest, Kind::Variable, 0),
            '.' if is_name(second) && !second.is_ascii_digit() => named(rest, Kind::Field, 1),
            '.' if second != '.' => (Kind::Dot, 1),
            '+' | '-' | '0'..='9' => self.number()?,
            first if is_name(first) => {
                let word = word(rest);
                (Kind::Word(word), word.len())
            }
            other => {
                let found = shown(&other.to_string());
                return self.error(Problem::Unexpected { found, place: "an action" });
            }
        };
        self.push(kind, spaced);
        self.advance(length);
        Ok(())
    }

    fn number(&self) -> Result<(Kind<'t>, usize), Error> {
        let rest = self.rest();
        let length = 1 + rest[1..].find(|c| !is_name(c) && c != '.').unwrap_or(rest.len() - 1);
        match rest[..length].parse() {
            Ok(number) => Ok((Kind::Int(number), length)),
            Err(_) => self.error(Problem::Number(shown(&rest[..length]))),
        }
    }

    fn raw(&self) -> Result<(Kind<'t>, usize), Error> {
        match self.rest()[1..].split_once('`') {
            Some((text, _)) => Ok((Kind::Quoted(text.to_owned()), text.len() + 2)),
            None => self.error(Problem::Unclosed("a text in `")),
        }
    }

    fn quoted(&self) -> Result<(Kind<'t>, usize), Error> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match (c, if c == '\\' { chars.next() } else { None }) {
                ('"', _) => return Ok((Kind::Quoted(text), at + 1)),
                ('\n', _) | ('\\', None) => break,
                ('\\', Some((_, escaped))) => match unescaped(escaped) {
                    Some(c) => text.push(c),
                    None => return self.error(Problem::Escape(format!("\\{}", shown(&escaped.to_string())))),
                },
                (c, _) => text.push(c),
            }
        }
        self.error(Problem::Unclosed("a text in \""))
    }
}

const fn unescaped(c: char) -> Option<char> {
    match c {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        '"' | '\'' | '\\' => Some(c),
        _ => None,
    }
}

fn word(rest: &str) -> &str {
    &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]
}

/// Returns the token of a name after one sign, which is left out of it from `from` on.
fn named<'t>(rest: &'t str, kind: fn(&'t str) -> Kind<'t>, from: usize) -> (Kind<'t>, usize) {
    let length = 1 + word(&rest[1..]).len();
    (kind(&rest[from..length]), length)
}

//! Why a template is refused ([`Problem`]), and on which line ([`Error`]).

use super::limits::{DEPTH, OUTPUT_BYTES, TEXT_BYTES, WORK};

/// A problem of a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Error {
    /// The line of the template, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a template. Texts of the template in it are shortened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is too long.
    #[error("the template has {bytes} bytes, {TEXT_BYTES} are allowed: split it")]
    TextBytes {
        /// The number of bytes.
        bytes: usize,
    },
    /// The template ends inside of an action, a comment or a text in quotes.
    #[error("{0} is not closed")]
    Unclosed(&'static str),
    /// A character or a word where it can't be.
    #[error("unexpected {found} in {place}")]
    Unexpected {
        /// What was found.
        found: String,
        /// Where it was found.
        place: &'static str,
    },
    /// A number that is not a whole one of 64 bits.
    #[error("{0} is not a number of a template: only whole numbers are supported")]
    Number(String),
    /// A text in quotes with an unknown escape.
    #[error("unknown escape {0} in a text: only \\n, \\t, \\r, \\\", \\' and \\\\ are supported")]
    Escape(String),
    /// A keyword that would let templates call each other, or leave a loop.
    #[error("{{{{{0}}}}} is not allowed: write the text in place")]
    Keyword(&'static str),
    /// A function that doesn't exist here.
    #[error("there is no function {name}: there are {known}")]
    Function {
        /// The function's name.
        name: String,
        /// The functions that exist.
        known: String,
    },
    /// Blocks or parentheses are nested too deep.
    #[error("blocks and parentheses are nested more than {DEPTH} deep")]
    Depth,
    /// A variable was not declared.
    #[error("the variable {0} is not declared")]
    Variable(String),
    /// A field that the value doesn't have.
    #[error("there is no field {field} in {of}")]
    Field {
        /// The field's name.
        field: String,
        /// What it was looked for in.
        of: String,
    },
    /// Arguments of a value that is not a function.
    #[error("{0} is not a function, so it can't have arguments")]
    Arguments(String),
    /// A function was called with wrong arguments.
    #[error("{function}: {reason}")]
    Call {
        /// The function.
        function: &'static str,
        /// What is wrong with the arguments.
        reason: String,
    },
    /// A value that has no text.
    #[error("{0} can't be printed: print its parts")]
    Print(&'static str),
    /// A range over something that is not a list.
    #[error("range needs a list, not {0}")]
    Range(&'static str),
    /// The output is too long.
    #[error("the template makes more than {OUTPUT_BYTES} bytes of text")]
    OutputBytes,
    /// The template works for too long.
    #[error("the templates take more than {WORK} steps together: make their ranges smaller")]
    Work,
}

/// The longest part of a template that an error repeats, in characters.
const SHOWN: usize = 60;

/// Returns a text as an error shows it.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", text[..at].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}

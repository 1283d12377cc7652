//! Go templates, as far as they can be bounded ([`Template`]; seed C.3 "Templates").
//!
//! A template is untrusted. Its text, its nesting, its output and its work are limited, and it has no `define`, `template`
//! or `block`, so nothing repeats but `range`. The package gtmpl is not used: it doesn't return from `{{ `, overflows the
//! stack on deep parentheses, panics on `{{printf "%[0]v" 1}}`, lists maps in random order, runs the `{{else}}` of a range
//! after its elements too, and can't stop a template that works for too long.

mod call;
mod error;
mod lexer;
mod limits;
mod parser;
mod printf;
mod run;
mod tree;
mod value;

pub use error::{Error, Problem};
use limits::TEXT_BYTES;
pub use run::Budget;
pub use value::Value;

/// A template that was read.
pub struct Template<'t> {
    body: Vec<tree::Node<'t>>,
}

// === impl Template ===

impl<'t> Template<'t> {
    /// Reads a template.
    ///
    /// # Errors
    /// Returns an error with the line if the text is too long, not a template, or uses what isn't supported.
    pub fn read(text: &'t str) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES {
            return Err(Error { line: 1, problem: Problem::TextBytes { bytes: text.len() } });
        }
        let body = parser::parse(lexer::lex(text)?)?;
        Ok(Self { body })
    }

    /// Returns the text that the template makes of `dot`.
    ///
    /// # Errors
    /// Returns an error with the line if the template reads a field that doesn't exist, calls a function with wrong
    /// arguments, or uses up the budget.
    pub fn run(&self, dot: &Value, budget: &mut Budget) -> Result<String, Error> {
        run::run(&self.body, dot, budget)
    }
}

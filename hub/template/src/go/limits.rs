//! The limits of templates.

/// The longest text of a template, in bytes.
pub const TEXT_BYTES: usize = 64 * 1024;

/// How deep blocks and parentheses may be nested together. It bounds the stack of the parser and of the run.
pub const DEPTH: usize = 32;

/// The longest text that a template may make, in bytes. A value may not be longer either.
pub const OUTPUT_BYTES: usize = 1024 * 1024;

/// The number of steps of all templates that share a budget. 4 million take less than a second.
pub const WORK: usize = 4_000_000;

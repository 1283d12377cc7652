//! The command a person types.
fn main() {}

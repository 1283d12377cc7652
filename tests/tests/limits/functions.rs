//! The length, nesting and number of arguments of functions.
//!
//! They are counted on the parsed source, as a reader would: signature, comments and blank lines count as lines of a
//! function. Clippy doesn't count those, and counts the `impl` and the module around a function as nesting levels.

use std::path::Path;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, Signature, TraitItemFn};

/// Maximum number of lines of a function, from its signature to its closing brace.
pub const LINES: usize = 60;
/// Maximum number of nested blocks, including the function's own body.
pub const NESTING: usize = 4;
/// Maximum number of arguments, including `self`.
pub const ARGUMENTS: usize = 5;

/// Checks every function of a file.
struct Functions<'a> {
    path: &'a Path,
    /// Number of blocks around the current position, up to the function's body.
    depth: usize,
    deepest: usize,
    faults: Vec<String>,
}

/// Returns what is wrong with a file's functions.
///
/// # Errors
/// Returns an error if the file can't be parsed as Rust.
pub fn faults(path: &Path, text: &str) -> syn::Result<Vec<String>> {
    let mut functions = Functions { path, depth: 0, deepest: 0, faults: Vec::new() };
    functions.visit_file(&syn::parse_file(text)?);
    Ok(functions.faults)
}

// === impl Functions ===

impl Functions<'_> {
    fn judge(&mut self, signature: &Signature, body: &Block) {
        let (depth, deepest) = (self.depth, self.deepest);
        (self.depth, self.deepest) = (0, 0);
        self.visit_block(body);
        let found = self.deepest;
        (self.depth, self.deepest) = (depth, deepest);
        let lines = body.span().end().line + 1 - signature.span().start().line;
        let arguments = signature.inputs.len();
        self.hold(signature, "lines", (lines, LINES));
        self.hold(signature, "blocks inside each other", (found, NESTING));
        self.hold(signature, "arguments", (arguments, ARGUMENTS));
    }

    fn hold(&mut self, signature: &Signature, what: &str, (found, allowed): (usize, usize)) {
        if found > allowed {
            let (path, line) = (self.path.display(), signature.span().start().line);
            let name = &signature.ident;
            self.faults.push(format!("{path}:{line}: fn {name}: {found} {what}, {allowed} are allowed"));
        }
    }
}

impl<'a> Visit<'a> for Functions<'_> {
    fn visit_item_fn(&mut self, one: &'a ItemFn) {
        self.judge(&one.sig, &one.block);
    }

    fn visit_impl_item_fn(&mut self, one: &'a ImplItemFn) {
        self.judge(&one.sig, &one.block);
    }

    fn visit_trait_item_fn(&mut self, one: &'a TraitItemFn) {
        one.default.iter().for_each(|body| self.judge(&one.sig, body));
    }

    fn visit_block(&mut self, block: &'a Block) {
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        visit::visit_block(self, block);
        self.depth -= 1;
    }
}

#[test]
fn lines_count_from_the_signature_to_the_closing_brace() {
    let body = |lines: usize| format!("/// Words.\nfn long() {{\n{}}}\n", "    // Why.\n".repeat(lines));
    let found = |text: &str| faults(Path::new("a.rs"), text).unwrap();
    assert_eq!(found(&body(LINES - 2)), Vec::<String>::new());
    assert_eq!(found(&body(LINES - 1)), ["a.rs:2: fn long: 61 lines, 60 are allowed"]);
    let method = format!("struct A;\nimpl A {{\n{}}}\n", body(LINES - 1));
    assert_eq!(found(&method), ["a.rs:4: fn long: 61 lines, 60 are allowed"]);
}

#[test]
fn blocks_count_from_the_functions_body_wherever_it_stands() {
    let nested = |levels: usize| format!("fn deep() {}{}\n", "{".repeat(levels), "}".repeat(levels));
    let found = |text: &str| faults(Path::new("a.rs"), text).unwrap();
    for around in
        [["", ""], ["mod m { struct A; impl A {", "}}"], ["trait T {", "}"], ["fn f() {{{{", "}}}}"]]
    {
        assert_eq!(found(&around.join(&nested(NESTING))), Vec::<String>::new(), "{around:?}");
        let deep = found(&around.join(&nested(NESTING + 1)));
        assert_eq!(deep, ["a.rs:1: fn deep: 5 blocks inside each other, 4 are allowed"], "{around:?}");
    }
}

#[test]
fn arguments_count_with_the_receiver() {
    let found = |text: &str| faults(Path::new("a.rs"), text).unwrap();
    let five = "struct A; impl A { fn f(&self, a: u8, b: u8, c: u8, d: u8) {} }";
    assert_eq!(found(five), Vec::<String>::new());
    let six = five.replace("d: u8", "d: u8, e: u8");
    assert_eq!(found(&six), ["a.rs:1: fn f: 6 arguments, 5 are allowed"]);
}

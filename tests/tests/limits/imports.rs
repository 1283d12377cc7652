//! Finds the files of a crate that name an item of another file ([`ties`]).
//!
//! Every path counts: in `use` lines, types, expressions, macro arguments and attributes (`#[serde(with = "...")]`). A
//! tie leads to the file that defines the item, not to files that re-export it. `mod child;` is no tie, and neither is
//! a re-export of an item from below the module. So a `mod.rs` that only declares and re-exports its children depends
//! on none of them; a `mod.rs` whose own items use a child's type depends on that child. Method calls contain no path
//! and aren't seen.

use proc_macro2::{Ident, Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Macro, Meta, Visibility};

use crate::modules::{Target, Tree, imports, is_test};

/// A place where a module names an item of another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tie {
    /// The module with the name.
    pub from: usize,
    /// The module that defines the item.
    pub to: usize,
    /// The line, from 1.
    pub line: usize,
    /// The path as written.
    pub path: String,
}

/// Returns the ties between all modules; none within one file.
pub fn ties(tree: &Tree) -> Vec<Tie> {
    let mut found = Vec::new();
    for (from, module) in tree.modules.iter().enumerate() {
        let mut paths = Paths { tree, from, found: &mut found };
        module.body.iter().for_each(|item| paths.visit_item(item));
    }
    found.sort();
    found.dedup();
    found
}

/// Checks every path of one module.
struct Paths<'t> {
    tree: &'t Tree,
    from: usize,
    found: &'t mut Vec<Tie>,
}

// === impl Paths ===

impl Paths<'_> {
    fn see(&mut self, path: &[String], line: usize) {
        match self.tree.resolve(self.from, path) {
            Some(Target::Item(to)) => self.tie(to, path, line),
            // Items that are reached through a module form ties by their own paths.
            Some(Target::Module(_)) | None => {}
        }
    }

    fn tie(&mut self, to: usize, path: &[String], line: usize) {
        let file = |at: usize| &self.tree.modules[at].file;
        if file(self.from) != file(to) {
            self.found.push(Tie { from: self.from, to, line, path: path.join("::") });
        }
    }

    fn import(&mut self, line: &syn::ItemUse) {
        let number = line.use_token.span.start().line;
        for import in imports(&line.tree) {
            let target = self.tree.resolve(self.from, &import.path);
            let (Some(Target::Item(to) | Target::Module(to)), public) =
                (target, !matches!(line.vis, Visibility::Inherited))
            else {
                continue;
            };
            let names_item = matches!(target, Some(Target::Item(_))) || import.name.is_none();
            if names_item && !(public && self.is_below(to)) {
                self.tie(to, &import.path, number);
            }
        }
    }

    /// Returns whether a module lies in this one.
    fn is_below(&self, at: usize) -> bool {
        let parents = std::iter::successors(Some(at), |at| self.tree.modules[*at].parent);
        parents.skip(1).any(|parent| parent == self.from)
    }

    /// Finds the paths in unparsed tokens: `a::b`, and single words.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<Ident> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.end(&mut path);
                    }
                    path.push(word);
                    colons = 0;
                }
                TokenTree::Punct(mark)
                    if mark.as_char() == ':' && (mark.spacing() == Spacing::Joint || colons == 1) =>
                {
                    colons += 1;
                }
                other => {
                    self.end(&mut path);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.scan(group.stream());
                    }
                }
            }
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Vec<Ident>) {
        let words: Vec<String> = path.iter().map(ToString::to_string).collect();
        if let Some(first) = path.first() {
            self.see(&words, first.span().start().line);
        }
        path.clear();
    }
}

/// Skips items, fields and statements that exist in tests only.
macro_rules! production {
    ($($visit:ident: $kind:ident),*) => {$(
        fn $visit(&mut self, one: &'a syn::$kind) {
            if !is_test(&one.attrs) {
                visit::$visit(self, one);
            }
        }
    )*};
}

impl<'a> Visit<'a> for Paths<'_> {
    production!(
        visit_item_const: ItemConst, visit_item_enum: ItemEnum, visit_item_fn: ItemFn, visit_item_impl: ItemImpl,
        visit_item_macro: ItemMacro, visit_item_mod: ItemMod, visit_item_static: ItemStatic, visit_item_struct: ItemStruct,
        visit_item_trait: ItemTrait, visit_item_type: ItemType, visit_impl_item_const: ImplItemConst,
        visit_impl_item_fn: ImplItemFn, visit_field: Field, visit_field_value: FieldValue, visit_variant: Variant,
        visit_local: Local, visit_arm: Arm
    );

    fn visit_item_use(&mut self, line: &'a syn::ItemUse) {
        if !is_test(&line.attrs) && line.leading_colon.is_none() {
            self.import(line);
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.leading_colon.is_none()
            && let Some(first) = path.segments.first()
        {
            let words: Vec<String> = path.segments.iter().map(|one| one.ident.to_string()).collect();
            self.see(&words, first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, one: &'a Macro) {
        visit::visit_macro(self, one);
        self.scan(one.tokens.clone());
    }

    fn visit_attribute(&mut self, one: &'a Attribute) {
        match &one.meta {
            Meta::List(list) => {
                self.scan(list.tokens.clone());
                texts(list.tokens.clone()).iter().for_each(|path| self.visit_path(path));
            }
            Meta::Path(_) | Meta::NameValue(_) => {}
        }
    }
}

/// Returns the string literals in an attribute's arguments that are paths, such as serde's `with`.
fn texts(tokens: TokenStream) -> Vec<syn::Path> {
    let literals = tokens.into_iter().filter_map(|token| match token {
        TokenTree::Literal(literal) => syn::parse_str::<syn::LitStr>(&literal.to_string()).ok(),
        _ => None,
    });
    literals.filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Returns `FROM:LINE TO` for each tie, with file names without `src/` and `.rs`.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources = files.iter().map(|(path, text)| (path.into(), (*text).to_owned())).collect();
        let tree = Tree::read(Path::new("src/lib.rs"), &sources).unwrap();
        let file = |at: usize| {
            let path = tree.modules[at].file.strip_prefix("src").unwrap().with_extension("");
            path.to_string_lossy().into_owned()
        };
        let text = |tie: &Tie| format!("{}:{} {}", file(tie.from), tie.line, file(tie.to));
        let mut found: Vec<String> = ties(&tree).iter().map(text).collect();
        found.dedup();
        found
    }

    #[test]
    fn every_way_to_name_an_item_is_a_tie() {
        for text in [
            "use crate::b::B;",
            "use super::b::B as Other;",
            "use crate::{b::{self, B}};",
            "use crate::b::*;",
            "fn f() { use crate::b::B; }",
            "fn f(_: &crate::b::B) {}",
            "use crate::b; fn f() -> b::B { b::B }",
            "use super::b as c; fn f() { drop(vec![c::B]) }",
            "fn f() { tokio::select! { x = g() => { super::b::B { x } } } }",
            "use crate::B; impl Clone for B {}",
            "#[derive(serde::Serialize)] struct A { #[serde(with = \"crate::b::text\")] a: u8 }",
            "#[derive(serde::Serialize)] #[serde(into = \"super::b::B\")] struct A;",
            "mod inner { use super::super::b::B; }",
            "macro_rules! m { () => { $crate::b::B } }",
        ] {
            let lib = ("src/lib.rs", "mod a; mod b; pub use b::B;");
            assert_eq!(found(&[lib, ("src/a.rs", text), ("src/b.rs", "pub struct B;")]), ["a:1 b"], "{text}");
        }
    }

    #[test]
    fn other_crates_tests_and_words_in_text_are_no_ties() {
        for text in [
            "use b::B; use std::b;",
            "use ::b::B;",
            "#[cfg(test)] use crate::b::B;",
            "#[cfg(test)] mod tests { use crate::b::B; }",
            "#[cfg(test)] fn f() -> crate::b::B {}",
            "impl A { #[cfg(test)] fn f() -> crate::b::B {} }",
            "struct A { #[cfg(test)] b: crate::b::B }",
            "/// As [`crate::b::B`].\nfn f() { g(\"crate::b::B\") } // crate::b::B",
            "fn f(b: u8) -> u8 { assert!(b > 0, \"{b}\"); b }",
            "use crate::b;",
        ] {
            let lib = ("src/lib.rs", "mod a; mod b;");
            let none = Vec::<String>::new();
            assert_eq!(found(&[lib, ("src/a.rs", text), ("src/b.rs", "pub struct B;")]), none, "{text}");
        }
    }

    #[test]
    fn re_export_of_a_child_is_no_tie_and_its_use_in_the_parents_own_items_is() {
        let child = ("src/a.rs", "pub struct A;");
        for facade in ["mod a; pub use a::A;", "pub mod a; pub(crate) use a::*;", "mod a;"] {
            assert_eq!(found(&[("src/lib.rs", facade), child]), Vec::<String>::new(), "{facade}");
        }
        for parent in ["mod a; use a::A;", "mod a; pub use a::A; fn f(_: A) {}", "mod a; fn f() { a::A }"] {
            assert_eq!(found(&[("src/lib.rs", parent), child]), ["lib:1 a"], "{parent}");
        }
        let sideways = [("src/lib.rs", "mod a; mod b;"), child, ("src/b.rs", "pub use crate::a::A;")];
        assert_eq!(found(&sideways), ["b:1 a"], "a re-export from elsewhere");
        let upwards = [("src/lib.rs", "mod a;\npub struct Root;"), ("src/a.rs", "\nuse super::Root;")];
        assert_eq!(found(&upwards), ["a:2 lib"]);
    }
}

//! No import circle between files or folders of a crate.
//!
//! Each module is divided into parts: every child with all files in its folder is one part, and the module's own file
//! (`mod.rs`, `lib.rs`) is another. So two folders that import each other form a circle even if none of their files
//! does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::imports::{Tie, ties};
use crate::modules::{Sources, Tree};

/// Parts of one module that import each other, directly or through others.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Circle {
    /// Sorted paths: without `.rs` for a child with its folder, with `.rs` for the module's own file.
    pub members: Vec<String>,
    /// The lines that form the circle: `FILE:LINE names PATH of FILE`.
    pub lines: Vec<String>,
}

/// Ties between the parts of one module.
type Level = BTreeMap<(usize, usize), Vec<Tie>>;

/// Returns the circles of the crate with this root.
///
/// # Errors
/// Returns an error if a file can't be parsed as Rust.
pub fn circles(root: &Path, sources: &Sources) -> Result<Vec<Circle>, String> {
    let tree = Tree::read(root, sources)?;
    let mut levels: BTreeMap<usize, Level> = BTreeMap::new();
    for tie in ties(&tree) {
        let (around, from, to) = parts(&tree, tie.from, tie.to);
        levels.entry(around).or_default().entry((from, to)).or_default().push(tie);
    }
    let found = levels.iter().flat_map(|(around, level)| {
        knots(level).into_iter().map(|knot| describe(&tree, *around, level, &knot)).collect::<Vec<_>>()
    });
    let mut found: Vec<Circle> = found.collect();
    found.sort();
    Ok(found)
}

/// Returns the innermost module that contains both, and its part that holds each: a child, or the module itself for its
/// own file.
fn parts(tree: &Tree, from: usize, to: usize) -> (usize, usize, usize) {
    let line = |at: usize| {
        let parents = std::iter::successors(Some(at), |at| tree.modules[*at].parent);
        let mut line: Vec<usize> = parents.collect();
        line.reverse();
        line
    };
    let (from, to) = (line(from), line(to));
    let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let part = |line: &[usize]| line.get(shared).copied().unwrap_or(line[shared - 1]);
    (from[shared - 1], part(&from), part(&to))
}

/// Returns the sets of parts that reach each other.
fn knots(level: &Level) -> BTreeSet<Vec<usize>> {
    let reached = |start: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(at) = open.pop() {
            let next = level.keys().filter(|(from, _)| *from == at).map(|(_, to)| *to);
            open.extend(next.filter(|to| seen.insert(*to)));
        }
        seen
    };
    let nodes: BTreeSet<usize> = level.keys().flat_map(|(from, to)| [*from, *to]).collect();
    let reach: BTreeMap<usize, BTreeSet<usize>> = nodes.iter().map(|node| (*node, reached(*node))).collect();
    let knot = |node: &usize| -> Vec<usize> {
        let mutual = |other: &&usize| reach[node].contains(other) && reach[*other].contains(node);
        nodes.iter().filter(mutual).copied().collect()
    };
    nodes.iter().map(knot).filter(|knot| knot.len() > 1).collect()
}

fn describe(tree: &Tree, around: usize, level: &Level, knot: &[usize]) -> Circle {
    let file = |at: usize| tree.modules[at].file.display();
    let inside = level.iter().filter(|((from, to), _)| knot.contains(from) && knot.contains(to));
    let line = |tie: &Tie| format!("{}:{} names {} of {}", file(tie.from), tie.line, tie.path, file(tie.to));
    let lines = inside.flat_map(|(_, ties)| ties.iter().map(line)).collect();
    let mut members: Vec<String> = knot.iter().map(|at| label(tree, *at, *at == around)).collect();
    members.sort();
    Circle { members, lines }
}

/// Returns the path of a module's file alone, or of the module with its folder.
fn label(tree: &Tree, at: usize, itself: bool) -> String {
    let file = &tree.modules[at].file;
    match file.file_name().is_some_and(|name| name == "mod.rs") {
        _ if itself => file.display().to_string(),
        true => file.with_file_name("").display().to_string().trim_end_matches('/').to_owned(),
        false => file.with_extension("").display().to_string(),
    }
}

/// Reports a circle with the lines that tie it, and what to do.
pub fn fault(circle: &Circle) -> String {
    let (members, lines) = (circle.members.join(", "), circle.lines.join("\n  "));
    format!("circle between {members}: move what ties them into a file that both can use\n  {lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<Circle> {
        let sources = files.iter().map(|(path, text)| (path.into(), (*text).to_owned())).collect();
        circles(Path::new("src/lib.rs"), &sources).unwrap()
    }

    fn members(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        found(files).into_iter().map(|circle| circle.members).collect()
    }

    #[test]
    fn circle_between_files_is_found_with_its_lines() {
        let circle = found(&[
            ("src/lib.rs", "mod a; mod b; mod c; mod d; pub use c::C;"),
            ("src/a.rs", "use crate::b::B;\npub struct A;"),
            ("src/b.rs", "\nuse crate::C;\npub struct B;"),
            ("src/c.rs", "\n\npub struct C(super::a::A);"),
            ("src/d.rs", "use crate::a::A;"),
        ]);
        let lines = [
            "src/a.rs:1 names crate::b::B of src/b.rs",
            "src/b.rs:2 names crate::C of src/c.rs",
            "src/c.rs:3 names super::a::A of src/a.rs",
        ];
        let members = ["src/a", "src/b", "src/c"].map(str::to_owned).into();
        assert_eq!(circle, [Circle { members, lines: lines.map(str::to_owned).into() }]);
    }

    #[test]
    fn circle_between_folders_is_found_where_files_have_none() {
        let files = [
            ("src/lib.rs", "mod a; mod b; mod c;"),
            ("src/a/mod.rs", "mod one; pub mod two;"),
            ("src/a/one.rs", "use crate::b::three::Three;"),
            ("src/a/two.rs", "pub struct Two;"),
            ("src/b.rs", "pub mod three;"),
            ("src/b/three.rs", "use crate::c::C; pub struct Three;"),
            ("src/c.rs", "use crate::a::two::Two; pub struct C;"),
        ];
        assert_eq!(members(&files), [["src/a", "src/b", "src/c"]]);
    }

    #[test]
    fn parent_that_uses_what_uses_it_is_a_circle_and_a_facade_is_none() {
        let child = ("src/a/one.rs", "use super::Shared; pub struct One;");
        let with =
            |parent: &'static str| members(&[("src/lib.rs", "mod a;"), ("src/a/mod.rs", parent), child]);
        assert_eq!(with("mod one; pub use one::One; pub struct Shared;"), Vec::<Vec<String>>::new());
        let both = [["src/a/mod.rs", "src/a/one"]];
        assert_eq!(with("mod one; pub use one::One; pub struct Shared { of: u8, one: One }"), both);
        assert_eq!(with("mod one; use one::One; pub struct Shared;"), both);
    }

    #[test]
    fn circle_is_reported_with_its_members_and_lines() {
        let members = ["a", "b"].map(str::to_owned).into();
        let reported = fault(&Circle { members, lines: vec!["a.rs:1 names b::B of b.rs".into()] });
        assert!(reported.starts_with("circle between a, b: "), "{reported}");
        assert!(reported.ends_with("\n  a.rs:1 names b::B of b.rs"), "{reported}");
    }
}

//! The modules of one crate ([`Tree`]): the file and the names of each, and the module that defines the item of a path.
//!
//! Names are resolved like in the compiler, as far as an import graph needs: children, items, `use` lines and globs.
//! Re-exports are followed to the definition. Paths into other crates resolve to nothing. Code under `#[cfg(test)]` is
//! skipped.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree};

/// Source files by path.
pub type Sources = BTreeMap<PathBuf, String>;

/// Maximum length of a path, in segments and re-exports: `pub use name;` of a macro refers to itself.
const CHAIN: usize = 16;

/// A module, in its own file or inline.
pub struct Module {
    /// The file of its items.
    pub file: PathBuf,
    /// Its parent module; `None` for the crate's root.
    pub parent: Option<usize>,
    /// Its items, without its child modules.
    pub body: Vec<Item>,
    children: BTreeMap<String, usize>,
    items: BTreeSet<String>,
    imports: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// All modules of one crate; the root is the first.
pub struct Tree {
    /// Each module follows its parent.
    pub modules: Vec<Module>,
}

/// The target of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A module itself.
    Module(usize),
    /// An item that this module defines.
    Item(usize),
}

/// A name that a `use` line imports.
pub struct Import {
    /// The path's segments; for a glob, without the `*`.
    pub path: Vec<String>,
    /// The local name; `None` for a glob.
    pub name: Option<String>,
}

/// Returns whether the code with these attributes exists only in tests.
pub fn is_test(attributes: &[Attribute]) -> bool {
    let cfg = attributes.iter().filter(|one| one.path().is_ident("cfg"));
    cfg.filter_map(|one| one.parse_args::<syn::Path>().ok()).any(|path| path.is_ident("test"))
}

/// Returns the names that a `use` line imports.
pub fn imports(tree: &UseTree) -> Vec<Import> {
    fn walk(tree: &UseTree, mut path: Vec<String>, found: &mut Vec<Import>) {
        match tree {
            UseTree::Path(one) => {
                path.push(one.ident.to_string());
                walk(&one.tree, path, found);
            }
            UseTree::Name(one) if one.ident == "self" => {
                found.push(Import { name: path.last().cloned(), path });
            }
            UseTree::Name(one) => {
                path.push(one.ident.to_string());
                found.push(Import { name: path.last().cloned(), path });
            }
            UseTree::Rename(one) => {
                if one.ident != "self" {
                    path.push(one.ident.to_string());
                }
                found.push(Import { name: Some(one.rename.to_string()), path });
            }
            UseTree::Glob(_) => found.push(Import { name: None, path }),
            UseTree::Group(group) => group.items.iter().for_each(|one| walk(one, path.clone(), found)),
        }
    }
    let mut found = Vec::new();
    walk(tree, Vec::new(), &mut found);
    found
}

// === impl Tree ===

impl Tree {
    /// Reads the modules that `root` (`src/lib.rs`, `src/main.rs`) declares, and their children.
    ///
    /// # Errors
    /// Returns an error if a file can't be parsed, or a declared module has no file.
    pub fn read(root: &Path, sources: &Sources) -> Result<Self, String> {
        let mut tree = Self { modules: Vec::new() };
        let directory = root.parent().unwrap_or(Path::new(""));
        tree.read_file((root, directory), None, sources)?;
        Ok(tree)
    }

    /// Reads a module's file. `directory` has the files of its children.
    fn read_file(
        &mut self,
        (file, directory): (&Path, &Path),
        parent: Option<usize>,
        sources: &Sources,
    ) -> Result<usize, String> {
        let text = sources.get(file).ok_or_else(|| format!("{}: no such file", file.display()))?;
        let parsed = syn::parse_file(text).map_err(|error| format!("{}: {error}", file.display()))?;
        self.read_items((file, directory), parent, parsed.items, sources)
    }

    fn read_items(
        &mut self,
        (file, directory): (&Path, &Path),
        parent: Option<usize>,
        items: Vec<Item>,
        sources: &Sources,
    ) -> Result<usize, String> {
        let at = self.modules.len();
        self.modules.push(Module::new(file, parent));
        for item in items {
            let Item::Mod(one) = item else {
                self.modules[at].add(item);
                continue;
            };
            if !is_test(&one.attrs) {
                let name = one.ident.to_string();
                let child = self.read_child((file, directory), at, one, sources)?;
                self.modules[at].children.insert(name, child);
            }
        }
        Ok(at)
    }

    fn read_child(
        &mut self,
        (file, directory): (&Path, &Path),
        parent: usize,
        one: ItemMod,
        sources: &Sources,
    ) -> Result<usize, String> {
        let below = directory.join(one.ident.to_string());
        if let Some((_, items)) = one.content {
            return self.read_items((file, &below), Some(parent), items, sources);
        }
        let alone = below.with_extension("rs");
        let file = if sources.contains_key(&alone) { alone } else { below.join("mod.rs") };
        self.read_file((&file, &below), Some(parent), sources)
    }

    /// Returns the target of a path in module `from`; `None` for names of other crates and local variables.
    pub fn resolve(&self, from: usize, path: &[String]) -> Option<Target> {
        self.follow(from, path, CHAIN)
    }

    fn follow(&self, from: usize, path: &[String], chain: usize) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(0, rest, chain),
            "self" => self.walk(from, rest, chain),
            "super" => self.walk(self.modules[from].parent?, rest, chain),
            name if self.knows(from, name, chain) => self.walk(from, path, chain),
            _ => None,
        }
    }

    /// Follows a path from a module. An unknown name counts as an item of that module that a macro defines.
    fn walk(&self, at: usize, path: &[String], chain: usize) -> Option<Target> {
        let chain = chain.checked_sub(1)?;
        let Some((name, rest)) = path.split_first() else { return Some(Target::Module(at)) };
        let module = &self.modules[at];
        match name.as_str() {
            "self" => return self.walk(at, rest, chain),
            "super" => return self.walk(module.parent?, rest, chain),
            _ => {}
        }
        if let Some(child) = module.children.get(name) {
            return self.walk(*child, rest, chain);
        }
        if module.items.contains(name) {
            return Some(Target::Item(at));
        }
        if let Some(import) = module.imports.get(name) {
            return self.beyond(self.follow(at, import, chain)?, rest, chain);
        }
        let mut globs = module.globs.iter().filter_map(|glob| self.module(at, glob, chain));
        match globs.find(|glob| self.knows(*glob, name, chain)) {
            Some(glob) => self.walk(glob, path, chain),
            None => Some(Target::Item(at)),
        }
    }

    /// Follows the rest of a path. The segments after an item are its own names, which belong to the item's module.
    fn beyond(&self, target: Target, rest: &[String], chain: usize) -> Option<Target> {
        match target {
            Target::Module(at) => self.walk(at, rest, chain),
            Target::Item(_) => Some(target),
        }
    }

    fn module(&self, from: usize, path: &[String], chain: usize) -> Option<usize> {
        match self.follow(from, path, chain.checked_sub(1)?)? {
            Target::Module(at) if at != from => Some(at),
            _ => None,
        }
    }

    /// Returns whether a module has a child, an item or an import of this name.
    fn knows(&self, at: usize, name: &str, chain: usize) -> bool {
        let module = &self.modules[at];
        let own = module.children.contains_key(name) || module.items.contains(name);
        let globs = || module.globs.iter().filter_map(|glob| self.module(at, glob, chain));
        own || module.imports.contains_key(name)
            || chain > 0 && globs().any(|glob| self.knows(glob, name, chain - 1))
    }
}

// === impl Module ===

impl Module {
    fn new(file: &Path, parent: Option<usize>) -> Self {
        Self {
            file: file.to_owned(),
            parent,
            body: Vec::new(),
            children: BTreeMap::new(),
            items: BTreeSet::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
        }
    }

    fn add(&mut self, item: Item) {
        let name = match &item {
            Item::Const(one) => Some((&one.ident, &one.attrs)),
            Item::Enum(one) => Some((&one.ident, &one.attrs)),
            Item::Fn(one) => Some((&one.sig.ident, &one.attrs)),
            Item::Macro(one) => one.ident.as_ref().map(|ident| (ident, &one.attrs)),
            Item::Static(one) => Some((&one.ident, &one.attrs)),
            Item::Struct(one) => Some((&one.ident, &one.attrs)),
            Item::Trait(one) => Some((&one.ident, &one.attrs)),
            Item::Type(one) => Some((&one.ident, &one.attrs)),
            Item::Union(one) => Some((&one.ident, &one.attrs)),
            _ => None,
        };
        self.items
            .extend(name.filter(|(_, attributes)| !is_test(attributes)).map(|(one, _)| one.to_string()));
        Uses { module: self }.visit_item(&item);
        self.body.push(item);
    }
}

/// Collects the `use` lines of a module, including those inside functions.
struct Uses<'m> {
    module: &'m mut Module,
}

impl<'a> Visit<'a> for Uses<'_> {
    fn visit_item_use(&mut self, line: &'a ItemUse) {
        if is_test(&line.attrs) || line.leading_colon.is_some() {
            return;
        }
        for Import { path, name } in imports(&line.tree) {
            match name {
                Some(name) => drop(self.module.imports.insert(name, path)),
                None => self.module.globs.push(path),
            }
        }
    }

    fn visit_item_mod(&mut self, one: &'a ItemMod) {
        if !is_test(&one.attrs) {
            visit::visit_item_mod(self, one);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let sources = files.iter().map(|(path, text)| (path.into(), (*text).to_owned())).collect();
        Tree::read(Path::new("src/lib.rs"), &sources).unwrap()
    }

    /// Returns the file of a path's target, seen from the module in the file `from`.
    fn file<'t>(tree: &'t Tree, from: &str, path: &str) -> Option<&'t str> {
        let from = tree.modules.iter().position(|one| one.file == Path::new(from)).unwrap();
        let path: Vec<String> = path.split("::").map(str::to_owned).collect();
        let (Target::Module(at) | Target::Item(at)) = tree.resolve(from, &path)?;
        tree.modules[at].file.to_str()
    }

    #[test]
    fn path_leads_through_re_exports_to_the_definition() {
        let tree = tree(&[
            ("src/lib.rs", "mod a; mod b; pub use a::deep::Deep as Renamed; pub use b::*;"),
            ("src/a/mod.rs", "pub mod deep; pub use deep::Deep; pub struct Own;"),
            ("src/a/deep.rs", "pub struct Deep; fn f() { use crate::b::Other as Local; }"),
            ("src/b.rs", "pub struct Other; macro_rules! made { () => {} }"),
        ]);
        for (from, path, to) in [
            ("src/b.rs", "crate::Renamed", Some("src/a/deep.rs")),
            ("src/b.rs", "crate::a::Deep::new", Some("src/a/deep.rs")),
            ("src/b.rs", "super::a::Own", Some("src/a/mod.rs")),
            ("src/a/deep.rs", "super::super::Other", Some("src/b.rs")),
            ("src/a/deep.rs", "Local::new", Some("src/b.rs")),
            ("src/a/deep.rs", "self::Deep", Some("src/a/deep.rs")),
            ("src/a/mod.rs", "deep::MadeByMacro", Some("src/a/deep.rs")),
            ("src/a/mod.rs", "std::fmt::Debug", None),
            ("src/a/mod.rs", "variable", None),
        ] {
            assert_eq!(file(&tree, from, path), to, "{path} in {from}");
        }
    }

    #[test]
    fn test_code_defines_nothing_and_a_use_of_itself_resolves_to_nothing() {
        let tree = tree(&[(
            "src/lib.rs",
            "#[cfg(test)] mod absent; #[cfg(test)] use a::B; pub use same; pub use self::*; mod inline { pub struct C; }",
        )]);
        assert_eq!(tree.modules.len(), 2);
        assert_eq!(file(&tree, "src/lib.rs", "B"), None);
        assert_eq!(file(&tree, "src/lib.rs", "same"), None);
        assert_eq!(file(&tree, "src/lib.rs", "inline::C"), Some("src/lib.rs"));
    }

    #[test]
    fn module_without_a_file_is_an_error() {
        let sources = Sources::from([("src/lib.rs".into(), "mod gone;".into())]);
        let error = Tree::read(Path::new("src/lib.rs"), &sources).err();
        assert_eq!(error.as_deref(), Some("src/gone/mod.rs: no such file"));
    }
}

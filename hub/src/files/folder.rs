//! Files and folders of manifests, and the last good version of each of their objects. Entry point: [`Folder::read`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::document::{Claim, Document, Id, Object, Refusal};
use super::objects::Objects;
use super::source::{Look, Source};

/// How long a file must have been gone before its objects go: one that is replaced is back sooner.
const GONE_MS: i64 = 1000;

/// The same where no file is left: a folder that is mounted or checked out anew is empty for a while.
const ALL_GONE_MS: i64 = 5000;

/// Something to tell a person about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file or folder.
    pub file: PathBuf,
    /// Line, object, field, what is wrong, and what is in force instead.
    pub text: String,
    /// Something that is there is not in force.
    pub broken: bool,
}

/// What a folder holds.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// All objects, each in its last good version.
    pub objects: Objects,
    /// What is wrong now, in the order of the files.
    pub complaints: Vec<Complaint>,
    /// Something is changing: look again soon.
    pub restless: bool,
}

/// Files and folders, read again and again. See the module [`crate::files`] for the rules.
#[derive(Debug)]
pub struct Folder {
    roots: Vec<Root>,
    files: BTreeMap<PathBuf, File>,
    /// Every object that is in force, and the file that it is from.
    good: BTreeMap<Id, (PathBuf, Object)>,
    /// When each object was first seen, in milliseconds since the Unix epoch; 0 for those of the first reading.
    first_seen: BTreeMap<String, i64>,
    readings: u64,
}

/// A path that was given.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// It was a folder once: it can't become a file.
    is_folder: bool,
}

#[derive(Debug, Default)]
struct File {
    source: Source,
    root: usize,
    /// The last look found it.
    present: bool,
    absent_since: Option<i64>,
}

/// What takes shape during one reading.
#[derive(Default)]
struct Draft {
    current: BTreeMap<Id, (PathBuf, Object)>,
    complaints: Vec<Complaint>,
}

// === impl Folder ===

impl Folder {
    /// A folder that was not read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of_files(&[path.into()])
    }

    /// Some files and folders, taken together.
    pub fn of_files(paths: &[PathBuf]) -> Self {
        let roots = paths.iter().map(|path| Root { path: path.clone(), is_folder: false }).collect();
        Self {
            roots,
            files: BTreeMap::new(),
            good: BTreeMap::new(),
            first_seen: BTreeMap::new(),
            readings: 0,
        }
    }

    /// Looks at all files and returns all objects. The first call takes the files as they are; later ones take a change when
    /// it has been quiet. `now_ms` tells how long that is, and dates objects without a creationTimestamp.
    pub fn read(&mut self, now_ms: i64) -> Reading {
        let mut draft = Draft::default();
        let mut restless = false;
        for root in 0..self.roots.len() {
            match self.roots[root].list() {
                Ok(paths) => restless |= self.look(root, paths, now_ms),
                Err(error) => {
                    self.files.values_mut().filter(|f| f.root == root).for_each(|f| f.absent_since = None);
                    draft.complain(
                        &self.roots[root].path,
                        format!("it can't be read: {error}; all that was in it stays in force"),
                        true,
                    );
                }
            }
        }
        self.readings += 1;
        self.settle(&mut draft);
        self.good = draft.current;
        let born = if self.readings == 1 { 0 } else { now_ms };
        let objects = Objects::of(self.good.values().map(|(_, object)| object), &mut self.first_seen, born);
        Reading { objects, complaints: draft.complaints, restless }
    }

    /// Looks at the files of a root, and tells whether something is changing.
    fn look(&mut self, root: usize, paths: Vec<PathBuf>, now_ms: i64) -> bool {
        let (first, mut restless) = (self.readings == 0, false);
        let patience = if paths.is_empty() { ALL_GONE_MS } else { GONE_MS };
        self.files.values_mut().filter(|file| file.root == root).for_each(|file| file.present = false);
        for path in paths {
            let file = self.files.entry(path.clone()).or_default();
            file.root = root;
            let look = file.source.look(&path, now_ms, first);
            file.present = look != Look::Absent;
            restless |= look == Look::Restless;
        }
        self.files.retain(|_, file| {
            if file.root != root || file.present {
                file.absent_since = None;
                return true;
            }
            let since = *file.absent_since.get_or_insert(now_ms);
            let stays = now_ms - since < patience;
            restless |= stays;
            stays
        });
        restless
    }

    /// Decides which version of each object is in force.
    fn settle(&self, draft: &mut Draft) {
        for (path, file) in &self.files {
            let parsed = &file.source.parsed;
            if let Some(trouble) = &file.source.trouble {
                let kept = match parsed.documents.is_empty() {
                    true => "nothing of it is in force",
                    false => "its last good content stays in force",
                };
                draft.complain(path, format!("{trouble}; {kept}"), true);
            }
            parsed.warnings.iter().for_each(|warning| draft.complain(path, warning.clone(), false));
            parsed.documents.iter().for_each(|document| draft.accept(path, document));
        }
        for (path, file) in &self.files {
            for document in &file.source.parsed.documents {
                if let Err(refusal) = &document.read {
                    self.refuse(draft, path, document, refusal);
                }
            }
        }
    }

    /// Keeps the last good versions of what a document may have been, and tells.
    fn refuse(&self, draft: &mut Draft, path: &Path, document: &Document, refusal: &Refusal) {
        let elsewhere = document.claim.id().and_then(|id| draft.current.get(&id)).map(|(path, _)| path);
        let other = elsewhere.map(|path| format!("the version in {} is in force", path.display()));
        let kept = self.last_good(path, &document.claim, draft);
        let names = kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        for id in kept {
            if let Some((_, object)) = self.good.get(&id) {
                draft.current.insert(id, (path.to_path_buf(), object.clone()));
            }
        }
        let (text, broken) = match refusal {
            Refusal::Foreign(text) => (text, !names.is_empty()),
            Refusal::Broken(text) => (text, true),
        };
        let outcome = match (other, names.is_empty(), refusal) {
            (Some(other), ..) => other,
            (None, false, _) => format!("the last good version of {names} stays in force"),
            (None, true, Refusal::Foreign(_)) => "passed over".to_owned(),
            (None, true, Refusal::Broken(_)) => "it is not in force until this is mended".to_owned(),
        };
        draft.complain(path, format!("{}: {text}; {outcome}", document.title), broken);
    }

    /// The objects that a document that can't be read may have been, of those that are nowhere else now.
    fn last_good(&self, path: &Path, claim: &Claim, draft: &Draft) -> Vec<Id> {
        let certain = claim.id().is_some();
        let lost = self.good.iter().filter(|(id, _)| !draft.current.contains_key(id));
        let may_be = lost.filter(|(id, (from, _))| claim.may_be(id) && (certain || from == path));
        may_be.map(|(id, _)| id.clone()).collect()
    }
}

// === impl Root ===

impl Root {
    fn list(&mut self) -> io::Result<Vec<PathBuf>> {
        let found = fs::metadata(&self.path)?;
        match (found.is_dir(), self.is_folder) {
            (true, _) => {
                self.is_folder = true;
                in_folder(&self.path)
            }
            (false, true) => Err(io::Error::other("it is no folder any more")),
            (false, false) => Ok(vec![self.path.clone()]),
        }
    }
}

/// The files that kubectl reads in a folder. Of links those that lead nowhere count as well, but not those of editors.
fn in_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|e| e.to_str());
        let lock = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(".#"));
        if matches!(extension, Some("yaml" | "yml" | "json")) && !lock && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

// === impl Draft ===

impl Draft {
    fn complain(&mut self, file: &Path, text: String, broken: bool) {
        self.complaints.push(Complaint { file: file.to_path_buf(), text, broken });
    }

    /// Takes a good object. Where several files have one, the last counts, as when kubectl applies them in turn.
    fn accept(&mut self, path: &Path, document: &Document) {
        let Ok((id, object)) = &document.read else { return };
        for warning in &document.warnings {
            self.complain(path, format!("{}: {warning}", document.title), false);
        }
        if let Some((old, _)) = self.current.insert(id.clone(), (path.to_path_buf(), object.clone())) {
            let text = match old == path {
                true => format!("{id} is in this file twice; the last one is in force"),
                false => format!("{id} is in {} as well; that version is in force", path.display()),
            };
            self.complain(&old, text, false);
        }
    }
}

//! Files and folders of manifests, with the last good version of each object. Entry point: [`Folder::read`].

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::document::{Claim, Document, Id, Object, Refusal};
use super::objects::Objects;
use super::source::{Look, Source};

/// How long a file must be missing before its objects are removed, in milliseconds. A file that is being replaced comes
/// back sooner.
const GONE_MS: i64 = 1000;

/// The same delay if no file is left: a folder is empty for a while when it is mounted or checked out again.
const ALL_GONE_MS: i64 = 5000;

/// A problem with a file, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The file or folder.
    pub file: PathBuf,
    /// Line, object, field, the problem, and which version is used instead.
    pub text: String,
    /// Whether a part of the file is not in use.
    pub broken: bool,
}

/// The content of the folders.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// All objects, each in its last good version.
    pub objects: Objects,
    /// The current problems, in the order of the files.
    pub complaints: Vec<Complaint>,
    /// Whether a file is changing and should be read again soon.
    pub restless: bool,
}

/// Files and folders that are read repeatedly. The module [`crate::files`] describes the rules.
#[derive(Debug)]
pub struct Folder {
    roots: Vec<Root>,
    files: BTreeMap<PathBuf, File>,
    /// Every object in use, with the file that it comes from.
    good: BTreeMap<Id, (PathBuf, Object)>,
    /// The time at which each object was first seen, in milliseconds since the Unix epoch; 0 for objects of the first
    /// reading.
    first_seen: BTreeMap<String, i64>,
    readings: u64,
}

/// A file or folder that was given by the user.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Whether the path was a folder before. It can't become a file.
    is_folder: bool,
}

#[derive(Debug, Default)]
struct File {
    source: Source,
    root: usize,
    /// Whether the path existed at the last reading.
    present: bool,
    absent_since: Option<i64>,
}

/// The intermediate result of one reading.
#[derive(Default)]
struct Draft {
    current: BTreeMap<Id, (PathBuf, Object)>,
    complaints: Vec<Complaint>,
}

// === impl Folder ===

impl Folder {
    /// Creates a folder without reading it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of_files(&[path.into()])
    }

    /// Creates one set from several files and folders.
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

    /// Reads all files and returns all objects. The first call reads the files immediately; later calls read a changed
    /// file once it has been unmodified for a while. `now_ms` is the current time, which also dates objects without a
    /// creationTimestamp.
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

    /// Reads the files of a root. Returns whether a file is changing.
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

    /// Chooses the version of each object to use.
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

    /// Keeps the last good version of each object that a rejected document may be, and adds a complaint.
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

    /// Returns the objects with a good version that a document without a full identity may be, except those found
    /// elsewhere.
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
            (false, true) => Err(io::Error::other("it is no longer a folder")),
            (false, false) => Ok(vec![self.path.clone()]),
        }
    }
}

/// Returns the files of a folder that kubectl would read. Broken links are included, except the lock files of editors.
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

    /// Accepts a valid object. If several files contain it, the last file is used, as when kubectl applies them in
    /// turn.
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

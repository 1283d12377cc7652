//! A folder of manifests in place of an API server: the same objects, the same verbs, only the source differs. Entry point:
//! [`Folder::read`].
//!
//! The files are read as kubectl reads them (`text`, `yaml`, `scalar`), each object by itself (`document`, `metadata`). What
//! can't be read is not deleted:
//!
//! - A file is read when it has been quiet (`source`). One that can't be read, is empty, or is not YAML keeps its content.
//! - An object that breaks a rule keeps its last good version. So does one whose document is no object of ours any more, as
//!   long as that has its name, or has none.
//! - An object goes when a file that can be read has it no more, or when its file has been gone for a second.
//! - A folder that can't be listed changes nothing.

mod document;
mod folder;
mod manifest_kind;
mod metadata;
mod objects;
mod scalar;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod yaml;

pub use folder::{Complaint, Folder, Reading};
pub use objects::Objects;

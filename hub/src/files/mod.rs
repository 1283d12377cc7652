//! Reads objects from a folder of manifests instead of an API server. Entry point: [`Folder::read`].
//!
//! Files are parsed as kubectl parses them (`text`, `yaml`, `scalar`), each object separately (`document`, `metadata`).
//! Content that can't be parsed never deletes an object:
//!
//! - A file is read once it has been unmodified for a while (`source`). A file that can't be read, is empty or is not
//!   YAML keeps its last content.
//! - An object that breaks a rule keeps its last good version. So does an object whose document became something else,
//!   as long as the document still has the object's name, or no name.
//! - An object is removed when a readable file no longer contains it, or when its file has been missing for a second.
//! - A folder that can't be listed changes nothing.

mod document;
mod folder;
mod manifest_kind;
mod metadata;
mod objects;
mod scalar;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod yaml;

pub use folder::{Complaint, Folder, Reading};
pub use objects::Objects;
pub use text::{Values, values};

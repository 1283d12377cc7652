//! Parsing of files, and which versions of objects stay in use.

mod keeping;
mod mesh;
mod reading;

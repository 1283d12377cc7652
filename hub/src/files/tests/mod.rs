//! What is read of files, and what is kept of them.

mod keeping;
mod reading;

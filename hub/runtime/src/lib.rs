//! Being a good process.

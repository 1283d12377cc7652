//! The protobuf messages of package `portreeve.report.v1`, which an agent sends to every hub replica. They are
//! generated at build time from `proto/report.proto`, which documents every field.
#![allow(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    clippy::excessive_nesting,
    rustdoc::invalid_html_tags
)]

include!(concat!(env!("OUT_DIR"), "/portreeve.report.v1.rs"));

//! The protobuf messages of package `portreeve.plan.v1`, which the hub sends to its agents. They are generated at build
//! time from `proto/plan.proto`, which documents every field.
#![allow(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    clippy::excessive_nesting,
    rustdoc::invalid_html_tags
)]

include!(concat!(env!("OUT_DIR"), "/portreeve.plan.v1.rs"));

//! The plan's protobuf messages, package `portreeve.plan.v1`: what the hub sends to its agents. Generated at build time
//! from `proto/plan.proto`, where every field is explained.
#![allow(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    clippy::excessive_nesting,
    rustdoc::invalid_html_tags
)]

include!(concat!(env!("OUT_DIR"), "/portreeve.plan.v1.rs"));

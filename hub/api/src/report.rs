//! The report's protobuf messages, package `portreeve.report.v1`: what an agent tells every replica of the hub. Generated at
//! build time from `proto/report.proto`, where every field is explained.
#![allow(
    missing_docs,
    clippy::all,
    clippy::too_many_lines,
    clippy::excessive_nesting,
    rustdoc::invalid_html_tags
)]

include!(concat!(env!("OUT_DIR"), "/portreeve.report.v1.rs"));

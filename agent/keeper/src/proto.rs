//! The generated code of `proto/keeper.proto`. The workspace's lints don't apply to it.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::excessive_nesting,
    clippy::too_many_lines,
    clippy::wildcard_imports
)]

tonic::include_proto!("portreeve.keeper.v1");

//! The generated code of `proto/keeper.proto`. It keeps to none of the workspace's lints.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::excessive_nesting,
    clippy::too_many_lines,
    clippy::wildcard_imports
)]

tonic::include_proto!("portreeve.keeper.v1");

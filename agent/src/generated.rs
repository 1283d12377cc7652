//! Where the code that build.rs generates stands: [`generated`].

/// The module `proto` with what was generated of a package, which keeps to no lint of ours.
macro_rules! generated {
    ($(#[$doc:meta])* $package:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            unreachable_pub,
            clippy::all,
            clippy::excessive_nesting,
            clippy::too_many_lines,
            clippy::wildcard_imports
        )]
        pub mod proto {
            tonic::include_proto!($package);
        }
    };
}

pub(crate) use generated;

//! `portreeve crds`: prints the definitions of all custom resources.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use portreeve_runtime::out::print;

/// Flags of `portreeve crds`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write each definition to its own file in this directory instead of printing it.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Prints or writes the definitions.
///
/// # Errors
/// Returns an error if a file can't be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    for (name, text) in portreeve_api::crds::to_yaml()? {
        match &args.out {
            Some(dir) => {
                let path = dir.join(name);
                fs::write(&path, text).with_context(|| path.display().to_string())?;
            }
            None => print(format_args!("---\n{}", text.trim_start_matches("---\n").trim_end()))?,
        }
    }
    Ok(())
}

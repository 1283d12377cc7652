//! `portreeve convert FILE…`: prints the objects of l7mp in some files as valid objects of `l7mp.io/v1`, whichever of the
//! older spellings they have. What was changed is printed to standard error.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use portreeve_api::b::convert::{Converted, Refusal, convert};
use portreeve_hub::files;
use portreeve_runtime::out;
use serde_json::Value;

/// Flags of `portreeve convert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests in YAML or JSON.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// The content of a file.
#[derive(Debug, Default)]
struct Outcome {
    /// The valid objects.
    objects: Vec<Value>,
    /// Changes, and documents that are left out.
    notes: Vec<String>,
    /// Documents that can't be converted.
    errors: Vec<String>,
}

/// Prints the converted objects of all files. If one can't be converted, nothing is printed.
///
/// # Errors
/// Returns an error if a file can't be read, or an object can't be converted.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut all = Outcome::default();
    for file in &args.files {
        let found = read(file)?;
        all.objects.extend(found.objects);
        all.errors.extend(found.errors);
        found.notes.iter().for_each(out::note);
    }
    if !all.errors.is_empty() {
        all.errors.iter().for_each(out::note);
        bail!("nothing is printed: {} can't be converted", fields(all.errors.len()));
    }
    for object in all.objects {
        out::print(format_args!("---\n{}", serde_yaml::to_string(&object)?.trim_end()))?;
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<Outcome> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let values = files::values(&bytes).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let mut outcome = Outcome::default();
    let name = file.display();
    outcome.notes.extend(values.warnings.iter().map(|warning| format!("{name}: {warning}")));
    for (index, document) in values.documents.into_iter().enumerate() {
        let title = format!("{name}: document {}{}", index + 1, title(&document));
        outcome.take(&title, convert(document));
    }
    Ok(outcome)
}

/// Returns a document's kind and name.
fn title(document: &Value) -> String {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    format!(" ({} {})", text("/kind"), text("/metadata/name"))
}

fn fields(count: usize) -> String {
    if count == 1 { "one field".to_owned() } else { format!("{count} fields") }
}

// === impl Outcome ===

impl Outcome {
    fn take(&mut self, title: &str, converted: Result<Converted, Refusal>) {
        match converted {
            Ok(Converted { object, changes, warnings }) => {
                self.notes.extend(changes.iter().chain(&warnings).map(|text| format!("{title}: {text}")));
                self.objects.push(object);
            }
            Err(Refusal::Foreign(kind)) => {
                self.notes.push(format!(
                    "{title}: left out, because only objects of l7mp.io are converted, not {kind}"
                ));
            }
            Err(Refusal::Broken(broken)) => {
                self.errors.extend(broken.iter().map(|one| format!("{title}: {one}")));
            }
        }
    }
}

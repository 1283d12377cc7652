//! References to tests by file and function, for tables that list which test proves what, and a check that they exist.

use std::fs;
use std::path::Path;

/// A test: its file, relative to the project's root, and its function.
pub type Proof = (&'static str, &'static str);

/// Returns a message for each proof of a row that doesn't exist.
pub fn missing(row: &str, proofs: &[Proof]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let absent = proofs.iter().filter(|(file, function)| {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        !holds(&text, function)
    });
    absent.map(|(file, function)| format!("{row}: {file} has no test {function}")).collect()
}

/// Returns whether a file contains a test with that name: a function without arguments after a test attribute.
fn holds(text: &str, function: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {function}()")) else { return false };
    let attribute = before.rfind("test").map(|at| &before[at..]);
    attribute.is_some_and(|text| !text.contains('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_of_that_name_counts() {
        let text = "#[test]\nfn one_fact() {\n}\n\nfn no_test() {}\n";
        assert!(holds(text, "one_fact"));
        assert!(!holds(text, "one_fac") && !holds(text, "no_test") && !holds(text, "absent"));
    }

    #[test]
    fn a_missing_test_is_named_with_its_row() {
        let found =
            missing("A1", &[("tests/src/ledger.rs", "only_a_test_of_that_name_counts"), ("x.rs", "y")]);
        assert_eq!(found, ["A1: x.rs has no test y"]);
    }
}

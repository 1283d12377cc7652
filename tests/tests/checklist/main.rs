//! Every row of the feature checklists of the APIs A, B and D, with the tests that prove it, or with an explanation of how and
//! why Portreeve differs. The listed tests must exist.

mod a;
mod b;
mod d;

use portreeve_tests::ledger::{Proof, missing};

/// The evidence for a row.
enum Answer {
    /// The tests that prove it, by file and function.
    Proven(&'static [Proof]),
    /// Portreeve differs: how and why, and the tests that prove it.
    Differs(&'static str, &'static [Proof]),
}

use Answer::{Differs, Proven};

/// Returns what is wrong with an API's rows, and prints how many there are of each kind.
fn faults(api: &str, rows: &[Answer]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut counts = [0; 2];
    for (row, answer) in rows.iter().enumerate() {
        let row = format!("{api}{}", row + 1);
        let (kind, tests, words) = match answer {
            Proven(tests) => (0, *tests, None),
            Differs(why, tests) => (1, *tests, Some(*why)),
        };
        counts[kind] += 1;
        if tests.is_empty() {
            faults.push(format!("{row}: no test stands for it"));
        }
        if words.is_some_and(str::is_empty) {
            faults.push(format!("{row}: it is not said why"));
        }
        faults.extend(missing(&row, tests));
    }
    let [proven, differs] = counts;
    println!("API {api}: {proven} rows proven, {differs} done differently");
    faults
}

#[test]
fn every_row_names_tests_that_exist() {
    let faults: Vec<String> = [("A", &a::ROWS[..]), ("B", &b::ROWS), ("D", &d::ROWS)]
        .into_iter()
        .flat_map(|(api, rows)| faults(api, rows))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

//! Every row of the feature checklists of the APIs A to D, with the tests that prove it, or with an explanation of how and
//! why Portreeve, or its proof, differs. The listed tests must exist. Rows of API C that have no answer yet are listed by their
//! numbers, and printed.

mod a;
mod b;
mod c;
mod d;

use portreeve_tests::ledger::{Proof, missing};

/// The evidence for a row.
enum Answer {
    /// The tests that prove it, by file and function.
    Proven(&'static [Proof]),
    /// Portreeve, or its proof, differs: how and why, and the tests that prove it.
    Differs(&'static str, &'static [Proof]),
}

use Answer::{Differs, Proven};

/// Returns what is wrong with an API's rows, and prints how many there are of each kind.
fn faults<'a>(api: &str, rows: impl IntoIterator<Item = (u8, &'a Answer)>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut counts = [0; 2];
    for (number, answer) in rows {
        let row = format!("{api}{number}");
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
    println!("API {api}: {proven} rows proven, {differs} done or proven differently");
    faults
}

#[test]
fn every_row_names_tests_that_exist() {
    let whole = [("A", &a::ROWS[..]), ("B", &b::ROWS), ("D", &d::ROWS)];
    let faults = whole
        .into_iter()
        .flat_map(|(api, rows)| faults(api, (1..).zip(rows)))
        .chain(faults("C", c::ROWS.iter().map(|(number, answer)| (*number, answer))));
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_row_of_api_c_is_answered_or_said_to_be_unanswered() {
    let answered = c::ROWS.iter().map(|(number, _)| *number);
    let mut all: Vec<u8> = answered.chain(c::UNANSWERED).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=c::LAST).collect::<Vec<_>>(), "each row once");
    let numbers = c::UNANSWERED.map(|number| format!("C{number}")).join(", ");
    println!("{} rows of API C are not answered: {numbers}", c::UNANSWERED.len());
}

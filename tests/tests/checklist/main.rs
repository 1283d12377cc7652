//! Every row of the feature checklists of the APIs A to D, with the tests that prove it, or with an explanation of how and
//! why Portreeve, or its proof, differs. The listed tests must exist. Rows of API C that have no answer yet are listed by their
//! numbers, and printed.

mod a;
mod b;
mod c;
mod c_tunnels;
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

fn of_c() -> impl Iterator<Item = &'static (u8, Answer)> {
    c::ROWS.iter().chain(&c_tunnels::ROWS)
}

#[test]
fn every_row_names_tests_that_exist() {
    let whole = [("A", &a::ROWS[..]), ("B", &b::ROWS), ("D", &d::ROWS)];
    let faults = whole
        .into_iter()
        .flat_map(|(api, rows)| faults(api, (1..).zip(rows)))
        .chain(faults("C", of_c().map(|(number, answer)| (*number, answer))));
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_row_of_api_c_is_answered_once() {
    let mut all: Vec<u8> = of_c().map(|(number, _)| *number).collect();
    all.sort_unstable();
    assert_eq!(all, (1..=c::LAST).collect::<Vec<_>>());
}

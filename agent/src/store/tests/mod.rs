//! Tests of the store: on a disk that loses data, and on real directories.

use std::path::Path;
use std::time::Duration;

use portreeve_api::PlanType;
use portreeve_xds::Version;

use super::*;

mod crash;
mod forgetful;
mod kinds;
mod trouble;

/// Long, because the machine may be busy.
const BOUND: Duration = Duration::from_secs(20);

fn plan(name: &str) -> Key {
    Key::Resource(PlanType::Plan, name.into())
}

fn resource(body: &'static [u8]) -> Content {
    Content::Resource(Version::of(body), body.into())
}

/// Returns the Plans of a store, with their bodies.
fn plans(restored: &Restored) -> Vec<(String, String)> {
    let all = restored.resources.get(&PlanType::Plan).into_iter().flatten();
    let mut found: Vec<_> =
        all.map(|(name, _, body)| (name.to_string(), String::from_utf8_lossy(body).into_owned())).collect();
    found.sort();
    found
}

/// Returns the Plans of a store and its problems.
fn look(directory: &Path) -> (Vec<(String, String)>, Vec<String>) {
    let (saver, restored) = open(directory).unwrap();
    (plans(&restored), saver.problems().iter().map(Problem::to_string).collect())
}

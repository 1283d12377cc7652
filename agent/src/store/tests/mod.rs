//! Tests of the store: on a disk that forgets, and on real directories.

use std::path::Path;
use std::time::Duration;

use portreeve_api::PlanType;
use portreeve_xds::Version;

use super::*;

mod crash;
mod forgetful;
mod kinds;
mod trouble;

/// Generous: the machine may be busy.
const BOUND: Duration = Duration::from_secs(20);

fn plan(name: &str) -> Key {
    Key::Resource(PlanType::Plan, name.into())
}

fn resource(body: &'static [u8]) -> Content {
    Content::Resource(Version::of(body), body.into())
}

/// The Plans of a store, with their bodies.
fn plans(restored: &Restored) -> Vec<(String, String)> {
    let all = restored.resources.get(&PlanType::Plan).into_iter().flatten();
    let mut found: Vec<_> =
        all.map(|(name, _, body)| (name.to_string(), String::from_utf8_lossy(body).into_owned())).collect();
    found.sort();
    found
}

/// The plans of a store, and its problems in words.
fn look(directory: &Path) -> (Vec<(String, String)>, Vec<String>) {
    let (saver, restored) = open(directory).unwrap();
    (plans(&restored), saver.problems().iter().map(Problem::to_string).collect())
}

//! Changes that are taken in together ([`Gathered`]). Sending each of a hundred changes in a second by itself to ten agents takes
//! twice the hub's CPU time.

use std::time::{Duration, Instant};

use crate::index::Index;
use crate::watermark::Watched;

/// The most changes that are taken in together.
pub const TOGETHER: usize = 50;

/// How long changes may keep the feed's lock. After that, the rest of them are taken in by another visit.
const HOLD: Duration = Duration::from_millis(3);

/// Applies a change, at a time in milliseconds since 1970.
type Apply = Box<dyn FnOnce(&mut Index, i64) + Send>;

/// A change of the index by a watch.
pub struct Gathered {
    /// The watch.
    pub of: Watched,
    /// The revision that the watch reaches with it.
    pub revision: u64,
    /// The change.
    pub change: Apply,
}

/// Takes items until the feed's lock was held long enough.
pub fn for_a_while<I>(items: &mut impl Iterator<Item = I>, mut take: impl FnMut(I)) {
    let begun = Instant::now();
    for item in items {
        take(item);
        if begun.elapsed() >= HOLD {
            return;
        }
    }
}

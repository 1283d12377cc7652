//! A pool of addresses: [`Pool`].

use portreeve_api::c::range::Range;

use super::error::PoolError;

/// The addresses of a ServicePrefix (seed C.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    name: String,
    ranges: Vec<Range>,
}

// === impl Pool ===

impl Pool {
    /// Creates a pool with the name of its ServicePrefix.
    ///
    /// # Errors
    /// Returns an error if there is no range, or if two ranges overlap.
    pub fn new(name: &str, ranges: impl IntoIterator<Item = Range>) -> Result<Self, PoolError> {
        let mut ranges: Vec<Range> = ranges.into_iter().collect();
        ranges.sort_unstable();
        if ranges.is_empty() {
            return Err(PoolError::Empty { pool: name.to_owned() });
        }
        if let Some(pair) = ranges.windows(2).find(|pair| pair[0].overlaps(&pair[1])) {
            return Err(PoolError::Within { pool: name.to_owned(), one: pair[0], other: pair[1] });
        }
        Ok(Self { name: name.to_owned(), ranges })
    }

    /// Returns the ServicePrefix's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the ranges, lowest first and IPv4 before IPv6.
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Returns the number of addresses, at most [`u128::MAX`].
    pub fn size(&self) -> u128 {
        self.ranges.iter().map(Range::size).fold(0, u128::saturating_add)
    }
}

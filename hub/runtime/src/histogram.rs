//! Counts of measured values between fixed bounds. Entry point: [`Histogram::observe`].

/// Counts of measured values between fixed bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One count for each bound, and one for values above the last.
    counts: Vec<u64>,
    sum: f64,
}

// === impl Histogram ===

impl Histogram {
    /// An empty histogram. The bounds must rise. A value equal to a bound counts below it.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Adds a value, in the unit of the bounds. NaN is ignored.
    pub fn observe(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum += value;
    }

    /// Returns the histogram with one more value.
    #[must_use]
    pub fn with(mut self, value: f64) -> Self {
        self.observe(value);
        self
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the sum of the values, in the unit of the bounds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Returns each upper bound with the number of values between the previous bound and it. The last bound is infinite.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_counts_in_one_bucket_and_a_bound_belongs_to_the_bucket_below() {
        const BOUNDS: &[f64] = &[0.1, 1.0, 10.0];
        for (values, counts) in [
            (&[][..], [0, 0, 0, 0]),
            (&[0.0, 0.05, 0.1], [3, 0, 0, 0]),
            (&[0.100_001, 1.0], [0, 2, 0, 0]),
            (&[10.0, 10.5, 1e9], [0, 0, 1, 2]),
            (&[f64::NAN, -1.0], [1, 0, 0, 0]),
            (&[f64::INFINITY], [0, 0, 0, 1]),
        ] {
            let found = values.iter().fold(Histogram::new(BOUNDS), |all, value| all.with(*value));
            let bounds = [0.1, 1.0, 10.0, f64::INFINITY];
            assert_eq!(found.buckets(), bounds.into_iter().zip(counts).collect::<Vec<_>>(), "{values:?}");
            assert_eq!(found.count(), counts.iter().sum::<u64>());
        }
        let found = Histogram::new(BOUNDS).with(0.25).with(4.0);
        assert!((found.sum() - 4.25).abs() < 1e-9);
    }
}

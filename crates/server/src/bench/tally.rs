//! Latencies and errors, counted where they happen and added up afterwards.

use super::line::Failure;
use hdrhistogram::Histogram;
use std::time::Duration;

/// What one thread saw in one interval, or all threads in a whole run.
#[derive(Clone, Debug)]
pub struct Tally {
    latency: Histogram<u64>,
    /// Failed operations.
    pub errors: u64,
    /// Reads that found nothing.
    pub empty: u64,
    /// The first failure of the interval, for people.
    pub first_error: Option<String>,
}

/// Latencies are kept in units of 100 ns.
const UNIT_NANOS: u128 = 100;
/// Ten minutes; anything slower counts as that.
const SLOWEST: u64 = 600 * 10_000_000;

impl Default for Tally {
    fn default() -> Tally {
        let latency = Histogram::new_with_bounds(1, SLOWEST, 3).expect("the bounds are those of a histogram");
        Tally { latency, errors: 0, empty: 0, first_error: None }
    }
}

impl Tally {
    /// One operation ended.
    pub fn note(&mut self, took: Duration, outcome: &Result<bool, Failure>) {
        match outcome {
            Ok(found) => {
                self.latency.saturating_record((took.as_nanos() / UNIT_NANOS).clamp(1, u128::from(SLOWEST)) as u64);
                self.empty += u64::from(!found);
            }
            Err(failure) => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| failure.to_string());
            }
        }
    }

    /// Take another thread's or another interval's counts in.
    pub fn add(&mut self, other: &Tally) {
        self.latency.add(&other.latency).expect("both have the same bounds");
        self.errors += other.errors;
        self.empty += other.empty;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }

    /// Operations that succeeded.
    pub fn done(&self) -> u64 {
        self.latency.len()
    }

    /// The latency that this part of the operations did not exceed, in milliseconds.
    pub fn quantile_ms(&self, part: f64) -> f64 {
        if self.latency.is_empty() { 0.0 } else { self.latency.value_at_quantile(part) as f64 / 10_000.0 }
    }

    /// The slowest operation, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.latency.max() as f64 / 10_000.0
    }

    /// The mean, in milliseconds.
    pub fn mean_ms(&self) -> f64 {
        self.latency.mean() / 10_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_noted() {
        let (mut a, mut b) = (Tally::default(), Tally::default());
        for ms in 1..=50 {
            a.note(Duration::from_millis(ms), &Ok(true));
            b.note(Duration::from_millis(50 + ms), &Ok(ms % 10 != 0));
        }
        b.note(Duration::from_secs(9), &Err(Failure::Status(14, "gone".into())));
        a.add(&b);
        assert_eq!((a.done(), a.errors, a.empty), (100, 1, 5));
        assert!((a.quantile_ms(0.5) - 50.0).abs() < 0.1 && (a.max_ms() - 100.0).abs() < 0.2);
        assert!((a.quantile_ms(0.99) - 99.0).abs() < 0.2 && (a.mean_ms() - 50.5).abs() < 0.1);
        assert_eq!(a.first_error.as_deref(), Some("grpc code 14: gone"));
    }
}

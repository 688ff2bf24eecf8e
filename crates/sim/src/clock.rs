//! One node's clock: boot time that runs a little too fast or too slow, and never back.

use base::Tick;

/// Reads `base` at true time `since` and goes on at `rate` millionths of true time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    since: u64,
    base: u64,
    rate: u64,
}

impl Clock {
    /// A machine that has just booted: its clock knows nothing of anybody else's.
    pub fn new(now: u64, base: u64, rate: u64) -> Clock {
        Clock { since: now, base, rate }
    }

    /// What it reads at this true time.
    pub fn read(&self, now: u64) -> Tick {
        let passed = u128::from(now.saturating_sub(self.since)) * u128::from(self.rate) / 1_000_000;
        Tick(self.base.saturating_add(passed as u64))
    }

    /// The true time at which it will read at least `local`, if it goes on as now.
    pub fn when(&self, local: Tick) -> u64 {
        if local == Tick::FAR {
            return u64::MAX;
        }
        let ahead = u128::from(local.0.saturating_sub(self.base)) * 1_000_000;
        let passed = ahead.div_ceil(u128::from(self.rate.max(1)));
        self.since.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Runs at another rate from now on.
    pub fn set_rate(&mut self, now: u64, rate: u64) {
        *self = Clock { since: now, base: self.read(now).0, rate };
    }

    /// Leaps forward: only in worlds that break the promise about clocks.
    pub fn leap(&mut self, now: u64, by: u64) {
        *self = Clock { since: now, base: self.read(now).0 + by, rate: self.rate };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_at_its_rate_and_never_back() {
        let mut c = Clock::new(1_000, 5, 1_100_000);
        assert_eq!(c.read(1_000), Tick(5));
        assert_eq!(c.read(2_000), Tick(1_105));
        let mut last = c.read(2_000);
        c.set_rate(2_000, 900_000);
        for t in 2_000..4_000 {
            assert!(c.read(t) >= last);
            last = c.read(t);
        }
        assert_eq!(c.read(3_000), Tick(2_005));
    }

    #[test]
    fn knows_when_it_will_read_something() {
        for rate in [900_000, 1_000_000, 1_099_999] {
            let c = Clock::new(7, 100, rate);
            for local in [100, 101, 5_000, 123_456_789] {
                let t = c.when(Tick(local));
                assert!(c.read(t) >= Tick(local));
                assert!(t == 7 || c.read(t - 1) < Tick(local));
            }
        }
        assert_eq!(Clock::new(0, 0, 1).when(Tick::FAR), u64::MAX);
    }
}

//! Time as a number, and answers that rest on it.

use std::fmt;
use std::ops::{Add, Sub};

/// Nanoseconds on this node's boot-time clock. Ticks of two nodes must never be compared.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// Before everything.
    pub const ZERO: Tick = Tick(0);
    /// Never.
    pub const FAR: Tick = Tick(u64::MAX);
    /// This many milliseconds as a duration or an instant.
    pub const fn ms(ms: u64) -> Tick {
        Tick(ms * 1_000_000)
    }
    /// Nanoseconds between an earlier tick and this one; 0 when it is not earlier.
    pub fn since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
    /// Whole milliseconds.
    pub fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Add for Tick {
    type Output = Tick;
    fn add(self, d: Tick) -> Tick {
        Tick(self.0.saturating_add(d.0))
    }
}
impl Sub for Tick {
    type Output = Tick;
    fn sub(self, d: Tick) -> Tick {
        Tick(self.0.saturating_sub(d.0))
    }
}
impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Tick::FAR {
            write!(f, "never")
        } else {
            write!(f, "{}.{:03}ms", self.0 / 1_000_000, self.0 / 1_000 % 1_000)
        }
    }
}
impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An answer that is true only if it is handed over before `until`.
///
/// A pure step makes it; only the shell of the same node opens it, reading the clock *at that moment*, because any
/// amount of time may have passed since the step was told what time it is. `until` never travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leased<T> {
    value: T,
    until: Tick,
}

impl<T> Leased<T> {
    /// `value` holds while the node's clock reads less than `until`.
    pub fn new(value: T, until: Tick) -> Leased<T> {
        Leased { value, until }
    }
    /// The value if `now`, read from the clock after everything else was done, is early enough; else it comes back
    /// unopened, to go in again as an input.
    pub fn open(self, now: Tick) -> Result<T, Leased<T>> {
        if now < self.until { Ok(self.value) } else { Err(self) }
    }
    /// When it ends.
    pub fn until(&self) -> Tick {
        self.until
    }
    /// For the node that takes a late answer back in: the value, to be proved in another way.
    pub fn into_unproved(self) -> T {
        self.value
    }
    /// Looks at the value without relying on it.
    pub fn peek(&self) -> &T {
        &self.value
    }
}

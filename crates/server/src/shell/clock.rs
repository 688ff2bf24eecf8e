//! The one clock: time since boot, suspended time included. Wall time is never used for safety.

use base::Tick;
use rustix::time::{ClockId, clock_gettime};

/// What it says now.
pub fn now() -> Tick {
    let t = clock_gettime(ClockId::Boottime);
    Tick(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

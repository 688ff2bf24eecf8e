//! When which replica wants a turn: one ordered set for the whole node, no timer per range.

use base::{RangeId, Tick};
use std::collections::{BTreeMap, BTreeSet};

/// When which replica wants a turn.
#[derive(Default)]
pub(crate) struct Deadlines {
    by_tick: BTreeSet<(Tick, RangeId)>,
    of: BTreeMap<RangeId, Tick>,
}

impl Deadlines {
    /// This replica wants its turn at this tick (`FAR`: none).
    pub fn set(&mut self, range: RangeId, at: Tick) {
        if let Some(old) = self.of.insert(range, at) {
            if old == at {
                return;
            }
            self.by_tick.remove(&(old, range));
        }
        if at == Tick::FAR {
            self.of.remove(&range);
        } else {
            self.by_tick.insert((at, range));
        }
    }
    /// The earliest of all.
    pub fn first(&self) -> Tick {
        self.by_tick.first().map_or(Tick::FAR, |(t, _)| *t)
    }
    /// Whose time has come.
    pub fn due(&mut self, now: Tick) -> Vec<RangeId> {
        self.by_tick.iter().take_while(|(t, _)| *t <= now).map(|(_, r)| *r).collect()
    }
}

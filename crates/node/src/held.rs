//! Writes that nobody waits for: they wait a little for company, because a batch has a price of its own, whatever is in
//! it, and an fsync a high one.
//!
//! Nobody waits for what is applied (the leader reads it from its overlay; a follower asks the leader, or waits the moment),
//! nor for a follower's copy of what is committed.
//! Whatever is urgent takes what is held along, in order; so order on the disk, and what an acknowledgement vouches for, are
//! what they would be if nothing had been held.

use crate::effects::Outgoing;
use base::Tick;
use engine::Batch;
use range::Receipt;

/// Nothing is held longer than this.
const PATIENCE: Tick = Tick::ms(20);
/// Nor more than this, in bytes.
const MOST_BYTES: usize = 256 << 10;

/// What steps have for the disk, and what leaves or is told when it is there.
#[derive(Default)]
pub(crate) struct Load {
    pub batch: Batch,
    pub receipts: Vec<Receipt>,
    pub frames: Vec<Outgoing>,
    pub sync: bool,
}

/// What is held. `since` is FAR exactly while nothing is.
pub(crate) struct Held {
    load: Load,
    since: Tick,
}

impl Held {
    pub fn new() -> Held {
        Held { load: Load::default(), since: Tick::FAR }
    }

    /// All that is held.
    pub fn take(&mut self) -> Load {
        self.since = Tick::FAR;
        std::mem::take(&mut self.load)
    }

    pub fn is_empty(&self) -> bool {
        self.since == Tick::FAR
    }

    /// Behind what is held already.
    pub fn add(&mut self, load: Load, now: Tick) {
        if self.is_empty() {
            *self = Held { load, since: now };
            return;
        }
        let Load { batch, receipts, frames, sync } = load;
        self.load.batch.append(batch);
        self.load.receipts.extend(receipts);
        self.load.frames.extend(frames);
        self.load.sync |= sync;
    }

    /// Has it waited long enough, or grown large enough?
    pub fn is_due(&self, now: Tick) -> bool {
        !self.is_empty() && (now >= self.next_wake() || self.load.batch.bytes() >= MOST_BYTES)
    }

    pub fn next_wake(&self) -> Tick {
        if self.is_empty() { Tick::FAR } else { self.since + PATIENCE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Index, RangeId};
    use bytes::Bytes;
    use engine::Cf;

    fn load(key: &'static [u8], bytes: usize) -> Load {
        let mut load = Load::default();
        load.batch.put(Cf::Data, Bytes::from_static(key), Bytes::from(vec![0; bytes]));
        load
    }

    fn receipt(index: u64) -> Receipt {
        Receipt { range: RangeId(2), mark: None, applied: Some(Index(index)) }
    }

    #[test]
    fn what_is_held_keeps_its_order_and_its_promises() {
        let mut held = Held::new();
        assert!(held.is_empty() && held.next_wake() == Tick::FAR && !held.is_due(Tick::ms(1_000_000)));
        held.add(Load { receipts: vec![receipt(1)], sync: true, ..load(b"a", 10) }, Tick::ms(5));
        held.add(Load { receipts: vec![receipt(2)], ..load(b"b", 10) }, Tick::ms(9));
        let mut both = load(b"a", 10).batch;
        both.append(load(b"b", 10).batch);
        let all = held.take();
        assert!(held.is_empty() && all.batch.ops() == both.ops(), "the first is the first");
        assert_eq!(all.receipts, [receipt(1), receipt(2)]);
        assert!(all.sync, "one of them must be durable, so all are");
    }

    #[test]
    fn nothing_is_held_for_long_nor_much() {
        let mut held = Held::new();
        held.add(load(b"a", 10), Tick::ms(5));
        held.add(load(b"b", 10), Tick::ms(20));
        assert_eq!(held.next_wake(), Tick::ms(5) + PATIENCE, "counted from the first");
        assert!(!held.is_due(Tick::ms(24)) && held.is_due(Tick::ms(25)));
        held.add(load(b"c", MOST_BYTES), Tick::ms(21));
        assert!(held.is_due(Tick::ms(21)), "too much to wait");
    }
}

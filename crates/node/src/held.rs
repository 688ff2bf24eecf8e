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

/// What is held. `since` is FAR exactly while nothing is.
pub(crate) struct Held {
    pub batch: Batch,
    pub receipts: Vec<Receipt>,
    pub frames: Vec<Outgoing>,
    pub sync: bool,
    since: Tick,
}

impl Held {
    pub fn new() -> Held {
        Held { batch: Batch::new(), receipts: Vec::new(), frames: Vec::new(), sync: false, since: Tick::FAR }
    }

    /// What is held, which then is nothing.
    pub fn take(&mut self) -> Held {
        std::mem::replace(self, Held::new())
    }

    pub fn is_empty(&self) -> bool {
        self.since == Tick::FAR
    }

    /// Behind what is held already.
    pub fn add(&mut self, batch: Batch, receipts: Vec<Receipt>, frames: Vec<Outgoing>, sync: bool, now: Tick) {
        if self.is_empty() {
            *self = Held { batch, receipts, frames, sync, since: now };
            return;
        }
        self.batch.append(batch);
        self.receipts.extend(receipts);
        self.frames.extend(frames);
        self.sync |= sync;
    }

    /// Has it waited long enough, or grown large enough?
    pub fn is_due(&self, now: Tick) -> bool {
        !self.is_empty() && (now >= self.next_wake() || self.batch.bytes() >= MOST_BYTES)
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

    fn batch(key: &'static [u8], bytes: usize) -> Batch {
        let mut batch = Batch::new();
        batch.put(Cf::Data, Bytes::from_static(key), Bytes::from(vec![0; bytes]));
        batch
    }

    fn receipt(index: u64) -> Receipt {
        Receipt { range: RangeId(2), mark: None, applied: Some(Index(index)) }
    }

    #[test]
    fn what_is_held_keeps_its_order_and_its_promises() {
        let mut held = Held::new();
        assert!(held.is_empty() && held.next_wake() == Tick::FAR && !held.is_due(Tick::ms(1_000_000)));
        held.add(batch(b"a", 10), vec![receipt(1)], Vec::new(), true, Tick::ms(5));
        held.add(batch(b"b", 10), vec![receipt(2)], Vec::new(), false, Tick::ms(9));
        let mut both = batch(b"a", 10);
        both.append(batch(b"b", 10));
        assert!(held.batch.ops() == both.ops(), "the first is the first");
        assert_eq!(held.receipts, [receipt(1), receipt(2)]);
        assert!(held.sync, "one of them must be durable, so all are");
    }

    #[test]
    fn nothing_is_held_for_long_nor_much() {
        let mut held = Held::new();
        held.add(batch(b"a", 10), Vec::new(), Vec::new(), false, Tick::ms(5));
        held.add(batch(b"b", 10), Vec::new(), Vec::new(), false, Tick::ms(20));
        assert_eq!(held.next_wake(), Tick::ms(5) + PATIENCE, "counted from the first");
        assert!(!held.is_due(Tick::ms(24)) && held.is_due(Tick::ms(25)));
        held.add(batch(b"c", MOST_BYTES), Vec::new(), Vec::new(), false, Tick::ms(21));
        assert!(held.is_due(Tick::ms(21)), "too much to wait");
    }
}

//! What a node does now and then: bounds of compaction, leaders that follow the sequencer, calls that nobody waits for
//! any more.

use crate::boot;
use crate::marks::Marks;
use crate::node::{Node, Work, turn};
use base::{Error, RangeId, Result, Revision, Tick, marker};
use engine::Engine;
use range::Turn;
use std::collections::VecDeque;
use std::sync::Arc;

/// Between the first and the second attempt to hand a range to the sequencer's node; it doubles from there.
const FIRST_PAUSE: Tick = Tick::ms(2_000);
const LONGEST_PAUSE: Tick = Tick::ms(60_000);

/// The clockwork of bounds: what may be compacted, and who still reads.
#[derive(Default)]
pub(crate) struct Bounds {
    /// The newest compacted revision that came with a fetch or a commit.
    pub compacted: Revision,
    /// Persisted and in use.
    pub bound: Revision,
    /// Being persisted.
    pub writing: Option<Revision>,
    /// In this step's batch; the task that carries it, and no other, says when it is durable.
    pub fresh: Option<Revision>,
    pub pins: VecDeque<Arc<Revision>>,
    /// Delete marks at or below the bound are looked for.
    pub marks: Marks,
}

impl Bounds {
    /// What a new read may not go below: also a bound that is only on its way to the disk.
    pub fn floor(&self) -> Revision {
        if base::bug!("floor-forgets-the-bound-being-written") {
            return self.bound;
        }
        // A snapshot may have brought a bound beyond the one that is being written.
        self.writing.map_or(self.bound, |w| w.max(self.bound))
    }
}

impl<E: Engine> Node<E> {
    /// Slow things: bounds, leaders that should follow the sequencer, calls that nobody waits for any more.
    pub(crate) fn sweep(&mut self, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        self.raise_bound(work);
        let (own, liveness) = (self.identity.store, &self.liveness);
        // A full store that is gone keeps nobody from writing.
        self.door.full.retain(|s| *s == own || liveness.is_heard(*s, now));
        for ask in self.fetches.drop_late(now) {
            work.sink.replies.push((ask.origin, Err(Error::refused(base::Refusal::Timeout))));
        }
        self.replicas.values_mut().for_each(|r| r.drop_late(&mut work.sink, now));
        self.calls.forget_hops();
        self.follow_sequencer(now, work)
    }

    /// The filter's bound follows the compacted revision, but never passes a reader; it is persisted before its use.
    fn raise_bound(&mut self, work: &mut Work<E::View>) {
        while self.bounds.pins.front().is_some_and(|p| Arc::strong_count(p) == 1) {
            self.bounds.pins.pop_front();
        }
        self.bounds.pins.retain(|p| Arc::strong_count(p) > 1);
        let pinned = self.bounds.pins.iter().map(|p| **p).min().unwrap_or(Revision::MAX);
        let to =
            if base::bug!("filter-ignores-pins") { self.bounds.compacted } else { self.bounds.compacted.min(pinned) };
        if to > self.bounds.bound && self.bounds.writing.is_none() {
            marker!("compact.bound persisted");
            boot::put_bound(&mut work.sink.batch, to);
            work.sink.must_sync();
            self.bounds.writing = Some(to);
            self.bounds.fresh = Some(to);
        }
    }

    /// A range led beside the sequencer saves every write a hop. While leadership is handed over the range takes no
    /// writes, so one that does not get there is tried more and more rarely.
    fn follow_sequencer(&mut self, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        let own = self.identity.store;
        let Some(home) = self.directory.leader(RangeId::META).filter(|s| *s != own) else { return Ok(()) };
        if !self.config.follow_sequencer
            || self.is_stopping()
            || !self.liveness.hears_us(home, now)
            || self.door.cut.contains(&home)
        {
            return Ok(());
        }
        if self.replicas.values().any(range::Replica::is_handing_over) {
            return Ok(());
        }
        // What was tried not long ago, and is here again or still, did not get there.
        self.clock.follow.retain(|_, (from, pause)| now < *from + *pause);
        for (range, replica) in &mut self.replicas {
            let Some(to) = replica.descriptor().on(home) else { continue };
            let last = replica.group().last().0;
            let near = replica.group().matched(to.replica).is_some_and(|m| m.0 + 64 > last.0);
            let (from, pause) = self.clock.follow.get(range).copied().unwrap_or((now, FIRST_PAUSE));
            let rested = now >= from || base::bug!("follows-the-sequencer-without-rest");
            if *range != RangeId::META && replica.is_serving() && near && rested {
                marker!("node.leader follows the sequencer");
                replica.transfer(&mut turn!(self, work, now), to.replica)?;
                self.clock.follow.insert(*range, (now + pause, LONGEST_PAUSE.min(pause + pause)));
                self.dirty.insert(*range);
                // One at a time: moving leaders must not be felt.
                break;
            }
        }
        Ok(())
    }
}

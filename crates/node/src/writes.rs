//! What was handed to the disk: what of it is durable, and whether anybody waits to hear so.

use crate::depth::Depths;
use crate::effects::{Effects, WriteTask};
use crate::held::{Held, Load};
use crate::node::{Node, Work, turn};
use base::{Result, Revision, Tick, marker};
use engine::Engine;
use range::{Receipt, Turn};
use std::collections::VecDeque;

/// More receipts than this are not looked through after each step: then any news of the disk is worth one.
const MOST_LOOKED_AT: usize = 32;

/// A write task that is not known to be durable.
pub(crate) struct Outstanding {
    pub seq: u64,
    pub since: Tick,
    pub receipts: Vec<Receipt>,
    pub bound: Option<Revision>,
    /// How deep the store is with it.
    pub depth: u64,
}

/// Write tasks that were handed out.
pub(crate) struct Writes {
    pub outstanding: VecDeque<Outstanding>,
    /// Not handed out yet: nobody waits for it.
    pub held: Held,
    pub next: u64,
    pub depths: Depths,
}

impl Writes {
    pub fn new(depths: Depths) -> Writes {
        Writes { outstanding: VecDeque::new(), held: Held::new(), next: 1, depths }
    }

    /// Is everything durable that was to be written?
    pub fn are_done(&self) -> bool {
        self.outstanding.is_empty() && self.held.is_empty()
    }
}

impl<E: Engine> Node<E> {
    /// Has the writer finished a turn lately? A stalled disk must lose its leases.
    pub(crate) fn disk_ok(&self, now: Tick) -> bool {
        let patience = Tick(self.config.election_timeout.0 / 2);
        self.writes.outstanding.front().is_none_or(|o| now < o.since + patience)
    }

    /// A write task is durable.
    pub(crate) fn written(
        &mut self,
        seq: u64,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> Result<()> {
        while self.writes.outstanding.front().is_some_and(|o| o.seq <= seq) {
            let Some(o) = self.writes.outstanding.pop_front() else { break };
            self.writes.depths.reached(o.depth);
            for receipt in o.receipts {
                if let Some(replica) = self.replicas.get_mut(&receipt.range) {
                    self.dirty.insert(receipt.range);
                    replica.written(&mut turn!(self, work, now), receipt)?;
                }
            }
            if let Some(bound) = o.bound {
                marker!("compact.bound in use");
                if self.bounds.writing == Some(bound) || base::bug!("any-write-ends-the-writing-bound") {
                    self.bounds.writing = None;
                }
                self.bounds.bound = self.bounds.bound.max(bound);
                effects.bound = Some(bound);
            }
        }
        Ok(())
    }

    /// Would the end of a write change anything here at once? Where it would not, it is news for the next step, which
    /// comes when something else happens, or with the next sweep at the latest. What is left over from this step goes on
    /// when its write is done.
    pub(crate) fn awaits_disk(&self) -> bool {
        let receipts = || self.writes.outstanding.iter().flat_map(|o| &o.receipts);
        let waits = |r: &Receipt| self.replicas.get(&r.range).is_some_and(|replica| replica.awaits_disk());
        let many = receipts().nth(MOST_LOOKED_AT).is_some();
        let waits = self.is_stopping() || !self.dirty.is_empty() || many || receipts().any(waits);
        waits && !base::bug!("disk-awaited-by-nobody")
    }

    /// Takes a write task's number and remembers what it carries.
    pub(crate) fn hand_out(&mut self, load: Load, now: Tick) -> WriteTask {
        let Load { mut batch, receipts, frames, sync } = load;
        let seq = self.writes.next;
        self.writes.next += 1;
        let fresh = self.bounds.fresh.take();
        let bound = if base::bug!("any-write-ends-the-writing-bound") { self.bounds.writing } else { fresh };
        // A task without changes only waits its turn, and must not cost a sync of its own.
        let counts = sync && !batch.is_empty();
        let depth = if counts { self.writes.depths.count(&mut batch, now, self.config.heartbeat) } else { 0 };
        self.writes.outstanding.push_back(Outstanding { seq, since: now, receipts, bound, depth });
        WriteTask { seq, batch, sync, frames }
    }
}

//! The orderly end: what was evaluated is answered, leaders hand over, leases are given up, then goodbye.
//!
//! ```text
//! door closed      new calls are refused, those of other nodes are sent elsewhere: nothing new is evaluated here
//! sequencer        lowers its ceiling to what was issued, so that its successor leaves no hole, and goes first: what is
//!                  evaluated here gets its numbers from the next one
//! ranges           each goes once everything evaluated in it is committed, and so answered (`range::transfer`)
//! last calls       of this node's own clients, which wait for leaders elsewhere by now
//! goodbye          whoever supports this store need not wait until its support runs out
//! ```
//!
//! None of it may keep a node from ending: what takes longer is broken off, and then its clients are told that nobody knows.

use crate::frame::Part;
use crate::node::{Node, Work, turn};
use base::{Place, RangeId, Result, Tick, marker};
use engine::Engine;
use range::Turn;

/// All of it takes no longer.
const LONGEST: Tick = Tick::ms(2_000);
/// While the sequencer is handed over nobody gets a number. Its successor is elected as soon.
const LONGEST_SEQUENCER: Tick = Tick::ms(300);

impl<E: Engine> Node<E> {
    pub(crate) fn begin_stop(&mut self, now: Tick) {
        if self.clock.stopping.is_none() {
            marker!("node.stop begins");
            self.clock.stopping = Some(now);
        }
    }

    /// Is the door closed?
    pub(crate) fn is_stopping(&self) -> bool {
        self.clock.stopping.is_some()
    }

    /// Goes on with the orderly end.
    pub(crate) fn stop_in_order(&mut self, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        let Some(since) = self.clock.stopping else { return Ok(()) };
        if self.clock.said_goodbye {
            return Ok(());
        }
        let over = now >= since + LONGEST || base::bug!("stops-without-an-answer");
        if !over && self.has_last_things_to_do(since, now, work)? {
            return Ok(());
        }
        if over {
            marker!("node.stop breaks off");
        }
        for (range, replica) in &mut self.replicas {
            replica.stop(&mut turn!(self, work, now))?;
            self.dirty.insert(*range);
        }
        marker!("node.goodbye");
        for (to, beat) in self.liveness.goodbye(now) {
            self.outbox.control(to, &Part::Beat(beat));
        }
        self.clock.said_goodbye = true;
        Ok(())
    }

    fn has_last_things_to_do(&mut self, since: Tick, now: Tick, work: &mut Work<E::View>) -> Result<bool> {
        if self.successor(RangeId::META, now).is_some() && self.close_meta(since, now, work)? {
            return Ok(true);
        }
        let ranges: Vec<RangeId> = self.replicas.keys().copied().filter(|r| *r != RangeId::META).collect();
        let mut busy = false;
        for range in ranges {
            busy |= self.hand_over_range(range, now, work)?;
        }
        if busy || !self.calls.open.is_empty() {
            return Ok(true);
        }
        // Alone: nobody else needs numbers, and the last ones are given.
        Ok(self.close_meta(since, now, work)? || !self.writes.are_done())
    }

    /// The sequencer closes and goes. `true`: it is not gone yet.
    fn close_meta(&mut self, since: Tick, now: Tick, work: &mut Work<E::View>) -> Result<bool> {
        let to = self.successor(RangeId::META, now);
        let Some(replica) = self.replicas.get_mut(&RangeId::META).filter(|r| r.leads().is_some()) else {
            return Ok(false);
        };
        self.dirty.insert(RangeId::META);
        let mut t = turn!(self, work, now);
        let begun = *self.clock.sequencer_closes.get_or_insert(now.max(since));
        if now >= begun + LONGEST_SEQUENCER {
            marker!("node.sequencer goes without a successor");
            replica.stop(&mut t)?;
            return Ok(false);
        }
        let closed = replica.close_sequencer(&mut t)?;
        match to {
            Some(to) if closed && !replica.is_handing_over() => replica.transfer(&mut t, to.replica)?,
            Some(_) => {}
            None => return Ok(!closed || !replica.owes_nothing()),
        }
        Ok(true)
    }

    /// This range goes to a successor, or is served to the last call. `true`: it is not done.
    fn hand_over_range(&mut self, range: RangeId, now: Tick, work: &mut Work<E::View>) -> Result<bool> {
        let to = self.successor(range, now);
        let Some(replica) = self.replicas.get_mut(&range).filter(|r| r.leads().is_some()) else { return Ok(false) };
        let Some(to) = to else { return Ok(!replica.owes_nothing()) };
        if !replica.is_handing_over() {
            marker!("node.range handed over before the end");
            replica.transfer(&mut turn!(self, work, now), to.replica)?;
            self.dirty.insert(range);
        }
        Ok(true)
    }

    /// Who could lead this range next: beside the sequencer if possible, else whoever has most of the log.
    fn successor(&self, range: RangeId, now: Tick) -> Option<Place> {
        let replica = self.replicas.get(&range).filter(|r| r.leads().is_some())?;
        let own = self.identity.store;
        let there =
            |p: &&Place| p.store != own && self.liveness.hears_us(p.store, now) && !self.door.cut.contains(&p.store);
        let home = self.directory.leader(RangeId::META);
        let rank = |p: &&Place| {
            let matched = replica.group().matched(p.replica).unwrap_or_default();
            let near = matched.0 + 64 > replica.group().last().0.0;
            (near && home == Some(p.store), matched)
        };
        replica.descriptor().replicas.iter().filter(there).max_by_key(rank).copied()
    }
}

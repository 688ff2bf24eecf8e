//! How deep a store is: how many synced writes it has made in all its lives. It counts them on its disk, says in its beats
//! how many are durable, and its peers remember.
//!
//! A disk that has lost its newest records looks like one that never had them: the end of the WAL is gone, or an old copy
//! of the disk was put back. The leader of the present term notices by what it was acknowledged ([`raft::Lost`]). But with
//! that leader gone nobody else knows which entries and votes this store gave its word for, and it could help to elect
//! somebody who lacks them. So a store that comes back hears from everybody how deep it was when they heard of it last; if
//! its disk is less deep, it stops before it may vote (its gate is D, and beats come many times in D).
//!
//! Never wrong: a life says of its writes only what is durable, and every later life of an honest disk finds at least that.
//! What is remembered is said to the life it is true for, so that a beat of an earlier life that arrives late accuses
//! nobody. Not complete: what was synced after the last beat, less than a heartbeat before the end, nobody remembers, and
//! nor does a peer that was not there to hear it.

use crate::boot;
use base::{Error, Incarnation, Result, StoreId, Tick, marker};
use engine::Batch;
use std::collections::BTreeMap;

/// What is remembered of one peer.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    /// Its newest life that was heard of.
    pub life: Incarnation,
    /// The deepest it has said to be in that life.
    pub depth: u64,
    /// The same, of the lives before.
    pub before: u64,
}

impl Heard {
    /// What is worth remembering beyond our own life. A store whose present life is less deep than an earlier one has lost
    /// something, and must hear so also when we are restarted before it does: we go back to the life before.
    pub fn to_keep(self) -> (Incarnation, u64) {
        if self.before > self.depth && !base::bug!("depth-forgotten-with-the-next-life") {
            return (Incarnation(self.life.0.saturating_sub(1)), self.before);
        }
        (self.life, self.depth)
    }
}

/// This store's own depth, and those of its peers.
#[derive(Debug)]
pub(crate) struct Depths {
    /// On the disk when this life began.
    found: u64,
    /// With the last task that was handed out.
    handed: u64,
    durable: u64,
    peers: BTreeMap<StoreId, Heard>,
    /// What is remembered of peers is noted down again with a synced write after this time.
    next_note: Tick,
}

impl Depths {
    /// As the disk remembers them.
    pub fn new(found: u64, peers: BTreeMap<StoreId, Heard>) -> Depths {
        Depths { found, handed: found, durable: found, peers, next_note: Tick::ZERO }
    }

    /// A batch that will be synced: one deeper. Now and then it carries what is remembered of peers, too.
    pub fn count(&mut self, batch: &mut Batch, now: Tick, pause: Tick) -> u64 {
        self.handed += 1;
        boot::put_depth(batch, self.handed);
        if now >= self.next_note {
            self.next_note = now + pause;
            boot::put_heard(batch, &self.peers);
        }
        self.handed
    }

    /// A task of this depth is durable.
    pub fn reached(&mut self, depth: u64) {
        self.durable = self.durable.max(depth);
    }

    /// What beats say of this store.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// What a beat says of its sender.
    pub fn hear(&mut self, from: StoreId, life: Incarnation, depth: u64) {
        let heard = self.peers.entry(from).or_default();
        if life > heard.life {
            (heard.life, heard.depth, heard.before) = (life, 0, heard.before.max(heard.depth));
        }
        if life == heard.life {
            heard.depth = heard.depth.max(depth);
        }
    }

    /// How deep this peer has been in other lives than this one.
    pub fn remembered(&self, store: StoreId, life: Incarnation) -> u64 {
        match self.peers.get(&store) {
            None => 0,
            Some(heard) if heard.life <= life => heard.before,
            // It went back to an earlier life than one that we know of.
            Some(heard) => heard.depth.max(heard.before),
        }
    }

    /// A peer says of which life of this store it has heard, and how deep the store was in others.
    pub fn check(&self, from: StoreId, own: Incarnation, (life, remembered): (Incarnation, u64)) -> Result<()> {
        let lost = life > own || (life == own && remembered > self.found);
        if !lost || base::bug!("depth-not-remembered") {
            return Ok(());
        }
        marker!("depth.less than remembered");
        Err(Error::corrupt(format!(
            "{from} remembers life {life} of this store and {remembered} synced writes of others, this is life {own} and its \
             disk held {}: it has lost data that it had vouched for, or an old copy of the disk was put back; replace the node",
            self.found
        )))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const S: StoreId = StoreId(2);

    #[test]
    fn what_is_remembered_is_of_other_lives_than_the_one_it_is_said_to() {
        let mut d = Depths::new(0, BTreeMap::new());
        assert_eq!(d.remembered(S, Incarnation(1)), 0);
        d.hear(S, Incarnation(1), 10);
        d.hear(S, Incarnation(1), 8);
        assert_eq!(d.remembered(S, Incarnation(1)), 0, "of its present life a store knows more than anybody");
        d.hear(S, Incarnation(2), 7);
        assert_eq!(d.remembered(S, Incarnation(2)), 10, "the deepest it said");
        d.hear(S, Incarnation(1), 99);
        assert_eq!(d.remembered(S, Incarnation(2)), 10, "a late beat of its earlier life says nothing new");
        d.hear(S, Incarnation(3), 11);
        assert_eq!(d.remembered(S, Incarnation(3)), 10, "nor is it forgotten by another start");
        d.hear(S, Incarnation(4), 11);
        assert_eq!(d.remembered(S, Incarnation(4)), 11);
        assert_eq!(d.remembered(S, Incarnation(2)), 11, "an old disk, said to the life that it is true for");
    }

    #[test]
    pub(crate) fn a_loss_is_remembered_by_a_peer_that_is_restarted_before_it_can_tell() {
        let engine = engine::mem::Mem::new();
        let mut d = Depths::new(0, BTreeMap::new());
        d.hear(S, Incarnation(1), 10);
        // An old disk comes back, is heard, and cannot hear.
        d.hear(S, Incarnation(2), 7);
        let mut batch = Batch::new();
        d.count(&mut batch, Tick::ZERO, Tick::FAR);
        engine::Engine::write(&engine, &batch, true).unwrap();
        let mut d = Depths::new(1, boot::heard(&engine).unwrap());
        d.hear(S, Incarnation(2), 8);
        assert_eq!(d.remembered(S, Incarnation(2)), 10);
    }

    #[test]
    fn a_store_is_as_deep_as_it_was_or_says_so() {
        let mut d = Depths::new(5, BTreeMap::new());
        let mut batch = Batch::new();
        assert_eq!((d.count(&mut batch, Tick::ZERO, Tick::FAR), d.durable()), (6, 5), "handed out is not durable");
        d.reached(6);
        assert_eq!(d.durable(), 6);
        let told = |life, depth| d.check(S, Incarnation(3), (Incarnation(life), depth)).is_err();
        assert!(!told(3, 5));
        assert!(told(3, 6), "what this life wrote was not there when it began");
        assert!(!told(2, 6), "that was said to another life");
        assert!(told(4, 0), "there were lives that this disk knows nothing of");
    }
}

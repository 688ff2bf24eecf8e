//! What a leader knows of one other member, and how much it may have under way to it.

use crate::{Member, SupportEpoch};
use base::{Incarnation, Index, Tick};
use std::collections::VecDeque;

/// How a member is fed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Feed {
    /// One append at a time, until one matches.
    Probe {
        /// One is under way.
        sent: bool,
    },
    /// Pipelined: `next` runs ahead of the acknowledgements, within the window.
    Replicate,
    /// It needs a snapshot; `waited` counts beats since the node sent one (`None`: the node is at it).
    Snapshot { waited: Option<u8> },
}

/// One member's progress. `matched < next`; `next - 1 ≤ last`.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) member: Member,
    /// Its durable log equals ours up to here.
    pub(crate) matched: Index,
    /// The first entry that was not sent.
    pub(crate) next: Index,
    pub(crate) feed: Feed,
    /// Last index and bytes of each append under way; allocated only while there are any.
    inflight: VecDeque<(Index, u64)>,
    inflight_bytes: u64,
    /// When it last answered in this term.
    pub(crate) heard: Tick,
    /// When it last took a piece of a snapshot.
    pub(crate) moved: Tick,
    /// `matched` at the last beat: no progress in between means that something was lost.
    pub(crate) at_beat: Index,
    /// Our epoch that it fortified, and its incarnation when it did.
    pub(crate) fortified: Option<(SupportEpoch, Incarnation)>,
    /// The largest read round that it acknowledged in this term.
    pub(crate) round: u64,
    /// The largest commit index that it was told.
    pub(crate) told: Index,
}

impl Progress {
    /// Nothing known: probe at the end of our log.
    pub(crate) fn new(member: Member, last: Index, now: Tick) -> Progress {
        Progress {
            member,
            matched: Index(0),
            next: last.next(),
            feed: Feed::Probe { sent: false },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            heard: now,
            moved: Tick::ZERO,
            at_beat: Index(0),
            fortified: None,
            round: 0,
            told: Index(0),
        }
    }

    /// Everything but what depends on time, for hashing.
    pub(crate) fn key(&self) -> impl std::hash::Hash + '_ {
        (
            self.member,
            self.matched,
            self.next,
            self.feed,
            &self.inflight,
            self.at_beat,
            self.fortified,
            self.round,
            self.told,
        )
    }

    /// May another append with entries be sent?
    pub(crate) fn has_room(&self, max: usize, max_bytes: usize) -> bool {
        match self.feed {
            Feed::Probe { sent } => !sent,
            Feed::Replicate => self.inflight.len() < max && self.inflight_bytes < max_bytes as u64,
            Feed::Snapshot { .. } => false,
        }
    }

    /// An append up to `last` left.
    pub(crate) fn sent(&mut self, last: Index, bytes: usize) {
        match &mut self.feed {
            Feed::Probe { sent } => *sent = true,
            Feed::Replicate => {
                self.next = last.next();
                self.inflight.push_back((last, bytes as u64));
                self.inflight_bytes += bytes as u64;
            }
            Feed::Snapshot { .. } => {}
        }
    }

    /// Its log equals ours up to `index`. Returns whether that was news.
    pub(crate) fn acked(&mut self, index: Index) -> bool {
        while self.inflight.front().is_some_and(|(last, _)| *last <= index) {
            let (_, bytes) = self.inflight.pop_front().unwrap_or_default();
            self.inflight_bytes -= bytes;
        }
        if index <= self.matched {
            return false;
        }
        self.matched = index;
        self.next = self.next.max(index.next());
        true
    }

    /// Back to one append at a time, beginning at `next`.
    pub(crate) fn probe(&mut self, next: Index) {
        self.next = next.max(self.matched.next());
        self.feed = Feed::Probe { sent: false };
        self.clear_window();
    }

    /// From now on pipelined.
    pub(crate) fn replicate(&mut self) {
        self.next = self.matched.next();
        self.feed = Feed::Replicate;
        self.clear_window();
    }

    /// Until a snapshot has arrived nothing is sent.
    pub(crate) fn await_snapshot(&mut self) {
        self.feed = Feed::Snapshot { waited: None };
        self.clear_window();
    }

    /// Gives the window's memory back when nothing is under way.
    pub(crate) fn rest(&mut self) {
        if self.inflight.is_empty() && self.inflight.capacity() > 0 {
            self.inflight = VecDeque::new();
        }
    }

    pub(crate) fn inflight(&self) -> usize {
        self.inflight.len()
    }

    fn clear_window(&mut self) {
        self.inflight = VecDeque::new();
        self.inflight_bytes = 0;
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.inflight.capacity() * size_of::<(Index, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ReplicaId, StoreId};

    fn peer() -> Progress {
        let member = Member { replica: ReplicaId(2), store: StoreId(2) };
        let mut peer = Progress::new(member, Index(5), Tick::ZERO);
        assert!(peer.has_room(1, 1), "a first probe");
        peer.sent(Index(5), 0);
        assert!(!peer.has_room(9, 9), "one probe at a time");
        assert!(peer.acked(Index(5)), "news");
        peer.replicate();
        peer
    }

    #[test]
    fn the_window_is_bounded_in_count_and_in_bytes() {
        let mut peer = peer();
        peer.sent(Index(6), 10);
        peer.sent(Index(7), 30);
        assert_eq!((peer.inflight(), peer.next), (2, Index(8)));
        assert!(!peer.has_room(2, 1000) && peer.has_room(3, 1000), "two are under way");
        assert!(!peer.has_room(3, 40) && peer.has_room(3, 41), "40 bytes are");
        assert!(peer.acked(Index(6)));
        assert!(!peer.has_room(3, 30) && peer.has_room(3, 31), "30 bytes are");
        assert!(!peer.acked(Index(6)), "no news");
        assert!(peer.acked(Index(9)), "whoever has more than was sent has that too");
        assert_eq!((peer.inflight(), peer.next, peer.matched), (0, Index(10), Index(9)));
        assert!(peer.has_room(1, 1));
    }

    #[test]
    fn a_window_is_given_back_only_when_it_is_empty() {
        let mut peer = peer();
        peer.sent(Index(6), 10);
        peer.rest();
        assert_eq!(peer.inflight(), 1);
        assert!(peer.heap_bytes() > 0);
        peer.acked(Index(6));
        assert!(peer.heap_bytes() > 0);
        peer.rest();
        assert_eq!(peer.heap_bytes(), 0);
    }

    #[test]
    fn probing_begins_after_what_matches() {
        let mut peer = peer();
        peer.sent(Index(9), 10);
        peer.probe(Index(2));
        assert_eq!((peer.next, peer.inflight(), peer.has_room(1, 1)), (Index(6), 0, true));
        peer.await_snapshot();
        assert!(!peer.has_room(9, 9));
        peer.sent(Index(9), 10);
        assert_eq!((peer.next, peer.inflight()), (Index(6), 0), "nothing leaves while a snapshot is awaited");
    }
}

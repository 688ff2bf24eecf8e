//! What only a leader has.

use crate::progress::{Feed, Progress};
use crate::{Member, PeerState, ReadRound};
use base::{Index, ReplicaId, Tick};

/// Taken for the time of a commit before the first.
const FIRST_TRIP: Tick = Tick::ms(5);
/// At least and at most so long does a commit wait for those who were chosen: who needs less time than others most of the
/// time must not be given up for one hiccup, and one that is gone must not be missed for long.
const PATIENCE: (Tick, Tick) = (Tick::ms(10), Tick::ms(50));

/// After so many entries for a quorum one leaves for everybody: whoever is quickest then is chosen next. Otherwise the chosen
/// would stay the furthest for ever, because the others get everything later.
const MOST_SPARED: u32 = 64;
/// Entries that leave for everybody after a quorum took too long: few, because most hiccups are a whole machine's and
/// nobody else would have been quicker; twice as many each time, up to the most, until it goes well for
/// [`MOST_SPARED`] entries, because a disk may be slow for long and look quick in between.
const REST: (u32, u32) = (8, 64);

/// A read round that is not complete.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Round {
    pub(crate) round: ReadRound,
    /// What must be applied before the read; unknown until an entry of this term is committed.
    pub(crate) index: Option<Index>,
}

/// A leader's view of the others, and its timers.
#[derive(Clone, Debug)]
pub(crate) struct Lead {
    /// Every other member, sorted by replica id.
    pub(crate) peers: Vec<Progress>,
    /// Its own first entry.
    pub(crate) term_start: Index,
    /// Until this is applied no change of membership may be proposed.
    pub(crate) pending_conf: Index,
    /// Rounds under way, oldest first.
    pub(crate) rounds: Vec<Round>,
    /// To whom leadership is being handed, and when to give up.
    pub(crate) transfer: Option<(ReplicaId, Tick)>,
    /// When to say again what may have been lost; FAR when everybody has everything and is fortified.
    pub(crate) beat: Tick,
    /// When to step down unless the commit index moves; FAR when nothing is uncommitted.
    pub(crate) stuck: Tick,
    /// When to step down unless a quorum supports us; FAR while one does.
    pub(crate) lost: Tick,
    /// Who hears of entries only once they are committed.
    pub(crate) spares: Spares,
}

/// Followers that are spared: a quorum does without them. A bit per peer, by its place in the list.
///
/// `until` is FAR exactly when nobody is spared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spares {
    pub(crate) who: u64,
    /// Since when they are, and when they are needed after all.
    pub(crate) since: Tick,
    pub(crate) until: Tick,
    /// What the slowest of the last commits without them took.
    pub(crate) trip: Tick,
    /// So many more entries leave for everybody.
    pub(crate) rest: u32,
    /// So many will, when a quorum next takes too long.
    pub(crate) next_rest: u32,
    /// So many more may leave for a quorum; then one leaves for everybody, to see who is quick now.
    pub(crate) left: u32,
}

impl Lead {
    pub(crate) fn new(term_start: Index) -> Lead {
        Lead {
            peers: Vec::new(),
            term_start,
            pending_conf: term_start,
            rounds: Vec::new(),
            transfer: None,
            beat: Tick::FAR,
            stuck: Tick::FAR,
            lost: Tick::FAR,
            spares: Spares {
                who: 0,
                since: Tick::ZERO,
                until: Tick::FAR,
                trip: FIRST_TRIP,
                rest: 0,
                next_rest: REST.0,
                left: MOST_SPARED,
            },
        }
    }

    /// Makes the peers those of `members` (without `own`), keeping what is known of those that stay. Returns those that
    /// are gone.
    pub(crate) fn set_members(&mut self, members: &[Member], own: ReplicaId, last: Index, now: Tick) -> Vec<Member> {
        let gone = self.peers.iter().map(|p| p.member).filter(|m| !members.contains(m)).collect();
        self.peers.retain(|p| members.contains(&p.member));
        for m in members.iter().filter(|m| m.replica != own) {
            if let Err(at) = self.peers.binary_search_by_key(&m.replica, |p| p.member.replica) {
                self.peers.insert(at, Progress::new(*m, last, now));
            }
        }
        self.peers.shrink_to_fit();
        // their places have changed
        self.spares.end();
        gone
    }

    /// A peer's place in the list.
    pub(crate) fn position(&self, replica: ReplicaId) -> Option<usize> {
        // three or five peers: a walk beats halving
        self.peers.iter().position(|p| p.member.replica == replica)
    }

    pub(crate) fn peer(&self, replica: ReplicaId) -> Option<&Progress> {
        self.position(replica).map(|at| &self.peers[at])
    }

    /// Up to where everybody who keeps up was sent the log.
    pub(crate) fn sent_to_all(&self, last: Index) -> Index {
        let keeping_up = self.peers.iter().filter(|p| p.feed == Feed::Replicate);
        keeping_up.map(|p| p.next.prev()).min().unwrap_or(last)
    }

    /// Gives back what only a busy leader needs.
    pub(crate) fn rest(&mut self) {
        self.peers.iter_mut().for_each(Progress::rest);
        if self.rounds.is_empty() && self.rounds.capacity() > 0 {
            self.rounds = Vec::new();
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.peers.capacity() * size_of::<Progress>()
            + self.peers.iter().map(Progress::heap_bytes).sum::<usize>()
            + self.rounds.capacity() * size_of::<Round>()
    }
}

impl Spares {
    /// Is the peer at this place spared?
    pub(crate) fn has(&self, at: usize) -> bool {
        at < u64::BITS as usize && self.who >> at & 1 == 1
    }

    /// From now on these are, until there is a commit, or none in three times what one takes.
    pub(crate) fn begin(&mut self, who: u64, now: Tick) {
        let patience = Tick(self.trip.0 * 3).max(PATIENCE.0).min(PATIENCE.1);
        (self.who, self.since, self.until) = (who, now, now + patience);
    }

    /// One more entry: may it leave for a quorum only?
    pub(crate) fn may_begin(&mut self) -> bool {
        if self.rest == 0 && self.left == 0 {
            (self.rest, self.next_rest, self.left) = (1, REST.0, MOST_SPARED);
        }
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        self.left -= 1;
        true
    }

    /// A commit without them took this long.
    pub(crate) fn took(&mut self, trip: Tick) {
        self.trip = trip.max(Tick(self.trip.0 - self.trip.0 / 8));
    }

    /// The quorum takes too long: nobody is spared for a while.
    pub(crate) fn give_up(&mut self) {
        self.end();
        (self.rest, self.left) = (self.next_rest, MOST_SPARED);
        self.next_rest = (self.next_rest * 2).min(REST.1);
    }

    /// Nobody is any more.
    pub(crate) fn end(&mut self) {
        (self.who, self.until) = (0, Tick::FAR);
    }
}

impl Progress {
    pub(crate) fn state(&self) -> PeerState {
        PeerState {
            member: self.member,
            matched: self.matched,
            snapshot: matches!(self.feed, Feed::Snapshot { .. }),
            heard: self.heard,
            fortified: self.fortified.map(|f| f.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spares() -> Spares {
        Lead::new(Index(1)).spares
    }

    #[test]
    fn whoever_is_spared_has_a_bit() {
        let mut s = spares();
        s.begin(1 << 63 | 0b101, Tick::ms(7));
        let who: Vec<usize> = (0..200).filter(|at| s.has(*at)).collect();
        assert_eq!(who, [0, 2, 63]);
        s.end();
        assert!((0..200).all(|at| !s.has(at)) && s.until == Tick::FAR);
    }

    #[test]
    fn patience_is_three_of_the_slowest_trips_within_bounds() {
        let patience = |trips: &[u64]| {
            let mut s = spares();
            trips.iter().for_each(|ms| s.took(Tick::ms(*ms)));
            s.begin(1, Tick::ms(100));
            s.until.since(Tick::ms(100)) / 1000
        };
        assert_eq!(patience(&[]), 15_000, "three times the first guess");
        assert_eq!(patience(&[8]), 24_000);
        assert_eq!(patience(&[8, 1]), 21_000, "a quick one takes an eighth off");
        assert_eq!(patience(&[400]), 50_000, "nobody is waited for longer");
        assert_eq!(patience(&[1; 40]), 10_000, "nor given up sooner");
    }

    #[test]
    fn every_so_often_an_entry_leaves_for_everybody() {
        let mut s = spares();
        let mut begun = |n: usize| (0..n).filter(|_| s.may_begin()).count();
        assert_eq!(begun(64), 64);
        assert_eq!(begun(1), 0, "one for everybody");
        assert_eq!((begun(64), begun(1)), (64, 0));
        s.rest = 3;
        assert_eq!((0..67).filter(|_| s.may_begin()).count(), 64, "after a rest");
        assert!(!s.may_begin() && s.may_begin());
    }

    #[test]
    fn who_gives_up_again_soon_rests_longer() {
        let mut s = spares();
        let mut rest = |well: usize| {
            assert_eq!((0..well).filter(|_| s.may_begin()).count(), well);
            s.begin(1, Tick::ms(7));
            s.give_up();
            assert!(!s.has(0) && s.until == Tick::FAR);
            (0..1000).take_while(|_| !s.may_begin()).count()
        };
        assert_eq!(rest(0), 8);
        assert_eq!(rest(10), 16, "the one that began after the rest is the last of eleven");
        assert_eq!((rest(62), rest(0), rest(0)), (32, 64, 64), "no longer than that");
        assert_eq!(rest(63), 64, "63 and the one that began after the rest, and not yet a 65th");
    }

    #[test]
    fn who_fares_well_for_long_enough_rests_shortly_again() {
        let mut s = spares();
        (0..5).for_each(|_| s.give_up());
        assert_eq!((s.rest, s.next_rest), (64, 64));
        assert_eq!((0..64 + 64).filter(|_| s.may_begin()).count(), 64);
        assert_eq!(s.next_rest, 64);
        assert!(!s.may_begin(), "one for everybody");
        s.give_up();
        assert_eq!((s.rest, s.next_rest), (8, 16));
    }
}

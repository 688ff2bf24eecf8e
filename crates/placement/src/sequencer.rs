//! The sequencer: issues revisions below a replicated ceiling, to each node in the order of its fetches.

use base::{Incarnation, Revision, StoreId, Term, Tick, limits, marker};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;

/// "Everything that arrived here before I sent this": how many numbers it needs; 0 only asks what is current.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetch {
    pub store: StoreId,
    pub incarnation: Incarnation,
    /// The node's own count of fetches, from 1.
    pub seq: u64,
    /// The oldest of its fetches that it has no reply to: tells a new sequencer where to begin.
    pub oldest: u64,
    pub take: u64,
}

/// The numbers `first .. first + take`, all issued after the fetch was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetched {
    pub seq: u64,
    /// Of the sequencer: a node takes nothing older than it has taken.
    pub term: Term,
    /// The first of the numbers; when none was asked for, the number that would come next.
    pub first: Revision,
    pub compacted: Revision,
}

impl fmt::Display for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fetch {}/{} seq={} oldest={} take={}",
            self.store, self.incarnation, self.seq, self.oldest, self.take
        )
    }
}
impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fetched seq={} first={} term={} compacted={}", self.seq, self.first, self.term, self.compacted)
    }
}

/// Replies for one node.
pub type Served = (StoreId, Fetched);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Client {
    incarnation: Incarnation,
    next: u64,
    /// The last replies of this term, newest last.
    replies: VecDeque<Fetched>,
    /// Asked for and not served yet, by seq.
    waiting: BTreeMap<u64, Fetch>,
}

/// Is it issuing?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A first raise must commit.
    Opening,
    Open,
    /// A lower ceiling was proposed: nothing is issued until a raise has committed.
    Closing,
}

/// A counter in the memory of the meta range's leader. Lives as long as that leadership.
///
/// Invariants: `last <= ceiling`; nothing is issued unless open; a node's fetches are served in order, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequencer {
    term: Term,
    phase: Phase,
    /// The last number that may have been issued.
    last: Revision,
    /// Committed.
    ceiling: Revision,
    /// Proposed and not yet committed.
    asked: Option<Revision>,
    /// Numbers per raise.
    stride: u64,
    raised_at: Tick,
    issued_since: u64,
    clients: BTreeMap<StoreId, Client>,
}

const MIN_STRIDE: u64 = 64;
const MAX_STRIDE: u64 = 1 << 20;
/// A raise is an entry of its own, with its frames and its fsync: at ten milliseconds it was every third entry.
const RAISE_EVERY: Tick = Tick::ms(50);

impl Sequencer {
    /// Starts for a leader of this term, above everything the ceiling allows to have been issued.
    pub fn new(term: Term, ceiling: Revision) -> Sequencer {
        Sequencer {
            term,
            phase: Phase::Opening,
            last: ceiling,
            ceiling,
            asked: None,
            stride: MIN_STRIDE,
            raised_at: Tick::ZERO,
            issued_since: 0,
            clients: BTreeMap::new(),
        }
    }

    /// The largest number that may have been issued.
    pub fn last(&self) -> Revision {
        self.last
    }

    /// May it issue now?
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Will it never issue anything again?
    pub fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// A node asks. Served by the next `serve`.
    pub fn ask(&mut self, fetch: Fetch) {
        let client = self.clients.entry(fetch.store).or_insert_with(|| Client {
            incarnation: fetch.incarnation,
            next: fetch.oldest,
            replies: VecDeque::new(),
            waiting: BTreeMap::new(),
        });
        if fetch.incarnation < client.incarnation {
            marker!("sequencer.fetch of an earlier life");
            return;
        }
        if fetch.incarnation > client.incarnation {
            marker!("sequencer.node restarted");
            *client = Client {
                incarnation: fetch.incarnation,
                next: fetch.oldest,
                replies: VecDeque::new(),
                waiting: BTreeMap::new(),
            };
        }
        // A reply taken from an earlier sequencer is not asked for again.
        client.next = client.next.max(fetch.oldest);
        client.waiting.insert(fetch.seq, fetch);
    }

    /// Serves what can be served, in order; the caller leases the replies. `compacted` comes from the same state.
    pub fn serve(&mut self, compacted: Revision, out: &mut Vec<Served>) {
        if self.phase != Phase::Open {
            return;
        }
        let (last, ceiling, term) = (&mut self.last, self.ceiling, self.term);
        for (store, client) in &mut self.clients {
            while let Some((&seq, &fetch)) = client.waiting.first_key_value() {
                if seq > client.next {
                    marker!("sequencer.fetch out of order waits");
                    break;
                }
                if seq < client.next {
                    client.waiting.remove(&seq);
                    if let Some(r) = client.replies.iter().find(|r| r.seq == seq) {
                        marker!("sequencer.reply repeated");
                        let mut again = *r;
                        if base::bug!("fetch-repeat-issues-anew") {
                            again.first = last.next();
                            last.0 += fetch.take;
                        }
                        out.push((*store, again));
                    }
                    continue;
                }
                if last.0 + fetch.take > ceiling.0 {
                    marker!("sequencer.waits for the ceiling");
                    if !base::bug!("issue-above-ceiling") {
                        break;
                    }
                }
                let reply = Fetched { seq, term, first: last.next(), compacted };
                last.0 += fetch.take;
                self.issued_since += fetch.take;
                client.waiting.remove(&seq);
                client.next = seq + 1;
                client.replies.push_back(reply);
                if client.replies.len() > limits::MAX_FETCHES * 2 {
                    client.replies.pop_front();
                }
                out.push((*store, reply));
            }
        }
    }

    /// Should a raise be proposed now? Returns the new ceiling; the caller proposes it and calls `proposed`.
    pub fn wants_raise(&mut self, now: Tick) -> Option<Revision> {
        if self.asked.is_some() || self.phase == Phase::Closing {
            return None;
        }
        let wanted: u64 = self.clients.values().flat_map(|c| c.waiting.values()).map(|f| f.take).sum();
        let room = self.ceiling.0 - self.last.0;
        if self.phase == Phase::Open && room >= wanted && room >= self.stride / 2 {
            return None;
        }
        // About so much of what is being issued: a crash may burn twice that, and no more.
        let elapsed = now.since(self.raised_at).max(1);
        let rate = self.issued_since.saturating_mul(RAISE_EVERY.0) / elapsed;
        self.stride = (rate * 2).clamp(MIN_STRIDE, MAX_STRIDE).max(self.stride / 2);
        Some(Revision(self.last.0 + wanted + self.stride))
    }

    /// This ceiling was proposed.
    pub fn proposed(&mut self, ceiling: Revision, now: Tick) {
        marker!("sequencer.raise proposed");
        self.asked = Some(ceiling);
        self.raised_at = now;
        self.issued_since = 0;
    }

    /// The proposal of a ceiling was refused (leadership is being handed over, say): it may be wanted again. A sequencer
    /// that was closing issues nothing all the same: the proposal of a lower ceiling is not known to be lost for ever.
    pub fn refused(&mut self, ceiling: Revision) {
        if self.asked == Some(ceiling) && !base::bug!("refused-ceiling-blocks-the-next") {
            marker!("sequencer.raise refused");
            self.asked = None;
        }
    }

    /// A ceiling was committed (by this leadership).
    pub fn committed(&mut self, ceiling: Revision) {
        if self.asked == Some(ceiling) {
            self.asked = None;
        }
        if self.phase == Phase::Closing {
            if ceiling < self.last {
                return;
            }
            marker!("sequencer.lowered");
        } else {
            marker!("sequencer.raised");
            self.phase = Phase::Open;
        }
        self.ceiling = ceiling;
        assert!(self.last <= self.ceiling, "issued {} above the ceiling {}", self.last, self.ceiling);
    }

    /// An orderly end: from now on nothing is issued. Returns the ceiling to propose: the last number issued.
    pub fn close(&mut self) -> Option<Revision> {
        if self.phase != Phase::Open || self.asked.is_some() {
            return None;
        }
        self.phase = Phase::Closing;
        Some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(store: u64, seq: u64, oldest: u64, take: u64) -> Fetch {
        Fetch { store: StoreId(store), incarnation: Incarnation(1), seq, oldest, take }
    }
    fn open() -> Sequencer {
        let mut s = Sequencer::new(Term(2), Revision(1));
        let c = s.wants_raise(Tick::ms(5)).unwrap();
        s.proposed(c, Tick::ms(5));
        s.committed(c);
        s
    }
    fn serve(s: &mut Sequencer) -> Vec<(u64, u64, u64)> {
        let mut out = Vec::new();
        s.serve(Revision::ZERO, &mut out);
        out.iter().map(|(st, f)| (st.0, f.seq, f.first.0)).collect()
    }

    #[test]
    fn nothing_is_issued_before_a_raise_has_committed() {
        let mut s = Sequencer::new(Term(2), Revision(41));
        s.ask(fetch(1, 1, 1, 1));
        assert_eq!(serve(&mut s), vec![]);
        let c = s.wants_raise(Tick::ms(1)).unwrap();
        s.proposed(c, Tick::ms(1));
        assert_eq!(serve(&mut s), vec![], "a proposal is not a commit");
        s.committed(c);
        assert_eq!(serve(&mut s), vec![(1, 1, 42)], "above everything the old ceiling allowed");
    }

    #[test]
    fn a_raise_that_was_refused_is_wanted_again() {
        let mut s = open();
        s.ask(fetch(1, 1, 1, 1_000));
        let c = s.wants_raise(Tick::ms(9)).unwrap();
        s.proposed(c, Tick::ms(9));
        assert_eq!(s.wants_raise(Tick::ms(10)), None, "one at a time");
        s.refused(c);
        let again = s.wants_raise(Tick::ms(11)).expect("or nothing would ever be issued again");
        s.proposed(again, Tick::ms(11));
        s.refused(Revision(again.0 + 1));
        assert_eq!(s.wants_raise(Tick::ms(12)), None, "another one was refused");
        s.committed(again);
        assert_eq!(serve(&mut s), vec![(1, 1, 2)]);
    }

    #[test]
    fn a_nodes_fetches_are_served_in_order_and_repeated_unchanged() {
        let mut s = open();
        s.ask(fetch(1, 2, 1, 3));
        assert_eq!(serve(&mut s), vec![], "the first one is missing");
        s.ask(fetch(1, 1, 1, 2));
        assert_eq!(serve(&mut s), vec![(1, 1, 2), (1, 2, 4)]);
        s.ask(fetch(1, 2, 2, 3));
        assert_eq!(serve(&mut s), vec![(1, 2, 4)], "the same numbers again");
        s.ask(fetch(2, 7, 7, 0));
        assert_eq!(serve(&mut s), vec![(2, 7, 7)], "another node, what is current");
    }

    #[test]
    fn the_ceiling_holds_and_closing_stops() {
        let mut s = open();
        s.ask(fetch(1, 1, 1, 1_000));
        assert_eq!(serve(&mut s), vec![], "more than the ceiling allows");
        let c = s.wants_raise(Tick::ms(9)).unwrap();
        assert!(c.0 > 1_001);
        s.proposed(c, Tick::ms(9));
        s.committed(c);
        assert_eq!(serve(&mut s), vec![(1, 1, 2)]);
        assert_eq!(s.close(), Some(Revision(1_001)));
        s.ask(fetch(1, 2, 2, 1));
        assert_eq!(serve(&mut s), vec![], "closing issues nothing");
    }

    #[test]
    fn a_restarted_node_begins_anew() {
        let mut s = open();
        s.ask(fetch(1, 5, 5, 1));
        assert_eq!(serve(&mut s), vec![(1, 5, 2)]);
        s.ask(Fetch { incarnation: Incarnation(2), ..fetch(1, 1, 1, 1) });
        assert_eq!(serve(&mut s), vec![(1, 1, 3)]);
        s.ask(fetch(1, 6, 6, 1));
        assert_eq!(serve(&mut s), vec![], "a fetch of its earlier life");
    }

    #[cfg(feature = "museum")]
    #[test]
    fn each_of_these_tests_fails_when_its_bug_is_planted() {
        base::museum::each_is_noticed(&[("refused-ceiling-blocks-the-next", a_raise_that_was_refused_is_wanted_again)]);
    }
}

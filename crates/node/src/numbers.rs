//! Fetching revisions: one fetch for everything that arrived before it is sent, a few under way, replies taken in
//! order and once (protocols §3).

use base::{Incarnation, RangeId, Revision, StoreId, Term, Tick, limits, marker};
use placement::{Fetch, Fetched};
use range::ReadAsk;
use std::collections::VecDeque;

/// An evaluated command that wants its place in the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Item {
    pub range: RangeId,
    pub term: Term,
    pub seq: u64,
    /// Does it take a number of its own?
    pub own: bool,
}

/// Who waits for "what is current, as of after I asked".
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Wait {
    /// A read at this range's leader, here.
    Read(RangeId, ReadAsk),
    /// A command at the front of a queue that names a revision.
    Front(RangeId, Term, u64),
    /// A call that this node coordinates.
    Call(base::CallId),
    /// This life of the node: what earlier ones showed is not above it.
    Life,
}

/// A fetch under way.
struct Flight {
    fetch: Fetch,
    sent_at: Tick,
    /// What was known to be issued when it was first sent: its numbers are larger.
    known: Revision,
    items: Vec<Item>,
    waits: Vec<Wait>,
    reply: Option<Fetched>,
}

/// What a fetch brought, to be given out in order.
pub(crate) struct Landed {
    pub fetched: Fetched,
    pub items: Vec<Item>,
    pub waits: Vec<Wait>,
}

/// This node's side of the sequencer.
pub(crate) struct Fetches {
    store: StoreId,
    incarnation: Incarnation,
    next: u64,
    flying: VecDeque<Flight>,
    items: Vec<Item>,
    waits: Vec<Wait>,
    /// Of the sequencer whose reply was taken last.
    term: Term,
    sent_to: Option<StoreId>,
    resend: bool,
    /// Patience with the store that was asked is over.
    unanswered: bool,
}

/// Patience for a lost fetch or reply.
const RESEND_AFTER: Tick = Tick::ms(60);

impl Fetches {
    pub fn new(store: StoreId, incarnation: Incarnation) -> Fetches {
        Fetches {
            store,
            incarnation,
            // A late reply to a fetch of an earlier life must not meet a fetch of this one.
            next: (incarnation.0 << 32) + 1,
            flying: VecDeque::new(),
            items: Vec::new(),
            waits: Vec::new(),
            term: Term(0),
            sent_to: None,
            resend: false,
            unanswered: false,
        }
    }

    /// Was a reply waited for in vain since the last sending?
    pub fn is_unanswered(&self) -> bool {
        self.unanswered
    }

    /// Who was asked last.
    pub fn sent_to(&self) -> Option<StoreId> {
        self.sent_to
    }

    /// How many wait for an X or a number.
    pub fn waiting(&self) -> usize {
        self.waits.len() + self.flying.iter().map(|f| f.waits.len()).sum::<usize>()
    }

    /// Reads whose time is over; nobody waits for them any more.
    pub fn drop_late(&mut self, now: Tick) -> Vec<ReadAsk> {
        let mut late = Vec::new();
        let waits = self.flying.iter_mut().map(|f| &mut f.waits).chain([&mut self.waits]);
        for list in waits {
            list.retain(|w| match w {
                Wait::Read(_, ask) if now >= ask.deadline => {
                    late.push(ask.clone());
                    false
                }
                _ => true,
            });
        }
        late
    }

    /// This evaluation takes part in the next fetch.
    pub fn want(&mut self, range: RangeId, term: Term, seq: u64, own: bool) {
        self.items.push(Item { range, term, seq, own });
    }

    /// The front of this range's queue needs to know what is current.
    pub fn want_bounds(&mut self, range: RangeId, term: Term, front: u64) {
        let wait = Wait::Front(range, term, front);
        if !self.waits.contains(&wait) && !self.flying.iter().any(|f| f.waits.contains(&wait)) {
            self.waits.push(wait);
        }
    }

    /// A read wants its X.
    pub fn want_x(&mut self, wait: Wait) {
        self.waits.push(wait);
    }

    /// The last fetch whose numbers are known.
    pub fn taken(&self) -> u64 {
        self.flying.front().map_or(self.next, |f| f.fetch.seq) - 1
    }

    /// The last fetch that was sent.
    pub fn sent(&self) -> u64 {
        self.next - 1
    }

    /// Every number that is still to come is larger than this: nothing under way was sent before it was known.
    pub fn known_before(&self) -> Revision {
        self.flying.front().map_or(Revision::MAX, |f| f.known)
    }

    /// Is anything waiting to be sent or answered?
    pub fn next_wake(&self) -> Tick {
        self.flying.front().map_or(Tick::FAR, |f| f.sent_at + RESEND_AFTER)
    }

    pub fn pass_time(&mut self, now: Tick) {
        if let Some(f) = self.flying.front_mut().filter(|f| now >= f.sent_at + RESEND_AFTER) {
            // Also when there is nobody to send to: the next look is not due before that time.
            f.sent_at = now;
            self.resend = true;
            self.unanswered = true;
        }
    }

    /// The way to the sequencer broke: everything under way is sent again.
    pub fn path_changed(&mut self) {
        self.resend = true;
    }

    /// What is to be sent to the sequencer now: new fetches, or all under way again, unchanged and in order.
    pub fn take_unsent(&mut self, to: Option<StoreId>, known: Revision, now: Tick) -> Vec<Fetch> {
        if self.sent_to != to {
            self.sent_to = to;
            self.resend = true;
        }
        let mut out = Vec::new();
        if to.is_none() {
            return out;
        }
        let oldest = self.flying.front().map_or(self.next, |f| f.fetch.seq);
        self.unanswered = false;
        if self.resend {
            self.resend = false;
            for f in &mut self.flying {
                marker!("fetch.sent again");
                f.sent_at = now;
                if f.reply.is_none() {
                    out.push(Fetch { oldest, ..f.fetch });
                }
            }
        }
        let something = !self.items.is_empty() || !self.waits.is_empty();
        if something && self.flying.len() < limits::MAX_FETCHES {
            let take = self.items.iter().filter(|i| i.own).count() as u64;
            let fetch = Fetch { store: self.store, incarnation: self.incarnation, seq: self.next, oldest, take };
            self.next += 1;
            let (items, waits) = (std::mem::take(&mut self.items), std::mem::take(&mut self.waits));
            self.flying.push_back(Flight { fetch, sent_at: now, known, items, waits, reply: None });
            out.push(fetch);
        }
        out
    }

    /// A reply came in. What can be given out now, in order.
    pub fn land(&mut self, fetched: Fetched) -> Vec<Landed> {
        if fetched.term < self.term && !base::bug!("numbers-of-an-older-sequencer") {
            marker!("fetch.reply of an older sequencer");
            return Vec::new();
        }
        let mut out = Vec::new();
        if let Some(f) = self.flying.iter_mut().find(|f| f.fetch.seq == fetched.seq) {
            f.reply = Some(match f.reply {
                Some(r) if r.term >= fetched.term => r,
                _ => fetched,
            });
        }
        while let Some(reply) = self.flying.front().and_then(|f| f.reply) {
            if reply.term < self.term && !base::bug!("numbers-of-an-older-sequencer") {
                // A newer sequencer was heard meanwhile: this number may lie above one it issues later.
                marker!("fetch.reply overtaken by a newer sequencer");
                if let Some(f) = self.flying.front_mut() {
                    f.reply = None;
                }
                self.resend = true;
                break;
            }
            self.term = reply.term;
            if let Some(f) = self.flying.pop_front() {
                out.push(Landed { fetched: reply, items: f.items, waits: f.waits });
            }
        }
        out
    }
}

/// The X of whoever waited in this batch: everything issued before it.
pub(crate) fn x_of(fetched: &Fetched) -> Revision {
    fetched.first.prev()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(seq: u64, term: u64, first: u64) -> Fetched {
        Fetched { seq: (1 << 32) + seq, term: Term(term), first: Revision(first), compacted: Revision::ZERO }
    }
    fn fetches() -> Fetches {
        Fetches::new(StoreId(1), Incarnation(1))
    }

    #[test]
    fn replies_are_taken_in_order_and_once() {
        let mut f = fetches();
        f.want(RangeId(2), Term(1), 1, true);
        assert_eq!(f.take_unsent(Some(StoreId(2)), Revision::ZERO, Tick::ms(0)).len(), 1);
        f.want(RangeId(2), Term(1), 2, true);
        assert_eq!(f.take_unsent(Some(StoreId(2)), Revision::ZERO, Tick::ms(0)).len(), 1);
        assert!(f.land(fetched(2, 1, 6)).is_empty(), "the first is missing");
        let landed = f.land(fetched(1, 1, 5));
        assert_eq!(landed.iter().map(|l| l.fetched.first.0).collect::<Vec<_>>(), [5, 6]);
        assert!(f.land(fetched(1, 1, 5)).is_empty(), "once");
        assert_eq!(f.taken(), (1 << 32) + 2);
    }

    #[test]
    fn an_older_sequencer_is_not_heard() {
        let mut f = fetches();
        for seq in 1..=2 {
            f.want(RangeId(2), Term(1), seq, true);
            f.take_unsent(Some(StoreId(2)), Revision::ZERO, Tick::ms(0));
        }
        assert_eq!(f.land(fetched(1, 7, 100)).len(), 1);
        assert!(f.land(fetched(2, 6, 50)).is_empty());
        assert_eq!(f.land(fetched(2, 7, 101)).len(), 1);
    }

    #[test]
    fn everything_under_way_is_sent_again_unchanged() {
        let mut f = fetches();
        f.want(RangeId(2), Term(1), 1, true);
        let first = f.take_unsent(Some(StoreId(2)), Revision::ZERO, Tick::ms(0));
        f.pass_time(Tick::ms(100));
        assert_eq!(f.take_unsent(Some(StoreId(2)), Revision::ZERO, Tick::ms(100)), first);
        assert_eq!(f.take_unsent(Some(StoreId(3)), Revision::ZERO, Tick::ms(101)), first, "another sequencer");
        assert!(f.take_unsent(Some(StoreId(3)), Revision::ZERO, Tick::ms(102)).is_empty());
    }
}

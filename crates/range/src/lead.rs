//! What a replica keeps while it leads: the queue, the evaluated commands, the overlay, the waiting reads. All of it
//! is memory; losing leadership drops it.

use crate::ask::{Command, Origin, ReadAsk};
use crate::pace::Pace;
use crate::sink::Ready;
use base::{Index, Result, Revision, Span, Term};
use mvcc::{Bounds, CountIndex, Effects, OpenReply, Overlay, Reply};
use placement::Sequencer;
use raft::ReadRound;
use std::collections::VecDeque;

/// A reply on its way to being known.
pub(crate) enum Answering {
    Open(OpenReply),
    Known(Reply),
}

impl Answering {
    /// Every number it names is known now.
    pub fn fill(&mut self, number: &dyn Fn(u64) -> Revision) {
        if let Answering::Open(open) = self {
            let reply = open.clone().fill(number);
            *self = Answering::Known(reply);
        }
    }
    /// What the client is told.
    pub fn known(self) -> Reply {
        match self {
            Answering::Known(r) => r,
            Answering::Open(open) => open.fill(&|seq| Revision::pending(seq)),
        }
    }
}

/// An evaluated command with effects.
pub(crate) struct Pending {
    pub seq: u64,
    pub command: Command,
    pub effects: Effects,
    /// Open until the number is known, then what the client is told.
    pub reply: Answering,
    /// The lowest evaluation without a number when this one was evaluated.
    pub floor: u64,
    pub number: Option<Revision>,
    /// The entry that carries it.
    pub appended: Option<Index>,
}

/// A command that turned out to change nothing, or to be refused by the state it met: it takes part in numbering with
/// weight 0, because its answer describes the effects before it.
pub(crate) struct Unchanging {
    pub seq: u64,
    pub command: Command,
    pub reply: Result<Answering>,
    /// What it looked at.
    pub spans: Vec<Span>,
    pub floor: u64,
    pub x: Option<Revision>,
}

/// An answer waiting for a quorum round instead of a lease.
pub(crate) type Proving<V> = (ReadRound, Ready<V>);

/// The numbers that evaluations got, by sequence number, as far back as an unnumbered evaluation may refer.
#[derive(Default)]
pub(crate) struct Numbers {
    first: u64,
    known: VecDeque<Revision>,
}

impl Numbers {
    /// The sequence number that gets a number next.
    pub fn next_seq(&self) -> u64 {
        self.first + self.known.len() as u64
    }
    /// Evaluation `seq` got this number; they come in order.
    pub fn push(&mut self, seq: u64, revision: Revision) {
        if self.known.is_empty() {
            self.first = seq;
        }
        assert_eq!(seq, self.next_seq(), "numbers are given in evaluation order");
        self.known.push_back(revision);
    }
    /// The number of `seq`; it is known to whoever was evaluated after it and numbered before now.
    pub fn get(&self, seq: u64) -> Revision {
        self.known[(seq - self.first) as usize]
    }
    /// Forgets what nobody can refer to any more.
    pub fn forget_below(&mut self, seq: u64) {
        while self.first < seq && self.known.len() > 1 {
            self.known.pop_front();
            self.first += 1;
        }
    }
}

/// Memory of one leadership.
pub(crate) struct Leading<V> {
    pub term: Term,
    /// The leader's own first entry: nothing is served before it is in the engine.
    pub first: Index,
    pub queue: VecDeque<Command>,
    /// What the front of the queue asked for: `current` and `compacted`, fetched after it arrived.
    pub bounds: Option<Bounds>,
    /// How many commands have left the front of the queue: names the one that is there.
    pub front: u64,
    pub pending: VecDeque<Pending>,
    pub results: VecDeque<Unchanging>,
    /// Evaluations no fetch was sent for yet, in order: sequence number, and whether it needs a number of its own.
    pub unfetched: Vec<(u64, bool)>,
    pub numbers: Numbers,
    /// How many at the end of `pending` are in no entry yet.
    pub unappended: usize,
    pub overlay: Overlay,
    /// Under which its notes of what is in the engine count.
    pub owner: mvcc::heads::Owner,
    /// Live keys by blocks, as far as readers have walked; begins when serving does.
    pub counts: Option<CountIndex>,
    /// The next evaluation's sequence number.
    pub next_seq: u64,
    /// Entries not yet in the engine: (index, largest revision), for finding out what a read waits for.
    pub entries: VecDeque<(Index, Revision)>,
    pub pace: Pace,
    pub reads: Vec<ReadAsk>,
    pub proving: Vec<Proving<V>>,
    /// Answers whose lease was over: they share the next round.
    pub unproved: Vec<Ready<V>>,
    /// Range 1 only.
    pub meta: Option<MetaLead>,
}

/// What leading the meta range takes beyond leading a range.
pub(crate) struct MetaLead {
    pub sequencer: Sequencer,
    /// Committed.
    pub compacted: Revision,
    /// Proposed: which entry carries the ceiling.
    pub raise: Option<(Index, Revision)>,
    /// Proposed: who waits for which compaction in which entry.
    pub compactions: VecDeque<(Index, Revision, Origin)>,
}

impl MetaLead {
    /// Is everything that was proposed committed?
    pub fn owes_nothing(&self) -> bool {
        self.raise.is_none() && self.compactions.is_empty()
    }
}

impl<V> Leading<V> {
    pub fn new(term: Term, first: Index, owner: mvcc::heads::Owner) -> Leading<V> {
        Leading {
            term,
            first,
            queue: VecDeque::new(),
            bounds: None,
            front: 0,
            pending: VecDeque::new(),
            results: VecDeque::new(),
            unfetched: Vec::new(),
            numbers: Numbers::default(),
            unappended: 0,
            overlay: Overlay::default(),
            owner,
            counts: None,
            next_seq: 1,
            entries: VecDeque::new(),
            pace: Pace::new(),
            reads: Vec::new(),
            proving: Vec::new(),
            unproved: Vec::new(),
            meta: None,
        }
    }

    /// About how much memory waits here.
    pub fn weight(&self) -> i64 {
        let queued: i64 = self.queue.iter().map(Command::weight).sum();
        let pending: i64 = self.pending.iter().map(|p| p.command.weight()).sum();
        let results: i64 = self.results.iter().map(|r| r.command.weight()).sum();
        queued + pending + results + crate::ask::READ_WEIGHT * self.reads.len() as i64
    }

    /// The front of the queue is dealt with; what it asked for was for it alone.
    pub fn front_left(&mut self) {
        self.front += 1;
        if !base::bug!("bounds-of-another-command") {
            self.bounds = None;
        }
    }
}

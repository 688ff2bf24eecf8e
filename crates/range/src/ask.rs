//! What a range can be asked, who asked, and what it answers.

use base::{CallId, Error, RangeId, Result, Revision, Span, StoreId, Term, Tick};
use mvcc::{Captured, CountPlan, Learned, RangeReply, RangeReq, Reply, Request, TxnReq};
use std::fmt;
use std::sync::Arc;

/// Who waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// A call of a client of this node.
    Local(CallId),
    /// A call of another node: one hop.
    Remote(StoreId, CallId),
    /// One part of a call that this node coordinates.
    Part(CallId, u32),
}

/// A command that may change something.
#[derive(Clone, PartialEq, Debug)]
pub struct Command {
    pub origin: Origin,
    pub request: Arc<Request>,
    /// Not evaluated at or after this moment.
    pub deadline: Tick,
    /// When it came into this node.
    pub arrived: Tick,
}

impl Command {
    /// About how much memory it takes while it waits.
    pub fn weight(&self) -> i64 {
        weight(&self.request) as i64
    }
}

/// About how much memory a waiting read takes.
pub const READ_WEIGHT: i64 = 256;

/// About how much memory a request takes.
pub fn weight(request: &Request) -> usize {
    const BESIDE: usize = 192;
    BESIDE
        + match request {
            Request::Put(p) => p.key.bytes().len() + p.value.len(),
            Request::Range(r) => r.span.start.bytes().len() + r.span.end.bytes().len(),
            Request::Delete(d) => d.span.start.bytes().len() + d.span.end.bytes().len(),
            Request::Txn(t) => {
                let compare = |c: &mvcc::Compare| match &c.target {
                    mvcc::CompareTarget::Value(v) => BESIDE + v.len(),
                    _ => BESIDE,
                };
                t.compares.iter().map(compare).sum::<usize>()
                    + t.success.iter().chain(&t.failure).map(weight).sum::<usize>()
            }
        }
}

/// What is read at a revision.
#[derive(Clone, PartialEq, Debug)]
pub enum Spec {
    Scan(RangeReq),
    /// A transaction that can write nothing.
    Txn(TxnReq),
    /// The sum of the hashes of the logical records at the revision.
    Hash {
        span: Span,
        at: Revision,
    },
    /// Delete marks at or below the bound with nothing beneath, from a key on, looking at about so many versions. Asked
    /// by a node of itself.
    Marks {
        span: Span,
        from: base::Key,
        bound: Revision,
        most: usize,
    },
    /// Nothing is read; what is wanted is the range's commit index once everything at or below X is committed.
    Settle {
        span: Span,
    },
}

/// A read that knows its X.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadAsk {
    pub origin: Origin,
    pub spec: Spec,
    /// Issued after the read arrived.
    pub x: Revision,
    pub compacted: Revision,
    /// Numbers of this node's fetches up to this one may still turn out to be at or below X.
    pub fetches: u64,
    /// Not admitted at or after this moment.
    pub deadline: Tick,
}

/// The answer to one part or call.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    Kv(Reply),
    Compacted,
    Hash {
        hash: u64,
        compacted: Revision,
    },
    /// What one look for dead delete marks found.
    Marks(mvcc::DeadMarks),
    /// Applied up to here, a replica holds everything at or below X.
    Settled {
        index: base::Index,
    },
}

/// An answer with the revision it speaks of.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub revision: Revision,
    pub answer: Answer,
}

/// What a lease must prove: nobody else led this range in this term's stead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proof {
    pub range: RangeId,
    pub term: Term,
    pub until: Tick,
}

/// Whose count index learns from a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lesson {
    pub range: RangeId,
    pub term: Term,
}

/// Reads from frozen state; carried out by the reader pool.
pub struct ReadTask<V> {
    pub origin: Origin,
    pub spec: Spec,
    pub x: Revision,
    pub compacted: Revision,
    pub view: Arc<V>,
    pub captured: Captured,
    /// How to count without walking over everything, made when the overlay was captured.
    pub plan: Option<(Lesson, CountPlan)>,
    /// Keeps the versions it needs from being compacted while it lives.
    pub pin: Arc<Revision>,
    /// For asking again, elsewhere or later.
    pub deadline: Tick,
}

impl<V: engine::Read> ReadTask<V> {
    /// Reads. Runs on a reader thread: no step, no lock.
    pub fn run(&self) -> Result<Outcome> {
        self.run_learning().0
    }

    /// Reads, and says what the count index can learn from it.
    pub fn run_learning(&self) -> (Result<Outcome>, Option<(Lesson, Learned)>) {
        let mut lesson = None;
        let answer = self.answer(&mut lesson);
        (answer.map(|answer| Outcome { revision: self.x, answer }), lesson)
    }

    /// Reads one key if that needs no disk: cheap enough for the thread that serves the client. `None`: not so.
    pub fn run_from_memory(&self) -> Option<Result<Outcome>> {
        let Spec::Scan(r) = &self.spec else { return None };
        if !r.span.is_point() {
            return None;
        }
        let source = mvcc::Source::new(&*self.view, &self.captured).without_waiting();
        let at = if r.revision == Revision::ZERO { self.x } else { r.revision };
        match mvcc::read(&source, r, at) {
            Err(e) if e.kind == base::Kind::Retry => None,
            result => Some(result.map(|r| Outcome { revision: self.x, answer: Answer::Kv(Reply::Range(r)) })),
        }
    }

    fn answer(&self, lesson: &mut Option<(Lesson, Learned)>) -> Result<Answer> {
        let source = mvcc::Source::new(&*self.view, &self.captured);
        Ok(match &self.spec {
            Spec::Scan(r) => Answer::Kv(Reply::Range(self.scan(&source, r, lesson)?)),
            Spec::Txn(t) => {
                let bounds = mvcc::Bounds { current: self.x, compacted: self.compacted };
                Answer::Kv(Reply::Txn(mvcc::read_txn(&source, t, bounds)?))
            }
            Spec::Hash { span, at } => {
                let hash = mvcc::hash_span(&*self.view, span, *at, self.compacted)?;
                Answer::Hash { hash, compacted: self.compacted }
            }
            Spec::Marks { span, from, bound, most } => {
                Answer::Marks(mvcc::dead_marks(&*self.view, span, *bound, from, *most)?)
            }
            Spec::Settle { .. } => return Err(Error::corrupt("a settle reads nothing")),
        })
    }

    /// The question, to be asked again.
    pub fn ask_again(self) -> ReadAsk {
        let ReadTask { origin, spec, x, compacted, deadline, .. } = self;
        ReadAsk { origin, spec, x, compacted, fetches: 0, deadline }
    }

    fn scan(
        &self,
        source: &mvcc::Source<'_, V>,
        r: &RangeReq,
        lesson: &mut Option<(Lesson, Learned)>,
    ) -> Result<RangeReply> {
        let at = if r.revision == Revision::ZERO { self.x } else { r.revision };
        let Some((whose, plan)) = &self.plan else { return mvcc::read(source, r, at) };
        let (reply, learned) = mvcc::read_counted(source, r, at, plan)?;
        if !learned.is_empty() {
            *lesson = Some((*whose, learned));
        }
        Ok(reply)
    }
}

impl Spec {
    /// Is it one key?
    pub fn is_point(&self) -> bool {
        matches!(self, Spec::Scan(r) if r.span.is_point())
    }

    /// The keys it looks at.
    pub fn spans(&self) -> Vec<Span> {
        match self {
            Spec::Scan(r) => vec![r.span.clone()],
            Spec::Hash { span, .. } | Spec::Settle { span } | Spec::Marks { span, .. } => vec![span.clone()],
            Spec::Txn(t) => {
                let mut out = Vec::new();
                Request::Txn(t.clone()).spans(&mut |s, _| out.push(s.clone()));
                out
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Local(c) => write!(f, "{c}"),
            Origin::Remote(s, c) => write!(f, "{s}/{c}"),
            Origin::Part(c, p) => write!(f, "{c}.{p}"),
        }
    }
}
impl<V> fmt::Debug for ReadTask<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read {} at {}: {:?}", self.origin, self.x, self.spec)
    }
}

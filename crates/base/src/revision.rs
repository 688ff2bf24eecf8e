//! etcd's revision: one counter for the whole cluster.
//!
//! A number that is not known yet also needs a name: the leader evaluates a command before it has fetched a revision
//! for it (protocols §4). Such a *pending* revision has the top bit set and carries the evaluation's sequence number;
//! it sorts behind every issued number and in evaluation order, which is the order in which numbers will be given.

use std::fmt;

const PENDING: u64 = 1 << 63;

/// An issued revision, or the name of one that is still pending.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// "None": what a record that never existed has.
    pub const ZERO: Revision = Revision(0);
    /// A fresh store is at 1.
    pub const FIRST: Revision = Revision(1);
    /// Behind every issued number, before every pending one.
    pub const MAX: Revision = Revision(PENDING - 1);

    /// The name of the revision that the evaluation with this sequence number will get.
    pub fn pending(seq: u64) -> Revision {
        assert!(seq < PENDING, "evaluation sequence numbers fit 63 bits");
        Revision(PENDING | seq)
    }
    /// Is the number still unknown?
    pub fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }
    /// The evaluation's sequence number, when the revision is pending.
    pub fn pending_seq(self) -> Option<u64> {
        self.is_pending().then_some(self.0 & !PENDING)
    }
    /// The next number.
    #[must_use]
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
    /// The number before; 0 stays 0.
    #[must_use]
    pub fn prev(self) -> Revision {
        Revision(self.0.saturating_sub(1))
    }
    /// As etcd's API carries it.
    pub fn to_i64(self) -> i64 {
        assert!(!self.is_pending(), "a pending revision never leaves the node: {self}");
        self.0 as i64
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pending_seq() {
            Some(seq) => write!(f, "?{seq}"),
            None => write!(f, "{}", self.0),
        }
    }
}
impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A revision that the sequencer is known to have issued: made only from sequencer replies, log entries and peers'
/// frames, never from a number a client sent (protocols §0).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Issued(Revision);

impl Issued {
    /// Only for sequencer replies, log entries and peers' frames.
    pub fn witnessed(revision: Revision) -> Issued {
        assert!(!revision.is_pending(), "a pending revision is not issued: {revision}");
        Issued(revision)
    }
    /// The number.
    pub fn get(self) -> Revision {
        self.0
    }
    /// Keep the larger.
    pub fn raise(&mut self, other: Issued) {
        self.0 = self.0.max(other.0);
    }
}

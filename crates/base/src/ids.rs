//! Identifiers. Each is a number with a name of its own, so that a term is never compared with an index.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($prefix, "{}"), self.0) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
    };
}

id!(/// A node's identity: its disk. Small numbers, 1-based.
    StoreId, "n");
id!(/// One span of keys, replicated by one Raft group. Range 1 is the meta range.
    RangeId, "r");
id!(/// One range's copy on one store. Never reused, also not after a removal.
    ReplicaId, "p");
id!(/// Raft's term.
    Term, "");
id!(/// Raft's log index; the first entry ever is 1, 0 means "none".
    Index, "");
id!(/// All processes that belong together: a hash of the initial cluster and its token.
    ClusterId, "c");
id!(/// Drawn at random when a store initialises an empty directory; a known name with another boot id lost its disk.
    BootId, "b");
id!(/// Raised durably at every start of a store, before its first beat.
    Incarnation, "i");
id!(/// Names one call of one client while it is inside this node; given out by the shell.
    CallId, "call");

impl RangeId {
    /// The meta range: stores, descriptors, ids, the sequencer, the compacted revision.
    pub const META: RangeId = RangeId(1);
}

impl Index {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }
    /// The index before this one; 0 stays 0.
    #[must_use]
    pub fn prev(self) -> Index {
        Index(self.0.saturating_sub(1))
    }
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

/// `(conf, version)` of a range descriptor: `conf` counts changes of membership, `version` changes of the span.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Epoch {
    /// Raised by the number of changes in each change of membership.
    pub conf: u64,
    /// Raised by splits and merges.
    pub version: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.conf, self.version)
    }
}

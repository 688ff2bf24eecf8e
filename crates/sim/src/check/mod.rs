//! The judges, one file per property.
//!
//! | file | judges | from |
//! |---|---|---|
//! | `revisions` | strict serializability, anchored at the revisions in the replies; every history, O(n log n) | clients and the versions on disk |
//! | `wgl` | linearizability by search, ignoring revisions; small histories | clients alone |
//! | `invariants` | what must hold after every step | inside the nodes |
//! | `liveness` | what must hold some time after a heal | both |
//!
//! `history` is what they read, `model` is what etcd's operations mean, written a second time and on purpose without
//! a line of the production code.

mod history;
mod invariants;
mod liveness;
mod model;
mod revisions;
mod text;
mod wgl;

pub use history::{Ask, History, Op, Outcome, Version};
pub use invariants::{Invariants, NodeView, RangeView};
pub use liveness::{Healed, HealedRange, check_liveness};
pub use model::{Flat, MultiVersion, Snapshot, Turn};
pub use revisions::{Summary, check_revisions};
pub use text::{dump, load};
pub use wgl::{Verdict, check_wgl};

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One rule of one checker. Each can be switched off, so that a test can show that it is needed.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Rule { $($(#[$doc])* $name,)* }
        impl Rule {
            /// All rules.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)*];
        }
    };
}

rules! {
    /// revisions: what an acknowledged write did is in the final history, at its revision, exactly.
    AckedStays,
    /// revisions: a revision belongs to one operation, an operation to one revision.
    AppliedOnce,
    /// revisions: no version without an operation that can have made it.
    NoneFromNowhere,
    /// revisions: what was answered "not done" was not done.
    RefusedLeavesNothing,
    /// revisions: branch, counts and previous values of a write are those of the state one revision before it.
    ResultsMatch,
    /// revisions: what one revision did lies in the order of its operations.
    SubOrder,
    /// revisions: a read, or a write without effect, equals the state at its header's revision.
    ReadsMatch,
    /// revisions: what returned before another began comes before it.
    RealTime,
    /// revisions: no number is left out without a crash, a change of leadership or the like at that time.
    Dense,
    /// revisions: nothing below an acknowledged compaction is served, nothing is refused without one.
    CompactionHonoured,
    /// revisions: a refusal that depends on state is true of a state of that time.
    RefusalTrue,
    /// revisions: a serializable read is not behind what the same node has already shown, in this life or before.
    NodeKeepsPace,
    /// wgl: some order of the operations explains every answer.
    Linearizable,
    /// invariants: one leader per term and range.
    OneLeaderPerTerm,
    /// invariants: a replica votes once in a term, and knows it after a restart.
    OneVotePerTerm,
    /// invariants: in true time at most one replica of a range holds its lease.
    OneLeaseHolder,
    /// invariants: replicas that have applied the same entries hold the same state.
    SameState,
    /// invariants: an index has the same term wherever it is committed.
    SameEntry,
    /// invariants: terms, commits and applied positions of a running replica never fall.
    NothingGoesBack,
    /// invariants: truncated ≤ applied ≤ committed ≤ last.
    CursorsInOrder,
    /// invariants: the spans of one node's replicas do not overlap.
    SpansDisjoint,
    /// invariants: queues stay within their bounds.
    QueuesBounded,
    /// invariants: a node to which nothing happens sleeps: it does not wake itself without end.
    NodesSleep,
    /// invariants: a version of a key is the same on every store, and comes with a number that was issued.
    SameVersion,
    /// invariants: what a node said it had written, it still has after a restart.
    DurableStays,
    /// invariants: no assertion inside a node fails.
    AssertionsHold,
    /// liveness: every client has been answered.
    AllAnswered,
    /// liveness: every range has one leader, and every replica follows it.
    OneLeaderEach,
    /// liveness: all replicas of a range have applied the same.
    AllConverged,
    /// liveness: new operations succeed.
    ServesAgain,
}

/// Which rules are judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules(u64);

impl Default for Rules {
    fn default() -> Rules {
        Rules(u64::MAX)
    }
}

impl Rules {
    /// All but this one.
    #[must_use]
    pub fn without(self, rule: Rule) -> Rules {
        Rules(self.0 & !(1 << rule as u32))
    }
    /// Is this one judged by?
    pub fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
    /// `Err` when the rule is judged by.
    pub fn broken(self, rule: Rule, text: impl FnOnce() -> String) -> Result<(), Violation> {
        if self.has(rule) { Err(Violation { rule, text: text() }) } else { Ok(()) }
    }
}

/// A rule that does not hold, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// One line for people.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.text)
    }
}

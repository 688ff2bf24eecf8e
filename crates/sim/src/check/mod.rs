//! The judges, one file per property.
//!
//! | file | judges | from |
//! |---|---|---|
//! | `revisions` | strict serializability, anchored at the revisions in the replies; every history, O(n log n) | clients and the versions on disk |
//! | `wgl` | linearizability by search, ignoring revisions; small histories | clients alone |
//! | `invariants` | what must hold after every step | inside the nodes |
//! | `liveness` | what must hold some time after a heal | both |
//!
//! A fifth has no file here: whoever runs a world (`runner`) takes an assertion that fails inside a node for a finding.
//!
//! Each rule has at least two histories that it must reject, one of which nothing else would notice; tests go through
//! all rules of each checker, so that a new one without its histories fails them.
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
    ($($checker:ident { $($(#[$doc:meta])* $name:ident,)* })*) => {
        /// Who judges.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Checker { $(#[doc = concat!("`", stringify!($checker), "`")] $checker,)* }
        impl Checker {
            /// All of them.
            pub const ALL: &'static [Checker] = &[$(Checker::$checker,)*];
        }
        /// One rule of one checker. Each can be switched off, so that a test can show that it is needed.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Rule { $($($(#[$doc])* $name,)*)* }
        impl Rule {
            /// All rules.
            pub const ALL: &'static [Rule] = &[$($(Rule::$name,)*)*];
            /// Who judges by it.
            pub fn checker(self) -> Checker {
                match self { $($(Rule::$name => Checker::$checker,)*)* }
            }
        }
    };
}

rules! {
    Revisions {
        /// What an acknowledged write did is in the final history, at its revision, exactly.
        AckedStays,
        /// A revision belongs to one operation, an operation to one revision.
        AppliedOnce,
        /// No version without an operation that can have made it.
        NoneFromNowhere,
        /// What was answered "not done" was not done.
        RefusedLeavesNothing,
        /// Branch, counts and previous values of a write are those of the state one revision before it.
        ResultsMatch,
        /// What one revision did lies in the order of its operations.
        SubOrder,
        /// A read, or a write without effect, equals the state at its header's revision.
        ReadsMatch,
        /// What returned before another began comes before it.
        RealTime,
        /// No number is left out without a crash, a change of leadership or the like at that time.
        Dense,
        /// Nothing below an acknowledged compaction is served, nothing is refused without one.
        CompactionHonoured,
        /// A refusal that depends on state is true of a state of that time.
        RefusalTrue,
        /// A serializable read is not behind what the same node has already shown, in this life or before.
        NodeKeepsPace,
    }
    Wgl {
        /// Some order of the operations explains every answer.
        Linearizable,
    }
    Invariants {
        /// One leader per term and range.
        OneLeaderPerTerm,
        /// A replica votes once in a term, and knows it after a restart.
        OneVotePerTerm,
        /// In true time at most one replica of a range holds its lease.
        OneLeaseHolder,
        /// Replicas that have applied the same entries hold the same state.
        SameState,
        /// An index has the same term wherever it is committed.
        SameEntry,
        /// Terms, commits and applied positions of a running replica never fall.
        NothingGoesBack,
        /// Truncated ≤ applied ≤ committed ≤ last.
        CursorsInOrder,
        /// The spans of one node's replicas do not overlap.
        SpansDisjoint,
        /// Queues stay within their bounds.
        QueuesBounded,
        /// A node to which nothing happens sleeps: it does not wake itself without end.
        NodesSleep,
        /// A version of a key is the same on every store, and comes with a number that was issued.
        SameVersion,
        /// What a node said it had written, it still has after a restart.
        DurableStays,
    }
    Runner {
        /// No assertion inside a node fails.
        AssertionsHold,
    }
    Liveness {
        /// Every client has been answered.
        AllAnswered,
        /// Every range has one leader, and every replica follows it.
        OneLeaderEach,
        /// All replicas of a range have applied the same.
        AllConverged,
        /// New operations succeed.
        ServesAgain,
    }
}

/// Which rules are judged by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules(u64);

impl Default for Rules {
    fn default() -> Rules {
        Rules(u64::MAX)
    }
}

impl Rule {
    /// The rules of one checker.
    pub fn of(checker: Checker) -> impl Iterator<Item = Rule> {
        Rule::ALL.iter().copied().filter(move |rule| rule.checker() == checker)
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

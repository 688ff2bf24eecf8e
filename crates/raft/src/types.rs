//! What a group is told at its birth and at each call, and how it refuses.

use crate::{Conf, HardState, LogBounds, LogRead, Member, Supports};
use base::{Index, RangeId, ReplicaId, Rng, StoreId, Term, Tick, limits};
use std::fmt;

/// Who a replica is, and its limits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Config {
    /// The range, for messages that people read.
    pub range: RangeId,
    /// This copy.
    pub replica: ReplicaId,
    /// The store it lives on.
    pub store: StoreId,
    /// D.
    pub election_timeout: Tick,
    /// Appends with entries under way to one follower.
    pub max_inflight: usize,
    /// Their bytes.
    pub max_inflight_bytes: usize,
    /// Bytes of entries in one append; a single larger entry still travels.
    pub max_append_bytes: usize,
}

impl Config {
    /// The limits of `base::limits`.
    pub fn new(range: RangeId, replica: ReplicaId, store: StoreId) -> Config {
        Config {
            range,
            replica,
            store,
            election_timeout: limits::ELECTION_TIMEOUT,
            max_inflight: limits::MAX_INFLIGHT_MSGS,
            max_inflight_bytes: limits::MAX_INFLIGHT_BYTES,
            max_append_bytes: limits::MAX_APPEND_BYTES,
        }
    }

    /// This replica as others name it.
    pub fn member(&self) -> Member {
        Member { replica: self.replica, store: self.store }
    }
}

/// What the disk remembers of a replica.
///
/// A log whose term at `applied` is not the term that was applied, or that ends before it, is what a crash in the
/// middle of [`crate::Group::install`] leaves: the node then boots with `truncated` and `last` both at `applied`.
///
/// A group that starts from nothing on several stores must start everywhere with the same `truncated` at index 1 or
/// later (and `applied` equal to it): then a member that joins later cannot be fed from an empty log, without the state
/// that existed before the first entry, but gets a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Boot {
    /// Term and vote.
    pub hard: HardState,
    /// The configuration after the last applied change.
    pub conf: Conf,
    /// The log.
    pub log: LogBounds,
    /// What the state machine has applied durably; the commit index begins here.
    pub applied: Index,
}

/// What a call may look at besides the group itself.
pub struct Ctx<'a> {
    /// This node's clock, perhaps read a while ago.
    pub now: Tick,
    /// Store liveness.
    pub supports: &'a Supports,
    /// The durable log of *this* group.
    pub log: &'a dyn LogRead,
    /// For the jitter of elections.
    pub rng: &'a mut Rng,
}

/// A snapshot's place in the log.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Snapshot {
    /// The last entry that the snapshot contains.
    pub index: Index,
    /// Its term.
    pub term: Term,
    /// The configuration at that entry.
    pub conf: Conf,
}

/// One element of a commit vector: "up to this entry everything is committed, says the leader of that term". The
/// entry's term is named because the receiver may have another entry at that index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Committed {
    /// The term of the leader that says so.
    pub leader_term: Term,
    /// The committed entry.
    pub index: Index,
    /// Its term.
    pub entry_term: Term,
}

impl fmt::Display for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit {}@{} term={}", self.index, self.entry_term, self.leader_term)
    }
}

/// Not done: only a leader that is not handing over can do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotLeader {
    /// Who leads, as far as this replica knows; itself while it hands over.
    pub leader: Option<Member>,
}

/// Why a change of membership was not proposed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConfRefused {
    /// Ask the leader.
    NotLeader(NotLeader),
    /// An earlier change is not applied yet, or the new leader has not applied its own first entry.
    Pending,
    /// Of the voters after the change, too few are up and have the log: add them as learners first.
    NoQuorum,
    /// This leader would not be a voter afterwards: transfer first.
    LeaderLeaves,
    /// The change does not fit the present configuration.
    Invalid(String),
}

/// Why leadership was not handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferRefused {
    /// Only a leader can.
    NotLeader(NotLeader),
    /// The target does not vote, or is this replica itself.
    NoVoter,
    /// A change of membership is not applied yet.
    Pending,
    /// The target needs a snapshot, or was not heard lately.
    Behind,
}

impl fmt::Display for NotLeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leader {
            Some(m) => write!(f, "not the leader: {m} is"),
            None => write!(f, "not the leader: nobody known is"),
        }
    }
}

/// What a leader knows of one other member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerState {
    /// Who.
    pub member: Member,
    /// Its durable log equals the leader's up to here.
    pub matched: Index,
    /// It needs a snapshot before it can go on.
    pub snapshot: bool,
    /// When it was last heard in this term.
    pub heard: Tick,
    /// The epoch of its store under which it fortified this leader (perhaps no longer current).
    pub fortified: Option<crate::SupportEpoch>,
}

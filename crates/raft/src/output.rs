//! What a group wants done: plain data, in one reusable buffer.

use crate::{Committed, Entry, HardState, Member, Message};
use base::{Index, Term};
use std::fmt;

/// Numbers a read round: given out by the leader, never twice in one term of one leader.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ReadRound(pub u64);

impl fmt::Display for ReadRound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "round {}", self.0)
    }
}

/// The part a replica plays.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Role {
    /// Accepts what a leader appends; also a learner.
    #[default]
    Follower,
    /// Asks whether it would be elected, without disturbing anybody.
    PreCandidate,
    /// Asks for votes in a new term.
    Candidate,
    /// Appends.
    Leader,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Follower => "follower",
            Role::PreCandidate => "pre-candidate",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        })
    }
}

/// A change of role, term or known leader.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Became {
    /// The role now.
    pub role: Role,
    /// The term now.
    pub term: Term,
    /// The leader of that term, if known (this replica itself when `role` is leader).
    pub leader: Option<Member>,
    /// This replica was leader when the buffer was last drained and that leadership is over, even if it leads again
    /// now: everything that was uncommitted or waiting for a read round is lost.
    pub lost_leadership: bool,
}

/// What the node has to do for a group after one or several calls into it. The node drains it: takes the lists out,
/// then calls [`Output::clear`].
///
/// The order that keeps promises:
///
/// 1. `now` may leave at once, before any write.
/// 2. `delete`, then `append`, then `hard` are written, all in one batch. When that write is durable the node calls
///    [`crate::Group::written`] with `mark` (if there is one).
/// 3. `after_write` leaves when everything that this group ever asked to be written, **up to and including this
///    output**, is durable. That holds also when this very output has nothing to write: the messages then queue behind
///    the writes that are under way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// Entries from this index to that one (inclusive), which the store has or is being given, belong to a divergent
    /// tail: delete them before `append` is written. Entries of `append` may have the same indexes.
    pub delete: Option<(Index, Index)>,
    /// Entries to write, consecutive.
    pub append: Vec<Entry>,
    /// The hard state to write.
    pub hard: Option<HardState>,
    /// Hand this back to [`crate::Group::written`] when the write is durable. The term is the replica's term at the
    /// time of the write, *not* the entry's: an old write's completion must not vouch for an entry that was overwritten
    /// meanwhile, even by an equal one.
    pub mark: Option<(Term, Index)>,
    /// Nobody waits for this write: all that it holds is committed. It may wait for company, a little.
    pub patient: bool,
    /// Messages that may leave at once.
    pub now: Vec<(Member, Message)>,
    /// Messages that wait for this write and all before it.
    pub after_write: Vec<(Member, Message)>,
    /// The committed index rose to here; with the term of that entry.
    pub commit: Option<(Index, Term)>,
    /// For the commit vectors of the next frames to these members: they have the entry and do not know yet that it is
    /// committed. At most one element per member; no append needs to be sent for it, and no answer comes.
    pub commits: Vec<(Member, Committed)>,
    /// Read rounds that ended well: serve them when the index is applied.
    pub reads_ready: Vec<(ReadRound, Index)>,
    /// Role, term or leader changed.
    pub became: Option<Became>,
    /// Members that need a snapshot; the node answers each with [`crate::Group::snapshot_sent`].
    pub snapshot_needed: Vec<Member>,
    /// Somebody who knows says that this replica was removed by the change at this index.
    pub removed: Option<Index>,
    /// This replica's log has lost what it acknowledged: its store must stop, and this replica must not come back.
    pub lost: Option<Lost>,
}

/// What a leader knows that a replica acknowledged, and where the replica's log ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Acknowledged up to here, in the leader's term.
    pub acked: Index,
    /// The last entry that is there.
    pub last: Index,
    /// Who says so.
    pub leader: Member,
}

impl Output {
    /// An empty buffer.
    pub fn new() -> Output {
        Output::default()
    }

    /// Nothing to do?
    pub fn is_empty(&self) -> bool {
        !self.must_write()
            && self.now.is_empty()
            && self.after_write.is_empty()
            && self.commit.is_none()
            && self.commits.is_empty()
            && self.reads_ready.is_empty()
            && self.became.is_none()
            && self.snapshot_needed.is_empty()
            && self.removed.is_none()
            && self.lost.is_none()
    }

    /// Is there anything for the disk?
    pub fn must_write(&self) -> bool {
        self.delete.is_some() || !self.append.is_empty() || self.hard.is_some()
    }

    /// Does anything of it wait for the disk?
    pub fn needs_disk(&self) -> bool {
        self.must_write() || !self.after_write.is_empty()
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.append.clear();
        self.now.clear();
        self.after_write.clear();
        self.commits.clear();
        self.reads_ready.clear();
        self.snapshot_needed.clear();
        (self.delete, self.hard, self.mark, self.commit) = (None, None, None, None);
        self.patient = false;
        (self.became, self.removed, self.lost) = (None, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ReplicaId, StoreId};

    #[test]
    fn nothing_to_do_means_every_part_is_empty() {
        let m = Member { replica: ReplicaId(1), store: StoreId(1) };
        let to = || vec![(m, Message::Defortify { term: Term(1) })];
        let entry = Entry { term: Term(1), index: Index(1), payload: crate::Payload::Empty };
        let told = Committed { leader_term: Term(1), index: Index(1), entry_term: Term(1) };
        let became = Became { role: Role::Follower, term: Term(1), leader: None, lost_leadership: false };
        let none = Output::new;
        let written = [
            Output { delete: Some((Index(1), Index(2))), ..none() },
            Output { append: vec![entry], ..none() },
            Output { hard: Some(HardState::default()), ..none() },
        ];
        let others = [
            Output { now: to(), ..none() },
            Output { after_write: to(), ..none() },
            Output { commit: Some((Index(1), Term(1))), ..none() },
            Output { commits: vec![(m, told)], ..none() },
            Output { reads_ready: vec![(ReadRound(1), Index(1))], ..none() },
            Output { became: Some(became), ..none() },
            Output { snapshot_needed: vec![m], ..none() },
            Output { removed: Some(Index(1)), ..none() },
        ];
        assert!(none().is_empty() && !none().must_write());
        assert!(written.iter().all(Output::must_write) && !others.iter().any(Output::must_write));
        for mut out in written.into_iter().chain(others) {
            assert!(!out.is_empty(), "{out:?}");
            out.mark = Some((Term(1), Index(1)));
            out.clear();
            assert_eq!(out, none());
        }
    }
}

//! What an all-seeing observer remembers, and the invariants it holds against the group:
//!
//! election safety · leader append-only · log matching · leader completeness · state machine safety · committed on a
//! quorum of disks · committed stays committed · state ordering · one vote per term · terms, votes, commit and applied
//! never fall · a read round sees everything committed before it began. (`Group::check` holds the local ones.)

use super::Node;
use super::disk::View;
use base::{Index, ReplicaId, Term};
use raft::{Entry, Group, Member, Message, ReadRound};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// A hash that is the same in every run.
#[derive(Clone)]
pub struct Fnv(u64, u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15)
    }
}

impl Fnv {
    pub fn wide(&self) -> u128 {
        (u128::from(mix(self.0)) << 64) | u128::from(mix(self.1))
    }

    fn word(&mut self, v: u64) {
        self.0 = (self.0 ^ v).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        self.1 = (self.1.rotate_left(5) ^ v).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, v: u8) {
        self.word(u64::from(v));
    }
    fn write_u64(&mut self, v: u64) {
        self.word(v);
    }
    fn write_usize(&mut self, v: usize) {
        self.word(v as u64);
    }
    fn finish(&self) -> u64 {
        mix(self.0 ^ self.1)
    }
}

/// What was ever true.
#[derive(Clone, Default, Hash)]
pub struct Ghost {
    /// With the term in which the entry was committed, which may be later than its own.
    committed: BTreeMap<Index, (Entry, Term)>,
    states: BTreeMap<Index, u64>,
    leaders: BTreeMap<Term, ReplicaId>,
    votes: BTreeMap<(Term, ReplicaId), ReplicaId>,
    /// Per replica: hard state and cursors as last seen. Durable ones survive a crash.
    seen: BTreeMap<ReplicaId, Seen>,
    /// How many read rounds ended well, and how many joint configurations were applied.
    pub reads: u64,
    pub joint: u64,
}

#[derive(Clone, Copy, Default, Hash)]
struct Seen {
    term: Term,
    vote: Option<ReplicaId>,
    commit: Index,
    applied: Index,
    leads: bool,
    last: Index,
}

impl Ghost {
    pub fn last_committed(&self) -> Index {
        self.committed.keys().next_back().copied().unwrap_or(Index(0))
    }

    pub fn committed_entries(&self) -> impl Iterator<Item = &Entry> {
        self.committed.values().map(|(e, _)| e)
    }

    /// A replica raised its commit index: what it calls committed is what everybody does, and if it leads, a quorum of
    /// disks has it.
    pub fn committed(&mut self, nodes: &[Node], n: usize, to: Index) {
        let node = &nodes[n];
        let Some(group) = &node.group else { return };
        let known = self.seen.get(&node.member.replica).map_or(Index(1), |s| s.commit);
        let from = known.max(group.truncated().0).next();
        let entries = log_of(node, group, from, to);
        for e in &entries {
            match self.committed.get(&e.index) {
                Some((other, _)) => {
                    assert_eq!(e, other, "R1 state machine safety: {} calls {e} committed", node.member)
                }
                None => {
                    self.committed.insert(e.index, (e.clone(), group.term()));
                }
            }
        }
        if let Some(e) = entries.last().filter(|_| group.is_leader()) {
            let durable = |m: Member| nodes[m.replica.0 as usize - 1].disk.has(e.index, e.term);
            let voters: Vec<Vec<Member>> =
                [&group.conf().voters, &group.conf().outgoing].iter().map(|v| v.to_vec()).collect();
            for half in voters.iter().filter(|h| !h.is_empty()) {
                let copies = half.iter().filter(|m| durable(**m)).count();
                assert!(copies > half.len() / 2, "R1 committed on a quorum: {e} is durable on {copies} of {half:?}");
            }
        }
    }

    /// A replica was elected: nobody else in that term, and its log has everything that was committed in earlier ones.
    pub fn elected(&mut self, nodes: &[Node], n: usize) {
        let node = &nodes[n];
        let Some(group) = &node.group else { return };
        let term = group.term();
        let other = *self.leaders.entry(term).or_insert(node.member.replica);
        assert_eq!(other, node.member.replica, "R1 election safety: two leaders in term {term}");
        // a leader of an earlier term, elected late, need not have it, and can commit nothing any more
        let before =
            self.committed.values().filter(|(e, committed)| *committed < term && e.index > group.truncated().0);
        for (e, _) in before {
            let has = group.term_at(&node.disk, e.index);
            assert_eq!(has, Some(e.term), "R1 leader completeness: {} leads term {term} without {e}", node.member);
        }
    }

    pub fn sent(&mut self, from: Member, to: Member, m: &Message) {
        if let Message::VoteAck(raft::VoteAnswer { term, granted: true, .. }) = m {
            let first = *self.votes.entry((*term, from.replica)).or_insert(to.replica);
            assert_eq!(first, to.replica, "R1 one vote: {from} votes twice in term {term}");
        }
    }

    pub fn applied(&mut self, view: &View) {
        let known = *self.states.entry(view.applied).or_insert(view.state);
        assert_eq!(known, view.state, "R1 state machine safety: states differ at {}", view.applied);
    }

    pub fn read_ready(&mut self, node: &mut Node, round: ReadRound, index: Index) {
        if let Some(at) = node.reads.iter().position(|(r, _)| *r == round) {
            let (_, begun) = node.reads.remove(at);
            self.reads += 1;
            assert!(index >= begun, "stale read: {round} at {index}, when it began {begun} was committed");
        }
    }

    /// Only what is durable must not fall beyond a crash.
    pub fn crashed(&mut self, node: &Node) {
        if let Some(seen) = self.seen.get_mut(&node.member.replica) {
            let (hard, view) = (node.disk.hard, &node.disk.view);
            let (commit, last) = (view.applied, node.disk.last().0);
            *seen = Seen { term: hard.term, vote: hard.vote, commit, applied: view.applied, leads: false, last };
        }
    }

    /// Nothing that is committed is ever deleted from a disk, except behind a snapshot that contains it.
    pub fn deleted(&self, node: &Node, from: Index, to: Index) {
        let gone =
            node.disk.log.iter().filter(|e| e.index >= from && e.index <= to && e.index > node.disk.view.applied);
        for e in gone {
            assert!(
                self.committed.get(&e.index).map(|(c, _)| c) != Some(e),
                "R1 committed stays: {} deletes {e}",
                node.member
            );
        }
    }

    pub fn check(&mut self, nodes: &[Node]) {
        for node in nodes {
            let Some(group) = &node.group else { continue };
            let seen = self.seen.entry(node.member.replica).or_default();
            let who = node.member;
            assert!(group.term() >= seen.term, "R1: the term of {who} falls");
            let same = group.term() == seen.term;
            assert!(!same || seen.vote.is_none() || group.vote() == seen.vote, "R1: {who} changes its vote");
            assert!(group.commit() >= seen.commit, "R1: the commit index of {who} falls");
            assert!(group.applied_index() >= seen.applied, "R1: {who} unapplies");
            let written = group.written_index();
            let term = group.term_at(&node.disk, written).unwrap_or_default();
            assert!(node.disk.has(written, term), "R1 written: {who} calls {written}@{term} durable");
            let leads = group.is_leader();
            assert!(!(leads && seen.leads && same) || group.last().0 >= seen.last, "R1 leader append-only: {who}");
            *seen = Seen {
                term: group.term(),
                vote: group.vote(),
                commit: group.commit(),
                applied: group.applied_index(),
                leads,
                last: group.last().0,
            };
        }
    }

    /// Log matching, over all pairs: equal index and term mean equal logs up to there. Dearer than the rest.
    pub fn check_logs(nodes: &[Node]) {
        let logs: Vec<Vec<Entry>> = nodes
            .iter()
            .filter_map(|n| n.group.as_ref().map(|g| log_of(n, g, g.truncated().0.next(), g.last().0)))
            .collect();
        for (i, a) in logs.iter().enumerate() {
            for b in &logs[i + 1..] {
                let (Some(a0), Some(b0)) = (a.first(), b.first()) else { continue };
                let from = a0.index.max(b0.index);
                let both = a.iter().filter(|e| e.index >= from).zip(b.iter().filter(|e| e.index >= from));
                let pairs: Vec<_> = both.collect();
                let Some(top) = pairs.iter().rposition(|(x, y)| x.term == y.term) else { continue };
                for (x, y) in &pairs[..=top] {
                    assert_eq!(x, y, "R1 log matching");
                }
            }
        }
    }
}

/// A replica's log as it sees it, memory and disk.
pub fn log_of(node: &Node, group: &Group, from: Index, to: Index) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::new();
    let mut at = from;
    while at <= to {
        let some = group.entries(&node.disk, at, to, usize::MAX).expect("the disk can be read");
        let Some(last) = some.last() else { break };
        at = last.index.next();
        all.extend(some);
    }
    all
}

//! A small world for groups: nodes with a disk that can lose what was not synced, a network that the test plays, and
//! the invariants of the whole group [R1] checked after every step. No time passes unless a test says so.
//!
//! It is shared by the golden scripts, the random walks, the differential test and the exhaustive exploration, so it
//! can be cloned and hashed, and panics when an invariant is broken.
#![allow(dead_code, reason = "each test uses its part of the world")]

pub mod disk;
pub mod ghost;
pub mod life;
pub mod liveness;

use base::{Incarnation, Index, RangeId, ReplicaId, Rng, StoreId, Term, Tick};
use bytes::Bytes;
use disk::{Disk, View, Write};
use ghost::Ghost;
use raft::{Committed, Conf, ConfChange, Config, Ctx, Group, HardState, Member, Message, Output};
use raft::{Payload, Reach, ReadRound, Role, Snapshot, Supports};
use std::collections::VecDeque;

/// What travels.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Body {
    Message(Message),
    Committed(Committed),
    Snapshot(Snapshot, u64),
}

/// One thing on its way.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Envelope {
    pub from: Member,
    pub to: Member,
    pub body: Body,
}

impl std::fmt::Display for Envelope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {} ", self.from, self.to)?;
        match &self.body {
            Body::Message(m) => write!(f, "{m}"),
            Body::Committed(c) => write!(f, "{c}"),
            Body::Snapshot(s, _) => write!(f, "snapshot {}@{} {}", s.index, s.term, s.conf),
        }
    }
}

/// One replica with its disk.
#[derive(Clone, Hash)]
pub struct Node {
    pub member: Member,
    /// `None` while it is down.
    pub group: Option<Group>,
    pub disk: Disk,
    /// Writes under way, oldest first.
    pub writes: VecDeque<Write>,
    /// What is applied, perhaps not yet durably.
    pub view: View,
    pub supports: Supports,
    /// Rounds that wait, and what was committed anywhere when they began.
    pub reads: Vec<(ReadRound, Index)>,
    pub removed: bool,
    /// Its disk lost what was durable.
    pub rotten: bool,
}

/// Everything.
#[derive(Clone)]
pub struct World {
    pub nodes: Vec<Node>,
    pub net: Vec<Envelope>,
    pub ghost: Ghost,
    pub now: Tick,
    pub rng: Rng,
    pub base: Config,
    /// Tell every new commit index by commit vector.
    pub tells_commits: bool,
    /// What is applied is written rarely (never): a crash sets it back far.
    pub lazy_apply: bool,
    /// Nobody applies anything for now: the state machines are slow.
    pub apply_held: bool,
    /// One line per event, if somebody wants them.
    pub trace: Option<Vec<String>>,
}

impl std::hash::Hash for World {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        (&self.nodes, &self.ghost).hash(h);
        // a network has no order: the sum of the hashes is that of the multiset
        let mut sum = 0u128;
        for e in &self.net {
            let mut one = ghost::Fnv::default();
            e.hash(&mut one);
            sum = sum.wrapping_add(one.wide());
        }
        sum.hash(h);
    }
}

pub fn member(n: u64) -> Member {
    Member { replica: ReplicaId(n), store: StoreId(n) }
}

impl World {
    /// Replicas 1 to `total` on stores of the same numbers; the first `voters` of them vote. Those that neither vote
    /// nor learn are empty, as if created by a message.
    pub fn new(total: u64, voters: u64, learners: u64, seed: u64) -> World {
        let mut base = Config::new(RangeId(7), ReplicaId(1), StoreId(1));
        base.max_inflight = 4;
        let mut conf = Conf::of_voters((1..=voters).map(member));
        conf.learners = (voters + 1..=voters + learners).map(member).collect();
        let mut world = World {
            nodes: Vec::new(),
            net: Vec::new(),
            ghost: Ghost::default(),
            now: Tick::ms(1000),
            rng: Rng::new(seed),
            base,
            tells_commits: true,
            lazy_apply: false,
            apply_held: false,
            trace: None,
        };
        for n in 1..=total {
            let known = n <= voters + learners;
            let disk = if known { Disk::bootstrap(conf.clone()) } else { Disk::default() };
            let supports = Supports::new(StoreId(n), Incarnation(1));
            world.nodes.push(Node {
                member: member(n),
                group: None,
                view: disk.view.clone(),
                disk,
                writes: VecDeque::new(),
                supports,
                reads: Vec::new(),
                removed: false,
                rotten: false,
            });
            world.start(n as usize - 1);
        }
        world
    }

    pub fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    pub fn group(&self, n: usize) -> &Group {
        self.nodes[n].group.as_ref().expect("the node is up")
    }

    pub fn is_up(&self, n: usize) -> bool {
        self.nodes[n].group.is_some()
    }

    pub fn at(&self, member: Member) -> usize {
        member.replica.0 as usize - 1
    }

    /// One call into a group, and everything that follows from it on that node.
    pub fn call<T>(&mut self, n: usize, f: impl FnOnce(&mut Group, &mut Ctx, &mut Output) -> T) -> Option<T> {
        let mut out = Output::new();
        let node = &mut self.nodes[n];
        let group = node.group.as_mut()?;
        let mut ctx = Ctx { now: self.now, supports: &node.supports, log: &node.disk, rng: &mut self.rng };
        let answer = f(group, &mut ctx, &mut out);
        self.carry_out(n, out);
        self.check_step(n);
        Some(answer)
    }

    fn check_step(&mut self, n: usize) {
        if let Some(group) = &self.nodes[n].group {
            group.check();
        }
        self.ghost.check(&self.nodes);
    }

    fn carry_out(&mut self, n: usize, out: Output) {
        let from = self.nodes[n].member;
        let Output { delete, append, hard, mark, now, after_write, commit, commits, reads_ready, became, .. } = out;
        if let Some(b) = became {
            self.say(|| {
                let lost = if b.lost_leadership { ", lost leadership" } else { "" };
                let leader = b.leader.map_or("-".into(), |l| l.to_string());
                format!("{from} is {} in term {}, leader {leader}{lost}", b.role, b.term)
            });
            if b.lost_leadership {
                self.nodes[n].reads.clear();
            }
            if b.role == Role::Leader {
                self.ghost.elected(&self.nodes, n);
            }
        }
        for (to, m) in now {
            self.send(from, to, Body::Message(m));
        }
        let write = Write { delete, append, hard, mark, after: after_write, view: None, snapshot: None };
        if write.is_idle() && self.nodes[n].writes.is_empty() {
            self.leave(from, write.after);
        } else if !write.is_idle() || !write.after.is_empty() {
            let patience = if out.patient { " when it suits" } else { "" };
            self.say(|| format!("{from} writes {write}{patience}"));
            self.nodes[n].writes.push_back(write);
        }
        for (round, index) in reads_ready {
            self.say(|| format!("{from} {round} ready at {index}"));
            self.ghost.read_ready(&mut self.nodes[n], round, index);
        }
        if let Some(lost) = out.lost {
            assert!(self.nodes[n].rotten, "{from} kept everything and is told that it lost {lost:?}");
            self.say(|| {
                format!(
                    "{from} stops: {} says that it acknowledged {}, and it has {}",
                    lost.leader, lost.acked, lost.last
                )
            });
            self.nodes[n].group = None;
        }
        if out.removed.is_some() {
            self.say(|| format!("{from} is told that it was removed"));
            self.nodes[n].removed = true;
        }
        if let Some((index, term)) = commit {
            self.say(|| format!("{from} commits {index}@{term}"));
            self.ghost.committed(&self.nodes, n, index);
            self.apply(n, index);
        }
        let tells = self.tells_commits;
        for (to, told) in commits.into_iter().filter(|_| tells) {
            self.send(from, to, Body::Committed(told));
        }
        for to in out.snapshot_needed {
            self.send_snapshot(n, to);
        }
    }

    fn leave(&mut self, from: Member, messages: Vec<(Member, Message)>) {
        for (to, m) in messages {
            self.send(from, to, Body::Message(m));
        }
    }

    /// Puts something on its way; messages go through their encoding.
    pub fn send(&mut self, from: Member, to: Member, body: Body) {
        let body = match body {
            Body::Message(m) => {
                let mut bytes = Vec::new();
                m.encode(&mut bytes);
                let back = Message::decode(&mut Bytes::from(bytes)).expect("what we encode can be decoded");
                assert_eq!(m, back, "a message changes on its way");
                self.ghost.sent(from, to, &m);
                Body::Message(back)
            }
            other => other,
        };
        let envelope = Envelope { from, to, body };
        self.say(|| envelope.to_string());
        self.net.push(envelope);
    }

    /// Applies everything committed; durable with the last write under way, or at once if there is none.
    fn apply(&mut self, n: usize, to: Index) {
        if self.apply_held {
            return;
        }
        if self.nodes[n].writes.iter().any(|w| w.snapshot.is_some()) {
            // an apply queued behind an ingest would set `applied` back
            return;
        }
        loop {
            let node = &mut self.nodes[n];
            let Some(group) = node.group.as_mut() else { return };
            let from = node.view.applied.next();
            if from > to {
                break;
            }
            let entries = group.entries(&node.disk, from, to, usize::MAX).expect("the disk can be read");
            assert!(!entries.is_empty(), "committed entries from {from} to {to} cannot be read");
            for entry in entries {
                // applying a change of membership may commit, and so apply, what follows
                if entry.index == self.nodes[n].view.applied.next() {
                    self.apply_one(n, entry);
                }
            }
        }
        let node = &mut self.nodes[n];
        match node.writes.back_mut() {
            _ if self.lazy_apply => {}
            Some(write) => write.view = Some(node.view.clone()),
            None => node.disk.view = node.view.clone(),
        }
    }

    /// The state machines catch up.
    pub fn apply_all(&mut self) {
        self.apply_held = false;
        for n in 0..self.nodes.len() {
            if let Some(commit) = self.nodes[n].group.as_ref().map(Group::commit) {
                self.apply(n, commit);
            }
        }
    }

    fn apply_one(&mut self, n: usize, entry: raft::Entry) {
        let node = &mut self.nodes[n];
        node.view.take(&entry);
        self.ghost.applied(&node.view);
        let index = entry.index;
        if let Payload::Conf(bytes) = entry.payload {
            let change = ConfChange::decode(bytes).expect("a conf entry holds a change");
            if let Ok(conf) = self.nodes[n].view.conf.apply(&change) {
                self.nodes[n].view.conf = conf.clone();
                self.ghost.joint += u64::from(conf.is_joint());
                self.say(|| format!("p{} applies {index}: {conf}", n + 1));
                self.call(n, |g, ctx, out| g.conf_applied(ctx, index, conf, out));
            }
        }
        self.call(n, |g, ctx, out| g.applied(ctx, index, out));
    }

    /// What a node's next frames would say about this group's commit index.
    pub fn tell_commits(&mut self, n: usize) {
        let from = self.nodes[n].member;
        for to in self.nodes[n].view.conf.members() {
            let told = self.nodes[n].group.as_ref().and_then(|g| g.commit_for(to.replica));
            if let Some(told) = told.filter(|_| to != from) {
                self.send(from, to, Body::Committed(told));
            }
        }
    }

    /// One state machine catches up as far as this.
    pub fn apply_to(&mut self, n: usize, to: Index) {
        let held = std::mem::take(&mut self.apply_held);
        self.apply(n, to);
        self.apply_held = held;
    }

    pub fn send_snapshot(&mut self, n: usize, to: Member) {
        let (view, from) = (self.nodes[n].view.clone(), self.nodes[n].member);
        let term = self.nodes[n].group.as_ref().and_then(|g| g.term_at(&self.nodes[n].disk, view.applied));
        let snapshot = Snapshot { index: view.applied, term: term.expect("applied is in the log"), conf: view.conf };
        let index = snapshot.index;
        self.send(from, to, Body::Snapshot(snapshot, view.state));
        self.call(n, |g, ctx, out| g.snapshot_sent(ctx, to.replica, Some(index), out));
    }

    /// Takes the `at`-th thing off the network and delivers it.
    pub fn deliver(&mut self, at: usize) {
        let envelope = self.net.remove(at);
        self.deliver_copy(envelope);
    }

    pub fn deliver_copy(&mut self, envelope: Envelope) {
        let Envelope { from, to, body } = envelope;
        let n = self.at(to);
        if !self.is_up(n) {
            return;
        }
        match body {
            Body::Message(m) => {
                self.call(n, |g, ctx, out| g.receive(ctx, from, m, out));
            }
            Body::Committed(told) => {
                self.call(n, |g, ctx, out| g.receive_commit(ctx, from, told, out));
            }
            Body::Snapshot(snapshot, state) => {
                // the node ingests it only if it is news, in the order of its writer
                if snapshot.index > self.group(n).commit() {
                    let write = Write { snapshot: Some((snapshot, state)), ..Write::default() };
                    self.nodes[n].writes.push_back(write);
                } else {
                    self.call(n, |g, ctx, out| g.install(ctx, snapshot, out));
                }
            }
        }
    }

    /// A node takes several things in before it speaks once: all calls share one output. (Snapshots come alone.)
    pub fn deliver_together(&mut self, n: usize, envelopes: Vec<Envelope>) {
        let (alone, together): (Vec<_>, Vec<_>) =
            envelopes.into_iter().partition(|e| matches!(e.body, Body::Snapshot(..)));
        self.call(n, |g, ctx, out| {
            for Envelope { from, body, .. } in together {
                match body {
                    Body::Message(m) => g.receive(ctx, from, m, out),
                    Body::Committed(told) => g.receive_commit(ctx, from, told, out),
                    Body::Snapshot(..) => {}
                }
                g.check();
            }
        });
        alone.into_iter().for_each(|e| self.deliver_copy(e));
    }

    /// The oldest write under way becomes durable, and the group hears of it.
    pub fn complete(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let Some(write) = node.writes.pop_front() else { return };
        let (mark, snapshot) = (write.mark, write.snapshot.clone());
        if let Some((from, to)) = write.delete {
            self.ghost.deleted(node, from, to);
        }
        // a snapshot behind what is committed meanwhile is thrown away
        let useful = snapshot.as_ref().is_some_and(|(s, _)| node.group.as_ref().is_some_and(|g| s.index > g.commit()));
        let after = write.after.clone();
        if snapshot.is_none() {
            node.disk.write(write);
        } else if let (true, Some((s, state)), Some(group)) = (useful, &snapshot, &node.group) {
            assert!(s.index > group.commit());
            node.disk.ingest(s, *state);
            node.view = node.disk.view.clone();
        }
        let from = node.member;
        self.say(|| format!("{from} is durable"));
        self.leave(from, after);
        if let Some((term, index)) = mark {
            self.call(n, |g, ctx, out| written(g, ctx, (term, index), out));
        }
        if let Some((s, _)) = snapshot {
            let at = (s.index, s.term);
            self.call(n, |g, ctx, out| g.install(ctx, s, out));
            let kept = self.nodes[n].group.as_ref().is_some_and(|g| g.truncated() == at && g.last().0 > at.0);
            let commit = self.nodes[n].group.as_ref().map_or(Index(0), Group::commit);
            self.apply(n, commit);
            if useful && (kept || self.nodes[n].disk.last() == at) {
                self.nodes[n].disk.truncate(at.0, at.1);
            }
        }
    }

    pub fn campaign(&mut self, n: usize) {
        self.call(n, |g, ctx, out| g.campaign(ctx, out));
    }

    pub fn propose(&mut self, n: usize, data: &str) -> bool {
        self.propose_to(n, data, Reach::All)
    }

    pub fn propose_to(&mut self, n: usize, data: &str, reach: Reach) -> bool {
        let data = Bytes::copy_from_slice(data.as_bytes());
        self.call(n, |g, ctx, out| g.propose(ctx, data, reach, out).is_ok()).unwrap_or(false)
    }

    pub fn read(&mut self, n: usize) -> Option<ReadRound> {
        let begun = self.ghost.last_committed();
        let mut ready: Vec<(ReadRound, Index)> = Vec::new();
        let round = self.call(n, |g, ctx, out| {
            let round = g.read_index(ctx, out);
            ready = std::mem::take(&mut out.reads_ready);
            round.ok()
        })??;
        self.nodes[n].reads.push((round, begun));
        for (round, index) in ready {
            self.say(|| format!("p{} {round} ready at {index}", n + 1));
            self.ghost.read_ready(&mut self.nodes[n], round, index);
        }
        Some(round)
    }

    /// The log up to `to` goes away, as far as it is applied durably.
    pub fn truncate(&mut self, n: usize, to: Index) {
        let node = &mut self.nodes[n];
        let Some(group) = &mut node.group else { return };
        let to = to.min(node.disk.view.applied).min(group.applied_index());
        let Some(term) = group.term_at(&node.disk, to).filter(|_| to > node.disk.truncated.0) else { return };
        group.truncate(to, term);
        node.disk.truncate(to, term);
        self.check_step(n);
    }

    pub fn leader(&self) -> Option<usize> {
        let leaders = (0..self.nodes.len()).filter(|n| self.nodes[*n].group.as_ref().is_some_and(Group::is_leader));
        leaders.max_by_key(|n| self.group(*n).term())
    }

    pub fn hard(&self, n: usize) -> HardState {
        HardState { term: self.group(n).term(), vote: self.group(n).vote() }
    }

    pub fn term(&self, n: usize) -> Term {
        self.group(n).term()
    }
}

/// The group hears that a write is durable. If that changes anything, it was awaited; and if it is the newest write of a
/// leader, it was awaited only if it does.
fn written(g: &mut Group, ctx: &mut Ctx, (term, index): (Term, Index), out: &mut Output) {
    let (awaited, before) = (g.awaits_own_write(), (g.commit(), g.role()));
    let newest = g.is_leader() && index == g.last().0;
    g.written(ctx, term, index, out);
    let changes = before != (g.commit(), g.role());
    assert!(awaited || !changes, "nobody waited for {index}, and it made {before:?} into {g}");
    assert!(changes || !awaited || !newest, "{g} waited for {index} in vain");
}

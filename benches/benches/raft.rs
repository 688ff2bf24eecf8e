//! The Raft core alone: three replicas in memory, in one thread, ours beside the `raft` crate.
//!
//! `cargo bench -p flotilla-benches --bench raft`
//!
//! Both write every entry into a log in memory, hand every message over without encoding it, count an entry when all
//! three replicas know that it is committed, and cut their logs from time to time.

use base::{Incarnation, Index, RangeId, ReplicaId, Rng, StoreId, Term, Tick};
use bytes::Bytes;
use raft::{Boot, Committed, Conf, Config, Ctx, Entry, Group, HardState, LogBounds, LogRead, Member, Message, Output};
use raft::{Reach, Received, SupportEpoch, Supports};
use raft_rs::storage::MemStorage;
use raft_rs::{RawNode, StateRole, Storage};
use std::collections::VecDeque;
use std::time::Instant;

const VALUE: usize = 256;
/// Logs are cut when this many entries are applied.
const KEEP: u64 = 4096;

/// A durable log in memory.
#[derive(Default)]
struct Log {
    first: u64,
    entries: VecDeque<Entry>,
}

impl LogRead for Log {
    fn term(&self, index: Index) -> Option<Term> {
        let at = index.0.checked_sub(self.first)?;
        self.entries.get(at as usize).map(|e| e.term)
    }

    fn entries(&self, from: Index, to: Index, max_bytes: usize) -> base::Result<Vec<Entry>> {
        let start = from.0.saturating_sub(self.first) as usize;
        let end = (to.0 + 1 - self.first) as usize;
        let mut bytes = 0;
        let fits = |e: &&Entry| {
            bytes += e.size();
            bytes <= max_bytes || bytes == e.size()
        };
        Ok(self.entries.range(start..end.min(self.entries.len())).take_while(fits).cloned().collect())
    }
}

struct Node {
    group: Group,
    log: Log,
    supports: Supports,
}

enum Parcel {
    Message(Message),
    Committed(Committed),
}

struct Ours {
    nodes: Vec<Node>,
    net: VecDeque<(Member, usize, Parcel)>,
    out: Output,
    rng: Rng,
    now: Tick,
}

fn member(n: u64) -> Member {
    Member { replica: ReplicaId(n), store: StoreId(n) }
}

impl Ours {
    fn new() -> Ours {
        let conf = Conf::of_voters((1..=3).map(member));
        let nodes = (1..=3)
            .map(|n| {
                let start = (Index(1), Term(1));
                let boot = Boot {
                    hard: HardState::default(),
                    conf: conf.clone(),
                    log: LogBounds { truncated: start, last: start },
                    applied: Index(1),
                };
                let mut supports = Supports::new(StoreId(n), Incarnation(1));
                for other in (1..=3).filter(|o| *o != n) {
                    let epoch = SupportEpoch { incarnation: Incarnation(1), n: 1 };
                    supports.set_given(StoreId(other), Some(epoch));
                    let received = Received { epoch, incarnation: Incarnation(1), until: Tick::FAR };
                    supports.set_received(StoreId(other), Some(received));
                }
                let cfg = Config::new(RangeId(1), ReplicaId(n), StoreId(n));
                Node { group: Group::new(cfg, boot), log: Log { first: 2, ..Log::default() }, supports }
            })
            .collect();
        let mut ours = Ours { nodes, net: VecDeque::new(), out: Output::new(), rng: Rng::new(1), now: Tick::ms(1) };
        ours.call(0, |g, ctx, out| g.campaign(ctx, out));
        ours.settle();
        assert!(ours.nodes[0].group.is_leader());
        ours
    }

    fn call(&mut self, n: usize, f: impl FnOnce(&mut Group, &mut Ctx, &mut Output)) {
        let Node { group, log, supports } = &mut self.nodes[n];
        let mut ctx = Ctx { now: self.now, supports, log, rng: &mut self.rng };
        f(group, &mut ctx, &mut self.out);
    }

    /// One turn of a node: what its calls asked for is written, sent and applied.
    fn carry_out(&mut self, n: usize) {
        loop {
            let from = member(n as u64 + 1);
            let node = &mut self.nodes[n];
            assert!(self.out.delete.is_none(), "nothing diverges here");
            node.log.entries.extend(self.out.append.drain(..));
            let after = self.out.after_write.drain(..);
            for (to, m) in self.out.now.drain(..).chain(after) {
                self.net.push_back((from, to.replica.0 as usize - 1, Parcel::Message(m)));
            }
            for (to, told) in self.out.commits.drain(..) {
                self.net.push_back((from, to.replica.0 as usize - 1, Parcel::Committed(told)));
            }
            let (mark, commit) = (self.out.mark, self.out.commit);
            self.out.clear();
            if let Some((term, index)) = mark {
                self.call(n, |g, ctx, out| g.written(ctx, term, index, out));
            }
            if let Some((index, _)) = commit {
                self.call(n, |g, ctx, out| g.applied(ctx, index, out));
                self.cut(n, index);
            }
            if self.out.is_empty() {
                return;
            }
        }
    }

    fn cut(&mut self, n: usize, applied: Index) {
        let node = &mut self.nodes[n];
        if applied.0 > node.log.first + 2 * KEEP {
            let to = Index(applied.0 - KEEP);
            let term = node.log.term(to).expect("it is there");
            node.group.truncate(to, term);
            node.log.entries.drain(..(to.0 + 1 - node.log.first) as usize);
            node.log.first = to.0 + 1;
        }
    }

    /// Delivers all there is, a node's whole inbox in one turn.
    fn settle(&mut self) {
        for n in 0..3 {
            self.carry_out(n);
        }
        while !self.net.is_empty() {
            let mut batch = std::mem::take(&mut self.net);
            for n in 0..3 {
                for (from, to, parcel) in &mut batch {
                    if *to == n {
                        let empty = Parcel::Message(Message::Removed { since: Index(0) });
                        match std::mem::replace(parcel, empty) {
                            Parcel::Message(m) => self.call(n, |g, ctx, out| g.receive(ctx, *from, m, out)),
                            Parcel::Committed(c) => self.call(n, |g, ctx, out| g.receive_commit(ctx, *from, c, out)),
                        }
                    }
                }
                self.carry_out(n);
            }
        }
    }

    fn run(&mut self, entries: u64, batch: u64, value: &Bytes) {
        let start = self.nodes[0].group.commit().0;
        for _ in 0..entries / batch {
            for _ in 0..batch {
                let data = value.clone();
                self.call(0, |g, ctx, out| {
                    g.propose(ctx, data, Reach::All, out).expect("it leads");
                });
            }
            self.settle();
        }
        for node in &self.nodes {
            assert_eq!(node.group.commit().0, start + entries / batch * batch, "everything is committed everywhere");
        }
    }
}

/// The `raft` crate, driven the same way.
struct Theirs {
    nodes: Vec<RawNode<MemStorage>>,
    net: VecDeque<raft_rs::eraftpb::Message>,
    first: u64,
}

impl Theirs {
    fn new() -> Theirs {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let nodes = (1..=3)
            .map(|id| {
                let store = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
                let cfg = raft_rs::Config {
                    id,
                    pre_vote: true,
                    check_quorum: true,
                    max_size_per_msg: 1 << 20,
                    max_inflight_msgs: 256,
                    ..raft_rs::Config::default()
                };
                RawNode::new(&cfg, store, &logger).expect("it boots")
            })
            .collect();
        let mut theirs = Theirs { nodes, net: VecDeque::new(), first: 1 };
        theirs.nodes[0].campaign().expect("it can");
        theirs.settle();
        assert!(theirs.nodes[0].raft.state == StateRole::Leader);
        theirs
    }

    fn carry_out(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        while node.has_ready() {
            let mut ready = node.ready();
            self.net.extend(ready.take_messages());
            let store = node.raft.raft_log.store.clone();
            store.wl().append(ready.entries()).expect("entries follow one another");
            if let Some(hard) = ready.hs() {
                store.wl().set_hardstate(hard.clone());
            }
            self.net.extend(ready.take_persisted_messages());
            let mut light = node.advance(ready);
            if let Some(commit) = light.commit_index() {
                store.wl().mut_hard_state().commit = commit;
            }
            self.net.extend(light.take_messages());
            drop(light.take_committed_entries());
            node.advance_apply();
        }
    }

    fn settle(&mut self) {
        for n in 0..3 {
            self.carry_out(n);
        }
        while !self.net.is_empty() {
            let mut batch = std::mem::take(&mut self.net);
            for n in 0..3 {
                for m in &mut batch {
                    if m.to == n as u64 + 1 {
                        let _ = self.nodes[n].step(std::mem::take(m));
                    }
                }
                self.carry_out(n);
            }
        }
    }

    fn cut(&mut self) {
        let applied = self.nodes[0].raft.raft_log.applied;
        if applied > self.first + 2 * KEEP {
            self.first = applied - KEEP;
            for node in &mut self.nodes {
                node.raft.raft_log.store.wl().compact(self.first).expect("it is applied");
            }
        }
    }

    fn run(&mut self, entries: u64, batch: u64, value: &Bytes) {
        let start = self.nodes[0].raft.raft_log.committed;
        for _ in 0..entries / batch {
            for _ in 0..batch {
                self.nodes[0].propose(vec![], value.to_vec()).expect("it leads");
            }
            self.settle();
            self.cut();
        }
        let last = self.nodes[0].raft.raft_log.store.last_index().expect("readable");
        assert!(self.nodes.iter().all(|n| n.raft.raft_log.committed == last), "everything is committed everywhere");
        assert_eq!(last, start + entries / batch * batch);
    }
}

/// The best of several runs, in entries per second: noise only ever slows down.
fn rate(rounds: u32, entries: u64, mut run: impl FnMut(u64)) -> f64 {
    run(entries / 10);
    let once = |_| {
        let begun = Instant::now();
        run(entries);
        entries as f64 / begun.elapsed().as_secs_f64()
    };
    (0..rounds).map(once).fold(0.0, f64::max)
}

fn main() {
    let value = Bytes::from(vec![7u8; VALUE]);
    println!("three replicas, one thread, {VALUE}-byte entries, best of 5");
    let mut worst = f64::MAX;
    for batch in [1, 16, 64, 256] {
        let entries = if batch == 1 { 20_000 } else { 60_000 };
        let (mut ours, mut theirs) = (Ours::new(), Theirs::new());
        let a = rate(5, entries, |n| ours.run(n / batch * batch, batch, &value));
        let b = rate(5, entries, |n| theirs.run(n / batch * batch, batch, &value));
        worst = worst.min(a / b);
        println!("{batch:>4} proposals a step: ours {a:>10.0}/s  raft crate {b:>10.0}/s  ratio {:.2}", a / b);
    }
    let mut ours = Ours::new();
    ours.run(256, 64, &value);
    ours.now = Tick::ms(1000);
    for n in 0..3 {
        ours.call(n, |g, ctx, out| g.deadline(ctx, out));
        ours.settle();
    }
    for (n, what) in [(0, "leader"), (1, "follower")] {
        let heap = ours.nodes[n].group.heap_bytes();
        let (own, armed) = (size_of::<Group>(), ours.nodes[n].group.next_deadline() != Tick::FAR);
        println!("idle {what}: {} bytes ({own} and {heap} on the heap), armed: {armed}", own + heap);
    }
    println!(
        "ratio {worst:.2}: so many times the entries per second of the raft crate, where the difference is smallest"
    );
}

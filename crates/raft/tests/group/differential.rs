//! The `raft` crate as an oracle: the same proposals, cut links, campaigns and crashes lead both cores to the same
//! leaders, the same logs and the same commits, after every event.
//!
//! Time does not pass in either world. After each event both come to rest; the leaders say again what may have been
//! lost; both come to rest again; then everything is compared.

use super::outside::{say, setting};
use super::world::World;
use super::world::ghost::{Ghost, log_of};
use base::{Rng, Tick};
use raft::Payload;
use raft_rs::eraftpb::{Entry, Message};
use raft_rs::storage::MemStorage;
use raft_rs::{Config, GetEntriesContext, RawNode, StateRole, Storage};

const NODES: u64 = 3;

/// The oracle's cluster.
struct Theirs {
    nodes: Vec<RawNode<MemStorage>>,
    net: Vec<Message>,
}

fn config(id: u64) -> Config {
    Config { id, pre_vote: true, max_size_per_msg: 1 << 20, ..Config::default() }
}

fn logger() -> slog::Logger {
    slog::Logger::root(slog::Discard, slog::o!())
}

impl Theirs {
    fn new() -> Theirs {
        let voters: Vec<u64> = (1..=NODES).collect();
        let node = |id: &u64| {
            let store = MemStorage::new_with_conf_state((voters.clone(), vec![]));
            RawNode::new(&config(*id), store, &logger()).expect("it boots")
        };
        Theirs { nodes: voters.iter().map(node).collect(), net: Vec::new() }
    }

    /// Writes everything at once and collects what is to be sent.
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
            node.advance_apply();
        }
    }

    fn settle(&mut self, open: &dyn Fn(u64, u64) -> bool) {
        (0..self.nodes.len()).for_each(|n| self.carry_out(n));
        while !self.net.is_empty() {
            let m = self.net.remove(0);
            let (from, to) = (m.from, m.to);
            if open(from, to) {
                let n = to as usize - 1;
                let _ = self.nodes[n].step(m);
                self.carry_out(n);
            }
        }
    }

    fn restart(&mut self, n: usize) {
        let store = self.nodes[n].raft.raft_log.store.clone();
        self.nodes[n] = RawNode::new(&config(n as u64 + 1), store, &logger()).expect("it boots");
    }

    fn log(&self, n: usize) -> Vec<Vec<u8>> {
        let store = &self.nodes[n].raft.raft_log.store;
        let (first, last) = (store.first_index().expect("readable"), store.last_index().expect("readable"));
        if last < first {
            return Vec::new();
        }
        let entries: Vec<Entry> =
            store.entries(first, last + 1, None, GetEntriesContext::empty(false)).expect("readable");
        entries.into_iter().map(|e| e.data.to_vec()).collect()
    }

    fn committed(&self, n: usize) -> usize {
        let first = self.nodes[n].raft.raft_log.store.first_index().expect("readable");
        (self.nodes[n].raft.raft_log.committed + 1 - first) as usize
    }

    fn leads(&self, n: usize) -> bool {
        self.nodes[n].raft.state == StateRole::Leader
    }
}

/// Ours, driven the same way.
struct Ours(World);

impl Ours {
    fn new(seed: u64) -> Ours {
        let mut world = World::new(NODES, NODES, 0, seed);
        // nobody waits for a leader that was heard lately: the oracle runs without check-quorum
        world.base.election_timeout = Tick(0);
        (0..NODES as usize).for_each(|n| world.start(n));
        Ours(world)
    }

    fn settle(&mut self, open: &dyn Fn(u64, u64) -> bool) {
        for _ in 0..100_000 {
            let busy = (0..self.0.nodes.len()).find(|n| !self.0.nodes[*n].writes.is_empty());
            if let Some(n) = busy {
                self.0.complete(n);
            } else if self.0.net.is_empty() {
                return;
            } else {
                let e = self.0.net.remove(0);
                if open(e.from.replica.0, e.to.replica.0) {
                    self.0.deliver_copy(e);
                }
            }
        }
        panic!("ours does not come to rest");
    }

    fn log(&self, n: usize) -> Vec<Vec<u8>> {
        let node = &self.0.nodes[n];
        let group = self.0.group(n);
        let entries = log_of(node, group, group.truncated().0.next(), group.last().0);
        entries
            .into_iter()
            .map(|e| match e.payload {
                Payload::Empty => Vec::new(),
                Payload::Normal(b) | Payload::Conf(b) => b.to_vec(),
            })
            .collect()
    }

    fn committed(&self, n: usize) -> usize {
        (self.0.group(n).commit().0 - self.0.group(n).truncated().0.0) as usize
    }
}

/// Lets both rest, repeat what may have been lost, and rest again.
fn rest(ours: &mut Ours, theirs: &mut Theirs, open: &dyn Fn(u64, u64) -> bool) {
    ours.settle(open);
    theirs.settle(open);
    for _ in 0..3 {
        for n in 0..NODES as usize {
            if ours.0.group(n).is_leader() {
                for m in 0..NODES as usize {
                    let store = ours.0.nodes[m].member.store;
                    ours.0.call(n, |g, ctx, out| g.liveness_changed(ctx, store, out));
                }
            }
            theirs.nodes[n].ping();
        }
        ours.settle(open);
        theirs.settle(open);
    }
}

fn compare(seed: u64, event: u64, ours: &Ours, theirs: &Theirs) {
    if setting("SEED").is_some() {
        for n in 0..NODES as usize {
            let t = &theirs.nodes[n].raft;
            let theirs = format!("{:?} term={} log={}", t.state, t.term, t.raft_log.last_index());
            say(&format!("{event}: {} | {theirs}", ours.0.group(n)));
        }
    }
    for n in 0..NODES as usize {
        let what = format!("seed {seed}, event {event}, node {}", n + 1);
        assert_eq!(ours.0.group(n).is_leader(), theirs.leads(n), "{what}: who leads");
        assert_eq!(ours.log(n), theirs.log(n), "{what}: the log");
        assert_eq!(ours.committed(n), theirs.committed(n), "{what}: the commit index");
    }
    Ghost::check_logs(&ours.0.nodes);
}

fn play(seed: u64, events: u64) -> usize {
    let mut rng = Rng::new(seed);
    let (mut ours, mut theirs) = (Ours::new(seed), Theirs::new());
    let mut cut: Vec<(u64, u64)> = Vec::new();
    let mut count = 0;
    for event in 0..events {
        match rng.below(10) {
            0..5 => {
                // everybody is asked; who does not lead refuses, in both worlds
                for n in 0..NODES as usize {
                    for _ in 0..rng.below(4) {
                        count += 1;
                        let data = format!("v{count}");
                        let taken = ours.0.propose(n, &data);
                        assert_eq!(taken, theirs.leads(n), "who takes a proposal");
                        if taken {
                            theirs.nodes[n].propose(vec![], data.into_bytes()).expect("a leader takes it");
                        }
                    }
                }
            }
            5..7 => {
                let n = rng.below(NODES) as usize;
                ours.0.campaign(n);
                let _ = theirs.nodes[n].campaign();
            }
            7..9 => {
                let alone = 1 + rng.below(NODES);
                let all: Vec<u64> = (1..=NODES).collect();
                cut = match rng.below(3) {
                    0 => all.iter().flat_map(|n| [(alone, *n), (*n, alone)]).collect(),
                    1 => all.iter().flat_map(|n| [(*n, 1 + alone % NODES), (1 + alone % NODES, *n)]).collect(),
                    _ => Vec::new(),
                };
            }
            _ => {
                let n = rng.below(NODES) as usize;
                ours.0.crash(n, 0);
                ours.0.restart(n);
                ours.0.ungate(n);
                theirs.restart(n);
            }
        }
        let open = |from: u64, to: u64| !cut.contains(&(from, to));
        rest(&mut ours, &mut theirs, &open);
        compare(seed, event, &ours, &theirs);
    }
    (0..NODES as usize).map(|n| ours.committed(n)).max().unwrap_or(0)
}

#[test]
fn the_oracle_agrees() {
    if let Some(seed) = setting("SEED") {
        play(seed, 60);
        return;
    }
    let plays = setting("PLAYS").unwrap_or(150);
    let committed: usize = (0..plays).map(|seed| play(seed, 60)).sum();
    assert!(committed as u64 > plays * 20, "{committed} entries committed in {plays} plays");
}

//! Nodes in one thread, a network that loses nothing but what it is told to, disks that keep everything; some of them
//! slow.

// Each test file uses a part of it.
#![allow(dead_code)]

use base::key::Key;
use base::{BootId, CallId, ClusterId, Result, Revision, Rng, StoreId, Tick};
use bytes::Bytes;
use engine::mem::Mem;
use mvcc::{Filter, PutReq, RangeReq, Reply, Request};
use node::boot::{self, Founding};
use node::frame::{Frame, Part};
use node::{ClientAsk, Config, Effects, Input, Node, WriteTask};
use range::{Answer, Origin, Outcome, Ready};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

type View = <Mem as engine::Engine>::View;

pub struct World {
    pub nodes: Vec<Node<Mem>>,
    pub inbox: Vec<VecDeque<Input<View>>>,
    pub now: Tick,
    /// How long a write of this node takes.
    pub slow_disk: Vec<Tick>,
    /// What rests on a lease is opened so much later than it was put there, on all nodes.
    pub opened_late: Tick,
    /// Nodes that are no more.
    pub dead: BTreeSet<usize>,
    /// Nodes that came to their orderly end.
    pub ended: BTreeSet<usize>,
    /// Nodes that may stop themselves, and why they did.
    pub may_stop: BTreeSet<usize>,
    pub stopped: BTreeMap<usize, String>,
    /// Ways on which everything is lost, from and to.
    pub cut: BTreeSet<(usize, usize)>,
    /// Frames that carry one of these are lost.
    pub lose: fn(&Part) -> bool,
    /// So many were.
    pub lost: u64,
    writes: Vec<VecDeque<(Tick, WriteTask)>>,
    pub answers: BTreeMap<CallId, Result<Outcome>>,
    next: u64,
}

impl World {
    pub fn new(n: u64, splits: &[&str]) -> World {
        World::with(n, splits, Config::default())
    }

    pub fn with(n: u64, splits: &[&str], config: Config) -> World {
        let founding = Founding {
            cluster: ClusterId(7),
            stores: (1..=n).map(StoreId).collect(),
            split_keys: splits.iter().map(|s| Key::user(s.as_bytes())).collect(),
            replication: 3,
        };
        let mut nodes = Vec::new();
        for s in 1..=n {
            let engine = Mem::new();
            boot::bootstrap(&engine, &founding, StoreId(s), BootId(s)).unwrap();
            nodes.push(Node::open(config.clone(), engine, Rng::new(s), Tick::ms(1)).unwrap());
        }
        let mut inbox: Vec<VecDeque<Input<View>>> = nodes.iter().map(|_| VecDeque::new()).collect();
        for (i, inbox) in inbox.iter_mut().enumerate() {
            for p in (1..=n).filter(|p| *p != i as u64 + 1) {
                inbox.push_back(Input::Connected(StoreId(p)));
            }
        }
        let slow_disk = nodes.iter().map(|_| Tick::ZERO).collect();
        let writes = nodes.iter().map(|_| VecDeque::new()).collect();
        let (dead, cut) = (BTreeSet::new(), BTreeSet::new());
        World {
            nodes,
            inbox,
            now: Tick::ms(2),
            slow_disk,
            opened_late: Tick::ZERO,
            dead,
            ended: BTreeSet::new(),
            may_stop: BTreeSet::new(),
            stopped: BTreeMap::new(),
            cut,
            lose: |_| false,
            lost: 0,
            writes,
            answers: BTreeMap::new(),
            next: 1,
        }
    }

    fn carry_out(&mut self, i: usize, effects: Effects<Mem>) {
        if let Some(e) = effects.failed {
            assert!(self.may_stop.contains(&i), "{e}");
            self.stopped.insert(i, e.text);
            self.dead.insert(i);
            return;
        }
        if effects.stopped {
            self.ended.insert(i);
        }
        effects.frames.into_iter().for_each(|f| self.send(i, f));
        if let Some(bound) = effects.bound {
            engine::Engine::set_filter_bound(self.nodes[i].engine(), bound);
        }
        if let Some(task) = effects.write {
            self.writes[i].push_back((self.now + self.slow_disk[i], task));
        }
        self.answers.extend(effects.replies);
        for (proof, leased) in effects.leased {
            let input = match leased.open(self.now + self.opened_late) {
                Ok(Ready::Read(task)) => match task.origin {
                    Origin::Local(id) => {
                        self.answers.insert(id, task.run());
                        continue;
                    }
                    origin => Input::Read(origin, task.run()),
                },
                Ok(ready) => Input::Proved(ready),
                Err(late) => Input::Unproved(proof, late.into_unproved()),
            };
            self.inbox[i].push_back(input);
        }
        for task in effects.reads {
            match task.origin {
                Origin::Local(id) => drop(self.answers.insert(id, task.run())),
                origin => self.inbox[i].push_back(Input::Read(origin, task.run())),
            }
        }
    }

    /// Nothing gets to this node or away from it any more; what is on its way is lost.
    pub fn cut_off(&mut self, node: usize) {
        for other in (0..self.nodes.len()).filter(|o| *o != node) {
            self.cut.extend([(node, other), (other, node)]);
        }
        let own = StoreId(node as u64 + 1);
        for (i, inbox) in self.inbox.iter_mut().enumerate() {
            inbox.retain(|input| !matches!(input, Input::Frame(from, _) if i == node || *from == own));
        }
    }

    fn send(&mut self, from: usize, f: node::Outgoing) {
        let to = f.to.0 as usize - 1;
        let parts = Frame::decode(f.bytes.clone()).expect("we wrote it").parts;
        if parts.iter().any(self.lose) {
            self.lost += 1;
        } else if !self.cut.contains(&(from, to)) && !self.dead.contains(&to) {
            self.inbox[to].push_back(Input::Frame(StoreId(from as u64 + 1), f.bytes));
        }
    }

    /// kill -9: the streams of all others to it break.
    pub fn kill(&mut self, i: usize) {
        self.dead.insert(i);
        for (other, inbox) in self.inbox.iter_mut().enumerate().filter(|(other, _)| *other != i) {
            assert!(!self.dead.contains(&other), "one death at a time");
            inbox.push_back(Input::Disconnected(StoreId(i as u64 + 1)));
        }
    }

    /// A node that is no more comes back with this disk.
    pub fn restart(&mut self, i: usize, disk: Mem) {
        self.nodes[i] = Node::open(Config::default(), disk, Rng::new(i as u64 + 1), self.now).unwrap();
        self.dead.remove(&i);
        (self.inbox[i], self.writes[i]) = (VecDeque::new(), VecDeque::new());
        for other in (0..self.nodes.len()).filter(|other| *other != i && !self.dead.contains(other)).collect::<Vec<_>>()
        {
            self.inbox[i].push_back(Input::Connected(StoreId(other as u64 + 1)));
            self.inbox[other].push_back(Input::Connected(StoreId(i as u64 + 1)));
        }
    }

    /// Who leads the range that holds all users' keys.
    pub fn leader(&self) -> usize {
        let leads = |n: &Node<Mem>| n.replicas().any(|r| r.descriptor().id.0 == 2 && r.leads().is_some());
        self.nodes.iter().position(leads).expect("a leader")
    }

    fn write(&mut self, i: usize) {
        while self.writes[i].front().is_some_and(|(due, _)| *due <= self.now) {
            let Some((_, task)) = self.writes[i].pop_front() else { return };
            engine::Engine::write(self.nodes[i].engine(), &task.batch, task.sync).unwrap();
            task.frames.into_iter().for_each(|f| self.send(i, f));
            self.inbox[i].push_back(Input::Written(task.seq));
        }
    }

    pub fn run(&mut self, ms: u64) {
        let end = self.now + Tick::ms(ms);
        while self.now < end {
            self.now = self.now + Tick(200_000);
            for i in (0..self.nodes.len()).filter(|i| !self.dead.contains(i)).collect::<Vec<_>>() {
                self.write(i);
                let inputs = self.inbox[i].drain(..).collect();
                let effects = self.nodes[i].step(inputs, self.now);
                self.carry_out(i, effects);
                self.write(i);
                self.nodes[i].check();
            }
        }
    }

    /// Hands a call in and does not wait.
    pub fn begin(&mut self, node: usize, ask: ClientAsk) -> CallId {
        let id = CallId(self.next);
        self.next += 1;
        self.inbox[node].push_back(Input::Call(id, ask, self.now + Tick::ms(5000)));
        id
    }

    pub fn call(&mut self, node: usize, ask: ClientAsk) -> Result<Outcome> {
        let id = self.begin(node, ask);
        for _ in 0..500 {
            self.run(10);
            if let Some(a) = self.answers.remove(&id) {
                return a;
            }
        }
        panic!("no answer to {id}: {:?}", self.nodes[node].status());
    }

    pub fn put(&mut self, node: usize, key: &str, value: &str) -> Revision {
        self.call(node, World::put_ask(key, value)).unwrap().revision
    }

    pub fn put_ask(key: &str, value: &str) -> ClientAsk {
        let put = PutReq {
            key: Key::user(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            lease: 0,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        };
        ClientAsk::Kv(Arc::new(Request::Put(put)))
    }

    pub fn get_ask(key: &str) -> ClientAsk {
        range_ask(base::Span::point(&Key::user(key.as_bytes())))
    }

    pub fn scan(&mut self, node: usize, from: &str, to: &str) -> (u64, Vec<(String, String, u64)>) {
        self.read(node, from, to, false)
    }

    pub fn read(&mut self, node: usize, from: &str, to: &str, serializable: bool) -> (u64, Vec<(String, String, u64)>) {
        let ask = read_ask(base::Span::new(Key::user(from.as_bytes()), Key::user(to.as_bytes())), serializable);
        let o = self.call(node, ask).unwrap();
        let Answer::Kv(Reply::Range(reply)) = o.answer else { panic!("a scan is answered with a scan") };
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let kvs = reply.kvs.iter().map(|kv| (text(&kv.key.raw()), text(&kv.value), kv.modified.0)).collect();
        (o.revision.0, kvs)
    }
}

fn range_ask(span: base::Span) -> ClientAsk {
    read_ask(span, false)
}

fn read_ask(span: base::Span, serializable: bool) -> ClientAsk {
    let r = RangeReq {
        span,
        revision: Revision::ZERO,
        limit: 0,
        sort: None,
        keys_only: false,
        count_only: false,
        serializable,
        filter: Filter::default(),
    };
    ClientAsk::Kv(Arc::new(Request::Range(r)))
}

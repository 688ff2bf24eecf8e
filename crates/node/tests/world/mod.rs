//! Nodes in one thread, a network that loses nothing, disks that keep everything; some of them slow.

// Each test file uses a part of it.
#![allow(dead_code)]

use base::key::Key;
use base::{BootId, CallId, ClusterId, Result, Revision, Rng, StoreId, Tick};
use bytes::Bytes;
use engine::mem::Mem;
use mvcc::{Filter, PutReq, RangeReq, Reply, Request};
use node::boot::{self, Founding};
use node::{ClientAsk, Config, Effects, Input, Node, WriteTask};
use range::{Answer, Origin, Outcome, Ready};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

type View = <Mem as engine::Engine>::View;

pub struct World {
    pub nodes: Vec<Node<Mem>>,
    pub inbox: Vec<VecDeque<Input<View>>>,
    pub now: Tick,
    /// How long a write of this node takes.
    pub slow_disk: Vec<Tick>,
    writes: Vec<VecDeque<(Tick, WriteTask)>>,
    pub answers: BTreeMap<CallId, Result<Outcome>>,
    next: u64,
}

impl World {
    pub fn new(n: u64, splits: &[&str]) -> World {
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
            nodes.push(Node::open(Config::default(), engine, Rng::new(s), Tick::ms(1)).unwrap());
        }
        let mut inbox: Vec<VecDeque<Input<View>>> = nodes.iter().map(|_| VecDeque::new()).collect();
        for (i, inbox) in inbox.iter_mut().enumerate() {
            for p in (1..=n).filter(|p| *p != i as u64 + 1) {
                inbox.push_back(Input::Connected(StoreId(p)));
            }
        }
        let slow_disk = nodes.iter().map(|_| Tick::ZERO).collect();
        let writes = nodes.iter().map(|_| VecDeque::new()).collect();
        World { nodes, inbox, now: Tick::ms(2), slow_disk, writes, answers: BTreeMap::new(), next: 1 }
    }

    fn carry_out(&mut self, i: usize, effects: Effects<Mem>) {
        assert!(effects.failed.is_none(), "{:?}", effects.failed);
        for f in effects.frames {
            self.inbox[f.to.0 as usize - 1].push_back(Input::Frame(StoreId(i as u64 + 1), f.bytes));
        }
        if let Some(task) = effects.write {
            self.writes[i].push_back((self.now + self.slow_disk[i], task));
        }
        self.answers.extend(effects.replies);
        for (proof, leased) in effects.leased {
            let input = match leased.open(self.now) {
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
            self.inbox[i].push_back(Input::Read(task.origin, task.run()));
        }
    }

    fn write(&mut self, i: usize) {
        while self.writes[i].front().is_some_and(|(due, _)| *due <= self.now) {
            let Some((_, task)) = self.writes[i].pop_front() else { return };
            engine::Engine::write(self.nodes[i].engine(), &task.batch, task.sync).unwrap();
            for f in task.frames {
                self.inbox[f.to.0 as usize - 1].push_back(Input::Frame(StoreId(i as u64 + 1), f.bytes));
            }
            self.inbox[i].push_back(Input::Written(task.seq));
        }
    }

    pub fn run(&mut self, ms: u64) {
        let end = self.now + Tick::ms(ms);
        while self.now < end {
            self.now = self.now + Tick(200_000);
            for i in 0..self.nodes.len() {
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
        let put = PutReq {
            key: Key::user(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            lease: 0,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        };
        self.call(node, ClientAsk::Kv(Arc::new(Request::Put(put)))).unwrap().revision
    }

    pub fn scan(&mut self, node: usize, from: &str, to: &str) -> (u64, Vec<(String, String, u64)>) {
        let r = RangeReq {
            span: base::Span::new(Key::user(from.as_bytes()), Key::user(to.as_bytes())),
            revision: Revision::ZERO,
            limit: 0,
            sort: None,
            keys_only: false,
            count_only: false,
            serializable: false,
            filter: Filter::default(),
        };
        let o = self.call(node, ClientAsk::Kv(Arc::new(Request::Range(r)))).unwrap();
        let Answer::Kv(Reply::Range(reply)) = o.answer else { panic!("a scan is answered with a scan") };
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let kvs = reply.kvs.iter().map(|kv| (text(&kv.key.raw()), text(&kv.value), kv.modified.0)).collect();
        (o.revision.0, kvs)
    }
}

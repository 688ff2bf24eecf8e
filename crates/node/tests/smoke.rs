//! The thinnest whole path: nodes in one thread, a network that loses nothing, disks that keep everything.

use base::key::Key;
use base::{BootId, CallId, ClusterId, Result, Revision, Rng, StoreId, Tick};
use bytes::Bytes;
use engine::mem::Mem;
use mvcc::{Filter, PutReq, RangeReq, Reply, Request};
use node::boot::{self, Founding};
use node::{ClientAsk, Config, Effects, Input, Node};
use range::{Answer, Origin, Outcome, Ready};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

type View = <Mem as engine::Engine>::View;

struct World {
    nodes: Vec<Node<Mem>>,
    inbox: Vec<VecDeque<Input<View>>>,
    now: Tick,
    answers: BTreeMap<CallId, Result<Outcome>>,
    next: u64,
}

impl World {
    fn new(n: u64, splits: &[&str]) -> World {
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
        World { nodes, inbox, now: Tick::ms(2), answers: BTreeMap::new(), next: 1 }
    }

    fn carry_out(&mut self, i: usize, effects: Effects<Mem>) {
        assert!(effects.failed.is_none(), "{:?}", effects.failed);
        for f in effects.frames {
            self.inbox[f.to.0 as usize - 1].push_back(Input::Frame(StoreId(i as u64 + 1), f.bytes));
        }
        if let Some(task) = effects.write {
            engine::Engine::write(self.nodes[i].engine(), &task.batch, task.sync).unwrap();
            for f in task.frames {
                self.inbox[f.to.0 as usize - 1].push_back(Input::Frame(StoreId(i as u64 + 1), f.bytes));
            }
            self.inbox[i].push_back(Input::Written(task.seq));
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

    fn run(&mut self, ms: u64) {
        let end = self.now + Tick::ms(ms);
        while self.now < end {
            self.now = self.now + Tick(200_000);
            for i in 0..self.nodes.len() {
                let inputs = self.inbox[i].drain(..).collect();
                let effects = self.nodes[i].step(inputs, self.now);
                self.carry_out(i, effects);
                self.nodes[i].check();
            }
        }
    }

    fn call(&mut self, node: usize, ask: ClientAsk) -> Result<Outcome> {
        let id = CallId(self.next);
        self.next += 1;
        self.inbox[node].push_back(Input::Call(id, ask, self.now + Tick::ms(5000)));
        for _ in 0..500 {
            self.run(10);
            if let Some(a) = self.answers.remove(&id) {
                return a;
            }
        }
        panic!("no answer to {id}: {:?}", self.nodes[node].status());
    }

    fn put(&mut self, node: usize, key: &str, value: &str) -> Revision {
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

    fn scan(&mut self, node: usize, from: &str, to: &str) -> (u64, Vec<(String, String, u64)>) {
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

#[test]
fn one_node_puts_and_gets() {
    let mut w = World::new(1, &[]);
    assert_eq!(w.scan(0, "a", "z"), (1, vec![]), "a fresh store is at 1");
    assert_eq!(w.put(0, "k", "1"), Revision(2));
    assert_eq!(w.put(0, "k", "2"), Revision(3));
    assert_eq!(w.scan(0, "a", "z"), (3, vec![("k".into(), "2".into(), 3)]));
}

#[test]
fn three_nodes_and_three_ranges_answer_through_any_node() {
    let mut w = World::new(3, &["g", "n"]);
    for (i, key) in ["a", "h", "z", "a", "n"].iter().enumerate() {
        assert_eq!(w.put(i % 3, key, &i.to_string()), Revision(i as u64 + 2), "{key}");
    }
    let all = vec![
        ("a".into(), "3".into(), 5),
        ("h".into(), "1".into(), 3),
        ("n".into(), "4".into(), 6),
        ("z".into(), "2".into(), 4),
    ];
    for node in 0..3 {
        assert_eq!(w.scan(node, "a", "zz"), (6, all.clone()), "node {node}");
    }
    let mut hashes = Vec::new();
    for node in 0..3 {
        let o = w.call(node, ClientAsk::Hash(Revision::ZERO)).unwrap();
        let Answer::Hash { hash, .. } = o.answer else { panic!("a hash is answered with a hash") };
        hashes.push(hash);
    }
    assert!(hashes[0] != 0 && hashes.iter().all(|h| *h == hashes[0]), "{hashes:?}");
    w.call(1, ClientAsk::Compact(Revision(5))).unwrap();
    assert!(w.call(2, ClientAsk::Compact(Revision(5))).is_err(), "compacted already");
}

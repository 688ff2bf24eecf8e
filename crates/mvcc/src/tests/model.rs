//! etcd, written as naively as possible: the whole history of every key in a map, every question answered by looking at
//! all of it. It shares the words of requests with the crate and nothing else.

use crate::*;
use base::error::Refusal;
use base::{Key, Revision, Span};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Every state there ever was, by revision.
#[derive(Clone, Default)]
pub struct Model {
    states: Vec<BTreeMap<Key, KeyValue>>,
    pub compacted: u64,
}

impl Model {
    /// A fresh store is at revision 1.
    pub fn new() -> Model {
        Model { states: vec![BTreeMap::new(); 2], compacted: 0 }
    }
    pub fn current(&self) -> u64 {
        self.states.len() as u64 - 1
    }
    pub fn state(&self, r: u64) -> &BTreeMap<Key, KeyValue> {
        &self.states[r as usize]
    }
    /// Keys that changed at this revision.
    pub fn changed(&self, r: u64) -> BTreeSet<&Key> {
        let (a, b) = (self.state(r - 1), self.state(r));
        a.keys().chain(b.keys()).filter(|k| a.get(*k) != b.get(*k)).collect()
    }

    /// Runs a command; says what it answers and whether it took a revision.
    pub fn run(&mut self, request: &Request) -> Result<(Reply, bool), Refusal> {
        let before = self.states[self.states.len() - 1].clone();
        let mut turn = Turn {
            model: self,
            before: before.clone(),
            now: before,
            next: self.states.len() as u64,
            wrote: BTreeSet::new(),
            effect: false,
        };
        if let Request::Put(p) = request
            && p.lease != 0
        {
            return Err(Refusal::LeaseNotFound);
        }
        turn.check(request)?;
        let reply = turn.op(request)?;
        let (now, effect) = (turn.now, turn.effect);
        if effect {
            self.states.push(now);
        }
        Ok((reply, effect))
    }

    /// A scan of the state at `r`.
    pub fn read(&self, req: &RangeReq, r: u64) -> RangeReply {
        range(self.state(r), req)
    }
    /// A transaction that only reads, at `r`.
    pub fn read_txn(&self, t: &TxnReq, r: u64) -> Result<Reply, Refusal> {
        let mut past = Model { states: self.states[..=r as usize].to_vec(), compacted: self.compacted };
        past.run(&Request::Txn(t.clone())).map(|(reply, _)| reply)
    }
}

struct Turn<'a> {
    model: &'a Model,
    before: BTreeMap<Key, KeyValue>,
    now: BTreeMap<Key, KeyValue>,
    next: u64,
    wrote: BTreeSet<Key>,
    effect: bool,
}

fn within<'a>(state: &'a BTreeMap<Key, KeyValue>, span: &Span) -> Vec<&'a KeyValue> {
    state.iter().filter(|(k, _)| span.contains(k)).map(|(_, kv)| kv).collect()
}

fn range(state: &BTreeMap<Key, KeyValue>, r: &RangeReq) -> RangeReply {
    let mut kvs: Vec<KeyValue> = within(state, &r.span).into_iter().cloned().collect();
    let count = kvs.len() as u64;
    if r.count_only {
        return RangeReply { kvs: vec![], more: false, count };
    }
    let f = r.filter;
    kvs.retain(|kv| {
        let top = |max: Revision| if max.0 == 0 { u64::MAX } else { max.0 };
        (f.min_mod.0..=top(f.max_mod)).contains(&kv.modified.0)
            && (f.min_create.0..=top(f.max_create)).contains(&kv.create.0)
    });
    if let Some(s) = r.sort {
        // A stable sort: what is equal stays in the order of keys, both ways.
        match s.target {
            SortTarget::Key => kvs.sort_by_key(|kv| kv.key.clone()),
            SortTarget::Version => kvs.sort_by_key(|kv| if s.descending { u64::MAX - kv.version } else { kv.version }),
            SortTarget::Create => kvs.sort_by_key(|kv| if s.descending { u64::MAX - kv.create.0 } else { kv.create.0 }),
            SortTarget::Mod => {
                kvs.sort_by_key(|kv| if s.descending { u64::MAX - kv.modified.0 } else { kv.modified.0 })
            }
            SortTarget::Value if s.descending => kvs.sort_by(|a, b| b.value.cmp(&a.value)),
            SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
        }
        if s.target == SortTarget::Key && s.descending {
            kvs.reverse();
        }
    }
    let more = r.limit != 0 && kvs.len() > r.limit as usize;
    if more {
        kvs.truncate(r.limit as usize);
    }
    if r.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeReply { kvs, more, count }
}

impl Turn<'_> {
    fn holds(&self, c: &Compare) -> bool {
        let zero = KeyValue {
            key: Key::default(),
            create: Revision(0),
            modified: Revision(0),
            version: 0,
            value: Bytes::new(),
            lease: 0,
        };
        let mut kvs = within(&self.before, &c.span);
        if kvs.is_empty() {
            if let CompareTarget::Value(_) = c.target {
                return false;
            }
            kvs.push(&zero);
        }
        kvs.iter().all(|kv| {
            let o = match &c.target {
                CompareTarget::Version(t) => (kv.version as i64).cmp(t),
                CompareTarget::Create(t) => (kv.create.0 as i64).cmp(t),
                CompareTarget::Mod(t) => (kv.modified.0 as i64).cmp(t),
                CompareTarget::Value(t) => kv.value.cmp(t),
                CompareTarget::Lease(t) => kv.lease.cmp(t),
            };
            match c.result {
                CompareResult::Equal => o.is_eq(),
                CompareResult::Greater => o.is_gt(),
                CompareResult::Less => o.is_lt(),
                CompareResult::NotEqual => o.is_ne(),
            }
        })
    }

    fn branch<'t>(&self, t: &'t TxnReq) -> (bool, &'t Vec<Request>) {
        let yes = t.compares.iter().all(|c| self.holds(c));
        (yes, if yes { &t.success } else { &t.failure })
    }

    /// What refuses the whole transaction.
    fn check(&self, op: &Request) -> Result<(), Refusal> {
        match op {
            Request::Range(r) if r.revision.0 >= self.next => Err(Refusal::FutureRevision),
            Request::Range(r) if r.revision.0 != 0 && r.revision.0 < self.model.compacted => Err(Refusal::Compacted),
            Request::Put(p) if (p.ignore_value || p.ignore_lease) && !self.before.contains_key(&p.key) => {
                Err(Refusal::KeyNotFound)
            }
            Request::Put(p) if p.lease != 0 => Err(Refusal::LeaseNotFound),
            Request::Txn(t) => self.branch(t).1.iter().try_for_each(|op| self.check(op)),
            _ => Ok(()),
        }
    }

    fn op(&mut self, op: &Request) -> Result<Reply, Refusal> {
        Ok(match op {
            Request::Range(r) if r.revision.0 != 0 => Reply::Range(range(self.model.state(r.revision.0), r)),
            Request::Range(r) => Reply::Range(range(&self.now, r)),
            Request::Put(p) => {
                let old = self.now.get(&p.key).cloned();
                if (p.ignore_value || p.ignore_lease) && old.is_none() {
                    return Err(Refusal::KeyNotFound);
                }
                self.writes(&p.key)?;
                let mut new = KeyValue {
                    key: p.key.clone(),
                    create: Revision(self.next),
                    modified: Revision(self.next),
                    version: 1,
                    value: p.value.clone(),
                    lease: p.lease,
                };
                if let Some(old) = &old {
                    new.create = old.create;
                    new.version = old.version + 1;
                    if p.ignore_value {
                        new.value = old.value.clone();
                    }
                    if p.ignore_lease {
                        new.lease = old.lease;
                    }
                }
                self.now.insert(p.key.clone(), new);
                Reply::Put(PutReply { prev: old.filter(|_| p.prev_kv) })
            }
            Request::Delete(d) => {
                let gone: Vec<KeyValue> = within(&self.now, &d.span).into_iter().cloned().collect();
                for kv in &gone {
                    self.writes(&kv.key)?;
                    self.now.remove(&kv.key);
                }
                Reply::Delete(DeleteReply { deleted: gone.len() as u64, prev: if d.prev_kv { gone } else { vec![] } })
            }
            Request::Txn(t) => {
                let (succeeded, ops) = self.branch(t);
                let replies = ops.iter().map(|op| self.op(op)).collect::<Result<_, _>>()?;
                Reply::Txn(TxnReply { succeeded, replies })
            }
        })
    }

    /// etcd refuses statically what this crate refuses when it comes to it: one key written twice.
    fn writes(&mut self, key: &Key) -> Result<(), Refusal> {
        self.effect = true;
        if self.wrote.insert(key.clone()) { Ok(()) } else { Err(Refusal::DuplicateKey) }
    }
}

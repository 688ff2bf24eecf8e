//! What etcd's operations mean, written a second time: the judge must not ask the accused.

use base::error::Refusal;
use base::{Key, Revision, Span};
use bytes::Bytes;
use mvcc::{
    Compare, CompareResult, CompareTarget, DeleteReply, DeleteReq, Filter, KeyValue, PutReply, PutReq, RangeReply,
    RangeReq, Reply, Request, Sort, SortTarget, TxnReply, TxnReq,
};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// One state of all keys.
pub trait Snapshot {
    /// The key-value at `key`.
    fn get(&self, key: &Key) -> Option<KeyValue>;
    /// All key-values of the span, in the order of keys.
    fn scan(&self, span: &Span) -> Vec<KeyValue>;
    /// The state at an older revision, where the model keeps one.
    fn older(&self, revision: Revision) -> Option<Box<dyn Snapshot + '_>>;
}

/// Every version of every key.
#[derive(Default)]
pub struct MultiVersion {
    keys: BTreeMap<Key, Vec<(Revision, Option<KeyValue>)>>,
}

impl MultiVersion {
    /// From versions in any order.
    pub fn new(versions: &[super::Version]) -> MultiVersion {
        let mut keys: BTreeMap<Key, Vec<_>> = BTreeMap::new();
        for v in versions {
            keys.entry(v.key.clone()).or_default().push((v.revision, v.kv.clone()));
        }
        for list in keys.values_mut() {
            list.sort_by_key(|(r, _)| *r);
        }
        MultiVersion { keys }
    }
    /// The state right after `revision`.
    pub fn at(&self, revision: Revision) -> At<'_> {
        At { all: self, revision }
    }
}

/// The state of a `MultiVersion` right after a revision.
pub struct At<'a> {
    all: &'a MultiVersion,
    revision: Revision,
}

impl At<'_> {
    fn pick(&self, list: &[(Revision, Option<KeyValue>)]) -> Option<KeyValue> {
        let n = list.partition_point(|(r, _)| *r <= self.revision);
        n.checked_sub(1).and_then(|i| list[i].1.clone())
    }
}

impl Snapshot for At<'_> {
    fn get(&self, key: &Key) -> Option<KeyValue> {
        self.all.keys.get(key).and_then(|list| self.pick(list))
    }
    fn scan(&self, span: &Span) -> Vec<KeyValue> {
        if span.is_empty() {
            return Vec::new();
        }
        self.all.keys.range(&span.start..&span.end).filter_map(|(_, list)| self.pick(list)).collect()
    }
    fn older(&self, revision: Revision) -> Option<Box<dyn Snapshot + '_>> {
        Some(Box::new(self.all.at(revision)))
    }
}

/// One state, no past.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Flat(pub BTreeMap<Key, KeyValue>);

impl Snapshot for Flat {
    fn get(&self, key: &Key) -> Option<KeyValue> {
        self.0.get(key).cloned()
    }
    fn scan(&self, span: &Span) -> Vec<KeyValue> {
        if span.is_empty() {
            return Vec::new();
        }
        self.0.range(&span.start..&span.end).map(|(_, kv)| kv.clone()).collect()
    }
    fn older(&self, _: Revision) -> Option<Box<dyn Snapshot + '_>> {
        None
    }
}

/// What a request changes: what each key becomes.
pub type Effects = BTreeMap<Key, Option<KeyValue>>;

/// One request being carried out over one state.
pub struct Turn<'a, S: Snapshot> {
    state: &'a S,
    number: Revision,
    own: Effects,
    /// Operations begun so far, and which of them wrote each key.
    begun: u32,
    places: BTreeMap<Key, u32>,
}

impl<'a, S: Snapshot> Turn<'a, S> {
    /// What `request` answers and changes over `state`, if its changes are numbered `number`.
    pub fn run(state: &'a S, number: Revision, request: &Request) -> Result<(Reply, Effects), Refusal> {
        Turn::run_in_order(state, number, request).map(|(reply, effects, _)| (reply, effects))
    }

    /// The same, and which operation, counted from the first, changed each key.
    pub fn run_in_order(
        state: &'a S,
        number: Revision,
        request: &Request,
    ) -> Result<(Reply, Effects, BTreeMap<Key, u32>), Refusal> {
        let mut turn = Turn { state, number, own: BTreeMap::new(), begun: 0, places: BTreeMap::new() };
        turn.must_exist(request)?;
        let reply = turn.request(request)?;
        Ok((reply, turn.own, turn.places))
    }

    fn get(&self, key: &Key) -> Option<KeyValue> {
        match self.own.get(key) {
            Some(own) => own.clone(),
            None => self.state.get(key),
        }
    }

    fn scan(&self, span: &Span) -> Vec<KeyValue> {
        if span.is_point() {
            return self.get(&span.start).into_iter().collect();
        }
        let found = self.state.scan(span);
        if self.own.is_empty() || span.is_empty() {
            return found;
        }
        let mut all: BTreeMap<Key, KeyValue> = found.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        for (key, own) in self.own.range(&span.start..&span.end) {
            match own {
                Some(kv) => drop(all.insert(key.clone(), kv.clone())),
                None => drop(all.remove(key)),
            }
        }
        all.into_values().collect()
    }

    /// Puts that keep a value or a lease need the key, in the state before the transaction.
    fn must_exist(&self, request: &Request) -> Result<(), Refusal> {
        match request {
            Request::Range(_) | Request::Delete(_) => Ok(()),
            Request::Put(p) if (p.ignore_value || p.ignore_lease) && self.state.get(&p.key).is_none() => {
                Err(Refusal::KeyNotFound)
            }
            Request::Put(_) => Ok(()),
            Request::Txn(t) => self.branch(t).1.iter().try_for_each(|op| self.must_exist(op)),
        }
    }

    fn branch<'t>(&self, t: &'t TxnReq) -> (bool, &'t [Request]) {
        let holds = t.compares.iter().all(|c| self.compare(c));
        (holds, if holds { &t.success } else { &t.failure })
    }

    fn request(&mut self, request: &Request) -> Result<Reply, Refusal> {
        self.begun += 1;
        Ok(match request {
            Request::Range(r) => Reply::Range(self.range(r)?),
            Request::Put(p) => Reply::Put(self.put(p)),
            Request::Delete(d) => Reply::Delete(self.delete(d)),
            Request::Txn(t) => {
                let (succeeded, ops) = self.branch(t);
                let replies = ops.iter().map(|op| self.request(op)).collect::<Result<_, _>>()?;
                Reply::Txn(TxnReply { succeeded, replies })
            }
        })
    }

    /// All compares see the state before the transaction.
    fn compare(&self, c: &Compare) -> bool {
        let found = self.state.scan(&c.span);
        if found.is_empty() {
            return !matches!(c.target, CompareTarget::Value(_)) && satisfies(c, &nothing());
        }
        found.iter().all(|kv| satisfies(c, kv))
    }

    fn range(&self, r: &RangeReq) -> Result<RangeReply, Refusal> {
        let mut kvs = match r.revision {
            Revision::ZERO => self.scan(&r.span),
            old => self.state.older(old).ok_or(Refusal::FutureRevision)?.scan(&r.span),
        };
        let count = kvs.len() as u64;
        if r.count_only {
            return Ok(RangeReply { kvs: Vec::new(), more: false, count });
        }
        kvs.retain(|kv| passes(&r.filter, kv));
        if let Some(sort) = r.sort {
            kvs.sort_by(|a, b| in_order(sort, a, b));
        }
        let more = r.limit > 0 && kvs.len() as u64 > r.limit;
        if more {
            kvs.truncate(r.limit as usize);
        }
        if r.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeReply { kvs, more, count })
    }

    fn put(&mut self, p: &PutReq) -> PutReply {
        let prev = self.get(&p.key);
        let old = prev.as_ref();
        let kv = KeyValue {
            key: p.key.clone(),
            create: old.map_or(self.number, |kv| kv.create),
            modified: self.number,
            version: old.map_or(1, |kv| kv.version + 1),
            value: if p.ignore_value { old.map_or(Bytes::new(), |kv| kv.value.clone()) } else { p.value.clone() },
            lease: if p.ignore_lease { old.map_or(0, |kv| kv.lease) } else { p.lease },
        };
        self.own.insert(p.key.clone(), Some(kv));
        self.places.insert(p.key.clone(), self.begun);
        PutReply { prev: prev.filter(|_| p.prev_kv) }
    }

    fn delete(&mut self, d: &DeleteReq) -> DeleteReply {
        let found = self.scan(&d.span);
        for kv in &found {
            self.own.insert(kv.key.clone(), None);
            self.places.insert(kv.key.clone(), self.begun);
        }
        DeleteReply { deleted: found.len() as u64, prev: if d.prev_kv { found } else { Vec::new() } }
    }
}

fn nothing() -> KeyValue {
    KeyValue {
        key: Key::default(),
        create: Revision::ZERO,
        modified: Revision::ZERO,
        version: 0,
        value: Bytes::new(),
        lease: 0,
    }
}

fn satisfies(c: &Compare, kv: &KeyValue) -> bool {
    let order = match &c.target {
        CompareTarget::Version(v) => (kv.version as i64).cmp(v),
        CompareTarget::Create(v) => (kv.create.0 as i64).cmp(v),
        CompareTarget::Mod(v) => (kv.modified.0 as i64).cmp(v),
        CompareTarget::Value(v) => kv.value.cmp(v),
        CompareTarget::Lease(v) => kv.lease.cmp(v),
    };
    match c.result {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
        CompareResult::NotEqual => order != Ordering::Equal,
    }
}

fn passes(f: &Filter, kv: &KeyValue) -> bool {
    let none = Revision::ZERO;
    (f.min_mod == none || kv.modified >= f.min_mod)
        && (f.max_mod == none || kv.modified <= f.max_mod)
        && (f.min_create == none || kv.create >= f.min_create)
        && (f.max_create == none || kv.create <= f.max_create)
}

/// The order of a sorted scan; equal key-values are in no particular order.
pub(super) fn in_order(sort: Sort, a: &KeyValue, b: &KeyValue) -> Ordering {
    let order = match sort.target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create.cmp(&b.create),
        SortTarget::Mod => a.modified.cmp(&b.modified),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    if sort.descending { order.reverse() } else { order }
}

/// Is `got` an answer that the model allows, where it says `want`? Only the order of equals in a sorted scan is free,
/// and with it which of them a limit cuts off: then each key-value must still be one that the scan without a limit has.
pub(super) fn same_reply<S: Snapshot>(turn: &S, request: &Request, want: &Reply, got: &Reply) -> bool {
    match (request, want, got) {
        (Request::Txn(t), Reply::Txn(want), Reply::Txn(got)) => {
            let ops = if want.succeeded { &t.success } else { &t.failure };
            want.succeeded == got.succeeded
                && want.replies.len() == got.replies.len()
                && ops.len() == want.replies.len()
                && ops.iter().zip(&want.replies).zip(&got.replies).all(|((op, w), g)| same_reply(turn, op, w, g))
        }
        (Request::Range(r), Reply::Range(want), Reply::Range(got)) => {
            want == got || r.sort.is_some_and(|sort| same_but_for_ties(turn, r, sort, want, got))
        }
        _ => want == got,
    }
}

fn same_but_for_ties<S: Snapshot>(state: &S, r: &RangeReq, sort: Sort, want: &RangeReply, got: &RangeReply) -> bool {
    if r.keys_only && sort.target == SortTarget::Value {
        // The order was decided by values that are not shown.
        let keys =
            |reply: &RangeReply| reply.kvs.iter().map(|kv| kv.key.clone()).collect::<std::collections::BTreeSet<_>>();
        return want.more || keys(want) == keys(got);
    }
    let tied = want.kvs.iter().zip(&got.kvs).all(|(w, g)| in_order(sort, w, g) == Ordering::Equal);
    let mut keys: Vec<_> = got.kvs.iter().map(|kv| &kv.key).collect();
    keys.sort();
    keys.dedup();
    // A key-value that only this transaction wrote is not in the state: it must then be one that the model shows.
    let known = |g: &KeyValue| {
        want.kvs.contains(g)
            || state.get(&g.key).is_some_and(|mut kv| {
                if r.keys_only {
                    kv.value = Bytes::new();
                }
                kv == *g
            })
    };
    (want.count, want.more, want.kvs.len()) == (got.count, got.more, got.kvs.len())
        && tied
        && keys.len() == got.kvs.len()
        && got.kvs.iter().all(known)
}

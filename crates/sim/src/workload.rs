//! What clients ask for: every operation there is, on few hot keys and many cold ones, over several ranges.

use crate::check::Ask;
use crate::options::{Mix, Options};
use base::{Key, Revision, Rng, Span};
use bytes::Bytes;
use mvcc::*;

/// Draws operations. Every value that is written is written once, so that a value names its writer.
#[derive(Clone, Debug)]
pub struct Workload {
    mix: Mix,
    plain: bool,
    ranges: u64,
    per_range: u64,
    hot: u64,
    rng: Rng,
    written: u64,
}

/// What was asked for, for the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verb {
    Put,
    Get,
    Scan,
    OldRead,
    SerializableRead,
    Delete,
    Txn,
    ReadTxn,
    Compact,
    Wrong,
}

impl Verb {
    /// All verbs, in the order of the table.
    pub const ALL: [Verb; 10] = [
        Verb::Put,
        Verb::Get,
        Verb::Scan,
        Verb::OldRead,
        Verb::SerializableRead,
        Verb::Delete,
        Verb::Txn,
        Verb::ReadTxn,
        Verb::Compact,
        Verb::Wrong,
    ];
}

/// The key with this number; ranges are cut between numbers.
pub fn key(n: u64) -> Key {
    Key::user(format!("k{n:04}").as_bytes())
}

impl Workload {
    /// For these options.
    pub fn new(o: &Options, rng: Rng) -> Workload {
        let per_range = (o.keys / o.ranges).max(1);
        Workload { mix: o.mix, plain: o.plain, ranges: o.ranges, per_range, hot: o.hot.min(per_range), rng, written: 0 }
    }

    /// Where the ranges are cut.
    pub fn split_keys(o: &Options) -> Vec<Key> {
        let per_range = (o.keys / o.ranges).max(1);
        (1..o.ranges).map(|r| key(r * per_range)).collect()
    }

    /// The next operation. `seen` is the largest revision that this client has been shown.
    pub fn next(&mut self, seen: Revision) -> (Verb, Ask) {
        let m = self.mix;
        let weights = [
            (Verb::Put, m.put),
            (Verb::Get, m.get),
            (Verb::Scan, m.scan),
            (Verb::OldRead, m.old_read),
            (Verb::Delete, m.delete),
            (Verb::Txn, m.txn),
            (Verb::ReadTxn, m.read_txn),
            (Verb::Compact, m.compact),
            (Verb::Wrong, m.wrong),
        ];
        let mut at = self.rng.below(weights.iter().map(|w| w.1).sum());
        let mut verb = Verb::Put;
        for (v, w) in weights {
            verb = v;
            if at < w {
                break;
            }
            at -= w;
        }
        let home = self.rng.below(self.ranges);
        let ask = match verb {
            Verb::Put => Ask::Kv(self.put(home)),
            Verb::Delete => Ask::Kv(self.delete(home)),
            Verb::Txn => {
                let txn = self.txn(home, 2);
                Ask::Kv(self.looking_back(txn, seen))
            }
            Verb::ReadTxn => {
                let txn = self.read_txn(home);
                Ask::Kv(self.looking_back(txn, seen))
            }
            Verb::OldRead => {
                let mut r = self.range_req(None);
                // Now and then a little ahead of what this client knows.
                let back = self.rng.below(30);
                r.revision = Revision((seen.0 + 3).saturating_sub(back).max(1));
                Ask::Kv(Request::Range(r))
            }
            Verb::Compact => {
                // Often as far as this client knows: the worst for whoever reads now.
                let back = if self.rng.chance(400_000) { 0 } else { self.rng.below(40) };
                Ask::Compact(Revision(seen.0.saturating_sub(back).max(1)))
            }
            Verb::Wrong => Ask::Kv(self.wrong(home, seen)),
            Verb::Get => {
                let k = self.key(home);
                Ask::Kv(Request::Range(RangeReq { span: Span::point(&k), ..self.range_req(Some(home)) }))
            }
            Verb::Scan | Verb::SerializableRead => Ask::Kv(Request::Range(self.range_req(None))),
        };
        match &ask {
            Ask::Kv(Request::Range(r)) if r.serializable => (Verb::SerializableRead, ask),
            _ => (verb, ask),
        }
    }

    /// An operation that must succeed on a healthy cluster.
    pub fn probe(&mut self, range: u64) -> Ask {
        self.written += 1;
        let value = Bytes::from(format!("v{}", self.written));
        Ask::Kv(Request::Put(put_req(key(range * self.per_range), value)))
    }

    fn key(&mut self, home: u64) -> Key {
        let n = if self.rng.chance(700_000) { self.rng.below(self.hot) } else { self.rng.below(self.per_range) };
        key(home * self.per_range + n)
    }

    fn value(&mut self) -> Bytes {
        self.written += 1;
        let mut v = format!("v{}", self.written).into_bytes();
        // Some are large, so that logs are cut and snapshots taken.
        if self.rng.chance(100_000) {
            v.resize(v.len() + self.rng.below(2_000) as usize, b'.');
        }
        Bytes::from(v)
    }

    /// A span within a range, or over several.
    fn span(&mut self, home: Option<u64>) -> Span {
        let (first, n) = match home {
            Some(r) => (r * self.per_range, self.per_range),
            None => (0, self.per_range * self.ranges),
        };
        let (a, b) = (first + self.rng.below(n + 1), first + self.rng.below(n + 1));
        let (a, b) = (a.min(b), a.max(b));
        match self.rng.below(10) {
            0 if home.is_none() => Span::users(),
            1 if home.is_none() => Span::new(key(a), Span::users().end),
            // Nothing at all, or the wrong way round.
            2 => Span::new(key(b), key(a)),
            // One key, but not as a point.
            3 if a < first + n => Span::new(key(a), key(a + 1)),
            _ => Span::new(key(a), key(b)),
        }
    }

    fn put(&mut self, home: u64) -> Request {
        let (k, v) = (self.key(home), self.value());
        let mut p = put_req(k, v);
        p.prev_kv = self.rng.chance(400_000);
        if self.rng.chance(60_000) {
            p.ignore_value = true;
            p.value = Bytes::new();
        }
        p.ignore_lease = self.rng.chance(60_000);
        Request::Put(p)
    }

    fn delete(&mut self, home: u64) -> Request {
        let span = if self.rng.chance(600_000) { Span::point(&self.key(home)) } else { self.span(Some(home)) };
        Request::Delete(DeleteReq { span, prev_kv: self.rng.chance(500_000) })
    }

    fn range_req(&mut self, home: Option<u64>) -> RangeReq {
        let rng = &mut self.rng;
        let targets = [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];
        let plain = self.plain;
        let sort = (!plain && rng.chance(300_000))
            .then(|| Sort { target: *rng.pick(&targets), descending: rng.chance(500_000) });
        let limit = if rng.chance(400_000) { rng.below(6) } else { 0 };
        let (keys_only, count_only) = (rng.chance(100_000), rng.chance(150_000));
        let serializable = rng.chance(150_000);
        let filter = if !plain && rng.chance(150_000) {
            let mut bound = || if rng.chance(300_000) { Revision(rng.below(200)) } else { Revision::ZERO };
            Filter { min_mod: bound(), max_mod: bound(), min_create: bound(), max_create: bound() }
        } else {
            Filter::default()
        };
        let span = if home.is_none() && self.rng.chance(300_000) {
            let r = self.rng.below(self.ranges);
            self.span(Some(r))
        } else {
            self.span(home)
        };
        RangeReq { span, revision: Revision::ZERO, limit, sort, keys_only, count_only, serializable, filter }
    }

    fn compare(&mut self, home: u64) -> Compare {
        let span = if self.rng.chance(850_000) { Span::point(&self.key(home)) } else { self.span(Some(home)) };
        let results = [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
        let result = *self.rng.pick(&results);
        let n = self.rng.below(4) as i64;
        let target = match self.rng.below(10) {
            5 | 6 if self.plain => CompareTarget::Version(n),
            0..=4 => CompareTarget::Version(n),
            5 => CompareTarget::Create(self.rng.below(100) as i64),
            6 => CompareTarget::Mod(self.rng.below(100) as i64),
            7 => CompareTarget::Lease(0),
            _ => CompareTarget::Value(Bytes::from(format!("v{}", self.rng.below(self.written + 1)))),
        };
        Compare { span, result, target }
    }

    fn txn(&mut self, home: u64, depth: u32) -> Request {
        let compares = (0..self.rng.below(3)).map(|_| self.compare(home)).collect();
        Request::Txn(TxnReq { compares, success: self.branch(home, depth), failure: self.branch(home, depth) })
    }

    /// Operations of one branch. No key is written twice in it: etcd refuses that.
    fn branch(&mut self, home: u64, depth: u32) -> Vec<Request> {
        let mut ops: Vec<Request> = Vec::new();
        for _ in 0..self.rng.below(4) {
            let op = match self.rng.below(10) {
                0..=3 => self.put(home),
                4 => self.delete(home),
                5 if depth > 0 => self.txn(home, depth - 1),
                _ => {
                    let mut r = self.range_req(Some(home));
                    r.serializable = false;
                    Request::Range(r)
                }
            };
            let mut clash = false;
            op.spans(&mut |span, written| {
                clash |= written && ops.iter().any(|other| writes_into(other, span));
            });
            if !clash {
                ops.push(op);
            }
        }
        ops
    }

    fn read_txn(&mut self, home: u64) -> Request {
        let compares = (0..self.rng.below(3)).map(|_| self.compare(home)).collect();
        let reads = |w: &mut Workload| {
            (0..w.rng.between(1, 3))
                .map(|_| Request::Range(RangeReq { serializable: false, ..w.range_req(Some(home)) }))
                .collect()
        };
        Request::Txn(TxnReq { compares, success: reads(self), failure: reads(self) })
    }

    /// Some scans inside a transaction name a revision that this client has been shown.
    fn looking_back(&mut self, request: Request, seen: Revision) -> Request {
        let Request::Txn(mut t) = request else { return request };
        if self.mix.old_read > 0 && self.rng.chance(150_000) {
            for op in t.success.iter_mut().chain(&mut t.failure) {
                if let Request::Range(r) = op {
                    r.revision = Revision(seen.0.saturating_sub(self.rng.below(20)).max(1));
                }
            }
        }
        Request::Txn(t)
    }

    /// What must be refused: a future revision, a missing key, a write over two ranges.
    fn wrong(&mut self, home: u64, seen: Revision) -> Request {
        match self.rng.below(3) {
            0 => {
                let r = self.range_req(Some(home));
                Request::Range(RangeReq { revision: Revision(seen.0 + 1_000_000), serializable: false, ..r })
            }
            1 => {
                let missing = Key::user(format!("k{:04}x", home * self.per_range).as_bytes());
                Request::Put(PutReq { ignore_value: true, ..put_req(missing, Bytes::new()) })
            }
            _ => Request::Delete(DeleteReq { span: Span::users(), prev_kv: false }),
        }
    }
}

fn put_req(key: Key, value: Bytes) -> PutReq {
    PutReq { key, value, lease: 0, prev_kv: false, ignore_value: false, ignore_lease: false }
}

fn writes_into(op: &Request, span: &Span) -> bool {
    let mut hit = false;
    op.spans(&mut |s, written| hit |= written && s.overlaps(span));
    hit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Flat, History, Op, Outcome, Rules, Turn, Version, check_revisions};
    use std::collections::BTreeSet;

    /// A perfect store: one operation after the other, on the judge's own model.
    fn perfect(seed: u64, n: u64) -> (History, BTreeSet<Verb>) {
        let o = Options::draw(seed);
        let mut workload = Workload::new(&o, Rng::new(seed));
        let (mut history, mut verbs) = (History::default(), BTreeSet::new());
        let (mut state, mut current) = (Flat::default(), Revision::FIRST);
        for id in 0..n {
            let (verb, ask) = workload.next(current);
            verbs.insert(verb);
            let Ask::Kv(request) = &ask else { continue };
            if matches!(verb, Verb::OldRead) || request.names_a_revision() {
                continue;
            }
            let outcome = match Turn::run(&state, current.next(), request) {
                Err(refusal) => Outcome::Refused(refusal),
                Ok((reply, effects)) => {
                    current = if effects.is_empty() { current } else { current.next() };
                    for (key, kv) in effects {
                        history.versions.push(Version {
                            key: key.clone(),
                            revision: current,
                            sub: None,
                            kv: kv.clone(),
                        });
                        match kv {
                            Some(kv) => drop(state.0.insert(key, kv)),
                            None => drop(state.0.remove(&key)),
                        }
                    }
                    Outcome::Ok(current, Some(reply))
                }
            };
            history.ops.push(Op { id, client: 1, door: 1, call: 10 * id, ret: 10 * id + 5, ask, outcome });
        }
        (history, verbs)
    }

    #[test]
    fn every_verb_is_drawn_and_a_perfect_store_is_found_perfect() {
        let mut drawn = BTreeSet::new();
        for seed in 0..60 {
            let (history, verbs) = perfect(seed, 400);
            drawn.extend(verbs);
            let summary = check_revisions(&history, &Rules::default()).unwrap_or_else(|v| panic!("seed {seed}: {v}"));
            assert!(summary.owned > 20, "seed {seed} changes too little: {summary:?}");
        }
        assert_eq!(drawn.len(), Verb::ALL.len(), "{drawn:?}");
    }

    #[test]
    fn one_seed_is_one_workload() {
        let o = Options::draw(5);
        let mut a = Workload::new(&o, Rng::new(5));
        let mut b = Workload::new(&o, Rng::new(5));
        assert!((0..500).all(|_| a.next(Revision(9)) == b.next(Revision(9))));
        assert_ne!(Options::draw(5), Options::draw(6));
    }
}

//! Short words for requests, and random ones.

use crate::*;
use base::{Key, Revision, Rng, Span};
use bytes::Bytes;

/// Keys that escaping and prefixes care about.
pub const KEYS: [&[u8]; 10] = [b"", b"a", b"a\0", b"a\0\xff", b"a\0\x01", b"a\xff", b"b", b"ba", b"c", b"d"];

pub fn key(k: &str) -> Key {
    Key::user(k.as_bytes())
}
pub fn span(a: &str, b: &str) -> Span {
    Span::new(key(a), key(b))
}
pub fn point(k: &str) -> Span {
    Span::point(&key(k))
}
pub fn put(k: &str, v: &str) -> Request {
    Request::Put(PutReq {
        key: key(k),
        value: Bytes::copy_from_slice(v.as_bytes()),
        lease: 0,
        prev_kv: true,
        ignore_value: false,
        ignore_lease: false,
    })
}
pub fn delete(span: Span) -> Request {
    Request::Delete(DeleteReq { span, prev_kv: true })
}
pub fn all_of(span: Span) -> RangeReq {
    RangeReq {
        span,
        revision: Revision::ZERO,
        limit: 0,
        sort: None,
        keys_only: false,
        count_only: false,
        serializable: false,
        filter: Filter::default(),
    }
}
pub fn scan(span: Span) -> Request {
    Request::Range(all_of(span))
}
pub fn compare(span: Span, result: CompareResult, target: CompareTarget) -> Compare {
    Compare { span, result, target }
}
pub fn txn(compares: Vec<Compare>, success: Vec<Request>, failure: Vec<Request>) -> Request {
    Request::Txn(TxnReq { compares, success, failure })
}

/// Random requests over few keys.
pub struct Maker<'a> {
    pub rng: &'a mut Rng,
    /// Revisions up to about here exist.
    pub current: u64,
}

impl Maker<'_> {
    fn one_in(&mut self, n: u64) -> bool {
        self.rng.below(n) == 0
    }
    pub fn key(&mut self) -> Key {
        Key::user(KEYS[self.rng.below(KEYS.len() as u64) as usize])
    }
    pub fn span(&mut self) -> Span {
        match self.rng.below(5) {
            0 => Span::users(),
            1 => Span::new(self.key(), Span::users().end),
            2 => Span::new(self.key(), self.key()),
            _ => Span::point(&self.key()),
        }
    }
    fn value(&mut self) -> Bytes {
        let n = self.rng.below(4) as usize;
        Bytes::from((0..n).map(|_| b'0' + self.rng.below(3) as u8).collect::<Vec<_>>())
    }
    /// A revision that may be anything around those that exist; often none.
    fn revision(&mut self, none_in: u64) -> Revision {
        if self.rng.below(none_in) != 0 { Revision::ZERO } else { Revision(self.rng.below(self.current + 3)) }
    }
    pub fn range(&mut self, with_revision: bool) -> RangeReq {
        use SortTarget::*;
        let target = *self.rng.pick(&[Key, Version, Create, Mod, Value]);
        let sort = self.one_in(2).then(|| Sort { target, descending: self.rng.below(2) == 0 });
        let filtered = if self.one_in(2) { 2 } else { u64::MAX };
        RangeReq {
            span: self.span(),
            revision: if with_revision { self.revision(3) } else { Revision::ZERO },
            limit: if self.one_in(2) { self.rng.below(4) } else { 0 },
            sort,
            keys_only: self.one_in(4),
            count_only: self.one_in(6),
            serializable: false,
            filter: Filter {
                min_mod: self.revision(filtered),
                max_mod: self.revision(filtered),
                min_create: self.revision(filtered),
                max_create: self.revision(filtered),
            },
        }
    }
    pub fn put(&mut self) -> PutReq {
        let ignore = self.rng.below(8);
        PutReq {
            key: self.key(),
            value: if ignore == 0 { Bytes::new() } else { self.value() },
            lease: if self.one_in(20) { 7 } else { 0 },
            prev_kv: self.one_in(2),
            ignore_value: ignore == 0,
            ignore_lease: ignore == 1,
        }
    }
    pub fn delete(&mut self) -> DeleteReq {
        DeleteReq { span: self.span(), prev_kv: self.one_in(2) }
    }
    pub fn compare(&mut self) -> Compare {
        use CompareResult::*;
        let number = self.rng.below(self.current + 2) as i64;
        let small = self.rng.below(3) as i64;
        let target = match self.rng.below(7) {
            0 => CompareTarget::Version(small),
            1 => CompareTarget::Create(number),
            2 => CompareTarget::Mod(number),
            3 => CompareTarget::Create(small),
            4 => CompareTarget::Mod(small),
            5 => CompareTarget::Value(self.value()),
            _ => CompareTarget::Lease(small),
        };
        Compare { span: self.span(), result: *self.rng.pick(&[Equal, Greater, Less, NotEqual]), target }
    }
    pub fn txn(&mut self, depth: u64, writes: bool) -> TxnReq {
        let compares = (0..self.rng.below(3)).map(|_| self.compare()).collect();
        TxnReq { compares, success: self.ops(depth, writes), failure: self.ops(depth, writes) }
    }
    fn ops(&mut self, depth: u64, writes: bool) -> Vec<Request> {
        let n = self.rng.below(5);
        (0..n).map(|_| self.op(depth, writes)).collect()
    }
    fn op(&mut self, depth: u64, writes: bool) -> Request {
        match self.rng.below(8) {
            0 if depth > 0 => Request::Txn(self.txn(depth - 1, writes)),
            1 | 2 if writes => Request::Delete(self.delete()),
            3..=5 if writes => Request::Put(self.put()),
            _ => Request::Range(self.range(true)),
        }
    }
    /// Any command.
    pub fn request(&mut self) -> Request {
        match self.rng.below(10) {
            0..=3 => Request::Put(self.put()),
            4 => Request::Delete(self.delete()),
            5 => Request::Range(self.range(false)),
            _ => Request::Txn(self.txn(2, true)),
        }
    }
}

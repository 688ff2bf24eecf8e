//! Requests and replies of keys and values on the wire between nodes. One byte names the shape, then its fields in the
//! order of the type; numbers are varints, booleans are bits of one byte, signed numbers are zigzagged.

use base::codec::{get_bytes, get_u8, get_u64, put_bytes, put_u64};
use base::{Error, Key, Result, Revision, Span};
use bytes::Bytes;
use mvcc::{
    Compare, CompareResult, CompareTarget, DeleteReply, DeleteReq, Filter, KeyValue, PutReply, PutReq, RangeReply,
    RangeReq, Reply, Request, Sort, SortTarget, TxnReply, TxnReq,
};

/// Transactions nest no deeper than this on the wire; the gateway refuses deeper ones long before.
const MAX_DEPTH: usize = 130;

pub(crate) fn put_i64(out: &mut Vec<u8>, v: i64) {
    put_u64(out, ((v << 1) ^ (v >> 63)) as u64);
}
pub(crate) fn get_i64(b: &mut Bytes) -> Result<i64> {
    let v = get_u64(b)?;
    Ok((v >> 1) as i64 ^ -((v & 1) as i64))
}
pub(crate) fn put_span(out: &mut Vec<u8>, s: &Span) {
    put_bytes(out, s.start.bytes());
    put_bytes(out, s.end.bytes());
}
pub(crate) fn get_span(b: &mut Bytes) -> Result<Span> {
    Ok(Span::new(Key(get_bytes(b)?), Key(get_bytes(b)?)))
}
fn flags(bits: &[bool]) -> u8 {
    bits.iter().enumerate().fold(0, |f, (i, on)| f | (u8::from(*on) << i))
}
fn wrong(what: &str, v: u8) -> Error {
    Error::corrupt(format!("{v} names no {what}: sent by a newer version?"))
}
/// A count that is followed by at least as many bytes.
fn get_count(b: &mut Bytes) -> Result<usize> {
    let n = get_u64(b)?;
    if n > b.len() as u64 {
        return Err(Error::corrupt(format!("{n} things are announced in {} bytes", b.len())));
    }
    Ok(n as usize)
}

pub(crate) fn put_request(out: &mut Vec<u8>, r: &Request) {
    match r {
        Request::Range(r) => {
            out.push(1);
            put_range(out, r);
        }
        Request::Put(p) => {
            out.push(2);
            put_bytes(out, p.key.bytes());
            put_bytes(out, &p.value);
            put_i64(out, p.lease);
            out.push(flags(&[p.prev_kv, p.ignore_value, p.ignore_lease]));
        }
        Request::Delete(d) => {
            out.push(3);
            put_span(out, &d.span);
            out.push(flags(&[d.prev_kv]));
        }
        Request::Txn(t) => {
            out.push(4);
            put_txn(out, t);
        }
    }
}

pub(crate) fn put_txn(out: &mut Vec<u8>, t: &TxnReq) {
    put_u64(out, t.compares.len() as u64);
    for c in &t.compares {
        put_compare(out, c);
    }
    for ops in [&t.success, &t.failure] {
        put_u64(out, ops.len() as u64);
        for op in ops {
            put_request(out, op);
        }
    }
}

pub(crate) fn put_range(out: &mut Vec<u8>, r: &RangeReq) {
    put_span(out, &r.span);
    put_u64(out, r.revision.0);
    put_u64(out, r.limit);
    out.push(match r.sort {
        None => 0,
        Some(s) => 1 + sort_target(s.target) * 2 + u8::from(s.descending),
    });
    out.push(flags(&[r.keys_only, r.count_only, r.serializable]));
    for v in [r.filter.min_mod, r.filter.max_mod, r.filter.min_create, r.filter.max_create] {
        put_u64(out, v.0);
    }
}

const TARGETS: [SortTarget; 5] =
    [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];
const RESULTS: [CompareResult; 4] =
    [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];

fn sort_target(t: SortTarget) -> u8 {
    TARGETS.iter().position(|x| *x == t).unwrap_or(0) as u8
}

fn put_compare(out: &mut Vec<u8>, c: &Compare) {
    put_span(out, &c.span);
    out.push(RESULTS.iter().position(|x| *x == c.result).unwrap_or(0) as u8);
    match &c.target {
        CompareTarget::Version(v) => tagged(out, 0, *v),
        CompareTarget::Create(v) => tagged(out, 1, *v),
        CompareTarget::Mod(v) => tagged(out, 2, *v),
        CompareTarget::Lease(v) => tagged(out, 3, *v),
        CompareTarget::Value(v) => {
            out.push(4);
            put_bytes(out, v);
        }
    }
}

fn tagged(out: &mut Vec<u8>, tag: u8, v: i64) {
    out.push(tag);
    put_i64(out, v);
}

pub(crate) fn get_request(b: &mut Bytes) -> Result<Request> {
    request_at(b, MAX_DEPTH)
}

fn request_at(b: &mut Bytes, depth: usize) -> Result<Request> {
    match get_u8(b)? {
        1 => Ok(Request::Range(get_range(b)?)),
        2 => {
            let (key, value, lease) = (Key(get_bytes(b)?), get_bytes(b)?, get_i64(b)?);
            let f = get_u8(b)?;
            let (prev_kv, ignore_value, ignore_lease) = (f & 1 != 0, f & 2 != 0, f & 4 != 0);
            Ok(Request::Put(PutReq { key, value, lease, prev_kv, ignore_value, ignore_lease }))
        }
        3 => Ok(Request::Delete(DeleteReq { span: get_span(b)?, prev_kv: get_u8(b)? & 1 != 0 })),
        4 => Ok(Request::Txn(txn_at(b, depth)?)),
        v => Err(wrong("request", v)),
    }
}

pub(crate) fn get_txn(b: &mut Bytes) -> Result<TxnReq> {
    txn_at(b, MAX_DEPTH)
}

fn txn_at(b: &mut Bytes, depth: usize) -> Result<TxnReq> {
    if depth == 0 {
        return Err(Error::corrupt("a transaction is nested too deeply"));
    }
    let n = get_count(b)?;
    let mut compares = Vec::with_capacity(n);
    for _ in 0..n {
        compares.push(get_compare(b)?);
    }
    let mut branches = [Vec::new(), Vec::new()];
    for ops in &mut branches {
        for _ in 0..get_count(b)? {
            ops.push(request_at(b, depth - 1)?);
        }
    }
    let [success, failure] = branches;
    Ok(TxnReq { compares, success, failure })
}

pub(crate) fn get_range(b: &mut Bytes) -> Result<RangeReq> {
    let (span, revision, limit) = (get_span(b)?, Revision(get_u64(b)?), get_u64(b)?);
    let sort = match get_u8(b)? {
        0 => None,
        v => {
            let target = *TARGETS.get(usize::from((v - 1) / 2)).ok_or_else(|| wrong("sort order", v))?;
            Some(Sort { target, descending: (v - 1) % 2 == 1 })
        }
    };
    let f = get_u8(b)?;
    let filter = Filter {
        min_mod: Revision(get_u64(b)?),
        max_mod: Revision(get_u64(b)?),
        min_create: Revision(get_u64(b)?),
        max_create: Revision(get_u64(b)?),
    };
    let (keys_only, count_only, serializable) = (f & 1 != 0, f & 2 != 0, f & 4 != 0);
    Ok(RangeReq { span, revision, limit, sort, keys_only, count_only, serializable, filter })
}

fn get_compare(b: &mut Bytes) -> Result<Compare> {
    let span = get_span(b)?;
    let r = get_u8(b)?;
    let result = *RESULTS.get(usize::from(r)).ok_or_else(|| wrong("comparison", r))?;
    let target = match get_u8(b)? {
        0 => CompareTarget::Version(get_i64(b)?),
        1 => CompareTarget::Create(get_i64(b)?),
        2 => CompareTarget::Mod(get_i64(b)?),
        3 => CompareTarget::Lease(get_i64(b)?),
        4 => CompareTarget::Value(get_bytes(b)?),
        v => return Err(wrong("compare target", v)),
    };
    Ok(Compare { span, result, target })
}

fn put_kv(out: &mut Vec<u8>, kv: &KeyValue) {
    put_bytes(out, kv.key.bytes());
    put_u64(out, kv.create.0);
    put_u64(out, kv.modified.0);
    put_u64(out, kv.version);
    put_bytes(out, &kv.value);
    put_i64(out, kv.lease);
}

fn get_kv(b: &mut Bytes) -> Result<KeyValue> {
    Ok(KeyValue {
        key: Key(get_bytes(b)?),
        create: Revision(get_u64(b)?),
        modified: Revision(get_u64(b)?),
        version: get_u64(b)?,
        value: get_bytes(b)?,
        lease: get_i64(b)?,
    })
}

fn put_kvs(out: &mut Vec<u8>, kvs: &[KeyValue]) {
    put_u64(out, kvs.len() as u64);
    for kv in kvs {
        put_kv(out, kv);
    }
}

fn get_kvs(b: &mut Bytes) -> Result<Vec<KeyValue>> {
    let n = get_count(b)?;
    (0..n).map(|_| get_kv(b)).collect()
}

pub(crate) fn put_reply(out: &mut Vec<u8>, r: &Reply) {
    match r {
        Reply::Range(r) => {
            out.push(1);
            put_kvs(out, &r.kvs);
            out.push(flags(&[r.more]));
            put_u64(out, r.count);
        }
        Reply::Put(p) => {
            out.push(2);
            put_kvs(out, p.prev.as_slice());
        }
        Reply::Delete(d) => {
            out.push(3);
            put_u64(out, d.deleted);
            put_kvs(out, &d.prev);
        }
        Reply::Txn(t) => {
            out.push(4);
            out.push(flags(&[t.succeeded]));
            put_u64(out, t.replies.len() as u64);
            for r in &t.replies {
                put_reply(out, r);
            }
        }
    }
}

pub(crate) fn get_reply(b: &mut Bytes) -> Result<Reply> {
    reply_at(b, MAX_DEPTH)
}

fn reply_at(b: &mut Bytes, depth: usize) -> Result<Reply> {
    if depth == 0 {
        return Err(Error::corrupt("a reply is nested too deeply"));
    }
    match get_u8(b)? {
        1 => Ok(Reply::Range(RangeReply { kvs: get_kvs(b)?, more: get_u8(b)? & 1 != 0, count: get_u64(b)? })),
        2 => Ok(Reply::Put(PutReply { prev: get_kvs(b)?.pop() })),
        3 => Ok(Reply::Delete(DeleteReply { deleted: get_u64(b)?, prev: get_kvs(b)? })),
        4 => {
            let succeeded = get_u8(b)? & 1 != 0;
            let n = get_count(b)?;
            let replies = (0..n).map(|_| reply_at(b, depth - 1)).collect::<Result<_>>()?;
            Ok(Reply::Txn(TxnReply { succeeded, replies }))
        }
        v => Err(wrong("reply", v)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_round_trip() {
        let span = Span::new(Key::user(b"a"), Key::user(b"b"));
        let range = Request::Range(RangeReq {
            span: span.clone(),
            revision: Revision(7),
            limit: 3,
            sort: Some(Sort { target: SortTarget::Value, descending: true }),
            keys_only: true,
            count_only: false,
            serializable: true,
            filter: Filter { max_mod: Revision(9), ..Filter::default() },
        });
        let value = Bytes::from_static(b"v");
        let put = Request::Put(PutReq {
            key: Key::user(b"k"),
            value: value.clone(),
            lease: -5,
            prev_kv: true,
            ignore_value: false,
            ignore_lease: true,
        });
        let target = CompareTarget::Value(value);
        let compare = Compare { span: span.clone(), result: CompareResult::NotEqual, target };
        let inner = Request::Delete(DeleteReq { span, prev_kv: true });
        let txn = Request::Txn(TxnReq { compares: vec![compare], success: vec![range, put], failure: vec![inner] });
        let mut out = Vec::new();
        put_request(&mut out, &txn);
        let mut bytes = Bytes::from(out);
        assert_eq!(get_request(&mut bytes).unwrap(), txn);
        assert!(bytes.is_empty());
    }

    #[test]
    fn rubbish_is_refused_and_never_panics() {
        let mut rng = base::Rng::new(1);
        for _ in 0..20_000 {
            let n = rng.below(40) as usize;
            let bytes: Vec<u8> = (0..n).map(|_| rng.below(6) as u8).collect();
            let _ = get_request(&mut Bytes::from(bytes.clone()));
            let _ = get_reply(&mut Bytes::from(bytes));
        }
    }
}

//! Between the wire's messages and the words of the floors below. Requests arrive here checked (`check`), so nothing
//! can fail.

use base::{Key, Revision, Span, key::USER};
use bytes::{Buf, Bytes};
use mvcc::{
    Compare, CompareResult, CompareTarget, DeleteReq, Filter, KeyValue, PutReq, RangeReply, RangeReq, Reply, Request,
    Sort, SortTarget, TxnReply, TxnReq,
};
use proto::etcdserverpb::{self as pb, compare::TargetUnion, request_op, response_op};
use proto::mvccpb;

/// etcd's way to write a span: no end is the key alone, `\0` is the end of the key space. A span whose end lies before
/// its start comes out empty, with both ends at the start.
pub fn span(key: &[u8], range_end: &[u8]) -> Span {
    let start = Key::user(key);
    match range_end {
        [] => Span::point(&start),
        [0] => Span::new(start, Key(Bytes::from_static(&[USER + 1]))),
        end => {
            let end = Key::user(end).max(start.clone());
            Span::new(start, end)
        }
    }
}

/// Negative numbers mean "none" wherever etcd takes a revision.
fn revision(n: i64) -> Revision {
    Revision(n.max(0) as u64)
}

/// A scan. etcd sorts by key without being asked, so only other orders are passed on.
pub fn range(r: pb::RangeRequest) -> RangeReq {
    let descending = r.sort_order() == pb::range_request::SortOrder::Descend;
    let target = match r.sort_target() {
        pb::range_request::SortTarget::Key => SortTarget::Key,
        pb::range_request::SortTarget::Version => SortTarget::Version,
        pb::range_request::SortTarget::Create => SortTarget::Create,
        pb::range_request::SortTarget::Mod => SortTarget::Mod,
        pb::range_request::SortTarget::Value => SortTarget::Value,
    };
    let sorted = descending || target != SortTarget::Key;
    RangeReq {
        span: span(&r.key, &r.range_end),
        revision: revision(r.revision),
        limit: r.limit.max(0) as u64,
        sort: sorted.then_some(Sort { target, descending }),
        keys_only: r.keys_only,
        count_only: r.count_only,
        serializable: r.serializable,
        filter: filter(&r),
    }
}

/// A negative lower bound holds nothing back; a negative upper bound holds everything back, which is said here by a
/// lower bound that nothing reaches.
fn filter(r: &pb::RangeRequest) -> Filter {
    let nothing = r.max_mod_revision < 0 || r.max_create_revision < 0;
    Filter {
        min_mod: if nothing { Revision::MAX } else { revision(r.min_mod_revision) },
        max_mod: revision(r.max_mod_revision),
        min_create: revision(r.min_create_revision),
        max_create: revision(r.max_create_revision),
    }
}

/// A put.
pub fn put(r: pb::PutRequest) -> PutReq {
    PutReq {
        key: Key::user(&r.key),
        value: r.value,
        lease: r.lease,
        prev_kv: r.prev_kv,
        ignore_value: r.ignore_value,
        ignore_lease: r.ignore_lease,
    }
}

/// A delete.
pub fn delete(r: pb::DeleteRangeRequest) -> DeleteReq {
    DeleteReq { span: span(&r.key, &r.range_end), prev_kv: r.prev_kv }
}

/// A transaction.
pub fn txn(r: pb::TxnRequest) -> TxnReq {
    TxnReq {
        compares: r.compare.into_iter().map(compare).collect(),
        success: r.success.into_iter().map(op).collect(),
        failure: r.failure.into_iter().map(op).collect(),
    }
}

fn op(op: pb::RequestOp) -> Request {
    match op.request.expect("checked: no operation is empty") {
        request_op::Request::RequestRange(r) => Request::Range(range(r)),
        request_op::Request::RequestPut(r) => Request::Put(put(r)),
        request_op::Request::RequestDeleteRange(r) => Request::Delete(delete(r)),
        request_op::Request::RequestTxn(r) => Request::Txn(txn(r)),
    }
}

/// A compare. A value that does not belong to the target counts as that target's zero, as in etcd.
fn compare(c: pb::Compare) -> Compare {
    use pb::compare::CompareTarget as Target;
    let span = span(&c.key, &c.range_end);
    let (result, target) = (c.result, c.target);
    let union = c.target_union;
    let value = matches!(Target::try_from(target), Ok(Target::Value));
    let Some(result) = result_of(result) else { return unknown_result(span, value) };
    let number = |n: Option<i64>| n.unwrap_or(0);
    let target = match Target::try_from(target) {
        Ok(Target::Version) => {
            CompareTarget::Version(number(if let Some(TargetUnion::Version(n)) = union { Some(n) } else { None }))
        }
        Ok(Target::Create) => {
            CompareTarget::Create(number(if let Some(TargetUnion::CreateRevision(n)) = union { Some(n) } else { None }))
        }
        Ok(Target::Mod) => {
            CompareTarget::Mod(number(if let Some(TargetUnion::ModRevision(n)) = union { Some(n) } else { None }))
        }
        Ok(Target::Lease) => {
            CompareTarget::Lease(number(if let Some(TargetUnion::Lease(n)) = union { Some(n) } else { None }))
        }
        Ok(Target::Value) => {
            CompareTarget::Value(if let Some(TargetUnion::Value(v)) = union { v } else { Bytes::new() })
        }
        Err(_) => return unknown_target(span, result),
    };
    Compare { span, result, target }
}

fn result_of(result: i32) -> Option<CompareResult> {
    match pb::compare::CompareResult::try_from(result).ok()? {
        pb::compare::CompareResult::Equal => Some(CompareResult::Equal),
        pb::compare::CompareResult::Greater => Some(CompareResult::Greater),
        pb::compare::CompareResult::Less => Some(CompareResult::Less),
        pb::compare::CompareResult::NotEqual => Some(CompareResult::NotEqual),
    }
}

/// etcd holds an unknown comparison to be true, except that a missing key has no value to compare.
fn unknown_result(span: Span, value: bool) -> Compare {
    let least = if value { 0 } else { -1 };
    Compare { span, result: CompareResult::Greater, target: CompareTarget::Version(least) }
}

/// etcd holds an unknown target to be equal to whatever it is compared with.
fn unknown_target(span: Span, result: CompareResult) -> Compare {
    let holds = result == CompareResult::Equal;
    let result = if holds { CompareResult::Greater } else { CompareResult::Less };
    Compare { span, result, target: CompareTarget::Version(-1) }
}

/// A key-value as it goes out; its bytes are shared.
pub fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    let mut key = kv.key.0;
    key.advance(1);
    mvccpb::KeyValue {
        key,
        create_revision: kv.create.to_i64(),
        mod_revision: kv.modified.to_i64(),
        version: kv.version as i64,
        value: kv.value,
        lease: kv.lease,
    }
}

/// The answer to a scan.
pub fn range_response(header: pb::ResponseHeader, r: RangeReply) -> pb::RangeResponse {
    let kvs = r.kvs.into_iter().map(key_value).collect();
    pb::RangeResponse { header: Some(header), kvs, more: r.more, count: r.count as i64 }
}

/// The answer to a put.
pub fn put_response(header: pb::ResponseHeader, r: mvcc::PutReply) -> pb::PutResponse {
    pb::PutResponse { header: Some(header), prev_kv: r.prev.map(key_value) }
}

/// The answer to a delete.
pub fn delete_response(header: pb::ResponseHeader, r: mvcc::DeleteReply) -> pb::DeleteRangeResponse {
    let prev_kvs = r.prev.into_iter().map(key_value).collect();
    pb::DeleteRangeResponse { header: Some(header), deleted: r.deleted as i64, prev_kvs }
}

/// The answer to a transaction. Inside, a header says only how far the store was after that operation: the revision
/// before this transaction until its first effective write, this transaction's own from there on.
pub fn txn_response(header: pb::ResponseHeader, r: TxnReply) -> pb::TxnResponse {
    let wrote = r.replies.iter().any(effective);
    let mut now = header.revision - i64::from(wrote);
    let responses = r.replies.into_iter().map(|reply| response_op(reply, header.revision, &mut now)).collect();
    pb::TxnResponse { header: Some(header), succeeded: r.succeeded, responses }
}

/// Did it change anything?
fn effective(reply: &Reply) -> bool {
    match reply {
        Reply::Range(_) => false,
        Reply::Put(_) => true,
        Reply::Delete(d) => d.deleted > 0,
        Reply::Txn(t) => t.replies.iter().any(effective),
    }
}

fn response_op(reply: Reply, own: i64, now: &mut i64) -> pb::ResponseOp {
    if !matches!(reply, Reply::Txn(_)) && effective(&reply) {
        *now = own;
    }
    let header = pb::ResponseHeader { revision: *now, ..Default::default() };
    let response = match reply {
        Reply::Range(r) => response_op::Response::ResponseRange(range_response(header, r)),
        Reply::Put(r) => response_op::Response::ResponsePut(put_response(header, r)),
        Reply::Delete(r) => response_op::Response::ResponseDeleteRange(delete_response(header, r)),
        Reply::Txn(t) => {
            let responses = t.replies.into_iter().map(|r| response_op(r, own, now)).collect();
            // etcd leaves the header of a nested answer empty.
            let header = Some(pb::ResponseHeader::default());
            response_op::Response::ResponseTxn(pb::TxnResponse { header, succeeded: t.succeeded, responses })
        }
    };
    pb::ResponseOp { response: Some(response) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mvcc::{DeleteReply, PutReply};

    #[test]
    fn spans_as_etcd_writes_them() {
        assert!(span(b"k", b"").is_point());
        assert_eq!(span(b"\0", b"\0"), Span::new(Key::user(b"\0"), Span::users().end));
        assert!(span(b"k", b"l").contains(&Key::user(b"kk")));
        let inverted = span(b"l", b"k");
        assert!(inverted.is_empty() && inverted.start == inverted.end);
        assert!(span(b"k", b"\0\0").is_empty(), "only a single zero byte is the end of the key space");
    }

    #[test]
    fn a_scan_is_normalised() {
        let ask = |order: i32, target: i32| {
            let r = pb::RangeRequest { key: "k".into(), sort_order: order, sort_target: target, ..Default::default() };
            range(r).sort.map(|s| (s.target, s.descending))
        };
        assert_eq!(ask(0, 0), None);
        assert_eq!(ask(1, 0), None, "ascending by key is how scans come anyway");
        assert_eq!(ask(2, 0), Some((SortTarget::Key, true)));
        assert_eq!(ask(0, 3), Some((SortTarget::Mod, false)), "another target alone means ascending");
        let negative = pb::RangeRequest {
            key: "k".into(),
            limit: -1,
            revision: -5,
            min_mod_revision: -1,
            max_create_revision: -1,
            ..Default::default()
        };
        let r = range(negative);
        assert_eq!((r.limit, r.revision), (0, Revision::ZERO));
        assert_eq!(r.filter, Filter { min_mod: Revision::MAX, ..Default::default() }, "nothing passes");
    }

    #[test]
    fn odd_compares_mean_what_they_mean_in_etcd() {
        let c = |result: i32, target: i32, union| {
            let c = compare(pb::Compare { result, target, key: "k".into(), target_union: union, ..Default::default() });
            (c.result, c.target)
        };
        let (version, value) = (Some(TargetUnion::Version(3)), Some(TargetUnion::Value("v".into())));
        assert_eq!(c(0, 0, version.clone()), (CompareResult::Equal, CompareTarget::Version(3)));
        assert_eq!(c(3, 3, value.clone()), (CompareResult::NotEqual, CompareTarget::Value("v".into())));
        assert_eq!(c(2, 2, value.clone()), (CompareResult::Less, CompareTarget::Mod(0)), "a foreign value is zero");
        assert_eq!(c(0, 3, None), (CompareResult::Equal, CompareTarget::Value(Bytes::new())));
        assert_eq!(c(9, 0, version), (CompareResult::Greater, CompareTarget::Version(-1)), "always true");
        assert_eq!(c(9, 3, value), (CompareResult::Greater, CompareTarget::Version(0)), "true if the key is there");
        assert_eq!(c(0, 9, None), (CompareResult::Greater, CompareTarget::Version(-1)), "always true");
        assert_eq!(c(1, 9, None), (CompareResult::Less, CompareTarget::Version(-1)), "never true");
    }

    #[test]
    fn inner_headers_tell_the_revision_so_far() {
        let scan = || Reply::Range(RangeReply::default());
        let delete = |deleted| Reply::Delete(DeleteReply { deleted, prev: vec![] });
        let nested = Reply::Txn(TxnReply { succeeded: true, replies: vec![scan(), delete(1), scan()] });
        let replies = vec![scan(), delete(0), nested, scan(), Reply::Put(PutReply::default())];
        let header = pb::ResponseHeader { cluster_id: 1, member_id: 2, revision: 9, raft_term: 3 };
        let answer = txn_response(header, TxnReply { succeeded: true, replies });
        let mut seen = Vec::new();
        fn walk(ops: &[pb::ResponseOp], seen: &mut Vec<i64>) {
            for op in ops {
                let header = match op.response.as_ref().unwrap() {
                    response_op::Response::ResponseRange(r) => r.header,
                    response_op::Response::ResponsePut(r) => r.header,
                    response_op::Response::ResponseDeleteRange(r) => r.header,
                    response_op::Response::ResponseTxn(r) => r.header,
                };
                assert_eq!(header.unwrap().member_id, 0);
                seen.push(header.unwrap().revision);
                if let Some(response_op::Response::ResponseTxn(t)) = &op.response {
                    walk(&t.responses, seen);
                }
            }
        }
        walk(&answer.responses, &mut seen);
        assert_eq!(seen, [8, 8, 0, 8, 9, 9, 9, 9]);
        assert_eq!(answer.header, Some(header));
        let reads = TxnReply { succeeded: false, replies: vec![scan()] };
        let mut seen = Vec::new();
        walk(&txn_response(header, reads).responses, &mut seen);
        assert_eq!(seen, [9], "a transaction that wrote nothing stays where it was");
    }
}

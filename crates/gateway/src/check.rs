//! What can be said of a request without looking at any key: etcd's static rules, in etcd's order.

use base::Refusal;
use proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, range_request, request_op::Request,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A well-formed scan?
pub fn range(r: &RangeRequest) -> Result<(), Refusal> {
    if r.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    let order = range_request::SortOrder::try_from(r.sort_order);
    let target = range_request::SortTarget::try_from(r.sort_target);
    if order.is_err() || target.is_err() { Err(Refusal::InvalidSortOption) } else { Ok(()) }
}

/// A well-formed put?
pub fn put(r: &PutRequest) -> Result<(), Refusal> {
    if r.key.is_empty() {
        Err(Refusal::EmptyKey)
    } else if r.ignore_value && !r.value.is_empty() {
        Err(Refusal::ValueProvided)
    } else if r.ignore_lease && r.lease != 0 {
        Err(Refusal::LeaseProvided)
    } else {
        Ok(())
    }
}

/// A well-formed delete?
pub fn delete(r: &DeleteRangeRequest) -> Result<(), Refusal> {
    if r.key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

/// A well-formed transaction: every part is, no list is longer than `max_ops` (a nested one may use what its parent
/// left over), and no key is changed twice.
pub fn txn(r: &TxnRequest, max_ops: usize) -> Result<(), Refusal> {
    parts(r, max_ops)?;
    // The overlaps come last: only now is the size of what they look at bounded.
    changes(&r.success)?;
    changes(&r.failure)?;
    Ok(())
}

fn parts(r: &TxnRequest, max_ops: usize) -> Result<(), Refusal> {
    let ops = r.compare.len().max(r.success.len()).max(r.failure.len());
    if ops > max_ops {
        return Err(Refusal::TooManyOps);
    }
    if r.compare.iter().any(|c| c.key.is_empty()) {
        return Err(Refusal::EmptyKey);
    }
    for op in r.success.iter().chain(&r.failure) {
        match &op.request {
            Some(Request::RequestRange(r)) => range(r)?,
            Some(Request::RequestPut(r)) => put(r)?,
            Some(Request::RequestDeleteRange(r)) => delete(r)?,
            Some(Request::RequestTxn(r)) => parts(r, max_ops - ops)?,
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// Nothing but scans? (etcd counts a nested transaction as a write.)
pub fn reads_only(r: &TxnRequest) -> bool {
    r.success.iter().chain(&r.failure).all(|op| matches!(op.request, Some(Request::RequestRange(_))))
}

/// What a list of operations changes: keys put, and spans deleted.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Deletes<'a>,
}

/// A set of deleted keys: single ones, and disjoint spans, start → end, where `None` is the end of the key space.
#[derive(Default)]
struct Deletes<'a> {
    points: BTreeSet<&'a [u8]>,
    spans: BTreeMap<&'a [u8], Option<&'a [u8]>>,
}

impl<'a> Deletes<'a> {
    fn insert(&mut self, d: &'a DeleteRangeRequest) {
        match &d.range_end[..] {
            [] => drop(self.points.insert(&d.key)),
            [0] => self.insert_span(&d.key, None),
            end if *end <= d.key[..] => {}
            end => self.insert_span(&d.key, Some(end)),
        }
    }

    fn insert_span(&mut self, mut start: &'a [u8], mut end: Option<&'a [u8]>) {
        // Swallow every span that touches this one, from the right end leftwards.
        loop {
            let left = match end {
                Some(e) => self.spans.range(..=e).next_back(),
                None => self.spans.iter().next_back(),
            };
            match left.map(|(s, e)| (*s, *e)) {
                Some((s, e)) if e.is_none_or(|e| e >= start) => {
                    self.spans.remove(s);
                    start = start.min(s);
                    end = end.and_then(|a| e.map(|b| a.max(b)));
                }
                _ => break,
            }
        }
        self.spans.insert(start, end);
    }

    fn contains(&self, key: &[u8]) -> bool {
        let left = self.spans.range(..=key).next_back();
        self.points.contains(key) || left.is_some_and(|(_, end)| end.is_none_or(|e| key < e))
    }

    /// Looks through whichever is smaller, so that many nested transactions stay cheap.
    fn meets(&self, puts: &BTreeSet<&[u8]>) -> bool {
        if puts.len() < self.points.len() + self.spans.len() {
            return puts.iter().any(|k| self.contains(k));
        }
        let inside = |(start, end): (&&[u8], &Option<&[u8]>)| {
            let next = puts.range::<[u8], _>((Bound::Included(*start), Bound::Unbounded)).next();
            next.is_some_and(|k| end.is_none_or(|e| *k < e))
        };
        self.points.iter().any(|k| puts.contains(k)) || self.spans.iter().any(inside)
    }

    fn absorb(&mut self, mut other: Deletes<'a>) {
        if other.points.len() + other.spans.len() > self.points.len() + self.spans.len() {
            std::mem::swap(self, &mut other);
        }
        self.points.extend(other.points);
        other.spans.into_iter().for_each(|(start, end)| self.insert_span(start, end));
    }
}

/// Collects what these operations change, or refuses a key that is put twice or both put and deleted. The two branches
/// of one nested transaction exclude each other, so they may change the same keys.
fn changes(ops: &[RequestOp]) -> Result<Changes<'_>, Refusal> {
    let mut all = Changes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(d)) = &op.request {
            all.deletes.insert(d);
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(t)) = &op.request {
            nest(&mut all, changes(&t.success)?, changes(&t.failure)?)?;
        }
    }
    for op in ops {
        if let Some(Request::RequestPut(p)) = &op.request
            && (all.deletes.contains(&p.key) || !all.puts.insert(&p.key))
        {
            return Err(Refusal::DuplicateKey);
        }
    }
    Ok(all)
}

fn nest<'a>(all: &mut Changes<'a>, then: Changes<'a>, other: Changes<'a>) -> Result<(), Refusal> {
    for branch in [&then, &other] {
        let (few, many) =
            if branch.puts.len() < all.puts.len() { (&branch.puts, &all.puts) } else { (&all.puts, &branch.puts) };
        let twice = few.iter().any(|k| many.contains(k));
        if twice || all.deletes.meets(&branch.puts) || branch.deletes.meets(&all.puts) {
            return Err(Refusal::DuplicateKey);
        }
    }
    for mut branch in [then, other] {
        if branch.puts.len() > all.puts.len() {
            std::mem::swap(&mut branch.puts, &mut all.puts);
        }
        all.puts.extend(branch.puts);
        all.deletes.absorb(branch.deletes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proto::etcdserverpb::Compare;

    fn op(request: Request) -> RequestOp {
        RequestOp { request: Some(request) }
    }
    fn p(key: &'static str) -> RequestOp {
        op(Request::RequestPut(PutRequest { key: key.into(), ..Default::default() }))
    }
    fn d(key: &'static str, end: &'static [u8]) -> RequestOp {
        let range_end = Bytes::from_static(end);
        op(Request::RequestDeleteRange(DeleteRangeRequest { key: key.into(), range_end, prev_kv: false }))
    }
    fn r(key: &'static str) -> RequestOp {
        op(Request::RequestRange(RangeRequest { key: key.into(), ..Default::default() }))
    }
    fn t(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        op(Request::RequestTxn(TxnRequest { compare: vec![], success, failure }))
    }
    fn check(success: Vec<RequestOp>) -> Result<(), Refusal> {
        txn(&TxnRequest { compare: vec![], success, failure: vec![] }, 128)
    }

    #[test]
    fn a_key_is_needed_and_sort_options_are_known() {
        assert_eq!(range(&RangeRequest::default()), Err(Refusal::EmptyKey));
        let k = RangeRequest { key: "k".into(), ..Default::default() };
        assert_eq!(range(&k), Ok(()));
        assert_eq!(range(&RangeRequest { sort_order: 3, ..k.clone() }), Err(Refusal::InvalidSortOption));
        assert_eq!(range(&RangeRequest { sort_target: -1, ..k }), Err(Refusal::InvalidSortOption));
        assert_eq!(delete(&DeleteRangeRequest::default()), Err(Refusal::EmptyKey));
    }

    #[test]
    fn ignored_parts_of_a_put_must_be_absent() {
        let k = PutRequest { key: "k".into(), value: "v".into(), lease: 7, ..Default::default() };
        assert_eq!(put(&PutRequest { ignore_value: true, ..k.clone() }), Err(Refusal::ValueProvided));
        assert_eq!(put(&PutRequest { ignore_lease: true, ..k.clone() }), Err(Refusal::LeaseProvided));
        assert_eq!(put(&k), Ok(()));
    }

    #[test]
    fn every_list_has_a_budget_and_nested_ones_share_it() {
        assert_eq!(check(vec![r("k"); 128]), Ok(()));
        assert_eq!(check(vec![r("k"); 129]), Err(Refusal::TooManyOps));
        let compare = vec![Compare { key: "k".into(), ..Default::default() }; 129];
        assert_eq!(txn(&TxnRequest { compare, ..Default::default() }, 128), Err(Refusal::TooManyOps));
        // One operation here leaves 127 for the one below.
        assert_eq!(check(vec![t(vec![r("k"); 127], vec![])]), Ok(()));
        assert_eq!(check(vec![t(vec![], vec![r("k"); 128])]), Err(Refusal::TooManyOps));
        assert_eq!(check(vec![RequestOp { request: None }]), Err(Refusal::KeyNotFound));
        let nameless = TxnRequest { compare: vec![Compare::default()], ..Default::default() };
        assert_eq!(txn(&nameless, 128), Err(Refusal::EmptyKey));
    }

    #[test]
    fn no_key_is_changed_twice() {
        let twice = Err(Refusal::DuplicateKey);
        assert_eq!(check(vec![p("a"), p("b")]), Ok(()));
        assert_eq!(check(vec![p("a"), p("a")]), twice);
        assert_eq!(check(vec![p("a"), d("a", b"")]), twice);
        assert_eq!(check(vec![d("a", b"c"), p("b")]), twice);
        assert_eq!(check(vec![d("a", b"c"), p("c")]), Ok(()), "the end is outside");
        assert_eq!(check(vec![d("c", b"a"), p("b")]), Ok(()), "an inverted span is empty");
        assert_eq!(check(vec![d("a", b"\0"), p("zz")]), twice, "to the end of the key space");
        assert_eq!(check(vec![d("a", b"c"), d("b", b"")]), Ok(()), "deleting twice deletes once");
        assert_eq!(check(vec![r("a"), p("a"), r("a")]), Ok(()));
    }

    #[test]
    fn branches_exclude_each_other_but_not_their_parents() {
        let twice = Err(Refusal::DuplicateKey);
        assert_eq!(check(vec![t(vec![p("a")], vec![p("a")])]), Ok(()));
        assert_eq!(check(vec![t(vec![p("a")], vec![d("a", b"")])]), Ok(()));
        assert_eq!(check(vec![t(vec![p("a")], vec![p("a")]), p("a")]), twice);
        assert_eq!(check(vec![p("a"), t(vec![], vec![d("a", b"b")])]), twice);
        assert_eq!(check(vec![t(vec![p("a")], vec![]), t(vec![], vec![p("a")])]), twice);
        assert_eq!(check(vec![t(vec![d("a", b"")], vec![]), t(vec![p("a")], vec![])]), twice);
        assert_eq!(check(vec![t(vec![p("a")], vec![]), t(vec![d("a", b"")], vec![])]), twice);
        assert_eq!(check(vec![t(vec![t(vec![p("a"), p("a")], vec![])], vec![])]), twice);
    }

    #[test]
    fn spans_merge_when_they_touch() {
        let mut set = Deletes::default();
        for (start, end) in [("b", "d"), ("f", "h"), ("d", "e"), ("a", "c"), ("g", "z")] {
            set.insert_span(start.as_bytes(), Some(end.as_bytes()));
        }
        assert_eq!(set.spans.len(), 2, "a-e and f-z");
        assert!(set.contains(b"a") && set.contains(b"dd") && !set.contains(b"e") && set.contains(b"y"));
        set.insert_span(b"e", None);
        assert_eq!(set.spans.len(), 1);
        assert!(set.contains(b"zzz") && !set.contains(b"A"));
        let puts = |keys: &[&'static str]| keys.iter().map(|k| k.as_bytes()).collect::<BTreeSet<_>>();
        assert!(set.meets(&puts(&["A", "B", "zzz"])));
        assert!(!set.meets(&puts(&["A", "B"])));
    }
}

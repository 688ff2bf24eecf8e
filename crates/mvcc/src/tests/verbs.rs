//! Each verb by itself: etcd's rules, one test each.

use super::make::*;
use crate::*;
use base::error::Refusal;
use base::{Kind, Result, Revision, Span};
use bytes::Bytes;
use engine::mem::Mem;
use engine::{Batch, Engine};

/// One range whose commands are applied at once, unless they are left open.
struct Desk {
    engine: Mem,
    overlay: Overlay,
    revision: u64,
    compacted: u64,
    seq: u64,
}

impl Desk {
    fn new() -> Desk {
        Desk { engine: Mem::new(), overlay: Overlay::new(), revision: 1, compacted: 0, seq: 0 }
    }
    fn with(puts: &[(&str, &str)]) -> Desk {
        let mut desk = Desk::new();
        puts.iter().for_each(|(k, v)| drop(desk.run(&put(k, v))));
        desk
    }
    fn evaluate(&mut self, request: &Request, bounds: Option<Bounds>) -> Result<Evaluated> {
        self.seq += 1;
        evaluate(&Source::live(&self.engine, &self.overlay), request, Revision::pending(self.seq), bounds)
    }
    fn bounds(&self) -> Option<Bounds> {
        Some(Bounds { current: Revision(self.revision), compacted: Revision(self.compacted) })
    }
    fn try_run(&mut self, request: &Request) -> Result<(Reply, Effects)> {
        let Evaluated::Done { mut effects, reply } = self.evaluate(request, self.bounds())? else {
            panic!("nothing is pending and bounds are given: {request:?}")
        };
        if !effects.is_empty() {
            self.revision += 1;
        }
        effects.number(Revision::pending(self.seq), Revision(self.revision));
        let mut batch = Batch::new();
        apply(Revision(self.revision), &effects, &mut batch);
        self.engine.write(&batch, false)?;
        Ok((reply.fill(&|_| Revision(self.revision)), effects))
    }
    fn run(&mut self, request: &Request) -> Reply {
        self.try_run(request).unwrap().0
    }
    fn refusal(&mut self, request: &Request) -> Refusal {
        match self.try_run(request).unwrap_err().kind {
            Kind::Refused(r) => r,
            kind => panic!("{kind:?}"),
        }
    }
    /// Evaluates and leaves it pending in the overlay.
    fn leave_open(&mut self, request: &Request) -> u64 {
        let Evaluated::Done { effects, .. } = self.evaluate(request, self.bounds()).unwrap() else {
            panic!("{request:?}")
        };
        self.overlay.insert_command(Revision::pending(self.seq), &effects);
        self.seq
    }
    fn get(&mut self, k: &str) -> Option<KeyValue> {
        let Reply::Range(mut r) = self.run(&scan(point(k))) else { panic!() };
        r.kvs.pop()
    }
    fn txn(&mut self, request: &Request) -> TxnReply {
        let Reply::Txn(t) = self.run(request) else { panic!() };
        t
    }
}

fn shown(kv: Option<KeyValue>) -> String {
    match kv {
        None => "-".to_string(),
        Some(kv) => {
            format!("{}={} create={} mod={} v{}", kv.key, kv.value.escape_ascii(), kv.create, kv.modified, kv.version)
        }
    }
}

fn keys_of(reply: &Reply) -> Vec<String> {
    let Reply::Range(r) = reply else { panic!("{reply:?}") };
    r.kvs.iter().map(|kv| kv.key.to_string()).collect()
}

#[test]
fn a_put_always_makes_a_version() {
    let mut d = Desk::with(&[("a", "1"), ("a", "1")]);
    assert_eq!(shown(d.get("a")), "a=1 create=2 mod=3 v2");
    let Reply::Put(p) = d.run(&put("a", "2")) else { panic!() };
    assert_eq!(shown(p.prev), "a=1 create=2 mod=3 v2");
    assert_eq!(shown(d.get("a")), "a=2 create=2 mod=4 v3");
}

#[test]
fn a_delete_ends_a_life() {
    let mut d = Desk::with(&[("a", "1"), ("a", "2")]);
    let Reply::Delete(r) = d.run(&delete(point("a"))) else { panic!() };
    assert_eq!((r.deleted, shown(r.prev.into_iter().next())), (1, "a=2 create=2 mod=3 v2".into()));
    assert_eq!(d.get("a"), None);
    let Reply::Put(p) = d.run(&put("a", "3")) else { panic!() };
    assert_eq!(p.prev, None);
    assert_eq!(shown(d.get("a")), "a=3 create=5 mod=5 v1");
}

#[test]
fn a_delete_of_nothing_takes_no_revision() {
    let mut d = Desk::with(&[("a", "1")]);
    for s in [point("x"), span("b", "z"), span("z", "a")] {
        let (reply, effects) = d.try_run(&delete(s)).unwrap();
        assert_eq!(reply, Reply::Delete(DeleteReply::default()));
        assert!(effects.is_empty() && effects.live_delta == 0);
    }
    assert_eq!(d.revision, 2);
    d.run(&delete(point("a")));
    assert!(d.try_run(&delete(point("a"))).unwrap().1.is_empty(), "what is deleted already is not there");
}

#[test]
fn what_does_not_fit_one_step_or_one_answer_is_refused_before_anything_is_done() {
    let mut d = Desk::new();
    let most = base::limits::MAX_COMMAND_KEYS;
    let mut batch = Batch::new();
    let mut store = |k: String, value: Vec<u8>| {
        let record = Record { create: Revision(2), version: 1, value: Some(value.into()), ..Record::default() };
        let effects = Effects { effects: vec![Effect { key: key(&k), record }], live_delta: 1 };
        apply(Revision(2), &effects, &mut batch);
    };
    (0..=most).for_each(|i| store(format!("k{i:06}"), vec![]));
    (0..20).for_each(|i| store(format!("large{i}"), vec![7; 1 << 20]));
    d.engine.write(&batch, false).unwrap();
    d.revision = 2;
    let says = |d: &mut Desk, r: &Request, text: &str| {
        let e = d.try_run(r).unwrap_err();
        assert!(e.kind == Kind::Unimplemented && e.text.contains(text), "{e}");
    };
    says(&mut d, &delete(span("k", "l")), "in parts");
    let halves = [span("k", "k050000"), span("k050000", "l")].map(delete);
    says(&mut d, &txn(vec![], halves.to_vec(), vec![]), "in parts");
    says(&mut d, &delete(span("large", "largez")), "prev_kv");
    assert_eq!(shown(d.get("k000000")), "k000000= create=2 mod=2 v1");
    let Reply::Delete(r) = d.run(&delete(span("k000001", "l"))) else { panic!() };
    assert_eq!(r.deleted, most as u64, "as many as there may be");
}

#[test]
fn a_delete_of_a_span_marks_live_keys_in_order() {
    let mut d = Desk::with(&[("b", "1"), ("a", "1"), ("c", "1"), ("d", "1")]);
    d.run(&delete(point("b")));
    let (reply, effects) = d.try_run(&delete(span("a", "d"))).unwrap();
    let Reply::Delete(r) = reply else { panic!() };
    assert_eq!(r.deleted, 2);
    assert_eq!(effects.to_string(), "{a: deleted.0, c: deleted.0} live-2");
}

#[test]
fn keeping_value_or_lease_needs_the_key() {
    let mut d = Desk::with(&[("a", "1")]);
    let keep = |k: &str, value: bool, lease: bool| {
        let Request::Put(p) = put(k, "new") else { panic!() };
        Request::Put(PutReq { ignore_value: value, ignore_lease: lease, ..p })
    };
    for (value, lease) in [(true, false), (false, true)] {
        assert_eq!(d.refusal(&keep("x", value, lease)), Refusal::KeyNotFound);
        assert_eq!(d.refusal(&txn(vec![], vec![put("y", "1"), keep("x", value, lease)], vec![])), Refusal::KeyNotFound);
    }
    assert_eq!(d.get("y"), None, "nothing of a refused transaction stays");
    d.run(&keep("a", true, false));
    assert_eq!(shown(d.get("a")), "a=1 create=2 mod=3 v2");
    d.run(&keep("a", false, true));
    assert_eq!(shown(d.get("a")), "a=new create=2 mod=4 v3");
}

#[test]
fn an_unknown_lease_is_refused() {
    let mut d = Desk::new();
    let Request::Put(p) = put("a", "1") else { panic!() };
    let leased = Request::Put(PutReq { lease: 5, ..p });
    assert_eq!(d.refusal(&leased), Refusal::LeaseNotFound);
    assert_eq!(d.refusal(&txn(vec![], vec![leased], vec![])), Refusal::LeaseNotFound);
}

#[test]
fn later_operations_see_earlier_ones() {
    let mut d = Desk::with(&[("a", "1"), ("b", "1")]);
    let t = d.txn(&txn(
        vec![],
        vec![
            delete(point("a")),
            scan(point("a")),
            scan(span("a", "z")),
            put("c", "9"),
            scan(span("a", "z")),
            delete(span("b", "c")),
        ],
        vec![],
    ));
    assert_eq!(keys_of(&t.replies[1]), Vec::<String>::new());
    assert_eq!(keys_of(&t.replies[2]), ["b"]);
    assert_eq!(keys_of(&t.replies[4]), ["b", "c"]);
    let Reply::Range(r) = &t.replies[4] else { panic!() };
    assert_eq!(shown(Some(r.kvs[1].clone())), "c=9 create=4 mod=4 v1");
    assert_eq!(d.revision, 4, "one revision for the whole transaction");
}

#[test]
fn sub_orders_what_a_revision_did() {
    let mut d = Desk::with(&[("x", "1"), ("y", "1")]);
    let (_, effects) = d
        .try_run(&txn(
            vec![],
            vec![put("z", "1"), scan(point("z")), txn(vec![], vec![delete(span("x", "z"))], vec![]), put("a", "1")],
            vec![],
        ))
        .unwrap();
    let order: Vec<_> = effects.effects.iter().map(|e| (e.record.sub, e.key.to_string())).collect();
    assert_eq!(order, [(0, "z".into()), (2, "x".into()), (2, "y".into()), (3, "a".into())]);
    assert_eq!(effects.live_delta, 0);
}

#[test]
fn compares_of_nested_transactions_see_the_state_before() {
    let mut d = Desk::with(&[("a", "1")]);
    let is = |v: &'static str| {
        compare(point("a"), CompareResult::Equal, CompareTarget::Value(Bytes::from_static(v.as_bytes())))
    };
    let t = d.txn(&txn(
        vec![is("1")],
        vec![put("a", "2"), txn(vec![is("1")], vec![put("b", "then")], vec![put("b", "else")])],
        vec![],
    ));
    assert!(t.succeeded);
    assert_eq!(shown(d.get("b")), "b=then create=3 mod=3 v1");
    let t = d.txn(&txn(vec![is("1"), is("2")], vec![put("c", "1")], vec![scan(point("a"))]));
    assert!(!t.succeeded, "all compares must hold");
    assert_eq!((keys_of(&t.replies[0]), d.revision), (vec!["a".into()], 3));
}

#[test]
fn a_missing_key_compares_as_zero_except_its_value() {
    use CompareResult::*;
    let mut d = Desk::with(&[("a", "1")]);
    let mut holds = |s: Span, r, t| d.txn(&txn(vec![compare(s, r, t)], vec![], vec![])).succeeded;
    for s in [point("x"), span("x", "z")] {
        assert!(holds(s.clone(), Equal, CompareTarget::Version(0)));
        assert!(holds(s.clone(), Equal, CompareTarget::Create(0)));
        assert!(holds(s.clone(), Less, CompareTarget::Mod(1)));
        assert!(holds(s.clone(), Equal, CompareTarget::Lease(0)));
        for r in [Equal, NotEqual, Less, Greater] {
            assert!(!holds(s.clone(), r, CompareTarget::Value(Bytes::new())));
        }
    }
    assert!(holds(point("a"), Greater, CompareTarget::Value(Bytes::from_static(b"0"))));
}

#[test]
fn a_compare_of_a_span_holds_for_every_key() {
    use CompareResult::*;
    let mut d = Desk::with(&[("a", "1"), ("b", "1"), ("b", "2")]);
    let mut holds = |r, t| d.txn(&txn(vec![compare(span("a", "z"), r, t)], vec![], vec![])).succeeded;
    assert!(holds(Greater, CompareTarget::Version(0)));
    assert!(!holds(Equal, CompareTarget::Version(1)));
    assert!(holds(Less, CompareTarget::Mod(5)));
    assert!(!holds(Less, CompareTarget::Mod(4)));
}

#[test]
fn a_key_written_twice_is_refused_whoever_asks() {
    let mut d = Desk::with(&[("a", "1")]);
    let twice = [
        vec![put("x", "1"), put("x", "2")],
        vec![put("x", "1"), delete(point("x"))],
        vec![delete(point("a")), put("a", "2")],
        vec![delete(point("a")), txn(vec![], vec![put("a", "2")], vec![])],
    ];
    for ops in twice {
        assert_eq!(d.refusal(&txn(vec![], ops, vec![])), Refusal::DuplicateKey);
    }
    let t = d.txn(&txn(vec![], vec![delete(point("a")), delete(span("a", "z"))], vec![]));
    assert_eq!(t.replies[1], Reply::Delete(DeleteReply::default()), "deleting twice is allowed and finds nothing");
}

#[test]
fn a_revision_inside_a_transaction_is_checked_before_anything_is_written() {
    let mut d = Desk::with(&[("a", "1"), ("a", "2"), ("a", "3")]);
    d.compacted = 3;
    let at = |r: u64| Request::Range(RangeReq { revision: Revision(r), ..all_of(point("a")) });
    let with = |r: u64| txn(vec![], vec![put("b", "1"), at(r)], vec![]);
    assert_eq!(d.refusal(&with(5)), Refusal::FutureRevision);
    assert_eq!(d.refusal(&with(2)), Refusal::Compacted);
    assert_eq!(d.get("b"), None);
    assert_eq!(d.evaluate(&with(3), None).unwrap(), Evaluated::NeedsBounds);
    let untaken = txn(vec![], vec![put("b", "1")], vec![at(99)]);
    assert!(matches!(d.evaluate(&untaken, None).unwrap(), Evaluated::Done { .. }), "the other branch is not looked at");
    let t = d.txn(&with(3));
    let Reply::Range(r) = &t.replies[1] else { panic!() };
    assert_eq!(shown(r.kvs.first().cloned()), "a=2 create=2 mod=3 v2");
}

#[test]
fn another_commands_pending_number_blocks_who_looks_at_it() {
    use CompareResult::*;
    let mut d = Desk::with(&[("a", "1"), ("b", "1")]);
    let open = d.leave_open(&put("a", "2"));
    let when = |t| txn(vec![compare(point("a"), Equal, t)], vec![put("c", "1")], vec![]);
    assert_eq!(d.evaluate(&when(CompareTarget::Mod(3)), None).unwrap(), Evaluated::BlockedOn(open));
    let decided = [
        when(CompareTarget::Create(2)),
        when(CompareTarget::Version(2)),
        when(CompareTarget::Mod(0)),
        when(CompareTarget::Value(Bytes::from_static(b"2"))),
        // One compare that certainly fails decides, whatever the other turns out to be.
        txn(
            vec![
                compare(point("a"), Equal, CompareTarget::Mod(3)),
                compare(point("b"), Equal, CompareTarget::Version(9)),
            ],
            vec![],
            vec![],
        ),
    ];
    for t in decided {
        assert!(matches!(d.evaluate(&t, None).unwrap(), Evaluated::Done { .. }), "{t:?}");
    }
    let filter = Filter { min_mod: Revision(3), ..Filter::default() };
    let filtered = |s| txn(vec![], vec![put("x", "1"), Request::Range(RangeReq { filter, ..all_of(s) })], vec![]);
    assert_eq!(d.evaluate(&filtered(Span::users()), None).unwrap(), Evaluated::BlockedOn(open));
    assert!(matches!(d.evaluate(&filtered(point("b")), None).unwrap(), Evaluated::Done { .. }));
    let past = Request::Range(RangeReq { revision: Revision(3), ..all_of(point("a")) });
    assert_eq!(d.evaluate(&txn(vec![], vec![past], vec![]), d.bounds()).unwrap(), Evaluated::BlockedOn(open));
    d.overlay.number(open, Revision(4));
    assert!(matches!(d.evaluate(&when(CompareTarget::Mod(3)), None).unwrap(), Evaluated::Done { .. }));
}

#[test]
fn filters_on_own_versions_wait_for_the_number() {
    let mut d = Desk::with(&[("a", "1"), ("b", "1")]);
    let filter = Filter { min_mod: Revision(3), max_mod: Revision(3), ..Filter::default() };
    let range = RangeReq { filter, limit: 1, ..all_of(span("a", "z")) };
    let request = txn(vec![], vec![put("aa", "1"), txn(vec![], vec![Request::Range(range)], vec![])], vec![]);
    let Evaluated::Done { reply, .. } = d.evaluate(&request, None).unwrap() else { panic!() };
    assert!(reply.is_open());
    for (number, expected) in [(3, vec!["aa"]), (4, vec!["b"])] {
        let Reply::Txn(t) = reply.clone().fill(&|_| Revision(number)) else { panic!() };
        let Reply::Txn(t) = &t.replies[1] else { panic!() };
        assert_eq!(keys_of(&t.replies[0]), expected, "numbered {number}");
        let Reply::Range(r) = &t.replies[0] else { panic!() };
        assert_eq!((r.count, r.more), (3, number == 3), "both aa and b pass when aa is numbered 3");
    }
}

#[test]
fn pending_numbers_sort_last() {
    let mut d = Desk::with(&[("a", "1"), ("b", "1")]);
    d.leave_open(&put("a", "2"));
    let sort = Some(Sort { target: SortTarget::Mod, descending: true });
    let range = Request::Range(RangeReq { sort, ..all_of(Span::users()) });
    let Evaluated::Done { reply, .. } = d.evaluate(&txn(vec![], vec![put("0", "1"), range], vec![]), None).unwrap()
    else {
        panic!()
    };
    let Reply::Txn(t) = reply.fill(&|seq| Revision(10 + seq)) else { panic!() };
    assert_eq!(keys_of(&t.replies[1]), ["0", "a", "b"]);
}

#[test]
fn limit_comes_after_sort_and_count_ignores_it() {
    let mut d = Desk::with(&[("a", "3"), ("b", "1"), ("c", "2"), ("b", "1")]);
    let mut ask = |r: RangeReq| {
        let Reply::Range(reply) = d.run(&Request::Range(r)) else { panic!() };
        (reply.kvs.iter().map(|kv| kv.key.to_string()).collect::<String>(), reply.more, reply.count)
    };
    let all = all_of(span("a", "z"));
    let by = |target, descending| Some(Sort { target, descending });
    assert_eq!(ask(RangeReq { limit: 2, ..all.clone() }), ("ab".into(), true, 3));
    assert_eq!(ask(RangeReq { limit: 3, ..all.clone() }), ("abc".into(), false, 3));
    assert_eq!(ask(RangeReq { limit: 2, sort: by(SortTarget::Key, true), ..all.clone() }), ("cb".into(), true, 3));
    assert_eq!(ask(RangeReq { limit: 2, sort: by(SortTarget::Value, false), ..all.clone() }), ("bc".into(), true, 3));
    assert_eq!(ask(RangeReq { limit: 1, sort: by(SortTarget::Create, false), ..all.clone() }), ("a".into(), true, 3));
    assert_eq!(ask(RangeReq { sort: by(SortTarget::Mod, true), ..all.clone() }), ("bca".into(), false, 3));
    assert_eq!(ask(RangeReq { sort: by(SortTarget::Version, false), ..all.clone() }), ("acb".into(), false, 3));
    let filter = Filter { max_mod: Revision(4), ..Filter::default() };
    assert_eq!(ask(RangeReq { filter, limit: 1, ..all.clone() }), ("a".into(), true, 3));
    assert_eq!(ask(RangeReq { count_only: true, limit: 1, filter, ..all.clone() }), (String::new(), false, 3));
}

#[test]
fn keys_only_leaves_values_out_after_sorting_by_them() {
    let mut d = Desk::with(&[("a", "3"), ("b", "1"), ("c", "2")]);
    let sort = Some(Sort { target: SortTarget::Value, descending: false });
    for sort in [sort, None] {
        let Reply::Range(r) = d.run(&Request::Range(RangeReq { keys_only: true, sort, ..all_of(Span::users()) }))
        else {
            panic!()
        };
        assert!(r.kvs.iter().all(|kv| kv.value.is_empty() && kv.version == 1));
        assert_eq!(
            r.kvs.iter().map(|kv| kv.key.to_string()).collect::<String>(),
            if sort.is_some() { "bca" } else { "abc" }
        );
    }
    let r = RangeReq { keys_only: true, sort, ..all_of(Span::users()) };
    assert!(!part_of(&r, Span::users()).keys_only, "parts need the values they are sorted by");
}

#[test]
fn a_long_history_is_stepped_over_both_ways() {
    let mut d = Desk::new();
    for i in 0..60 {
        d.run(&put("b", &i.to_string()));
        if i % 20 == 0 {
            d.run(&put("a", "x"));
            d.run(&put("c", "x"));
        }
    }
    let empty = Captured::default();
    for at in 2..=d.revision {
        let source = Source::new(&d.engine, &empty);
        let up = read(&source, &all_of(Span::users()), Revision(at)).unwrap();
        let sort = Some(Sort { target: SortTarget::Key, descending: true });
        let mut down = read(&source, &RangeReq { sort, ..all_of(Span::users()) }, Revision(at)).unwrap();
        down.kvs.reverse();
        assert_eq!(up, down, "at {at}");
        let expected = if at < 3 { 1 } else { (2 + usize::from(at > 3)).min(3) };
        assert_eq!(up.kvs.len(), expected, "at {at}");
        let b = source.get_live(&key("b"), Revision(at)).unwrap().unwrap();
        assert!(up.kvs.contains(&b), "at {at}");
    }
}

#[test]
fn a_transaction_that_may_only_read_refuses_to_write() {
    let d = Desk::with(&[("a", "1")]);
    let empty = Captured::default();
    let bounds = Bounds { current: Revision(2), compacted: Revision(0) };
    let Request::Txn(writes) = txn(vec![], vec![put("a", "2")], vec![]) else { panic!() };
    assert!(read_txn(&Source::new(&d.engine, &empty), &writes, bounds).is_err());
    let Request::Txn(reads) = txn(vec![], vec![scan(point("a")), scan(point("b"))], vec![]) else { panic!() };
    let t = read_txn(&Source::new(&d.engine, &empty), &reads, bounds).unwrap();
    assert_eq!((keys_of(&t.replies[0]), keys_of(&t.replies[1])), (vec!["a".into()], vec![]));
}

#[test]
fn rotten_bytes_are_an_error_and_not_a_panic() {
    let mut d = Desk::with(&[("a", "1"), ("b", "1")]);
    let mut batch = Batch::new();
    batch.put(engine::Cf::Data, engine::keys::version(&key("b"), Revision(9)), Bytes::from_static(b"\xff"));
    d.engine.write(&batch, false).unwrap();
    for request in [put("b", "2"), scan(Span::users()), delete(Span::users()), scan(point("b"))] {
        assert_eq!(d.evaluate(&request, None).unwrap_err().kind, Kind::Corrupt, "{request:?}");
    }
    assert!(hash_span(&d.engine, &Span::users(), Revision(9), Revision(0)).is_err());
    assert!(matches!(d.evaluate(&put("a", "2"), None).unwrap(), Evaluated::Done { .. }));
}

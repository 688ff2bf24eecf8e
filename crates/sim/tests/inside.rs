//! The judges of what clients do not see, judged: what must hold after every step, and after a heal.

use base::{Epoch, Index, Key, RangeId, ReplicaId, Revision, Span, StoreId, Term};
use bytes::Bytes;
use mvcc::KeyValue;
use sim::check::*;

fn replica(term: u64, cursors: [u64; 4]) -> RangeView {
    RangeView {
        range: RangeId(2),
        replica: ReplicaId(1),
        span: Span::users(),
        epoch: Epoch::default(),
        term: Term(term),
        leads: false,
        lease_until: 0,
        cursors: cursors.map(Index),
        committed: vec![],
        state_hash: None,
    }
}

fn node(store: u64, range: RangeView) -> NodeView {
    NodeView { store: StoreId(store), ranges: vec![range], queued: (0, 10) }
}

fn version(revision: u64, value: &'static [u8]) -> Version {
    let (key, revision) = (Key::user(b"k"), Revision(revision));
    let value = Bytes::from_static(value);
    let kv = KeyValue { key: key.clone(), create: revision, modified: revision, version: 1, value, lease: 0 };
    Version { key, revision, sub: None, kv: Some(kv) }
}

type Run = fn(&mut Invariants) -> Result<(), Violation>;

const VIOLATIONS: &[(Rule, &str, Run)] = &[
    (Rule::OneLeaderPerTerm, "two leaders of one term at once", |i| {
        i.stepped(1, &node(1, RangeView { leads: true, ..replica(3, [0, 1, 1, 1]) }))?;
        i.stepped(2, &node(2, RangeView { leads: true, ..replica(3, [0, 1, 1, 1]) }))
    }),
    (Rule::OneLeaderPerTerm, "a term led again by another after a crash", |i| {
        i.stepped(1, &node(1, RangeView { leads: true, ..replica(3, [0, 1, 1, 1]) }))?;
        i.stopped(StoreId(1));
        i.stepped(9, &node(3, RangeView { leads: true, ..replica(3, [0, 1, 1, 1]) }))
    }),
    (Rule::OneVotePerTerm, "two votes in one term", |i| {
        i.voted(StoreId(1), RangeId(2), (Term(4), ReplicaId(1)))?;
        i.voted(StoreId(1), RangeId(2), (Term(4), ReplicaId(3)))
    }),
    (Rule::OneVotePerTerm, "a vote is forgotten in a restart", |i| {
        i.voted(StoreId(1), RangeId(2), (Term(4), ReplicaId(3)))?;
        i.stopped(StoreId(1));
        i.remembers(StoreId(1), RangeId(2), (Term(4), None))
    }),
    (Rule::OneLeaseHolder, "a new leader holds a lease before the old one's ended", |i| {
        i.stepped(1, &node(1, RangeView { leads: true, lease_until: 100, ..replica(3, [0, 1, 1, 1]) }))?;
        i.stepped(99, &node(2, RangeView { leads: true, lease_until: 200, ..replica(4, [0, 1, 1, 1]) }))
    }),
    (Rule::OneLeaseHolder, "an old leader renews what a new one holds", |i| {
        i.stepped(5, &node(2, RangeView { leads: true, lease_until: 90, ..replica(4, [0, 1, 1, 1]) }))?;
        i.stepped(6, &node(1, RangeView { leads: true, lease_until: 7, ..replica(3, [0, 1, 1, 1]) }))
    }),
    (Rule::SameState, "two replicas applied the same and differ", |i| {
        i.stepped(1, &node(1, RangeView { state_hash: Some(7), ..replica(3, [0, 4, 4, 4]) }))?;
        i.stepped(2, &node(2, RangeView { state_hash: Some(8), ..replica(3, [0, 4, 4, 4]) }))
    }),
    (Rule::SameState, "a restart gives another state at the same index", |i| {
        i.stepped(1, &node(1, RangeView { state_hash: Some(7), ..replica(3, [0, 4, 4, 4]) }))?;
        i.stopped(StoreId(1));
        i.stepped(2, &node(1, RangeView { state_hash: Some(9), ..replica(3, [0, 4, 4, 4]) }))
    }),
    (Rule::SameEntry, "one index, committed in two terms", |i| {
        i.stepped(1, &node(1, RangeView { committed: vec![(Index(4), Term(2))], ..replica(3, [0, 4, 4, 4]) }))?;
        i.stepped(2, &node(2, RangeView { committed: vec![(Index(4), Term(3))], ..replica(3, [0, 4, 4, 4]) }))
    }),
    (Rule::SameEntry, "a committed entry is replaced at its own node", |i| {
        i.stepped(1, &node(1, RangeView { committed: vec![(Index(4), Term(2))], ..replica(3, [0, 3, 4, 4]) }))?;
        i.stepped(2, &node(1, RangeView { committed: vec![(Index(4), Term(3))], ..replica(3, [0, 4, 4, 4]) }))
    }),
    (Rule::NothingGoesBack, "a term falls", |i| {
        i.stepped(1, &node(1, replica(3, [0, 1, 1, 1])))?;
        i.stepped(2, &node(1, replica(2, [0, 1, 1, 1])))
    }),
    (Rule::NothingGoesBack, "a commit index falls", |i| {
        i.stepped(1, &node(1, replica(3, [0, 1, 4, 4])))?;
        i.stepped(2, &node(1, replica(3, [0, 1, 3, 4])))
    }),
    (Rule::CursorsInOrder, "applied beyond what is committed", |i| i.stepped(1, &node(1, replica(3, [0, 5, 4, 6])))),
    (Rule::CursorsInOrder, "truncated beyond what is applied", |i| i.stepped(1, &node(1, replica(3, [5, 4, 6, 6])))),
    (Rule::SpansDisjoint, "two replicas of one node hold the same keys", |i| {
        let other = RangeView { range: RangeId(3), ..replica(1, [0, 0, 0, 0]) };
        i.stepped(1, &node(1, replica(3, [0, 1, 1, 1])))?;
        i.stepped(2, &node(1, other))
    }),
    (Rule::SpansDisjoint, "a hole in the key space", |i| {
        let (a, b, c) = (Key::user(b"a"), Key::user(b"b"), Key::user(b"c"));
        i.tiles(&Span::new(a.clone(), c.clone()), &[Span::new(a.clone(), b.clone()), Span::new(b.next(), c)])
    }),
    (Rule::QueuesBounded, "a queue beyond its bound", |i| {
        i.stepped(1, &NodeView { store: StoreId(1), ranges: vec![], queued: (11, 10) })
    }),
    (Rule::QueuesBounded, "no room at all, and something waits", |i| {
        i.stepped(1, &NodeView { store: StoreId(1), ranges: vec![], queued: (1, 0) })
    }),
    (Rule::NodesSleep, "a node wakes itself as fast as it can", |i| {
        (0..3_000).try_for_each(|n| i.woke(n * 10_000, StoreId(1)))
    }),
    (Rule::NodesSleep, "a node wakes itself too often, now and then by another's side", |i| {
        (0..30_000).try_for_each(|n| i.woke(n * 100_000, StoreId(1 + u64::from(n % 50 == 0))))
    }),
    (Rule::SameVersion, "one version, two values", |i| {
        i.version(StoreId(1), version(5, b"1"))?;
        i.version(StoreId(2), version(5, b"2"))
    }),
    (Rule::SameVersion, "a version that was created after it was changed", |i| {
        let mut v = version(5, b"1");
        v.kv.as_mut().expect("a value").create = Revision(6);
        i.version(StoreId(1), v)
    }),
    (Rule::DurableStays, "a term that was voted in is forgotten", |i| {
        i.promised(StoreId(1), RangeId(2), (Term(4), Index(9)));
        i.stopped(StoreId(1));
        i.restarted(StoreId(1), RangeId(2), (Term(3), Index(9)))
    }),
    (Rule::DurableStays, "an acknowledged entry is gone", |i| {
        i.promised(StoreId(1), RangeId(2), (Term(4), Index(9)));
        i.stopped(StoreId(1));
        i.restarted(StoreId(1), RangeId(2), (Term(4), Index(8)))
    }),
    (Rule::DurableStays, "what an earlier term wrote there is taken for what this one has not written yet", |i| {
        i.written(StoreId(1), RangeId(2), &Some((Index(9), Term(4), Some(Term(3)))))
    }),
    (Rule::DurableStays, "an acknowledged entry is dropped without a restart", |i| {
        i.promised(StoreId(1), RangeId(2), (Term(4), Index(9)));
        i.stepped(1, &node(1, replica(4, [0, 4, 4, 8])))
    }),
];

#[test]
fn every_invariant_rejects_what_breaks_it_and_is_needed() {
    for rule in Rule::of(Checker::Invariants) {
        let mine: Vec<_> = VIOLATIONS.iter().filter(|(r, ..)| *r == rule).collect();
        assert!(mine.len() >= 2, "{rule:?} has {} violating histories", mine.len());
        let mut through = 0;
        for (_, name, run) in mine {
            let v = run(&mut Invariants::new(Rules::default())).expect_err(name);
            assert_eq!(v.rule, rule, "{name}: {v}");
            through += u32::from(run(&mut Invariants::new(Rules::default().without(rule))).is_ok());
        }
        assert!(through > 0, "{rule:?} is idle");
    }
}

#[test]
fn sound_steps_are_accepted() {
    let mut i = Invariants::new(Rules::default());
    let leader = |until| RangeView { leads: true, lease_until: until, ..replica(3, [0, 4, 4, 5]) };
    i.stepped(1, &node(1, leader(100))).expect("a leader with a lease");
    i.stepped(50, &node(1, leader(150))).expect("it renews");
    i.stopped(StoreId(1));
    i.stepped(60, &node(2, RangeView { term: Term(4), ..leader(200) })).expect("a dead leader's lease is nobody's");
    i.restarted(StoreId(1), RangeId(2), (Term(3), Index(2))).expect("it had promised nothing");
    let spans = [Span::new(Key::user(b"m"), Span::users().end), Span::new(Span::users().start, Key::user(b"m"))];
    i.tiles(&Span::users(), &spans).expect("together they hold every key");
    i.written(StoreId(1), RangeId(2), &Some((Index(9), Term(4), Some(Term(4))))).expect("it is there");
    i.written(StoreId(1), RangeId(2), &None).expect("nothing new is written");
    i.version(StoreId(1), version(5, b"1")).expect("new");
    i.version(StoreId(2), version(5, b"1")).expect("the same");
    assert_eq!(i.versions(), vec![version(5, b"1")]);
    assert!(i.checked() > 0);
}

fn healed() -> Healed {
    let n = StoreId;
    let replicas = vec![(n(1), Some(n(1)), Index(7), 5), (n(2), Some(n(1)), Index(7), 5)];
    let range = HealedRange { range: RangeId(2), leaders: vec![n(1)], replicas };
    Healed { ranges: vec![range], unanswered: vec![], served: (5, 5) }
}

#[test]
fn liveness_rejects_what_is_not_healed() {
    type Spoil = fn(&mut Healed);
    let ways: [(Rule, Spoil); 8] = [
        (Rule::AllAnswered, |h| h.unanswered.push("op 1".into())),
        (Rule::AllAnswered, |h| h.unanswered.extend(["op 1".to_string(), "op 2".to_string()])),
        (Rule::OneLeaderEach, |h| h.ranges[0].leaders.push(StoreId(2))),
        (Rule::OneLeaderEach, |h| h.ranges[0].replicas[1].1 = None),
        (Rule::AllConverged, |h| h.ranges[0].replicas[1].2 = Index(6)),
        (Rule::AllConverged, |h| h.ranges[0].replicas[1].3 = 6),
        (Rule::ServesAgain, |h| h.served = (5, 4)),
        (Rule::ServesAgain, |h| h.served = (0, 0)),
    ];
    check_liveness(&healed(), &Rules::default()).expect("all is well");
    for rule in Rule::of(Checker::Liveness) {
        let mine: Vec<Spoil> = ways.iter().filter(|(r, _)| *r == rule).map(|(_, spoil)| *spoil).collect();
        assert!(mine.len() >= 2, "{rule:?} has {} ends that it must reject", mine.len());
        for spoil in mine {
            let mut h = healed();
            spoil(&mut h);
            assert_eq!(check_liveness(&h, &Rules::default()).expect_err("spoilt").rule, rule);
            check_liveness(&h, &Rules::default().without(rule)).expect("only that rule sees it");
        }
    }
}

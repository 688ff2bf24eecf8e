//! Closed revisions and what is read at them, and delete marks that go: whole nodes, no luck needed.

mod world;

use base::{Key, Revision, Span, Tick};
use engine::{Cf, Engine, keys};
use mvcc::{DeleteReq, Filter, RangeReq, Request};
use node::ClientAsk;
use std::sync::Arc;
use world::World;

fn leader_of(w: &World, range: u64) -> usize {
    let leads = |n: &node::Node<engine::mem::Mem>| {
        n.replicas().any(|r| r.descriptor().id.0 == range && r.leads().is_some() && r.is_serving())
    };
    w.nodes.iter().position(leads).expect("a leader")
}

fn ask(serializable: bool) -> ClientAsk {
    let span = Span::users();
    let filter = Filter::default();
    let (limit, sort, keys_only, count_only, revision) = (0, None, false, false, Revision::ZERO);
    ClientAsk::Kv(Arc::new(Request::Range(RangeReq {
        span,
        revision,
        limit,
        sort,
        keys_only,
        count_only,
        serializable,
        filter,
    })))
}

#[test]
fn a_node_that_is_cut_off_reads_what_its_clients_were_shown_and_nothing_else() {
    let mut w = World::new(3, &["g", "n"]);
    w.put(0, "a", "0");
    w.run(1_000);
    let follower = (leader_of(&w, 2) + 1) % 3;
    for (i, key) in ["a", "h", "z", "h"].iter().enumerate() {
        // Cut off at the very moment at which its client hears of its write.
        let shown = w.put(follower, key, &i.to_string());
        let full = w.read(follower, "a", "zz", true);
        assert!(full.0 >= shown.0, "{} was shown, {} is read", shown, full.0);
    }
    let shown = w.put(follower, "a", "5");
    w.cut_off(follower);
    let lost = w.begin(follower, ask(false));
    for (from, to, n) in [("a", "b", 1), ("h", "i", 1), ("y", "zz", 1), ("a", "zz", 3)] {
        let (revision, kvs) = w.read(follower, from, to, true);
        assert!(revision >= shown.0, "{shown} was shown");
        assert_eq!(kvs.len(), n, "{from}..{to}");
    }
    w.run(1_000);
    assert!(!w.answers.contains_key(&lost), "a linearizable read needs the others");
    w.run(5_000);
    assert!(w.answers.remove(&lost).expect("its time is over").is_err());
    assert_eq!(w.read(follower, "a", "b", true).1[0].1, "5", "as long as it lasts");
}

#[test]
fn a_leader_that_is_cut_off_reads_on_when_its_lease_is_over() {
    let mut w = World::new(3, &["g", "n"]);
    w.put(0, "a", "0");
    // Until the stores support each other.
    w.run(1_000);
    let leader = leader_of(&w, 2);
    w.put(leader, "h", "1");
    let shown = w.put(leader, "a", "2");
    w.cut_off(leader);
    w.run(4_000);
    let other = (leader + 1) % 3;
    let later = w.put(other, "h", "3");
    assert!(later > shown);
    let (revision, kvs) = w.read(leader, "a", "zz", true);
    assert!(revision >= shown.0 && revision < later.0, "{revision}");
    assert_eq!(kvs.iter().map(|kv| kv.1.as_str()).collect::<Vec<_>>(), ["2", "1"]);
}

#[test]
fn idle_ranges_are_closed_at_what_is_written_elsewhere() {
    let mut w = World::new(3, &["g", "n"]);
    w.put(0, "z", "idle");
    w.run(500);
    let mut newest = Revision::ZERO;
    for i in 0..20 {
        newest = w.put(0, "a", &i.to_string());
    }
    w.run(100);
    for node in 0..3 {
        let before = w.nodes[node].status().counters;
        let (revision, kvs) = w.read(node, "y", "zz", true);
        assert_eq!((revision, kvs.len()), (newest.0, 1), "node {node}");
        assert_eq!(w.nodes[node].status().counters.reads, before.reads, "no leader was asked");
    }
}

#[test]
fn a_node_that_has_not_applied_what_its_client_wrote_asks_the_leader() {
    let mut w = World::new(3, &["g"]);
    w.put(0, "a", "0");
    w.run(1_000);
    let follower = (leader_of(&w, 2) + 1) % 3;
    w.slow_disk[follower] = Tick::ms(80);
    for i in 0..5 {
        let shown = w.put(follower, "a", &i.to_string());
        let (revision, kvs) = w.read(follower, "a", "b", true);
        assert!(revision >= shown.0, "{shown} was shown, {revision} is read");
        assert_eq!(kvs[0].1, i.to_string());
    }
}

fn marks_on(w: &World, node: usize) -> usize {
    let (lower, upper) = keys::version_span(&Span::users());
    let records = w.nodes[node].engine().records(Cf::Data);
    let dead = |v: &bytes::Bytes| !mvcc::record::is_live(v).expect("a record");
    records.iter().filter(|(k, v)| **k >= lower && **k < upper && dead(v)).count()
}

#[test]
fn delete_marks_go_when_nothing_lies_beneath_and_hashes_do_not_notice() {
    let mut w = World::new(3, &["m"]);
    for key in ["a", "b", "x", "y"] {
        w.put(0, key, "1");
    }
    let delete = |w: &mut World, key: &str| {
        let span = Span::point(&Key::user(key.as_bytes()));
        w.call(1, ClientAsk::Kv(Arc::new(Request::Delete(DeleteReq { span, prev_kv: false })))).unwrap().revision
    };
    delete(&mut w, "a");
    let at = delete(&mut w, "x");
    delete(&mut w, "y");
    w.call(2, ClientAsk::Compact(at)).unwrap();
    w.put(0, "b", "2");
    w.run(1_000);
    assert_eq!([0, 1, 2].map(|n| marks_on(&w, n)), [3; 3], "all cover a version that the filter has yet to take");
    let hash = |w: &mut World, n| w.call(n, ClientAsk::Hash(Revision::ZERO)).unwrap().answer;
    let before = hash(&mut w, 0);
    let (lower, upper) = keys::version_span(&Span::users());
    w.nodes[0].engine().compact(&lower, &upper).unwrap();
    w.run(7_000);
    assert_eq!([0, 1, 2].map(|n| marks_on(&w, n)), [1, 3, 3], "each store by itself");
    assert_eq!(hash(&mut w, 0), before);
    assert_eq!(hash(&mut w, 1), before);
    assert_eq!(w.scan(0, "a", "zz").1, vec![("b".into(), "2".into(), w.nodes[0].status().revision.0)]);
}

#[test]
fn what_is_said_too_late_for_the_lease_closes_nothing() {
    let mut w = World::new(3, &["g", "n"]);
    w.put(0, "z", "idle");
    w.run(500);
    w.opened_late = Tick::ms(5_000);
    let newest = w.put(0, "a", "1");
    w.run(300);
    let reads = |w: &World| w.nodes.iter().map(|n| n.status().counters.reads).sum::<u64>();
    let before = reads(&w);
    let (revision, kvs) = w.read(0, "y", "zz", true);
    assert_eq!((revision >= newest.0, kvs.len()), (true, 1));
    assert!(reads(&w) > before, "a leader was asked: nobody may say that the range is closed at {newest}");
}

#[cfg(feature = "museum")]
#[test]
fn each_of_these_tests_fails_when_its_bug_is_planted() {
    base::museum::each_is_noticed(&[
        ("closed-by-an-old-leader", what_is_said_too_late_for_the_lease_closes_nothing),
        ("serializable-behind-what-was-shown", a_node_that_has_not_applied_what_its_client_wrote_asks_the_leader),
        ("mark-dropped-over-a-version", delete_marks_go_when_nothing_lies_beneath_and_hashes_do_not_notice),
    ]);
}

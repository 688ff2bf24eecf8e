use super::*;
use bytes::Bytes;

fn key(k: &str) -> Key {
    Key::user(k.as_bytes())
}
fn span(a: &str, b: &str) -> Span {
    Span::new(key(a), key(b))
}
fn live(create: Revision, version: u64) -> Record {
    Record { sub: 0, create, version, lease: 0, value: Some(Bytes::from_static(b"v")) }
}
const P: fn(u64) -> Revision = Revision::pending;
const NEWEST: Revision = Revision(u64::MAX);

/// a: 5, ?1 (created by ?1 after a mark), ?2; b: 6; c: ?2.
fn overlay() -> Overlay {
    let mut o = Overlay::new();
    o.insert(key("a"), Revision(5), Record::mark(0));
    o.insert(key("b"), Revision(6), live(Revision(6), 1));
    o.insert(key("a"), P(1), live(P(1), 1));
    o.insert(key("a"), P(2), live(P(1), 2));
    o.insert(key("c"), P(2), live(Revision(3), 4));
    o.check();
    o
}

#[test]
fn newest_is_by_revision_and_pending_is_last() {
    let o = overlay();
    assert_eq!(o.newest(&key("a"), NEWEST).unwrap().0, P(2));
    assert_eq!(o.newest(&key("a"), P(1)).unwrap().0, P(1));
    assert_eq!(o.newest(&key("a"), Revision::MAX).unwrap(), (Revision(5), &Record::mark(0)));
    assert_eq!(o.newest(&key("a"), Revision(4)), None);
    assert_eq!(o.newest(&key("x"), NEWEST), None);
    let all: Vec<_> =
        o.newest_in(&Span::users(), Revision(6)).into_iter().map(|(k, r, _)| (k.to_string(), r.0)).collect();
    assert_eq!(all, [("a".into(), 5), ("b".into(), 6)]);
}

#[test]
fn a_number_reaches_the_creates_that_named_it() {
    let mut o = overlay();
    o.number(1, Revision(7));
    o.check();
    assert_eq!(o.newest(&key("a"), Revision(7)).unwrap(), (Revision(7), &live(Revision(7), 1)));
    assert_eq!(o.newest(&key("a"), NEWEST).unwrap(), (P(2), &live(Revision(7), 2)));
    o.number(9, Revision(8));
    o.number(2, Revision(8));
    o.check();
    assert_eq!(o.pending_overlapping(&Span::users()), None);
}

#[test]
fn overlap_is_asked_for_keys_and_for_commands() {
    let mut o = overlay();
    assert_eq!(o.max_revision_overlapping(&Span::point(&key("b")), NEWEST), Some(Revision(6)));
    assert_eq!(o.max_revision_overlapping(&span("b", "c"), NEWEST), Some(Revision(6)));
    assert_eq!(o.max_revision_overlapping(&span("b", "d"), NEWEST), Some(P(2)));
    assert_eq!(o.max_revision_overlapping(&span("a", "c"), Revision(5)), Some(Revision(5)));
    assert_eq!(o.max_revision_overlapping(&span("d", "z"), NEWEST), None);
    assert_eq!(o.pending_overlapping(&span("b", "c")), None);
    // More keys than are looked at one by one.
    for i in 0..200 {
        o.insert(key(&format!("m{i:03}")), Revision(100 + i), live(Revision(100 + i), 1));
    }
    assert_eq!(o.max_revision_overlapping(&span("m", "n"), NEWEST), Some(Revision(299)));
    assert_eq!(o.max_revision_overlapping(&span("m", "m150"), NEWEST), Some(Revision(249)));
    assert_eq!(o.max_revision_overlapping(&span("m", "n"), Revision(120)), Some(Revision(120)));
    assert_eq!(o.max_revision_overlapping(&span("m", "n"), Revision(7)), None);
    o.check();
}

#[test]
fn what_is_applied_is_forgotten() {
    let mut o = overlay();
    o.remove(P(2));
    o.remove(Revision(5));
    o.remove(Revision(77));
    o.check();
    assert_eq!(o.newest(&key("a"), NEWEST).unwrap().0, P(1));
    assert_eq!(o.commands(), 2);
    o.remove(P(1));
    o.remove(Revision(6));
    assert!(o.is_empty() && o.bytes() == 0);
    let mut o = overlay();
    o.clear();
    assert_eq!(o, Overlay::new());
}

#[test]
fn a_drain_says_what_leaves_and_spares_what_is_pending() {
    let mut o = overlay();
    o.number(1, Revision(7));
    let mut left = Vec::new();
    o.drain_up_to(Revision(6), &mut |r, k, record| left.push((r.0, k.to_string(), record.is_live())));
    assert_eq!(left, [(5, "a".into(), false), (6, "b".into(), true)]);
    o.remove_up_to(Revision::MAX);
    o.check();
    assert_eq!((o.commands(), o.newest(&key("a"), NEWEST).unwrap().0), (1, P(2)));
}

#[test]
fn the_same_version_twice_is_one() {
    let mut o = overlay();
    let bytes = o.bytes();
    o.insert(key("b"), Revision(6), live(Revision(6), 1));
    o.check();
    assert_eq!(o.bytes(), bytes);
}

#[test]
fn a_capture_is_complete_up_to_its_revision() {
    let mut o = overlay();
    let c = o.capture(&span("a", "c"), NEWEST);
    assert_eq!(c.len(), 4);
    assert_eq!(c.newest(&key("a"), Revision(6)).unwrap().0, Revision(5));
    assert_eq!(c.newest(&key("a"), P(1)).unwrap().0, P(1));
    assert_eq!(c.newest(&key("c"), NEWEST), None, "outside the span");
    let mut newest = o.capture_newest(&Span::point(&key("a")), P(1));
    assert_eq!(newest.len(), 1);
    newest.number(1, Revision(9));
    assert_eq!(newest.newest(&key("a"), Revision(9)).unwrap(), (Revision(9), &live(Revision(9), 1)));
    // Captured again later: together they hold each version once.
    o.number(1, Revision(7));
    let mut early = o.capture(&Span::users(), Revision(6));
    o.remove(Revision(5));
    early.add(o.capture(&Span::users(), Revision(7)));
    let all: Vec<_> = early.all_in(&Span::users()).map(|(k, r, _)| (k.to_string(), r.0)).collect();
    assert_eq!(all, [("a".into(), 7), ("a".into(), 5), ("b".into(), 6)]);
    assert_eq!(early.live_delta(&Span::users(), Revision(6)), 0, "a's mark took what lived, b came");
    assert_eq!(early.live_delta(&Span::users(), Revision(5)), -1);
}

#[test]
#[should_panic(expected = "captured for reads at")]
fn a_capture_of_the_newest_refuses_an_older_read() {
    overlay().capture_newest(&Span::users(), Revision(6)).check_covers(Revision(5));
}

//! Delete marks that may go, and hashes that do not notice.

use super::make::*;
use crate::*;
use base::{Key, Revision, Span};
use bytes::Bytes;
use engine::mem::Mem;
use engine::{Batch, Cf, Engine, keys};

/// An engine with these versions: (key, revision, live?).
fn engine(versions: &[(&str, u64, bool)]) -> Mem {
    let engine = Mem::new();
    let mut batch = Batch::new();
    for (k, r, live) in versions {
        let value = live.then(|| Bytes::from_static(b"v"));
        let record = Record {
            create: Revision(if *live { *r } else { 0 }),
            version: u64::from(*live),
            value,
            ..Record::default()
        };
        let mut out = Vec::new();
        record.encode(&mut out);
        batch.put(Cf::Data, keys::version(&key(k), Revision(*r)), out);
    }
    engine.write(&batch, true).unwrap();
    engine
}

fn dead(engine: &Mem, bound: u64, max: usize) -> Vec<(String, u64)> {
    let (mut from, mut out) = (Key::default(), Vec::new());
    loop {
        let found = dead_marks(engine, &Span::users(), Revision(bound), &from, max).unwrap();
        for raw in found.keys {
            let (k, r) = keys::split_version(&raw).unwrap();
            out.push((k.to_string(), r.0));
        }
        match found.next {
            Some(next) => {
                assert!(next > from, "every look goes on");
                from = next;
            }
            None => return out,
        }
    }
}

#[test]
fn only_marks_with_nothing_beneath_at_or_below_the_bound_are_dead() {
    let e = engine(&[
        ("a", 5, false),
        ("b", 5, false),
        ("b", 3, true),
        ("c", 7, true),
        ("c", 4, false),
        ("d", 9, false),
        ("e", 6, true),
        ("f", 2, false),
    ]);
    for max in [1, 2, 100] {
        assert_eq!(dead(&e, 8, max), [("a".into(), 5), ("c".into(), 4), ("f".into(), 2)], "{max} at a time");
        assert_eq!(dead(&e, 4, max), [("c".into(), 4), ("f".into(), 2)]);
        assert_eq!(dead(&e, 1, max), []);
    }
    // Once the filter removed what lies beneath, the mark of b is dead too.
    e.set_filter_bound(Revision(8));
    let (lower, upper) = keys::version_span(&Span::users());
    e.compact(&lower, &upper).unwrap();
    assert_eq!(
        dead(&e, 8, 100),
        [("a".into(), 5), ("b".into(), 5), ("f".into(), 2)],
        "the filter took c's mark itself"
    );
}

#[test]
fn an_empty_span_has_no_dead_marks() {
    let e = engine(&[("a", 5, false)]);
    let found = dead_marks(&e, &span("b", "a"), Revision(9), &Key::default(), 10).unwrap();
    assert_eq!(found, DeadMarks::default());
}

#[test]
fn every_difference_shows_in_the_hash() {
    let hash = |v: &[(&str, u64, bool)], at, compacted| {
        hash_span(&engine(v), &Span::users(), Revision(at), Revision(compacted)).unwrap()
    };
    let base = [("a", 2, true), ("a", 5, true), ("b", 3, true), ("b", 4, false)];
    let h = hash(&base, 5, 0);
    assert_eq!(h, hash(&base, 9, 0), "no version between");
    assert_ne!(h, hash(&base, 4, 0), "the version at 5 counts from 5 on");
    assert_ne!(h, hash(&base[..3], 5, 0), "a delete mark counts");
    assert_ne!(h, hash(&[("a", 2, true), ("a", 6, true), ("b", 3, true), ("b", 4, false)], 9, 0), "revisions count");
    assert_ne!(h, hash(&[("aa", 2, true), ("a", 5, true), ("b", 3, true), ("b", 4, false)], 5, 0), "keys count");
    assert_ne!(hash(&[("a", 2, true)], 5, 0), 0);
    // Compacted at 4: a@2 still lives there, b is gone with its mark.
    assert_eq!(hash(&base, 5, 4), hash(&[("a", 2, true), ("a", 5, true)], 5, 4));
    assert_eq!(hash(&base, 5, 5), hash(&base[1..2], 5, 5));
    assert_eq!(hash(&[], 5, 0), 0);
}

//! One suite for all engines: each promise of the contract is a function here, and every engine runs them all.
//!
//! A [`Lab`] makes fresh engines and opens them again after a crash. [`run`] runs everything; each part can also be run
//! alone. [`model`] is the strongest part: a long random history against a plain map.

mod model;

pub use model::model;

use crate::{Batch, Cf, Cursor, Engine, Read, keys};
use base::{Index, Key, RangeId, Revision, Rng};
use bytes::Bytes;

/// Where engines are tested.
pub trait Lab {
    /// The engine.
    type E: Engine;
    /// A new, empty one.
    fn fresh(&mut self) -> Self::E;
    /// The same disk after its process died: everything synced is there.
    fn reopen(&mut self, engine: Self::E) -> Self::E;
}

/// All of it.
pub fn run<L: Lab>(lab: &mut L) {
    batches_are_ordered(lab);
    views_are_frozen(lab);
    cursors_walk_both_ways(lab);
    cursors_keep_their_bounds(lab);
    delete_range_removes_a_span(lab);
    synced_batches_survive(lab);
    ingest_clears_adds_and_applies(lab);
    ingest_keeps_older_views(lab);
    ingest_survives(lab);
    staging_is_invisible(lab);
    filter_drops_superseded_versions(lab);
    filter_bound_only_rises(lab);
    failed_ingest_order_is_refused(lab);
    sizes_grow(lab);
    for seed in 0..8 {
        model(lab, seed, 400);
    }
}

const D: Cf = Cf::Data;

fn put(batch: &mut Batch, key: &str, value: &str) {
    batch.put(D, key.as_bytes().to_vec(), value.as_bytes().to_vec());
}

/// Reads a key as text; "-" when it is not there.
fn get(from: &impl Read, key: &str) -> String {
    let value = from.get(D, key.as_bytes()).expect("a sound disk reads");
    let tried = from.try_get(D, key.as_bytes());
    assert!(tried.is_none_or(|t| t.expect("a sound disk reads") == value), "try_get differs at {key}");
    value.map_or("-".into(), |v| String::from_utf8_lossy(&v).into_owned())
}

/// All records from first to last within bounds, as `k=v k=v`, and the same backwards.
fn scan(from: &impl Read, lower: &str, upper: &str) -> String {
    let mut cursor = from.cursor(D, lower.as_bytes(), upper.as_bytes()).expect("a cursor");
    let mut forward = Vec::new();
    cursor.seek_first();
    while let Some(item) = text(&*cursor) {
        forward.push(item);
        cursor.next();
    }
    let mut backward = Vec::new();
    cursor.seek_last();
    while let Some(item) = text(&*cursor) {
        backward.push(item);
        cursor.prev();
    }
    cursor.status().expect("a sound disk reads");
    backward.reverse();
    assert_eq!(forward, backward, "both ways see the same");
    forward.join(" ")
}

fn text(cursor: &dyn Cursor) -> Option<String> {
    let show = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    cursor.item().map(|(k, v)| format!("{}={}", show(k), show(v)))
}

/// Later changes of a batch win; both column families change together and are apart.
pub fn batches_are_ordered<L: Lab>(lab: &mut L) {
    let e = lab.fresh();
    e.write(&Batch::new(), false).expect("an empty batch is no error");
    e.write(&Batch::new(), true).expect("nor a synced one");
    let mut b = Batch::new();
    put(&mut b, "a", "1");
    put(&mut b, "a", "2");
    put(&mut b, "b", "1");
    b.delete(D, &b"b"[..]);
    b.delete(D, &b"c"[..]);
    put(&mut b, "c", "3");
    put(&mut b, "empty", "");
    b.put(Cf::Log, &b"a"[..], &b"log"[..]);
    e.write(&b, true).expect("write");
    assert_eq!([get(&e, "a"), get(&e, "b"), get(&e, "c"), get(&e, "empty")], ["2", "-", "3", ""]);
    assert_eq!(e.get(Cf::Log, b"a").expect("read"), Some(Bytes::from_static(b"log")), "families are apart");
    assert_eq!(e.get(Cf::Log, b"c").expect("read"), None);
    assert_eq!(get(&e.clone(), "a"), "2", "a clone is the same engine");
}

/// A view sees exactly what was written before it.
pub fn views_are_frozen<L: Lab>(lab: &mut L) {
    let e = lab.fresh();
    let mut views = vec![(e.view(), String::new())];
    for i in 0..10 {
        let mut b = Batch::new();
        put(&mut b, "k", &i.to_string());
        match i % 3 {
            0 => put(&mut b, &format!("n{i}"), "x"),
            1 => b.delete(D, format!("n{}", i - 1).into_bytes()),
            _ => b.delete_range(D, &b"n"[..], &b"o"[..]),
        }
        e.write(&b, false).expect("write");
        views.push((e.view(), scan(&e, "a", "z")));
    }
    while !views.is_empty() {
        for (view, expected) in &views {
            assert_eq!(scan(view, "a", "z"), *expected);
            let k = expected.split(' ').find_map(|r| r.strip_prefix("k=")).unwrap_or("-");
            assert_eq!(get(view, "k"), k);
        }
        // Views end in some order; the others stay as they are.
        views.swap_remove(views.len() / 2);
        let mut b = Batch::new();
        put(&mut b, "k", "later");
        e.write(&b, false).expect("write");
    }
    assert_eq!(scan(&e, "a", "z"), "k=later n9=x");
    // A cursor over the engine itself is frozen too.
    let mut cursor = e.cursor(D, b"a", b"z").expect("a cursor");
    cursor.seek_first();
    let mut b = Batch::new();
    b.delete(D, &b"n9"[..]);
    e.write(&b, false).expect("write");
    cursor.next();
    assert_eq!(text(&*cursor).as_deref(), Some("n9=x"));
}

fn letters<L: Lab>(lab: &mut L) -> L::E {
    let e = lab.fresh();
    let mut b = Batch::new();
    for c in ["b", "d", "f", "h", "j"] {
        put(&mut b, c, "1");
    }
    e.write(&b, false).expect("write");
    e
}

/// Seeks land at or behind, at or before; steps go on from there; the end is the end.
pub fn cursors_walk_both_ways<L: Lab>(lab: &mut L) {
    let e = letters(lab);
    let view = e.view();
    let mut c = view.cursor(D, b"a", b"z").expect("a cursor");
    assert_eq!(text(&*c), None, "a new cursor is nowhere");
    let seeks = [("a", "b=1", "-"), ("b", "b=1", "b=1"), ("c", "d=1", "b=1"), ("j", "j=1", "j=1"), ("k", "-", "j=1")];
    for (key, behind, before) in seeks {
        c.seek(key.as_bytes());
        assert_eq!(text(&*c).unwrap_or("-".into()), behind, "seek {key}");
        c.seek_for_prev(key.as_bytes());
        assert_eq!(text(&*c).unwrap_or("-".into()), before, "seek_for_prev {key}");
    }
    c.seek(b"d");
    let steps: [(bool, &str); 8] =
        [(true, "f"), (true, "h"), (false, "f"), (true, "h"), (true, "j"), (false, "h"), (false, "f"), (false, "d")];
    for (i, (forward, expected)) in steps.into_iter().enumerate() {
        if forward {
            c.next()
        } else {
            c.prev()
        }
        assert_eq!(text(&*c).unwrap_or("-".into()), format!("{expected}=1"), "step {i}");
    }
    c.seek_last();
    c.next();
    assert_eq!(text(&*c), None, "off the end");
    c.next();
    c.prev();
    assert_eq!(text(&*c), None, "off the end is off the end until the next seek");
    c.status().expect("the end is no error");
    c.seek_first();
    c.prev();
    assert_eq!(text(&*c), None, "off the front");
    c.seek_first();
    assert_eq!(text(&*c).as_deref(), Some("b=1"));
}

/// Nothing outside `[lower, upper)` is ever seen, and every seek is clamped into it.
pub fn cursors_keep_their_bounds<L: Lab>(lab: &mut L) {
    let e = letters(lab);
    assert_eq!(scan(&e, "d", "h"), "d=1 f=1");
    assert_eq!(scan(&e, "c", "i"), "d=1 f=1 h=1");
    assert_eq!(scan(&e, "d", "d"), "");
    assert_eq!(scan(&e, "e", "f"), "");
    assert_eq!(scan(&e, "x", "c"), "", "inverted bounds are empty");
    let mut c = e.cursor(D, b"c", b"i").expect("a cursor");
    c.seek(b"a");
    assert_eq!(text(&*c).as_deref(), Some("d=1"));
    c.prev();
    assert_eq!(text(&*c), None, "b lies below the bound");
    c.seek_for_prev(b"z");
    assert_eq!(text(&*c).as_deref(), Some("h=1"));
    c.next();
    assert_eq!(text(&*c), None, "j lies above the bound");
    c.seek(b"z");
    assert_eq!(text(&*c), None);
    c.seek_for_prev(b"a");
    assert_eq!(text(&*c), None);
    c.seek(b"i");
    assert_eq!(text(&*c), None, "the upper bound is outside");
    c.seek_for_prev(b"c");
    assert_eq!(text(&*c), None, "nothing at or below c within the bounds");
}

/// `[start, end)` goes, its neighbours stay, and what the same batch writes afterwards is there.
pub fn delete_range_removes_a_span<L: Lab>(lab: &mut L) {
    let e = letters(lab);
    let before = e.view();
    let mut b = Batch::new();
    put(&mut b, "e", "gone too");
    b.delete_range(D, &b"d"[..], &b"h"[..]);
    put(&mut b, "f", "2");
    b.delete_range(D, &b"z"[..], &b"a"[..]);
    b.put(Cf::Log, &b"e"[..], &b"kept"[..]);
    e.write(&b, false).expect("write");
    assert_eq!(scan(&e, "a", "z"), "b=1 f=2 h=1 j=1");
    assert_eq!(scan(&before, "a", "z"), "b=1 d=1 f=1 h=1 j=1");
    assert_eq!(e.get(Cf::Log, b"e").expect("read"), Some(Bytes::from_static(b"kept")));
}

/// What was synced, and all before it, is there after a crash.
pub fn synced_batches_survive<L: Lab>(lab: &mut L) {
    let e = lab.fresh();
    for (i, sync) in [false, false, true, false, true].into_iter().enumerate() {
        let mut b = Batch::new();
        put(&mut b, "k", &i.to_string());
        put(&mut b, &format!("n{i}"), "x");
        b.put(Cf::Log, keys::entry(RangeId(7), Index(i as u64)), &b"entry"[..]);
        e.write(&b, sync).expect("write");
    }
    let e = lab.reopen(e);
    assert_eq!(scan(&e, "a", "z"), "k=4 n0=x n1=x n2=x n3=x n4=x");
    for i in 0..5 {
        let key = keys::entry(RangeId(7), Index(i));
        assert!(e.get(Cf::Log, &key).expect("read").is_some(), "entry {i}");
    }
    // An empty synced write makes what came before durable.
    let mut b = Batch::new();
    put(&mut b, "last", "1");
    e.write(&b, false).expect("write");
    e.write(&Batch::new(), true).expect("sync");
    let e = lab.reopen(e);
    assert_eq!(get(&e, "last"), "1");
}

fn stage_records<E: Engine>(e: &E, records: &[(&str, &str)]) -> Box<dyn crate::Stage> {
    let mut stage = e.stage().expect("stage");
    for (k, v) in records {
        stage.put(k.as_bytes(), v.as_bytes()).expect("staged");
    }
    stage.finish().expect("finish");
    stage
}

fn span(start: &str, end: &str) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(start.as_bytes()), Bytes::copy_from_slice(end.as_bytes()))
}

/// First the spans are cleared, then the staged records are there, then `then` wins.
pub fn ingest_clears_adds_and_applies<L: Lab>(lab: &mut L) {
    let e = letters(lab);
    let mut then = Batch::new();
    put(&mut then, "e", "then");
    put(&mut then, "a", "then");
    then.delete(D, &b"g"[..]);
    then.delete(D, &b"j"[..]);
    then.put(Cf::Log, &b"hard"[..], &b"state"[..]);
    put(&mut then, "a", "last");
    let stage = stage_records(&e, &[("d", "new"), ("e", "new"), ("g", "new"), ("x", "outside")]);
    e.ingest(stage, &[span("c", "h"), span("q", "r"), span("s", "s")], &then).expect("ingest");
    assert_eq!(scan(&e, "a", "z"), "a=last b=1 d=new e=then h=1 x=outside");
    assert_eq!(e.get(Cf::Log, b"hard").expect("read"), Some(Bytes::from_static(b"state")));
    // Overlapping spans, no records, nothing to apply.
    let stage = stage_records(&e, &[]);
    e.ingest(stage, &[span("a", "e"), span("d", "f")], &Batch::new()).expect("ingest");
    assert_eq!(scan(&e, "a", "z"), "h=1 x=outside");
    // Nothing at all.
    e.ingest(stage_records(&e, &[]), &[], &Batch::new()).expect("ingest");
    // A span of `then` goes before what it writes behind it.
    let mut then = Batch::new();
    then.delete_range(D, &b"a"[..], &b"i"[..]);
    put(&mut then, "h", "2");
    e.ingest(stage_records(&e, &[("c", "3")]), &[], &then).expect("ingest");
    assert_eq!(scan(&e, "a", "z"), "h=2 x=outside");
    // Ordinary writes go over ingested records.
    let mut b = Batch::new();
    put(&mut b, "x", "over");
    b.delete(D, &b"h"[..]);
    e.write(&b, false).expect("write");
    assert_eq!(scan(&e, "a", "z"), "x=over");
}

/// A view taken before sees nothing of it, one taken after sees all.
pub fn ingest_keeps_older_views<L: Lab>(lab: &mut L) {
    let e = letters(lab);
    let before = e.view();
    let mut cursor = before.cursor(D, b"a", b"z").expect("a cursor");
    cursor.seek(b"d");
    let stage = stage_records(&e, &[("d", "new"), ("e", "new")]);
    e.ingest(stage, &[span("a", "z")], &Batch::new()).expect("ingest");
    let after = e.view();
    assert_eq!(scan(&before, "a", "z"), "b=1 d=1 f=1 h=1 j=1");
    assert_eq!(scan(&after, "a", "z"), "d=new e=new");
    assert_eq!([get(&before, "d"), get(&before, "e"), get(&after, "d")], ["1", "-", "new"]);
    cursor.next();
    assert_eq!(text(&*cursor).as_deref(), Some("f=1"), "an open cursor walks on");
}

/// An ingestion is durable, and so is everything written before it.
pub fn ingest_survives<L: Lab>(lab: &mut L) {
    let e = letters(lab);
    let mut b = Batch::new();
    put(&mut b, "unsynced", "before");
    put(&mut b, "d", "overwritten");
    e.write(&b, false).expect("write");
    let mut then = Batch::new();
    put(&mut then, "position", "9");
    then.put(Cf::Log, &b"hard"[..], &b"state"[..]);
    let stage = stage_records(&e, &[("d", "new"), ("e", "new")]);
    e.ingest(stage, &[span("c", "i")], &then).expect("ingest");
    let e = lab.reopen(e);
    assert_eq!(scan(&e, "a", "z"), "b=1 d=new e=new j=1 position=9 unsynced=before");
    assert_eq!(e.get(Cf::Log, b"hard").expect("read"), Some(Bytes::from_static(b"state")));
}

/// Staged records are nowhere until they are ingested; dropping them leaves nothing.
pub fn staging_is_invisible<L: Lab>(lab: &mut L) {
    let e = letters(lab);
    let before = scan(&e, "a", "z");
    drop(stage_records(&e, &[("b", "never"), ("c", "never")]));
    let mut unfinished = e.stage().expect("stage");
    unfinished.put(b"k", b"never").expect("staged");
    assert_eq!(scan(&e, "a", "z"), before);
    drop(unfinished);
    // Several at once do not disturb each other.
    let mut one = e.stage().expect("stage");
    let mut two = e.stage().expect("stage");
    one.put(b"l", b"1").expect("staged");
    two.put(b"k", b"2").expect("staged");
    one.put(b"m", b"1").expect("staged");
    two.finish().expect("finish");
    one.finish().expect("finish");
    e.ingest(one, &[], &Batch::new()).expect("ingest");
    drop(two);
    let e = lab.reopen(e);
    assert_eq!(scan(&e, "k", "z"), "l=1 m=1");
}

/// Keys that do not ascend are refused, not sorted and not lost.
pub fn failed_ingest_order_is_refused<L: Lab>(lab: &mut L) {
    let e = lab.fresh();
    let mut stage = e.stage().expect("stage");
    stage.put(b"b", b"1").expect("staged");
    assert!(stage.put(b"a", b"1").is_err(), "descending");
    let mut stage = e.stage().expect("stage");
    stage.put(b"b", b"1").expect("staged");
    assert!(stage.put(b"b", b"2").is_err(), "twice");
    drop(stage);
    assert_eq!(scan(&e, "a", "z"), "");
}

fn version(key: &str, revision: u64) -> Bytes {
    keys::version(&Key::user(key.as_bytes()), Revision(revision))
}

fn versions(from: &impl Read, key: &str) -> Vec<u64> {
    let (lower, upper) = keys::versions_of(&Key::user(key.as_bytes()));
    let mut cursor = from.cursor(D, &lower, &upper).expect("a cursor");
    let mut found = Vec::new();
    cursor.seek_first();
    while let Some((raw, _)) = cursor.item() {
        found.push(keys::version_revision(raw).expect("an MVCC key").0);
        cursor.next();
    }
    found
}

fn compact_all<E: Engine>(e: &E) {
    e.compact(&[0], &[0xff]).expect("compact");
}

/// Compaction drops superseded versions at or below the bound, and nothing else.
pub fn filter_drops_superseded_versions<L: Lab>(lab: &mut L) {
    let e = lab.fresh();
    let others = [keys::store("identity"), keys::local(RangeId(3), 1), keys::plain(&Key::system(b"stores/1"))];
    let mut b = Batch::new();
    for (key, revs) in [("a", [2, 4, 6, 8]), ("b", [1, 9, 10, 11]), ("c", [3, 5, 7, 12])] {
        for rev in revs {
            b.put(D, version(key, rev), rev.to_string().into_bytes());
        }
    }
    for key in &others {
        b.put(D, key.clone(), &b"kept"[..]);
    }
    e.write(&b, true).expect("write");
    compact_all(&e);
    assert_eq!(versions(&e, "a"), [8, 6, 4, 2], "without a bound nothing is dropped");
    e.set_filter_bound(Revision(7));
    compact_all(&e);
    assert_eq!(versions(&e, "a"), [8, 6]);
    assert_eq!(versions(&e, "b"), [11, 10, 9, 1], "the newest at or below the bound stays");
    assert_eq!(versions(&e, "c"), [12, 7]);
    for key in &others {
        assert!(e.get(D, key).expect("read").is_some(), "{}", key.escape_ascii());
    }
    assert_eq!(e.get(D, &version("c", 7)).expect("read"), Some(Bytes::from_static(b"7")));
    let e = lab.reopen(e);
    assert_eq!(versions(&e, "a"), [8, 6], "what was dropped stays dropped");
    compact_all(&e);
    assert_eq!(versions(&e, "b"), [11, 10, 9, 1], "the bound is volatile: its owner sets it again");
}

/// A lower bound changes nothing.
pub fn filter_bound_only_rises<L: Lab>(lab: &mut L) {
    let e = lab.fresh();
    let mut b = Batch::new();
    for rev in 1..=5 {
        b.put(D, version("a", rev), &b"x"[..]);
    }
    e.write(&b, false).expect("write");
    e.set_filter_bound(Revision(4));
    e.set_filter_bound(Revision(2));
    compact_all(&e);
    assert_eq!(versions(&e, "a"), [5, 4]);
}

/// Sizes say something.
pub fn sizes_grow<L: Lab>(lab: &mut L) {
    let e = lab.fresh();
    let before = e.sizes();
    let mut rng = Rng::new(1);
    for i in 0..16 {
        let mut b = Batch::new();
        let noise: Vec<u8> = (0..4096).map(|_| rng.next_u64() as u8).collect();
        b.put(D, format!("k{i:03}").into_bytes(), noise);
        e.write(&b, i == 15).expect("write");
    }
    let after = e.sizes();
    assert!(after.total >= before.total + 60_000, "{before:?} → {after:?}");
    assert!(after.in_use <= after.total + 8_000, "{after:?}");
    assert!(!e.is_full(), "the disk of a test has room");
}

use super::*;
use crate::conformance::{self, Lab};
use crate::{is_no_space, keys};
use base::{Index, Key, RangeId, Rng};
use proptest::prelude::*;

struct MemLab;

impl Lab for MemLab {
    type E = Mem;
    fn fresh(&mut self) -> Mem {
        Mem::recorded()
    }
    fn reopen(&mut self, engine: Mem) -> Mem {
        engine.crash(Crash::Lose).expect("opens")
    }
}

fn batch(key: &str, value: &str) -> Batch {
    let mut b = Batch::new();
    b.put(Cf::Data, key.as_bytes().to_vec(), value.as_bytes().to_vec());
    b.put(Cf::Log, key.as_bytes().to_vec(), value.as_bytes().to_vec());
    b
}

fn read(from: &impl Read, key: &str) -> Option<String> {
    let value = from.get(Cf::Data, key.as_bytes()).expect("sound");
    assert_eq!(value, from.get(Cf::Log, key.as_bytes()).expect("sound"), "both families or neither");
    value.map(|v| String::from_utf8_lossy(&v).into_owned())
}

#[test]
fn the_twin_conforms() {
    conformance::run(&mut MemLab);
}

#[test]
fn the_twin_conforms_over_long_histories() {
    for seed in 100..140 {
        conformance::model(&mut MemLab, seed, 1000);
    }
}

#[test]
fn a_crash_leaves_a_prefix() {
    for (choice, expected) in [
        (Crash::Lose, ["1", "-", "-"]),
        (Crash::First(1), ["2", "2", "-"]),
        (Crash::Torn(1), ["2", "2", "-"]),
        (Crash::First(2), ["2", "2", "3"]),
        (Crash::Torn(2), ["2", "2", "-"]),
        (Crash::Keep, ["2", "2", "3"]),
        (Crash::First(99), ["2", "2", "3"]),
    ] {
        let mem = Mem::new();
        mem.write(&batch("a", "1"), true).unwrap();
        let mut two = batch("a", "2");
        two.append(batch("b", "2"));
        mem.write(&two, false).unwrap();
        mem.write(&batch("c", "3"), false).unwrap();
        assert_eq!(mem.unsynced(), 2);
        let view = mem.view();
        let back = mem.crash(choice).unwrap();
        let found = ["a", "b", "c"].map(|k| read(&back, k).unwrap_or("-".into()));
        assert_eq!(found, expected, "{choice}");
        assert_eq!(back.unsynced(), 0, "what survived is durable");
        for error in [mem.get(Cf::Data, b"a"), view.get(Cf::Data, b"a")] {
            assert_eq!(error.unwrap_err().kind, Kind::Closing, "the old engine is dead");
        }
        assert_eq!(mem.write(&batch("x", "1"), true).unwrap_err().kind, Kind::Closing);
        assert!(mem.crash(choice).is_err(), "a disk crashes into one engine only");
        assert!(mem.cursor(Cf::Data, b"a", b"z").is_err() && view.cursor(Cf::Data, b"a", b"z").is_err());
    }
}

#[test]
fn faults_stop_the_store_until_it_is_opened_anew() {
    for (fault, sync, lost, kept) in [(Fault::Write, false, None, None), (Fault::Sync, true, None, Some("2"))] {
        for (choice, expected) in [(Crash::Lose, lost), (Crash::Keep, kept)] {
            let mem = Mem::new();
            mem.write(&batch("a", "1"), true).unwrap();
            mem.fail_next(fault);
            let error = mem.write(&batch("b", "2"), sync).unwrap_err();
            assert!(error.kind == Kind::Disk && !is_no_space(&error), "{error}");
            assert!(mem.has_failed());
            assert_eq!(mem.write(&batch("c", "3"), true).unwrap_err().kind, Kind::Disk, "never tried again");
            assert_eq!(read(&mem, "a").as_deref(), Some("1"), "reads go on");
            let back = mem.crash(choice).unwrap();
            assert_eq!(read(&back, "b").as_deref(), expected, "{fault:?} {choice}");
            back.write(&batch("c", "3"), true).unwrap();
        }
    }
}

#[test]
fn a_torn_ingestion_has_its_data_and_not_its_log() {
    let mem = Mem::new();
    mem.write(&batch("a", "1"), false).unwrap();
    let mut stage = mem.stage().unwrap();
    stage.put(b"b", b"2").unwrap();
    stage.finish().unwrap();
    let mut then = Batch::new();
    then.put(Cf::Data, &b"position"[..], &b"9"[..]);
    then.put(Cf::Log, &b"hard"[..], &b"state"[..]);
    mem.fail_next(Fault::Ingest);
    assert!(mem.ingest(stage, &[], &then).is_err());
    let back = mem.crash(Crash::Lose).unwrap();
    assert_eq!(read(&back, "a").as_deref(), Some("1"), "what was written before is durable first");
    assert_eq!(back.get(Cf::Data, b"b").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(back.get(Cf::Data, b"position").unwrap().as_deref(), Some(&b"9"[..]));
    assert_eq!(back.get(Cf::Log, b"hard").unwrap(), None);
}

#[test]
fn a_full_disk_reads_and_recovers() {
    let mem = Mem::new();
    mem.write(&batch("a", "1"), false).unwrap();
    mem.set_full(true);
    assert!(mem.is_full());
    assert!(is_no_space(&mem.write(&batch("b", "2"), true).unwrap_err()));
    let mut stage = mem.stage().unwrap();
    assert!(is_no_space(&stage.put(b"b", b"2").unwrap_err()));
    stage.finish().unwrap();
    assert!(is_no_space(&mem.ingest(stage, &[], &Batch::new()).unwrap_err()));
    assert_eq!((read(&mem, "a").as_deref(), read(&mem, "b")), (Some("1"), None));
    mem.write(&Batch::new(), true).unwrap();
    let mem = mem.crash(Crash::Lose).unwrap();
    assert!(mem.is_full(), "a restart makes no room");
    mem.set_full(false);
    mem.write(&batch("b", "2"), true).unwrap();
    assert_eq!(read(&mem, "b").as_deref(), Some("2"));
    mem.set_stalled(true);
    assert!(mem.is_stalled());
}

#[test]
fn rot_is_an_error_that_names_the_file() {
    let mem = Mem::new();
    for key in ["a", "b", "c"] {
        mem.write(&batch(key, "1"), true).unwrap();
    }
    mem.rot(Cf::Data, b"b");
    let error = mem.get(Cf::Data, b"b").unwrap_err();
    assert!(error.kind == Kind::Corrupt && error.text.contains("mem/data.sst"), "{error}");
    let mut cursor = mem.cursor(Cf::Data, b"a", b"z").unwrap();
    cursor.seek_first();
    assert_eq!(cursor.item(), Some((&b"a"[..], &b"1"[..])));
    cursor.status().unwrap();
    cursor.next();
    assert!(cursor.item().is_none() && cursor.status().unwrap_err().kind == Kind::Corrupt);
    cursor.seek(b"c");
    assert_eq!(cursor.item(), Some((&b"c"[..], &b"1"[..])), "only what rotted is lost");
    cursor.prev();
    assert!(cursor.item().is_none() && cursor.status().unwrap_err().kind == Kind::Corrupt);
    drop(cursor);
    let back = mem.crash(Crash::Keep).unwrap();
    assert!(back.get(Cf::Data, b"b").is_err(), "rot survives a restart");
    back.write(&batch("b", "2"), true).unwrap();
    assert_eq!(read(&back, "b").as_deref(), Some("2"), "writing over it heals");
    let (cf, key) = back.rot_some(&mut Rng::new(1)).unwrap();
    assert!(back.get(cf, &key).is_err());
    back.rot_log();
    assert_eq!(back.crash(Crash::Keep).unwrap_err().kind, Kind::Corrupt, "a rotten log refuses to open");
}

#[test]
fn a_compaction_over_rot_stops_the_store() {
    let mem = Mem::new();
    mem.write(&batch("a", "1"), true).unwrap();
    mem.rot(Cf::Data, b"a");
    assert_eq!(mem.compact(b"a", b"z").unwrap_err().kind, Kind::Corrupt);
    assert_eq!(mem.write(&batch("b", "1"), true).unwrap_err().kind, Kind::Disk);
}

fn version(key: &str, revision: u64) -> Bytes {
    keys::version(&Key::user(key.as_bytes()), Revision(revision))
}

#[test]
fn compaction_ignores_views_and_spares_what_is_not_durable() {
    let mem = Mem::new();
    let mut b = Batch::new();
    for rev in [1, 2] {
        b.put(Cf::Data, version("a", rev), &b"x"[..]);
    }
    mem.write(&b, true).unwrap();
    let view = mem.view();
    let mut unsynced = Batch::new();
    unsynced.put(Cf::Data, version("a", 3), &b"x"[..]);
    mem.write(&unsynced, false).unwrap();
    mem.set_filter_bound(Revision(3));
    let mut rng = Rng::new(7);
    let dropped: usize = (0..200).map(|_| mem.compact_some(&mut rng).unwrap()).sum();
    assert_eq!(dropped, 1, "1 goes; 2 stays, because 3 may yet be lost");
    assert_eq!(view.get(Cf::Data, &version("a", 1)).unwrap(), None, "filters ignore views");
    let back = mem.crash(Crash::Lose).unwrap();
    assert!(back.get(Cf::Data, &version("a", 2)).unwrap().is_some());
    assert_eq!(back.filter_bound(), Revision(0));
}

/// The precondition of clearing, from its dark side: what would happen to a live version older than a cleared one.
#[test]
fn the_filter_still_meets_what_a_range_delete_covers() {
    let mem = Mem::new();
    let mut b = Batch::new();
    for rev in [5, 9] {
        b.put(Cf::Data, version("a", rev), &b"x"[..]);
    }
    b.put(Cf::Data, version("b", 5), &b"x"[..]);
    mem.write(&b, true).unwrap();
    let mut b = Batch::new();
    let (start, end) = keys::version_span(&base::Span::users());
    b.delete_range(Cf::Data, start, end);
    b.put(Cf::Data, version("a", 5), &b"x"[..]);
    b.put(Cf::Data, version("b", 5), &b"x"[..]);
    mem.write(&b, true).unwrap();
    mem.set_filter_bound(Revision(20));
    mem.compact(&[0], &[0xff]).unwrap();
    assert_eq!(mem.get(Cf::Data, &version("a", 5)).unwrap(), None, "9 was cleared, and takes 5 along");
    assert!(mem.get(Cf::Data, &version("b", 5)).unwrap().is_some());
    mem.write(&b, true).unwrap();
    mem.compact(&[0], &[0xff]).unwrap();
    assert!(mem.get(Cf::Data, &version("a", 5)).unwrap().is_some(), "a compaction has removed what was covered");
}

#[test]
fn dead_values_are_swept() {
    let mem = Mem::new();
    let mut views = Vec::new();
    for i in 0..2000u64 {
        let mut b = Batch::new();
        b.put(Cf::Data, format!("k{}", i % 10).into_bytes(), &b"x"[..]);
        b.put(Cf::Log, keys::entry(RangeId(1), Index(i)), &b"x"[..]);
        if i >= 5 {
            b.delete(Cf::Log, keys::entry(RangeId(1), Index(i - 5)));
        }
        mem.write(&b, true).unwrap();
        // A view is always alive, so that a sweep never finds an empty house.
        views.push(mem.view());
        if views.len() > 4 {
            views.remove(0);
        }
    }
    let (live, kept) = mem.kept();
    assert_eq!(live, 4);
    assert!(kept < 200, "{kept} values are kept for 4 views");
    views.clear();
    assert_eq!(mem.kept(), (0, 0));
    assert_eq!(mem.records(Cf::Log).len(), 5);
}

#[test]
fn a_fork_is_another_disk() {
    let mem = Mem::new();
    mem.write(&batch("a", "1"), true).unwrap();
    mem.write(&batch("b", "1"), false).unwrap();
    let fork = mem.fork();
    mem.write(&batch("a", "2"), true).unwrap();
    assert_eq!(fork.unsynced(), 1);
    let old = fork.crash(Crash::Lose).unwrap();
    assert_eq!((read(&old, "a").as_deref(), read(&old, "b")), (Some("1"), None));
    assert_eq!(read(&mem, "a").as_deref(), Some("2"));
}

proptest! {
    /// Every crash point of a random run: what is found is the state after some number of batches, at least all those
    /// that were durable, and whole batches only.
    #[test]
    fn every_crash_point_is_a_prefix(steps in prop::collection::vec((0u8..8, 0u8..6), 1..60)) {
        let mem = Mem::recorded();
        // After each change: operations so far, is it durable, all records.
        let mut states = vec![(0usize, true, mem.records(Cf::Data))];
        for (i, (what, key)) in steps.into_iter().enumerate() {
            let k = format!("k{key}");
            match what {
                0 => {
                    let mut stage = mem.stage().unwrap();
                    stage.put(k.as_bytes(), b"staged").unwrap();
                    stage.finish().unwrap();
                    mem.ingest(stage, &[(Bytes::from_static(b"k2"), Bytes::from_static(b"k4"))], &batch("t", "x")).unwrap();
                }
                1 => mem.write(&Batch::new(), true).unwrap(),
                _ => {
                    let mut b = batch(&k, &i.to_string());
                    b.append(batch("count", &i.to_string()));
                    mem.write(&b, what == 2).unwrap();
                }
            }
            states.push((mem.ops() as usize, mem.unsynced() == 0, mem.records(Cf::Data)));
        }
        let journal = mem.journal();
        prop_assert_eq!(journal.ops().len() as u64, mem.ops());
        let mut wrong = Vec::new();
        let points = journal.for_each_crash(|n, choice, disk| {
            let found = disk.records(Cf::Data);
            let durable = states.iter().rposition(|(ops, durable, _)| *ops <= n && *durable).unwrap_or(0);
            // The batch in whose middle the crash fell may be there too.
            let begun = states.iter().position(|(ops, ..)| *ops >= n).unwrap_or(states.len() - 1);
            if !states[durable..=begun.max(durable)].iter().any(|(.., s)| *s == found) {
                wrong.push(format!("after {n} operations, {choice}"));
            }
            if disk.records(Cf::Data) != journal.crash_after(n, choice).records(Cf::Data) {
                wrong.push(format!("two ways to the same crash differ: {n}, {choice}"));
            }
        });
        prop_assert!(wrong.is_empty(), "{:?}", wrong);
        prop_assert!(points > journal.ops().len());
    }
}

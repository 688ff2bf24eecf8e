use super::*;
use base::Rng;
use engine::conformance::{self, Lab};
use engine::{is_no_space, keys};
use tempfile::TempDir;

fn small() -> Settings {
    Settings { cache_bytes: 4 << 20, log_memtable_bytes: 1 << 20, data_memtable_bytes: 1 << 20, ..Settings::default() }
}

struct RocksLab {
    dirs: Vec<TempDir>,
}

impl Lab for RocksLab {
    type E = Rocks;
    fn fresh(&mut self) -> Rocks {
        let dir = TempDir::new().expect("a directory");
        let rocks = Rocks::open(dir.path(), &small()).expect("opens");
        self.dirs.push(dir);
        rocks
    }
    fn reopen(&mut self, engine: Rocks) -> Rocks {
        let dir = engine.inner.home.dir().to_path_buf();
        drop(engine);
        Rocks::open(&dir, &small()).expect("opens again")
    }
}

#[test]
fn rocks_conforms() {
    conformance::run(&mut RocksLab { dirs: Vec::new() });
}

fn put(key: &str, value: &[u8]) -> Batch {
    let mut b = Batch::new();
    b.put(Cf::Data, key.as_bytes().to_vec(), value.to_vec());
    b
}

fn error(dir: &Path) -> String {
    Rocks::open(dir, &small()).expect_err("refused").to_string()
}

#[test]
fn one_process_one_store() {
    let dir = TempDir::new().unwrap();
    let first = Rocks::open(dir.path(), &small()).unwrap();
    assert!(error(dir.path()).contains("another process has this store open"));
    let view = first.view();
    drop(first);
    assert!(error(dir.path()).contains("another process"), "a view keeps the store open");
    drop(view);
    Rocks::open(dir.path(), &small()).unwrap();
}

#[test]
fn foreign_directories_are_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::create_dir(dir.path().join("member")).unwrap();
    let text = error(dir.path());
    assert!(text.contains("not a Flotilla store") && text.contains("etcd"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was left in a foreign directory");
    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(error(&file).contains("a file, not a directory"));
    let dir = TempDir::new().unwrap();
    drop(Rocks::open(dir.path(), &small()).unwrap());
    let store = dir.path().join("STORE");
    let label = std::fs::read_to_string(&store).unwrap();
    std::fs::write(&store, label.replace("format 1", "format 2")).unwrap();
    assert!(error(dir.path()).contains("newer than this program"));
    std::fs::write(&store, "Flotilla").unwrap();
    assert!(error(dir.path()).contains("STORE: not the label"));
    std::fs::write(&store, label).unwrap();
    Rocks::open(dir.path(), &small()).unwrap();
}

#[test]
fn a_lost_database_is_not_an_empty_one() {
    let dir = TempDir::new().unwrap();
    drop(Rocks::open(dir.path(), &small()).unwrap());
    std::fs::remove_dir_all(dir.path().join("db")).unwrap();
    assert!(error(dir.path()).contains("CURRENT: missing"));
}

#[test]
fn a_missing_newest_log_is_noticed() {
    let dir = TempDir::new().unwrap();
    for i in 0..2 {
        let rocks = Rocks::open(dir.path(), &small()).unwrap();
        rocks.write(&put("a", &[i]), true).unwrap();
    }
    let newest = newest(dir.path(), ".log");
    std::fs::rename(&newest, dir.path().join("kept")).unwrap();
    let text = error(dir.path());
    assert!(text.contains(".log: missing") && text.contains("MANIFEST"), "{text}");
    std::fs::rename(dir.path().join("kept"), &newest).unwrap();
    Rocks::open(dir.path(), &small()).unwrap();
}

/// The newest file of the database that has this in its name.
fn newest(dir: &Path, part: &str) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir.join("db")).unwrap().flatten().map(|e| e.path());
    files.filter(|p| p.to_string_lossy().contains(part)).max().unwrap()
}

/// Nothing else accounts for it: its files and what it cleared overlap, so it took sequence numbers, which are then in no file.
#[test]
fn a_manifest_that_lost_a_snapshot_is_noticed() {
    let dir = TempDir::new().unwrap();
    let rocks = Rocks::open(dir.path(), &small()).unwrap();
    rocks.write(&put("a", b"1"), true).unwrap();
    let before = std::fs::metadata(newest(dir.path(), "MANIFEST-")).unwrap().len();
    let mut stage = rocks.stage().unwrap();
    stage.put(b"b", b"2").unwrap();
    stage.finish().unwrap();
    let clear = [(Bytes::from_static(b"b"), Bytes::from_static(b"c"))];
    rocks.ingest(stage, &clear, &put("c", b"3")).unwrap();
    rocks.write(&put("d", b"4"), true).unwrap();
    let copy = TempDir::new().unwrap();
    copy_dir(dir.path(), copy.path());
    let whole = TempDir::new().unwrap();
    copy_dir(copy.path(), whole.path());
    let manifest = std::fs::File::options().write(true).open(newest(copy.path(), "MANIFEST-")).unwrap();
    assert!(manifest.metadata().unwrap().len() > before);
    manifest.set_len(before).unwrap();
    let text = error(copy.path());
    assert!(text.contains(".log: batches are missing before the one, and it had been synced, at offset"), "{text}");
    let rocks = Rocks::open(whole.path(), &small()).unwrap();
    assert_eq!(rocks.mended(), None);
    assert_eq!(rocks.get(Cf::Data, b"b").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn an_emptied_sector_is_cut_off_if_nobody_was_told_and_refused_otherwise() {
    for told in [false, true] {
        let dir = TempDir::new().unwrap();
        let rocks = Rocks::open(dir.path(), &small()).unwrap();
        rocks.write(&put("a", &[1; 2000]), true).unwrap();
        let begin = std::fs::metadata(newest(dir.path(), ".log")).unwrap().len() as usize;
        rocks.write(&put("b", &[2; 2000]), told).unwrap();
        rocks.write(&put("c", &[3; 2000]), false).unwrap();
        let copy = TempDir::new().unwrap();
        copy_dir(dir.path(), copy.path());
        let path = newest(copy.path(), ".log");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[begin.next_multiple_of(512)..][..512].fill(0);
        std::fs::write(&path, bytes).unwrap();
        if told {
            let text = error(copy.path());
            assert!(text.contains("checksum mismatch, and it had been synced, at offset"), "{text}");
            continue;
        }
        let rocks = Rocks::open(copy.path(), &small()).unwrap();
        assert!(rocks.mended().unwrap().contains(&format!("at offset {begin}; it was never")), "{:?}", rocks.mended());
        let there = |key: &[u8]| rocks.get(Cf::Data, key).unwrap().is_some();
        assert_eq!([there(b"a"), there(b"b"), there(b"c")], [true, false, false]);
        rocks.write(&put("d", b"4"), true).unwrap();
        drop(rocks);
        let rocks = Rocks::open(copy.path(), &small()).unwrap();
        assert!(rocks.mended().is_none() && rocks.get(Cf::Data, b"d").unwrap().is_some(), "and it goes on");
    }
}

#[test]
fn a_start_that_was_cut_off_begins_anew() {
    let dir = TempDir::new().unwrap();
    let rocks = Rocks::open(dir.path(), &small()).unwrap();
    rocks.write(&put("a", b"1"), true).unwrap();
    drop(rocks);
    std::fs::write(dir.path().join("STORE"), "flotilla store, format 1, new\n").unwrap();
    let rocks = Rocks::open(dir.path(), &small()).unwrap();
    assert_eq!(rocks.get(Cf::Data, b"a").unwrap(), None, "nobody was ever told that it was open");
}

#[test]
fn staging_is_emptied_at_start_and_by_drop() {
    let dir = TempDir::new().unwrap();
    let rocks = Rocks::open(dir.path(), &small()).unwrap();
    let staging = dir.path().join("staging");
    let count = || std::fs::read_dir(&staging).unwrap().count();
    let mut stage = rocks.stage().unwrap();
    stage.put(b"a", &[7; 1000]).unwrap();
    stage.finish().unwrap();
    assert_eq!(count(), 1);
    drop(stage);
    assert_eq!(count(), 0);
    std::mem::forget(rocks.stage().unwrap());
    std::fs::write(staging.join("left.sst"), "behind").unwrap();
    drop(rocks);
    // The forgotten stage keeps the store open in this process: look at a copy of the directory.
    let copy = TempDir::new().unwrap();
    copy_dir(dir.path(), copy.path());
    Rocks::open(copy.path(), &small()).unwrap();
    assert_eq!(std::fs::read_dir(copy.path().join("staging")).unwrap().count(), 0);
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if path.is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A snapshot of several parts over older data, views and an open cursor; then a compaction under a bound.
#[test]
fn large_ingestions_have_several_parts() {
    let mut lab = RocksLab { dirs: Vec::new() };
    let rocks = lab.fresh();
    let mut rng = Rng::new(3);
    let mut value = vec![0; 100_000];
    value.iter_mut().for_each(|b| *b = rng.next_u64() as u8);
    for i in (0..400).step_by(3) {
        rocks.write(&put(&format!("k{i:03}"), b"old"), false).unwrap();
    }
    let before = rocks.view();
    let mut stage = rocks.stage().unwrap();
    for i in 0..400 {
        stage.put(format!("k{i:03}").as_bytes(), &value).unwrap();
    }
    stage.finish().unwrap();
    let parts = std::fs::read_dir(rocks.inner.home.staging().join("00000000")).unwrap().count();
    assert!(parts >= 3, "{parts} parts");
    let clear = [(Bytes::from_static(b"k"), Bytes::from_static(b"l"))];
    rocks.ingest(stage, &clear, &put("k399", b"then")).unwrap();
    assert_eq!(std::fs::read_dir(rocks.inner.home.staging()).unwrap().count(), 0);
    assert_eq!(before.get(Cf::Data, b"k003").unwrap().as_deref(), Some(&b"old"[..]));
    assert_eq!(before.get(Cf::Data, b"k004").unwrap(), None);
    let rocks = {
        drop(before);
        lab.reopen(rocks)
    };
    assert_eq!(rocks.get(Cf::Data, b"k003").unwrap().as_deref(), Some(&value[..]));
    assert_eq!(rocks.get(Cf::Data, b"k399").unwrap().as_deref(), Some(&b"then"[..]));
    assert_eq!(rocks.verify().unwrap(), 400);
}

/// RocksDB shows the filter what a range delete covers. A later state of the key survives that: see the contract.
#[test]
fn a_later_state_survives_the_filter_over_a_cleared_one() {
    let mut lab = RocksLab { dirs: Vec::new() };
    let rocks = lab.fresh();
    let version = |rev| keys::version(&base::Key::user(b"a"), Revision(rev));
    let mut b = Batch::new();
    for rev in [5, 9] {
        b.put(Cf::Data, version(rev), &b"cleared"[..]);
    }
    rocks.write(&b, true).unwrap();
    rocks.set_filter_bound(Revision(20));
    let (lower, upper) = keys::versions_of(&base::Key::user(b"a"));
    for round in 0..3 {
        let mut stage = rocks.stage().unwrap();
        for rev in [30 + round, 9, 5] {
            stage.put(&version(rev), b"live").unwrap();
        }
        stage.finish().unwrap();
        rocks.ingest(stage, &[(lower.clone(), upper.clone())], &Batch::new()).unwrap();
        rocks.compact(&[0], &[0xff]).unwrap();
        for rev in [30 + round, 9] {
            assert_eq!(rocks.get(Cf::Data, &version(rev)).unwrap().as_deref(), Some(&b"live"[..]), "{rev}");
        }
        assert_eq!(rocks.get(Cf::Data, &version(5)).unwrap(), None, "superseded below the bound");
    }
}

#[test]
fn try_reads_know_when_they_do_not_know() {
    let mut lab = RocksLab { dirs: Vec::new() };
    let rocks = lab.fresh();
    for i in 0..2000 {
        rocks.write(&put(&format!("k{i:04}"), &[i as u8; 100]), false).unwrap();
    }
    rocks.compact(&[0], &[0xff]).unwrap();
    // A new process has an empty cache.
    let rocks = lab.reopen(rocks);
    let view = rocks.view();
    assert!(rocks.try_get(Cf::Data, b"k1000").is_none() && view.try_get(Cf::Data, b"k1000").is_none());
    let mut cursor = view.try_cursor(Cf::Data, b"k", b"l").unwrap();
    cursor.seek(b"k1000");
    assert!(cursor.item().is_none());
    assert_eq!(cursor.status().unwrap_err().kind, Kind::Retry);
    assert!(rocks.get(Cf::Data, b"k1000").unwrap().is_some(), "brings the block into the cache");
    let value = view.try_get(Cf::Data, b"k1000").expect("known now").unwrap();
    assert_eq!(value.as_deref(), Some(&[232u8; 100][..]));
    let mut cursor = view.try_cursor(Cf::Data, b"k", b"l").unwrap();
    cursor.seek(b"k1000");
    assert_eq!(cursor.item().map(|(k, _)| k), Some(&b"k1000"[..]), "{:?}", cursor.status());
    rocks.write(&put("k1000", b"memtable"), false).unwrap();
    assert_eq!(rocks.try_get(Cf::Data, b"k1000").expect("known").unwrap().as_deref(), Some(&b"memtable"[..]));
}

/// Names that begin like others, and hold what escaping cares about.
fn name(rng: &mut Rng) -> base::Key {
    let letters = [b"a", b"b", b"\0", b"\x01", b"\xff"];
    base::Key::user(&(0..rng.below(5)).flat_map(|_| **rng.pick(&letters)).collect::<Vec<u8>>())
}

fn version_of(rng: &mut Rng) -> Bytes {
    keys::version(&name(rng), Revision(1 + rng.below(1000)))
}

/// Some changes of every kind; large enough to fill memtables.
fn changes(rng: &mut Rng) -> Batch {
    let mut b = Batch::new();
    for _ in 0..rng.below(30) {
        b.put(Cf::Data, version_of(rng), vec![rng.below(256) as u8; 300]);
        b.delete(Cf::Data, version_of(rng));
        b.put(Cf::Data, keys::plain(&name(rng)), vec![rng.below(256) as u8; 20]);
    }
    if rng.chance(100_000) {
        let (lower, upper) = keys::versions_of(&name(rng));
        b.delete_range(Cf::Data, lower, upper);
    }
    if rng.chance(20_000) {
        let (lower, upper) = keys::version_span(&base::Span::new(name(rng), name(rng)));
        b.delete_range(Cf::Data, lower, upper);
    }
    b
}

/// Takes a snapshot of a span in, and something after it.
fn ingest<E: Engine>(engine: &E, records: &[Bytes], span: (&Bytes, &Bytes), then: &Batch) {
    let mut stage = engine.stage().expect("stages");
    for key in records {
        stage.put(key, b"staged").expect("staged");
    }
    stage.finish().expect("staged");
    let clear = if span.0 < span.1 { vec![(span.0.clone(), span.1.clone())] } else { Vec::new() };
    engine.ingest(stage, &clear, then).expect("taken in");
}

/// The same steps of two cursors lead to the same records.
fn compare(ours: &mut dyn Cursor, twin: &mut dyn Cursor, rng: &mut Rng) {
    for _ in 0..8 {
        let to = version_of(rng);
        match rng.below(8) {
            0 => (ours.seek_first(), twin.seek_first()),
            1 => (ours.seek_last(), twin.seek_last()),
            2 => (ours.seek(&to), twin.seek(&to)),
            3 => (ours.seek_for_prev(&to), twin.seek_for_prev(&to)),
            4 | 5 => (ours.prev(), twin.prev()),
            _ => (ours.next(), twin.next()),
        };
        ours.status().expect("readable");
        assert_eq!(ours.item(), twin.item());
    }
}

/// Filters say where no version of a key is: everything must be found as in a store without any.
#[test]
fn versions_are_found_wherever_they_lie() {
    let mut lab = RocksLab { dirs: Vec::new() };
    let (mut rocks, twin) = (lab.fresh(), engine::mem::Mem::new());
    let mut rng = Rng::new(12);
    for turn in 0..1500 {
        let batch = changes(&mut rng);
        if turn % 100 == 50 {
            let (from, to) = keys::version_span(&base::Span::new(name(&mut rng), name(&mut rng)));
            let mut records: Vec<Bytes> =
                (0..40).map(|_| version_of(&mut rng)).filter(|k| (&from..&to).contains(&k)).collect();
            records.sort();
            records.dedup();
            ingest(&rocks, &records, (&from, &to), &batch);
            ingest(&twin, &records, (&from, &to), &batch);
        } else {
            rocks.write(&batch, false).expect("written");
            engine::Engine::write(&twin, &batch, false).expect("written");
        }
        match turn % 400 {
            150 => rocks.compact(&[0], &[0xff]).expect("compacts"),
            300 => rocks = lab.reopen(rocks),
            _ => {}
        }
        let (view, frozen) = (rocks.view(), twin.view());
        for _ in 0..4 {
            let one = name(&mut rng);
            let (lower, upper) = match rng.below(3) {
                0 => keys::version_span(&base::Span::new(one, name(&mut rng))),
                _ => keys::versions_of(&one),
            };
            compare(
                &mut *view.cursor(Cf::Data, &lower, &upper).expect("a cursor"),
                &mut *frozen.cursor(Cf::Data, &lower, &upper).expect("a cursor"),
                &mut rng,
            );
            let mut quick = view.try_cursor(Cf::Data, &lower, &upper).expect("a cursor");
            let mut slow = frozen.cursor(Cf::Data, &lower, &upper).expect("a cursor");
            quick.seek_first();
            slow.seek_first();
            assert!(quick.status().is_err() || quick.item() == slow.item(), "what it knows is true");
            let at = version_of(&mut rng);
            assert_eq!(rocks.get(Cf::Data, &at).expect("read"), twin.get(Cf::Data, &at).expect("read"));
        }
    }
    assert!(rocks.stats().writes > 0);
}

#[test]
fn a_reserve_refuses_before_the_disk_is_full() {
    let dir = TempDir::new().unwrap();
    let rocks = Rocks::open(dir.path(), &small()).unwrap();
    rocks.write(&put("a", b"1"), true).unwrap();
    let free = rocks.free_space();
    drop(rocks);
    // A reserve larger than what is left: the disk counts as full.
    let settings = Settings { reserve: Some(free * 3), ..small() };
    let rocks = Rocks::open(dir.path(), &settings).unwrap();
    assert!(rocks.is_full());
    let refused = rocks.write(&put("a", b"2"), true).unwrap_err();
    assert!(is_no_space(&refused), "{refused}");
    assert!(!rocks.has_failed(), "a refused write changed nothing");
    assert_eq!(rocks.get(Cf::Data, b"a").unwrap().as_deref(), Some(&b"1"[..]), "reads go on");
    let mut stage = rocks.stage().unwrap();
    assert!(is_no_space(&stage.put(b"a", b"2").unwrap_err()));
}

#[test]
fn what_is_small_may_use_half_of_the_reserve() {
    let dir = TempDir::new().unwrap();
    let free = Rocks::open(dir.path(), &small()).unwrap().free_space();
    // Less is left than the reserve, and more than half of it.
    let settings = Settings { reserve: Some(free + free / 2), ..small() };
    let rocks = Rocks::open(dir.path(), &settings).unwrap();
    assert!(rocks.is_full());
    rocks.write(&put("vote", b"1"), true).expect("a store that cannot write this cannot serve");
    let refused = rocks.write(&put("large", &[0; 64 << 10]), true).unwrap_err();
    assert!(is_no_space(&refused), "{refused}");
    rocks.write(&put("vote", b"2"), true).expect("and nothing was latched");
    assert_eq!(rocks.get(Cf::Data, b"vote").unwrap().as_deref(), Some(&b"2"[..]));
}

#[test]
fn stats_count() {
    let mut lab = RocksLab { dirs: Vec::new() };
    let rocks = lab.fresh();
    let view = rocks.view();
    rocks.write(&put("a", b"1"), true).unwrap();
    rocks.write(&put("b", b"1"), false).unwrap();
    let s = rocks.stats();
    assert_eq!((s.writes, s.bytes, s.syncs, s.views, s.stalled), (2, 4, 1, 1, false), "{s:?}");
    assert!(s.sync_micros > 0 && s.slowest_sync_micros > 0 && s.memtable_bytes > 0 && s.free > 0, "{s:?}");
    drop(view);
    assert_eq!((rocks.stats().views, rocks.stats().slowest_sync_micros), (0, 0));
}

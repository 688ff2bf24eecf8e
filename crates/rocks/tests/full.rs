//! A disk that fills up. On a small tmpfs of its own (skipped, and said so, where mounting is not allowed): writes are
//! refused before RocksDB meets the end of the disk, reads go on, and writes resume when there is room again.

use base::Rng;
use engine::{Batch, Cf, Engine, Read, is_no_space};
use rocks::{Rocks, Settings};
use std::path::Path;
use std::process::Command;

/// A mounted tmpfs, unmounted at the end whatever happens.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    fn mount(megabytes: u64) -> Option<Small> {
        let dir = tempfile::TempDir::new().expect("a directory");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|o| o.status.success());
        done.then_some(Small { dir })
    }
    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).output();
    }
}

fn noise(rng: &mut Rng, key: u64) -> Batch {
    let mut batch = Batch::new();
    let value: Vec<u8> = (0..8192).map(|_| rng.next_u64() as u8).collect();
    batch.put(Cf::Data, format!("k{key:06}").into_bytes(), value);
    batch
}

/// Writes until it is refused; returns the number of the refused write.
fn fill(rocks: &Rocks, rng: &mut Rng, mut next: u64) -> u64 {
    let mut was_full = rocks.is_full();
    loop {
        match rocks.write(&noise(rng, next), true) {
            Ok(()) => next += 1,
            Err(e) => {
                assert!(is_no_space(&e), "write {next}: {e}");
                assert!(was_full || rocks.is_full(), "clients are refused before anybody else is");
                return next;
            }
        }
        was_full |= rocks.is_full();
        assert!(next < 100_000, "a disk of this size fills up");
    }
}

#[test]
fn a_full_disk_refuses_writes_reads_on_and_recovers() {
    let Some(small) = Small::mount(48) else {
        println!("skipped: mounting a tmpfs is not allowed here");
        return;
    };
    let store = small.path().join("store");
    let settings = Settings { cache_bytes: 4 << 20, ..Settings::default() };
    let mut rng = Rng::new(1);
    let mut rocks = Rocks::open(&store, &settings).expect("opens");
    let mut next = 0;
    for round in 0..4 {
        next = fill(&rocks, &mut rng, next);
        assert!(!rocks.has_failed(), "round {round}: a refused write stops nobody");
        for key in 0..next {
            let there = rocks.get(Cf::Data, format!("k{key:06}").as_bytes()).expect("reads go on").is_some();
            // Earlier rounds were deleted again.
            assert!(there || round > 0, "{key} of round {round}");
        }
        let view = rocks.view();
        assert!(view.get(Cf::Data, format!("k{:06}", next - 1).as_bytes()).expect("reads go on").is_some());
        drop(view);
        if round == 1 {
            // A full store opens, too.
            drop(rocks);
            rocks = Rocks::open(&store, &settings).expect("opens when full");
            assert!(rocks.is_full());
        }
        // Room comes back by itself once there is less to keep: what is below the reserve is for this.
        make_room(small.path(), &rocks, next);
        rocks.write(&noise(&mut rng, next), true).expect("writes resume");
        next += 1;
    }
    assert!(next > 1000, "{next} writes fitted");
}

/// As the node's writer does: after a flush that met a full disk, RocksDB looks for room every five seconds.
fn write_when_there_is_room(rocks: &Rocks, batch: &Batch) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while let Err(e) = rocks.write(batch, true) {
        assert!(is_no_space(&e) && std::time::Instant::now() < deadline, "there is room now: {e}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// The operator's way out while every write is refused: more room, deletes, compaction.
fn make_room(mount: &Path, rocks: &Rocks, keys: u64) {
    let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(mount).output();
    assert!(grown.is_ok_and(|o| o.status.success()), "the tmpfs grows");
    let mut batch = Batch::new();
    batch.delete_range(Cf::Data, &b"k"[..], format!("k{keys:06}").into_bytes());
    write_when_there_is_room(rocks, &batch);
    rocks.compact(b"k", b"l").expect("compacts");
    let shrunk = Command::new("mount").args(["-o", "remount,size=48m"]).arg(mount).output();
    assert!(shrunk.is_ok_and(|o| o.status.success()), "the tmpfs shrinks");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while rocks.is_full() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!rocks.is_full(), "{} bytes are free after deleting everything", rocks.free_space());
}

#[test]
fn others_may_fill_the_disk_too() {
    let Some(small) = Small::mount(48) else {
        println!("skipped: mounting a tmpfs is not allowed here");
        return;
    };
    let rocks = Rocks::open(&small.path().join("store"), &Settings::default()).expect("opens");
    let mut rng = Rng::new(2);
    for key in 0..100 {
        rocks.write(&noise(&mut rng, key), true).expect("writes");
    }
    let ballast = small.path().join("others");
    let free = rocks.free_space();
    std::fs::write(&ballast, vec![1u8; (free - (1 << 20)) as usize]).expect("filled");
    fill(&rocks, &mut rng, 100);
    assert!(rocks.is_full() && !rocks.has_failed());
    assert!(rocks.get(Cf::Data, b"k000042").expect("reads go on").is_some());
    std::fs::remove_file(&ballast).expect("removed");
    // The next look sees it; nobody has to tell the store.
    rocks.write(&noise(&mut rng, 100), true).expect("writes resume");
    drop(rocks);
    let rocks = Rocks::open(&small.path().join("store"), &Settings::default()).expect("opens");
    let found = records(&rocks);
    assert!(found >= 101, "{found} records");
    assert_eq!(rocks.verify().expect("sound"), found);
}

fn records(rocks: &Rocks) -> u64 {
    let mut cursor = rocks.cursor(Cf::Data, b"k", b"l").expect("a cursor");
    cursor.seek_first();
    let mut n = 0;
    while cursor.item().is_some() {
        n += 1;
        cursor.next();
    }
    cursor.status().expect("reads");
    n
}

//! Stores made of a manifest and WALs, damaged in all the ways that a loss of power and a bad disk know.

use super::*;
use crate::wal::made::{append, batch};
use tempfile::TempDir;

/// A store of which files reach up to `last`, and whose families need the WAL `log` and later ones.
struct Store {
    dir: TempDir,
}

impl Store {
    fn new(log: u8, last: u8) -> Store {
        let store = Store { dir: TempDir::new().unwrap() };
        let mut manifest = Vec::new();
        append(&mut manifest, &[2, log, 3, 99, 4, last]);
        fs::write(store.dir.path().join("MANIFEST-000001"), manifest).unwrap();
        fs::write(store.dir.path().join("CURRENT"), "MANIFEST-000001\n").unwrap();
        store
    }

    /// Appends to the manifest.
    fn edit(&self, edit: &[u8]) {
        let path = self.dir.path().join("MANIFEST-000001");
        let mut manifest = fs::read(&path).unwrap();
        append(&mut manifest, edit);
        fs::write(path, manifest).unwrap();
    }

    fn path(&self, log: u64) -> PathBuf {
        self.dir.path().join(format!("{log:06}.log"))
    }

    /// Writes a WAL of batches of ten changes, each some sectors long, given by first number and mark. Returns where they begin,
    /// and where the last one ends.
    fn wal(&self, log: u64, batches: &[(u64, u64)]) -> Vec<usize> {
        let (mut bytes, mut starts) = (Vec::new(), vec![0]);
        for (first, durable) in batches {
            append(&mut bytes, &batch(*first, 10, *durable, 3000));
            starts.push(bytes.len());
        }
        fs::write(self.path(log), bytes).unwrap();
        starts
    }

    fn change(&self, log: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(log)).unwrap();
        change(&mut bytes);
        fs::write(self.path(log), bytes).unwrap();
    }

    fn lengths(&self, upto: u64) -> Vec<usize> {
        (1..=upto).filter_map(|log| fs::metadata(self.path(log)).ok()).map(|m| m.len() as usize).collect()
    }

    fn mend(&self) -> Result<Option<String>> {
        let found = mend(self.dir.path());
        if let Ok(Some(_)) = &found {
            let again = mend(self.dir.path()).unwrap();
            assert!(again.is_none_or(|text| text.contains("without its end")), "what is not left to RocksDB is done");
        }
        found
    }

    fn refused(&self, upto: u64) -> String {
        let before = self.lengths(upto);
        let text = self.mend().expect_err("refused").text;
        assert_eq!(self.lengths(upto), before, "what is refused stays as it is");
        text
    }
}

/// Empties the sector in the middle of what begins and ends here.
fn hole(bytes: &mut [u8], begin: usize, end: usize) {
    let sector = (begin + end) / 2 / 512 * 512;
    bytes[sector..sector + 512].fill(0);
}

#[test]
fn sound_logs_are_left_alone() {
    let store = Store::new(1, 0);
    let first = store.wal(1, &[(1, 0), (11, 10), (21, 20)]);
    let second = store.wal(2, &[(31, 20), (41, 20)]);
    assert_eq!(store.mend().unwrap(), None);
    assert_eq!(store.lengths(2), [first[3], second[2]]);
}

/// RocksDB drops it. It may have noted how long the file was, torn record included, and would refuse a shorter one.
#[test]
fn a_tail_that_ends_early_is_left_as_it_is() {
    for cut_off in [1, 500, 2999, 3025] {
        let store = Store::new(1, 0);
        let at = store.wal(1, &[(1, 0), (11, 10), (21, 10)]);
        store.change(1, |b| b.truncate(at[3] - cut_off));
        let text = store.mend().unwrap().unwrap();
        assert!(text.contains("000001.log: a record without its end at offset 6060; it was never synced"), "{text}");
        assert_eq!(store.lengths(1), [at[3] - cut_off]);
    }
    // Not if it ends in zeros: behind the first part of a record RocksDB would refuse them.
    let store = Store::new(1, 0);
    let at = store.wal(1, &[(1, 0), (11, 10), (21, 10)]);
    store.change(1, |b| b[at[2]..].fill(0));
    assert!(store.mend().unwrap().unwrap().contains("no record at offset 6060"));
    assert_eq!(store.lengths(1), [at[2]]);
}

/// Pages reach the disk in any order: of four batches since the last sync the second is not whole.
#[test]
fn a_hole_in_what_was_not_synced_takes_what_is_behind_with_it() {
    let store = Store::new(1, 0);
    let at = store.wal(1, &[(1, 0), (11, 10), (21, 10), (31, 10)]);
    store.wal(2, &[(41, 10)]);
    store.change(1, |b| hole(b, at[2], at[3]));
    assert!(store.mend().unwrap().unwrap().contains("checksum mismatch"));
    assert_eq!(store.lengths(2), [at[2], 0]);
    // The sector that was lost begins before the batch.
    let store = Store::new(1, 0);
    let at = store.wal(1, &[(1, 0), (11, 10), (21, 10), (31, 10)]);
    store.change(1, |b| b[at[2]..at[2].next_multiple_of(512)].fill(0));
    assert!(store.mend().unwrap().unwrap().contains("sound ones behind"));
    assert_eq!(store.lengths(1), [at[2]]);
    // Or in the middle of its header.
    let store = Store::new(1, 0);
    let mut bytes = Vec::new();
    append(&mut bytes, &batch(1, 10, 0, 479));
    assert_eq!(bytes.len(), 509);
    append(&mut bytes, &batch(11, 10, 10, 1000));
    append(&mut bytes, &batch(21, 10, 10, 10));
    bytes[512..1024].fill(0);
    fs::write(store.path(1), bytes).unwrap();
    store.mend().unwrap().unwrap();
    assert_eq!(store.lengths(1), [509]);
}

/// Of what a loss of power took, several sectors may be missing.
#[test]
fn several_holes_are_one_loss_and_a_later_mark_is_still_found() {
    for (mark, synced) in [(10, false), (40, true)] {
        let store = Store::new(1, 0);
        let at = store.wal(1, &[(1, 0), (11, 10), (21, 10), (31, 10), (41, 10), (51, mark)]);
        store.change(1, |b| {
            hole(b, at[1], at[2]);
            hole(b, at[3], at[4]);
        });
        match synced {
            false => {
                store.mend().unwrap().unwrap();
                assert_eq!(store.lengths(1), [at[1]]);
            }
            true => assert!(store.refused(1).contains("it had been synced")),
        }
    }
}

/// However much is missing before it, a mark tells.
#[test]
fn a_hole_at_the_begin_of_a_wal_does_not_hide_the_marks_behind_it() {
    let store = Store::new(1, 0);
    store.wal(1, &[(1, 0)]);
    let at = store.wal(2, &[(900_001, 900_000), (900_011, 900_010)]);
    store.change(2, |b| hole(b, at[0], at[1]));
    assert!(store.refused(2).contains("it had been synced"));
}

#[test]
fn rot_behind_a_torn_wal_is_rot() {
    let store = Store::new(1, 0);
    let at = store.wal(1, &[(1, 0), (11, 10)]);
    store.change(1, |b| b.truncate(at[2] - 1));
    store.wal(2, &[(11, 10), (21, 10)]);
    store.change(2, |b| b[100] ^= 1);
    assert!(store.refused(2).contains("000002.log: checksum mismatch at offset 0"));
}

#[test]
fn a_hole_in_what_was_synced_is_rot() {
    // The batch behind it was written after a sync that covered it; or one in the next WAL was.
    let store = Store::new(1, 0);
    let at = store.wal(1, &[(1, 0), (11, 10), (21, 20)]);
    store.change(1, |b| hole(b, at[1], at[2]));
    assert!(store.refused(1).contains("and it had been synced, at offset"), "a mark of 20 tells of 11 to 20");
    let store = Store::new(1, 0);
    let at = store.wal(1, &[(1, 0), (11, 10)]);
    store.wal(2, &[(21, 10), (31, 20)]);
    store.change(1, |b| hole(b, at[1], at[2]));
    assert!(store.refused(2).contains("000001.log"));
    // It was closed before a flush.
    let store = Store::new(2, 0);
    let at = store.wal(1, &[(1, 0), (11, 10)]);
    store.wal(2, &[]);
    store.change(1, |b| hole(b, at[1], at[2]));
    assert!(store.refused(2).contains("000001.log: checksum mismatch"));
}

#[test]
fn a_changed_bit_is_rot_wherever_it_is() {
    for (bit, in_batch) in (0..7 * 8 + 30).flat_map(|bit| (0..3).map(move |b| (bit, b))) {
        let store = Store::new(1, 0);
        let at = store.wal(1, &[(1, 0), (11, 0), (21, 0)]);
        store.change(1, |b| b[at[in_batch] + bit / 8] ^= 1 << (bit % 8));
        // The length of the last record may now reach beyond the end: that looks like a tail that was never finished.
        let unfinished = in_batch == 2 && (4 * 8..6 * 8).contains(&bit) && at[2] + (1 << (bit - 4 * 8)) < 32 << 10;
        match store.mend() {
            Err(e) => assert!(e.text.contains("at offset"), "{}", e.text),
            Ok(mended) => assert!(unfinished && mended.is_some(), "bit {bit} of batch {in_batch}"),
        }
    }
}

#[test]
fn without_the_end_of_a_wal_the_next_one_goes_too_if_nobody_was_told() {
    for cut_off in [0, 700] {
        let store = Store::new(1, 0);
        let at = store.wal(1, &[(1, 0), (11, 10), (21, 10)]);
        store.wal(2, &[(31, 10), (41, 10)]);
        store.wal(3, &[]);
        store.change(1, |b| b.truncate(at[2] + cut_off));
        store.mend().unwrap().unwrap();
        assert_eq!(store.lengths(3), [at[2] + cut_off, 0, 0]);
    }
    // A later batch knows that what is gone was durable.
    for cut_off in [0, 700] {
        let store = Store::new(1, 0);
        let at = store.wal(1, &[(1, 0), (11, 10), (21, 10)]);
        store.wal(2, &[(31, 10), (41, 40)]);
        store.change(1, |b| b.truncate(at[2] + cut_off));
        assert!(store.refused(2).contains("it had been synced"));
    }
}

#[test]
fn a_wal_may_go_on_exactly_where_the_one_before_is_torn() {
    // What did not fit on the disk is written to the next one; the old one may outlive a flush.
    for log in [1, 2] {
        let store = Store::new(log, 10);
        let at = store.wal(1, &[(1, 0), (11, 10), (21, 10)]);
        store.change(1, |b| b.truncate(at[3] - 1));
        let second = store.wal(2, &[(21, 10), (31, 30)]);
        assert_eq!(store.mend().unwrap(), None);
        assert_eq!(store.lengths(2), [at[3] - 1, second[2]]);
    }
}

#[test]
fn numbers_that_files_account_for_are_not_missing() {
    // 11 was taken by an ingestion: everything before it was synced, and it was durable at once.
    let store = Store::new(1, 11);
    store.wal(1, &[(1, 0), (12, 11)]);
    assert_eq!(store.mend().unwrap(), None);
    // The manifest has lost its last edit, and with it the snapshot that was taken in.
    let store = Store::new(1, 0);
    store.wal(1, &[(1, 0), (12, 11)]);
    assert!(store.refused(1).contains("batches are missing before the one, and it had been synced,"));
    // The WALs before it are gone because files have what was in them; or they should be there.
    let store = Store::new(2, 20);
    store.wal(2, &[(21, 10)]);
    assert_eq!(store.mend().unwrap(), None);
    let store = Store::new(2, 10);
    store.wal(2, &[(21, 20)]);
    assert!(store.refused(2).contains("batches are missing"));
}

#[test]
fn what_is_older_than_an_ingestion_was_synced() {
    let store = Store::new(1, 11);
    let at = store.wal(1, &[(1, 0), (12, 11)]);
    store.change(1, |b| hole(b, at[0], at[1]));
    assert!(store.refused(1).contains("it had been synced"), "what is behind goes on where the files end");
}

/// Nobody reads them, and nobody synced them when they were read for the last time.
#[test]
fn wals_that_are_not_needed_may_be_torn_in_any_way() {
    for keep in [1, 2] {
        let store = Store::new(1, 20);
        store.edit(&[2, 2, 10, keep, 3, 99]);
        let at = store.wal(1, &[(1, 0), (11, 0)]);
        store.wal(2, &[(21, 20)]);
        store.change(1, |b| hole(b, at[0], at[1]));
        match keep {
            1 => assert!(store.refused(2).contains("000001.log")),
            _ => assert_eq!(store.mend().unwrap(), None),
        }
    }
}

/// A manifest begins with the state in memory: an empty family needs no WAL before the newest, synced or not.
#[test]
fn what_an_empty_family_needs_does_not_tell_what_was_synced() {
    let store = Store::new(1, 0);
    store.edit(&[2, 2]);
    let at = store.wal(1, &[(1, 0), (11, 10), (21, 10)]);
    store.wal(2, &[]);
    store.change(1, |b| hole(b, at[1], at[2]));
    store.mend().unwrap().unwrap();
    assert_eq!(store.lengths(2), [at[1], 0]);
    fs::remove_file(store.path(2)).unwrap();
    assert!(store.refused(1).contains("000002.log: missing, or a later one"), "but there was a newer one");
}

#[test]
fn a_missing_newest_wal_is_missed() {
    let store = Store::new(3, 30);
    store.wal(2, &[(21, 20)]);
    assert!(store.refused(2).contains("000003.log: missing, or a later one"));
}

#[test]
fn a_rotten_manifest_is_refused_and_one_that_cannot_be_read_is_left_to_rocksdb() {
    let store = Store::new(1, 0);
    store.wal(1, &[(1, 0)]);
    let path = store.dir.path().join("MANIFEST-000001");
    store.edit(&[3, 100]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(store.refused(1).contains("MANIFEST-000001"));
    fs::remove_file(&path).unwrap();
    store.change(1, |b| b.truncate(100));
    assert_eq!(store.mend().unwrap(), None);
    assert_eq!(store.lengths(1), [100]);
}

//! What a loss of power may have left in the write-ahead logs (WALs) is cut off, before RocksDB reads them; what it
//! cannot have left is refused.
//!
//! Batches that were never synced may be gone after a loss of power, in part: a file may end early, and pages reach the
//! disk in any order, so that there are holes of zeros with sound records behind, or a whole end of one WAL is missing while
//! the next one is there. A store is a prefix of its batches, so all from the first that is not whole must go. But if that one
//! had been synced, somebody was told of it, and it is rot. What tells the two apart:
//!
//! * **Marks.** Each batch says up to which sequence number all was durable when it was written. One behind the damage
//!   whose mark reaches what is missing proves that this had been synced.
//! * **The manifest** says from which WAL on each family is needed, and the last sequence number in any file. RocksDB syncs
//!   all WALs before the first when it flushes, and what is in files is durable: damage there is rot. A number that is neither
//!   in a file nor in a WAL is missing.
//! * **Holes.** A disk writes whole sectors. A fragment that is complete, does not sum up and has no empty sector was
//!   written and has changed since.
//!
//! RocksDB itself drops a record with which a file ends, and that is left to it: it may have noted how long the file was, and
//! refuses a shorter one. It would take a damaged length for such an end, and drop synced records with it; and it does not notice
//! that the manifest lost its last edits, or that there should be a later WAL: with one family flushed further than the other
//! it opens happily.
//!
//! Synced batches with which the newest WAL ends can still vanish without a word, cut off or emptied, if no whole batch behind
//! them has a later mark, also when a snapshot was taken in after them; that is noticed by the peers, who remember what was
//! acknowledged (protocols §9).

use crate::error::from_io;
use crate::wal::{Batch, Damage, Edit, Found, Log, walk};
use base::{Error, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Cuts off what was never synced and is not whole, as far as RocksDB does not drop it by itself. Says what is gone, or why
/// it refuses: the file and the offset.
pub(crate) fn mend(db: &Path) -> Result<Option<String>> {
    let mut logs = logs(db)?;
    let Some(manifest) = Manifest::read(db)? else { return Ok(None) };
    manifest.check_newest(db, logs.last().map_or(0, |(number, _)| *number))?;
    // RocksDB does not read them: an old one that outlived its removal may be torn in any way.
    logs.retain(|(number, _)| *number >= manifest.keep);
    let mut judge = Judge { manifest: &manifest, reached: 0, broken: None, alone: false };
    for (number, path) in &logs {
        let bytes = fs::read(path).map_err(|e| from_io("cannot read", path, &e))?;
        judge.take(*number, path, &bytes)?;
    }
    let Some(broken) = judge.broken else { return Ok(None) };
    // The newest first: whenever this is interrupted, the same is found again.
    for (_, path) in logs.iter().rev().take_while(|(number, _)| *number > broken.log) {
        cut(path, 0)?;
    }
    if broken.what != Some(Damage::End) {
        cut(&broken.path, broken.keep)?;
    }
    let (path, why) = (broken.path.display(), broken.why());
    Ok(Some(format!("{path}: {why} at offset {}; it was never synced and is gone, with what was behind it", broken.at)))
}

fn cut(path: &Path, length: usize) -> Result<()> {
    let cut = || {
        let file = fs::File::options().write(true).open(path)?;
        file.set_len(length as u64)?;
        file.sync_all()
    };
    cut().map_err(|e| from_io("cannot cut", path, &e))
}

/// The WALs with their numbers, oldest first.
fn logs(db: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(db).map_err(|e| from_io("cannot read", db, &e))? {
        let path = entry.map_err(|e| from_io("cannot read", db, &e))?.path();
        let number = path.file_stem().and_then(|s| s.to_str()?.parse::<u64>().ok());
        if let (Some(number), Some("log")) = (number, path.extension().and_then(|x| x.to_str())) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// What the manifest says.
struct Manifest {
    path: PathBuf,
    /// A WAL with this number or a later one was there when it was written.
    newest: u64,
    /// All WALs before this one had been synced, for a flush.
    synced: u64,
    /// WALs before this one are not needed.
    keep: u64,
    /// The last sequence number in any file.
    last: u64,
}

impl Manifest {
    /// `None` if it cannot be read: RocksDB itself says what is wrong with it or with `CURRENT`.
    fn read(db: &Path) -> Result<Option<Manifest>> {
        let name = fs::read_to_string(db.join("CURRENT")).unwrap_or_default();
        let path = db.join(name.trim());
        let Ok(bytes) = fs::read(&path) else { return Ok(None) };
        let mut manifest = Manifest { path, newest: 0, synced: 0, keep: 0, last: 0 };
        walk(Log::Manifest, &bytes, &mut |found| {
            match found {
                Found::Record { head, .. } => {
                    let edit = Edit::read(head);
                    let log = edit.log.unwrap_or(0);
                    manifest.newest = manifest.newest.max(log);
                    // A manifest begins with the state in memory, where empty families need no WAL that is still to be synced.
                    manifest.synced = manifest.synced.max(if edit.changes { log } else { 0 });
                    manifest.keep = manifest.keep.max(edit.keep.unwrap_or(0));
                    manifest.last = manifest.last.max(edit.last.unwrap_or(0));
                }
                Found::Damage { what: Damage::End, .. } | Found::Damage { what: Damage::Empty, hole: true, .. } => {}
                Found::Damage { at, what, .. } => return Err(refuse(&manifest.path, at, words(what))),
            }
            Ok(())
        })?;
        Ok(Some(manifest))
    }

    fn check_newest(&self, db: &Path, newest: u64) -> Result<()> {
        if newest >= self.newest {
            return Ok(());
        }
        let path = db.join(format!("{:06}.log", self.newest));
        let manifest = self.path.display();
        Err(Error::corrupt(format!("{}: missing, or a later one, though {manifest} needs it", path.display())))
    }
}

fn refuse(path: &Path, at: usize, why: &str) -> Error {
    Error::corrupt(format!("{}: {why} at offset {at}", path.display()))
}

fn words(what: Damage) -> &'static str {
    match what {
        Damage::End => "a record without its end",
        Damage::Empty => "no record",
        Damage::Length => "a damaged record with sound ones behind it",
        Damage::Checksum => "checksum mismatch",
        Damage::Foreign => "a record of a kind that is never written",
    }
}

/// Where the prefix of whole batches ends.
struct Broken {
    log: u64,
    path: PathBuf,
    /// Where the damage, or the first batch behind missing ones, begins.
    at: usize,
    /// `None`: batches are missing.
    what: Option<Damage>,
    /// Bytes of that WAL that are whole batches of the prefix.
    keep: usize,
    /// The first sequence number that is missing, or a later one if an ingestion may have taken numbers in between.
    lost: u64,
}

impl Broken {
    fn why(&self) -> &'static str {
        self.what.map_or("batches are missing before the one", words)
    }

    fn was_synced(&self) -> Error {
        refuse(&self.path, self.at, &format!("{}, and it had been synced,", self.why()))
    }
}

/// Goes through all WALs in order.
struct Judge<'a> {
    manifest: &'a Manifest,
    /// The sequence number behind the last batch of the prefix, 0 before the first.
    reached: u64,
    broken: Option<Broken>,
    /// Nothing sound was met behind what is broken so far.
    alone: bool,
}

impl Judge<'_> {
    fn take(&mut self, log: u64, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut keep = 0;
        // Of the first WAL it is not known how much of it is in files.
        let next = Some(self.reached).filter(|reached| *reached > 0);
        walk(Log::Wal(next), bytes, &mut |found| match found {
            Found::Record { start, end, head } => {
                let Some(batch) = Batch::read(head) else {
                    return Err(refuse(path, start, "a batch without a number"));
                };
                self.batch(&batch, (log, path, start), keep)?;
                keep = end;
                Ok(())
            }
            Found::Damage { at, what, hole } => self.damage(what, hole, (log, path, at), keep),
        })
    }

    /// The first number that is neither in a file nor in a WAL so far.
    fn missing(&self) -> u64 {
        self.reached.max(self.manifest.last + 1)
    }

    fn batch(&mut self, batch: &Batch, (log, path, at): (u64, &Path, usize), keep: usize) -> Result<()> {
        let alone = std::mem::replace(&mut self.alone, false);
        if alone && batch.first == self.reached && self.broken.as_ref().is_some_and(|b| b.what == Some(Damage::End)) {
            // What could not be appended, the disk being full, or an earlier start dropped: nothing is missing.
            self.broken = None;
        }
        match &self.broken {
            None if batch.first <= self.missing() => {
                self.reached = self.reached.max(batch.next);
                return Ok(());
            }
            None => {
                let (path, lost) = (path.to_path_buf(), self.missing());
                self.broken = Some(Broken { log, path, at, what: None, keep, lost });
            }
            // It goes on where the files end, so what is missing is older than they are.
            Some(broken) if alone && batch.first <= broken.lost => return Err(broken.was_synced()),
            Some(_) => {}
        }
        match &self.broken {
            Some(broken) if batch.durable >= broken.lost => Err(broken.was_synced()),
            _ => Ok(()),
        }
    }

    fn damage(&mut self, what: Damage, hole: bool, (log, path, at): (u64, &Path, usize), keep: usize) -> Result<()> {
        // Behind a file that ends too early a WAL may still prove to be one that goes on exactly there.
        if self.broken.as_ref().is_some_and(|broken| !self.alone || broken.log == log) {
            return Ok(());
        }
        let torn = match what {
            Damage::End => true,
            Damage::Empty | Damage::Length | Damage::Checksum => hole && log >= self.manifest.synced,
            Damage::Foreign => false,
        };
        if !torn {
            return Err(refuse(path, at, words(what)));
        }
        if self.broken.is_none() {
            let (path, lost) = (path.to_path_buf(), self.missing());
            self.broken = Some(Broken { log, path, at, what: Some(what), keep, lost });
            self.alone = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! What can go wrong with the in-memory disk, on demand: failing writes and syncs, a full disk, a stalled one, rot, and
//! what a crash takes.

use super::{Mem, State};
use crate::{Cf, no_space};
use base::{Error, Kind, Result, Rng};
use std::fmt;

/// What a crash leaves of the batches behind the last sync: always the first few of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crash {
    /// All of them are lost.
    Lose,
    /// All of them were lucky.
    Keep,
    /// So many are kept (fewer if there are fewer).
    First(usize),
    /// So many are kept; the next one was half written, and is dropped at boot as a torn tail.
    Torn(usize),
}

impl Crash {
    /// One of all these, for a disk with so many unsynced batches.
    pub fn draw(rng: &mut Rng, unsynced: usize) -> Crash {
        let some = |rng: &mut Rng| rng.below(unsynced as u64 + 1) as usize;
        match rng.below(4) {
            0 => Crash::Lose,
            1 => Crash::Keep,
            2 => Crash::First(some(rng)),
            _ => Crash::Torn(some(rng)),
        }
    }

    /// How many of `unsynced` batches stay.
    pub(super) fn keep(self, unsynced: usize) -> usize {
        match self {
            Crash::Lose => 0,
            Crash::Keep => unsynced,
            Crash::First(n) => n.min(unsynced),
            // A record can only be torn if it was begun.
            Crash::Torn(n) => n.min(unsynced.saturating_sub(1)),
        }
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Crash::Lose => write!(f, "unsynced lost"),
            Crash::Keep => write!(f, "unsynced kept"),
            Crash::First(n) => write!(f, "{n} unsynced kept"),
            Crash::Torn(n) => write!(f, "{n} unsynced kept, then torn"),
        }
    }
}

/// A fault that waits for its moment, happens once, and stops the store: every later write fails until a crash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// The next write fails before anything reached the log.
    Write,
    /// The next sync fails; the batch is in the log, and a crash may take it or leave it.
    Sync,
    /// The next ingestion fails after its data is durable and before the log's part of `then` is written.
    Ingest,
}

/// The disk's condition.
#[derive(Clone, Default, Debug)]
pub(super) struct Faults {
    armed: Vec<Fault>,
    pub(super) failed: bool,
    pub(super) full: bool,
    stalled: bool,
    log_rot: bool,
    pub(super) dead: bool,
}

impl Faults {
    /// The moment of this fault: fails if it is armed.
    pub(super) fn trip(&mut self, fault: Fault) -> Result<()> {
        let Some(i) = self.armed.iter().position(|f| *f == fault) else { return Ok(()) };
        self.armed.remove(i);
        self.failed = true;
        Err(Error::new(Kind::Disk, format!("injected: {fault:?} failed on mem/000001.log")))
    }

    /// What a start forgets, and what it finds.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.armed.clear();
        self.failed = false;
        if self.log_rot {
            return Err(Error::corrupt("mem/000001.log: checksum mismatch before the end"));
        }
        Ok(())
    }
}

impl State {
    pub(super) fn check_alive(&self) -> Result<()> {
        if self.faults.dead {
            Err(Error::new(Kind::Closing, "this disk crashed and went to another engine"))
        } else {
            Ok(())
        }
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        self.check_alive()?;
        if self.faults.failed {
            return Err(Error::new(Kind::Disk, "a write failed earlier; the store must be opened anew"));
        }
        Ok(())
    }

    pub(super) fn check_room(&self) -> Result<()> {
        if self.faults.full { Err(no_space("mem")) } else { Ok(()) }
    }

    pub(super) fn check_sound(&self, cf: Cf, key: &[u8]) -> Result<()> {
        // Rot is rare: the set is empty nearly always, and then this costs one comparison.
        if self.rotten.is_empty() || !self.rotten.contains(&(cf, bytes::Bytes::copy_from_slice(key))) {
            return Ok(());
        }
        let file = if cf == Cf::Log { "mem/log.sst" } else { "mem/data.sst" };
        Err(Error::corrupt(format!("{file}: block checksum mismatch at {}", key.escape_ascii())))
    }
}

impl Mem {
    /// Arms a fault.
    pub fn fail_next(&self, fault: Fault) {
        self.inner.write().faults.armed.push(fault);
    }

    /// Did a write fail, so that the store must be opened anew?
    pub fn has_failed(&self) -> bool {
        self.inner.read().faults.failed
    }

    /// Fills the disk, or makes room. Survives a crash.
    pub fn set_full(&self, full: bool) {
        self.inner.write().faults.full = full;
    }

    /// Says whether writes hang. A call cannot hang here: whoever carries writes out looks at [`Mem::is_stalled`] first
    /// and holds them back.
    pub fn set_stalled(&self, stalled: bool) {
        self.inner.write().faults.stalled = stalled;
    }

    /// Do writes hang?
    pub fn is_stalled(&self) -> bool {
        self.inner.read().faults.stalled
    }

    /// Flips a bit in the record at `key`: reading it, and compacting it, is an error until it is written again.
    pub fn rot(&self, cf: Cf, key: &[u8]) {
        let mut state = self.inner.write();
        if state.table(cf).get(key, state.seq).is_some() {
            state.rotten.insert((cf, bytes::Bytes::copy_from_slice(key)));
        }
    }

    /// Flips a bit in some record; says which, or nothing when there is none.
    pub fn rot_some(&self, rng: &mut Rng) -> Option<(Cf, bytes::Bytes)> {
        let mut keys: Vec<(Cf, bytes::Bytes)> = Vec::new();
        for cf in [Cf::Log, Cf::Data] {
            keys.extend(self.inner.read().table(cf).newest().map(|(k, _)| (cf, k.clone())));
        }
        if keys.is_empty() {
            return None;
        }
        let (cf, key) = rng.pick(&keys).clone();
        self.rot(cf, &key);
        Some((cf, key))
    }

    /// Flips a bit in a synced record of the write-ahead log: the next start refuses to open.
    pub fn rot_log(&self) {
        self.inner.write().faults.log_rot = true;
    }
}

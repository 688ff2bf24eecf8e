//! Room on the disk: writes are refused some way before the file system is full, so that RocksDB never meets the end of
//! it in the middle of a record.
//!
//! ```text
//!   free room ────────────┬───────────────────┬──────────────┬────────── 0
//!                        soft                hard          hard/2
//!             all writes   is_full: clients'   only small     none
//!                          writes are refused  ones: votes,
//!                          above us            positions
//! ```
//!
//! Between the soft bound and the hard one there is room for what is under way when the soft one is passed: memtables to
//! be flushed, a new WAL, the compactions that run (`tune` keeps all of them small on a small disk). What lies below the
//! hard bound belongs to flushes and compactions, which give room back, and to what a store must write to go on serving:
//! votes, positions, an incarnation at its start.

use crate::Settings;
use base::{Error, Kind, Result};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Writes between two looks at the file system, at most.
const WRITES_PER_LOOK: u64 = 16;
/// Bytes between two looks, at most.
const BYTES_PER_LOOK: u64 = 8 << 20;
/// The soft bound, in hard ones.
const SOFT: u64 = 4;
/// A write of no more bytes may go below the hard bound.
const SMALL: i64 = 4 << 10;

/// How much is left, and who may have it.
pub(crate) struct Room {
    dir: PathBuf,
    capacity: u64,
    hard: u64,
    soft: u64,
    /// Bytes that may be written before the next look.
    budget: AtomicI64,
    writes: AtomicU64,
    questions: AtomicU64,
    free: AtomicU64,
    full: AtomicBool,
}

impl Room {
    pub(crate) fn new(dir: &Path, settings: &Settings) -> Result<Room> {
        let look = look(dir)?;
        // A twentieth of a small disk, at most what two full memtables need on a large one.
        let hard = settings.reserve.unwrap_or((look.capacity / 20).clamp(1 << 20, 256 << 20));
        let room = Room {
            dir: dir.to_path_buf(),
            capacity: look.capacity,
            hard,
            soft: hard.saturating_mul(SOFT),
            budget: AtomicI64::new(0),
            writes: AtomicU64::new(0),
            questions: AtomicU64::new(0),
            free: AtomicU64::new(look.free),
            full: AtomicBool::new(false),
        };
        room.note(look.free);
        Ok(room)
    }

    /// The size of the file system.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// What is left, looked up now.
    pub(crate) fn free(&self) -> u64 {
        if let Ok(look) = look(&self.dir) {
            self.note(look.free);
        }
        self.free.load(Ordering::Relaxed)
    }

    /// Is it time to refuse clients' writes? Looks again every few calls.
    pub(crate) fn is_full(&self) -> bool {
        if self.questions.fetch_add(1, Ordering::Relaxed).is_multiple_of(WRITES_PER_LOOK) {
            self.free();
        }
        self.full.load(Ordering::Relaxed)
    }

    /// Takes room for a write of so many bytes, or refuses it.
    pub(crate) fn take(&self, bytes: usize) -> Result<()> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let due = self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(WRITES_PER_LOOK);
        if !due && self.budget.fetch_sub(bytes, Ordering::Relaxed) >= bytes {
            return Ok(());
        }
        let free = self.free();
        let left = i64::try_from(free.saturating_sub(self.hard)).unwrap_or(i64::MAX);
        if left < bytes {
            self.budget.store(0, Ordering::Relaxed);
            if bytes <= SMALL && free > self.hard / 2 {
                return Ok(());
            }
            let text = format!("{free} bytes left at {}, {} are kept in reserve", self.dir.display(), self.hard);
            return Err(engine::no_space(&text));
        }
        // The nearer the bound, the sooner the next look: flushes and compactions take room, too.
        self.budget.store(((left - bytes) / 4).min(BYTES_PER_LOOK as i64), Ordering::Relaxed);
        Ok(())
    }

    /// Full below the soft bound, and until there is clearly more again. What was granted before shrinks with the room.
    fn note(&self, free: u64) {
        self.free.store(free, Ordering::Relaxed);
        let left = i64::try_from(free.saturating_sub(self.hard)).unwrap_or(i64::MAX);
        self.budget.fetch_min(left, Ordering::Relaxed);
        let was = self.full.load(Ordering::Relaxed);
        let bound = if was { self.soft + self.hard } else { self.soft };
        self.full.store(free < bound, Ordering::Relaxed);
    }
}

struct Look {
    capacity: u64,
    free: u64,
}

fn look(dir: &Path) -> Result<Look> {
    match rustix::fs::statvfs(dir) {
        Ok(s) => Ok(Look { capacity: s.f_blocks * s.f_frsize, free: s.f_bavail * s.f_frsize }),
        Err(e) => Err(Error::new(Kind::Disk, format!("cannot look at the room left at {}: {e}", dir.display()))),
    }
}

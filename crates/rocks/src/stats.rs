//! Counters that cost nothing to keep, and sizes that RocksDB knows.

use crate::Inner;
use engine::{Cf, Sizes};
use rocksdb::properties as property;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the store did so far.
#[derive(Default)]
pub(crate) struct Counters {
    writes: AtomicU64,
    bytes: AtomicU64,
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    slowest_sync_micros: AtomicU64,
    ingests: AtomicU64,
}

impl Counters {
    pub(crate) fn wrote(&self, bytes: usize, synced: Option<Duration>) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(took) = synced {
            let micros = took.as_micros() as u64;
            self.syncs.fetch_add(1, Ordering::Relaxed);
            self.sync_micros.fetch_add(micros, Ordering::Relaxed);
            self.slowest_sync_micros.fetch_max(micros, Ordering::Relaxed);
        }
    }
    pub(crate) fn ingested(&self) {
        self.ingests.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the store did since it was opened, and how it is. Reading it takes RocksDB's lock for a moment: for metrics, not
/// for every step.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Batches written.
    pub writes: u64,
    /// Bytes of keys and values in them.
    pub bytes: u64,
    /// Those that were synced.
    pub syncs: u64,
    /// How long synced writes took in all, from handing the batch over to durable.
    pub sync_micros: u64,
    /// The slowest of them since the last call of `Rocks::stats`.
    pub slowest_sync_micros: u64,
    /// Snapshots ingested.
    pub ingests: u64,
    /// Bytes in memtables, flushes under way included.
    pub memtable_bytes: u64,
    /// Bytes in the block cache.
    pub cache_bytes: u64,
    /// Bytes that compactions have yet to rewrite.
    pub pending_compaction_bytes: u64,
    /// Files in level 0 of both families: many of them slow writes down.
    pub level0_files: u64,
    /// Are writes being held back by RocksDB?
    pub stalled: bool,
    /// Errors of flushes and compactions.
    pub background_errors: u64,
    /// Views that are alive.
    pub views: u64,
    /// Bytes that the file system has left.
    pub free: u64,
}

pub(crate) fn read(inner: &Inner) -> Stats {
    let c = &inner.counters;
    let sum = |name: &property::PropName| number(inner, Cf::Log, name) + number(inner, Cf::Data, name);
    let level0 = property::num_files_at_level(0);
    let files = |cf| {
        let text = inner.db().property_value_cf(inner.family(cf), &level0).ok().flatten();
        text.and_then(|t| t.parse::<u64>().ok()).unwrap_or(0)
    };
    Stats {
        writes: c.writes.load(Ordering::Relaxed),
        bytes: c.bytes.load(Ordering::Relaxed),
        syncs: c.syncs.load(Ordering::Relaxed),
        sync_micros: c.sync_micros.load(Ordering::Relaxed),
        slowest_sync_micros: c.slowest_sync_micros.swap(0, Ordering::Relaxed),
        ingests: c.ingests.load(Ordering::Relaxed),
        memtable_bytes: sum(property::CUR_SIZE_ALL_MEM_TABLES),
        cache_bytes: number(inner, Cf::Data, property::BLOCK_CACHE_USAGE),
        pending_compaction_bytes: sum(property::ESTIMATE_PENDING_COMPACTION_BYTES),
        level0_files: files(Cf::Log) + files(Cf::Data),
        stalled: number(inner, Cf::Data, property::IS_WRITE_STOPPED) != 0
            || number(inner, Cf::Data, property::ACTUAL_DELAYED_WRITE_RATE) != 0,
        background_errors: number(inner, Cf::Data, property::BACKGROUND_ERRORS),
        views: number(inner, Cf::Data, property::NUM_SNAPSHOTS),
        free: inner.room.free(),
    }
}

/// A number that RocksDB knows about a column family; 0 if it does not.
pub(crate) fn number(inner: &Inner, cf: Cf, name: &property::PropName) -> u64 {
    inner.db().property_int_value_cf(inner.family(cf), name).ok().flatten().unwrap_or(0)
}

/// Files and WALs on disk; of those, what is not yet superseded as far as RocksDB can tell.
pub(crate) fn sizes(inner: &Inner) -> Sizes {
    let sum = |name: &property::PropName| number(inner, Cf::Log, name) + number(inner, Cf::Data, name);
    let wal = wal_bytes(inner);
    let files = sum(property::TOTAL_SST_FILES_SIZE);
    Sizes { total: files + wal, in_use: sum(property::ESTIMATE_LIVE_DATA_SIZE).min(files) + wal }
}

fn wal_bytes(inner: &Inner) -> u64 {
    let Ok(entries) = std::fs::read_dir(inner.home.db()) else { return 0 };
    let logs = entries.flatten().filter(|e| e.path().extension().is_some_and(|x| x == "log"));
    logs.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
}

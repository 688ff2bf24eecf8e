//! Writing: one batch, one WAL record, at most one fsync; and no second try after a failure.

use crate::{Inner, stats, wal};
use base::{Error, Kind, Result};
use engine::{Batch, Cf, Op};
use rocksdb::{BottommostLevelCompaction, CompactOptions, WriteBatch, properties as property};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What a record of a WriteBatch costs beside key and value, at most: tag, family, two lengths.
const RECORD_OVERHEAD: usize = 12;
/// What a WriteBatch costs beside its records, at most: sequence number, count and mark.
const BATCH_OVERHEAD: usize = 32;

pub(crate) fn write(inner: &Inner, batch: &Batch, sync: bool) -> Result<()> {
    check_sound(inner)?;
    if batch.is_empty() {
        return if sync { sync_log(inner) } else { Ok(()) };
    }
    inner.room.take(batch.bytes() + batch.ops().len() * RECORD_OVERHEAD + BATCH_OVERHEAD)?;
    let started = Instant::now();
    latch(inner, "cannot write to", inner.db().write(to_rocks(inner, batch)))?;
    if sync {
        sync_wal(inner)?;
    }
    inner.counters.wrote(batch.bytes(), sync.then(|| started.elapsed()));
    Ok(())
}

/// Makes everything written so far durable.
pub(crate) fn sync_log(inner: &Inner) -> Result<()> {
    check_sound(inner)?;
    let started = Instant::now();
    sync_wal(inner)?;
    inner.counters.wrote(0, Some(started.elapsed()));
    Ok(())
}

/// A call of its own, also for what was just written: a write with `sync` closes no WAL that a memtable's switch left behind,
/// and as long as there is one, each tells the manifest of it again, with an fsync of its own.
pub(crate) fn sync_wal(inner: &Inner) -> Result<()> {
    let written = inner.db().latest_sequence_number();
    latch(inner, "cannot sync", inner.db().flush_wal(true))?;
    inner.durable.fetch_max(written, Ordering::AcqRel);
    Ok(())
}

pub(crate) fn check_sound(inner: &Inner) -> Result<()> {
    if inner.failed.load(Ordering::Acquire) {
        let text = format!("{}: a write failed earlier; the store must be opened anew", inner.home.dir().display());
        return Err(Error::new(Kind::Disk, text));
    }
    Ok(())
}

/// After a failed write nobody knows what the files hold, and a second fsync may report success for pages that the
/// kernel has dropped. So the first failure is the last write, unless the disk is merely full.
pub(crate) fn latch<T>(inner: &Inner, what: &str, result: std::result::Result<T, rocksdb::Error>) -> Result<T> {
    result.map_err(|e| {
        let explained = inner.explain(what, &e);
        if !engine::is_no_space(&explained) {
            inner.failed.store(true, Ordering::Release);
        }
        explained
    })
}

fn to_rocks(inner: &Inner, batch: &Batch) -> WriteBatch {
    let mut to = WriteBatch::with_capacity_bytes(batch.bytes() + batch.ops().len() * RECORD_OVERHEAD + BATCH_OVERHEAD);
    to.put_log_data(wal::mark(inner.durable.load(Ordering::Acquire)));
    for op in batch.ops() {
        match op {
            Op::Put(cf, key, value) => to.put_cf(inner.family(*cf), key, value),
            Op::Delete(cf, key) => to.delete_cf(inner.family(*cf), key),
            // RocksDB refuses the whole batch for an inverted span.
            Op::DeleteRange(cf, start, end) if start < end => to.delete_range_cf(inner.family(*cf), start, end),
            Op::DeleteRange(..) => {}
        }
    }
    to
}

/// Rewrites these keys down to the last level, so that the filter sees them all.
pub(crate) fn compact(inner: &Inner, start: &[u8], end: &[u8]) -> Result<()> {
    check_sound(inner)?;
    if start >= end {
        return Ok(());
    }
    let errors = || stats::number(inner, Cf::Data, property::BACKGROUND_ERRORS);
    let before = errors();
    let mut options = CompactOptions::default();
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    // Others may compact at the same time, and writers are not held up.
    options.set_exclusive_manual_compaction(false);
    inner.db().compact_range_cf_opt(inner.family(Cf::Data), Some(start), Some(end), &options);
    if errors() != before {
        let text = format!("{}: a compaction failed; see db/LOG", inner.home.dir().display());
        return Err(Error::new(Kind::Disk, text));
    }
    Ok(())
}

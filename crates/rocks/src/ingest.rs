//! Snapshots being received: records go to files beside the database, and one call makes them part of it.
//!
//! ```text
//!   clear.sst    range deletes of the spans to clear        first
//!   part-*.sst   what was staged, in order                  then
//!   then.sst     what comes after                           last: later files win where they overlap
//! ```
//!
//! RocksDB gives overlapping files of one call ascending sequence numbers and adds all of them in one edit of its
//! manifest, which it syncs: that edit is the moment at which data, position and cleared spans change together.

use crate::Inner;
use crate::error::{from_io, from_rocks};
use crate::write::{self, check_sound, latch};
use base::{Error, Result};
use bytes::Bytes;
use engine::{Batch, Op, Stage};
use rocksdb::{IngestExternalFileOptions, SstFileWriter};
use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A part is written when so many bytes are waiting.
const PART_BYTES: usize = 16 << 20;

/// Records on their way in: complete parts on disk, the rest in memory.
pub(crate) struct Staged {
    inner: Arc<Inner>,
    dir: PathBuf,
    parts: Vec<PathBuf>,
    waiting: Vec<(Bytes, Bytes)>,
    bytes: usize,
    last: Option<Bytes>,
    finished: bool,
}

impl Staged {
    pub(crate) fn new(inner: Arc<Inner>) -> Result<Staged> {
        check_sound(&inner)?;
        let number = inner.stages.fetch_add(1, Ordering::Relaxed);
        let dir = inner.home.staging().join(format!("{number:08}"));
        fs::create_dir(&dir).map_err(|e| from_io("cannot make", &dir, &e))?;
        Ok(Staged { inner, dir, parts: Vec::new(), waiting: Vec::new(), bytes: 0, last: None, finished: false })
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let path = self.dir.join(format!("part-{:06}.sst", self.parts.len()));
        let records = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        write_file(&self.inner, &path, &[], records.iter().map(|(k, v)| (k, Some(v))))?;
        self.parts.push(path);
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What stays behind after a failure here is removed at the next start.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Stage for Staged {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        check_sound(&self.inner)?;
        assert!(!self.finished, "staging has ended");
        if self.last.as_ref().is_some_and(|last| key <= &last[..]) {
            return Err(Error::corrupt(format!("staged keys must ascend: {}", key.escape_ascii())));
        }
        self.inner.room.take(key.len() + value.len())?;
        let key = Bytes::copy_from_slice(key);
        self.last = Some(key.clone());
        self.bytes += key.len() + value.len();
        self.waiting.push((key, Bytes::copy_from_slice(value)));
        if self.bytes >= PART_BYTES { self.flush() } else { Ok(()) }
    }
    fn finish(&mut self) -> Result<()> {
        self.flush()?;
        self.finished = true;
        Ok(())
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Writes one file, synced: range deletes, then records and deletes in ascending order.
fn write_file<'a>(
    inner: &Inner,
    path: &Path,
    clear: &[(Bytes, Bytes)],
    records: impl Iterator<Item = (&'a Bytes, Option<&'a Bytes>)>,
) -> Result<()> {
    let fail = |e: rocksdb::Error| inner.explain(&format!("cannot stage {} of", path.display()), &e);
    let options = inner.tables.staged();
    let mut file = SstFileWriter::create(&options);
    file.open(path).map_err(fail)?;
    for (start, end) in clear {
        file.delete_range(start, end).map_err(fail)?;
    }
    for (key, value) in records {
        match value {
            Some(value) => file.put(key, value).map_err(fail)?,
            None => file.delete(key).map_err(fail)?,
        }
    }
    file.finish().map_err(fail)
}

/// See [`engine::Engine::ingest`].
pub(crate) fn ingest(inner: &Inner, staged: Staged, clear: &[(Bytes, Bytes)], then: &Batch) -> Result<()> {
    assert!(staged.finished, "records are ingested after staging has ended");
    check_sound(inner)?;
    let (data, log) = engine::batch::by_family(then);
    inner.room.take(data.bytes() + log.bytes())?;
    let mut files = Vec::new();
    let clear: Vec<(Bytes, Bytes)> = clear.iter().filter(|(start, end)| start < end).cloned().collect();
    if !clear.is_empty() {
        let path = staged.dir.join("clear.sst");
        write_file(inner, &path, &clear, std::iter::empty())?;
        files.push(path);
    }
    files.extend(staged.parts.iter().cloned());
    let (spans, records) = net(&data);
    if !spans.is_empty() || !records.is_empty() {
        let path = staged.dir.join("then.sst");
        write_file(inner, &path, &spans, records.iter().map(|(k, v)| (k, v.as_ref())))?;
        files.push(path);
    }
    // Files are durable at once, WAL records are not: without this, a crash could keep what came later and lose what came
    // before it.
    write::sync_log(inner)?;
    if !files.is_empty() {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let family = inner.family(engine::Cf::Data);
        let before = inner.db().latest_sequence_number();
        let result = inner.db().ingest_external_file_cf_opts(family, &options, files);
        if let Err(e) = &result
            && inner.db().latest_sequence_number() != before
        {
            // RocksDB has used up sequence numbers that no file holds (`db_impl.cc`, after `LogAndApply`). A batch behind them
            // would look like one whose predecessors are lost, so there must be none, also if the disk was merely full.
            let what = "an ingestion is not in and has used up sequence numbers";
            return Err(half_done(inner, what, &from_rocks("cannot ingest into", &inner.home.db(), e)));
        }
        latch(inner, "cannot ingest into", result)?;
        // It took a sequence number: from now on batches say that it is durable, so that its edit of the manifest is missed.
        write::sync_wal(inner).map_err(|e| half_done(inner, "an ingestion is in and could not be synced", &e))?;
    }
    inner.counters.ingested();
    if log.is_empty() {
        return Ok(());
    }
    write::write(inner, &log, true)
        .map_err(|e| half_done(inner, "an ingestion is in and its part of the log is not", &e))
}

/// "Nothing was written, try again" would be a lie: only a boot can put this right.
fn half_done(inner: &Inner, what: &str, error: &Error) -> Error {
    inner.failed.store(true, Ordering::Release);
    Error::new(error.kind.clone(), format!("{what}; the store must be opened anew: {}", error.text))
}

/// Spans to clear first, then one change per key.
type Net = (Vec<(Bytes, Bytes)>, BTreeMap<Bytes, Option<Bytes>>);

/// What a batch comes to. In one file a range delete does not cover records of the same file, so the order between them
/// is settled here.
fn net(batch: &Batch) -> Net {
    let (mut spans, mut records) = Net::default();
    for op in batch.ops() {
        match op {
            Op::Put(_, key, value) => {
                records.insert(key.clone(), Some(value.clone()));
            }
            Op::Delete(_, key) => {
                records.insert(key.clone(), None);
            }
            Op::DeleteRange(_, start, end) if start < end => {
                records.retain(|key, _| key < start || key >= end);
                spans.push((start.clone(), end.clone()));
            }
            Op::DeleteRange(..) => {}
        }
    }
    (spans, records)
}

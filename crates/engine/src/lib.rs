//! # engine: the contract of the disk
//!
//! One [`Engine`] per store holds everything that must survive: the Raft logs of all ranges (`Cf::Log`) and all state
//! (`Cf::Data`). Two engines keep the contract: RocksDB (crate `rocks`) and the in-memory twin [`mem`] that can crash,
//! lose what was not synced and fail on demand. One [`conformance`] suite is run on both.
//!
//! What an engine promises:
//!
//! * **Atomic batches.** After a crash a batch is there whole or not at all, over both column families.
//! * **Prefix.** After a crash the batches that are there are a prefix of those written, at least up to the last one
//!   written with `sync`, or covered by a later sync.
//! * **Never silent.** Synced bytes that cannot be read back are an error that names the file; a torn tail of what was
//!   never synced is dropped.
//! * **Views** are frozen: a view sees exactly the batches written before it was taken.
//! * **One filter.** Compaction may drop MVCC versions that are superseded at or below the bound that was set, and
//!   nothing else; it ignores views (RocksDB's filters ignore snapshots), so whoever reads pins (protocols §11). A
//!   version that a range delete has covered still counts as a newer one until a compaction has removed it. So whoever clears
//!   a span may bring back only a *later* state of its keys, in which whatever was newest below the bound is still there or
//!   superseded; a replica's state never goes back, so every snapshot is one.
//! * **Ingest** of staged records is atomic and durable, and clears the spans it is told to in the same act.
//!
//! Every key is laid out in [`keys`], drawn byte by byte.
//!
//! ## What we left out
//!
//! Transactions, merge operators, column families per range (100,000 of them), range deletes for log truncation
//! (plain deletes with known bounds), and iterators that outlive their view.

#![forbid(unsafe_code)]

pub mod batch;
pub mod conformance;
pub mod filter;
pub mod keys;
pub mod mem;

pub use batch::{Batch, Op};

use base::{Error, Kind, Result, Revision};
use bytes::Bytes;
use std::any::Any;

const NO_SPACE: &str = "no space left on the disk";

/// The one write error that does not stop a store: of the batch there is nothing, or all of it can be read and may be
/// durable; the same batch may be written again when there is room, and must be before any other. `what` says more, for
/// people.
pub fn no_space(what: &str) -> Error {
    Error::new(Kind::Disk, format!("{NO_SPACE}: {what}"))
}

/// Is it the error of a full disk, after which the store goes on?
pub fn is_no_space(error: &Error) -> bool {
    error.kind == Kind::Disk && error.text.starts_with(NO_SPACE)
}

/// The two column families.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cf {
    /// Raft entries and hard states.
    Log,
    /// Range-local records, store-local records and MVCC records. One on purpose: any flushed prefix is consistent.
    Data,
}

/// A position in a column family between two bounds. Starts nowhere; a seek puts it on a record or off the end.
pub trait Cursor {
    /// To the first record at or behind `key`.
    fn seek(&mut self, key: &[u8]);
    /// To the last record at or before `key`.
    fn seek_for_prev(&mut self, key: &[u8]);
    /// To the first record within the bounds.
    fn seek_first(&mut self);
    /// To the last record within the bounds.
    fn seek_last(&mut self);
    /// One record on.
    fn next(&mut self);
    /// One record back.
    fn prev(&mut self);
    /// The record here; `None` off either end.
    fn item(&self) -> Option<(&[u8], &[u8])>;
    /// The key of the record here.
    fn key(&self) -> Option<&[u8]> {
        self.item().map(|(key, _)| key)
    }
    /// Why the cursor is off the end, when it is not simply the end.
    fn status(&self) -> Result<()>;
}

/// Reads one consistent state: the newest (an engine itself) or a frozen one (a view).
pub trait Read {
    /// The record at `key`.
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>>;
    /// A cursor over `[lower, upper)`.
    fn cursor(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + '_>>;
    /// The record at `key` if that needs no disk; `None` when it does. Engines without a disk always know.
    fn try_get(&self, cf: Cf, key: &[u8]) -> Option<Result<Option<Bytes>>> {
        Some(self.get(cf, key))
    }
    /// A cursor that never waits for a disk: where it would, it ends with a status of kind `Retry`, for good: whoever has
    /// fetched the blocks since takes a new cursor.
    fn try_cursor(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        self.cursor(cf, lower, upper)
    }
}

/// Records on their way into the engine beside the normal road: a snapshot being received. Dropping it unfinished
/// removes its files.
pub trait Stage: Send {
    /// Adds a record of `Cf::Data`; keys strictly ascending.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()>;
    /// Ends staging; the records wait on disk, synced, for `Engine::ingest`.
    fn finish(&mut self) -> Result<()>;
    /// For the engine that made it and takes it back in `Engine::ingest`.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// Sizes for quota, metrics and Status, in bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// On disk, log included.
    pub total: u64,
    /// Of live data, as far as the engine knows.
    pub in_use: u64,
}

/// One store's disk. Cheap to clone: clones are the same engine.
pub trait Engine: Read + Clone + Send + Sync + 'static {
    /// A frozen state.
    type View: Read + Send + Sync + 'static;
    /// Freezes the present state.
    fn view(&self) -> Self::View;
    /// Writes all of it or nothing; with `sync`, it and everything before it is durable on return (also when the batch is
    /// empty). An error means that the store must stop: what happened is unknown, and it is never tried again on the
    /// same files; every later write fails too. The exception is a full disk, see [`is_no_space`].
    fn write(&self, batch: &Batch, sync: bool) -> Result<()>;
    /// Starts receiving records beside the normal road.
    fn stage(&self) -> Result<Box<dyn Stage>>;
    /// In one durable act: clears `clear` (spans of raw `Cf::Data` keys, `[start, end)`), adds the staged records and
    /// applies what `then` says about `Cf::Data` (which wins over staged records at equal keys). Everything written
    /// before is durable first. What `then` says about `Cf::Log` follows in a synced batch: after a crash in between the
    /// data is there and the log is the old one, so whoever boots compares the two (protocols §9).
    fn ingest(&self, staged: Box<dyn Stage>, clear: &[(Bytes, Bytes)], then: &Batch) -> Result<()>;
    /// Superseded versions at or below `bound` may be dropped from now on. Only ever rises.
    fn set_filter_bound(&self, bound: Revision);
    /// Asks for a compaction of these raw `Cf::Data` keys now, so that the filter runs; returns when done.
    fn compact(&self, start: &[u8], end: &[u8]) -> Result<()>;
    /// How large it is.
    fn sizes(&self) -> Sizes;
    /// Is there so little room left that clients' writes should be refused? Raised some way before writes fail with
    /// [`is_no_space`], so that what gives room back (deletes, compaction, membership) still goes through.
    fn is_full(&self) -> bool {
        false
    }
}

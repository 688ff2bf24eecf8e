//! # rocks: the engine on RocksDB
//!
//! Floor 2, and the only crate that names `rocksdb`. It keeps the contract of [`engine::Engine`] on one RocksDB with two
//! column families and one write-ahead log (WAL), and decides nothing of its own.
//!
//! ```text
//!   <store directory>
//!     STORE        what this is and which format; written last when a store is made
//!     LOCK         held while the store is open: one process, one store
//!     db/          RocksDB: *.log (WAL), *.sst, MANIFEST-*, CURRENT …
//!     staging/     snapshots being received; emptied at every start
//! ```
//!
//! How each promise is kept:
//!
//! * **Atomic, prefix**: a batch is one WAL record over both families. RocksDB syncs closed WALs before it installs a
//!   flush, so that no family can get ahead of the other on disk ([`tune`]).
//! * **Never silent**: [`tail`] reads every WAL before RocksDB does. What a loss of power can have left is cut off, down to
//!   a prefix of the batches; what had been synced and is damaged or missing stops the store. Each batch says in the WAL what was
//!   durable before it ([`wal`]), so that the two can be told apart.
//! * **Fail-stop**: after a failed write nothing is tried again on the same files ([`write`]).
//! * **A full disk** is not a failed write: it refuses before RocksDB meets it, because some room is kept in reserve
//!   ([`room`]); and when others took that, too, nothing of the batch was written, and it may come again ([`error`]).
//! * **Views** are RocksDB snapshots; **the filter** is [`engine::filter`] with a bound read when a compaction starts.
//! * **Ingest** hands RocksDB up to three kinds of files in one call, in this order: what to clear, what was staged, what
//!   comes after. Later files win, and all of them appear in one edit of the manifest ([`ingest`]).
//!
//! Each fsync and its crash cases are in `docs/crash-cases.md`.
//!
//! ## What we left out
//!
//! Direct I/O; RocksDB's own transactions, backups and checkpoints; a repair tool: a store that lost data is
//! replaced from its peers.

#![forbid(unsafe_code)]

mod error;
mod filter;
mod home;
mod ingest;
mod read;
mod room;
mod stats;
mod tail;
pub mod tune;
mod wal;
mod write;

pub use stats::Stats;
pub use tune::Settings;

use base::{Error, Kind, Result, Revision};
use bytes::Bytes;
use engine::{Batch, Cf, Cursor, Engine, Read, Sizes, Stage};
use error::{at_open, from_rocks, is_no_space};
use home::Home;
use read::{Tier, View};
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, ReadOptions};
use room::Room;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Both families' handles: they borrow from the database.
struct Families<'a> {
    log: &'a ColumnFamily,
    data: &'a ColumnFamily,
}

self_cell::self_cell!(
    struct Opened {
        owner: DB,
        #[covariant]
        dependent: Families,
    }
);

/// What clones, views and stages share. Fields are dropped in this order: the database before the lock on its directory.
struct Inner {
    db: Opened,
    newest: ReadOptions,
    newest_cached: ReadOptions,
    bound: Arc<AtomicU64>,
    /// All up to this sequence number is durable.
    durable: AtomicU64,
    /// What the start found torn and cut off.
    mended: Option<String>,
    failed: AtomicBool,
    stages: AtomicU64,
    room: Room,
    counters: stats::Counters,
    tables: tune::Tables,
    home: Home,
}

impl Inner {
    fn db(&self) -> &DB {
        self.db.borrow_owner()
    }
    fn family(&self, cf: Cf) -> &ColumnFamily {
        match cf {
            Cf::Log => self.db.borrow_dependent().log,
            Cf::Data => self.db.borrow_dependent().data,
        }
    }
    /// An error of RocksDB in our words.
    fn explain(&self, what: &str, error: &rocksdb::Error) -> Error {
        let explained = from_rocks(what, &self.home.db(), error);
        if is_no_space(error) { engine::no_space(&explained.text) } else { explained }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A compaction under way would hold up the close until it is done.
        self.db().cancel_all_background_work(true);
    }
}

/// One store on RocksDB. Clones are the same store; it is closed when the last clone, view and stage are gone.
#[derive(Clone)]
pub struct Rocks {
    inner: Arc<Inner>,
}

impl Rocks {
    /// Opens the store in this directory, or makes one if the directory is missing or empty.
    ///
    /// Refuses, with one line that says why and names the file: a directory that is another process's or not a store, a
    /// format from the future, files that are damaged or missing.
    pub fn open(dir: &Path, settings: &Settings) -> Result<Rocks> {
        let home = Home::enter(dir)?;
        let fresh = home.is_fresh();
        let mended = if fresh { None } else { tail::mend(&home.db())? };
        let room = Room::new(&home.db(), settings)?;
        let bound = Arc::new(AtomicU64::new(0));
        let tables = tune::Tables::new(settings, room.capacity());
        let families = [
            ColumnFamilyDescriptor::new(tune::UNUSED, tables.unused()),
            ColumnFamilyDescriptor::new(tune::LOG, tables.log(settings)),
            ColumnFamilyDescriptor::new(tune::DATA, tables.data(settings, filter::Factory::new(bound.clone()))),
        ];
        let options = tables.database(settings, fresh);
        let db = DB::open_cf_descriptors(&options, home.db(), families).map_err(|e| at_open(&home.db(), &e))?;
        let db = Opened::try_new(db, |db| match (db.cf_handle(tune::LOG), db.cf_handle(tune::DATA)) {
            (Some(log), Some(data)) => Ok(Families { log, data }),
            _ => Err(Error::corrupt(format!("{}: a column family is missing", home.db().display()))),
        })?;
        home.settle()?;
        // What was read from the WALs is in files now.
        let durable = AtomicU64::new(db.borrow_owner().latest_sequence_number());
        let inner = Inner {
            db,
            durable,
            mended,
            newest: read::options(Tier::All),
            newest_cached: read::options(Tier::Cached),
            bound,
            failed: AtomicBool::new(false),
            stages: AtomicU64::new(0),
            room,
            counters: stats::Counters::default(),
            tables,
            home,
        };
        Ok(Rocks { inner: Arc::new(inner) })
    }

    /// Bytes that the file system has left for us.
    pub fn free_space(&self) -> u64 {
        self.inner.room.free()
    }

    /// What it did so far, and how it is.
    pub fn stats(&self) -> Stats {
        stats::read(&self.inner)
    }

    /// What a crash left half written in the WALs and the start cut off, if anything, in one line. Nobody was told of it.
    pub fn mended(&self) -> Option<&str> {
        self.inner.mended.as_deref()
    }

    /// Did a write fail, so that the store must be opened anew?
    pub fn has_failed(&self) -> bool {
        self.inner.failed.load(Ordering::Acquire)
    }

    /// Reads every block of every file and checks it. For tests and tools: it takes as long as reading the disk.
    pub fn verify(&self) -> Result<u64> {
        read::verify(&self.inner)
    }
}

impl fmt::Display for Rocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rocks at {}", self.inner.home.dir().display())
    }
}
impl fmt::Debug for Rocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Read for Rocks {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        read::get(&self.inner, cf, key, &self.inner.newest)
    }
    fn cursor(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        Ok(read::cursor(&self.inner, cf, (lower, upper), read::options(Tier::All)))
    }
    fn try_get(&self, cf: Cf, key: &[u8]) -> Option<Result<Option<Bytes>>> {
        read::known(read::get(&self.inner, cf, key, &self.inner.newest_cached))
    }
    fn try_cursor(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        Ok(read::cursor(&self.inner, cf, (lower, upper), read::options(Tier::Cached)))
    }
}

impl Engine for Rocks {
    type View = View;

    fn view(&self) -> View {
        View::new(self.inner.clone())
    }
    fn write(&self, batch: &Batch, sync: bool) -> Result<()> {
        write::write(&self.inner, batch, sync)
    }
    fn stage(&self) -> Result<Box<dyn Stage>> {
        Ok(Box::new(ingest::Staged::new(self.inner.clone())?))
    }
    fn ingest(&self, staged: Box<dyn Stage>, clear: &[(Bytes, Bytes)], then: &Batch) -> Result<()> {
        let Ok(staged) = staged.into_any().downcast::<ingest::Staged>() else {
            return Err(Error::new(Kind::Disk, "the staged records belong to another kind of engine"));
        };
        ingest::ingest(&self.inner, *staged, clear, then)
    }
    fn set_filter_bound(&self, bound: Revision) {
        assert!(!bound.is_pending(), "a bound is a revision that was issued: {bound}");
        self.inner.bound.fetch_max(bound.0, Ordering::AcqRel);
    }
    fn compact(&self, start: &[u8], end: &[u8]) -> Result<()> {
        write::compact(&self.inner, start, end)
    }
    fn sizes(&self) -> Sizes {
        stats::sizes(&self.inner)
    }
    fn is_full(&self) -> bool {
        self.inner.room.is_full()
    }
}

#[cfg(test)]
mod tests;

//! The in-memory twin: an engine without files that can crash.
//!
//! It keeps the contract of [`crate::Engine`] to the letter and not an inch more. What was not synced is lost at a crash
//! from the end backwards, as far as the world says ([`Crash`]). Compaction drops superseded versions under everybody,
//! views included, as RocksDB's filters do. Writes fail, fill up and rot on demand ([`fault`]). With a [`Journal`] the
//! state after each prefix of its disk operations can be built again.
//!
//! ```text
//!   batches    1 2 3 4 5 | 6 7 8        what a crash may leave: 5, 6, 7 or 8 batches, never 8 without 7
//!                        ^ last sync
//! ```
//!
//! Values are kept per key and sequence number as long as a live view needs them, so that taking a view and writing are
//! both cheap. A crash gives the disk to a new `Mem`; the old one, its clones and its views answer `Closing` from
//! then on, so that a node that survived its own crash is found out.

mod cursor;
pub mod fault;
mod journal;
mod table;

pub use fault::{Crash, Fault};
pub use journal::{DiskOp, Journal};

use crate::filter::Filter;
use crate::{Batch, Cf, Cursor, Engine, Op, Read, Sizes, Stage};
use base::{Error, Kind, Result, Revision, Rng};
use bytes::Bytes;
use cursor::MemCursor;
use fault::Faults;
use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use table::{Table, Views};

/// What one unsynced batch overwrote, in the order in which it did.
type Undo = Vec<(Cf, Bytes, Option<Bytes>)>;

/// Everything on the disk and about it.
///
/// Invariants: `undo` has one element for each batch behind the last sync; every live view is at or below `seq`.
#[derive(Clone, Default, Debug)]
pub(crate) struct State {
    log: Table,
    data: Table,
    /// The number of the last batch.
    seq: u64,
    /// The number of the last batch that is durable.
    synced: u64,
    undo: Vec<Undo>,
    views: Views,
    bound: Revision,
    faults: Faults,
    rotten: BTreeSet<(Cf, Bytes)>,
    /// Records that a range delete covers and that no compaction has removed yet: the filter still meets them.
    covered: BTreeSet<Bytes>,
    journal: Option<Vec<DiskOp>>,
    ops: u64,
}

impl State {
    fn table(&self, cf: Cf) -> &Table {
        match cf {
            Cf::Log => &self.log,
            Cf::Data => &self.data,
        }
    }

    fn done(&mut self, op: impl FnOnce() -> DiskOp) {
        self.ops += 1;
        if let Some(journal) = &mut self.journal {
            journal.push(op());
        }
    }

    fn set(&mut self, undo: &mut Undo, cf: Cf, key: &Bytes, value: Option<Bytes>) {
        if !self.rotten.is_empty() {
            self.rotten.remove(&(cf, key.clone()));
        }
        if cf == Cf::Data && !self.covered.is_empty() {
            self.covered.remove(key);
        }
        let (seq, views) = (self.seq, &self.views);
        let table = if cf == Cf::Log { &mut self.log } else { &mut self.data };
        let prior = table.set(key, value, seq, views);
        undo.push((cf, key.clone(), prior));
    }

    /// Removes a span by a range delete: its records are covered, and not gone.
    fn cover(&mut self, undo: &mut Undo, cf: Cf, start: &[u8], end: &[u8]) {
        for key in self.table(cf).keys(start, end) {
            self.set(undo, cf, &key, None);
            if cf == Cf::Data && key.first() == Some(&crate::keys::data::MVCC) {
                self.covered.insert(key);
            }
        }
    }

    /// Appends a batch to the log that is not synced yet, and shows it to readers.
    fn append(&mut self, batch: &Batch) {
        self.seq += 1;
        let mut undo = Undo::with_capacity(batch.ops().len());
        for op in batch.ops() {
            match op {
                Op::Put(cf, key, value) => self.set(&mut undo, *cf, key, Some(value.clone())),
                Op::Delete(cf, key) => self.set(&mut undo, *cf, key, None),
                Op::DeleteRange(cf, start, end) => self.cover(&mut undo, *cf, start, end),
            }
        }
        self.undo.push(undo);
        self.done(|| DiskOp::Append(batch.clone()));
    }

    fn sync(&mut self) {
        self.undo.clear();
        self.synced = self.seq;
        self.done(|| DiskOp::Sync);
    }

    /// One durable act: the log is synced, then files and manifest change at once.
    fn ingest(&mut self, clear: &[(Bytes, Bytes)], records: &[(Bytes, Bytes)], then: &[Op]) {
        self.undo.clear();
        self.seq += 1;
        let mut undo = Undo::new();
        for (start, end) in clear {
            self.cover(&mut undo, Cf::Data, start, end);
        }
        for (key, value) in records {
            self.set(&mut undo, Cf::Data, key, Some(value.clone()));
        }
        for op in then {
            match op {
                Op::Put(_, key, value) => self.set(&mut undo, Cf::Data, key, Some(value.clone())),
                Op::Delete(_, key) => self.set(&mut undo, Cf::Data, key, None),
                Op::DeleteRange(_, start, end) => self.cover(&mut undo, Cf::Data, start, end),
            }
        }
        self.synced = self.seq;
        self.done(|| DiskOp::Ingest(clear.to_vec(), records.to_vec(), then.to_vec()));
    }

    /// What compaction does when the filter says so: gone for everybody, whatever views say.
    fn purge(&mut self, keys: &[Bytes]) {
        for key in keys {
            self.data.purge(key);
        }
        if !keys.is_empty() {
            self.done(|| DiskOp::Purge(keys.to_vec()));
        }
    }

    /// Undoes unsynced batches from the end until `keep` of them are left.
    fn roll_back(&mut self, keep: usize) {
        assert!(self.views.is_empty(), "a crash ends all views first");
        self.seq += 1;
        while self.undo.len() > keep {
            for (cf, key, prior) in self.undo.pop().unwrap_or_default().into_iter().rev() {
                self.covered.remove(&key);
                let table = if cf == Cf::Log { &mut self.log } else { &mut self.data };
                table.set(&key, prior, self.seq, &self.views);
            }
        }
        self.undo.clear();
        self.synced = self.seq;
    }

    fn sweep(&mut self) {
        self.log.sweep(&self.views);
        self.data.sweep(&self.views);
    }
}

/// What clones and views share.
#[derive(Debug)]
pub(crate) struct Inner {
    state: RwLock<State>,
}

impl Inner {
    // A panic in a test's thread must not hide the first failure behind a second one.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine. Clones are the same engine.
#[derive(Clone)]
pub struct Mem {
    inner: Arc<Inner>,
}

impl Default for Mem {
    fn default() -> Mem {
        Mem::new()
    }
}

impl Mem {
    /// An empty disk.
    pub fn new() -> Mem {
        Mem::of(State::default())
    }

    /// An empty disk that keeps a journal of everything done to it.
    pub fn recorded() -> Mem {
        Mem::of(State { journal: Some(Vec::new()), ..State::default() })
    }

    fn of(state: State) -> Mem {
        Mem { inner: Arc::new(Inner { state: RwLock::new(state) }) }
    }

    /// What was done so far; empty unless recorded.
    pub fn journal(&self) -> Journal {
        Journal::new(self.inner.read().journal.clone().unwrap_or_default())
    }

    /// How many disk operations were done so far: an append, a sync, an ingestion and a compaction's edit count one each,
    /// so that a synced write counts two.
    pub fn ops(&self) -> u64 {
        self.inner.read().ops
    }

    /// How many batches a crash could lose.
    pub fn unsynced(&self) -> usize {
        self.inner.read().undo.len()
    }

    /// The bound of the compaction filter. Volatile: 0 again after a crash.
    pub fn filter_bound(&self) -> Revision {
        self.inner.read().bound
    }

    /// Loses power and starts again: the disk goes to a new engine without what `choice` takes from its unsynced end. This
    /// one, its clones and views answer `Closing` from now on. `Corrupt` when a synced log record has rotted.
    pub fn crash(&self, choice: Crash) -> Result<Mem> {
        let mut old = self.inner.write();
        old.check_alive()?;
        let mut state = std::mem::take(&mut *old);
        old.faults.dead = true;
        drop(old);
        state.views.clear();
        state.sweep();
        let keep = choice.keep(state.undo.len());
        state.roll_back(keep);
        state.bound = Revision(0);
        state.faults.restart()?;
        Ok(Mem::of(state))
    }

    /// A second disk with the same bytes: a backup, or "what if". Views stay with the first.
    pub fn fork(&self) -> Mem {
        let mut state = self.inner.read().clone();
        state.views.clear();
        state.sweep();
        Mem::of(state)
    }

    /// A background compaction of some files that hold some of the records, as RocksDB might run at any moment: the
    /// filter runs over a random part of a random span. Returns how many versions it dropped.
    pub fn compact_some(&self, rng: &mut Rng) -> Result<usize> {
        let mut state = self.inner.write();
        state.check_writable()?;
        let (first, last) = (Bytes::from_static(&[crate::keys::data::MVCC]), [crate::keys::data::MVCC + 1]);
        let mut keys = state.data.keys_until(&first, &last, state.synced);
        if keys.is_empty() {
            return Ok(0);
        }
        let start = rng.below(keys.len() as u64) as usize;
        let length = 1 + rng.below((keys.len() - start) as u64) as usize;
        // One time in two the pass sees every record of its span, else each with a chance of three in four.
        let whole = rng.chance(500_000);
        keys = keys.drain(start..start + length).filter(|_| whole || rng.chance(750_000)).collect();
        let (Some(first), Some(last)) = (keys.first().cloned(), keys.last().cloned()) else { return Ok(0) };
        let newest = crate::keys::prefix_len(&first)?;
        state.filter(keys, (&first[..newest], &last))
    }

    /// All records, newest state: for hashes and comparisons.
    pub fn records(&self, cf: Cf) -> Vec<(Bytes, Bytes)> {
        self.inner.read().table(cf).newest().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// How many live views there are, and how many values are kept for them alone.
    #[cfg(test)]
    fn kept(&self) -> (usize, usize) {
        let state = self.inner.read();
        (state.views.values().sum(), state.log.older() + state.data.older())
    }
}

impl State {
    /// One pass of the compaction filter over these raw `Cf::Data` keys, which ascend, and over covered records among
    /// them: RocksDB shows those to the filter before it removes them.
    fn filter(&mut self, keys: Vec<Bytes>, (start, end): (&[u8], &[u8])) -> Result<usize> {
        let inside = |k: &&Bytes| start <= &k[..] && &k[..] < end;
        let covered: Vec<Bytes> = self.covered.iter().filter(inside).cloned().collect();
        let mut pass: Vec<(Bytes, bool)> = keys.into_iter().map(|k| (k, true)).collect();
        pass.extend(covered.into_iter().map(|k| (k, false)));
        pass.sort();
        let mut filter = Filter::new(self.bound);
        let mut dropped = Vec::new();
        for (key, there) in pass {
            if !there {
                filter.drops(&key);
                self.covered.remove(&key);
                continue;
            }
            if let Err(e) = self.check_sound(Cf::Data, &key) {
                self.faults.failed = true;
                return Err(e);
            }
            if filter.drops(&key) {
                dropped.push(key);
            }
        }
        self.purge(&dropped);
        Ok(dropped.len())
    }
}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl fmt::Display for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.inner.read();
        let (log, data) = (s.log.newest().count(), s.data.newest().count());
        write!(f, "mem: {log} log, {data} data, batch {} synced {} bound {}", s.seq, s.synced, s.bound)
    }
}

impl Read for Mem {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        let state = self.inner.read();
        state.check_alive()?;
        state.check_sound(cf, key)?;
        Ok(state.table(cf).get(key, state.seq).cloned())
    }
    fn cursor(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        let view = self.view();
        self.inner.read().check_alive()?;
        let cursor = MemCursor::new(view.inner.clone(), view.seq, cf, (lower, upper));
        Ok(Box::new(cursor.owning(view)))
    }
}

impl Engine for Mem {
    type View = MemView;

    fn view(&self) -> MemView {
        let mut state = self.inner.write();
        let seq = state.seq;
        *state.views.entry(seq).or_insert(0) += 1;
        MemView { inner: self.inner.clone(), seq }
    }

    fn write(&self, batch: &Batch, sync: bool) -> Result<()> {
        let mut state = self.inner.write();
        state.check_writable()?;
        if !batch.is_empty() {
            state.check_room()?;
            state.faults.trip(Fault::Write)?;
            state.append(batch);
        }
        if sync {
            state.faults.trip(Fault::Sync)?;
            state.sync();
        }
        Ok(())
    }

    fn stage(&self) -> Result<Box<dyn Stage>> {
        self.inner.read().check_writable()?;
        Ok(Box::new(MemStage { inner: self.inner.clone(), records: Vec::new(), finished: false }))
    }

    fn ingest(&self, staged: Box<dyn Stage>, clear: &[(Bytes, Bytes)], then: &Batch) -> Result<()> {
        let Ok(stage) = staged.into_any().downcast::<MemStage>() else {
            return Err(Error::new(Kind::Disk, "the staged records belong to another kind of engine"));
        };
        assert!(stage.finished, "records are ingested after staging has ended");
        let mut state = self.inner.write();
        state.check_writable()?;
        state.check_room()?;
        state.faults.trip(Fault::Write)?;
        state.sync();
        let (data, log) = crate::batch::by_family(then);
        state.ingest(clear, &stage.records, data.ops());
        state.faults.trip(Fault::Ingest)?;
        if !log.is_empty() {
            state.append(&log);
            state.faults.trip(Fault::Sync)?;
            state.sync();
        }
        Ok(())
    }

    fn set_filter_bound(&self, bound: Revision) {
        let mut state = self.inner.write();
        state.bound = state.bound.max(bound);
    }

    fn compact(&self, start: &[u8], end: &[u8]) -> Result<()> {
        let mut state = self.inner.write();
        state.check_writable()?;
        // A compaction begins with a flush, and a flush is durable.
        state.sync();
        let keys = state.data.keys(start, end);
        state.filter(keys, (start, end))?;
        state.sweep();
        Ok(())
    }

    fn sizes(&self) -> Sizes {
        let state = self.inner.read();
        let bytes = state.log.bytes() + state.data.bytes();
        Sizes { total: bytes, in_use: bytes }
    }

    fn is_full(&self) -> bool {
        self.inner.read().faults.full
    }
}

/// A frozen state of a [`Mem`].
pub struct MemView {
    inner: Arc<Inner>,
    seq: u64,
}

impl Read for MemView {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        let state = self.inner.read();
        state.check_alive()?;
        state.check_sound(cf, key)?;
        Ok(state.table(cf).get(key, self.seq).cloned())
    }
    fn cursor(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        self.inner.read().check_alive()?;
        Ok(Box::new(MemCursor::new(self.inner.clone(), self.seq, cf, (lower, upper))))
    }
}

impl Drop for MemView {
    fn drop(&mut self) {
        let mut state = self.inner.write();
        if let Some(n) = state.views.get_mut(&self.seq) {
            *n -= 1;
            if *n == 0 {
                state.views.remove(&self.seq);
                state.sweep();
            }
        }
    }
}

/// Records of a snapshot being received.
struct MemStage {
    inner: Arc<Inner>,
    records: Vec<(Bytes, Bytes)>,
    finished: bool,
}

impl Stage for MemStage {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let state = self.inner.read();
        state.check_writable()?;
        state.check_room()?;
        assert!(!self.finished, "staging has ended");
        if self.records.last().is_some_and(|(last, _)| key <= &last[..]) {
            return Err(Error::corrupt(format!("staged keys must ascend: {}", key.escape_ascii())));
        }
        self.records.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        Ok(())
    }
    fn finish(&mut self) -> Result<()> {
        self.inner.read().check_writable()?;
        self.finished = true;
        Ok(())
    }
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

#[cfg(test)]
mod tests;

//! The record of everything done to a disk, so that the state after each prefix of it, and after a crash there, can be
//! built again: all crash points of a run, none left to luck.

use super::{Crash, Mem};
use crate::{Batch, Op};
use bytes::Bytes;
use std::fmt;

/// One disk operation.
#[derive(Clone, PartialEq, Eq)]
pub enum DiskOp {
    /// A batch went to the log.
    Append(Batch),
    /// The log was synced.
    Sync,
    /// Files were ingested: cleared spans, records, and the part of the last batch that concerns data.
    Ingest(Vec<(Bytes, Bytes)>, Vec<(Bytes, Bytes)>, Vec<Op>),
    /// A compaction dropped these raw `Cf::Data` keys.
    Purge(Vec<Bytes>),
}

impl fmt::Debug for DiskOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DiskOp::Append(batch) => write!(f, "append {batch:?}"),
            DiskOp::Sync => write!(f, "sync"),
            DiskOp::Ingest(clear, records, _) => write!(f, "ingest {} over {} spans", records.len(), clear.len()),
            DiskOp::Purge(keys) => write!(f, "purge {}", keys.len()),
        }
    }
}

/// Disk operations, in order.
#[derive(Clone, Default, Debug)]
pub struct Journal {
    ops: Vec<DiskOp>,
}

impl Journal {
    pub(super) fn new(ops: Vec<DiskOp>) -> Journal {
        Journal { ops }
    }

    /// The operations.
    pub fn ops(&self) -> &[DiskOp] {
        &self.ops
    }

    /// How many batches were unsynced after the first `n` operations.
    pub fn unsynced(&self, n: usize) -> usize {
        let behind = |op: &&DiskOp| !matches!(op, DiskOp::Sync | DiskOp::Ingest(..));
        self.ops[..n].iter().rev().take_while(behind).filter(|op| matches!(op, DiskOp::Append(_))).count()
    }

    /// The disk after the first `n` operations and then this crash.
    pub fn crash_after(&self, n: usize, choice: Crash) -> Mem {
        let mem = self.replay(n);
        // Replaying injects no fault, so nothing can refuse.
        mem.crash(choice).unwrap_or_else(|e| unreachable!("a replayed disk opens: {e}"))
    }

    /// The disk after the first `n` operations, without a crash: it can go on, and be crashed in several ways by
    /// [`Mem::fork`].
    pub fn replay(&self, n: usize) -> Mem {
        let mem = Mem::new();
        for i in 0..n {
            self.redo(&mem, i);
        }
        mem
    }

    /// Does the operation with this number once more, on a disk that has all before it.
    pub fn redo(&self, mem: &Mem, i: usize) {
        let mut state = mem.inner.write();
        match &self.ops[i] {
            DiskOp::Append(batch) => state.append(batch),
            DiskOp::Sync => state.sync(),
            DiskOp::Ingest(clear, records, then) => state.ingest(clear, records, then),
            DiskOp::Purge(keys) => state.purge(keys),
        }
    }

    /// Calls `check` with every prefix of the operations and every disk that a crash there may leave: for `n` operations
    /// and `u` unsynced batches, one for each of 0 to `u` kept and one torn. Returns how many there were.
    pub fn for_each_crash(&self, mut check: impl FnMut(usize, Crash, Mem)) -> usize {
        let mut count = 0;
        let mem = Mem::new();
        for n in 0..=self.ops.len() {
            if n > 0 {
                self.redo(&mem, n - 1);
            }
            let unsynced = mem.unsynced();
            let torn = unsynced.checked_sub(1).map(Crash::Torn);
            for choice in (0..=unsynced).map(Crash::First).chain(torn) {
                let disk = mem.fork().crash(choice).unwrap_or_else(|e| unreachable!("a replayed disk opens: {e}"));
                check(n, choice, disk);
                count += 1;
            }
        }
        count
    }
}

//! Who waits for which answer.

use super::View;
use base::{CallId, Result};
use parking_lot::Mutex;
use range::{Outcome, ReadTask};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

const SHARDS: usize = 16;

/// What a caller is told.
pub enum Told {
    Answer(Result<Outcome>),
    /// One key to be read, on the caller's thread if it is in memory.
    Read(Box<ReadTask<View>>),
}

/// Open calls, in a few independent parts so that callers and the step thread seldom meet.
pub struct Slots {
    next: AtomicU64,
    open: [Mutex<BTreeMap<u64, oneshot::Sender<Told>>>; SHARDS],
}

impl Slots {
    /// A late answer to a call of an earlier life of this node must not meet a call of this one.
    pub fn new(incarnation: base::Incarnation) -> Slots {
        Slots {
            next: AtomicU64::new((incarnation.0 << 32) + 1),
            open: std::array::from_fn(|_| Mutex::new(BTreeMap::new())),
        }
    }

    /// A call begins.
    pub fn begin(&self) -> (CallId, oneshot::Receiver<Told>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        self.open[id as usize % SHARDS].lock().insert(id, tell);
        (CallId(id), told)
    }

    /// Its answer; nobody may be waiting any more.
    pub fn end(&self, id: CallId, told: Told) {
        let waiting = self.open[id.0 as usize % SHARDS].lock().remove(&id.0);
        if let Some(tell) = waiting {
            let _ = tell.send(told);
        }
    }

    /// Nobody waits any more.
    pub fn forget(&self, id: CallId) {
        self.open[id.0 as usize % SHARDS].lock().remove(&id.0);
    }
}

//! Who waits for which answer.

use base::{CallId, Result};
use parking_lot::Mutex;
use range::Outcome;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

const SHARDS: usize = 16;

/// Open calls, in a few independent parts so that callers and the step thread seldom meet.
pub struct Slots {
    next: AtomicU64,
    open: [Mutex<BTreeMap<u64, oneshot::Sender<Result<Outcome>>>>; SHARDS],
}

impl Slots {
    /// A late answer to a call of an earlier life of this node must not meet a call of this one.
    pub fn new(incarnation: base::Incarnation) -> Slots {
        Slots { next: AtomicU64::new((incarnation.0 << 32) + 1), open: std::array::from_fn(|_| Mutex::new(BTreeMap::new())) }
    }

    /// A call begins.
    pub fn begin(&self) -> (CallId, oneshot::Receiver<Result<Outcome>>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        self.open[id as usize % SHARDS].lock().insert(id, tell);
        (CallId(id), told)
    }

    /// Its answer; nobody may be waiting any more.
    pub fn end(&self, id: CallId, result: Result<Outcome>) {
        let waiting = self.open[id.0 as usize % SHARDS].lock().remove(&id.0);
        if let Some(tell) = waiting {
            let _ = tell.send(result);
        }
    }

    /// Nobody waits any more.
    pub fn forget(&self, id: CallId) {
        self.open[id.0 as usize % SHARDS].lock().remove(&id.0);
    }
}

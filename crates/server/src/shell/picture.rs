//! The node as it last showed itself: what headers and Status are made of, read by clients' threads without a step.

use base::Revision;
use node::Status;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A picture that is taken now and then, and the newest revision, which is noted after every step: an answer that
/// names no key must not show an older one than the client has already seen here.
pub struct Picture {
    status: Mutex<Status>,
    taken: Mutex<Instant>,
    revision: AtomicU64,
}

impl Picture {
    /// The first one.
    pub fn new(status: Status) -> Picture {
        let revision = AtomicU64::new(status.revision.0);
        Picture { revision, status: Mutex::new(status), taken: Mutex::new(Instant::now()) }
    }

    /// The step thread alone notes: nobody writes between the look and the store.
    pub fn note(&self, revision: Revision) {
        if self.revision.load(Ordering::Relaxed) != revision.0 {
            self.revision.store(revision.0, Ordering::Release);
        }
    }

    /// A new picture.
    pub fn take(&self, status: Status) {
        *self.status.lock() = status;
        *self.taken.lock() = Instant::now();
    }

    /// How old the last picture is. There is one each second, as long as the node turns.
    pub fn age(&self) -> Duration {
        self.taken.lock().elapsed()
    }

    /// The last picture; its revision may be older than [`Picture::revision`].
    pub fn last(&self) -> MutexGuard<'_, Status> {
        self.status.lock()
    }

    /// The newest revision this node knows to be issued.
    pub fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }
}

//! Who waits for which answer.

use super::View;
use base::{CallId, Result};
use parking_lot::Mutex;
use range::{Outcome, ReadTask};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};

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
    answers: mpsc::UnboundedSender<Vec<(CallId, Told)>>,
}

/// Hands answers over among the clients, see [`Slots::end_all`].
pub struct Teller {
    slots: Arc<Slots>,
    answers: mpsc::UnboundedReceiver<Vec<(CallId, Told)>>,
}

impl Slots {
    /// A late answer to a call of an earlier life of this node must not meet a call of this one.
    pub fn new(incarnation: base::Incarnation) -> (Arc<Slots>, Teller) {
        let (sender, answers) = mpsc::unbounded_channel();
        let slots = Arc::new(Slots {
            next: AtomicU64::new((incarnation.0 << 32) + 1),
            open: std::array::from_fn(|_| Mutex::new(BTreeMap::new())),
            answers: sender,
        });
        (slots.clone(), Teller { slots, answers })
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

    /// The answers of one step, handed over by the [`Teller`]: one wake-up for all of them, and a connection finds all of
    /// its own at once. Told one by one from another thread, the first would wake its connection, which takes the core
    /// from the teller and answers, reads and sleeps once for each.
    pub fn end_all(&self, answers: Vec<(CallId, Told)>) {
        if !answers.is_empty() {
            // Without a teller nobody waits any more.
            let _ = self.answers.send(answers);
        }
    }

    /// Nobody waits any more.
    pub fn forget(&self, id: CallId) {
        self.open[id.0 as usize % SHARDS].lock().remove(&id.0);
    }
}

impl Teller {
    /// Tells as long as its runtime runs, which should be the one that serves the clients.
    pub async fn run(mut self) {
        while let Some(answers) = self.answers.recv().await {
            answers.into_iter().for_each(|(id, told)| self.slots.end(id, told));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Error, Refusal};

    #[tokio::test]
    async fn all_answers_of_a_step_are_there_when_the_first_is_looked_at() {
        let (slots, teller) = Slots::new(base::Incarnation(1));
        let teller = tokio::spawn(teller.run());
        let (calls, mut told): (Vec<_>, Vec<_>) = (0..40).map(|_| slots.begin()).unzip();
        slots.forget(calls[7]);
        let no = || Told::Answer(Err(Error::refused(Refusal::Timeout)));
        slots.end_all(calls.iter().map(|id| (*id, no())).collect());
        slots.end_all(Vec::new());
        assert!(matches!((&mut told[0]).await, Ok(Told::Answer(Err(_)))));
        assert!(told[7].try_recv().is_err(), "nobody waits for it any more");
        for (i, one) in told.iter_mut().enumerate().filter(|(i, _)| ![0, 7].contains(i)) {
            assert!(one.try_recv().is_ok(), "answer {i} was handed out with the first");
        }
        teller.abort();
        drop(teller.await);
        // Nobody is left to tell, and nobody minds.
        let (id, mut told) = slots.begin();
        slots.end_all(vec![(id, no())]);
        assert!(told.try_recv().is_err());
    }
}

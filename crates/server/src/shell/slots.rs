//! Who waits for which answer.

use super::{View, clock};
use base::{CallId, Error, Refusal, Result, Tick};
use parking_lot::Mutex;
use range::{Outcome, ReadTask};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

const SHARDS: usize = 16;
/// How often overdue calls are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// What a caller is told.
pub enum Told {
    Answer(Result<Outcome>),
    /// One key to be read, on the caller's thread if it is in memory.
    Read(Box<ReadTask<View>>),
}

/// Who is told, and until when.
struct Waiting {
    tell: oneshot::Sender<Told>,
    until: Tick,
}

/// Open calls, in a few independent parts so that callers and the step thread seldom meet.
pub struct Slots {
    next: AtomicU64,
    open: [Mutex<BTreeMap<u64, Waiting>>; SHARDS],
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

    /// A call begins, which is told that its time is over soon after `until`, if nothing else. A timer of its own for each
    /// would cost more than all of them together: nearly every call is answered long before.
    pub fn begin(&self, until: Tick) -> (CallId, oneshot::Receiver<Told>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = oneshot::channel();
        self.open[id as usize % SHARDS].lock().insert(id, Waiting { tell, until });
        (CallId(id), told)
    }

    /// Its answer; nobody may be waiting any more.
    pub fn end(&self, id: CallId, told: Told) {
        let waiting = self.open[id.0 as usize % SHARDS].lock().remove(&id.0);
        if let Some(waiting) = waiting {
            let _ = waiting.tell.send(told);
        }
    }

    /// Ends the calls that should have been over by now. The node ends a call at its deadline by itself; this is for one
    /// that stands still, and for a reader whose disk does.
    fn expire(&self, now: Tick) {
        for part in &self.open {
            for (_, waiting) in part.lock().extract_if(.., |_, waiting| waiting.until <= now) {
                let _ = waiting.tell.send(Told::Answer(Err(Error::refused(Refusal::Timeout))));
            }
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
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                answers = self.answers.recv() => {
                    let Some(answers) = answers else { return };
                    answers.into_iter().for_each(|(id, told)| self.slots.end(id, told));
                }
                _ = looks.tick() => self.slots.expire(clock::now()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_answers_of_a_step_are_there_when_the_first_is_looked_at() {
        let (slots, teller) = Slots::new(base::Incarnation(1));
        let teller = tokio::spawn(teller.run());
        let (calls, mut told): (Vec<_>, Vec<_>) = (0..40).map(|_| slots.begin(Tick::FAR)).unzip();
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
        let (id, mut told) = slots.begin(Tick::FAR);
        slots.end_all(vec![(id, no())]);
        assert!(told.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_call_that_nobody_answers_is_told_that_its_time_is_over() {
        let (slots, teller) = Slots::new(base::Incarnation(1));
        let teller = tokio::spawn(teller.run());
        let soon = clock::now() + Tick(10_000_000);
        let ((_, overdue), (id, mut patient)) = (slots.begin(soon), slots.begin(Tick::FAR));
        let Ok(Told::Answer(Err(error))) = overdue.await else { panic!("an error was due") };
        assert_eq!(error.kind, base::Kind::Refused(Refusal::Timeout));
        assert!(clock::now() >= soon);
        assert!(patient.try_recv().is_err());
        slots.end(id, Told::Answer(Err(error)));
        assert!(patient.try_recv().is_ok(), "the other is still open");
        teller.abort();
    }
}

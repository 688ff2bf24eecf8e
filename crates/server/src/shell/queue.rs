//! A queue with one taker that sleeps: no spinning, which on a full machine takes the time of whoever would wake it.

use crossbeam::queue::SegQueue;
use crossbeam::sync::{Parker, Unparker};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Shared<T> {
    items: SegQueue<T>,
    /// The taker found nothing and goes to sleep: whoever puts something in wakes it.
    asleep: AtomicBool,
    unparker: Unparker,
    senders: AtomicUsize,
    taker_gone: AtomicBool,
}

/// Puts in; cheap to clone.
pub struct Sender<T>(Arc<Shared<T>>);

/// Takes out.
pub struct Taker<T> {
    shared: Arc<Shared<T>>,
    parker: Parker,
}

/// The taker is gone.
#[derive(Debug)]
pub struct Closed;

/// An empty queue.
pub fn queue<T>() -> (Sender<T>, Taker<T>) {
    let parker = Parker::new();
    let shared = Arc::new(Shared {
        items: SegQueue::new(),
        asleep: AtomicBool::new(false),
        unparker: parker.unparker().clone(),
        senders: AtomicUsize::new(1),
        taker_gone: AtomicBool::new(false),
    });
    (Sender(shared.clone()), Taker { shared, parker })
}

impl<T> Sender<T> {
    /// Puts one in, and wakes the taker if it sleeps.
    pub fn send(&self, item: T) -> Result<(), Closed> {
        if self.0.taker_gone.load(Ordering::Acquire) {
            return Err(Closed);
        }
        self.0.items.push(item);
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        // Pairs with the taker's store: one of the two sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.0.asleep.load(Ordering::Relaxed) && self.0.asleep.swap(false, Ordering::AcqRel) {
            self.0.unparker.unpark();
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.wake();
        }
    }
}

impl<T> Taker<T> {
    /// The next one if there is one.
    pub fn try_take(&self) -> Option<T> {
        self.shared.items.pop()
    }

    /// The next one; `None` after `patience`, or when every sender is gone.
    pub fn take(&self, patience: Duration) -> Option<T> {
        if let Some(item) = self.try_take() {
            return Some(item);
        }
        let until = Instant::now().checked_add(patience);
        loop {
            self.shared.asleep.store(true, Ordering::SeqCst);
            std::sync::atomic::fence(Ordering::SeqCst);
            let left = until.map_or(patience, |t| t.saturating_duration_since(Instant::now()));
            if self.shared.items.is_empty() && !self.is_closed() {
                self.parker.park_timeout(left);
            }
            self.shared.asleep.store(false, Ordering::Relaxed);
            let item = self.try_take();
            // An earlier sender's wake-up may have come late: what counts is an item, the end, or the time.
            if item.is_some() || self.is_closed() || left.is_zero() {
                return item;
            }
        }
    }

    /// Is every sender gone?
    pub fn is_closed(&self) -> bool {
        self.shared.senders.load(Ordering::Acquire) == 0
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        self.shared.taker_gone.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_and_sleepers_are_woken() {
        let (sender, taker) = queue::<u64>();
        let threads: Vec<_> = (0..4)
            .map(|t| {
                let sender = sender.clone();
                std::thread::spawn(move || (0..20_000).for_each(|i| sender.send(t * 20_000 + i).expect("a taker")))
            })
            .collect();
        drop(sender);
        let mut seen = vec![false; 80_000];
        let mut n = 0;
        while n < seen.len() {
            // A lost wake-up would show as patience used up with items inside.
            let Some(i) = taker.take(Duration::from_secs(20)) else { panic!("{n} came, the rest did not") };
            assert!(!std::mem::replace(&mut seen[i as usize], true), "{i} twice");
            n += 1;
        }
        threads.into_iter().for_each(|t| t.join().expect("a sender"));
        assert!(taker.take(Duration::from_secs(20)).is_none() && taker.is_closed());
    }
}

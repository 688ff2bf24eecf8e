//! A queue with one taker that sleeps: no spinning, which on a full machine takes the time of whoever would wake it. The
//! taker is a thread, or a task that shares its thread with others.

use crossbeam::queue::SegQueue;
use crossbeam::sync::{Parker, Unparker};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::Sleep;

/// A task that nobody wakes looks again after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

struct Shared<T> {
    items: SegQueue<T>,
    /// How the taker sleeps, having found nothing.
    sleep: AtomicU8,
    bell: Bell,
    senders: AtomicUsize,
    taker_gone: AtomicBool,
}

/// The taker is awake.
const AWAKE: u8 = 0;
/// Whoever puts something in wakes it.
const LIGHT: u8 = 1;
/// Only what cannot wait wakes it.
const DEEP: u8 = 2;

/// What wakes the taker.
enum Bell {
    Thread(Unparker),
    Task(Notify),
}

/// Puts in; cheap to clone.
pub struct Sender<T>(Arc<Shared<T>>);

/// Takes out; its thread sleeps.
pub struct Taker<T> {
    shared: Arc<Shared<T>>,
    parker: Parker,
}

/// Takes out; only the task sleeps.
pub struct TaskTaker<T> {
    shared: Arc<Shared<T>>,
    /// Set at the first sleep. It may ring too early, never too late: one that is set anew each time costs the runtime a
    /// wake-up of itself.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// The taker is gone.
#[derive(Debug)]
pub struct Closed;

/// An empty queue.
pub fn queue<T>() -> (Sender<T>, Taker<T>) {
    let parker = Parker::new();
    let shared = Shared::new(Bell::Thread(parker.unparker().clone()));
    (Sender(shared.clone()), Taker { shared, parker })
}

/// An empty queue for a task.
pub fn task_queue<T>() -> (Sender<T>, TaskTaker<T>) {
    let shared = Shared::new(Bell::Task(Notify::new()));
    (Sender(shared.clone()), TaskTaker { shared, alarm: None })
}

impl<T> Shared<T> {
    fn new(bell: Bell) -> Arc<Shared<T>> {
        Arc::new(Shared {
            items: SegQueue::new(),
            sleep: AtomicU8::new(AWAKE),
            bell,
            senders: AtomicUsize::new(1),
            taker_gone: AtomicBool::new(false),
        })
    }

    fn is_closed(&self) -> bool {
        self.senders.load(Ordering::Acquire) == 0
    }

    /// The taker is about to sleep, so deep: true if it may.
    fn lies_down(&self, depth: u8) -> bool {
        self.sleep.store(depth, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        self.items.is_empty() && !self.is_closed()
    }

    fn gets_up(&self) {
        self.sleep.store(AWAKE, Ordering::Relaxed);
    }
}

impl<T> Sender<T> {
    /// Puts one in, and wakes the taker if it sleeps.
    pub fn send(&self, item: T) -> Result<(), Closed> {
        self.put(item, DEEP)
    }

    /// Puts one in that can wait for the next: a taker that sleeps deep goes on sleeping.
    pub fn leave(&self, item: T) -> Result<(), Closed> {
        self.put(item, LIGHT)
    }

    fn put(&self, item: T, wakes: u8) -> Result<(), Closed> {
        if self.0.taker_gone.load(Ordering::Acquire) {
            return Err(Closed);
        }
        self.0.items.push(item);
        self.wake(wakes);
        Ok(())
    }

    /// Out of any sleep that is no deeper than this.
    fn wake(&self, deepest: u8) {
        // Pairs with the taker's store: one of the two sees the other.
        std::sync::atomic::fence(Ordering::SeqCst);
        let sleeps = |depth| (LIGHT..=deepest).contains(&depth);
        if sleeps(self.0.sleep.load(Ordering::Relaxed)) && self.0.sleep.swap(AWAKE, Ordering::AcqRel) != AWAKE {
            match &self.0.bell {
                Bell::Thread(unparker) => unparker.unpark(),
                Bell::Task(notify) => notify.notify_one(),
            }
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
            self.wake(DEEP);
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
            let left = until.map_or(patience, |t| t.saturating_duration_since(Instant::now()));
            if self.shared.lies_down(LIGHT) {
                self.parker.park_timeout(left);
            }
            self.shared.gets_up();
            let item = self.try_take();
            // An earlier sender's wake-up may have come late: what counts is an item, the end, or the time.
            if item.is_some() || self.is_closed() || left.is_zero() {
                return item;
            }
        }
    }

    /// Is every sender gone?
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }
}

impl<T> TaskTaker<T> {
    /// Is there one?
    pub fn has_more(&self) -> bool {
        !self.shared.items.is_empty()
    }

    /// The next one if there is one.
    pub fn try_take(&self) -> Option<T> {
        self.shared.items.pop()
    }

    /// The next one; `None` after `patience`, or when every sender is gone. Sleeps deep unless `light`.
    pub async fn take(&mut self, patience: Duration, light: bool) -> Option<T> {
        let until = tokio::time::Instant::now() + patience.min(LONGEST_SLEEP);
        loop {
            let item = self.try_take();
            if item.is_some() || self.is_closed() {
                return item;
            }
            let late = self.shared.lies_down(if light { LIGHT } else { DEEP }) && self.sleep(until).await;
            self.shared.gets_up();
            if late {
                return self.try_take();
            }
        }
    }

    /// Until the bell rings, or until then: true.
    async fn sleep(&mut self, until: tokio::time::Instant) -> bool {
        let Bell::Task(bell) = &self.shared.bell else { unreachable!("a task's queue has a task's bell") };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        loop {
            if alarm.is_elapsed() || alarm.deadline() > until {
                alarm.as_mut().reset(until);
            }
            tokio::select! {
                biased;
                () = bell.notified() => return false,
                () = &mut *alarm => if alarm.deadline() >= until { return true },
            }
        }
    }

    /// Is every sender gone?
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        self.shared.taker_gone.store(true, Ordering::Release);
    }
}

impl<T> Drop for TaskTaker<T> {
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
        all_come(sender, |patience| taker.take(patience));
        assert!(taker.is_closed());
    }

    #[test]
    fn nothing_is_lost_and_sleeping_tasks_are_woken() {
        let (sender, mut taker) = task_queue::<u64>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        all_come(sender, |patience| runtime.block_on(taker.take(patience, false)));
        assert!(taker.is_closed());
    }

    #[test]
    fn a_task_sleeps_no_longer_than_it_said() {
        let (sender, mut taker) = task_queue::<u64>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        assert!(runtime.block_on(taker.take(Duration::from_millis(5), true)).is_none() && !taker.is_closed());
        drop(taker);
        assert!(sender.send(1).is_err(), "nobody takes it");
    }

    #[test]
    fn what_can_wait_comes_with_the_next_and_wakes_only_who_sleeps_light() {
        let (sender, mut taker) = task_queue::<u64>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let long = Duration::from_secs(20);
        let asleep = |depth| while sender.0.sleep.load(Ordering::SeqCst) != depth {};
        std::thread::scope(|s| {
            s.spawn(|| {
                asleep(DEEP);
                sender.leave(1).expect("a taker");
                std::thread::sleep(Duration::from_millis(20));
                assert_eq!(sender.0.sleep.load(Ordering::SeqCst), DEEP, "it sleeps on");
                sender.send(2).expect("a taker");
                asleep(LIGHT);
                sender.leave(3).expect("a taker");
            });
            assert_eq!(runtime.block_on(taker.take(long, false)), Some(1));
            assert_eq!(taker.try_take(), Some(2));
            assert_eq!(runtime.block_on(taker.take(long, true)), Some(3));
        });
        sender.leave(4).expect("a taker");
        let at_once = runtime.block_on(taker.take(Duration::ZERO, false));
        assert_eq!(at_once, Some(4), "nobody sleeps while something is there");
    }

    fn all_come(sender: Sender<u64>, mut take: impl FnMut(Duration) -> Option<u64>) {
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
            let Some(i) = take(Duration::from_secs(20)) else { panic!("{n} came, the rest did not") };
            assert!(!std::mem::replace(&mut seen[i as usize], true), "{i} twice");
            n += 1;
        }
        threads.into_iter().for_each(|t| t.join().expect("a sender"));
        assert!(take(Duration::from_secs(20)).is_none(), "every sender is gone");
    }
}

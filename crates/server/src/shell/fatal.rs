//! What ends a node: told once, to whoever waits for the end. A thread that panics must not leave the others waiting.

use parking_lot::Mutex;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::watch;

/// Why the node must end, and who is told.
#[derive(Clone)]
pub struct Fatal {
    said: Arc<Mutex<Option<String>>>,
    end: Arc<watch::Sender<bool>>,
}

impl Fatal {
    /// Nothing yet.
    pub fn new() -> (Fatal, watch::Receiver<bool>) {
        let (end, ended) = watch::channel(false);
        (Fatal { said: Arc::default(), end: Arc::new(end) }, ended)
    }

    /// The node must end, and this is why; the first reason stays.
    pub fn tell(&self, text: String) {
        self.said.lock().get_or_insert(text);
        self.end();
    }

    /// The node ends, for good or bad.
    pub fn end(&self) {
        self.end.send_replace(true);
    }

    /// The reason.
    pub fn take(&self) -> Option<String> {
        self.said.lock().take()
    }

    /// Runs a thread's work; a panic ends the node instead of only the thread.
    pub fn guard<R>(&self, thread: &str, work: impl FnOnce() -> R) -> Option<R> {
        // Nothing is looked at again after a panic: the node ends.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.tell(format!("the {thread} thread panicked, the store stops: {}", text(&*panic)));
                None
            }
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let said = panic.downcast_ref::<&str>().copied();
    said.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_ends_the_node_with_a_reason() {
        let (fatal, ended) = Fatal::new();
        assert_eq!(fatal.guard("step", || 7), Some(7));
        assert!(!*ended.borrow() && fatal.take().is_none());
        let inner = fatal.clone();
        let thread = std::thread::spawn(move || inner.guard("step", || -> u8 { panic!("[W1] 3 would follow 4") }));
        assert_eq!(thread.join().expect("the guard holds"), None);
        assert!(*ended.borrow());
        fatal.tell("something later".to_string());
        let said = fatal.take().expect("a reason");
        assert!(said.contains("step") && said.contains("[W1] 3 would follow 4"), "{said}");
    }
}

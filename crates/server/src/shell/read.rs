//! The reader pool: reads from frozen views, on threads that may wait for a disk.

use super::fatal::Fatal;
use super::slots::{Slots, Told};
use super::{Inbox, View};
use base::Kind;
use crossbeam::channel::{Receiver, Sender, unbounded};
use node::Input;
use range::{Origin, ReadTask};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Where they take their tasks from, and they themselves.
type Readers = (Sender<Vec<ReadTask<View>>>, Vec<JoinHandle<()>>);

/// Starts `threads` readers; reads come in batches, one per step.
pub fn start(threads: usize, slots: Arc<Slots>, inbox: Inbox, fatal: Fatal) -> std::io::Result<Readers> {
    let (tasks, queue) = unbounded::<Vec<ReadTask<View>>>();
    let mut running = Vec::new();
    for i in 0..threads {
        let (queue, slots, inbox, fatal) = (queue.clone(), slots.clone(), inbox.clone(), fatal.clone());
        running.push(thread::Builder::new().name(format!("reader-{i}")).spawn(move || {
            fatal.guard("reader", || run(queue, &slots, (&inbox, &fatal)));
        })?);
    }
    Ok((tasks, running))
}

fn run(queue: Receiver<Vec<ReadTask<View>>>, slots: &Slots, (inbox, fatal): (&Inbox, &Fatal)) {
    while let Ok(tasks) = queue.recv() {
        for task in tasks {
            let (result, lesson) = task.run_learning();
            if let Some((lesson, learned)) = lesson {
                drop(inbox.send(Input::Learned(lesson, learned)));
            }
            if let Err(e) = result.as_ref()
                && e.kind == Kind::Corrupt
            {
                // Bytes on this disk are not what was written: no other answer of this store can be trusted.
                fatal.tell(format!("the store stops: {e}"));
            }
            match task.origin {
                Origin::Local(id) => slots.end(id, Told::Answer(result)),
                // The node is gone when its inbox is; nobody waits then.
                origin => drop(inbox.send(Input::Read(origin, result))),
            }
        }
    }
}

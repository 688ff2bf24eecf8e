//! The reader pool: reads from frozen views, on threads that may wait for a disk.

use super::slots::{Slots, Told};
use super::{Inbox, View};
use crossbeam::channel::{Receiver, Sender, unbounded};
use node::Input;
use range::{Origin, ReadTask};
use std::sync::Arc;
use std::thread;

/// Starts `threads` readers; reads come in batches, one per step.
pub fn start(threads: usize, slots: Arc<Slots>, inbox: Inbox) -> std::io::Result<Sender<Vec<ReadTask<View>>>> {
    let (tasks, queue) = unbounded::<Vec<ReadTask<View>>>();
    for i in 0..threads {
        let (queue, slots, inbox) = (queue.clone(), slots.clone(), inbox.clone());
        thread::Builder::new().name(format!("reader-{i}")).spawn(move || run(queue, &slots, &inbox))?;
    }
    Ok(tasks)
}

fn run(queue: Receiver<Vec<ReadTask<View>>>, slots: &Slots, inbox: &Inbox) {
    while let Ok(tasks) = queue.recv() {
        for task in tasks {
            let (result, lesson) = task.run_learning();
            if let Some((lesson, learned)) = lesson {
                drop(inbox.send(Input::Learned(lesson, learned)));
            }
            match task.origin {
                Origin::Local(id) => slots.end(id, Told::Answer(result)),
                // The node is gone when its inbox is; nobody waits then.
                origin => drop(inbox.send(Input::Read(origin, result))),
            }
        }
    }
}

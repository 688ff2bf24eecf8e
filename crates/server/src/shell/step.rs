//! The step thread: takes what happened, steps the node, carries the effects out. On a machine with few cores it carries
//! the frames to and from the peers, too, while it waits.

use super::clock;
use super::picture::Picture;
use super::queue::{self, TaskTaker};
use super::slots::{Slots, Told};
use super::write::Job;
use super::{View, peers};
use base::{CallId, Stage, Tick};
use crossbeam::channel::Sender;
use engine::Engine;
use node::{Effects, Input, Node, SnapshotWork};
use range::{Origin, ReadTask, Ready};
use rocks::Rocks;
use std::sync::Arc;
use std::time::Duration;

/// Where effects go.
pub struct Outlets {
    pub writer: queue::Sender<Job>,
    pub readers: Sender<Vec<ReadTask<View>>>,
    pub snapshots: Sender<SnapshotWork<View>>,
    pub peers: transport::Sender,
    pub slots: Arc<Slots>,
    pub picture: Arc<Picture>,
}

/// Inputs of one step at most: a step must end before others wait for long.
const MOST_INPUTS: usize = 4096;

/// Runs until the node has stopped in order, or must stop: then says why.
pub async fn run(mut node: Node<Rocks>, mut inbox: TaskTaker<Input<View>>, out: &Outlets) -> base::Result<()> {
    let mut inputs: Vec<Input<View>> = Vec::new();
    // News that no step is worth on its own; the node's own wake comes soon enough.
    let mut later: Vec<Input<View>> = Vec::new();
    let mut room = 0;
    let mut wake = clock::now();
    let mut awaits_disk = true;
    loop {
        if inputs.is_empty() {
            let patience = Duration::from_nanos(wake.since(clock::now()));
            match inbox.take(patience, awaits_disk).await {
                Some(input) => inputs.push(input),
                None if inbox.is_closed() => return Ok(()),
                None => {}
            }
        }
        while inputs.len() < MOST_INPUTS {
            match inbox.try_take() {
                Some(input) => inputs.push(input),
                None => break,
            }
        }
        inputs.append(&mut later);
        // Read after the inputs were taken: promises count from receipt.
        let begun = clock::now();
        // With room for the most of late: an input is large, and growing copies them all.
        room = range::most_of_late(room, inputs.len());
        let effects = node.step(std::mem::replace(&mut inputs, Vec::with_capacity(room)), begun);
        let ended = clock::now();
        sample(&effects.samples, ended.since(begun));
        if let Some(e) = effects.failed {
            return Err(e);
        }
        let stopped = effects.stopped;
        (wake, awaits_disk) = (effects.wake, effects.awaits_disk);
        carry_out(&node, effects, (out, ended), (&mut inputs, &mut later));
        if stopped {
            return Ok(());
        }
        // Frames leave, and others come in; where nothing waits, that happens while we sleep.
        if !inputs.is_empty() || inbox.has_more() {
            tokio::task::yield_now().await;
        }
    }
}

/// The node counts from a command's arrival to the beginning of the step in which it reached a station; the station is
/// passed when the step ends. Only the writer knows when a batch is durable: it notes that station.
fn sample(samples: &[(Stage, u64)], step: u64) {
    for (stage, waited) in samples.iter().filter(|(stage, _)| *stage != Stage::WriteAll) {
        crate::metrics::stage_sample(*stage, waited + step);
    }
}

type Back<'a> = (&'a mut Vec<Input<View>>, &'a mut Vec<Input<View>>);

fn carry_out(node: &Node<Rocks>, effects: Effects<Rocks>, (out, ended): (&Outlets, Tick), (back, later): Back<'_>) {
    // Before any answer leaves: whoever asks next sees no older one.
    out.picture.note(effects.revision);
    for f in effects.frames {
        out.peers.send(f.to, peers::lane(f.lane), f.bytes);
    }
    if let Some(task) = effects.write {
        // The writer ends before us only when it has told why.
        let _ = out.writer.send(Job::Write(task, ended));
    }
    let mut reads = Vec::new();
    let mut answers = Vec::new();
    for task in effects.reads {
        hand_read(task, &mut answers, &mut reads);
    }
    if !effects.leased.is_empty() {
        let now = clock::now();
        for (proof, leased) in effects.leased {
            match leased.open(now) {
                Ok(Ready::Read(task)) => hand_read(task, &mut answers, &mut reads),
                Ok(Ready::Closes(number)) => later.push(Input::Proved(Ready::Closes(number))),
                Ok(Ready::Reply(asked, result)) => match (asked.origin(), &result) {
                    (Origin::Local(id), Ok(_)) => answers.push((id, Told::Answer(result))),
                    _ => back.push(Input::Proved(Ready::Reply(asked, result))),
                },
                Ok(ready) => back.push(Input::Proved(ready)),
                Err(late) => back.push(Input::Unproved(proof, late.into_unproved())),
            }
        }
    }
    if !reads.is_empty() {
        let _ = out.readers.send(reads);
    }
    answers.extend(effects.replies.into_iter().map(|(id, result)| (id, Told::Answer(result))));
    out.slots.end_all(answers);
    for work in effects.snapshots {
        let _ = out.snapshots.send(work);
    }
    if let Some(bound) = effects.bound {
        node.engine().set_filter_bound(bound);
    }
    if let Some(status) = effects.status {
        out.picture.take(status);
    }
}

/// One key: the client's own thread reads it, if it is in memory.
fn hand_read(task: ReadTask<View>, answers: &mut Vec<(CallId, Told)>, reads: &mut Vec<ReadTask<View>>) {
    match task.origin {
        Origin::Local(id) if task.spec.is_point() => answers.push((id, Told::Read(Box::new(task)))),
        _ => reads.push(task),
    }
}

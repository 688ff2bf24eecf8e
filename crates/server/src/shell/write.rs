//! The writer thread: takes what is queued, writes it as one batch with one fsync, then lets out what waited for it.

use super::queue::Taker;
use super::report::Report;
use super::{Inbox, View};
use crate::metrics::hot;
use crate::metrics::names::{BACKEND_COMMIT_SECONDS, WAL_FSYNC_SECONDS, WAL_WRITE_BYTES};
use base::{Error, Stage, Tick};
use engine::{Batch, Engine};
use node::{Input, WriteTask};
use rocks::Rocks;
use std::time::{Duration, Instant};
use transport::Sender;

/// What the writer does, in the order in which it was asked.
pub enum Job {
    /// And when it was handed in.
    Write(WriteTask, Tick),
    /// Puts a staged snapshot in, behind all writes before it.
    Ingest { number: u64, staged: Box<dyn engine::Stage>, clear: Vec<(bytes::Bytes, bytes::Bytes)>, then: Batch },
}

/// Bytes merged into one batch at most.
const MOST_BYTES: usize = 4 << 20;
/// Between two tries of a batch for which there is no room.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(50);

/// Who hears of what the writer did.
pub struct Hearers {
    pub peers: Sender,
    pub inbox: Inbox,
    pub report: Report,
}

/// Runs until the queue is closed, or the disk refuses: then `stop` is told why.
pub fn run(engine: Rocks, jobs: Taker<Job>, hearers: Hearers, stop: impl Fn(Error)) {
    let mut held = None;
    let timers = Timers {
        commit: hot::slot(BACKEND_COMMIT_SECONDS, Vec::new()),
        fsync: hot::slot(WAL_FSYNC_SECONDS, Vec::new()),
        bytes: metrics::counter!(WAL_WRITE_BYTES),
    };
    loop {
        let job = match held.take() {
            Some(job) => job,
            None => match jobs.take(Duration::from_secs(1)) {
                Some(job) => job,
                None if jobs.is_closed() => return,
                None => continue,
            },
        };
        let done = match job {
            Job::Ingest { number, staged, clear, then } => {
                let result = engine.ingest(staged, &clear, &then);
                hearers.inbox.send(Input::<View>::Ingested(number, result)).map_err(|_| None)
            }
            Job::Write(first, since) => {
                let (tasks, next) = gather((first, since), &jobs);
                held = next;
                write(&engine, tasks, (&jobs, &hearers), &timers).map_err(Some)
            }
        };
        // Noticed here first: a second later a small disk would be full to the brim.
        if engine.is_full() && hearers.report.raise() {
            let _ = hearers.inbox.send(Input::<View>::Full(true));
        }
        match done {
            Ok(()) => {}
            Err(Some(e)) => return stop(e),
            Err(None) => return,
        }
    }
}

/// Everything that is queued, up to a bound and up to the next ingest.
fn gather(first: (WriteTask, Tick), jobs: &Taker<Job>) -> (Vec<(WriteTask, Tick)>, Option<Job>) {
    let mut bytes = first.0.batch.bytes();
    let mut tasks = vec![first];
    while bytes < MOST_BYTES {
        match jobs.try_take() {
            Some(Job::Write(task, since)) => {
                bytes += task.batch.bytes();
                tasks.push((task, since));
            }
            Some(other) => return (tasks, Some(other)),
            None => break,
        }
    }
    (tasks, None)
}

/// Where durations are noted.
struct Timers {
    commit: Option<usize>,
    fsync: Option<usize>,
    bytes: metrics::Counter,
}

fn write(
    engine: &Rocks,
    tasks: Vec<(WriteTask, Tick)>,
    (jobs, hearers): (&Taker<Job>, &Hearers),
    timers: &Timers,
) -> Result<(), Error> {
    let sync = tasks.iter().any(|(t, _)| t.sync);
    let last = tasks.last().map_or(0, |(t, _)| t.seq);
    let mut batch = Batch::new();
    let mut frames = Vec::new();
    let mut handed_in = Vec::with_capacity(tasks.len());
    for (task, since) in tasks {
        batch.append(task.batch);
        frames.extend(task.frames);
        handed_in.push(since);
    }
    // A task without changes only waits its turn behind those that had some.
    if !batch.is_empty() {
        let begun = Instant::now();
        write_when_there_is_room(engine, &batch, sync, jobs)?;
        let nanos = begun.elapsed().as_nanos() as u64;
        let noted = [timers.commit, timers.fsync.filter(|_| sync)];
        noted.into_iter().flatten().for_each(|slot| hot::sample(slot, nanos));
        timers.bytes.increment(batch.bytes() as u64);
    }
    let now = super::clock::now();
    handed_in.iter().for_each(|since| hot::stage_sample(Stage::WriteAll, now.since(*since)));
    for f in frames {
        hearers.peers.send(f.to, super::peers::lane(f.lane), f.bytes);
    }
    // A closed inbox means that the node is gone; nobody needs to know then.
    let _ = hearers.inbox.leave(Input::<View>::Written(last));
    Ok(())
}

/// A full disk is no reason to end: nobody was told, and the same batch, which waits, says the same again. The node sees a
/// disk that stands still, asks for no support and loses its leases until there is room.
fn write_when_there_is_room(engine: &Rocks, batch: &Batch, sync: bool, jobs: &Taker<Job>) -> Result<(), Error> {
    let mut told = false;
    loop {
        match engine.write(batch, sync) {
            Err(e) if engine::is_no_space(&e) && !jobs.is_closed() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!("{e}: what must be written waits for room, and this store leads nothing meanwhile");
                }
                std::thread::sleep(NO_ROOM_PAUSE);
            }
            result => {
                if told && result.is_ok() {
                    tracing::info!("there was room again for what had to be written");
                }
                return result;
            }
        }
    }
}

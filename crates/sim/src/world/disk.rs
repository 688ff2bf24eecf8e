//! A node's disk: the writer, which takes what waits in one batch with one sync, and the thread that reads, stages and
//! ingests snapshots.

use super::host::{Carried, Host};
use super::{Event, MS, World};
use base::{Index, Tick};
use bytes::Bytes;
use engine::mem::{Mem, MemView};
use engine::{Batch, Engine, Op, Stage};
use node::{Input, Node, SnapshotWork, WriteTask};
use std::collections::{BTreeMap, VecDeque};

/// The writer: tasks that wait, and how many of them are being written.
#[derive(Default)]
pub(super) struct DiskQueue {
    pub tasks: VecDeque<WriteTask>,
    pub writing: usize,
    /// Those can be read already, and are not durable yet: RocksDB syncs what it has put into its memtables.
    pub readable: bool,
    pub handed: u64,
    pub written: u64,
    /// News of it are worth a step; otherwise they wait for the next.
    pub awaited: bool,
    /// So many times slower than usual.
    pub slow: u64,
    /// Ended while the disk hung: goes on when it no longer does.
    pub hung: bool,
    /// What is read before this moment is not there until some time after it.
    pub reads_wait: u64,
}

/// The thread that reads, stages and ingests snapshots, in order.
#[derive(Default)]
pub(super) struct SnapshotThread {
    /// With the write task that must be durable first.
    pub work: VecDeque<(u64, SnapshotWork<MemView>)>,
    pub busy: bool,
    pub stages: BTreeMap<u64, Box<dyn Stage>>,
}

impl DiskQueue {
    /// What is being written.
    fn under_way(&self) -> Batch {
        let mut all = Batch::new();
        self.tasks.iter().take(self.writing).for_each(|task| all.append(task.batch.clone()));
        all
    }
}

impl Host {
    /// The process ends: what was being written may have reached the disk, whole batches from the first on.
    pub(super) fn break_off_writing(&mut self) {
        let writing = self.disk_queue.writing as u64;
        let mut begun = if writing == 0 { 0 } else { self.rng.below(writing + 1) } as usize;
        if self.disk_queue.readable {
            // All of it is there; the first batches anew would overwrite the last.
            begun = writing as usize;
        } else {
            for task in self.disk_queue.tasks.iter().take(begun) {
                // A disk that refuses has not written it: also a possible end.
                let _ = self.disk.write(&task.batch, false);
            }
        }
        if base::bug!("batch-not-atomic")
            && let Some(task) = self.disk_queue.tasks.get(begun)
        {
            let _ = self.disk.write(&second_half(&task.batch), false);
        }
        self.disk_queue = DiskQueue { slow: self.disk_queue.slow, ..DiskQueue::default() };
        self.snapshots = SnapshotThread::default();
    }
}

impl World<'_> {
    pub(super) fn start_writing(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        let q = &mut host.disk_queue;
        if q.writing > 0 || q.tasks.is_empty() {
            return;
        }
        q.writing = 1 + host.rng.below(q.tasks.len() as u64) as usize;
        let (least, mut most) = self.options.disk.write;
        if self.faults.is_over() {
            // A leader that waits for three writes of half an election timeout in a row is taken for one that is stuck.
            most = most.min(self.options.least_timeout() / 8);
        }
        let took = host.rng.between(least, most + 1) * q.slow.max(1);
        // A refusal is met again when it is done.
        q.readable = took.is_multiple_of(2) && host.disk.write(&q.under_way(), false).is_ok();
        let life = host.life;
        self.after(took, Event::DiskDone(i, life));
    }

    pub(super) fn disk_done(&mut self, i: usize, life: u64) {
        if self.holds(i, life, || Event::DiskDone(i, life)) {
            return;
        }
        let host = &mut self.hosts[i];
        if host.disk.is_stalled() {
            host.disk_queue.hung = true;
            return;
        }
        let n = host.disk_queue.writing;
        let all = if host.disk_queue.readable { Batch::new() } else { host.disk_queue.under_way() };
        let wanted = host.disk_queue.tasks.iter().take(n).any(|t| t.sync);
        let sync = wanted && !base::bug!("written-without-sync");
        match host.disk.write(&all, sync) {
            Err(e) if engine::is_no_space(&e) => {
                // Nothing was written: again, until there is room.
                self.after(50 * MS, Event::DiskDone(i, life));
                return;
            }
            Err(e) => {
                self.node_failed(i, &e);
                return;
            }
            Ok(()) => {}
        }
        (host.disk_queue.writing, host.disk_queue.readable) = (0, false);
        let done: Vec<WriteTask> = host.disk_queue.tasks.drain(..n).collect();
        let last = done.last().map_or(0, |t| t.seq);
        host.disk_queue.written = last;
        for frame in done.into_iter().flat_map(|t| t.frames) {
            self.send(i, frame);
        }
        if self.hosts[i].disk_queue.awaited {
            self.input(i, Input::Written(last));
        } else {
            self.hosts[i].inbox.push(Input::Written(last));
        }
        self.start_writing(i);
        self.start_snapshot_work(i);
    }

    pub(super) fn start_snapshot_work(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        let Some((after, work)) = host.snapshots.work.front() else { return };
        let waits = matches!(work, SnapshotWork::Ingest { .. }) && *after > host.disk_queue.written;
        if host.snapshots.busy || waits {
            return;
        }
        host.snapshots.busy = true;
        let (life, mut took) = (host.life, host.rng.between(10_000, 3 * MS));
        let longest = self.options.disk.chores;
        if longest > 0 && !self.faults.is_over() && host.rng.chance(200_000) {
            took = host.rng.between(took, longest);
        }
        self.after(took, Event::SnapshotDone(i, life));
    }

    pub(super) fn snapshot_done(&mut self, i: usize, life: u64) {
        if self.holds(i, life, || Event::SnapshotDone(i, life)) {
            return;
        }
        let host = &mut self.hosts[i];
        host.snapshots.busy = false;
        let Some((_, work)) = host.snapshots.work.pop_front() else { return };
        let input = match work {
            SnapshotWork::Read { number, view, from, to, bytes } => {
                Some(Input::SnapshotRead(number, node::boot::read_chunk(&*view, &from, &to, bytes)))
            }
            SnapshotWork::Stage { number, records } => {
                let result = stage(&host.disk, &mut host.snapshots.stages, number, records.clone());
                self.witness_records(i, records);
                Some(Input::Staged(number, result))
            }
            SnapshotWork::Ingest { number, clear, then } => {
                let staged = match host.snapshots.stages.remove(&number) {
                    Some(stage) => Ok(stage),
                    None => host.disk.stage(),
                };
                let result = staged.and_then(|mut s| {
                    s.finish()?;
                    host.disk.ingest(s, &clear, &then)
                });
                if result.is_ok() {
                    self.witness_ingest(i, &then);
                }
                Some(Input::Ingested(number, result))
            }
            SnapshotWork::Drop { number } => {
                host.snapshots.stages.remove(&number);
                None
            }
        };
        if let Some(input) = input {
            self.input(i, input);
        }
        self.start_snapshot_work(i);
    }
}

/// A step. One that only hears of the disk, and was not waiting for it, commits nothing and begins to serve nothing.
pub(super) fn step(node: &mut Node<Mem>, inputs: Vec<Input<MemView>>, now: Tick, awaited: bool) -> Carried {
    let left = !inputs.is_empty() && inputs.iter().all(|input| matches!(input, Input::Written(_)));
    let standing = |node: &Node<Mem>| -> Vec<_> { node.replicas().map(|r| (r.commit(), r.is_serving())).collect() };
    let before = (left && !awaited).then(|| standing(node));
    let effects = node.step(inputs, now);
    if let Some(before) = before.filter(|_| effects.failed.is_none()) {
        // Time may have passed, too: leaderships end by that.
        let made = |((commit, serves), now): (&(Index, bool), (Index, bool))| now.0 > *commit || (now.1 && !serves);
        let made = before.iter().zip(standing(node)).any(made);
        assert!(!made, "nobody waited for the disk, and it made a difference");
    }
    effects
}

/// What a disk without atomic batches may hold of one.
fn second_half(batch: &Batch) -> Batch {
    let mut half = Batch::new();
    for op in batch.ops().iter().skip(batch.ops().len() / 2) {
        match op.clone() {
            Op::Put(cf, key, value) => half.put(cf, key, value),
            Op::Delete(cf, key) => half.delete(cf, key),
            Op::DeleteRange(cf, start, end) => half.delete_range(cf, start, end),
        }
    }
    half
}

/// Adds received records to what is staged.
fn stage(disk: &Mem, stages: &mut BTreeMap<u64, Box<dyn Stage>>, number: u64, mut records: Bytes) -> base::Result<()> {
    let stage = match stages.entry(number) {
        std::collections::btree_map::Entry::Occupied(e) => e.into_mut(),
        std::collections::btree_map::Entry::Vacant(e) => e.insert(disk.stage()?),
    };
    while !records.is_empty() {
        let (key, value) = node::boot::get_record(&mut records)?;
        stage.put(&key, &value)?;
    }
    Ok(())
}

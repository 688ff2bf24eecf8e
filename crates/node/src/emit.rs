//! ⑦ frame_all, ⑧ write_all: one frame per peer, one batch for the disk; what waits for the disk travels inside the
//! write task.

use crate::builder::Builder;
use crate::effects::{Effects, Outgoing, SnapshotWork};
use crate::frame::{Frame, Part, Stream};
use crate::held::Load;
use crate::node::{Node, Work};
use base::{Error, Incarnation, Index, Kind, Leased, RangeId, Revision, Stage, StoreId, Tick, marker};
use engine::Engine;
use range::Letter;
use std::collections::{BTreeMap, BTreeSet};

/// How long a commit may stay untold when nothing else is said.
const TELL_AFTER: Tick = Tick::ms(10);

/// A frame of this size takes no more parts: one that is larger than the transport carries would be lost whole.
const LARGE_FRAME: usize = base::limits::MAX_FRAME_BYTES / 4;

/// A frame is not expected to have more bytes than this.
const MOST_EXPECTED: usize = 64 << 10;

/// A larger answer is not sent to another node.
const LARGEST_REPLY: usize = base::limits::MAX_FRAME_BYTES / 2;

/// Frames being filled, and the numbers of those sent and taken.
pub(crate) struct Outbox {
    incarnation: Incarnation,
    /// More than one only when what there is to say is very large.
    building: BTreeMap<(StoreId, Stream), Vec<Builder>>,
    /// The number of the last frame, and the most bytes that one had of late: the next one may be as large.
    sent: BTreeMap<(StoreId, Stream), (u64, usize)>,
    /// The life and the number of the last frame taken from a peer's stream.
    taken: BTreeMap<(StoreId, Stream), (Incarnation, u64)>,
    /// Ranges led here whose followers were not told the commit index.
    untold: BTreeMap<RangeId, Untold>,
}

/// A commit index that not every follower was told.
struct Untold {
    /// Until when that can wait.
    until: Tick,
    commit: Index,
    told: BTreeSet<StoreId>,
}

impl Outbox {
    pub fn new(incarnation: Incarnation) -> Outbox {
        Outbox {
            incarnation,
            building: BTreeMap::new(),
            sent: BTreeMap::new(),
            taken: BTreeMap::new(),
            untold: BTreeMap::new(),
        }
    }

    fn push(&mut self, to: StoreId, stream: Stream, part: &Part) {
        let frames = self.building.entry((to, stream)).or_default();
        if frames.last().is_none_or(|b| b.len() > LARGE_FRAME && !base::bug!("frame-too-large-to-send")) {
            let last = self.sent.get(&(to, stream)).map_or(0, |(_, bytes)| *bytes);
            frames.push(Builder::expecting(last));
        }
        let Some(frame) = frames.last_mut() else { return };
        let before = frame.len();
        frame.push(part);
        if let Part::Reply(id, Ok(_)) = part
            && frame.len() - before > LARGEST_REPLY
        {
            marker!("node.reply too large for a hop");
            let text = format!("an answer of {} bytes does not fit one hop: set a limit", frame.len() - before);
            frame.cut(before);
            frame.push(&Part::Reply(*id, Err(Error::new(Kind::Unimplemented, text))));
        }
    }
    /// Leaves at once, on the lane of liveness.
    pub fn control(&mut self, to: StoreId, part: &Part) {
        self.push(to, Stream::Control, part);
    }
    /// Leaves at once.
    pub fn now(&mut self, to: StoreId, part: &Part) {
        self.push(to, Stream::Now, part);
    }
    /// Leaves when this step's batch is durable, and all before it.
    pub fn after(&mut self, to: StoreId, part: &Part) {
        self.push(to, Stream::After, part);
    }
    /// Leaves at once, on the lane of snapshots.
    pub fn snapshot(&mut self, to: StoreId, part: &Part) {
        self.push(to, Stream::Snapshot, part);
    }

    /// Is this frame newer than everything taken from its stream?
    pub fn is_next(&mut self, from: StoreId, frame: &Frame) -> bool {
        let last = self.taken.entry((from, frame.stream)).or_default();
        let this = (frame.incarnation, frame.number);
        if this <= *last && !base::bug!("frame-taken-twice") {
            return false;
        }
        *last = this;
        true
    }

    /// Does a frame leave for this peer at once?
    pub fn speaks_to(&self, peer: StoreId) -> bool {
        self.building.contains_key(&(peer, Stream::Now))
    }

    pub fn next_wake(&self) -> Tick {
        self.untold.values().map(|u| u.until).min().unwrap_or(Tick::FAR)
    }

    pub(crate) fn finish(&mut self) -> (Vec<Outgoing>, Vec<Outgoing>) {
        let (mut now, mut after) = (Vec::new(), Vec::new());
        for ((to, stream), builders) in std::mem::take(&mut self.building) {
            let (number, size) = self.sent.entry((to, stream)).or_default();
            for builder in builders {
                *number += 1;
                let bytes = builder.finish(stream, self.incarnation, *number);
                *size = range::most_of_late(*size, bytes.len()).min(MOST_EXPECTED);
                let out = Outgoing { to, lane: stream.lane(), bytes };
                if stream == Stream::After { after.push(out) } else { now.push(out) }
            }
        }
        (now, after)
    }
}

impl<E: Engine> Node<E> {
    /// Ends the step: everything it had to say leaves in one go.
    pub(crate) fn emit(&mut self, mut work: Work<E::View>, now: Tick, effects: &mut Effects<E>) {
        for (range, to) in std::mem::take(&mut work.sink.snapshots) {
            self.offer_snapshot(range, to, now, &mut work);
        }
        let untold = std::mem::take(&mut work.sink.untold);
        let fresh: Vec<RangeId> = self.note_commits(untold, &work.sink.now, now);
        let answered = std::mem::take(&mut work.sink.answered);
        self.tell_askers(&answered, &work.sink.now);
        for letter in work.sink.now.drain(..) {
            self.outbox.now(letter.to.store, &Part::Letter(letter));
        }
        self.tell_commits(fresh, now);
        for letter in work.sink.after.drain(..) {
            self.outbox.after(letter.to.store, &Part::Letter(letter));
        }
        self.bounds.pins.extend(work.pins.drain(..));
        self.show_leased(&work);
        self.tell_closed(now);
        let (frames, after) = self.outbox.finish();
        if !frames.is_empty() {
            work.sink.mark(Stage::FrameAll, 0);
        }
        effects.frames = frames;
        self.write_or_hold(&mut work, after, now, effects);
        for (proof, ready) in work.sink.leased.drain(..) {
            effects.leased.push((proof, Leased::new(ready, proof.until)));
        }
        self.state_closed(now, effects);
        self.count(&work);
        self.door.queued += work.sink.queued;
        effects.samples = std::mem::take(&mut work.sink.samples);
        self.clock.now = now;
        effects.revision = self.revisions.known.get();
        if now >= self.clock.next_status {
            self.clock.next_status = now + Tick::ms(100);
            effects.status = Some(self.status());
        }
        effects.stopped = self.clock.said_goodbye && self.writes.are_done();
        effects.wake = self.next_wake(now, effects);
        effects.awaits_disk = self.awaits_disk();
    }

    /// ⑧ One batch, unless nobody waits for it: then the next one takes it along.
    fn write_or_hold(
        &mut self,
        work: &mut Work<E::View>,
        mut after: Vec<Outgoing>,
        now: Tick,
        effects: &mut Effects<E>,
    ) {
        let sink = &mut work.sink;
        let waits = !sink.urgent;
        if base::bug!("ack-before-fsync") {
            effects.frames.append(&mut after);
        }
        if waits && base::bug!("held-frames-leave-at-once") {
            effects.frames.append(&mut after);
        }
        let overtaken = (!waits && base::bug!("held-writes-overtaken")).then(|| self.writes.held.take());
        if !sink.batch.is_empty() || !after.is_empty() {
            let (batch, receipts) = (std::mem::take(&mut sink.batch), std::mem::take(&mut sink.receipts));
            self.writes.held.add(Load { batch, receipts, frames: after, sync: sink.sync }, now);
        }
        // A snapshot is put in behind everything that was written before it.
        let ingests = effects.snapshots.iter().any(|work| matches!(work, SnapshotWork::Ingest { .. }));
        let due = ingests || self.is_stopping() || self.writes.held.is_due(now);
        if self.writes.held.is_empty() || (waits && !due) {
            return;
        }
        sink.mark(Stage::WriteAll, 0);
        let load = self.writes.held.take();
        effects.write = Some(self.hand_out(load, now));
        if let Some(earlier) = overtaken {
            self.writes.held.add(earlier, now);
        }
    }

    /// Followers learn a commit with the next entries; without any, a little later. `untold`: ranges with a follower
    /// that has what is committed and was not told.
    fn note_commits(&mut self, untold: Vec<RangeId>, letters: &[Letter], now: Tick) -> Vec<RangeId> {
        let replicas = &self.replicas;
        self.outbox.untold.retain(|range, _| replicas.get(range).is_some_and(|r| r.leads().is_some()));
        for range in untold {
            let nobody = || Untold { until: now + TELL_AFTER, commit: Index(0), told: BTreeSet::new() };
            self.outbox.untold.entry(range).or_insert_with(nobody);
        }
        // An append tells it, if it was made late enough, to its receiver; not all of them leave in one step.
        for l in letters {
            let raft::Message::Append(append) = &l.message else { continue };
            let (Some(replica), Some(untold)) = (self.replicas.get(&l.range), self.outbox.untold.get_mut(&l.range))
            else {
                continue;
            };
            if untold.commit < replica.commit() {
                (untold.commit, untold.told) = (replica.commit(), BTreeSet::new());
            }
            if append.commit >= untold.commit {
                untold.told.insert(l.to.store);
            }
            if untold.told.len() + 1 >= replica.descriptor().replicas.len() {
                self.outbox.untold.remove(&l.range);
            }
        }
        self.outbox.untold.iter().filter(|(_, u)| now >= u.until).map(|(r, _)| *r).collect()
    }

    /// A node whose client is shown a write can apply it: cut off from all others, it still reads its own client's writes.
    fn tell_askers(&mut self, answered: &[(RangeId, StoreId)], letters: &[Letter]) {
        for (range, store) in answered {
            let Some(replica) = self.replicas.get(range) else { continue };
            let told = |l: &Letter| match &l.message {
                raft::Message::Append(a) => l.range == *range && l.to.store == *store && a.commit >= replica.commit(),
                _ => false,
            };
            let Some(to) = replica.descriptor().on(*store).filter(|_| !letters.iter().any(told)) else { continue };
            if let Some(told) = replica.group().commit_for(to.replica) {
                marker!("node.commit told with an answer");
                self.outbox.now(*store, &Part::Commit(*range, replica.place(), to, told));
            }
        }
    }

    fn tell_commits(&mut self, ranges: Vec<RangeId>, _now: Tick) {
        for range in ranges {
            self.outbox.untold.remove(&range);
            let Some(replica) = self.replicas.get(&range) else { continue };
            let own = replica.place();
            for to in replica.descriptor().replicas.clone() {
                if to == own {
                    continue;
                }
                if let Some(told) = replica.group().commit_for(to.replica) {
                    marker!("node.commit told without entries");
                    self.outbox.now(to.store, &Part::Commit(range, own, to, told));
                }
            }
        }
    }

    fn count(&mut self, work: &Work<E::View>) {
        let c = &work.sink.counters;
        let k = &mut self.noted.counters;
        k.proposed += c.proposed;
        k.committed += c.committed;
        k.applied += c.applied;
        k.failed += c.failed;
        k.elections_won += c.elections_won;
        k.leaders_seen += c.leaders_seen;
        k.snapshots_installed += c.snapshots_installed;
        k.snapshots_sent += c.snapshots_sent;
        k.reads += c.reads;
        k.read_rounds += c.read_rounds;
    }

    fn next_wake(&self, now: Tick, effects: &Effects<E>) -> Tick {
        if !self.dirty.is_empty() && effects.write.is_none() {
            return now;
        }
        let stop = if self.clock.stopping.is_some() { now + Tick::ms(10) } else { Tick::FAR };
        [
            self.liveness.next_wake(),
            self.deadlines.first(),
            self.fetches.next_wake(),
            self.calls.next_wake(),
            self.snapshots.next_wake(),
            self.outbox.next_wake(),
            self.writes.held.next_wake(),
            self.revisions.closing.next_wake(now),
            self.clock.next_sweep,
            stop,
        ]
        .into_iter()
        .fold(Tick::FAR, Tick::min)
    }
}

impl<E: Engine> Effects<E> {
    /// Nothing yet.
    pub fn empty() -> Effects<E> {
        Effects {
            frames: Vec::new(),
            write: None,
            replies: Vec::new(),
            leased: Vec::new(),
            reads: Vec::new(),
            snapshots: Vec::new(),
            bound: None,
            wake: Tick::FAR,
            awaits_disk: false,
            samples: Vec::new(),
            revision: Revision::ZERO,
            status: None,
            failed: None,
            stopped: false,
        }
    }
}

//! What the checkers are shown: batches on their way to a disk, nodes after a step, the end.

use super::{SEC, World};
use crate::check::{
    Healed, HealedRange, History, NodeView, RangeView, Version, Violation, check_liveness, check_revisions, check_wgl,
};
use crate::report::Part;
use base::{Descriptor, Index, RangeId, Term};
use bytes::Bytes;
use engine::{Batch, Cf, Op, Read, keys};
use mvcc::{KeyValue, Record};
use node::frame::{Frame, Part as FramePart};
use node::{Founding, Outgoing};
use raft::Message;
use range::snapshot::state_span;
use range::state::Applied;
use std::collections::BTreeMap;

/// Term, whether it leads, its log's state and four indexes, as last seen of one replica.
type Seen = (Term, bool, u64, [Index; 4]);

/// What is remembered to be shown.
pub(super) struct Witness {
    ranges: Vec<Descriptor>,
    /// Per host and range: a chain of hashes over everything applied, and where it stands.
    chains: BTreeMap<(usize, RangeId), (Index, u64)>,
    /// The chain at each position that any replica stopped at: a restarted or restored one goes on from there.
    stations: BTreeMap<RangeId, BTreeMap<Index, u64>>,
    applied: BTreeMap<(usize, RangeId), Applied>,
    /// The last view of each replica, without what is constant.
    seen: BTreeMap<(usize, RangeId), Seen>,
    /// How far each replica takes its log to be written, and in which term it does.
    written: BTreeMap<(usize, RangeId), (Term, Index)>,
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn fold(h: u64, bytes: &[u8]) -> u64 {
    let mut h = h ^ bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        h = (h ^ u64::from_le_bytes(word)).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(29);
    }
    h
}

impl Witness {
    pub fn new(founding: &Founding) -> Witness {
        Witness {
            ranges: founding.ranges(),
            chains: BTreeMap::new(),
            stations: BTreeMap::new(),
            applied: BTreeMap::new(),
            seen: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    fn range_of(&self, key: &base::Key) -> Option<RangeId> {
        self.ranges.iter().find(|d| d.span.contains(key)).map(|d| d.id)
    }

    fn stir(&mut self, host: usize, range: RangeId, key: &[u8], value: &[u8]) {
        if let Some((_, h)) = self.chains.get_mut(&(host, range)) {
            *h = fold(fold(*h, key), value);
        }
    }

    /// A replica stands at a new position: its chain ends here, or is taken up again from another's.
    fn station(&mut self, host: usize, range: RangeId, applied: Applied) {
        self.applied.insert((host, range), applied);
        let known = self.stations.entry(range).or_default();
        match self.chains.get_mut(&(host, range)) {
            Some((at, h)) => {
                *at = applied.index;
                known.entry(applied.index).or_insert(*h);
            }
            None => {
                if let Some(h) = known.get(&applied.index) {
                    self.chains.insert((host, range), (applied.index, *h));
                }
            }
        }
    }
}

/// A version as the checkers want it.
pub(super) fn version(key: &[u8], value: &Bytes) -> Option<Version> {
    let (key, revision) = keys::split_version(key).ok()?;
    let record = Record::decode(value).ok()?;
    let kv = record.value.map(|value| KeyValue {
        key: key.clone(),
        create: record.create,
        modified: revision,
        version: record.version,
        value,
        lease: record.lease,
    });
    Some(Version { key, revision, sub: Some(record.sub), kv })
}

impl World<'_> {
    /// A batch is handed to the writer: what it applies is committed, or the node is wrong.
    pub(super) fn witness_batch(&mut self, i: usize, batch: &Batch) {
        let store = self.hosts[i].store;
        for op in batch.ops() {
            let (key, value) = match op {
                Op::Put(Cf::Data, key, value) => (key, value.clone()),
                Op::Delete(Cf::Data, key) => (key, Bytes::new()),
                _ => continue,
            };
            match key.first() {
                Some(&keys::data::MVCC) => {
                    let Some(v) = version(key, &value) else { continue };
                    if let Some(range) = self.witness.range_of(&v.key) {
                        self.witness.stir(i, range, key, &value);
                    }
                    let verdict = self.invariants.version(store, v);
                    self.judge(verdict);
                }
                Some(&keys::data::PLAIN) => self.witness.stir(i, RangeId::META, key, &value),
                Some(&keys::data::LOCAL) => self.witness_applied(i, key, value),
                _ => {}
            }
        }
    }

    fn witness_applied(&mut self, i: usize, key: &[u8], value: Bytes) {
        if key.get(9) == Some(&keys::local::APPLIED)
            && let (Ok(range), Ok(applied)) = (keys::local_range(key), Applied::decode(value))
        {
            self.witness.station(i, range, applied);
        }
    }

    /// A snapshot went in: the replica stands where its sender stood.
    pub(super) fn witness_ingest(&mut self, i: usize, then: &Batch) {
        for op in then.ops() {
            if let Op::Put(Cf::Data, key, value) = op
                && key.first() == Some(&keys::data::LOCAL)
                && key.get(9) == Some(&keys::local::APPLIED)
                && let Ok(range) = keys::local_range(key)
            {
                self.witness.chains.remove(&(i, range));
                self.witness_applied(i, key, value.clone());
            }
        }
    }

    /// Received records of a snapshot.
    pub(super) fn witness_records(&mut self, i: usize, mut records: Bytes) {
        while let Ok((key, value)) = node::boot::get_record(&mut records) {
            if key.first() == Some(&keys::data::MVCC)
                && let Some(v) = version(&key, &value)
            {
                let verdict = self.invariants.version(self.hosts[i].store, v);
                self.judge(verdict);
            }
        }
    }

    /// A node has read its disk back: is what it promised still there?
    pub(super) fn witness_start(&mut self, i: usize) {
        let store = self.hosts[i].store;
        let Some(node) = &self.hosts[i].node else { return };
        let of = |r: &range::Replica<engine::mem::MemView>| {
            let group = r.group();
            (r.descriptor().id, r.applied(), (group.term(), group.last().0), group.vote())
        };
        let found: Vec<_> = node.replicas().map(of).collect();
        for (range, applied, durable, vote) in found {
            if self.hosts[i].life <= self.hosts.len() as u64 {
                // Founded alike everywhere: chains begin here.
                self.witness.stations.entry(range).or_default().insert(applied.index, SEED);
            }
            self.witness.chains.remove(&(i, range));
            self.witness.station(i, range, applied);
            let verdict = self.invariants.remembers(store, range, (durable.0, vote));
            self.judge(verdict);
            let verdict = self.invariants.restarted(store, range, durable);
            self.judge(verdict);
        }
        self.look(i);
    }

    pub(super) fn witness_end(&mut self, i: usize) {
        self.witness.seen.retain(|(host, _), _| *host != i);
        self.witness.written.retain(|(host, _), _| *host != i);
    }

    /// A frame leaves: what it says is durable must survive from now on. Of frames that carry more than votes do,
    /// every fourth is read.
    pub(super) fn witness_frame(&mut self, i: usize, frame: &Outgoing) {
        if frame.bytes.len() > 64 && frame.bytes.last().is_none_or(|b| b & 3 != 0) {
            return;
        }
        let store = self.hosts[i].store;
        let Ok(frame) = Frame::decode(frame.bytes.clone()) else { return };
        for part in &frame.parts {
            let FramePart::Letter(letter) = part else { continue };
            match &letter.message {
                Message::AppendAck(ack) => self.invariants.promised(store, letter.range, (ack.term, ack.index)),
                Message::VoteAck(answer) if answer.granted => {
                    let verdict = self.invariants.voted(store, letter.range, (answer.term, letter.to.replica));
                    self.judge(verdict);
                }
                _ => {}
            }
        }
    }

    /// A node has made a step, or its clock changed: every invariant of what is inside.
    pub(super) fn look(&mut self, i: usize) {
        let host = &self.hosts[i];
        let Some(node) = &host.node else { return };
        let (mut ranges, mut begins, mut written) = (Vec::new(), false, Ok(()));
        for r in node.replicas() {
            let (group, id) = (r.group(), r.descriptor().id);
            let until = (group.term(), group.written_index());
            if self.witness.written.insert((i, id), until) != Some(until) && written.is_ok() {
                written = self.invariants.written(host.store, id, &on_disk(&host.disk, id, group));
            }
            let leads = r.leads().is_some();
            let lease = if leads { group.lease(node.liveness().supports()) } else { None };
            let until = lease.map_or(0, |t| host.clock.when(t));
            let cursors = [Index(0), r.applied().index, r.commit(), group.last().0];
            let brief = (group.term(), leads, until, cursors);
            if self.witness.seen.get(&(i, id)) == Some(&brief) {
                continue;
            }
            let before = self.witness.seen.insert((i, id), brief);
            begins |= leads && before.is_none_or(|b| !b.1 || b.0 != brief.0);
            let from = before.map_or(cursors[2], |b| b.3[2]).next().max(group.memory_from());
            let applied = self.witness.applied.get(&(i, id)).copied();
            let chain = self.witness.chains.get(&(i, id)).filter(|(at, _)| *at == r.applied().index);
            ranges.push(RangeView {
                range: id,
                replica: r.place().replica,
                span: r.descriptor().span.clone(),
                epoch: r.descriptor().epoch,
                term: group.term(),
                leads,
                lease_until: until,
                cursors,
                committed: committed(group, from, applied),
                // What depends on where a batch ended stays out of the chain itself.
                state_hash: chain.zip(applied).map(|((_, h), a)| fold(*h, &a.encode())),
            });
        }
        if ranges.is_empty() {
            return self.judge(written);
        }
        if self.events.is_multiple_of(64) {
            node.check();
        }
        // One call may pass the bound, and what was let in may be routed anew.
        let most = self.options.flags.queue_bytes + (16 << 10);
        let view = NodeView { store: host.store, ranges, queued: (node.queued_bytes(), most) };
        let verdict = written.and(self.invariants.stepped(self.now, &view));
        self.judge(verdict);
        if begins {
            self.begins_to_lead(i);
        }
    }

    /// What is left of a node's life is added to the table.
    pub(super) fn count_life(&mut self, i: usize) {
        let Some(node) = &self.hosts[i].node else { return };
        let c = node.status().counters;
        for (name, n) in [
            ("elections", c.elections_won),
            ("entries committed", c.committed),
            ("entries applied", c.applied),
            ("snapshots sent", c.snapshots_sent),
            ("snapshots installed", c.snapshots_installed),
            ("quorum reads", c.read_rounds),
        ] {
            self.totals.add(Part::Protocol, name, n);
        }
    }

    /// The end: every judge that needs the whole.
    pub(super) fn last_judgement(&mut self, history: &History) -> Result<(), Violation> {
        for i in 0..self.hosts.len() {
            self.count_life(i);
        }
        let summary = check_revisions(history, &self.rules)?;
        self.totals.add(Part::Checks, "operations", summary.checked);
        self.totals.add(Part::Checks, "revisions owned", summary.owned);
        self.totals.add(Part::Checks, "unknown resolved", summary.resolved);
        self.totals.add(Part::Checks, "burnt numbers", summary.holes);
        if history.ops.len() < 120 {
            match check_wgl(history, &self.rules, 20_000)? {
                crate::check::Verdict::Linearizable(n) => self.totals.add(Part::Checks, "searched", n as u64),
                _ => self.totals.add(Part::Size, "search given up", 1),
            }
        } else {
            self.totals.add(Part::Checks, "searched", 0);
        }
        let lost = self.hosts.iter().filter(|h| h.lost).count();
        if lost > 0 {
            // Without a quorum of the founding nothing can be demanded.
            return Ok(());
        }
        let (unanswered, served) = self.clients.left(self.faults.deaf);
        let healed = Healed { ranges: self.healed_ranges(), unanswered, served };
        self.totals.add(Part::Checks, "heals", 1);
        check_liveness(&healed, &self.rules)
    }

    pub(super) fn some_leader_is_on_its_way(&self) -> bool {
        !self.healed_ranges().iter().all(HealedRange::is_settled)
    }

    fn healed_ranges(&self) -> Vec<HealedRange> {
        let mut out = Vec::new();
        for d in &self.witness.ranges {
            let mut range = HealedRange { range: d.id, leaders: Vec::new(), replicas: Vec::new() };
            for (i, host) in self.hosts.iter().enumerate() {
                let Some(node) = host.node.as_ref().filter(|_| self.faults.deaf != Some(i)) else { continue };
                for r in node.replicas().filter(|r| r.descriptor().id == d.id) {
                    if r.leads().is_some() {
                        range.leaders.push(host.store);
                    }
                    let leader = r.group().leader().map(|m| m.store);
                    range.replicas.push((host.store, leader, r.applied().index, newest_hash(&host.disk, d)));
                }
            }
            out.push(range);
        }
        out
    }

    /// How long the run was, for whoever waits.
    pub(super) fn simulated(&self) -> u64 {
        self.now - 1_000 * SEC
    }
}

/// Positions that are committed, and the terms there: what was applied last, and what is new since `from` and in memory.
fn committed(group: &raft::Group, from: Index, applied: Option<Applied>) -> Vec<(Index, Term)> {
    let mut all: Vec<(Index, Term)> = applied.map(|a| (a.index, a.term)).into_iter().collect();
    all.extend((from.0..=group.commit().0).filter_map(|n| Some((Index(n), group.term_at(&NoDisk, Index(n))?))));
    all
}

/// The last entry that a replica takes to be written, as far as memory still has it, beside the term that the disk has
/// there.
fn on_disk(disk: &engine::mem::Mem, range: RangeId, group: &raft::Group) -> Option<(Index, Term, Option<Term>)> {
    let index = group.written_index();
    let ours = group.term_at(&NoDisk, index).filter(|_| index >= group.memory_from())?;
    let there = disk.get(Cf::Log, &keys::entry(range, index)).ok()?;
    Some((index, ours, there.and_then(|mut bytes| raft::Entry::decode(&mut bytes).ok()).map(|e| e.term)))
}

/// What is looked at is in memory, or is not looked at.
struct NoDisk;

impl raft::LogRead for NoDisk {
    fn term(&self, _: Index) -> Option<Term> {
        None
    }
    fn entries(&self, _: Index, _: Index, _: usize) -> base::Result<Vec<raft::Entry>> {
        Ok(Vec::new())
    }
}

/// A hash over the newest version of each key of a range: what must be equal whatever was compacted.
fn newest_hash(disk: &engine::mem::Mem, d: &Descriptor) -> u64 {
    let (from, to) = state_span(d);
    let (mut h, mut last) = (SEED, Bytes::new());
    for (key, value) in disk.records(Cf::Data) {
        if key < from || key >= to {
            continue;
        }
        let name = keys::prefix_len(&key).map_or(key.clone(), |n| key.slice(..n));
        if name != last {
            // A delete mark may be gone on one store and still there on another.
            if d.id == RangeId::META || mvcc::record::is_live(&value).unwrap_or(true) {
                h = fold(fold(h, &key), &value);
            }
            last = name;
        }
    }
    h
}

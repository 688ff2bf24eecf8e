//! What must hold inside the nodes after every step.
//!
//! The world shows a [`NodeView`] of the node that has just made a step (only what changed may be left out of it), and
//! tells of crashes and of versions on their way to a disk. Everything is remembered across nodes and restarts, so
//! that two nodes which never meet are still compared.

use super::{Rule, Rules, Version, Violation};
use base::{Epoch, Index, Key, RangeId, ReplicaId, Revision, Span, StoreId, Term};
use mvcc::KeyValue;
use std::collections::BTreeMap;

/// One node after a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeView {
    /// Which node.
    pub store: StoreId,
    /// Its replicas; those that did not change since the last view may be missing.
    pub ranges: Vec<RangeView>,
    /// Bytes waiting inside the node, and their bound.
    pub queued: (usize, usize),
}

/// One replica after a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeView {
    pub range: RangeId,
    pub replica: ReplicaId,
    pub span: Span,
    pub epoch: Epoch,
    pub term: Term,
    /// Does it lead in `term`?
    pub leads: bool,
    /// Until when it may answer alone, in true time; 0 when it holds no lease.
    pub lease_until: u64,
    /// Truncated, applied, committed and last index, in this order.
    pub cursors: [Index; 4],
    /// Positions that are committed, and the terms of the entries there, as far as they are new and known.
    pub committed: Vec<(Index, Term)>,
    /// Hash of the whole replicated state at `cursors[1]`, where known.
    pub state_hash: Option<u64>,
}

/// What is remembered of one range over all nodes.
#[derive(Default)]
struct RangeMemory {
    leaders: BTreeMap<Term, StoreId>,
    hashes: BTreeMap<Index, (u64, StoreId)>,
    committed: BTreeMap<Index, (Term, StoreId)>,
    leases: BTreeMap<StoreId, u64>,
    replicas: BTreeMap<StoreId, RangeView>,
    /// Per store: what it has said is on its disk: its term, and its log in that term up to an index.
    durable: BTreeMap<StoreId, (Term, Index)>,
    /// Per store: its last vote that left it.
    votes: BTreeMap<StoreId, (Term, ReplicaId)>,
}

/// So often at most does a node wake itself within [`WINDOW`]: every deadline it keeps is milliseconds away.
const MOST_WAKES: u32 = 2_000;
/// In nanoseconds of true time.
const WINDOW: u64 = 250_000_000;

/// Checker 5. Feed it after every step.
pub struct Invariants {
    rules: Rules,
    ranges: BTreeMap<RangeId, RangeMemory>,
    versions: BTreeMap<(Key, Revision), (Option<u32>, Option<KeyValue>)>,
    issued: Revision,
    /// Per store: since when its steps without input are counted, and how many there were.
    wakes: BTreeMap<StoreId, (u64, u32)>,
    checked: u64,
}

impl Invariants {
    /// Nothing seen yet.
    pub fn new(rules: Rules) -> Invariants {
        Invariants {
            rules,
            ranges: BTreeMap::new(),
            versions: BTreeMap::new(),
            issued: Revision::FIRST,
            wakes: BTreeMap::new(),
            checked: 0,
        }
    }
    /// How many comparisons were made.
    pub fn checked(&self) -> u64 {
        self.checked
    }
    /// Every version that was ever on its way to a disk as applied state: the final history for `check_revisions`.
    pub fn versions(&self) -> Vec<Version> {
        let all = self.versions.iter();
        all.map(|((key, revision), (sub, kv))| {
            let (key, kv) = (key.clone(), kv.clone());
            Version { key, revision: *revision, sub: *sub, kv }
        })
        .collect()
    }

    /// The node stopped: its leases are nobody's.
    pub fn stopped(&mut self, store: StoreId) {
        for memory in self.ranges.values_mut() {
            memory.leases.remove(&store);
            memory.replicas.remove(&store);
        }
    }

    /// The node's disk is gone on purpose: it has promised nothing.
    pub fn wiped(&mut self, store: StoreId) {
        self.stopped(store);
        for memory in self.ranges.values_mut() {
            memory.durable.remove(&store);
            memory.votes.remove(&store);
        }
    }

    /// A node told another that its term and log reach this far: from now on they must.
    pub fn promised(&mut self, store: StoreId, range: RangeId, durable: (Term, Index)) {
        let promised = self.ranges.entry(range).or_default().durable.entry(store).or_insert(durable);
        *promised = (*promised).max(durable);
    }

    /// A replica takes its log to be written up to this index, where memory has an entry of one term, and its disk has
    /// another one, or none.
    pub fn written(
        &mut self,
        store: StoreId,
        range: RangeId,
        found: &Option<(Index, Term, Option<Term>)>,
    ) -> Result<(), Violation> {
        self.checked += 1;
        match found {
            Some((index, ours, there)) if *there != Some(*ours) => self.rules.broken(Rule::DurableStays, || {
                let there = there.map_or("nothing".to_string(), |term| format!("{index}@{term}"));
                format!("{store} {range} takes {index}@{ours} to be written, its disk has {there}")
            }),
            _ => Ok(()),
        }
    }

    /// A node gave this replica its vote in this term: it has no other to give, now or after a restart.
    pub fn voted(&mut self, store: StoreId, range: RangeId, vote: (Term, ReplicaId)) -> Result<(), Violation> {
        self.checked += 1;
        let before = self.ranges.entry(range).or_default().votes.insert(store, vote);
        match before.filter(|b| b.0 == vote.0 && b.1 != vote.1) {
            Some(b) => self.rules.broken(Rule::OneVotePerTerm, || {
                format!("{store} {range} votes for {} in term {}, and did for {}", vote.1, vote.0, b.1)
            }),
            None => Ok(()),
        }
    }

    /// A node came back: does it know how it voted?
    pub fn remembers(
        &mut self,
        store: StoreId,
        range: RangeId,
        found: (Term, Option<ReplicaId>),
    ) -> Result<(), Violation> {
        self.checked += 1;
        let Some(&(term, vote)) = self.ranges.entry(range).or_default().votes.get(&store) else { return Ok(()) };
        if found.0 < term || (found.0 == term && found.1 != Some(vote)) {
            self.rules.broken(Rule::OneVotePerTerm, || {
                format!("{store} {range} voted for {vote} in term {term} and came back with {found:?}")
            })?;
        }
        Ok(())
    }

    /// A node came back: is what it promised still there?
    pub fn restarted(&mut self, store: StoreId, range: RangeId, found: (Term, Index)) -> Result<(), Violation> {
        self.checked += 1;
        let Some(&promised) = self.ranges.entry(range).or_default().durable.get(&store) else { return Ok(()) };
        // A later term may have taken entries away again.
        if found < promised {
            self.rules.broken(Rule::DurableStays, || {
                format!(
                    "{store} {range} promised {}@{} and came back with {}@{}",
                    promised.1, promised.0, found.1, found.0
                )
            })?;
        }
        Ok(())
    }

    /// The sequencer gave out numbers up to this one.
    pub fn issued(&mut self, revision: Revision) {
        self.issued = self.issued.max(revision);
    }

    /// A version goes to a disk as applied state.
    pub fn version(&mut self, store: StoreId, v: Version) -> Result<(), Violation> {
        self.checked += 1;
        let rules = self.rules;
        match self.versions.get(&(v.key.clone(), v.revision)) {
            Some(before) if (before.0, &before.1) != (v.sub, &v.kv) => {
                rules.broken(Rule::SameVersion, || format!("{store} writes {v}, another store wrote {before:?}"))
            }
            Some(_) => Ok(()),
            None => {
                let sound = v.kv.as_ref().is_none_or(|kv| {
                    kv.modified == v.revision && kv.create <= kv.modified && kv.version > 0 && kv.key == v.key
                });
                let verdict = match sound {
                    true => Ok(()),
                    false => rules.broken(Rule::SameVersion, || format!("{store} writes nonsense: {v}")),
                };
                self.versions.insert((v.key, v.revision), (v.sub, v.kv));
                verdict
            }
        }
    }

    /// A node makes a step at this true time although nothing has come: it woke itself.
    pub fn woke(&mut self, now: u64, store: StoreId) -> Result<(), Violation> {
        self.checked += 1;
        let (since, count) = self.wakes.entry(store).or_insert((now, 0));
        if now >= *since + WINDOW {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count <= MOST_WAKES {
            return Ok(());
        }
        let (passed, count) = (now - *since, std::mem::take(count));
        self.rules.broken(Rule::NodesSleep, || format!("{store} woke itself {count} times in {passed} ns"))
    }

    /// A node has made a step at this true time.
    pub fn stepped(&mut self, now: u64, node: &NodeView) -> Result<(), Violation> {
        if node.queued.0 > node.queued.1 {
            let (n, bound) = node.queued;
            self.rules.broken(Rule::QueuesBounded, || format!("{}: {n} bytes wait, {bound} may", node.store))?;
        }
        for view in &node.ranges {
            self.one_range(now, node.store, view)?;
        }
        self.spans(node)
    }

    fn one_range(&mut self, now: u64, store: StoreId, view: &RangeView) -> Result<(), Violation> {
        let rules = self.rules;
        let memory = self.ranges.entry(view.range).or_default();
        if memory.replicas.get(&store) == Some(view) {
            return Ok(());
        }
        self.checked += 8;
        let at = |text: String| format!("{store} {}: {text}", view.range);
        let [truncated, applied, committed, last] = view.cursors;
        if !(truncated <= applied && applied <= committed && committed <= last) {
            rules.broken(Rule::CursorsInOrder, || {
                at(format!("truncated {truncated} applied {applied} committed {committed} last {last}"))
            })?;
        }
        if let Some(promised) = memory.durable.get(&store).filter(|promised| (view.term, last) < **promised) {
            // A later term may have taken entries away again; this one has not.
            rules
                .broken(Rule::DurableStays, || at(format!("promised {}@{}, ends at {last}", promised.1, promised.0)))?;
        }
        if let Some(before) = memory.replicas.get(&store) {
            let fell = view.replica == before.replica
                && (view.term < before.term
                    || view.epoch < before.epoch
                    || (0..3).any(|i| view.cursors[i] < before.cursors[i]));
            if fell {
                rules.broken(Rule::NothingGoesBack, || at(format!("from {before:?} to {view:?}")))?;
            }
        }
        if view.leads {
            let leader = *memory.leaders.entry(view.term).or_insert(store);
            if leader != store {
                rules.broken(Rule::OneLeaderPerTerm, || at(format!("leads term {} as {leader} did", view.term)))?;
            }
        }
        if view.lease_until > now {
            memory.leases.insert(store, view.lease_until);
            if let Some((other, until)) = memory.leases.iter().find(|(s, until)| **s != store && **until > now) {
                rules.broken(Rule::OneLeaseHolder, || {
                    at(format!("holds the lease until {}, {other} until {until}, now {now}", view.lease_until))
                })?;
            }
        } else {
            memory.leases.remove(&store);
        }
        for &(index, term) in &view.committed {
            let (before, other) = *memory.committed.entry(index).or_insert((term, store));
            if before != term {
                rules.broken(Rule::SameEntry, || at(format!("committed {index}@{term}, {other} has @{before}")))?;
            }
        }
        if let Some(hash) = view.state_hash {
            let (before, other) = *memory.hashes.entry(applied).or_insert((hash, store));
            if before != hash {
                rules.broken(Rule::SameState, || at(format!("at {applied} the state differs from that of {other}")))?;
            }
        }
        memory.replicas.insert(store, view.clone());
        Ok(())
    }

    fn spans(&mut self, node: &NodeView) -> Result<(), Violation> {
        if node.ranges.is_empty() {
            return Ok(());
        }
        let mine = self.ranges.values().filter_map(|m| m.replicas.get(&node.store));
        let mut spans: Vec<(&Span, RangeId)> =
            mine.map(|v| (&v.span, v.range)).filter(|(s, _)| !s.is_empty()).collect();
        spans.sort();
        self.checked += 1;
        for pair in spans.windows(2) {
            if pair[0].0.overlaps(pair[1].0) {
                let store = node.store;
                self.rules.broken(Rule::SpansDisjoint, || {
                    format!("{store}: {} of {} and {} of {} overlap", pair[0].0, pair[0].1, pair[1].0, pair[1].1)
                })?;
            }
        }
        Ok(())
    }

    /// Do the spans of these ranges, together, hold every key of `all` exactly once?
    pub fn tiles(&mut self, all: &Span, spans: &[Span]) -> Result<(), Violation> {
        self.checked += 1;
        let mut sorted: Vec<&Span> = spans.iter().filter(|s| !s.is_empty()).collect();
        sorted.sort();
        let mut at = &all.start;
        for span in sorted {
            if span.start != *at {
                return self.rules.broken(Rule::SpansDisjoint, || format!("the tiling breaks at {at}: {span}"));
            }
            at = &span.end;
        }
        if *at == all.end {
            return Ok(());
        }
        self.rules.broken(Rule::SpansDisjoint, || format!("nobody has the keys from {at} on"))
    }
}

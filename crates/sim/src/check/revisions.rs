//! Strict serializability, anchored at revisions.
//!
//! Replies carry the revision at which they hold, so nothing has to be searched for: the versions found on disk in the
//! end give the state at every revision, each answer is compared with the state it claims to describe, and one sweep
//! over time compares the claimed order with the real one. Operations whose outcome is unknown are resolved by the
//! versions: each revision that no acknowledged write owns must be explained by an unknown one of its own (a matching,
//! because two deletes may explain the same revision). O(n log n) as long as few outcomes are unknown.

use super::model::{Effects, MultiVersion, Turn, same_reply};
use super::{Ask, History, Op, Outcome, Rule, Rules, Version, Violation};
use base::error::Refusal;
use base::{Key, Revision};
use mvcc::{Reply, Request};
use std::collections::BTreeMap;

/// What was looked at.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Operations whose answers were compared.
    pub checked: u64,
    /// Revisions whose owner was found.
    pub owned: u64,
    /// Of these, by an operation whose client never learned of it.
    pub resolved: u64,
    /// Numbers that nobody used.
    pub holes: u64,
}

struct Judge<'a> {
    rules: &'a Rules,
    history: &'a History,
    states: MultiVersion,
    /// Places within revisions, where known.
    subs: BTreeMap<(Revision, Key), u32>,
    /// What each revision changed.
    changes: BTreeMap<Revision, Effects>,
    /// Which operation made it (its place in `history.ops`).
    owners: BTreeMap<Revision, usize>,
    /// For each operation: the largest revision that anything shows that returned before it was called.
    floors: Vec<Revision>,
    summary: Summary,
}

/// Judges a whole history.
pub fn check_revisions(history: &History, rules: &Rules) -> Result<Summary, Violation> {
    let mut changes: BTreeMap<Revision, Effects> = BTreeMap::new();
    let mut subs = BTreeMap::new();
    for Version { key, revision, sub, kv } in &history.versions {
        if let Some(sub) = sub {
            subs.insert((*revision, key.clone()), *sub);
        }
        changes.entry(*revision).or_default().insert(key.clone(), kv.clone());
    }
    let mut judge = Judge {
        rules,
        history,
        states: MultiVersion::new(&history.versions),
        subs,
        changes,
        owners: BTreeMap::new(),
        floors: floors(&history.ops),
        summary: Summary::default(),
    };
    judge.answers()?;
    judge.strangers()?;
    judge.real_time()?;
    judge.dense()?;
    judge.compactions()?;
    judge.refusals()?;
    judge.doors()?;
    Ok(judge.summary)
}

/// Per operation, the largest header revision among those that returned before it was called.
fn floors(ops: &[Op]) -> Vec<Revision> {
    let mut returns: Vec<(u64, Revision)> = ops.iter().filter_map(|op| Some((op.ret, op.revision()?))).collect();
    returns.sort_unstable();
    let mut calls: Vec<usize> = (0..ops.len()).collect();
    calls.sort_by_key(|&i| ops[i].call);
    let mut floors = vec![Revision::ZERO; ops.len()];
    let (mut next, mut largest) = (0, Revision::ZERO);
    for i in calls {
        while next < returns.len() && returns[next].0 < ops[i].call {
            largest = largest.max(returns[next].1);
            next += 1;
        }
        floors[i] = largest;
    }
    floors
}

impl Judge<'_> {
    fn op(&self, i: usize) -> &Op {
        &self.history.ops[i]
    }

    /// Every answer describes the state at its revision; every acknowledged effect is there.
    fn answers(&mut self) -> Result<(), Violation> {
        for (i, op) in self.history.ops.iter().enumerate() {
            let (Ask::Kv(request), Outcome::Ok(revision, Some(reply))) = (&op.ask, &op.outcome) else { continue };
            self.summary.checked += 1;
            let effective = op.is_effective();
            let before = if effective { revision.prev() } else { *revision };
            let state = self.states.at(before);
            let rule = if effective { Rule::ResultsMatch } else { Rule::ReadsMatch };
            let (want, effects, places) = match Turn::run_in_order(&state, *revision, request) {
                Ok(done) => done,
                Err(refusal) => {
                    self.rules.broken(rule, || format!("should have been refused as {refusal:?}: {op}"))?;
                    continue;
                }
            };
            if !same_reply(&state, request, &want, reply) {
                self.rules.broken(rule, || format!("the state at {before} says {want:?}: {op}"))?;
            }
            if effective {
                let found = self.changes.get(revision);
                if found != Some(&effects) {
                    self.rules.broken(Rule::AckedStays, || format!("disk says {}: {op}", changes_line(found)))?;
                }
                self.in_order(*revision, &places, op)?;
                if let Some(other) = self.owners.insert(*revision, i) {
                    let other = self.op(other);
                    self.rules.broken(Rule::AppliedOnce, || format!("one revision, two owners: {op} and {other}"))?;
                }
            }
        }
        Ok(())
    }

    /// What one revision did is in the order of its operations, then of its keys.
    fn in_order(&self, revision: Revision, places: &BTreeMap<Key, u32>, op: &Op) -> Result<(), Violation> {
        let mut subs: Vec<(u32, u32)> = places
            .iter()
            .filter_map(|(key, place)| Some((*place, *self.subs.get(&(revision, key.clone()))?)))
            .collect();
        subs.sort_unstable();
        if subs.windows(2).all(|w| (w[0].0 == w[1].0) == (w[0].1 == w[1].1) && w[0].1 <= w[1].1) {
            return Ok(());
        }
        self.rules.broken(Rule::SubOrder, || format!("(operation, place on disk) are {subs:?}: {op}"))
    }

    /// Every revision that no acknowledged write owns was made by one whose outcome is unknown, each by another one.
    fn strangers(&mut self) -> Result<(), Violation> {
        let unknown: Vec<usize> = (0..self.history.ops.len()).filter(|&i| self.may_have_happened(i)).collect();
        let mut revisions: Vec<(Revision, Vec<usize>)> = Vec::new();
        for (&revision, effects) in &self.changes {
            if self.owners.contains_key(&revision) {
                continue;
            }
            let fit: Vec<usize> = unknown.iter().copied().filter(|&i| self.explains(i, revision, effects)).collect();
            if fit.is_empty() {
                let line = changes_line(Some(effects));
                let denied = |op: &Op| matches!(op.outcome, Outcome::Failed | Outcome::Refused(_));
                let mut all = 0..self.history.ops.len();
                if let Some(i) = all.find(|&i| denied(self.op(i)) && self.explains(i, revision, effects)) {
                    let op = self.op(i);
                    self.rules.broken(Rule::RefusedLeavesNothing, || format!("{revision} is there: {op}"))?;
                }
                self.rules.broken(Rule::NoneFromNowhere, || format!("nobody asked for {revision}: {line}"))?;
            }
            revisions.push((revision, fit));
        }
        let matched = self.matching(&mut revisions)?;
        self.summary.resolved += matched.len() as u64;
        self.owners.extend(matched);
        self.summary.owned = self.owners.len() as u64;
        Ok(())
    }

    fn may_have_happened(&self, i: usize) -> bool {
        let op = self.op(i);
        let writes = matches!(&op.ask, Ask::Kv(request) if request.can_write());
        writes
            && match op.outcome {
                Outcome::Unknown => true,
                Outcome::Failed | Outcome::Refused(_) => !self.rules.has(Rule::RefusedLeavesNothing),
                Outcome::Ok(..) => !self.rules.has(Rule::AppliedOnce),
            }
    }

    fn explains(&self, i: usize, revision: Revision, effects: &Effects) -> bool {
        let Ask::Kv(request) = &self.op(i).ask else { return false };
        if self.rules.has(Rule::RealTime) && self.floors[i] >= revision {
            return false;
        }
        let mut touches = false;
        if let Some((key, _)) = effects.first_key_value() {
            request.spans(&mut |span, written| touches |= written && span.contains(key));
        }
        touches
            && Turn::run(&self.states.at(revision.prev()), revision, request).is_ok_and(|(_, made)| made == *effects)
    }

    /// Gives each of these revisions an operation of its own among those that explain it (augmenting paths).
    fn matching(&self, revisions: &mut [(Revision, Vec<usize>)]) -> Result<BTreeMap<Revision, usize>, Violation> {
        // The narrowest first: most have exactly one explanation.
        revisions.sort_by_key(|(r, fit)| (fit.len(), *r));
        let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
        for n in 0..revisions.len() {
            if !revisions[n].1.is_empty() && !augment(n, revisions, &mut taken, &mut Vec::new()) {
                let (revision, fit) = &revisions[n];
                let op = self.op(fit[0]);
                self.rules.broken(Rule::AppliedOnce, || format!("{revision} was made a second time by {op}"))?;
            }
        }
        Ok(taken.into_iter().map(|(op, n)| (revisions[n].0, op)).collect())
    }

    /// Whatever returned before an operation was called is ordered before it.
    fn real_time(&self) -> Result<(), Violation> {
        let late = |i: usize| {
            let (op, floor) = (self.op(i), self.floors[i]);
            self.rules.broken(Rule::RealTime, || format!("{floor} had been shown before this was asked: {op}"))
        };
        for (i, op) in self.history.ops.iter().enumerate() {
            let Some(revision) = op.revision() else { continue };
            let bad = match (op.is_effective(), op.is_serializable()) {
                (true, _) => revision <= self.floors[i],
                (false, false) => revision < self.floors[i],
                (false, true) => false,
            };
            if bad {
                late(i)?;
            }
        }
        self.owners.iter().filter(|(r, i)| **r <= self.floors[**i]).try_for_each(|(_, i)| late(*i))
    }

    /// Numbers follow each other, except where something broke.
    fn dense(&mut self) -> Result<(), Violation> {
        let mut last = (Revision::FIRST, 0);
        for &revision in self.changes.keys() {
            let (call, ret) = self.owners.get(&revision).map_or((0, u64::MAX), |&i| (self.op(i).call, self.op(i).ret));
            if revision > last.0.next() {
                self.summary.holes += revision.0 - last.0.0 - 1;
                let excused = self.history.disruptions.iter().any(|&(from, to)| from <= ret && last.1 <= to);
                if !excused {
                    let before = last.0;
                    self.rules.broken(Rule::Dense, || format!("nothing happened between {before} and {revision}"))?;
                }
            }
            last = (revision, call);
        }
        Ok(())
    }

    /// Old revisions are served until they are compacted, and not afterwards.
    fn compactions(&self) -> Result<(), Violation> {
        let mut done: Vec<(u64, Revision)> = Vec::new();
        let mut asked: Vec<(u64, Revision)> = Vec::new();
        for op in &self.history.ops {
            let Ask::Compact(r) = op.ask else { continue };
            match op.outcome {
                Outcome::Ok(..) => {
                    done.push((op.ret, r));
                    asked.push((op.call, r));
                }
                Outcome::Unknown => asked.push((op.call, r)),
                _ => {}
            }
        }
        let largest = |list: &[(u64, Revision)], before: u64| {
            list.iter().filter(|(t, _)| *t < before).map(|(_, r)| *r).max().unwrap_or_default()
        };
        for op in &self.history.ops {
            match (&op.ask, &op.outcome) {
                (Ask::Kv(request), Outcome::Ok(header, reply)) => {
                    let bound = largest(&done, op.call);
                    let Some((oldest, newest)) = named_revisions(request, reply.as_ref()) else { continue };
                    // An older state may know of no compaction.
                    if oldest < bound && !op.is_serializable() {
                        self.rules.broken(Rule::CompactionHonoured, || format!("{bound} was compacted: {op}"))?;
                    }
                    if newest > *header {
                        self.rules.broken(Rule::RefusalTrue, || format!("served the future: {op}"))?;
                    }
                }
                (Ask::Kv(request), Outcome::Refused(Refusal::Compacted)) => {
                    let bound = largest(&asked, op.ret);
                    if named_revisions(request, None).is_none_or(|(oldest, _)| oldest >= bound) {
                        self.rules.broken(Rule::CompactionHonoured, || format!("only {bound} was compacted: {op}"))?;
                    }
                }
                (Ask::Compact(r), Outcome::Ok(..)) if largest(&done, op.call) >= *r => {
                    self.rules.broken(Rule::CompactionHonoured, || format!("compacted a second time: {op}"))?;
                }
                (Ask::Compact(r), Outcome::Refused(Refusal::Compacted)) if largest(&asked, op.ret) < *r => {
                    self.rules.broken(Rule::CompactionHonoured, || format!("that far nobody compacted: {op}"))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A refusal that depends on the state is true of some state between call and return.
    fn refusals(&self) -> Result<(), Violation> {
        let mut calls: Vec<(u64, Revision)> = self.owners.iter().map(|(r, &i)| (self.op(i).call, *r)).collect();
        calls.sort_unstable();
        for (i, op) in self.history.ops.iter().enumerate() {
            let Outcome::Refused(refusal) = op.outcome else { continue };
            let floor = self.floors[i].max(Revision::FIRST);
            let honest = match (&op.ask, refusal) {
                (Ask::Kv(request), Refusal::KeyNotFound) => {
                    let ceiling = largest_called(&calls, op.ret).max(floor);
                    let mut states = std::iter::once(floor).chain(self.changes.range(floor..=ceiling).map(|(r, _)| *r));
                    states.any(|r| Turn::run(&self.states.at(r), r.next(), request).err() == Some(refusal))
                }
                (Ask::Kv(request), Refusal::FutureRevision) => {
                    named_revisions(request, None).is_some_and(|(_, newest)| newest > floor)
                }
                (Ask::Compact(r), Refusal::FutureRevision) => *r > floor,
                _ => true,
            };
            if !honest {
                self.rules.broken(Rule::RefusalTrue, || format!("not true of any state since {floor}: {op}"))?;
            }
        }
        Ok(())
    }

    /// What one node shows never goes back, not even over a restart.
    fn doors(&self) -> Result<(), Violation> {
        let mut returns: Vec<&Op> =
            self.history.ops.iter().filter(|op| op.revision().is_some() && op.door != 0).collect();
        let mut calls: Vec<&Op> = returns.iter().copied().filter(|op| op.is_serializable()).collect();
        returns.sort_by_key(|op| op.ret);
        calls.sort_by_key(|op| op.call);
        let (mut next, mut shown) = (0, BTreeMap::new());
        for op in calls {
            while next < returns.len() && returns[next].ret < op.call {
                let largest = shown.entry(returns[next].door).or_insert(Revision::ZERO);
                *largest = (*largest).max(returns[next].revision().unwrap_or_default());
                next += 1;
            }
            let before = shown.get(&op.door).copied().unwrap_or_default();
            if op.revision().is_some_and(|r| r < before) {
                self.rules.broken(Rule::NodeKeepsPace, || format!("this node had shown {before} before: {op}"))?;
            }
        }
        Ok(())
    }
}

/// The largest revision whose owner was called before `time`.
fn largest_called(calls: &[(u64, Revision)], time: u64) -> Revision {
    calls.iter().take_while(|(call, _)| *call < time).map(|(_, r)| *r).max().unwrap_or_default()
}

/// The smallest and the largest revision that scans in a request name, if any does; with the answer, only in the
/// branches that it says were taken.
fn named_revisions(request: &Request, reply: Option<&Reply>) -> Option<(Revision, Revision)> {
    let wider = |a: (Revision, Revision), b: (Revision, Revision)| (a.0.min(b.0), a.1.max(b.1));
    match (request, reply) {
        (Request::Range(r), _) if r.revision != Revision::ZERO => Some((r.revision, r.revision)),
        (Request::Txn(t), Some(Reply::Txn(done))) => {
            let ops = if done.succeeded { &t.success } else { &t.failure };
            ops.iter().zip(&done.replies).filter_map(|(op, reply)| named_revisions(op, Some(reply))).reduce(wider)
        }
        (Request::Txn(t), _) => {
            t.success.iter().chain(&t.failure).filter_map(|op| named_revisions(op, None)).reduce(wider)
        }
        _ => None,
    }
}

fn augment(
    n: usize,
    revisions: &[(Revision, Vec<usize>)],
    taken: &mut BTreeMap<usize, usize>,
    seen: &mut Vec<usize>,
) -> bool {
    for &op in &revisions[n].1 {
        if seen.contains(&op) {
            continue;
        }
        seen.push(op);
        let other = taken.get(&op).copied();
        if other.is_none_or(|m| augment(m, revisions, taken, seen)) {
            taken.insert(op, n);
            return true;
        }
    }
    false
}

fn changes_line(changes: Option<&Effects>) -> String {
    let Some(changes) = changes else { return "nothing there".to_string() };
    let one = |(key, kv): (&base::Key, &Option<mvcc::KeyValue>)| match kv {
        None => format!("{key} deleted"),
        Some(kv) => format!("{key} = {} (version {}, created {})", kv.value.escape_ascii(), kv.version, kv.create),
    };
    changes.iter().map(one).collect::<Vec<_>>().join(", ")
}

//! Linearizability by search (Wing & Gong 1993, with Lowe's memory of configurations), ignoring revisions.
//!
//! It asks nothing of the store but answers, so it would notice if the revisions that the other checker leans on were
//! lies that fit together. It is exponential in the worst case: for small histories only.

use super::model::{Flat, Turn, same_reply};
use super::{Ask, History, Op, Outcome, Rule, Rules, Violation};
use base::Revision;
use base::error::Refusal;
use mvcc::{CompareTarget, Filter, KeyValue, Reply, Request, SortTarget};
use std::collections::BTreeSet;

/// How a search ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// An order was found that explains this many operations.
    Linearizable(usize),
    /// The history holds an operation that cannot be judged without revisions.
    NotApplicable,
    /// The search was given up.
    TooLarge,
}

/// One operation, without revisions.
struct Plain<'a> {
    op: &'a Op,
    request: &'a Request,
    /// `None` when the outcome is unknown.
    want: Option<Result<Reply, Refusal>>,
}

struct Search<'a> {
    ops: Vec<Plain<'a>>,
    seen: BTreeSet<(Vec<u64>, Vec<u8>)>,
    budget: u64,
}

/// Searches for an order; at most `budget` configurations are looked at.
pub fn check_wgl(history: &History, rules: &Rules, budget: u64) -> Result<Verdict, Violation> {
    let mut ops = Vec::new();
    for op in &history.ops {
        let Ask::Kv(request) = &op.ask else { continue };
        let want = match &op.outcome {
            Outcome::Ok(_, Some(reply)) => Some(Ok(without_revisions(reply))),
            Outcome::Refused(Refusal::KeyNotFound) => Some(Err(Refusal::KeyNotFound)),
            Outcome::Unknown if request.can_write() => None,
            _ => continue,
        };
        if op.is_serializable() {
            continue;
        }
        if needs_revisions(request) {
            return Ok(Verdict::NotApplicable);
        }
        ops.push(Plain { op, request, want });
    }
    ops.sort_by_key(|p| (p.op.call, p.op.id));
    let n = ops.len();
    let mut search = Search { ops, seen: BTreeSet::new(), budget };
    let done = vec![0u64; n.div_ceil(64)];
    match search.explore(done, Flat::default()) {
        None => Ok(Verdict::TooLarge),
        Some(true) => Ok(Verdict::Linearizable(n)),
        Some(false) => {
            rules.broken(Rule::Linearizable, || format!("no order explains these {n} operations"))?;
            Ok(Verdict::Linearizable(0))
        }
    }
}

impl Search<'_> {
    /// Is there an order for what is not `done` yet? `None` when the budget is spent.
    fn explore(&mut self, done: Vec<u64>, state: Flat) -> Option<bool> {
        let has = |i: usize| done[i / 64] & (1 << (i % 64)) != 0;
        let open: Vec<usize> = (0..self.ops.len()).filter(|&i| !has(i)).collect();
        if open.iter().all(|&i| self.ops[i].want.is_none()) {
            return Some(true);
        }
        if !self.seen.insert((done.clone(), fingerprint(&state))) {
            return Some(false);
        }
        self.budget = self.budget.checked_sub(1)?;
        // Nothing can come next that was called after another open one had returned.
        let known = |p: &Plain| if p.want.is_some() { p.op.ret } else { u64::MAX };
        let first_return = open.iter().map(|&i| known(&self.ops[i])).min().unwrap_or(u64::MAX);
        for i in open {
            if self.ops[i].op.call > first_return {
                break;
            }
            let Some(next) = self.ops[i].apply(&state) else { continue };
            let mut done = done.clone();
            done[i / 64] |= 1 << (i % 64);
            match self.explore(done, next) {
                Some(false) => {}
                found => return found,
            }
        }
        Some(false)
    }
}

impl Plain<'_> {
    /// The state afterwards, if the answer fits this state.
    fn apply(&self, state: &Flat) -> Option<Flat> {
        match (Turn::run(state, Revision::ZERO, self.request), &self.want) {
            (Err(refusal), Some(Err(want))) if refusal == *want => Some(state.clone()),
            (Ok((reply, effects)), want) => {
                match want {
                    Some(Ok(want)) if same_reply(state, self.request, &reply, want) => {}
                    None => {}
                    _ => return None,
                }
                let mut next = state.clone();
                for (key, kv) in effects {
                    match kv {
                        Some(kv) => drop(next.0.insert(key, kv)),
                        None => drop(next.0.remove(&key)),
                    }
                }
                Some(next)
            }
            _ => None,
        }
    }
}

fn fingerprint(state: &Flat) -> Vec<u8> {
    let mut out = Vec::new();
    for kv in state.0.values() {
        base::codec::put_bytes(&mut out, kv.key.bytes());
        base::codec::put_u64(&mut out, kv.version);
        base::codec::put_bytes(&mut out, &kv.value);
    }
    out
}

fn needs_revisions(request: &Request) -> bool {
    match request {
        Request::Put(_) | Request::Delete(_) => false,
        Request::Range(r) => {
            let by_revision = |s: mvcc::Sort| matches!(s.target, SortTarget::Create | SortTarget::Mod);
            r.revision != Revision::ZERO || r.filter != Filter::default() || r.sort.is_some_and(by_revision)
        }
        Request::Txn(t) => {
            t.compares.iter().any(|c| matches!(c.target, CompareTarget::Create(_) | CompareTarget::Mod(_)))
                || t.success.iter().chain(&t.failure).any(needs_revisions)
        }
    }
}

fn without_revisions(reply: &Reply) -> Reply {
    let plain = |kv: &KeyValue| KeyValue { create: Revision::ZERO, modified: Revision::ZERO, ..kv.clone() };
    match reply.clone() {
        Reply::Range(mut r) => {
            r.kvs = r.kvs.iter().map(plain).collect();
            Reply::Range(r)
        }
        Reply::Put(mut p) => {
            p.prev = p.prev.as_ref().map(plain);
            Reply::Put(p)
        }
        Reply::Delete(mut d) => {
            d.prev = d.prev.iter().map(plain).collect();
            Reply::Delete(d)
        }
        Reply::Txn(mut t) => {
            t.replies = t.replies.iter().map(without_revisions).collect();
            Reply::Txn(t)
        }
    }
}

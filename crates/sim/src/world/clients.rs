//! Who asks: clients that pause, ask, wait, lose patience, and remember.

use super::hashes::HASHES;
use super::{Event, MS, World};
use crate::check::{Ask, History, Op, Outcome};
use crate::options::Options;
use crate::report::Part;
use crate::workload::{Verb, Workload};
use base::{CallId, Error, Kind, Revision, Rng};
use node::{ClientAsk, Input};
use range::Answer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All clients of a world.
pub(super) struct Clients {
    workload: Workload,
    ops: Vec<(Op, Verb)>,
    /// Per client: the largest revision it was shown, and the operation it waits for.
    seen: Vec<Revision>,
    waiting: Vec<Option<u64>>,
    /// Calls inside nodes: the operation's number → host and its life.
    inside: BTreeMap<u64, (usize, u64)>,
    /// Nobody asks anything any more.
    pub quiet: bool,
    /// Numbers of operations, in the order in which they were answered.
    pub answers: Vec<u64>,
    /// Operations that must succeed.
    probes: Vec<u64>,
    rng: Rng,
}

impl Clients {
    pub fn new(o: &Options, mut rng: Rng) -> Clients {
        let n = o.clients as usize;
        Clients {
            workload: Workload::new(o, rng.fork()),
            ops: Vec::new(),
            seen: vec![Revision::FIRST; n],
            waiting: vec![None; n],
            inside: BTreeMap::new(),
            quiet: false,
            answers: Vec::new(),
            probes: Vec::new(),
            rng,
        }
    }

    pub fn ops(&self) -> impl Iterator<Item = &Op> {
        self.ops.iter().map(|(op, _)| op)
    }

    /// The largest revision that any client was shown.
    pub fn newest(&self) -> Revision {
        self.seen.iter().copied().max().unwrap_or(Revision::FIRST)
    }

    /// Calls that are still inside a node that lives and hears, each on one line; and of the probes how many there are, and how
    /// many succeeded.
    pub fn left(&self, deaf: Option<usize>) -> (Vec<String>, (u64, u64)) {
        let inside = self.inside.iter().filter(|(_, (host, _))| Some(*host) != deaf);
        let left = inside.map(|(id, _)| self.ops[*id as usize].0.to_string()).collect();
        let good = |id: &&u64| matches!(self.ops[**id as usize].0.outcome, Outcome::Ok(..));
        let good = self.probes.iter().filter(good).count();
        (left, (self.probes.len() as u64, good as u64))
    }
}

impl World<'_> {
    /// A client asks its next question.
    pub(super) fn ask(&mut self, client: usize) {
        let enough = self.clients.ops.len() as u64 >= self.options.most_asked;
        if self.clients.quiet || enough || self.clients.waiting[client].is_some() {
            return;
        }
        let up: Vec<usize> = (0..self.hosts.len()).filter(|i| self.hosts[*i].is_up()).collect();
        if up.is_empty() {
            self.after(100 * MS, Event::Ask(client));
            return;
        }
        let host = *self.clients.rng.pick(&up);
        let (verb, ask) = self.clients.workload.next(self.clients.seen[client]);
        let id = self.call(host, client, verb, ask);
        self.clients.waiting[client] = Some(id);
        let patience = self.options.patience;
        self.after(patience, Event::GiveUp(client, id));
        if verb == Verb::Scan {
            self.overtake(host);
        }
    }

    /// Somebody who knows what all clients know compacts as far as that.
    pub(super) fn compact_now(&mut self) {
        let up: Vec<usize> = (0..self.hosts.len()).filter(|i| self.hosts[*i].is_up()).collect();
        if !up.is_empty() && !self.faults.is_over() {
            let host = *self.clients.rng.pick(&up);
            self.call(host, usize::MAX, Verb::Compact, Ask::Compact(self.clients.newest()));
        }
    }

    /// Hands a question to a node.
    fn call(&mut self, host: usize, client: usize, verb: Verb, ask: Ask) -> u64 {
        let id = self.clients.ops.len() as u64;
        let question = match &ask {
            Ask::Kv(request) => ClientAsk::Kv(Arc::new(request.clone())),
            Ask::Compact(r) => ClientAsk::Compact(*r),
        };
        let (door, local) = (host as u64 + 1, self.hosts[host].clock.read(self.now));
        let op = Op { id, client: client as u64, door, call: self.now, ret: u64::MAX, ask, outcome: Outcome::Unknown };
        let store = self.hosts[host].store;
        self.trace(format_args!("client {client} asks {store}: {op}"));
        self.clients.ops.push((op, verb));
        self.totals.add(Part::Asked, name(verb), 1);
        self.clients.inside.insert(id, (host, self.hosts[host].life));
        let deadline = local + base::Tick(self.options.patience);
        self.input(host, Input::Call(CallId(id), question, deadline));
        id
    }

    /// A node answers.
    pub(super) fn reply(&mut self, host: usize, call: CallId, result: base::Result<range::Outcome>) {
        if call.0 >= HASHES {
            return self.summed(host, call, result);
        }
        let inside = self.clients.inside.remove(&call.0);
        if inside != Some((host, self.hosts[host].life)) {
            let text = format!("{} answers {call}, which it was not asked, or has answered", self.hosts[host].store);
            let verdict = self.rules.broken(crate::check::Rule::AllAnswered, || text);
            self.judge(verdict);
            return;
        }
        let now = self.now;
        let outcome = match result {
            Ok(outcome) => {
                let reply = match outcome.answer {
                    Answer::Kv(reply) => Some(reply),
                    _ => None,
                };
                Outcome::Ok(outcome.revision, reply)
            }
            Err(e) => self.meaning(&e),
        };
        let (op, verb) = &mut self.clients.ops[call.0 as usize];
        if !matches!(outcome, Outcome::Unknown) {
            op.ret = now;
        }
        op.outcome = outcome;
        self.clients.answers.push(call.0);
        let (client, verb) = (op.client as usize, *verb);
        if let Some(r) = op.revision() {
            self.totals.add(Part::Answered, name(verb), 1);
            if verb == Verb::SerializableRead && self.hosts.len() > 1 && self.net.is_cut_off(host) {
                self.totals.add(Part::Answered, "read while cut off", 1);
            }
            if let Some(seen) = self.clients.seen.get_mut(client) {
                *seen = r.max(*seen);
            }
        }
        if verb == Verb::Wrong
            && matches!(self.clients.ops[call.0 as usize].0.outcome, Outcome::Refused(_) | Outcome::Failed)
        {
            self.totals.add(Part::Answered, name(verb), 1);
        }
        if let Some(tracer) = &mut self.tracer {
            tracer(now, format_args!("client {client} hears: {}", self.clients.ops[call.0 as usize].0));
        }
        self.stir(call.0);
        if self.clients.waiting.get(client) == Some(&Some(call.0)) {
            self.clients.waiting[client] = None;
            let think = self.clients.rng.below(self.options.think + 1);
            self.after(think, Event::Ask(client));
        }
    }

    /// What an error tells a client.
    fn meaning(&mut self, e: &Error) -> Outcome {
        let (name, outcome) = match e.kind {
            Kind::Retry => ("told to retry", Outcome::Failed),
            Kind::Elsewhere { .. } => ("told to ask elsewhere", Outcome::Failed),
            Kind::Refused(r) => ("refused", Outcome::Refused(r)),
            Kind::Unimplemented => ("not built yet", Outcome::Failed),
            Kind::Unknown => ("told nothing certain", Outcome::Unknown),
            Kind::Closing => ("node was closing", Outcome::Unknown),
            Kind::Disk => ("disk refused", Outcome::Unknown),
            Kind::Corrupt => ("found corruption", Outcome::Unknown),
        };
        self.totals.add(Part::Size, name, 1);
        outcome
    }

    /// A client no longer waits; what it asked for may still happen.
    pub(super) fn give_up(&mut self, client: usize, id: u64) {
        if self.clients.waiting[client] == Some(id) {
            self.totals.add(Part::Size, "patience lost", 1);
            self.clients.waiting[client] = None;
            self.after(MS, Event::Ask(client));
        }
    }

    /// A node has gone, and with it every call that was inside.
    pub(super) fn calls_lost(&mut self, host: usize) {
        let lost: Vec<u64> = self.clients.inside.iter().filter(|(_, (h, _))| *h == host).map(|(id, _)| *id).collect();
        for id in lost {
            self.clients.inside.remove(&id);
            let client = self.clients.ops[id as usize].0.client as usize;
            if self.clients.waiting.get(client) == Some(&Some(id)) {
                self.clients.waiting[client] = None;
                let pause = self.clients.rng.below(200 * MS);
                self.after(pause, Event::Ask(client));
            }
        }
    }

    /// One write into each range through each node: all must succeed.
    pub(super) fn probe(&mut self) {
        for host in 0..self.hosts.len() {
            for range in 0..self.options.ranges {
                if self.hosts[host].is_up() && self.faults.deaf != Some(host) {
                    let ask = self.clients.workload.probe(range);
                    let id = self.call(host, usize::MAX, Verb::Put, ask);
                    self.clients.probes.push(id);
                }
            }
        }
    }

    /// Everything that was seen, for the judges.
    pub(super) fn history(&self) -> History {
        History {
            ops: self.clients.ops().cloned().collect(),
            versions: self.invariants.versions(),
            disruptions: self.faults.disruptions(&self.options, self.now),
        }
    }
}

pub(super) fn name(verb: Verb) -> &'static str {
    match verb {
        Verb::Put => "put",
        Verb::Get => "get",
        Verb::Scan => "scan",
        Verb::OldRead => "old read",
        Verb::SerializableRead => "serializable read",
        Verb::Delete => "delete",
        Verb::Txn => "txn",
        Verb::ReadTxn => "read-only txn",
        Verb::Compact => "compact",
        Verb::Wrong => "wrong on purpose",
    }
}

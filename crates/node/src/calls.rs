//! Calls of this node's clients that are not simply handled by a local leader: on their way to another node, read in
//! parts over several ranges, or waiting for a leader to be known.

use crate::effects::{ClientAsk, Effects};
use crate::frame::{Ask, Part};
use crate::marks::UPKEEP;
use crate::node::{Node, Work, turn};
use crate::numbers::Wait;
use crate::parts::PartState;
use crate::take::read_ask;
use base::{CallId, Error, Kind, RangeId, Refusal, Result, Revision, Stage, StoreId, Tick, marker};
use engine::Engine;
use mvcc::Request;
use range::{Asked, Command, Origin, Outcome, Sink, Spec, Turn};
use router::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long to wait before asking again when nobody was known to ask.
pub(crate) const PAUSE: Tick = Tick::ms(10);

/// When that is. Everything that waits is tried in the same step: calls that kept times of their own would wake the node
/// a hundred times a second each.
pub(crate) fn after_pause(now: Tick) -> Tick {
    let at = now + PAUSE;
    if base::bug!("every-waiting-call-wakes-the-node") { at } else { Tick(at.0.next_multiple_of(PAUSE.0)) }
}

/// How far a call has come.
#[derive(Debug)]
pub(crate) enum State {
    /// Tried again at this tick.
    Parked(Tick),
    /// Handed to that node whole, at this tick; a write handed out may have happened.
    Away(StoreId, Tick),
    /// Wants X.
    Asking,
    /// Read in parts at one revision.
    Parts { x: Revision, compacted: Revision, parts: Vec<PartState> },
}

#[derive(Debug)]
pub(crate) struct Call {
    pub ask: ClientAsk,
    pub deadline: Tick,
    pub state: State,
    /// A node that was asked named another one before.
    pub misled: bool,
}

impl Call {
    fn weight(&self) -> usize {
        match &self.ask {
            ClientAsk::Kv(request) => range::weight(request),
            ClientAsk::Compact(_) | ClientAsk::Hash(_) => 256,
        }
    }
}

/// All of them.
#[derive(Default, Debug)]
pub(crate) struct Calls {
    pub open: BTreeMap<CallId, Call>,
    /// Parts sent to other nodes travel under ids of their own.
    pub hops: BTreeMap<CallId, (CallId, u32)>,
    pub next_hop: u64,
    bytes: usize,
    /// Ended by a part that failed.
    pub failed: Vec<(CallId, Error)>,
}

/// Ids of hops never meet ids of clients' calls.
const HOPS: u64 = 1 << 62;

impl Calls {
    /// A late reply to a hop of an earlier life must not meet a hop of this one.
    pub fn new(incarnation: base::Incarnation) -> Calls {
        Calls { next_hop: HOPS + (incarnation.0 << 32), ..Calls::default() }
    }

    pub fn put(&mut self, id: CallId, call: Call) {
        self.bytes += call.weight();
        self.open.insert(id, call);
    }

    pub fn take(&mut self, id: &CallId) -> Option<Call> {
        let call = self.open.remove(id)?;
        self.bytes -= call.weight();
        Some(call)
    }

    /// About how much memory they take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// When something here must be tried again.
    pub fn next_wake(&self) -> Tick {
        let wake = |c: &Call| match &c.state {
            State::Parked(t) => (*t).min(c.deadline),
            State::Away(..) | State::Asking => c.deadline,
            State::Parts { parts, .. } => {
                let open = parts.iter().filter(|p| p.done.is_none() && p.asked.is_none());
                let all = parts.iter().all(|p| p.done.is_some());
                if all { Tick::ZERO } else { open.map(|p| p.retry_at).min().unwrap_or(Tick::FAR).min(c.deadline) }
            }
        };
        self.open.values().map(wake).min().unwrap_or(Tick::FAR)
    }

    /// The nodes that calls or parts of calls were handed to.
    pub fn asked(&self) -> BTreeSet<StoreId> {
        let mut out = BTreeSet::new();
        for call in self.open.values() {
            match &call.state {
                State::Away(s, _) => drop(out.insert(*s)),
                State::Parts { parts, .. } => out.extend(parts.iter().filter_map(|p| p.asked)),
                State::Parked(_) | State::Asking => {}
            }
        }
        out
    }

    /// Answers to parts of calls that have ended otherwise mean nothing, and may never come.
    pub fn forget_hops(&mut self) {
        let open = &self.open;
        self.hops.retain(|_, (call, _)| open.contains_key(call));
    }

    /// A node will not answer what was handed to it until then. Reads are asked again; a write may have happened, so its
    /// client is told that nobody knows: it is never sent twice.
    pub fn hop_lost(&mut self, peer: StoreId, until: Tick) -> Vec<(CallId, Result<Outcome>)> {
        let mut lost = Vec::new();
        for (id, call) in &mut self.open {
            match &mut call.state {
                State::Away(s, at) if *s == peer && *at <= until => {
                    if can_write(&call.ask) {
                        lost.push(*id);
                    } else {
                        call.state = State::Parked(Tick::ZERO);
                    }
                }
                State::Parts { parts, .. } => {
                    for p in parts.iter_mut().filter(|p| p.asked == Some(peer) && p.asked_at <= until) {
                        p.asked = None;
                    }
                }
                _ => {}
            }
        }
        let text = "the way to the range's leader was lost while the write was under way";
        lost.into_iter()
            .map(|id| {
                self.take(&id);
                (id, Err(Error::new(Kind::Unknown, text)))
            })
            .collect()
    }
}

fn can_write(ask: &ClientAsk) -> bool {
    match ask {
        ClientAsk::Kv(r) => r.can_write(),
        ClientAsk::Compact(_) => true,
        ClientAsk::Hash(_) => false,
    }
}

impl<E: Engine> Node<E> {
    /// ③ submit: the one door into a node.
    pub(crate) fn take_call(
        &mut self,
        id: CallId,
        ask: ClientAsk,
        deadline: Tick,
        now: Tick,
        sink: &mut Sink<E::View>,
    ) {
        sink.mark(Stage::Submit, 0);
        self.calls.put(id, Call { ask, deadline, state: State::Parked(now), misled: false });
    }

    /// Calls that wait are tried: handled here, handed over, or parked again.
    pub(crate) fn retry_calls(&mut self, now: Tick, work: &mut Work<E::View>, effects: &mut Effects<E>) {
        let due = |c: &Call| match &c.state {
            State::Parked(t) => now >= *t || now >= c.deadline,
            State::Away(..) | State::Asking => now >= c.deadline,
            State::Parts { .. } => true,
        };
        let ids: Vec<CallId> = self.calls.open.iter().filter(|(_, c)| due(c)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(call) = self.calls.open.get_mut(&id) else { continue };
            if now >= call.deadline {
                marker!("call.deadline passed");
                let away = matches!(call.state, State::Away(..)) && can_write(&call.ask);
                let kind = if away { Kind::Unknown } else { Kind::Refused(Refusal::Timeout) };
                effects.replies.push((id, Err(Error::new(kind, "the call's time is over"))));
                self.calls.take(&id);
                continue;
            }
            let is_parked = match call.state {
                State::Parts { .. } => false,
                State::Parked(_) => true,
                State::Away(..) | State::Asking => continue,
            };
            if is_parked && !self.route_serializable(id, now, work, effects) {
                self.route(id, now, work, effects);
            } else if !is_parked && !self.look_here_again(id, now, work, effects) {
                self.go_on_with_parts(id, now, work, effects);
            }
        }
    }

    /// ② plan: which range, and which node.
    fn route(&mut self, id: CallId, now: Tick, work: &mut Work<E::View>, effects: &mut Effects<E>) {
        let Some(call) = self.calls.open.get_mut(&id) else { return };
        let parked = match call.state {
            State::Parked(since) if since != Tick::ZERO => now.since(since),
            _ => 0,
        };
        work.sink.mark(Stage::Plan, parked);
        let range = match &call.ask {
            ClientAsk::Compact(_) => RangeId::META,
            ClientAsk::Hash(_) => {
                call.state = State::Asking;
                self.fetches.want_x(Wait::Call(id));
                return;
            }
            ClientAsk::Kv(request) => match self.directory.plan(request) {
                Ok(Plan::One(range)) => range,
                Ok(Plan::Scan(_)) => {
                    call.state = State::Asking;
                    self.fetches.want_x(Wait::Call(id));
                    return;
                }
                Err(e) => {
                    effects.replies.push((id, Err(e)));
                    self.calls.take(&id);
                    return;
                }
            },
        };
        if self.replicas.get(&range).is_some_and(|r| r.leads().is_some()) {
            self.handle_here(id, range, now, work);
        } else {
            self.hand_over(id, range, now);
        }
    }

    /// The leader of the range is here.
    fn handle_here(&mut self, id: CallId, range: RangeId, now: Tick, work: &mut Work<E::View>) {
        let Some(call) = self.calls.take(&id) else { return };
        let Some(replica) = self.replicas.get_mut(&range) else { return };
        self.dirty.insert(range);
        let origin = Origin::Local(id);
        if let ClientAsk::Kv(request) = &call.ask
            && is_without_room(&self.door.full, replica.descriptor(), request)
        {
            work.sink.replies.push((origin, Err(Error::refused(Refusal::NoSpace))));
            return;
        }
        match call.ask {
            ClientAsk::Kv(request) if request.can_write() => {
                let command = Command { origin, request, deadline: call.deadline, arrived: now };
                replica.submit(&mut work.sink, command);
            }
            ClientAsk::Kv(request) => {
                self.fetches.want_x(Wait::Read(range, read_ask(origin, &request, call.deadline)));
            }
            ClientAsk::Compact(revision) => {
                let failed = replica.compact(&mut turn!(self, work, now), origin, revision).err();
                if let Some(e) = failed {
                    work.sink.replies.push((origin, Err(e)));
                }
            }
            ClientAsk::Hash(_) => {}
        }
    }

    /// The leader is on another node, if it is known.
    fn hand_over(&mut self, id: CallId, range: RangeId, now: Tick) {
        let own = self.identity.store;
        let to = self.someone_for(range, now);
        let Some(call) = self.calls.open.get_mut(&id) else { return };
        let Some(to) = to.filter(|s| *s != own) else {
            marker!("call.no leader known");
            call.state = State::Parked(after_pause(now));
            return;
        };
        let ask = match &call.ask {
            ClientAsk::Kv(request) => Ask::Kv(range, request.clone()),
            ClientAsk::Compact(r) => Ask::Compact(*r),
            ClientAsk::Hash(_) => return,
        };
        marker!("call.one hop");
        let life = self.liveness.incarnation_of(to);
        call.state = State::Away(to, now);
        let ms = call.deadline.since(now) / 1_000_000;
        self.outbox.now(to, &Part::Call(id, (ms, life), ask));
    }

    /// The range's leader if known; else, for a range with no replica here, one that has a replica and can tell.
    pub(crate) fn someone_for(&self, range: RangeId, now: Tick) -> Option<StoreId> {
        let leader = self.directory.leader(range);
        // Without a stream nothing arrives, and nobody would ever say that it did not.
        let heard = |s: &StoreId| self.liveness.is_heard(*s, now) && self.has_way(*s);
        // A store whose disk stands still asks nobody for support, so that nobody's support says who hears it.
        let both_ways = |s: &StoreId| heard(s) && (self.liveness.hears_us(*s, now) || !self.disk_ok(now));
        if self.replicas.contains_key(&range) {
            return leader.filter(both_ways);
        }
        // Nothing here tells that a leader went deaf and was replaced: whoever does not hear us is asked last.
        let stores = || self.directory.get(range).into_iter().flat_map(|d| d.replicas.iter().map(|p| p.store));
        let other = leader.filter(both_ways).or_else(|| stores().find(both_ways));
        other.or(leader.filter(heard)).or_else(|| stores().find(heard))
    }

    /// Does a stream to this store stand, as far as we were told?
    fn has_way(&self, store: StoreId) -> bool {
        !self.door.cut.contains(&store) || base::bug!("calls-into-the-void")
    }

    /// A store that went deaf or silent while streams stand answers nothing of what it was handed more than D ago. That
    /// is no proof that it did not do it.
    pub(crate) fn give_up_deaf(&mut self, now: Tick, effects: &mut Effects<E>) {
        if now < self.clock.next_look || !self.disk_ok(now) {
            return;
        }
        self.clock.next_look = now + self.config.heartbeat;
        let long_ago = now - self.config.election_timeout;
        for store in self.calls.asked() {
            let waits = store != self.identity.store && !self.liveness.hears_us(store, now);
            if waits && !base::bug!("calls-into-the-void") {
                marker!("call.given up with a deaf store");
                self.hops_lost(store, long_ago, effects);
            }
        }
    }

    /// An answer, or "ask elsewhere", from a node that a call or a part was handed to.
    pub(crate) fn hop_answered(
        &mut self,
        from: StoreId,
        (id, result): (CallId, Result<Outcome>),
        now: Tick,
        effects: &mut Effects<E>,
    ) {
        let mut better = false;
        if let Err(Error { kind: Kind::Elsewhere { range, leader }, .. }) = &result {
            // Who leads here is known better here.
            let leader = leader.filter(|l| *l != from && *l != self.identity.store);
            better = leader.is_some();
            if self.directory.leader(*range) == Some(from) || better {
                self.directory.learn(*range, leader);
            }
        }
        if let Some((call, part)) = self.calls.hops.remove(&id) {
            return self.part_answered(call, part, result);
        }
        let Some(call) = self.calls.open.get_mut(&id) else { return };
        if !matches!(call.state, State::Away(s, _) if s == from) {
            return;
        }
        match result {
            Err(e) if e.is_safe_to_retry() => {
                // Whoever is named is asked at once, the first time. Nodes that know no leader, or name each other, would
                // otherwise be asked as fast as frames travel.
                marker!("call.asked the wrong node");
                let at_once = better && !std::mem::replace(&mut call.misled, true);
                call.state = State::Parked(if at_once { now } else { after_pause(now) });
            }
            result => {
                if let Ok(o) = &result {
                    self.revisions.show(o.revision);
                }
                self.calls.take(&id);
                effects.replies.push((id, result));
            }
        }
    }

    /// What a replica put out for whoever asked.
    pub(crate) fn answer(&mut self, origin: Origin, result: Result<Outcome>, now: Tick, work: &mut Work<E::View>) {
        match origin {
            Origin::Part(UPKEEP, _) => self.marks_found(result, now, work),
            Origin::Part(id, i) => self.part_answered(id, i, result),
            Origin::Local(_) | Origin::Remote(..) => work.sink.replies.push((origin, result)),
        }
    }

    /// Replies and reroutings of this step go where they belong.
    pub(crate) fn settle_sink(&mut self, now: Tick, work: &mut Work<E::View>, effects: &mut Effects<E>) {
        self.noted.room.note(&work.sink);
        for asked in std::mem::take(&mut work.sink.rerouted) {
            self.reroute(asked, now);
        }
        effects.replies.reserve(work.sink.replies.len());
        for (origin, result) in std::mem::take(&mut work.sink.replies) {
            if let Ok(o) = &result {
                self.revisions.show_to(origin, o);
            }
            match origin {
                Origin::Local(id) => effects.replies.push((id, result)),
                Origin::Remote(store, id) => self.outbox.now(store, &Part::Reply(id, result)),
                Origin::Part(id, i) => self.part_answered(id, i, result),
            }
        }
        for (id, e) in std::mem::take(&mut self.calls.failed) {
            if self.calls.take(&id).is_some() {
                effects.replies.push((id, Err(e)));
            }
        }
    }

    /// Nothing was handed to Raft: a local client's call is routed anew, another node is told to do so.
    fn reroute(&mut self, asked: Asked, now: Tick) {
        marker!("call.rerouted");
        let (origin, range) = match &asked {
            Asked::Command(c) => (c.origin, self.range_of(&c.request)),
            Asked::Read(r) => (r.origin, self.range_of_read(&r.spec)),
            Asked::Compact(o, _) => (*o, Some(RangeId::META)),
        };
        match origin {
            Origin::Local(id) => {
                let (ask, deadline) = match asked {
                    Asked::Command(c) => (ClientAsk::Kv(c.request), c.deadline),
                    Asked::Read(r) => match r.spec {
                        Spec::Scan(s) => (ClientAsk::Kv(Arc::new(Request::Range(s))), r.deadline),
                        Spec::Txn(t) => (ClientAsk::Kv(Arc::new(Request::Txn(t))), r.deadline),
                        Spec::Hash { .. } | Spec::Settle { .. } | Spec::Marks { .. } => return,
                    },
                    Asked::Compact(_, r) => (ClientAsk::Compact(r), now + self.config.election_timeout),
                };
                self.calls.put(id, Call { ask, deadline, state: State::Parked(after_pause(now)), misled: false });
            }
            Origin::Remote(store, id) => {
                let range = range.unwrap_or(RangeId::META);
                let leader = self.directory.leader(range).filter(|s| *s != self.identity.store);
                let error = Error::new(Kind::Elsewhere { range, leader }, "the leadership of the range moved");
                self.outbox.now(store, &Part::Reply(id, Err(error)));
            }
            Origin::Part(id, i) => {
                let range = range.unwrap_or(RangeId::META);
                let error = Error::new(Kind::Elsewhere { range, leader: None }, "the leadership of the range moved");
                self.part_answered(id, i, Err(error));
            }
        }
    }

    fn range_of(&self, request: &Request) -> Option<RangeId> {
        match self.directory.plan(request) {
            Ok(Plan::One(r)) => Some(r),
            _ => None,
        }
    }

    /// Where a read was asked for: also one of an empty span, which lies in no range, was asked of some.
    fn range_of_read(&self, spec: &Spec) -> Option<RangeId> {
        match spec {
            Spec::Scan(r) => self.range_of(&Request::Range(r.clone())),
            Spec::Txn(t) => self.range_of(&Request::Txn(t.clone())),
            Spec::Hash { span, .. } | Spec::Settle { span } | Spec::Marks { span, .. } => {
                self.directory.overlapping(span).first().map(|r| r.range)
            }
        }
    }
}

/// Would it make a store larger that has no room? Deletes always pass: they are the way out.
pub(crate) fn is_without_room(full: &BTreeSet<StoreId>, d: &base::Descriptor, request: &Request) -> bool {
    !full.is_empty() && d.replicas.iter().any(|p| full.contains(&p.store)) && grows(request)
}

fn grows(request: &Request) -> bool {
    match request {
        Request::Put(_) => true,
        Request::Range(_) | Request::Delete(_) => false,
        Request::Txn(t) => t.success.iter().chain(&t.failure).any(grows),
    }
}

//! Calls over several ranges: each part read at the same X, wherever its range is led.

use crate::calls::{State, after_pause};
use crate::effects::{ClientAsk, Effects};
use crate::frame::{Ask, Part};
use crate::node::{Node, Work, turn};
use base::{CallId, Error, Index, Kind, RangeId, Refusal, Result, Revision, Span, StoreId, Tick, marker};
use engine::Engine;
use mvcc::{RangeReq, Reply, Request};
use range::{Answer, Origin, Outcome, ReadAsk, Spec, Turn};
use router::{Plan, Route};

#[derive(Debug)]
pub(crate) struct PartState {
    pub range: RangeId,
    pub spec: Spec,
    /// Asked for at that node, or here.
    pub asked: Option<StoreId>,
    pub asked_at: Tick,
    pub retry_at: Tick,
    /// Being read from the local replica, whoever leads.
    pub here: bool,
    /// A hash is summed over the local replica once it has applied this.
    pub settled: Option<Index>,
    pub done: Option<Answer>,
}

impl PartState {
    /// Nobody was asked yet.
    pub fn new(range: RangeId, spec: Spec, now: Tick) -> PartState {
        PartState { range, spec, asked: None, asked_at: now, retry_at: now, here: false, settled: None, done: None }
    }

    /// One for each range that a scan touches.
    pub fn of_scan(r: &RangeReq, routes: Vec<Route>, now: Tick) -> Vec<PartState> {
        let part = |route: Route| PartState::new(route.range, Spec::Scan(mvcc::part_of(r, route.span)), now);
        routes.into_iter().map(part).collect()
    }
}

impl<E: Engine> Node<E> {
    /// X is known: the parts can be read, all at it.
    pub(crate) fn begin_parts(&mut self, id: CallId, x: Revision, now: Tick) {
        let compacted = self.bounds.compacted;
        let Some(call) = self.calls.open.get_mut(&id) else { return };
        let parts = match &call.ask {
            ClientAsk::Kv(request) => match (&**request, self.directory.plan(request)) {
                (Request::Range(r), Ok(Plan::Scan(routes))) => PartState::of_scan(r, routes, now),
                _ => {
                    call.state = State::Parked(now);
                    return;
                }
            },
            ClientAsk::Hash(_) => {
                let users = self.directory.overlapping(&Span::users());
                users.into_iter().map(|r| PartState::new(r.range, Spec::Settle { span: r.span }, now)).collect()
            }
            ClientAsk::Compact(_) => Vec::new(),
        };
        call.state = State::Parts { x, compacted, parts };
    }

    /// Asks for the parts that nobody was asked for yet; ends the call when all are there.
    pub(crate) fn go_on_with_parts(
        &mut self,
        id: CallId,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) {
        let Some(mut call) = self.calls.take(&id) else { return };
        let State::Parts { x, compacted, parts } = &mut call.state else { return };
        let (x, compacted) = (*x, *compacted);
        let mut overtaken = false;
        for (i, p) in parts.iter_mut().enumerate() {
            if p.done.is_some() || p.asked.is_some() || now < p.retry_at {
                continue;
            }
            (p.asked_at, p.retry_at) = (now, after_pause(now));
            if p.settled.is_some() && compacted < self.bounds.floor() && !base::bug!("hash-below-the-floor") {
                marker!("hash.bound has passed it");
                overtaken = true;
                break;
            }
            if let Some(index) = p.settled {
                self.hash_here(Origin::Part(id, i as u32), p, (index, x, compacted), (now, &mut *work, &mut *effects));
                continue;
            }
            self.ask_part((id, i as u32), p, (x, compacted, call.deadline), now, work);
        }
        if overtaken {
            call.state = State::Parked(after_pause(now));
        } else if parts.iter().all(|p| p.done.is_some()) {
            marker!("call.all parts are there");
            let done = parts.iter_mut().filter_map(|p| p.done.take()).collect();
            self.revisions.show(x);
            effects.replies.push((id, combine(&call.ask, done, x)));
            return;
        }
        self.calls.put(id, call);
    }

    fn ask_part(
        &mut self,
        (id, i): (CallId, u32),
        p: &mut PartState,
        (x, compacted, deadline): (Revision, Revision, Tick),
        now: Tick,
        work: &mut Work<E::View>,
    ) {
        let own = self.identity.store;
        if let Some(replica) = self.replicas.get_mut(&p.range).filter(|r| r.leads().is_some()) {
            let origin = Origin::Part(id, i);
            let fetches = self.fetches.sent();
            p.asked = Some(own);
            self.dirty.insert(p.range);
            replica.admit(&mut work.sink, ReadAsk { origin, spec: p.spec.clone(), x, compacted, fetches, deadline });
        } else if let Some(to) = self.someone_for(p.range, now).filter(|s| *s != own) {
            let hop = CallId(self.calls.next_hop);
            self.calls.next_hop += 1;
            self.calls.hops.insert(hop, (id, i));
            p.asked = Some(to);
            let ms = deadline.since(now) / 1_000_000;
            let life = self.liveness.incarnation_of(to);
            self.outbox.now(to, &Part::Call(hop, (ms, life), Ask::At(p.range, p.spec.clone(), x, compacted)));
        }
    }

    /// The local replica holds everything up to X once it has applied `index`: then it is hashed as it stands here.
    fn hash_here(
        &mut self,
        origin: Origin,
        p: &mut PartState,
        (index, x, compacted): (Index, Revision, Revision),
        (now, work, effects): (Tick, &mut Work<E::View>, &mut Effects<E>),
    ) {
        let Some(replica) = self.replicas.get(&p.range).filter(|r| r.readable() >= index) else { return };
        marker!("hash.local replica is there");
        p.asked = Some(self.identity.store);
        let ask = ReadAsk { origin, spec: p.spec.clone(), x, compacted, fetches: 0, deadline: Tick::FAR };
        effects.reads.push(replica.read_as_it_stands(&mut turn!(self, work, now), ask));
    }

    /// One part of a call is there, or must be asked for again.
    pub(crate) fn part_answered(&mut self, id: CallId, i: u32, result: Result<Outcome>) {
        let (has_replica, bound) = (&self.replicas, self.bounds.floor());
        let Some(call) = self.calls.open.get_mut(&id) else { return };
        let hash_at = match &call.ask {
            ClientAsk::Hash(at) => Some(*at),
            _ => None,
        };
        let State::Parts { x, parts, compacted } = &mut call.state else { return };
        let Some(p) = parts.get_mut(i as usize) else { return };
        if result.as_ref().is_ok_and(|o| o.revision != *x) && !base::bug!("parts-of-two-revisions") {
            marker!("call.part of an earlier round");
            return;
        }
        // Nothing may have been written between two rounds, so that both have the same X, and something compacted.
        let sums = |o: &Outcome| matches!(o.answer, Answer::Hash { compacted: from, .. } if from != *compacted);
        if result.as_ref().is_ok_and(sums) && !base::bug!("hash-of-two-compactions") {
            marker!("call.hash of an earlier compaction");
            return;
        }
        p.asked = None;
        match result {
            Ok(Outcome { answer: Answer::Settled { index }, .. }) => {
                let at = hash_at.filter(|r| *r != Revision::ZERO).unwrap_or(*x);
                let Spec::Settle { span } = &p.spec else { return };
                p.spec = Spec::Hash { span: span.clone(), at };
                let overtaken = at < *compacted || at < bound;
                let named = hash_at.is_some_and(|r| r != Revision::ZERO) || base::bug!("newest-hash-refused");
                if overtaken && !named {
                    // As for reads: X came late, and whoever names no revision is not refused for that.
                    marker!("hash.x overtaken");
                    call.state = State::Parked(p.retry_at);
                    return;
                }
                p.retry_at = Tick::ZERO;
                let refusal = if at > *x {
                    Some(Refusal::FutureRevision)
                } else if overtaken {
                    Some(Refusal::Compacted)
                } else {
                    None
                };
                if let Some(r) = refusal {
                    self.calls.failed.push((id, Error::refused(r)));
                } else if has_replica.contains_key(&p.range) {
                    p.settled = Some(index);
                }
            }
            Ok(outcome) => p.done = Some(outcome.answer),
            Err(Error { kind: Kind::Retry, .. }) => {
                // Compaction has passed X where the part is: no part can be read at it again.
                marker!("call.parts begin anew");
                call.state = State::Parked(p.retry_at);
            }
            Err(e) if e.is_safe_to_retry() => marker!("call.part asked again"),
            Err(e) => self.calls.failed.push((id, e)),
        }
    }
}

fn combine(ask: &ClientAsk, done: Vec<Answer>, x: Revision) -> Result<Outcome> {
    if let ClientAsk::Kv(request) = ask {
        let Request::Range(r) = &**request else { return Err(Error::corrupt("only scans are read in parts")) };
        let parts = done
            .into_iter()
            .map(|a| match a {
                Answer::Kv(Reply::Range(r)) => Ok(r),
                _ => Err(Error::corrupt("a part of a scan was answered with something else")),
            })
            .collect::<Result<Vec<_>>>()?;
        let reply = router::merge(parts, r)?;
        return Ok(Outcome { revision: x, answer: Answer::Kv(Reply::Range(reply)) });
    }
    let mut sum = 0u64;
    let mut newest = Revision::ZERO;
    for a in done {
        if let Answer::Hash { hash, compacted } = a {
            sum = sum.wrapping_add(hash);
            newest = newest.max(compacted);
        }
    }
    Ok(Outcome { revision: x, answer: Answer::Hash { hash: sum, compacted: newest } })
}

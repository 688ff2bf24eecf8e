//! Serializable reads: from this node's own replicas when they hold everything up to a revision that is not behind what
//! its clients were shown; else at the leaders, at a revision that is known to be issued. The sequencer is not asked.
//!
//! A node that is cut off from all others answers from what it holds.

use crate::calls::{Call, State};
use crate::effects::{ClientAsk, Effects};
use crate::node::{Node, Work, turn};
use crate::parts::PartState;
use base::{CallId, Error, Refusal, Revision, Tick, marker};
use engine::Engine;
use mvcc::{RangeReq, Request};
use range::{Origin, ReadAsk, Turn};
use router::{Plan, Route};

/// The scan, if the client is content with an older state.
pub(crate) fn serializable(ask: &ClientAsk) -> Option<&RangeReq> {
    match ask {
        ClientAsk::Kv(request) => match &**request {
            Request::Range(r) if r.serializable => Some(r),
            _ => None,
        },
        ClientAsk::Compact(_) | ClientAsk::Hash(_) => None,
    }
}

impl<E: Engine> Node<E> {
    /// Answers a serializable read here, or sets it on its way to the leaders. `false`: it is asked as any other read.
    pub(crate) fn route_serializable(
        &mut self,
        id: CallId,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> bool {
        let Some((r, is_read)) = self.try_here(id, now, work, effects) else { return false };
        if is_read {
            return true;
        }
        let (x, compacted) = (self.revisions.known.get().max(self.bounds.compacted), self.bounds.compacted);
        if r.revision > x {
            // Only the sequencer can tell whether that is the future.
            return false;
        }
        let routes = self.routes(&r);
        let Some(call) = self.calls.open.get_mut(&id).filter(|_| !routes.is_empty()) else { return false };
        marker!("serializable.at the leaders");
        call.state = State::Parts { x, compacted, parts: PartState::of_scan(&r, routes, now) };
        self.go_on_with_parts(id, now, work, effects);
        true
    }

    /// It waits for a leader. Meanwhile the local replicas may have come far enough.
    pub(crate) fn look_here_again(
        &mut self,
        id: CallId,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> bool {
        let waits = |c: &Call| matches!(&c.state, State::Parts { parts, .. } if parts.iter().any(|p| p.done.is_none() && !p.here));
        let waits = self.calls.open.get(&id).is_some_and(waits);
        let is_read = waits && self.try_here(id, now, work, effects).is_some_and(|(_, is_read)| is_read);
        if is_read {
            marker!("serializable.here after all");
        }
        is_read
    }

    /// The scan, if this call is content with an older state and this life knows what earlier ones may have shown; and
    /// whether it is read here.
    fn try_here(
        &mut self,
        id: CallId,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> Option<(RangeReq, bool)> {
        let call = self.calls.open.get(&id).filter(|_| self.revisions.has_begun())?;
        let r = serializable(&call.ask)?.clone();
        let is_read = self.read_here(id, &r, now, work, effects);
        Some((r, is_read))
    }

    fn routes(&self, r: &RangeReq) -> Vec<Route> {
        let routes = self.directory.overlapping(&r.span);
        if !routes.is_empty() {
            return routes;
        }
        match self.directory.plan(&Request::Range(r.clone())) {
            Ok(Plan::One(range)) => vec![Route { range, span: r.span.clone() }],
            _ => routes,
        }
    }

    fn read_here(
        &mut self,
        id: CallId,
        r: &RangeReq,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> bool {
        let routes = self.routes(r);
        let mut x = Revision::MAX;
        for route in &routes {
            let Some(closed) = self.closed_here(route.range) else { return false };
            x = x.min(closed);
        }
        let at = if r.revision == Revision::ZERO { x } else { r.revision };
        let floor = self.bounds.floor();
        if routes.is_empty() || x < self.revisions.shown() || at > x || (r.revision == Revision::ZERO && x < floor) {
            return false;
        }
        let compacted = self.bounds.compacted;
        let Some(call) = self.calls.take(&id) else { return false };
        if at < compacted.max(floor) && r.revision != Revision::ZERO {
            effects.replies.push((id, Err(Error::refused(Refusal::Compacted))));
            return true;
        }
        marker!("serializable.here");
        self.revisions.show(x);
        let several = routes.len() > 1;
        let mut parts = PartState::of_scan(r, routes, now);
        for (i, p) in parts.iter_mut().enumerate() {
            (p.asked, p.here) = (Some(self.identity.store), true);
            let origin = if several { Origin::Part(id, i as u32) } else { Origin::Local(id) };
            let ask = ReadAsk { origin, spec: p.spec.clone(), x, compacted, fetches: 0, deadline: call.deadline };
            let Some(replica) = self.replicas.get(&p.range) else { continue };
            effects.reads.push(replica.read_as_it_stands(&mut turn!(self, work, now), ask));
        }
        if several {
            self.calls.put(id, Call { state: State::Parts { x, compacted, parts }, ..call });
        }
        true
    }
}

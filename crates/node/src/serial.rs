//! Serializable reads: from this node's own replicas when they hold everything up to a revision that is not behind what
//! its clients were shown; else at the leaders, at a revision that is known to be issued. The sequencer is not asked.
//!
//! A node that is cut off from all others answers from what it holds.

use crate::calls::State;
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
        if !self.revisions.has_begun() {
            return false;
        }
        let Some(r) = self.calls.open.get(&id).and_then(|c| serializable(&c.ask)).cloned() else { return false };
        if self.read_here(id, &r, now, work, effects) {
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
        let Some(call) = self.calls.open.get(&id).filter(|_| self.revisions.has_begun()) else { return false };
        let waits =
            matches!(&call.state, State::Parts { parts, .. } if parts.iter().any(|p| p.done.is_none() && !p.here));
        let Some(r) = serializable(&call.ask).filter(|_| waits).cloned() else { return false };
        let here = self.read_here(id, &r, now, work, effects);
        if here {
            marker!("serializable.here after all");
        }
        here
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
            self.calls.put(id, crate::calls::Call { state: State::Parts { x, compacted, parts }, ..call });
        }
        true
    }
}

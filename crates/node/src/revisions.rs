//! What this node knows about revisions, in one place: what was issued, what its clients were shown, what is closed in the
//! ranges it leads and in its replicas.

use crate::closed::Closed;
use crate::closes::{At, Closes};
use crate::closing::{Closing, Led};
use crate::effects::Effects;
use crate::frame::Part;
use crate::node::{Node, Work};
use base::{Incarnation, Issued, Leased, Place, RangeId, Revision, StoreId, Term, Tick, marker};
use engine::Engine;
use range::{Origin, Outcome, Proof, Ready, Replica};
use std::collections::BTreeMap;

/// All of it.
pub(crate) struct Revisions {
    /// The largest number that this node knows to be issued: the header of replies that touch no keys.
    pub known: Issued,
    /// The largest that a client of this node was shown with keys: no later answer here may be older.
    shown: Revision,
    /// Is nothing that an earlier life showed above `shown`?
    has_begun: bool,
    pub closing: Closing,
    pub closed: Closed,
}

impl Revisions {
    pub fn new(known: Issued, own: StoreId, life: Incarnation) -> Revisions {
        let (closing, closed) = (Closing::new(own, life), Closed::default());
        Revisions { known, shown: Revision::ZERO, has_begun: life == Incarnation(1), closing, closed }
    }

    /// Issued after this life began: whatever was shown before is not above it.
    pub fn begin(&mut self, x: Revision) {
        marker!("serializable.life begins");
        self.show(x);
        self.has_begun = true;
    }

    /// Does this life know what earlier ones may have shown? It is not on the disk, and what was closed is not, either:
    /// until then the replicas here may be behind it, and so may be what this node knows to be issued.
    pub fn has_begun(&self) -> bool {
        self.has_begun || base::bug!("restart-forgets-what-was-shown")
    }

    /// No answer from local state may be older than this.
    pub fn shown(&self) -> Revision {
        if base::bug!("serializable-behind-what-was-shown") { Revision::ZERO } else { self.shown }
    }

    /// A local client is shown this.
    pub fn show(&mut self, revision: Revision) {
        self.known.raise(Issued::witnessed(revision));
        self.shown = self.shown.max(revision);
    }

    /// An answer that leaves, or may leave with the shell, for whoever asked.
    pub fn show_to(&mut self, origin: Origin, outcome: &Outcome) {
        match origin {
            Origin::Local(_) => self.show(outcome.revision),
            Origin::Remote(..) | Origin::Part(..) => self.known.raise(Issued::witnessed(outcome.revision)),
        }
    }
}

fn places<V: engine::Read + Send + Sync + 'static>(
    replicas: &BTreeMap<RangeId, Replica<V>>,
) -> impl Fn(RangeId) -> Vec<Place> + '_ {
    |range| replicas.get(&range).map(|r| r.descriptor().replicas.clone()).unwrap_or_default()
}

impl<E: Engine> Node<E> {
    /// A replica had its turn: where its range stands, as far as closing goes.
    pub(crate) fn note_end(&mut self, range: RangeId, now: Tick) {
        let (known, before) = (self.revisions.known.get(), self.fetches.known_before());
        let Some(replica) = self.replicas.get(&range).filter(|_| range != RangeId::META) else { return };
        let supports = self.liveness.supports();
        let promisers = || replica.promisers(supports);
        let replicas = &replica.descriptor().replicas;
        let led = replica.end(known, before).map(|end| Led { end, promisers: &promisers, replicas });
        if let Some((value, at)) = self.revisions.closing.note(range, led, now) {
            self.revisions.closed.tell(range, value, at);
        }
    }

    /// The end of a step: a statement goes to the lease gate when there is something new to say.
    pub(crate) fn state_closed(&mut self, now: Tick, effects: &mut Effects<E>) {
        let (known, before) = (self.revisions.known.get(), self.fetches.known_before());
        if !self.revisions.closing.is_due(known, now) {
            return;
        }
        let (replicas, supports) = (&self.replicas, self.liveness.supports());
        let mut look = |range: RangeId| {
            let replica = replicas.get(&range)?;
            let lease = replica.group().lease(supports)?;
            let end = replica.end(known, before)?;
            Some((end, replica.promisers(supports), lease, replica.descriptor().replicas.clone()))
        };
        let Some((number, until)) = self.revisions.closing.state(known, now, &mut look) else { return };
        let until = if base::bug!("closed-by-an-old-leader") { Tick::FAR } else { until };
        let proof = Proof { range: RangeId::META, term: Term(0), until };
        effects.leased.push((proof, Leased::new(Ready::Closes(number), until)));
    }

    /// The leases held when the shell read its clock.
    pub(crate) fn closes_proved(&mut self, number: u64) {
        let places = places(&self.replicas);
        for (range, value, at) in self.revisions.closing.proved(number, &places) {
            self.revisions.closed.tell(range, value, at);
        }
    }

    /// Peers hear what is closed: with what else leaves for them, or a little later.
    pub(crate) fn tell_closed(&mut self, now: Tick) {
        for peer in self.revisions.closing.due(now, &|peer| self.outbox.speaks_to(peer)) {
            if base::bug!("tells-itself-what-is-closed") && peer == self.identity.store {
                continue;
            }
            let part = self.revisions.closing.part_for(peer, now);
            self.outbox.now(peer, &Part::Closes(part));
        }
    }

    /// A peer says what is closed in the ranges that it leads.
    pub(crate) fn take_closes(&mut self, from: StoreId, part: Closes, now: Tick) {
        let replicas = &self.replicas;
        if part.again {
            self.revisions.closing.has_gap(from, now, &places(replicas));
        }
        match self.revisions.closed.take(from, part, &|range| replicas.contains_key(&range)) {
            Some(largest) => self.revisions.known.raise(Issued::witnessed(largest)),
            None => self.revisions.closing.ask_again(from),
        }
    }

    /// The connection to a peer was set up anew: what was under way may be lost.
    pub(crate) fn close_anew(&mut self, peer: StoreId) {
        self.revisions.closing.begin_anew(peer, &places(&self.replicas));
    }

    /// Up to which revision the local replica holds everything; `None`: there is none.
    pub(crate) fn closed_here(&mut self, range: RangeId) -> Option<Revision> {
        let replica = self.replicas.get(&range)?;
        let engine = &self.engine;
        let has_reached = |at: At| replica.has_reached(engine, at);
        if let Some((value, at)) = self.revisions.closing.own(range) {
            self.revisions.closed.tell(range, value, at);
        }
        let said = self.revisions.closed.of(range, &has_reached);
        Some(said.max(replica.readable_revision()))
    }

    /// What leaves with the shell is shown to its clients without another look.
    pub(crate) fn show_leased(&mut self, work: &Work<E::View>) {
        for (_, ready) in &work.sink.leased {
            match ready {
                Ready::Read(task) if matches!(task.origin, Origin::Local(_)) => self.revisions.show(task.x),
                Ready::Reply(asked, Ok(o)) => self.revisions.show_to(asked.origin(), o),
                Ready::Read(_) | Ready::Reply(..) | Ready::Fetched(_) | Ready::Closes(_) => {}
            }
        }
    }
}

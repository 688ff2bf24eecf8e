//! Store liveness without a clock: promises are made, the belief in them ends first, and only then the promise.
//!
//! In true time a store stops relying on another's promise before that one is free of it. That order is all that
//! fortification rests on, so here it is the only rule, and every other order is explored.

use super::{Group, World};
use base::{Incarnation, StoreId, Tick};
use raft::{Received, SupportEpoch};

impl World {
    /// Store `t` promises to support store `s`, under a number that it never supported before, and `s` hears of it.
    pub fn promise(&mut self, t: usize, s: usize, n: u64) {
        let (ts, ss) = (self.nodes[t].member.store, self.nodes[s].member.store);
        let epoch = SupportEpoch { incarnation: self.nodes[s].supports.own_incarnation(), n };
        let incarnation = self.nodes[t].supports.own_incarnation();
        self.nodes[t].supports.set_given(ss, Some(epoch));
        // only `lapse` ends it
        let until = self.now + Tick::ms(3_600_000);
        self.nodes[s].supports.set_received(ts, Some(Received { epoch, incarnation, until }));
        self.call(t, |g, ctx, out| g.liveness_changed(ctx, ss, out));
        self.call(s, |g, ctx, out| g.liveness_changed(ctx, ts, out));
    }

    /// Store `s` no longer relies on the promise of `t`.
    pub fn lapse(&mut self, t: usize, s: usize) {
        let ts = self.nodes[t].member.store;
        self.nodes[s].supports.set_received(ts, None);
        self.call(s, |g, ctx, out| g.liveness_changed(ctx, ts, out));
    }

    /// May store `t` be free of what it promised to `s`?
    pub fn may_withdraw(&self, t: usize, s: usize) -> bool {
        let (ts, ss) = (self.nodes[t].member.store, self.nodes[s].member.store);
        self.nodes[t].supports.given(ss).is_some() && self.nodes[s].supports.received(ts).is_none()
    }

    /// Store `t` is free of what it promised to `s`.
    pub fn withdraw(&mut self, t: usize, s: usize) {
        assert!(self.may_withdraw(t, s), "a promise outlives the belief in it");
        let ss = self.nodes[s].member.store;
        self.nodes[t].supports.set_given(ss, None);
        self.call(t, |g, ctx, out| g.liveness_changed(ctx, ss, out));
    }

    /// Starts a crashed node in its next incarnation: it has forgotten its promises, and votes for nobody while
    /// somebody may rely on one.
    pub fn restart(&mut self, n: usize) {
        let store = self.nodes[n].member.store;
        let incarnation = Incarnation(self.nodes[n].supports.own_incarnation().0 + 1);
        let mut supports = raft::Supports::new(store, incarnation);
        if self.somebody_relies_on(n) {
            supports.voting_allowed_from = Tick::FAR;
        }
        self.nodes[n].supports = supports;
        self.start(n);
    }

    /// Does another store still rely on a promise that an earlier incarnation of this one made?
    pub fn somebody_relies_on(&self, n: usize) -> bool {
        let store: StoreId = self.nodes[n].member.store;
        let now = self.nodes[n].supports.own_incarnation();
        let relies = |r: Received| r.incarnation < now || !self.is_up(n);
        (0..self.nodes.len()).any(|s| s != n && self.nodes[s].supports.received(store).is_some_and(relies))
    }

    /// A restarted store may vote again.
    pub fn ungate(&mut self, n: usize) {
        assert!(!self.somebody_relies_on(n), "votes before its promises have run out");
        self.nodes[n].supports.voting_allowed_from = Tick::ZERO;
    }

    /// L1: at most one replica holds a lease. Returns whether one does.
    pub fn check_lease(&self) -> bool {
        let holds = |g: &Group, n: usize| g.lease(&self.nodes[n].supports).is_some_and(|until| until > self.now);
        let holders: Vec<usize> =
            (0..self.nodes.len()).filter(|n| self.nodes[*n].group.as_ref().is_some_and(|g| holds(g, *n))).collect();
        assert!(holders.len() <= 1, "L1: {} replicas hold the lease", holders.len());
        !holders.is_empty()
    }
}

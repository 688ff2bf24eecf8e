//! Fortification: what makes a lease out of store liveness, and what takes it back.
//!
//! A follower that accepts an append while its store supports exactly the epoch that the append names is *fortified*:
//! until that support ends it neither campaigns nor votes for another, whatever the term. The acknowledgement says so.
//! A leader whose fortified followers form a quorum (of every half) holds the lease until the first moment at which
//! the support that it received no longer adds up to a quorum.

use crate::{AppendAck, Ctx, Group, Member, Message, Output, Role, SupportEpoch, Supports};
use base::{Incarnation, StoreId, Term, Tick, marker};

/// A follower's promise. Volatile: a store that restarts votes for nobody until its promises have run out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Fortified {
    pub(crate) term: Term,
    pub(crate) leader: Member,
    pub(crate) epoch: SupportEpoch,
}

impl Group {
    /// The promise that binds now: fortified, and the own store still supports that very epoch.
    pub(crate) fn bound(&self, supports: &Supports) -> Option<Fortified> {
        self.fortified.filter(|f| supports.given(f.leader.store) == Some(f.epoch))
    }

    /// Accepting an append of the present term: fortifies if the epoch it names is supported, and says what the
    /// acknowledgement may claim. A promise to a leader of an earlier term ends here: a quorum that was bound to
    /// nobody elected a new one.
    pub(crate) fn fortify(
        &mut self,
        supports: &Supports,
        from: Member,
        epoch: Option<SupportEpoch>,
    ) -> Option<(SupportEpoch, Incarnation)> {
        let term = self.hard.term;
        if self.fortified.is_some_and(|f| f.term != term || f.leader != from) {
            marker!("raft.fortify.replaced");
            self.fortified = None;
        }
        let wanted = epoch.filter(|e| supports.given(from.store) == Some(*e));
        if let Some(epoch) = wanted {
            if self.fortified.is_none_or(|f| f.epoch != epoch) {
                marker!("raft.fortify.follower");
            }
            self.fortified = Some(Fortified { term, leader: from, epoch });
        }
        // an append may have been sent before the leader heard of this epoch, or after it forgot it: repeat what binds
        self.bound(supports).map(|f| (f.epoch, supports.own_incarnation()))
    }

    /// A leader takes note of what an acknowledgement claims.
    pub(crate) fn note_fortified(&mut self, ctx: &Ctx, from: Member, ack: &AppendAck) {
        let Some(peer) = self.lead.as_mut().and_then(|lead| lead.peers.iter_mut().find(|p| p.member == from)) else {
            return;
        };
        if let Some((epoch, incarnation)) = ack.fortified
            && epoch.incarnation == ctx.supports.own_incarnation()
            && peer.fortified != ack.fortified
        {
            marker!("raft.fortify.leader");
            peer.fortified = Some((epoch, incarnation));
        }
    }

    /// How long that voter's promise holds, on our clock; [`Tick::ZERO`] if it made none that is current. It counts
    /// only with the pair's present epoch *and* the promising store's present incarnation: a restarted store has
    /// forgotten what its replicas promised.
    pub(crate) fn promise_of(&self, supports: &Supports, m: Member) -> Tick {
        let Some(received) = supports.received(m.store) else { return Tick::ZERO };
        if m.replica == self.cfg.replica {
            return received.until;
        }
        let claimed = self.lead.as_ref().and_then(|lead| lead.peer(m.replica)).and_then(|p| p.fortified);
        let current = Some((received.epoch, received.incarnation));
        let stale_counts = base::bug!("lease-counts-stale-epoch") && claimed.is_some();
        if claimed == current || stale_counts { received.until } else { Tick::ZERO }
    }

    /// Does a quorum promise to stay with this leader beyond `now`?
    pub(crate) fn quorum_promises(&self, now: Tick, supports: &Supports) -> bool {
        self.role == Role::Leader && self.conf.quorum(|m| self.promise_of(supports, m) > now)
    }

    /// The voters of each half, and whether their promise to this replica counts now. Leaders of one node with equal
    /// answers hold leases that end together.
    pub fn promisers(&self, supports: &Supports) -> Vec<(StoreId, bool)> {
        let counts = |m: &Member| (m.store, self.promise_of(supports, *m) > Tick::ZERO);
        self.conf.halves().flat_map(|half| half.iter().map(counts)).collect()
    }

    /// Until when, on this node's clock, no other replica can have been elected: the largest t for which a quorum of
    /// every half of the configuration promised support until t or later. `None` on a follower (also on the one that
    /// has just handed over), without such a quorum, before an entry of this term is committed, or when leases are
    /// turned off. [L1]
    pub fn lease(&self, supports: &Supports) -> Option<Tick> {
        let lead = self.lead.as_ref()?;
        if !supports.leases_enabled || self.log.commit < lead.term_start {
            return None;
        }
        let until = self.conf.quorum_value(|m| self.promise_of(supports, m))?;
        Some(until).filter(|t| *t > Tick::ZERO)
    }

    /// Support from or for `store` began, ended, lapsed or changed its epoch, the store came back in another
    /// incarnation, or the stream to it was set up anew (what was under way is lost). To be called for the groups that
    /// have a member there, the own store included.
    pub fn liveness_changed(&mut self, ctx: &mut Ctx, store: StoreId, out: &mut Output) {
        self.wake(ctx);
        if self.fortified.is_some() && self.bound(ctx.supports).is_none() {
            marker!("raft.fortify.lapsed");
            self.fortified = None;
            if self.role == Role::Follower {
                self.arm_election_soon(ctx);
            }
        }
        if self.role == Role::Leader {
            self.greet_store(ctx, store, out);
            self.watch_quorum(ctx);
        } else if ctx.supports.received(store).is_some_and(|r| r.until > ctx.now)
            && store != self.cfg.store
            && !base::bug!("stays-tired-when-heard-again")
        {
            // whoever hears us again may elect us
            self.take_heart(ctx);
        }
    }

    /// A leader's part of a change of liveness: whoever is there and not fortified under the present epoch is asked
    /// again, and told the commit index by the way.
    fn greet_store(&mut self, ctx: &mut Ctx, store: StoreId, out: &mut Output) {
        let Some(lead) = &self.lead else { return };
        let there: Vec<usize> = (0..lead.peers.len()).filter(|at| lead.peers[*at].member.store == store).collect();
        for at in there {
            if self.reachable(ctx, at) {
                marker!("raft.fortify.greeted");
                self.heartbeat(ctx, at, out);
            }
        }
        self.arm_beat(ctx);
    }

    /// Arms, or calms, the timer that ends a leadership without support.
    pub(crate) fn watch_quorum(&mut self, ctx: &Ctx) {
        let promised = self.quorum_promises(ctx.now, ctx.supports);
        let give_up = ctx.now + self.cfg.election_timeout;
        if let Some(lead) = &mut self.lead {
            if promised {
                lead.lost = Tick::FAR;
            } else if lead.lost == Tick::FAR {
                marker!("raft.fortify.no_quorum");
                lead.lost = give_up;
            }
        }
    }

    /// The leader of `term` gave up: what was promised to it ends, and nothing else.
    pub(crate) fn on_defortify(&mut self, ctx: &mut Ctx, from: Member, term: Term) {
        let wrong_term = base::bug!("defortify-any-term");
        if let Some(f) = self.fortified
            && (wrong_term || (f.term == term && f.leader.replica == from.replica))
        {
            marker!("raft.fortify.released");
            self.fortified = None;
        }
        if self.role == Role::Follower && self.hard.term == term && self.leader == Some(from) {
            // nobody leads this term any more, so there is nobody to wait for
            marker!("raft.defortify.heard");
            self.leader = None;
            self.arm_election_soon(ctx);
        } else if self.role == Role::Follower && self.election == Tick::FAR && self.fortified.is_none() {
            self.arm_election_soon(ctx);
        }
    }

    /// A replica that stopped leading says so to everybody: at once, and again until it hears of a new leader.
    pub(crate) fn say_defortify(&mut self, ctx: &Ctx, out: &mut Output) {
        let Some((term, _)) = self.defortify else { return };
        marker!("raft.defortify.sent");
        for m in self.conf.members() {
            if m.replica != self.cfg.replica {
                out.now.push((m, Message::Defortify { term }));
            }
        }
        self.defortify = Some((term, ctx.now + self.beat_interval()));
    }
}

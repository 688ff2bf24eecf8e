//! Deadlines and roles: what is armed, what happens when it passes, and how a replica becomes what it is.
//!
//! An idle group arms nothing. A follower that is fortified waits for nobody: its store's liveness does. A leader whose
//! followers have everything and are fortified has nothing to repeat.

use crate::lead::Lead;
use crate::progress::Feed;
use crate::{Ctx, Group, HardState, Member, Output, Payload, Reach, Role};
use base::{Term, Tick, marker};

/// So many beats may pass after a snapshot was sent, without a sign of it, before another is.
const SNAPSHOT_PATIENCE: u8 = 20;

impl Group {
    /// When [`Group::deadline`] wants to be called; [`Tick::FAR`] while idle, [`Tick::ZERO`] right after boot.
    pub fn next_deadline(&self) -> Tick {
        if !self.awake {
            return Tick::ZERO;
        }
        let again = self.defortify.map_or(Tick::FAR, |(_, at)| at);
        let lead = self.lead.as_ref().map_or(Tick::FAR, |lead| {
            let transfer = lead.transfer.map_or(Tick::FAR, |(_, at)| at);
            lead.beat.min(lead.stuck).min(lead.lost).min(lead.spares.until).min(transfer)
        });
        self.election.min(again).min(lead)
    }

    /// A deadline passed. Calling it early or late is harmless; a node may hold back campaigns by calling it late.
    pub fn deadline(&mut self, ctx: &mut Ctx, out: &mut Output) {
        self.wake(ctx);
        if self.defortify.is_some_and(|(_, at)| at <= ctx.now) {
            self.say_defortify(ctx, out);
        }
        if self.lead.is_some() {
            self.leader_deadline(ctx, out);
        } else if self.election <= ctx.now {
            self.election_due(ctx, out);
        }
    }

    fn leader_deadline(&mut self, ctx: &mut Ctx, out: &mut Output) {
        let Some(lead) = &mut self.lead else { return };
        if lead.transfer.is_some_and(|(_, give_up)| give_up <= ctx.now) {
            marker!("raft.transfer.given_up");
            lead.transfer = None;
        }
        let (lost, stuck, beat) = (lead.lost <= ctx.now, lead.stuck <= ctx.now, lead.beat <= ctx.now);
        if lost {
            if !self.has_contact(ctx) {
                marker!("raft.leader.without_support");
                return self.stop_leading(ctx, out);
            }
            if let Some(lead) = &mut self.lead {
                lead.lost = Tick::FAR;
            }
            self.watch_quorum(ctx);
        }
        if self.lead.as_ref().is_some_and(|lead| lead.spares.until <= ctx.now) {
            self.need_spares(ctx, out);
        }
        let waits = stuck && self.waits_for_snapshots(ctx);
        if stuck && !waits && !self.alone() {
            marker!("raft.leader.stuck");
            return self.stop_leading(ctx, out);
        }
        if waits {
            marker!("raft.leader.waits_for_snapshots");
        }
        if stuck
            && let Some(lead) = &mut self.lead
            && !base::bug!("alone-and-stuck-awake")
        {
            // Nobody else could lead: it is the own disk that is slow, or the state that is large. A deadline that has
            // passed would never let it sleep.
            marker!("raft.leader.stuck_and_stays");
            lead.stuck = ctx.now + self.cfg.election_timeout + self.cfg.election_timeout;
        }
        if beat {
            self.beat(ctx, out);
        }
    }

    /// Says again what may have been lost, to whoever is there.
    fn beat(&mut self, ctx: &mut Ctx, out: &mut Output) {
        marker!("raft.beat");
        for at in 0..self.peers() {
            if self.reachable(ctx, at) {
                self.repeat(ctx, at, out);
            }
        }
        self.ask_round(out);
        if let Some(lead) = &mut self.lead {
            lead.beat = Tick::FAR;
        }
        self.arm_beat(ctx);
    }

    fn repeat(&mut self, ctx: &Ctx, at: usize, out: &mut Output) {
        let last = self.log.last.0;
        let Some(lead) = &mut self.lead else { return };
        let peer = &mut lead.peers[at];
        let standing = peer.matched == peer.at_beat && peer.matched < last;
        peer.at_beat = peer.matched;
        match &mut peer.feed {
            Feed::Snapshot { waited: Some(beats) } if *beats >= SNAPSHOT_PATIENCE => {
                marker!("raft.snapshot.lost");
                let next = peer.matched.next();
                peer.probe(next);
                self.send_entries(ctx, at, out);
            }
            Feed::Snapshot { waited } => {
                *waited = waited.map(|beats| beats + 1);
                self.heartbeat(ctx, at, out);
            }
            Feed::Probe { .. } | Feed::Replicate if standing => {
                marker!("raft.beat.resent");
                let next = if matches!(peer.feed, Feed::Replicate) { peer.matched.next() } else { peer.next };
                peer.probe(next);
                self.send_entries(ctx, at, out);
            }
            Feed::Probe { .. } | Feed::Replicate => self.heartbeat(ctx, at, out),
        }
    }

    /// Is there a point in sending to this peer? Not while its store is silent: its return is told
    /// ([`Group::liveness_changed`]).
    pub(crate) fn reachable(&self, ctx: &Ctx, at: usize) -> bool {
        let Some(peer) = self.lead.as_ref().map(|lead| &lead.peers[at]) else { return false };
        let store = peer.member.store;
        !ctx.supports.knows(store)
            || ctx.supports.given(store).is_some()
            || ctx.supports.received(store).is_some_and(|r| r.until > ctx.now)
            || ctx.now < peer.heard + self.cfg.election_timeout
    }

    /// Arms the beat if somebody who is there lacks entries, a fortification or an answer.
    pub(crate) fn arm_beat(&mut self, ctx: &Ctx) {
        let Some(lead) = &self.lead else { return };
        if lead.beat != Tick::FAR {
            return;
        }
        let behind = (0..lead.peers.len()).any(|at| {
            let peer = &lead.peers[at];
            let done = peer.matched == self.log.last.0 && self.promise_of(ctx.supports, peer.member) > ctx.now;
            !done && self.reachable(ctx, at)
        });
        let wanted = behind || !lead.rounds.is_empty();
        let at = ctx.now + self.beat_interval();
        if let Some(lead) = &mut self.lead {
            lead.beat = if wanted { at } else { Tick::FAR };
        }
    }

    /// How long to wait for an answer before saying it again.
    pub(crate) fn beat_interval(&self) -> Tick {
        Tick(self.cfg.election_timeout.0 / 4)
    }

    /// Arms the election: D and some jitter without a word from a leader.
    pub(crate) fn arm_election(&mut self, ctx: &mut Ctx) {
        let d = self.cfg.election_timeout.0.max(1);
        let wait = d + ctx.rng.below(d);
        self.set_election(ctx, Tick(wait));
    }

    /// Arms the next campaign while one is under way: soon at first, because the others may have been bound for a moment
    /// longer than we were, then more and more rarely, because nobody can elect us.
    pub(crate) fn arm_next_try(&mut self, ctx: &mut Ctx) {
        let d = self.cfg.election_timeout.0.max(4);
        let slow = 1 << self.tries.min(4);
        let wait = d / 4 + ctx.rng.below(d / 4) * slow;
        self.set_election(ctx, Tick(wait));
    }

    /// Arms the election with only a little jitter: it is certain that nobody leads.
    pub(crate) fn arm_election_soon(&mut self, ctx: &mut Ctx) {
        let d = self.cfg.election_timeout.0.max(4);
        let wait = ctx.rng.below(d / 4) + 1;
        self.set_election(ctx, Tick(wait));
    }

    /// Nobody could elect this replica, so it asked more and more rarely. Now somebody may.
    pub(crate) fn take_heart(&mut self, ctx: &mut Ctx) {
        if self.tries > 1 && self.election != Tick::FAR {
            marker!("raft.election.takes_heart");
            let before = self.election;
            self.tries = 1;
            if base::bug!("taking-heart-puts-off-again") {
                self.put_off = 0;
            }
            self.arm_election_soon(ctx);
            self.election = self.election.min(before);
        }
    }

    fn set_election(&mut self, ctx: &Ctx, wait: Tick) {
        let votes = self.promotable() && !self.stopped && self.role != Role::Leader;
        self.election = if votes { ctx.now + wait } else { Tick::FAR };
    }

    /// Does a quorum of every half stand by this leader: bound by a promise, or heard within D?
    pub(crate) fn has_contact(&self, ctx: &Ctx) -> bool {
        let Some(lead) = &self.lead else { return false };
        self.conf.quorum(|m| {
            m.replica == self.cfg.replica
                || self.promise_of(ctx.supports, m) > ctx.now
                || lead.peer(m.replica).is_some_and(|p| ctx.now < p.heard + self.cfg.election_timeout)
        })
    }

    /// Is this replica the only voter?
    fn alone(&self) -> bool {
        self.conf.quorum(|m| m.replica == self.cfg.replica)
    }

    /// Follows `leader` (if known) in `term`. A leader that comes this way stops leading.
    pub(crate) fn become_follower(&mut self, ctx: &mut Ctx, term: Term, leader: Option<Member>, out: &mut Output) {
        let led = self.lead.take().is_some();
        let old_term = self.hard.term;
        if term > self.hard.term {
            marker!("raft.term.raised");
            self.set_hard(HardState { term, vote: None }, out);
        }
        marker!("raft.became.follower");
        self.set_role(Role::Follower, leader, out);
        (self.votes, self.released) = (Vec::new(), None);
        if self.bound(ctx.supports).is_none() {
            self.fortified = None;
            self.arm_election(ctx);
        }
        if led && leader.is_none() && !base::bug!("defortify-forgotten") {
            // the lease is gone with `lead`; only now may the others be set free
            self.defortify = Some((old_term, ctx.now));
            self.say_defortify(ctx, out);
        }
    }

    /// Leads no more, in the same term.
    pub(crate) fn stop_leading(&mut self, ctx: &mut Ctx, out: &mut Output) {
        marker!("raft.leader.stopped");
        self.become_follower(ctx, self.hard.term, None, out);
    }

    /// A quorum voted for us: leads, beginning with an empty entry of its own term.
    pub(crate) fn become_leader(&mut self, ctx: &mut Ctx, out: &mut Output) {
        assert!(self.role == Role::Candidate, "only a candidate is elected");
        marker!("raft.became.leader");
        let own = self.cfg.member();
        let last = self.log.last.0;
        let mut lead = Box::new(Lead::new(last.next()));
        lead.set_members(&self.conf.members(), own.replica, last, ctx.now);
        self.lead = Some(lead);
        (self.votes, self.released, self.defortify) = (Vec::new(), None, None);
        (self.election, self.tries) = (Tick::FAR, 0);
        self.set_role(Role::Leader, Some(own), out);
        self.append_own(ctx, Payload::Empty, Reach::All, out);
        self.watch_quorum(ctx);
        self.maybe_commit(ctx, out);
    }

    /// Stops leading: gives up the lease, then says Defortify, until a new leader is heard. Nothing on a follower.
    pub fn step_down(&mut self, ctx: &mut Ctx, out: &mut Output) {
        if self.lead.is_some() {
            self.stop_leading(ctx, out);
        }
    }

    /// Stops leading and never campaigns again in this process; still votes and takes entries.
    pub fn stop(&mut self, ctx: &mut Ctx, out: &mut Output) {
        self.wake(ctx);
        self.stopped = true;
        if self.role == Role::PreCandidate || self.role == Role::Candidate {
            self.set_role(Role::Follower, None, out);
        }
        self.step_down(ctx, out);
        self.election = Tick::FAR;
    }
}

//! A leader appends and sends.
//!
//! Entries leave at once, before the leader's own write is durable; its own copy counts towards a
//! quorum only after [`Group::written`]. One window per follower, in messages and in bytes, bounds what is under way.
//!
//! An entry may leave for a quorum only ([`Reach::Quorum`]). The others, the spares, get it with the news that it is
//! committed: one append instead of an append and a commit, and nobody waits for their disks. If the quorum takes more
//! than three times its usual time, the spares get the entry at once, and so do all for a while.

use crate::lead::Spares;
use crate::progress::Feed;
use crate::{Append, AppendAck, AppendReject, Ctx, Entry, Group, Member, Message, NotLeader, Output, Payload, Role};
use base::{Index, Term, Tick, marker};
use bytes::Bytes;

/// For whom an entry leaves at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// For everybody: the quickest quorum commits it.
    All,
    /// For a quorum: fewer messages and writes, and no quicker one.
    Quorum,
}

/// A voter that has not acknowledged more than so many committed entries does not keep up.
const MOST_BEHIND: u64 = 16;

impl Group {
    /// Appends one entry and sends it on. Refused on a follower, and while leadership is being handed over.
    pub fn propose(
        &mut self,
        ctx: &mut Ctx,
        data: Bytes,
        reach: Reach,
        out: &mut Output,
    ) -> Result<(Term, Index), NotLeader> {
        self.accepts_proposals()?;
        marker!("raft.propose");
        Ok(self.append_own(ctx, Payload::Normal(data), reach, out))
    }

    /// Chooses a quorum of those who keep up, the furthest first; the other voters are spared. Nobody is while somebody
    /// is already, or if those who keep up are no more than a quorum.
    fn choose_spares(&mut self, ctx: &Ctx, reach: Reach) {
        let commit = self.log.commit;
        let (conf, own) = (&self.conf, self.cfg.replica);
        let (written, max) = (self.log.written, (self.cfg.max_inflight, self.cfg.max_inflight_bytes));
        let Some(lead) = &mut self.lead else { return };
        if reach == Reach::All {
            return lead.spares.end();
        }
        if lead.spares.who != 0 {
            return;
        }
        if !lead.spares.may_begin() {
            marker!("raft.spares.not_now");
            return;
        }
        let Some(lead) = &self.lead else { return };
        let keeps_up = |at: &usize| {
            let p = &lead.peers[*at];
            let near = p.feed == Feed::Replicate && p.matched.0 + MOST_BEHIND >= commit.0;
            near && p.has_room(max.0, max.1) && self.reachable(ctx, *at)
        };
        let mut by_depth: Vec<usize> = (0..lead.peers.len()).filter(keeps_up).collect();
        by_depth.sort_by_key(|at| std::cmp::Reverse(lead.peers[*at].matched));
        let name = |at: usize| lead.peers[at].member.replica;
        let enough = |n: &usize| {
            let chosen = &by_depth[..*n];
            // a leader whose own disk lags is not counted on either
            conf.quorum(|m| (m.replica == own && written >= commit) || chosen.iter().any(|at| name(*at) == m.replica))
        };
        let Some(n) = (0..=by_depth.len()).find(enough) else { return };
        let places = by_depth[n..].iter().filter(|at| **at < u64::BITS as usize && conf.is_voter(name(**at)));
        let who = places.fold(0, |who, at| who | 1 << at);
        if let Some(lead) = self.lead.as_mut().filter(|_| who != 0) {
            marker!("raft.spares.chosen");
            lead.spares.begin(who, ctx.now);
        }
    }

    /// Something is committed: the spares get it too, and are spared on while anything else is under way.
    pub(crate) fn feed_spares(&mut self, ctx: &Ctx, out: &mut Output) {
        let more = self.log.last.0 > self.log.commit;
        let Some(lead) = self.lead.as_mut().filter(|l| l.spares.who != 0) else { return };
        let spares = lead.spares;
        lead.spares.took(Tick(ctx.now.since(spares.since)));
        if more {
            lead.spares.begin(spares.who, ctx.now);
        } else {
            lead.spares.end();
        }
        self.send_to_spares(ctx, spares, out);
    }

    fn send_to_spares(&mut self, ctx: &Ctx, spares: Spares, out: &mut Output) {
        for at in (0..self.peers()).filter(|at| spares.has(*at)) {
            self.send_entries(ctx, at, out);
        }
    }

    /// The quorum takes too long: everybody gets everything, for a while.
    pub(crate) fn need_spares(&mut self, ctx: &Ctx, out: &mut Output) {
        let Some(lead) = &mut self.lead else { return };
        marker!("raft.spares.needed");
        let spares = lead.spares;
        lead.spares.took(Tick(ctx.now.since(spares.since)));
        lead.spares.give_up();
        if base::bug!("spares-forgotten") {
            return;
        }
        self.send_to_spares(ctx, spares, out);
    }

    pub(crate) fn accepts_proposals(&self) -> Result<(), NotLeader> {
        match &self.lead {
            Some(lead) if lead.transfer.is_none() => Ok(()),
            _ => Err(NotLeader { leader: self.leader }),
        }
    }

    /// Appends an entry of our own term and sends it to everybody who has room and is not spared.
    pub(crate) fn append_own(
        &mut self,
        ctx: &mut Ctx,
        payload: Payload,
        reach: Reach,
        out: &mut Output,
    ) -> (Term, Index) {
        self.choose_spares(ctx, reach);
        let entry = Entry { term: self.hard.term, index: self.log.last.0.next(), payload };
        let at = (entry.term, entry.index);
        let give_up = ctx.now + self.cfg.election_timeout + self.cfg.election_timeout;
        self.push(entry, out);
        if let Some(lead) = &mut self.lead {
            lead.stuck = lead.stuck.min(give_up);
        }
        for peer in 0..self.peers() {
            self.send_entries(ctx, peer, out);
        }
        self.arm_beat(ctx);
        if base::bug!("own-copy-counts-before-written") {
            self.log.written = self.log.last.0;
            self.maybe_commit(ctx, out);
        }
        at
    }

    pub(crate) fn peers(&self) -> usize {
        self.lead.as_ref().map_or(0, |lead| lead.peers.len())
    }

    /// Sends what this peer lacks, as far as its window allows; what is not committed only if it is not spared.
    pub(crate) fn send_entries(&mut self, ctx: &Ctx, at: usize, out: &mut Output) {
        loop {
            let Some(peer) = self.lead.as_ref().map(|lead| &lead.peers[at]) else { return };
            let spared = self.lead.as_ref().is_some_and(|lead| lead.spares.has(at));
            let end = if spared { self.log.commit } else { self.log.last.0 };
            if peer.next > end || !peer.has_room(self.cfg.max_inflight, self.cfg.max_inflight_bytes) {
                return;
            }
            let base = peer.next.prev();
            let Some(base_term) = self.log.term(base, ctx.log) else { return self.need_snapshot(at, out) };
            let Ok(entries) = self.log.entries(ctx.log, peer.next, end, self.cfg.max_append_bytes) else {
                return;
            };
            let Some(last) = entries.last().map(|e| e.index) else { return self.need_snapshot(at, out) };
            let bytes = entries.iter().map(Entry::size).sum();
            let member = peer.member;
            let message = self.append_to(ctx, member, (base, base_term), entries);
            out.now.push((member, message));
            let commit = self.log.commit;
            if let Some(lead) = &mut self.lead {
                lead.peers[at].sent(last, bytes);
                lead.peers[at].told = commit;
            }
        }
    }

    /// An append without entries: it fortifies, tells the commit index, proves that somebody leads, and brings out what
    /// was lost.
    pub(crate) fn heartbeat(&mut self, ctx: &Ctx, at: usize, out: &mut Output) {
        let Some(peer) = self.lead.as_ref().map(|lead| &lead.peers[at]) else { return };
        let member = peer.member;
        // at the end of what was sent, an append that was lost shows; a member that is being probed has only `matched`
        let base = if peer.feed == Feed::Replicate { peer.next.prev() } else { peer.matched };
        let (base, term) = match self.log.term(base, ctx.log) {
            Some(term) => (base, term),
            // beyond our log's beginning: 0@0 is accepted by everybody and vouches for nothing
            None => (Index(0), Term(0)),
        };
        marker!("raft.heartbeat");
        let message = self.append_to(ctx, member, (base, term), Vec::new());
        out.now.push((member, message));
    }

    fn append_to(&self, ctx: &Ctx, to: Member, base: (Index, Term), entries: Vec<Entry>) -> Message {
        let epoch = ctx.supports.received(to.store).map(|r| r.epoch);
        // a restarted member is greeted without entries: so it hears at once what it vouched for
        let peer = self.lead.as_ref().and_then(|lead| lead.peer(to.replica)).filter(|_| entries.is_empty());
        let acked = peer.map_or(Index(0), |peer| peer.matched);
        Message::Append(Append { term: self.hard.term, base, commit: self.log.commit, epoch, acked, entries })
    }

    /// An acknowledgement: counts copies, opens the window, takes note of fortification.
    pub(crate) fn on_append_ack(&mut self, ctx: &mut Ctx, from: Member, m: AppendAck, out: &mut Output) {
        if self.role != Role::Leader || m.term != self.hard.term || m.index > self.log.last.0 {
            return;
        }
        let Some(at) = self.peer_heard(ctx, from) else { return };
        self.note_fortified(ctx, from, &m);
        let Some(lead) = &mut self.lead else { return };
        let truncated = self.log.truncated.0;
        let peer = &mut lead.peers[at];
        let news = peer.acked(m.index);
        match peer.feed {
            Feed::Probe { .. } => {
                marker!("raft.progress.replicate");
                peer.replicate();
            }
            Feed::Snapshot { .. } if peer.matched >= truncated => {
                marker!("raft.progress.snapshot_arrived");
                peer.replicate();
            }
            Feed::Snapshot { .. } | Feed::Replicate => {}
        }
        if news {
            self.maybe_commit(ctx, out);
        }
        self.send_entries(ctx, at, out);
        self.tell_commit(at, out);
        self.trim();
        self.hand_over_if_ready(ctx, out);
        if m.fortified.is_some() && self.lead.as_ref().is_some_and(|lead| lead.lost != base::Tick::FAR) {
            self.watch_quorum(ctx);
        }
    }

    /// Finds the peer and notes that it answered.
    pub(crate) fn peer_heard(&mut self, ctx: &Ctx, from: Member) -> Option<usize> {
        let lead = self.lead.as_mut()?;
        let at = lead.position(from.replica).filter(|at| lead.peers[*at].member == from)?;
        lead.peers[at].heard = ctx.now;
        Some(at)
    }

    /// The base did not match: go back to where it may. Or our term is over.
    pub(crate) fn on_append_reject(&mut self, ctx: &mut Ctx, from: Member, m: AppendReject, out: &mut Output) {
        if m.term > self.hard.term {
            marker!("raft.leader.deposed");
            return self.become_follower(ctx, m.term, None, out);
        }
        if self.role != Role::Leader || m.term != self.hard.term {
            return;
        }
        let Some(at) = self.peer_heard(ctx, from) else { return };
        let Some(peer) = self.lead.as_ref().map(|lead| &lead.peers[at]) else { return };
        let stale = match peer.feed {
            Feed::Replicate => m.base <= peer.matched,
            Feed::Probe { .. } => m.base != peer.next.prev(),
            Feed::Snapshot { .. } => true,
        };
        if stale {
            marker!("raft.reject.stale");
            return;
        }
        marker!("raft.progress.probe");
        let high = m.hint.0.min(m.base.prev());
        let fits = self.log.last_with_term_at_most(m.hint.1, peer.matched.min(high), high, ctx.log);
        if let Some(lead) = &mut self.lead {
            lead.peers[at].probe(fits.next());
        }
        self.send_entries(ctx, at, out);
        self.arm_beat(ctx);
    }
}

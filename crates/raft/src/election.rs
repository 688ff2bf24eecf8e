//! Campaigns and votes.
//!
//! PreVote first (Ongaro 2014 §9.6): a replica asks whether it would be elected before it raises its term, so that
//! one which was cut off does not depose a leader when it comes back. A vote leaves only after term and vote are
//! durable, and so does a request for votes: a candidate that crashed before its term was durable could campaign in
//! the same term again, with a shorter log, and count votes that were given to the longer one.

use crate::{Ctx, Group, HardState, Member, Message, Output, Payload, Role, VoteAnswer, VoteRequest};
use base::{Index, Term, marker};

/// So often a campaign is put off that would be in vain. Then it asks all the same, for beats may be old.
const MOST_PUT_OFF: u8 = 7;

/// How much of an unapplied log is looked at in one go for changes of membership.
const SCAN_BYTES: usize = 1 << 20;

impl Group {
    /// Campaigns now instead of at a deadline, PreVote first; does nothing while fortified, on a leader, or on a replica
    /// that has no vote. For the preferred replica at a first boot or after a split.
    pub fn campaign(&mut self, ctx: &mut Ctx, out: &mut Output) {
        self.wake(ctx);
        if self.role == Role::Leader || self.bound(ctx.supports).is_some() || !self.may_campaign(ctx, out) {
            return;
        }
        self.pre_campaign(ctx, out);
    }

    /// The armed election deadline passed.
    pub(crate) fn election_due(&mut self, ctx: &mut Ctx, out: &mut Output) {
        if !self.promotable() || self.stopped || self.bound(ctx.supports).is_some() {
            self.election = base::Tick::FAR;
            return;
        }
        self.tries = self.tries.saturating_add(1);
        if self.put_off < MOST_PUT_OFF && self.campaigns_in_vain(ctx) {
            // costs no message; the next beats may say something else
            marker!("raft.election.in_vain");
            self.put_off += 1;
            self.arm_election_soon(ctx);
        } else if self.may_campaign(ctx, out) {
            self.put_off = 0;
            self.pre_campaign(ctx, out);
        } else {
            self.arm_election(ctx);
        }
    }

    /// Has this replica a vote in the configuration that it has applied?
    pub fn promotable(&self) -> bool {
        self.conf.is_voter(self.cfg.replica)
    }

    /// Beats say whom the other stores support. While so many voters stand by the leader that the rest is no quorum,
    /// asking is in vain: this store alone lost it. It may also be that its replica leads no more, and nobody knows.
    fn campaigns_in_vain(&self, ctx: &Ctx) -> bool {
        let Some(leader) = self.leader.filter(|l| l.replica != self.cfg.replica) else { return false };
        let not_leader = |m: Member| m.replica != leader.replica;
        let free = |m: Member| {
            m.replica == self.cfg.replica || (not_leader(m) && !ctx.supports.vouches(m.store, leader.store))
        };
        self.conf.quorum(not_leader) && !self.conf.quorum(free)
    }

    /// May this replica ask for votes? Not without a vote of its own, not before its store may vote, and not with a
    /// configuration that may be more than one change behind.
    pub(crate) fn may_campaign(&mut self, ctx: &mut Ctx, out: &mut Output) -> bool {
        if !self.promotable() || self.stopped || self.changes_unapplied(ctx, out) {
            return false;
        }
        // nobody but this replica could have promised anything to a leader of a group of one
        let alone = self.conf.members().iter().filter(|m| self.conf.is_voter(m.replica)).count() == 1
            && self.log.applied == self.log.last.0;
        let gated = ctx.now < ctx.supports.voting_allowed_from && !alone;
        if gated {
            marker!("raft.election.gated");
        }
        !gated || base::bug!("votes-right-after-restart")
    }

    /// Are changes of membership known to be committed that are not applied yet?
    ///
    /// A change is proposed only when the one before it is applied. So a log that contains two unapplied changes
    /// proves that the first is committed, also to a replica that lost its commit index in a crash. Campaigning under a
    /// configuration two changes old could find a quorum that shares nobody with the present one.
    fn changes_unapplied(&mut self, ctx: &mut Ctx, out: &mut Output) -> bool {
        if base::bug!("campaign-with-old-conf") {
            return false;
        }
        let mut changes: Vec<Index> = Vec::new();
        let mut from = self.log.applied.next();
        while from <= self.log.last.0 {
            let Ok(some) = self.log.entries(ctx.log, from, self.log.last.0, SCAN_BYTES) else { return true };
            let Some(end) = some.last() else { return true };
            from = end.index.next();
            changes.extend(some.iter().filter(|e| matches!(e.payload, Payload::Conf(_))).map(|e| e.index));
        }
        if let [.., committed, _] = changes[..]
            && committed > self.log.commit
        {
            marker!("raft.election.commit_proved_by_conf");
            self.set_commit(ctx, committed, out);
        }
        let waits = changes.first().is_some_and(|first| *first <= self.log.commit);
        if waits {
            marker!("raft.election.waits_for_conf");
        }
        waits
    }

    fn pre_campaign(&mut self, ctx: &mut Ctx, out: &mut Output) {
        if base::bug!("pre-vote-skipped") {
            return self.run(ctx, None, out);
        }
        marker!("raft.election.pre_vote");
        self.votes.clear();
        self.votes.push((self.cfg.replica, true));
        self.set_role(Role::PreCandidate, self.leader, out);
        self.arm_next_try(ctx);
        if self.tally(|yes| yes) {
            return self.run(ctx, None, out);
        }
        let request = VoteRequest { term: self.hard.term.next(), last: self.log.last, released: None };
        self.ask(Message::PreVote(request), &mut out.now);
    }

    /// Campaigns for real, in the next term. `released`: the leader of that term told us to take over.
    pub(crate) fn run(&mut self, ctx: &mut Ctx, released: Option<Term>, out: &mut Output) {
        marker!("raft.election.vote");
        (self.fortified, self.released) = (None, released);
        self.set_hard(HardState { term: self.hard.term.next(), vote: Some(self.cfg.replica) }, out);
        self.set_role(Role::Candidate, None, out);
        self.votes.clear();
        self.arm_election(ctx);
        let request = VoteRequest { term: self.hard.term, last: self.log.last, released };
        self.ask(Message::Vote(request), &mut out.after_write);
    }

    /// Our own vote is durable and counts like any other.
    pub(crate) fn own_vote_written(&mut self, ctx: &mut Ctx, out: &mut Output) {
        self.count_vote(self.cfg.member(), true);
        self.poll(ctx, out);
    }

    fn ask(&self, request: Message, messages: &mut Vec<(Member, Message)>) {
        for m in self.conf.members() {
            if m.replica != self.cfg.replica && self.conf.is_voter(m.replica) {
                messages.push((m, request.clone()));
            }
        }
    }

    /// PreVote changes nothing here, and promises nothing.
    pub(crate) fn on_pre_vote(&mut self, ctx: &mut Ctx, from: Member, m: VoteRequest, out: &mut Output) {
        if self.refuses(ctx, from, &m, out) {
            marker!("raft.pre_vote.refused");
            return out.now.push((from, Message::PreVoteAck(self.answer(ctx, self.hard.term, false))));
        }
        let granted = m.term > self.hard.term && self.up_to_date(m.last);
        if granted {
            marker!("raft.pre_vote.granted");
        } else if !self.up_to_date(m.last) && !base::bug!("waits-for-a-shorter-log") {
            // it asks in vain, and perhaps nobody but us can be elected
            self.take_heart(ctx);
        }
        let term = if granted { m.term } else { self.hard.term };
        out.now.push((from, Message::PreVoteAck(self.answer(ctx, term, granted))));
    }

    /// A vote: once per term, for a log that is not behind ours, and not while bound to a leader.
    pub(crate) fn on_vote(&mut self, ctx: &mut Ctx, from: Member, m: VoteRequest, out: &mut Output) {
        if let (Some(term), Some(f)) = (m.released, self.fortified)
            && f.term == term
        {
            // the candidate carries that leader's word, which may travel faster than its Defortify
            marker!("raft.vote.released");
            self.fortified = None;
        }
        if self.refuses(ctx, from, &m, out) {
            // the term does not rise either: a bound follower is not disturbed
            marker!("raft.vote.refused_bound");
            return out.now.push((from, Message::VoteAck(self.answer(ctx, self.hard.term, false))));
        }
        if m.term > self.hard.term {
            self.become_follower(ctx, m.term, None, out);
        }
        let free = self.hard.vote.is_none_or(|v| v == from.replica) && self.leader.is_none_or(|l| l == from);
        let fresh = self.up_to_date(m.last);
        if m.term == self.hard.term && free && fresh && self.role != Role::Leader {
            marker!("raft.vote.granted");
            if self.hard.vote.is_none() {
                self.set_hard(HardState { term: m.term, vote: Some(from.replica) }, out);
            }
            self.arm_election(ctx);
            let vote = (from, Message::VoteAck(self.answer(ctx, m.term, true)));
            if base::bug!("vote-before-write") { out.now.push(vote) } else { out.after_write.push(vote) }
        } else {
            marker!("raft.vote.refused");
            out.now.push((from, Message::VoteAck(self.answer(ctx, self.hard.term, false))));
        }
    }

    /// Is there a reason not even to look at a request for votes?
    fn refuses(&mut self, ctx: &mut Ctx, from: Member, m: &VoteRequest, out: &mut Output) -> bool {
        self.tell_removed(from, m, out);
        if base::bug!("vote-while-fortified") {
            return false;
        }
        self.release_from_campaigner(ctx, from, m.term);
        if let Some(f) = self.bound(ctx.supports) {
            return f.leader.replica != from.replica;
        }
        if ctx.now < ctx.supports.voting_allowed_from && !base::bug!("votes-right-after-restart") {
            marker!("raft.vote.gated");
            return true;
        }
        // the leader that gave up is not one to wait for
        let released = m.released.is_some_and(|term| term >= self.hard.term);
        let alive = !released && self.leader != Some(from) && self.leader_is_alive(ctx);
        let peer = self.lead.as_ref().and_then(|lead| lead.position(from.replica));
        if let (true, Some(at)) = (alive, peer) {
            // whoever campaigns has lost us, or came back
            self.heartbeat(ctx, at, out);
        }
        alive
    }

    /// Whoever led a term and asks to be elected in a later one has given up its lease, and never leads that term again. It
    /// may have been deposed by a successor's word and said no Defortify; when that successor dies before it reaches us,
    /// nobody else frees us, and others may need our vote. A request from before that term asks for no later one.
    fn release_from_campaigner(&mut self, ctx: &mut Ctx, from: Member, term: Term) {
        let ours = self.fortified.is_some_and(|f| f.leader == from && term > f.term);
        if ours && !base::bug!("campaigner-keeps-its-promises") {
            marker!("raft.fortify.leader_campaigns");
            self.fortified = None;
            if self.role == Role::Follower && self.election == base::Tick::FAR {
                self.arm_election(ctx);
            }
        }
    }

    /// Was the present leader heard within D? Or, on the leader itself: does a quorum stand by it?
    fn leader_is_alive(&self, ctx: &Ctx) -> bool {
        match self.role {
            Role::Leader => self.has_contact(ctx),
            _ => self.leader.is_some() && ctx.now < self.heard + self.cfg.election_timeout,
        }
    }

    /// The election restriction (Ongaro 2014 §3.6.1): compares last terms, then lengths.
    fn up_to_date(&self, last: (Index, Term)) -> bool {
        (last.1, last.0) >= (self.log.last.1, self.log.last.0) || base::bug!("vote-for-shorter-log")
    }

    /// A candidate that our applied configuration does not know, although we have applied everything that it has in
    /// its log, its own admission included: it was removed, and is told so.
    fn tell_removed(&self, from: Member, m: &VoteRequest, out: &mut Output) {
        let unknown = !self.conf.contains(from.replica) && !self.conf.members().is_empty();
        if unknown && self.log.applied >= m.last.0 && self.log.last.1 >= m.last.1 {
            marker!("raft.removed.told");
            out.now.push((from, Message::Removed { since: self.conf_index }));
        }
    }

    /// Somebody who knows says that we were removed. The node finds out for sure, and cleans up.
    pub(crate) fn on_removed(&mut self, since: Index, out: &mut Output) {
        if self.role != Role::Leader {
            marker!("raft.removed.heard");
            out.removed = Some(since);
        }
    }

    fn answer(&self, ctx: &Ctx, term: Term, granted: bool) -> VoteAnswer {
        let commit = self.log.commit;
        VoteAnswer { term, granted, commit: (commit, self.log.term(commit, ctx.log).unwrap_or(Term(0))) }
    }

    /// An answer names a committed entry. If we have that very entry, everything up to it is ours and committed.
    fn learn_commit(&mut self, ctx: &Ctx, commit: (Index, Term), out: &mut Output) {
        if commit.0 > self.log.commit && self.role != Role::Leader && self.log.term(commit.0, ctx.log) == Some(commit.1)
        {
            marker!("raft.election.commit_learnt");
            self.set_commit(ctx, commit.0, out);
        }
    }

    pub(crate) fn on_pre_vote_ack(&mut self, ctx: &mut Ctx, from: Member, m: VoteAnswer, out: &mut Output) {
        self.learn_commit(ctx, m.commit, out);
        if !m.granted && m.term > self.hard.term {
            let campaigned = self.role == Role::PreCandidate;
            self.become_follower(ctx, m.term, None, out);
            if campaigned && self.election != base::Tick::FAR && !base::bug!("old-term-costs-a-whole-wait") {
                // it was refused for its term, which it knows now, and not for its log
                marker!("raft.pre_vote.term_learnt");
                self.arm_election_soon(ctx);
            }
            return;
        }
        let ours = if m.granted { m.term == self.hard.term.next() } else { m.term <= self.hard.term };
        if self.role == Role::PreCandidate && ours {
            self.count_vote(from, m.granted);
            self.poll(ctx, out);
        }
    }

    pub(crate) fn on_vote_ack(&mut self, ctx: &mut Ctx, from: Member, m: VoteAnswer, out: &mut Output) {
        self.learn_commit(ctx, m.commit, out);
        if m.term > self.hard.term {
            return self.become_follower(ctx, m.term, None, out);
        }
        if self.role == Role::Candidate && (m.term == self.hard.term || !m.granted) {
            self.count_vote(from, m.granted);
            self.poll(ctx, out);
        }
    }

    fn count_vote(&mut self, from: Member, granted: bool) {
        match self.votes.iter_mut().find(|(r, _)| *r == from.replica) {
            // a yes stays a yes: the no may be an answer to an earlier request
            Some((_, vote)) => *vote |= granted,
            None => self.votes.push((from.replica, granted)),
        }
    }

    fn tally(&self, wanted: impl Fn(bool) -> bool) -> bool {
        self.conf.quorum(|m| self.votes.iter().any(|(r, vote)| *r == m.replica && wanted(*vote)))
    }

    /// Won, lost, or not yet?
    fn poll(&mut self, ctx: &mut Ctx, out: &mut Output) {
        if self.tally(|yes| yes) {
            match self.role {
                Role::PreCandidate => self.run(ctx, None, out),
                Role::Candidate => self.become_leader(ctx, out),
                Role::Follower | Role::Leader => {}
            }
        } else if self.conf.halves().any(|half| self.half_refuses(half)) {
            marker!("raft.election.lost");
            self.set_role(Role::Follower, self.leader, out);
            self.votes = Vec::new();
        }
    }

    fn half_refuses(&self, half: &[Member]) -> bool {
        let noes = half.iter().filter(|m| self.votes.contains(&(m.replica, false))).count();
        noes * 2 >= half.len()
    }
}

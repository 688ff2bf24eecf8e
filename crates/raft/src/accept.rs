//! A follower takes what a leader appends.

use crate::{Append, AppendAck, AppendReject, Committed, Ctx, Entry, Group, Lost, Member, Message, Output, Role};
use base::{Index, Term, Tick, marker};

impl Group {
    /// Entries from a leader. Accepted from anyone whose term is not over: a quorum elected it.
    pub(crate) fn on_append(&mut self, ctx: &mut Ctx, from: Member, m: Append, out: &mut Output) {
        if !self.follow(ctx, from, m.term, m.base.0, out) {
            return;
        }
        if self.log.last.0 < m.acked && !base::bug!("lost-acknowledgements-unnoticed") {
            // in the term of its leader a log only grows: what was acknowledged in it and is not there was lost since
            marker!("raft.append.acknowledged_and_gone");
            out.lost = Some(Lost { acked: m.acked, last: self.log.last.0, leader: from });
            return;
        }
        if self.contradicts(ctx, &m) {
            marker!("raft.append.contradicts_the_commit");
            return;
        }
        let fortified = self.fortify(ctx.supports, from, m.epoch);
        self.heard_leader(ctx);
        let end = Index(m.base.0.0 + m.entries.len() as u64);
        let commit = m.commit;
        let only = !out.needs_disk();
        match self.take(ctx, m, out) {
            Ok(matched) => {
                out.patient = only && !out.append.is_empty() && end <= commit;
                let target = if base::bug!("commit-beyond-match") { commit } else { commit.min(end) };
                self.commit_to(ctx, target, out);
                let ack = AppendAck { term: self.hard.term, index: matched, fortified };
                self.acknowledge(from, ack, out);
            }
            Err(reject) => {
                marker!("raft.append.rejected");
                out.now.push((from, Message::AppendReject(reject)));
            }
        }
    }

    /// Has its sender another entry where ours is committed? Then it was deposed, by a leader of whom we know only a
    /// snapshot: we heard that one's term, said that we need a snapshot, and crashed before the term was durable. What
    /// follows that entry must not be put behind ours [R1: log matching]. Nothing is promised, and nothing answered.
    fn contradicts(&self, ctx: &Ctx, m: &Append) -> bool {
        let at = self.log.commit.0.checked_sub(m.base.0.0 + 1);
        let theirs = at.and_then(|at| m.entries.get(at as usize)).map(|e| e.term);
        theirs.is_some_and(|term| self.log.term(self.log.commit, ctx.log).is_some_and(|ours| ours != term))
    }

    /// Becomes the follower of this leader, or says that its term is over. True if it is to be followed.
    pub(crate) fn follow(&mut self, ctx: &mut Ctx, from: Member, term: Term, base: Index, out: &mut Output) -> bool {
        if term < self.hard.term {
            marker!("raft.append.of_an_old_term");
            let reject = AppendReject { term: self.hard.term, base, hint: (Index(0), Term(0)) };
            out.now.push((from, Message::AppendReject(reject)));
            return false;
        }
        assert!(
            term > self.hard.term || (self.role != Role::Leader && self.leader.is_none_or(|l| l == from)) || planted(),
            "R1 election safety: {from} and {:?} both lead term {term}",
            self.leader
        );
        if term > self.hard.term || self.role != Role::Follower || self.leader != Some(from) {
            self.become_follower(ctx, term, Some(from), out);
        }
        true
    }

    /// The leader of the present term spoke: whoever is bound to it waits for no deadline.
    pub(crate) fn heard_leader(&mut self, ctx: &mut Ctx) {
        self.heard = ctx.now;
        (self.tries, self.put_off) = (0, 0);
        self.defortify = None;
        if self.bound(ctx.supports).is_some() {
            self.election = Tick::FAR;
        } else {
            self.arm_election(ctx);
        }
    }

    /// Takes the entries into the log. Returns up to where it then equals the leader's, or why it does not fit.
    fn take(&mut self, ctx: &mut Ctx, m: Append, out: &mut Output) -> Result<Index, AppendReject> {
        let Append { mut base, mut entries, .. } = m;
        if base.0 < self.log.commit {
            // what is committed equals every later leader's log: begin there
            let known = (self.log.commit.0 - base.0.0) as usize;
            if known >= entries.len() {
                marker!("raft.append.all_committed");
                return Ok(self.log.commit);
            }
            entries.drain(..known);
            let at = self.log.commit;
            base = (at, self.log.term(at, ctx.log).unwrap_or(Term(0)));
        } else if !self.has(ctx, base) {
            return Err(self.refuse_base(ctx, base));
        }
        let matched = Index(base.0.0 + entries.len() as u64);
        let fresh = match self.first_fresh(ctx, base.0, &entries) {
            None => {
                marker!("raft.append.known");
                return Ok(matched);
            }
            Some(at) => at,
        };
        self.cut_tail(ctx, Index(base.0.0 + 1 + fresh as u64), out);
        marker!("raft.append.accepted");
        for entry in entries.drain(fresh..) {
            self.push(entry, out);
        }
        Ok(matched)
    }

    /// The consistency check (Ongaro 2014 §3.5): do we have that very entry?
    fn has(&self, ctx: &Ctx, base: (Index, Term)) -> bool {
        if base.0 > self.log.last.0 {
            return false;
        }
        self.log.term(base.0, ctx.log) == Some(base.1) || base::bug!("append-without-prev-check")
    }

    /// The position of the first entry that our log lacks or has with another term.
    fn first_fresh(&self, ctx: &Ctx, base: Index, entries: &[Entry]) -> Option<usize> {
        if base == self.log.last.0 {
            return if entries.is_empty() { None } else { Some(0) };
        }
        entries.iter().position(|e| e.index > self.log.last.0 || self.log.term(e.index, ctx.log) != Some(e.term))
    }

    /// Removes what is in the way of an entry at `from`: a tail that another leader wrote and nobody committed.
    fn cut_tail(&mut self, ctx: &Ctx, from: Index, out: &mut Output) {
        let old_last = self.log.last.0;
        if from > old_last {
            return;
        }
        marker!("raft.append.tail_cut");
        let before = self.log.term(from.prev(), ctx.log).unwrap_or(Term(0));
        self.log.cut(from, before);
        out.append.retain(|e| e.index < from);
        let (first, last) = out.delete.unwrap_or((from, old_last));
        out.delete = Some((first.min(from), last.max(old_last)));
    }

    /// Names the last of our entries that may match, so that the leader skips what cannot.
    fn refuse_base(&self, ctx: &Ctx, base: (Index, Term)) -> AppendReject {
        let high = base.0.min(self.log.last.0);
        let hint = self.log.last_with_term_at_most(base.1, self.log.commit, high, ctx.log);
        let term = self.log.term(hint, ctx.log).unwrap_or(Term(0));
        AppendReject { term: self.hard.term, base: base.0, hint: (hint, term) }
    }

    /// An acknowledgement leaves when everything it vouches for is durable: the entries, which may have come with an
    /// earlier append whose write is still under way, and the term. So it always waits behind the writer.
    fn acknowledge(&self, to: Member, ack: AppendAck, out: &mut Output) {
        marker!("raft.append.acked");
        let message = (to, Message::AppendAck(ack));
        if base::bug!("ack-before-fsync") { out.now.push(message) } else { out.after_write.push(message) }
    }

    /// Raises the commit index, if that is news.
    fn commit_to(&mut self, ctx: &Ctx, to: Index, out: &mut Output) {
        let to = to.min(self.log.last.0);
        if to > self.log.commit {
            marker!("raft.commit.heard");
            self.set_commit(ctx, to, out);
        }
    }

    /// One element of a peer's commit vector. Sent without entries, it says nothing about *our* log: it counts only if
    /// we have that very entry.
    pub fn receive_commit(&mut self, ctx: &mut Ctx, from: Member, told: Committed, out: &mut Output) {
        if told.leader_term != self.hard.term || self.leader != Some(from) || self.role != Role::Follower {
            return;
        }
        self.heard_leader(ctx);
        let ours = self.log.term(told.index, ctx.log) == Some(told.entry_term);
        if ours || base::bug!("commit-vector-over-divergent-tail") {
            self.commit_to(ctx, told.index, out);
        } else {
            marker!("raft.commit.not_ours");
        }
    }
}

/// With a planted bug two leaders of a term are possible, and are for the checkers to find, not for an assertion.
fn planted() -> bool {
    cfg!(feature = "museum")
}

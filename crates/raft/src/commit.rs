//! What is committed.

use crate::lead::Lead;
use crate::{Committed, Ctx, Group, Output, Role};
use base::{Index, ReplicaId, marker};

impl Group {
    /// Raises the commit index to what a quorum of every half has durably, if that is of this term.
    ///
    /// An older term's entry is never committed by counting copies (Ongaro 2014 §3.6.2, figure 3.7): a later leader
    /// may still overwrite it. It commits with the first entry of this term.
    pub(crate) fn maybe_commit(&mut self, ctx: &mut Ctx, out: &mut Output) {
        let Some(lead) = &self.lead else { return };
        let Some(to) = self.committed_with(lead, self.log.written) else { return };
        marker!("raft.commit");
        let first_of_term = self.log.commit < lead.term_start;
        self.set_commit(ctx, to, out);
        let uncommitted = self.log.last.0 > to;
        let give_up = ctx.now + self.cfg.election_timeout + self.cfg.election_timeout;
        if let Some(lead) = &mut self.lead {
            lead.stuck = if uncommitted { give_up } else { base::Tick::FAR };
        }
        for at in 0..self.peers() {
            self.tell_commit(at, out);
        }
        self.feed_spares(ctx, out);
        if first_of_term {
            marker!("raft.commit.first_of_term");
            self.place_rounds(out);
        }
    }

    /// What would be committed now that is not yet, if our own copy reached this far.
    fn committed_with(&self, lead: &Lead, own: Index) -> Option<Index> {
        let copies = self.conf.quorum_value(|m| {
            if m.replica == self.cfg.replica { own } else { lead.peer(m.replica).map_or(Index(0), |p| p.matched) }
        });
        let of_this_term = |to: &Index| *to >= lead.term_start || base::bug!("commit-older-term-by-counting");
        copies.filter(|to| *to > self.log.commit).filter(of_this_term)
    }

    /// Would it change anything here if everything handed to the disk were durable? Not where a quorum waits for others
    /// anyway, and not on a follower: its acknowledgements leave with the write itself.
    pub fn awaits_own_write(&self) -> bool {
        let waits = match (self.role, &self.lead) {
            (Role::Candidate, _) => true,
            (Role::Leader, Some(lead)) => self.committed_with(lead, self.log.last.0).is_some(),
            _ => false,
        };
        waits && !base::bug!("own-write-awaited-by-nobody")
    }

    /// Puts the commit index into the output's commit vector for a peer that has the entry and was not told.
    pub(crate) fn tell_commit(&mut self, at: usize, out: &mut Output) {
        let Some((member, told)) = self.lead.as_ref().map(|lead| (lead.peers[at].member, lead.peers[at].told)) else {
            return;
        };
        let Some(news) = self.commit_for(member.replica).filter(|c| c.index > told) else { return };
        marker!("raft.commit.told");
        if let Some(lead) = &mut self.lead {
            lead.peers[at].told = news.index;
        }
        match out.commits.iter_mut().find(|(m, _)| *m == member) {
            Some((_, old)) => *old = news,
            None => out.commits.push((member, news)),
        }
    }

    /// On a leader: what a commit vector may say to this member, told before or not. `None` for a member that does not
    /// have the committed entry yet: its next append will tell it.
    pub fn commit_for(&self, to: ReplicaId) -> Option<Committed> {
        let lead = self.lead.as_ref()?;
        let known = lead.peer(to)?.matched >= self.log.commit || base::bug!("commit-vector-over-divergent-tail");
        if self.log.commit < lead.term_start || !known {
            return None;
        }
        // at or after the first entry of this term: every entry is of this term
        Some(Committed { leader_term: self.hard.term, index: self.log.commit, entry_term: self.hard.term })
    }
}

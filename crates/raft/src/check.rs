//! The invariants of one replica, and its fingerprint.

use crate::{Group, Role};
use base::{Index, Tick};
use std::hash::{Hash, Hasher};

impl Group {
    /// Checks what must hold between any two calls [R1]. Cheap enough for every step of a simulation.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        self.log.check();
        assert!(self.log.last.1 <= self.hard.term, "R1: an entry of a term that we have not seen: {self}");
        assert_eq!(self.role == Role::Leader, self.lead.is_some(), "R1: role {} with or without lead", self.role);
        if self.role == Role::Leader {
            assert_eq!(self.leader, Some(self.cfg.member()), "R1: a leader that follows: {self}");
        } else {
            assert!(self.leader != Some(self.cfg.member()), "R1: follows itself: {self}");
        }
        if self.role == Role::Candidate || self.role == Role::Leader {
            let own = self.hard.vote == Some(self.cfg.replica);
            assert!(own, "R1: elected without its own vote: {self}");
        }
        if let Some(f) = self.fortified {
            assert!(f.term <= self.hard.term, "R1: fortified in a later term: {self}");
        }
        self.check_lead();
    }

    fn check_lead(&self) {
        let Some(lead) = &self.lead else { return };
        assert!(self.election == Tick::FAR, "R1: a leader waits for an election");
        assert!(self.log.last.1 == self.hard.term, "R1: a leader's log ends in an older term: {self}");
        assert!(lead.term_start <= self.log.last.0, "R1: a leader without an entry of its own");
        assert_eq!(
            lead.spares.who == 0,
            lead.spares.until == Tick::FAR,
            "R1: spares without an end, or an end of none"
        );
        let mut before = base::ReplicaId(0);
        for p in &lead.peers {
            assert!(p.member.replica > before, "R1: peers out of order");
            before = p.member.replica;
            assert!(before != self.cfg.replica, "R1: a leader is its own peer");
            assert!(
                p.matched < p.next && p.next <= self.log.last.0.next(),
                "R1: {} matched {} next {}",
                p.member,
                p.matched,
                p.next
            );
            assert!(p.matched <= self.log.last.0, "R1: {} has more than the leader", p.member);
            assert!(p.inflight() <= self.cfg.max_inflight, "R1: window of {} overflows", p.member);
        }
        for r in &lead.rounds {
            assert!(r.round.0 <= self.rounds, "R1: a round from nowhere");
            assert!(r.index.is_none_or(|i| i <= self.log.commit && i > Index(0)), "R1: a read ahead of the commit");
        }
    }
}

/// Two groups that differ only in deadlines hash alike: exploration without a clock tells states apart by this.
impl Hash for Group {
    fn hash<H: Hasher>(&self, h: &mut H) {
        (&self.cfg.replica, &self.conf, self.conf_index, &self.log, self.hard, self.role, self.leader).hash(h);
        (&self.votes, self.released, self.fortified, self.defortify.map(|d| d.0), self.rounds, self.stopped).hash(h);
        if let Some(lead) = &self.lead {
            (
                lead.term_start,
                lead.pending_conf,
                &lead.rounds,
                lead.transfer.map(|t| t.0),
                lead.spares.who,
                (lead.spares.rest, lead.spares.next_rest),
            )
                .hash(h);
            lead.peers.iter().for_each(|p| p.key().hash(h));
        }
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let log = &self.log;
        write!(f, "{} {} term={}", self.cfg.member(), self.role, self.hard.term)?;
        if let Some(vote) = self.hard.vote {
            write!(f, " vote={vote}")?;
        }
        if let Some(leader) = self.leader {
            write!(f, " leader={leader}")?;
        }
        write!(f, " log=({}..{}@{}]", log.truncated.0, log.last.0, log.last.1)?;
        write!(f, " written={} commit={} applied={}", log.written, log.commit, log.applied)?;
        match self.fortified {
            Some(x) => write!(f, " fortified={}@{} {}", x.leader, x.term, x.epoch),
            None => Ok(()),
        }
    }
}

//! Read rounds: a leader without a lease proves that it still leads.
//!
//! A round has a number of its own, given out by the leader, never by whoever reads: an answer to an older round must
//! not prove a newer one (that mistake, keyed by the reader's context, made stale reads in a well-known core). An
//! acknowledgement of a round acknowledges all before it, because it was sent after they began.

use crate::lead::Round;
use crate::{AppendReject, Ctx, Group, Member, Message, NotLeader, Output, ReadRound, Role};
use base::{Index, Term, marker};

impl Group {
    /// Begins a fresh round. When a quorum has confirmed it, [`Output::reads_ready`] names it with the index that must
    /// be applied before the read; when leadership ends first it never comes.
    pub fn read_index(&mut self, ctx: &mut Ctx, out: &mut Output) -> Result<ReadRound, NotLeader> {
        let Some(lead) = &mut self.lead else { return Err(NotLeader { leader: self.leader }) };
        marker!("raft.read.begun");
        if !base::bug!("reused-read-context") || self.rounds == 0 {
            self.rounds += 1;
        }
        let round = ReadRound(self.rounds);
        let index = Some(self.log.commit).filter(|commit| *commit >= lead.term_start);
        lead.rounds.push(Round { round, index });
        self.ask_round(out);
        self.finish_rounds(out);
        self.arm_beat(ctx);
        Ok(round)
    }

    /// Asks (again) about the newest round everybody who votes and has not confirmed it.
    pub(crate) fn ask_round(&self, out: &mut Output) {
        let Some(lead) = &self.lead else { return };
        let Some(newest) = lead.rounds.last() else { return };
        for peer in &lead.peers {
            if peer.round < newest.round.0 && self.conf.is_voter(peer.member.replica) {
                let message = Message::ReadIndex { term: self.hard.term, round: newest.round.0 };
                out.now.push((peer.member, message));
            }
        }
    }

    /// A voter confirms that it knows no later term. It needs no write: whoever elected a later leader had made its
    /// larger term durable before.
    pub(crate) fn on_read_index(&mut self, ctx: &mut Ctx, from: Member, asked: (Term, u64), out: &mut Output) {
        let (term, round) = asked;
        if term < self.hard.term && !base::bug!("read-confirmed-for-old-term") {
            marker!("raft.read.of_an_old_term");
            let reject = AppendReject { term: self.hard.term, base: Index(0), hint: (Index(0), Term(0)) };
            return out.now.push((from, Message::AppendReject(reject)));
        }
        if term >= self.hard.term {
            if !self.follow(ctx, from, term, Index(0), out) {
                return;
            }
            self.heard_leader(ctx);
        }
        marker!("raft.read.confirmed");
        out.now.push((from, Message::ReadIndexAck { term, round }));
    }

    pub(crate) fn on_read_index_ack(&mut self, ctx: &mut Ctx, from: Member, acked: (Term, u64), out: &mut Output) {
        let (term, round) = acked;
        if self.role != Role::Leader || term != self.hard.term {
            return;
        }
        let Some(at) = self.peer_heard(ctx, from) else { return };
        if let Some(lead) = &mut self.lead {
            let peer = &mut lead.peers[at];
            peer.round = peer.round.max(round);
        }
        self.finish_rounds(out);
    }

    /// An entry of this term is committed: rounds that waited for it know their index now. It is at least what any
    /// earlier leader had committed when they began.
    pub(crate) fn place_rounds(&mut self, out: &mut Output) {
        let commit = self.log.commit;
        if let Some(lead) = &mut self.lead {
            lead.rounds.iter_mut().filter(|r| r.index.is_none()).for_each(|r| r.index = Some(commit));
        }
        self.finish_rounds(out);
    }

    /// Hands out the rounds that a quorum of every half has confirmed.
    pub(crate) fn finish_rounds(&mut self, out: &mut Output) {
        let Some(lead) = &self.lead else { return };
        if lead.rounds.is_empty() {
            return;
        }
        let own = self.cfg.replica;
        let confirmed = self
            .conf
            .quorum_value(|m| if m.replica == own { u64::MAX } else { lead.peer(m.replica).map_or(0, |p| p.round) });
        let confirmed = confirmed.unwrap_or(0);
        let Some(lead) = &mut self.lead else { return };
        lead.rounds.retain(|r| match r.index {
            Some(index) if r.round.0 <= confirmed => {
                marker!("raft.read.ready");
                out.reads_ready.push((r.round, index));
                false
            }
            _ => true,
        });
    }
}

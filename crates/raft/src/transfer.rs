//! Handing leadership over.
//!
//! The target catches up while proposals are refused. Then the leader stops leading *first*, and for the rest of its
//! term, says Defortify to all and TimeoutNow to the target. However late TimeoutNow arrives, it is true.

use crate::progress::Feed;
use crate::{Ctx, Group, Member, Message, NotLeader, Output, Role, TransferRefused};
use base::{ReplicaId, Term, marker};

impl Group {
    /// Hands leadership to a voter. Proposals are refused until it is handed over, or until D has passed without success.
    pub fn transfer(&mut self, ctx: &mut Ctx, to: ReplicaId, out: &mut Output) -> Result<(), TransferRefused> {
        let give_up = ctx.now + self.cfg.election_timeout;
        let known = NotLeader { leader: self.leader };
        let applied = self.log.applied;
        let votes = self.conf.is_voter(to);
        let Some(lead) = &mut self.lead else { return Err(TransferRefused::NotLeader(known)) };
        let Some(at) = lead.position(to).filter(|_| votes) else { return Err(TransferRefused::NoVoter) };
        if lead.transfer.is_some_and(|(under_way, _)| under_way == to) {
            // asking again gives it no more time: proposals wait
            return Ok(());
        }
        if lead.pending_conf > applied {
            return Err(TransferRefused::Pending);
        }
        if lead.peers[at].feed != Feed::Replicate {
            return Err(TransferRefused::Behind);
        }
        marker!("raft.transfer.begun");
        lead.transfer = Some((to, give_up));
        self.hand_over_if_ready(ctx, out);
        if self.lead.is_some() {
            // the answer to this one does not wait for company: proposals wait for it
            self.heartbeat(ctx, at, out);
        }
        Ok(())
    }

    /// To whom leadership is being handed: proposals are refused meanwhile.
    pub fn transferring(&self) -> Option<ReplicaId> {
        self.lead.as_ref().and_then(|lead| lead.transfer).map(|(to, _)| to)
    }

    /// The target has everything: leave.
    pub(crate) fn hand_over_if_ready(&mut self, ctx: &mut Ctx, out: &mut Output) {
        let Some((lead, (to, _))) = self.lead.as_ref().and_then(|lead| lead.transfer.map(|t| (lead, t))) else {
            return;
        };
        let Some(at) = lead.position(to).filter(|at| lead.peers[*at].matched == self.log.last.0) else { return };
        let target = lead.peers[at].member;
        marker!("raft.transfer.handed_over");
        // the target learns the commit index before it campaigns
        self.heartbeat(ctx, at, out);
        let term = self.hard.term;
        if base::bug!("delayed-timeout-now") {
            // "it will be elected in a moment, until then we go on"
            if let Some(lead) = &mut self.lead {
                lead.transfer = None;
            }
        } else {
            self.stop_leading(ctx, out);
        }
        out.now.push((target, Message::TimeoutNow { term }));
    }

    /// The leader of this term stepped down for our sake.
    pub(crate) fn on_timeout_now(&mut self, ctx: &mut Ctx, from: Member, term: Term, out: &mut Output) {
        let theirs = self.leader.is_none_or(|l| l == from);
        // what was promised to that leader ends with it; another promise binds
        let bound = self.bound(ctx.supports).is_some_and(|f| f.term != term);
        let wrong = term != self.hard.term || self.role == Role::Leader || !theirs || bound;
        if wrong || !self.may_campaign(ctx, out) {
            marker!("raft.timeout_now.ignored");
            return;
        }
        marker!("raft.timeout_now.campaigns");
        self.run(ctx, Some(term), out);
    }
}

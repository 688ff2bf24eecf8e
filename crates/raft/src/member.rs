//! Membership: propose a change, and what happens when it is applied.
//!
//! A configuration counts from when it is *applied*, and the next change is proposed only then. So the configurations
//! of any two replicas that could both be elected are at most one change apart, and each two neighbours share a member
//! in every pair of quorums. (`election.rs` holds the other half: nobody campaigns two changes behind.)

use crate::progress::Feed;
use crate::{Conf, ConfChange, ConfRefused, ConfStep, Ctx, Group, Member, Message, Output, Payload, Reach};
use base::{Index, Term, Tick, marker};

impl Group {
    /// Appends a change of membership.
    pub fn propose_conf(
        &mut self,
        ctx: &mut Ctx,
        change: &ConfChange,
        out: &mut Output,
    ) -> Result<(Term, Index), ConfRefused> {
        self.accepts_proposals().map_err(ConfRefused::NotLeader)?;
        let Some(lead) = &self.lead else { return Err(ConfRefused::Pending) };
        if lead.pending_conf > self.log.applied && !base::bug!("two-changes-at-once") {
            marker!("raft.conf.pending");
            return Err(ConfRefused::Pending);
        }
        let next = self.conf.apply(change).map_err(|e| ConfRefused::Invalid(e.text))?;
        if change.step == ConfStep::Leave && !next.is_voter(self.cfg.replica) {
            marker!("raft.conf.leader_leaves");
            return Err(ConfRefused::LeaderLeaves);
        }
        if !next.quorum(|m| self.keeps_up(ctx, m)) {
            marker!("raft.conf.no_quorum");
            return Err(ConfRefused::NoQuorum);
        }
        marker!("raft.conf.proposed");
        let (term, index) = self.append_own(ctx, Payload::Conf(change.encode()), Reach::All, out);
        if let Some(lead) = &mut self.lead {
            lead.pending_conf = index;
        }
        Ok((term, index))
    }

    /// Is this member there, and fed from the log?
    fn keeps_up(&self, ctx: &Ctx, m: Member) -> bool {
        if m.replica == self.cfg.replica {
            return true;
        }
        let Some(lead) = &self.lead else { return false };
        let Some(at) = lead.position(m.replica) else { return false };
        let peer = &lead.peers[at];
        let lately = peer.heard + self.cfg.election_timeout + self.cfg.election_timeout >= ctx.now;
        let here = lately || self.promise_of(ctx.supports, m) > ctx.now;
        here && peer.feed == Feed::Replicate && peer.matched >= self.log.truncated.0
    }

    /// The conf entry at `index` was applied and led to `conf` ([`Conf::apply`]). The node calls this before
    /// [`Group::applied`] for that index, and before it reads anything else of this group.
    pub fn conf_applied(&mut self, ctx: &mut Ctx, index: Index, conf: Conf, out: &mut Output) {
        marker!("raft.conf.applied");
        (self.conf, self.conf_index) = (conf, index);
        if self.lead.is_none() {
            if !self.promotable() {
                self.election = Tick::FAR;
            } else if self.election == Tick::FAR && self.bound(ctx.supports).is_none() {
                self.arm_election(ctx);
            }
            return;
        }
        let before = self.peers();
        let members = self.conf.members();
        let (own, last) = (self.cfg.replica, self.log.last.0);
        let gone = self.lead.as_mut().map(|lead| lead.set_members(&members, own, last, ctx.now)).unwrap_or_default();
        for m in gone {
            marker!("raft.removed.told_by_leader");
            out.now.push((m, Message::Removed { since: index }));
        }
        if !self.promotable() {
            marker!("raft.conf.leader_removed");
            for at in 0..self.peers() {
                // whoever may lead from now on should know that the change is committed
                self.heartbeat(ctx, at, out);
            }
            return self.stop_leading(ctx, out);
        }
        // fewer may have to agree now, to a commit and to a read
        self.maybe_commit(ctx, out);
        self.finish_rounds(out);
        let fresh: Vec<usize> = (0..self.peers())
            .filter(|at| self.lead.as_ref().is_some_and(|l| l.peers[*at].matched == Index(0)))
            .collect();
        for at in fresh {
            marker!("raft.conf.new_member_probed");
            self.heartbeat(ctx, at, out);
        }
        // who was spared may be needed now
        for at in 0..self.peers() {
            self.send_entries(ctx, at, out);
        }
        debug_assert!(before + members.len() >= self.peers());
        self.watch_quorum(ctx);
        self.arm_beat(ctx);
    }
}

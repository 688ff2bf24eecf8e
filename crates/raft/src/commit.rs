//! What is committed.

use crate::{Ctx, Group, Output};
use base::{Index, marker};

impl Group {
    /// Raises the commit index to what a quorum of every half has durably, if that is of this term.
    ///
    /// An older term's entry is never committed by counting copies (Ongaro 2014 §3.6.2, figure 3.7): a later leader
    /// may still overwrite it. It commits with the first entry of this term.
    pub(crate) fn maybe_commit(&mut self, ctx: &mut Ctx, out: &mut Output) {
        let Some(lead) = &self.lead else { return };
        let (own, written) = (self.cfg.replica, self.log.written);
        let copies = self.conf.quorum_value(|m| {
            if m.replica == own { written } else { lead.peer(m.replica).map_or(Index(0), |p| p.matched) }
        });
        let Some(to) = copies else { return };
        if to <= self.log.commit || (to < lead.term_start && !base::bug!("commit-older-term-by-counting")) {
            return;
        }
        marker!("raft.commit");
        let first_of_term = self.log.commit < lead.term_start;
        self.set_commit(ctx, to, out);
        let uncommitted = self.log.last.0 > to;
        let give_up = ctx.now + self.cfg.election_timeout + self.cfg.election_timeout;
        if let Some(lead) = &mut self.lead {
            lead.stuck = if uncommitted { give_up } else { base::Tick::FAR };
        }
        if first_of_term {
            marker!("raft.commit.first_of_term");
            self.place_rounds(out);
        }
    }
}

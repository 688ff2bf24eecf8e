//! Handing leadership over in order.
//!
//! What is evaluated and in no entry yet would lose the number that was issued for it, and what is in an entry and not
//! committed would leave its client in doubt. So nothing new is evaluated from the wish on, and the Raft core is asked
//! once everything is committed; what waits unevaluated is routed to the next leader.

use crate::lead::MetaLead;
use crate::replica::Replica;
use crate::sink::Turn;
use base::{ReplicaId, Result, marker};
use engine::Engine;

impl<V: engine::Read + Send + Sync + 'static> Replica<V> {
    /// Hands leadership over, as soon as it may. When that takes longer than D it is not done.
    pub fn transfer<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, to: ReplicaId) -> Result<()> {
        let give_up = turn.now + self.group.config().election_timeout;
        if self.lead.is_some() {
            self.handing.get_or_insert((to, give_up));
        }
        self.hand_over(turn)
    }

    /// Is leadership being handed over, or about to be? Nothing is evaluated meanwhile.
    pub fn is_handing_over(&self) -> bool {
        let wished = self.handing.is_some() && !base::bug!("transfer-burns-numbers");
        wished || self.group.transferring().is_some()
    }

    /// Is everybody answered who asked this leader?
    pub fn owes_nothing(&self) -> bool {
        self.lead.as_ref().is_none_or(|l| {
            let calls = l.weight() == 0 && l.proving.is_empty() && l.unproved.is_empty();
            calls && l.meta.as_ref().is_none_or(MetaLead::owes_nothing)
        })
    }

    /// Goes on with it, once everything that was evaluated is committed.
    pub fn hand_over<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        let (Some(lead), Some((to, give_up))) = (&self.lead, self.handing) else { return Ok(()) };
        if turn.now >= give_up {
            marker!("transfer.given up before it began");
            self.handing = None;
            return Ok(());
        }
        let waits = !lead.pending.is_empty() || lead.meta.as_ref().is_some_and(|m| !m.owes_nothing());
        if waits && !base::bug!("transfer-burns-numbers") {
            marker!("transfer.waits for what is evaluated");
            return Ok(());
        }
        self.handing = None;
        self.with_group(turn, |group, ctx, out| {
            // No such voter, or it fell behind: whoever asked will see who leads.
            let _ = group.transfer(ctx, to, out);
        })
    }
}

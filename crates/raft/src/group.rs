//! One replica of one group: its state, and the door through which everything enters.

use crate::{
    Boot, Committed, Conf, ConfChange, Config, Ctx, LogRead, Member, Message, Output, ReadRound, Role, Snapshot,
};
use crate::{ConfRefused, Entry, NotLeader, Supports, TransferRefused};
use base::{Index, ReplicaId, StoreId, Term, Tick};
use bytes::Bytes;

/// One replica.
#[derive(Clone, Debug)]
pub struct Group {
    pub(crate) cfg: Config,
    pub(crate) conf: Conf,
}

impl Group {
    /// The replica as its disk remembers it. It asks for a turn at once ([`Group::next_deadline`]).
    pub fn new(cfg: Config, boot: Boot) -> Group {
        Group { cfg, conf: boot.conf }
    }
    /// A message from another replica of this group.
    pub fn receive(&mut self, ctx: &mut Ctx, from: Member, msg: Message, out: &mut Output) {
        let _ = (ctx, from, msg, out);
        unimplemented!()
    }
    /// One entry.
    pub fn propose(&mut self, ctx: &mut Ctx, data: Bytes, out: &mut Output) -> Result<(Term, Index), NotLeader> {
        let _ = (ctx, data, out);
        unimplemented!()
    }
    /// A change of membership.
    pub fn propose_conf(
        &mut self,
        ctx: &mut Ctx,
        change: &ConfChange,
        out: &mut Output,
    ) -> Result<(Term, Index), ConfRefused> {
        let _ = (ctx, change, out);
        unimplemented!()
    }
    /// The write with this [`Output::mark`] is durable.
    pub fn written(&mut self, ctx: &mut Ctx, term: Term, index: Index, out: &mut Output) {
        let _ = (ctx, term, index, out);
        unimplemented!()
    }
    /// Entries up to here are applied (durably or not).
    pub fn applied(&mut self, ctx: &mut Ctx, index: Index, out: &mut Output) {
        let _ = (ctx, index, out);
        unimplemented!()
    }
    /// The conf entry at `index` was applied and led to this configuration; call it before [`Group::applied`].
    pub fn conf_applied(&mut self, ctx: &mut Ctx, index: Index, conf: Conf, out: &mut Output) {
        let _ = (ctx, index, conf, out);
        unimplemented!()
    }
    /// Support from or for that store began, ended or changed its epoch, or the stream to it was set up anew.
    pub fn liveness_changed(&mut self, ctx: &mut Ctx, store: StoreId, out: &mut Output) {
        let _ = (ctx, store, out);
        unimplemented!()
    }
    /// The armed deadline passed (calling it early or late is harmless).
    pub fn deadline(&mut self, ctx: &mut Ctx, out: &mut Output) {
        let _ = (ctx, out);
        unimplemented!()
    }
    /// When [`Group::deadline`] wants to be called; [`Tick::FAR`] while idle.
    pub fn next_deadline(&self) -> Tick {
        unimplemented!()
    }
    /// Campaigns now, PreVote first, unless this replica is fortified.
    pub fn campaign(&mut self, ctx: &mut Ctx, out: &mut Output) {
        let _ = (ctx, out);
        unimplemented!()
    }
    /// Begins a read round.
    pub fn read_index(&mut self, ctx: &mut Ctx, out: &mut Output) -> Result<ReadRound, NotLeader> {
        let _ = (ctx, out);
        unimplemented!()
    }
    /// Hands leadership to a voter: proposals are refused, the voter catches up, then TimeoutNow.
    pub fn transfer(&mut self, ctx: &mut Ctx, to: ReplicaId, out: &mut Output) -> Result<(), TransferRefused> {
        let _ = (ctx, to, out);
        unimplemented!()
    }
    /// Stops leading (Defortify, repeated until a new leader is heard); does nothing on a follower.
    pub fn step_down(&mut self, ctx: &mut Ctx, out: &mut Output) {
        let _ = (ctx, out);
        unimplemented!()
    }
    /// Stops leading and never campaigns again in this process.
    pub fn stop(&mut self, ctx: &mut Ctx, out: &mut Output) {
        let _ = (ctx, out);
        unimplemented!()
    }
    /// Until when a quorum supports this leader; `None` without lease.
    pub fn lease(&self, supports: &Supports) -> Option<Tick> {
        let _ = supports;
        unimplemented!()
    }
    /// The log up to `to` (inclusive), whose term is `term`, is gone.
    pub fn truncate(&mut self, to: Index, term: Term) {
        let _ = (to, term);
        unimplemented!()
    }
    /// The node sent a snapshot (`Some(its index)`) or could not.
    pub fn snapshot_sent(&mut self, ctx: &mut Ctx, to: ReplicaId, index: Option<Index>, out: &mut Output) {
        let _ = (ctx, to, index, out);
        unimplemented!()
    }
    /// The node ingested a snapshot durably.
    pub fn install(&mut self, ctx: &mut Ctx, snapshot: Snapshot, out: &mut Output) {
        let _ = (ctx, snapshot, out);
        unimplemented!()
    }
    /// What the node may put into the commit vector of its next frame to this member.
    pub fn commit_for(&self, to: ReplicaId) -> Option<Committed> {
        let _ = to;
        unimplemented!()
    }
    /// One element of a peer's commit vector.
    pub fn receive_commit(&mut self, ctx: &mut Ctx, from: Member, told: Committed, out: &mut Output) {
        let _ = (ctx, from, told, out);
        unimplemented!()
    }
    /// Entries from memory first, then from the durable log.
    pub fn entries(
        &self,
        log: &dyn LogRead,
        from: Index,
        to_inclusive: Index,
        max_bytes: usize,
    ) -> base::Result<Vec<Entry>> {
        let _ = (log, from, to_inclusive, max_bytes);
        unimplemented!()
    }
    /// The role now.
    pub fn role(&self) -> Role {
        unimplemented!()
    }
    /// The leader of the present term, if known.
    pub fn leader(&self) -> Option<Member> {
        unimplemented!()
    }
    /// The present term.
    pub fn term(&self) -> Term {
        unimplemented!()
    }
    /// Whom this replica voted for in the present term.
    pub fn vote(&self) -> Option<ReplicaId> {
        unimplemented!()
    }
    /// The committed index.
    pub fn commit(&self) -> Index {
        unimplemented!()
    }
    /// The last entry.
    pub fn last(&self) -> (Index, Term) {
        unimplemented!()
    }
    /// The configuration in force: that of the last applied change.
    pub fn conf(&self) -> &Conf {
        &self.conf
    }
    /// On a leader: the index of its own first entry. It serves nothing before it has applied that one.
    pub fn term_start(&self) -> Option<Index> {
        unimplemented!()
    }
    /// On a leader: how far that member's durable log is known to equal ours.
    pub fn matched(&self, replica: ReplicaId) -> Option<Index> {
        let _ = replica;
        unimplemented!()
    }
    /// On a leader: every other member and its state, for truncation, placement and metrics.
    pub fn progress(&self) -> Vec<crate::PeerState> {
        unimplemented!()
    }
    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        unimplemented!()
    }
    /// Panics if an invariant [R1] is broken.
    pub fn check(&self) {
        unimplemented!()
    }
}

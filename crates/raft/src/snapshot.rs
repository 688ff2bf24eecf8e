//! Snapshots: for a member that needs what our log no longer has. The node moves the bytes; the core says who needs
//! one, and begins its log anew behind one.

use crate::progress::Feed;
use crate::{AppendAck, Ctx, Group, Message, Output, Role, Snapshot};
use base::{Index, ReplicaId, marker};

impl Group {
    /// This peer cannot go on from our log.
    pub(crate) fn need_snapshot(&mut self, at: usize, out: &mut Output) {
        if let Some(lead) = &mut self.lead {
            marker!("raft.snapshot.needed");
            let peer = &mut lead.peers[at];
            peer.await_snapshot();
            out.snapshot_needed.push(peer.member);
        }
    }

    /// The node sent a snapshot that ends at this index, or (`None`) could not. It answers each member of
    /// [`Output::snapshot_needed`] with one call.
    pub fn snapshot_sent(&mut self, ctx: &mut Ctx, to: ReplicaId, index: Option<Index>, out: &mut Output) {
        let _ = out;
        let Some(lead) = &mut self.lead else { return };
        let Some(at) = lead.position(to) else { return };
        let peer = &mut lead.peers[at];
        if !matches!(peer.feed, Feed::Snapshot { .. }) {
            return;
        }
        match index {
            // the member's acknowledgement says that it took it over; without one we begin again
            Some(_) => {
                marker!("raft.snapshot.sent");
                peer.feed = Feed::Snapshot { waited: Some(0) };
            }
            None => {
                marker!("raft.snapshot.failed");
                let next = peer.matched.next();
                peer.probe(next);
                // not at once again: the next beat tries
                peer.feed = Feed::Probe { sent: true };
            }
        }
        self.arm_beat(ctx);
    }

    /// The member has taken another piece of the snapshot that it is being sent.
    pub fn snapshot_moves(&mut self, ctx: &Ctx, to: ReplicaId) {
        let Some(lead) = &mut self.lead else { return };
        if let Some(at) = lead.position(to) {
            marker!("raft.snapshot.moves");
            lead.peers[at].moved = ctx.now;
        }
    }

    /// Would there be a quorum for the next entry if the snapshots under way arrived, and do they get there? Nobody else
    /// could lead without those members either: leaving would only end the lease, under which reads go on.
    pub(crate) fn waits_for_snapshots(&self, ctx: &Ctx) -> bool {
        let Some(lead) = &self.lead else { return false };
        let next = self.log.commit.next();
        let patience = self.cfg.election_timeout + self.cfg.election_timeout;
        let arrives = |p: &crate::progress::Progress| {
            p.matched >= next || (matches!(p.feed, Feed::Snapshot { .. }) && ctx.now < p.moved + patience)
        };
        let comes = self.conf.quorum(|m| match lead.peer(m.replica) {
            Some(peer) => arrives(peer),
            None => m.replica == self.cfg.replica && self.log.written >= next,
        });
        comes && !base::bug!("leaves-while-a-snapshot-arrives")
    }

    /// The node has ingested a snapshot, durably, and has not touched the records of the log yet.
    ///
    /// The log then begins after it: kept if it contains the snapshot's last entry (what follows may have been
    /// acknowledged, and counted), begun anew if not; then [`Output::delete`] covers the whole old log. Until that is
    /// durable a crash leaves a log whose term at `applied` is not that of the snapshot: the node boots such a replica
    /// with an empty log after the snapshot. From handing the ingest to the writer until this call the node applies
    /// nothing: an apply queued behind the ingest would set the applied index back. A snapshot behind what is committed here changes nothing.
    pub fn install(&mut self, ctx: &mut Ctx, snapshot: Snapshot, out: &mut Output) {
        let Snapshot { index, term, conf } = snapshot;
        if index > self.log.commit {
            marker!("raft.snapshot.installed");
            assert!(self.role != Role::Leader, "a leader has everything that is committed");
            if self.log.term(index, ctx.log) == Some(term) && !base::bug!("snapshot-drops-the-tail") {
                marker!("raft.snapshot.tail_kept");
                self.log.commit = index;
                self.log.applied = index;
                self.log.written = self.log.written.max(index);
                self.truncate(index, term);
                self.log.trim(index);
            } else {
                // committed is an entry of an earlier term than ours there: whoever gave us ours leads no more
                let deposed = self.log.term(index, ctx.log).is_some_and(|ours| ours > term);
                let term_now = if deposed { self.hard.term.next() } else { term };
                let (first, last) = (self.log.truncated.0.next(), self.log.last.0);
                if first <= last {
                    out.delete = Some((first, last.max(out.delete.map_or(last, |d| d.1))));
                }
                out.append.clear();
                self.log.reset((index, term));
                if term_now > self.hard.term {
                    marker!("raft.snapshot.of_a_later_term");
                    // whoever campaigned in an earlier term campaigns no more, and whoever led it is not followed
                    self.become_follower(ctx, term_now, None, out);
                }
            }
            self.conf_applied(ctx, index, conf, out);
        }
        if let Some(leader) = self.leader.filter(|l| l.replica != self.cfg.replica) {
            let ack = AppendAck { term: self.hard.term, index: self.log.commit.min(self.log.written), fortified: None };
            out.after_write.push((leader, Message::AppendAck(ack)));
        }
    }
}

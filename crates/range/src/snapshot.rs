//! A replica that is too far behind gets the state instead of the log.
//!
//! The sender freezes a view; the position is read *from that view*, so state and position belong together whatever
//! is being written meanwhile. The receiver stages the records beside the normal road, then puts them in with one
//! ingest that clears the old span, and keeps its own term and vote.

use crate::replica::Replica;
use crate::sink::Turn;
use crate::state::{self, Applied, Log};
use base::{Descriptor, Error, Index, Result, Term, marker};
use bytes::Bytes;
use engine::{Batch, Cf, Engine, Read, keys};

/// Which raw keys of `Cf::Data` are a range's state, apart from its local records.
pub fn state_span(d: &Descriptor) -> (Bytes, Bytes) {
    if d.id == base::RangeId::META { keys::plain_span(&d.span) } else { keys::version_span(&d.span) }
}

/// The position of a range in a frozen view, with the term it was applied in.
pub fn position(view: &impl Read, d: &Descriptor) -> Result<Applied> {
    let bytes = view
        .get(Cf::Data, &keys::local(d.id, keys::local::APPLIED))?
        .ok_or_else(|| Error::corrupt(format!("{} has no applied record", d.id)))?;
    Applied::decode(bytes)
}

impl<V: engine::Read + Send + Sync + 'static> Replica<V> {
    /// Would a snapshot at this position bring this replica forward?
    pub fn wants_snapshot(&self, index: Index) -> bool {
        // Who campaigns may win without another message, when its own vote is durable: a leader takes no snapshot.
        let campaigns = self.group.role() == raft::Role::Candidate && !base::bug!("candidate-takes-a-snapshot");
        !self.installing && index > self.commit && self.lead.is_none() && !campaigns
    }

    /// All records are staged: what is cleared, and what is written with them. Until `installed` the replica is deaf.
    pub fn begin_install<E: Engine<View = V>>(
        &mut self,
        engine: &E,
        applied: Applied,
    ) -> Result<(Vec<(Bytes, Bytes)>, Batch)> {
        marker!("snapshot.install begins");
        self.installing = true;
        self.installs += 1;
        let range = self.descriptor.id;
        let mut then = Batch::new();
        then.put(Cf::Data, keys::local(range, keys::local::APPLIED), applied.encode());
        let position = state::encode_position(applied.index, applied.term);
        then.put(Cf::Data, keys::local(range, keys::local::TRUNCATED), position);
        // A log that contains the snapshot's last entry goes on behind it: what follows may have been acknowledged.
        // Any other log must not be taken for the continuation of this state by a boot before it is gone.
        if !self.continues(engine, applied)? {
            then.put(Cf::Data, keys::local(range, keys::local::LOG_RESET), Bytes::from_static(b"1"));
        }
        Ok((vec![state_span(&self.descriptor)], then))
    }

    /// Does the log contain this position's entry?
    fn continues<E: Engine<View = V>>(&self, engine: &E, applied: Applied) -> Result<bool> {
        if applied.index > self.group.last().0 || applied.index <= self.truncated {
            return Ok(false);
        }
        let log = Log { engine, range: self.descriptor.id };
        let entries = self.group.entries(&log, applied.index, applied.index, 1)?;
        Ok(entries.first().is_some_and(|e| e.term == applied.term))
    }

    /// The snapshot is in. `batch` gets what removes the log that it replaces.
    pub fn installed<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, applied: Applied) -> Result<()> {
        marker!("snapshot.installed");
        let range = self.descriptor.id;
        if self.continues(turn.engine, applied)? {
            marker!("snapshot.log goes on behind it");
            let mut i = self.truncated.next();
            while i <= applied.index {
                turn.sink.batch.delete(Cf::Log, keys::entry(range, i));
                i = i.next();
            }
        } else {
            state::drop_log(turn.engine, range, &mut turn.sink.batch)?;
            turn.sink.batch.delete(Cf::Data, keys::local(range, keys::local::LOG_RESET));
            self.log_bytes = 0;
        }
        turn.sink.must_sync();
        turn.sink.counters.snapshots_installed += 1;
        self.installing = false;
        self.applied = applied;
        self.written = applied.index;
        self.readable = (applied.term, applied.max_revision);
        self.applying.clear();
        self.truncated = applied.index;
        self.log_bytes /= 2;
        self.max_logged = applied.max_revision;
        self.commit = applied.index;
        if self.meta.is_some() {
            self.meta = Some(placement::Meta::load(turn.engine)?);
        }
        let conf = self.group.conf().clone();
        let snapshot = raft::Snapshot { index: applied.index, term: applied.term, conf };
        self.with_group(turn, |group, ctx, out| group.install(ctx, snapshot, out))
    }

    /// It could not be put in: the replica stays what it was, and looks at what it did not hear of meanwhile: its leader
    /// may have lost the support that held back its own election.
    pub fn install_failed<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        marker!("snapshot.install failed");
        self.installing = false;
        if base::bug!("nothing-heard-after-a-failed-install") {
            return Ok(());
        }
        let own = self.place.store;
        self.with_group(turn, |group, ctx, out| group.liveness_changed(ctx, own, out))
    }

    /// This member has taken another piece.
    pub fn snapshot_moves<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, to: base::ReplicaId) -> Result<()> {
        self.with_group(turn, |group, ctx, _| group.snapshot_moves(ctx, to))
    }

    /// A snapshot to this member ended.
    pub fn snapshot_sent<E: Engine<View = V>>(
        &mut self,
        turn: &mut Turn<E>,
        to: base::ReplicaId,
        result: Option<Index>,
    ) -> Result<()> {
        turn.sink.counters.snapshots_sent += u64::from(result.is_some());
        self.with_group(turn, |group, ctx, out| group.snapshot_sent(ctx, to, result, out))
    }

    /// Is the state being replaced?
    pub fn is_installing(&self) -> bool {
        self.installing
    }

    /// How many snapshots were begun to be put in since the node started.
    pub fn installs(&self) -> u64 {
        self.installs
    }

    /// The descriptor.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Applied so far (not all of it need be readable yet).
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// Readable through a view up to here.
    pub fn readable(&self) -> Index {
        self.written
    }

    /// The Raft core, for looking at.
    pub fn group(&self) -> &raft::Group {
        &self.group
    }

    /// This replica's name and place.
    pub fn place(&self) -> base::Place {
        self.place
    }

    /// Committed, as far as this replica knows.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// Term it leads in.
    pub fn leads(&self) -> Option<Term> {
        self.lead.as_ref().map(|l| l.term)
    }

    /// The meta records, on range 1.
    pub fn meta(&self) -> Option<placement::Meta> {
        self.meta
    }
}

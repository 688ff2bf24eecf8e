//! ⑫ apply: committed effects go into the next batch, the same bytes on every replica; and what happens when a batch
//! is durable.

use crate::ask::{ReadAsk, Spec};
use crate::entry::{self, Body};
use crate::lead::Leading;
use crate::replica::{Applying, Replica};
use crate::sink::{Receipt, Turn};
use crate::state::{self, Applied, Log};
use base::{Error, Index, Result, Revision, Stage, marker};
use engine::{Cf, Engine, keys};
use raft::{Entry, Payload};

impl<V: engine::Read + Send + Sync + 'static> Replica<V> {
    /// Is there something to apply?
    pub fn has_unapplied(&self) -> bool {
        !self.installing && self.applied.index < self.commit
    }

    /// Is there something to apply in the very next step?
    pub fn is_behind(&self) -> bool {
        self.has_unapplied() && self.lead.as_ref().is_none_or(|l| l.pace.until() == base::Tick::FAR)
    }

    /// Does what is committed wait for the next entry, to share its batch?
    fn waits_to_apply(&mut self, now: base::Tick) -> bool {
        self.lead.as_mut().is_some_and(|l| l.pace.holds_apply(now))
    }

    /// Puts committed entries into this step's batch, as far as the step's budget of bytes goes.
    pub fn apply<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        if self.waits_to_apply(turn.now) {
            marker!("apply.waits for the next entry");
            return Ok(());
        }
        let before = self.applied;
        while self.has_unapplied() && turn.sink.apply_bytes < turn.limits.max_apply_bytes {
            let log = Log { engine: turn.engine, range: self.descriptor.id };
            let room = turn.limits.max_apply_bytes - turn.sink.apply_bytes;
            let entries = self.group.entries(&log, self.applied.index.next(), self.commit, room.max(1))?;
            if entries.is_empty() {
                let text = format!(
                    "{}: the committed entry {} is not in the log: its store lost data; replace the node",
                    self.descriptor.id,
                    self.applied.index.next()
                );
                return Err(Error::corrupt(text));
            }
            for e in entries {
                turn.sink.apply_bytes += e.size() + 64;
                self.apply_entry(turn, &e)?;
            }
        }
        if self.applied.index == before.index {
            return Ok(());
        }
        turn.sink.mark(Stage::Apply, 0);
        // A new leader serves nothing before its first entry is in the engine.
        turn.sink.urgent |= self.lead.is_some() && !self.is_serving();
        let range = self.descriptor.id;
        turn.sink.batch.put(Cf::Data, keys::local(range, keys::local::APPLIED), self.applied.encode());
        turn.sink.receipts.push(Receipt { range, mark: None, applied: Some(self.applied.index) });
        let Applied { index, term, max_revision, .. } = self.applied;
        self.applying.push_back(Applying { index, term, max_revision });
        Ok(())
    }

    fn apply_entry<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, e: &Entry) -> Result<()> {
        let range = self.descriptor.id;
        if e.index != self.applied.index.next() {
            return Err(Error::corrupt(format!("{range}: {} would be applied behind {}", e.index, self.applied.index)));
        }
        match &e.payload {
            Payload::Empty => {}
            Payload::Normal(data) => self.apply_data(turn, data.clone())?,
            Payload::Conf(_) => {
                return Err(Error::corrupt(format!(
                    "{range}: {} changes the membership, which this version never proposes",
                    e.index
                )));
            }
        }
        turn.sink.counters.applied += 1;
        self.applied.index = e.index;
        self.applied.term = e.term;
        Ok(())
    }

    fn apply_data<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, data: bytes::Bytes) -> Result<()> {
        let range = self.descriptor.id;
        let (header, body) = entry::decode(data)?;
        if header.version != self.descriptor.epoch.version {
            return Err(Error::corrupt(format!(
                "{range}: an entry of epoch version {} meets {}",
                header.version, self.descriptor.epoch.version
            )));
        }
        match body {
            Body::Commands(bytes) => {
                let tally = mvcc::apply_commands(bytes, &mut turn.sink.batch)?;
                self.applied.live = self.applied.live.saturating_add_signed(tally.live_delta);
                self.applied.max_revision = self.applied.max_revision.max(tally.max_revision);
            }
            Body::Meta(changes) => {
                for (key, value) in changes {
                    if let Some(meta) = &mut self.meta {
                        meta.absorb(&key, value.as_ref())?;
                    }
                    match value {
                        Some(v) => turn.sink.batch.put(Cf::Data, keys::plain(&key), v),
                        None => turn.sink.batch.delete(Cf::Data, keys::plain(&key)),
                    }
                }
            }
        }
        self.max_logged = self.max_logged.max(header.max_revision);
        Ok(())
    }

    /// What a batch carried for this replica is durable.
    pub fn written<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, receipt: Receipt) -> Result<()> {
        if let Some((term, index)) = receipt.mark {
            self.with_group(turn, |group, ctx, out| group.written(ctx, term, index, out))?;
        }
        if let Some(index) = receipt.applied {
            self.state_written(index, turn.heads);
            self.with_group(turn, |group, ctx, out| group.applied(ctx, index, out))?;
            self.start_serving(turn)?;
        }
        Ok(())
    }

    /// Would the end of a write change anything here at once: is something committed by it, or served from then on, or
    /// does a hash wait for the engine to have what it sums?
    pub fn awaits_disk(&self) -> bool {
        let hash = |ask: &ReadAsk| matches!(ask.spec, Spec::Hash { .. });
        let waits = |lead: &Leading<V>| !self.is_serving() || lead.reads.iter().any(hash);
        self.group.awaits_own_write() || self.lead.as_ref().is_some_and(waits)
    }

    fn state_written(&mut self, index: Index, heads: &mut mvcc::Heads) {
        let mut up_to = Revision::ZERO;
        while self.applying.front().is_some_and(|a| a.index <= index) {
            if let Some(a) = self.applying.pop_front() {
                self.written = self.written.max(a.index);
                self.readable = (a.term, a.max_revision);
                up_to = a.max_revision;
            }
        }
        if let Some(lead) = &mut self.lead {
            let (counts, owner) = (&mut lead.counts, lead.owner);
            lead.overlay.drain_up_to(up_to, &mut |revision, key, record| {
                heads.note(owner, revision, key, record);
                if let Some(counts) = counts.as_mut() {
                    counts.note_record(revision, key, record);
                }
            });
            while lead.entries.front().is_some_and(|(i, _)| *i <= index) {
                lead.entries.pop_front();
            }
        }
    }

    /// Cuts the log when it has grown too long: what is applied and in the engine, and what no live follower needs.
    pub fn truncate<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        const MOST_PER_STEP: u64 = 4096;
        const KEEP_FOR_LIVE: base::Tick = base::Tick::ms(10_000);
        let limits = turn.limits;
        if self.log_bytes <= limits.log_bytes || self.installing {
            return Ok(());
        }
        let total = self.group.last().0.0 - self.truncated.0;
        let mut to = Index(self.truncated.0 + total / 2).min(self.written);
        if self.log_bytes <= limits.log_bytes_hard {
            // A follower that was heard lately gets time to catch up from the log.
            let live = |p: &&raft::PeerState| turn.now.since(p.heard) < KEEP_FOR_LIVE.0 && !p.snapshot;
            to = self.group.progress().iter().filter(live).map(|p| p.matched).fold(to, Index::min);
        }
        if base::bug!("truncate-unapplied-log") {
            to = Index(self.truncated.0 + total / 2);
        }
        to = to.min(Index(self.truncated.0 + MOST_PER_STEP));
        if to <= self.truncated {
            return Ok(());
        }
        let log = Log { engine: turn.engine, range: self.descriptor.id };
        let Some(term) = self.group.entries(&log, to, to, 1)?.first().map(|e| e.term) else { return Ok(()) };
        marker!("range.log truncated");
        let range = self.descriptor.id;
        let mut i = self.truncated.next();
        while i <= to {
            turn.sink.batch.delete(Cf::Log, keys::entry(range, i));
            i = i.next();
        }
        let position = state::encode_position(to, term);
        turn.sink.batch.put(Cf::Data, keys::local(range, keys::local::TRUNCATED), position);
        let gone = to.0 - self.truncated.0;
        self.log_bytes -= self.log_bytes * gone / total.max(1);
        self.truncated = to;
        self.group.truncate(to, term);
        Ok(())
    }
}

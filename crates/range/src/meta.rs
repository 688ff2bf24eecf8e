//! The meta range's leader: the sequencer, and compaction.

use crate::ask::{Answer, Origin, Outcome};
use crate::entry::{self, Header};
use crate::lead::MetaLead;
use crate::replica::Replica;
use crate::sink::{Asked, Ready, Turn};
use base::{Error, Refusal, Result, Revision, marker};
use engine::Engine;
use placement::record::{self, Change};
use placement::{Fetch, Sequencer, Served};
use std::collections::VecDeque;

impl<V: engine::Read + Send + Sync + 'static> Replica<V> {
    /// Called when state has become readable: the moment a new leader of the meta range starts its sequencer.
    pub(crate) fn start_serving<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        if !self.is_serving() {
            return Ok(());
        }
        let newest = self.applied.max_revision;
        let Some(lead) = &mut self.lead else { return Ok(()) };
        // The overlay is empty until now: from here on the index hears of every change.
        let term = lead.term.0;
        lead.counts.get_or_insert_with(|| mvcc::CountIndex::new(newest, term));
        let Some(meta) = self.meta else { return Ok(()) };
        if lead.meta.is_none() {
            marker!("sequencer.starts");
            lead.meta = Some(MetaLead {
                sequencer: Sequencer::new(lead.term, meta.ceiling),
                compacted: meta.compacted,
                raise: None,
                compactions: VecDeque::new(),
            });
        }
        self.raise_ceiling(turn)
    }

    /// Does this replica lead the meta range, ready to be asked?
    pub fn is_sequencing(&self) -> bool {
        self.lead.as_ref().is_some_and(|l| l.meta.is_some())
    }

    /// A node asks for numbers.
    pub fn fetch(&mut self, fetch: Fetch) {
        if let Some(meta) = self.lead.as_mut().and_then(|l| l.meta.as_mut()) {
            meta.sequencer.ask(fetch);
        }
    }

    /// Serves fetches below the ceiling, and raises it when it comes near. The replies rest on the lease.
    pub fn serve_fetches<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        let Some(meta) = self.lead.as_mut().and_then(|l| l.meta.as_mut()) else { return Ok(()) };
        let mut served: Vec<Served> = Vec::new();
        meta.sequencer.serve(meta.compacted, &mut served);
        let proof = self.proof(turn);
        turn.sink.leased.extend(served.into_iter().map(|s| (proof, Ready::Fetched(s))));
        self.raise_ceiling(turn)
    }

    /// An orderly end: lowers the ceiling to what was issued, so that the next leader leaves no hole. Not while it is being
    /// raised: whether that is done is what is returned.
    pub fn close_sequencer<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<bool> {
        let Some(meta) = self.lead.as_mut().and_then(|l| l.meta.as_mut()) else { return Ok(true) };
        match meta.sequencer.close() {
            Some(ceiling) => self.propose_ceiling(turn, ceiling).map(|()| true),
            None => Ok(meta.sequencer.is_closing()),
        }
    }

    fn raise_ceiling<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        let Some(meta) = self.lead.as_mut().and_then(|l| l.meta.as_mut()) else { return Ok(()) };
        let Some(ceiling) = meta.sequencer.wants_raise(turn.now) else { return Ok(()) };
        meta.sequencer.proposed(ceiling, turn.now);
        self.propose_ceiling(turn, ceiling)
    }

    fn propose_ceiling<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, ceiling: Revision) -> Result<()> {
        let change = (record::ceiling_key(), Some(record::revision_value(ceiling)));
        let index = self.propose_meta(turn, &[change])?;
        if let Some(meta) = self.lead.as_mut().and_then(|l| l.meta.as_mut()) {
            meta.raise = index.map(|i| (i, ceiling));
            if index.is_none() {
                meta.sequencer.refused(ceiling);
            }
        }
        self.complete_meta(turn);
        Ok(())
    }

    fn propose_meta<E: Engine<View = V>>(
        &mut self,
        turn: &mut Turn<E>,
        changes: &[Change],
    ) -> Result<Option<base::Index>> {
        let header = Header { version: self.descriptor.epoch.version, max_revision: self.max_logged };
        self.propose(turn, entry::meta(header, changes), raft::Reach::All)
    }

    /// etcd's Compact: reads below `revision` are refused from the reply on.
    pub fn compact<E: Engine<View = V>>(
        &mut self,
        turn: &mut Turn<E>,
        origin: Origin,
        revision: Revision,
    ) -> Result<()> {
        let Some(meta) = self.lead.as_mut().and_then(|l| l.meta.as_mut()) else {
            turn.sink.rerouted.push(Asked::Compact(origin, revision));
            return Ok(());
        };
        let newest = meta.compactions.back().map_or(meta.compacted, |c| c.1);
        let last = meta.sequencer.last();
        let refusal = if !meta.sequencer.is_open() {
            Some(Error::new(base::Kind::Retry, "the sequencer is starting"))
        } else if revision <= newest && newest != Revision::ZERO {
            Some(Error::refused(Refusal::Compacted))
        } else if revision > last {
            Some(Error::refused(Refusal::FutureRevision))
        } else {
            None
        };
        if let Some(error) = refusal {
            let proof = self.proof(turn);
            turn.sink.leased.push((proof, Ready::Reply(Asked::Compact(origin, revision), Err(error))));
            return Ok(());
        }
        marker!("compact.proposed");
        let change = (record::compacted_key(), Some(record::revision_value(revision)));
        let index = self.propose_meta(turn, &[change])?;
        match (index, self.lead.as_mut().and_then(|l| l.meta.as_mut())) {
            (Some(index), Some(meta)) => meta.compactions.push_back((index, revision, origin)),
            _ => turn.sink.rerouted.push(Asked::Compact(origin, revision)),
        }
        self.complete_meta(turn);
        Ok(())
    }

    /// Ceilings and compactions that are committed take effect.
    pub(crate) fn complete_meta<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) {
        let commit = self.commit;
        let Some(meta) = self.lead.as_mut().and_then(|l| l.meta.as_mut()) else { return };
        if let Some((_, ceiling)) = meta.raise.filter(|(i, _)| *i <= commit) {
            meta.raise = None;
            meta.sequencer.committed(ceiling);
        }
        while let Some((index, revision, origin)) = meta.compactions.front().copied() {
            if index > commit {
                break;
            }
            marker!("compact.committed");
            meta.compactions.pop_front();
            meta.compacted = meta.compacted.max(revision);
            let outcome = Outcome { revision: meta.sequencer.last(), answer: Answer::Compacted };
            turn.sink.replies.push((origin, Ok(outcome)));
        }
    }
}

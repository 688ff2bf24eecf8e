//! ⑩ commit → ⑪ complete: replies leave at commit; the effects stay readable in the overlay.

use crate::ask::{Answer, Origin, Outcome, Proof, READ_WEIGHT, Spec};
use crate::replica::Replica;
use crate::sink::{Asked, Ready, Turn};
use base::{Index, Revision, Span, Stage, Tick, marker};
use engine::Engine;

impl<V: engine::Read + Send + Sync + 'static> Replica<V> {
    /// Answers every write that is committed.
    pub(crate) fn complete<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) {
        let commit = self.commit;
        let Some(lead) = &mut self.lead else { return };
        let before = lead.pending.len();
        while lead.pending.front().is_some_and(|p| p.appended.is_some_and(|i| i <= commit)) {
            let Some(p) = lead.pending.pop_front() else { return };
            let Some(revision) = p.number else { return };
            turn.sink.counters.committed += 1;
            turn.sink.queued -= p.command.weight();
            turn.sink.mark(Stage::Complete, turn.now.since(p.command.arrived));
            if let Origin::Remote(store, _) = p.command.origin
                && turn.sink.answered.last() != Some(&(self.descriptor.id, store))
            {
                turn.sink.answered.push((self.descriptor.id, store));
            }
            turn.sink.replies.push((p.command.origin, Ok(Outcome { revision, answer: Answer::Kv(p.reply.known()) })));
        }
        let answered = before - lead.pending.len();
        if answered > 0 && lead.entries.back().is_none_or(|(index, _)| *index <= commit) {
            lead.pace.committed(answered, lead.unappended, turn.now);
        }
        self.complete_meta(turn);
    }

    /// Answers reads and unchanging commands that nothing can change any more. `taken` is the last of this node's
    /// fetches whose numbers are known.
    pub fn poll_reads<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, taken: u64) {
        let commit = self.commit;
        let Some(lead) = &mut self.lead else { return };
        if lead.reads.is_empty() && lead.results.is_empty() {
            return;
        }
        let mut reads = std::mem::take(&mut lead.reads);
        let mut ready = Vec::new();
        reads.retain(|ask| {
            let settled =
                ask.fetches <= taken && ask.spec.spans().iter().all(|s| is_ready(lead, &ask.spec, (s, ask.x), commit));
            if settled {
                ready.push(ask.clone());
            }
            !settled
        });
        lead.reads = reads;
        let mut results = std::mem::take(&mut lead.results);
        let mut done = Vec::new();
        let mut i = 0;
        while i < results.len() {
            let r = &results[i];
            let settled = r.x.is_some_and(|x| {
                base::bug!("no-effect-reply-ahead") || r.spans.iter().all(|s| is_settled(lead, s, x, commit))
            });
            match settled.then(|| results.remove(i)).flatten() {
                Some(r) => done.push(r),
                None => i += 1,
            }
        }
        lead.results = results;
        turn.sink.queued -= READ_WEIGHT * ready.len() as i64;
        for r in done {
            turn.sink.queued -= r.command.weight();
            let revision = r.x.unwrap_or(Revision::ZERO);
            let reply = r.reply.map(|reply| Outcome { revision, answer: Answer::Kv(reply.known()) });
            let proof = self.proof(turn);
            turn.sink.leased.push((proof, Ready::Reply(Asked::Command(r.command), reply)));
        }
        for ask in ready {
            self.begin_read(turn, ask);
        }
    }

    /// Until when the lease holds; in the past when there is none.
    pub(crate) fn proof<E: Engine<View = V>>(&self, turn: &Turn<E>) -> Proof {
        let until = self.group.lease(turn.supports).unwrap_or(Tick::ZERO);
        Proof { range: self.descriptor.id, term: self.group.term(), until }
    }
}

/// May this read begin? A hash reads the engine alone: what it sums must be in there.
fn is_ready<V>(lead: &crate::lead::Leading<V>, spec: &Spec, (span, x): (&Span, Revision), commit: Index) -> bool {
    match spec {
        Spec::Hash { .. } if !base::bug!("hash-without-the-overlay") => {
            lead.overlay.max_revision_overlapping(span, x).is_none()
        }
        _ => is_settled(lead, span, x, commit),
    }
}

/// Is everything in `span` at or below `x` that was evaluated here committed?
fn is_settled<V>(lead: &crate::lead::Leading<V>, span: &Span, x: Revision, commit: Index) -> bool {
    let Some(newest) = lead.overlay.max_revision_overlapping(span, x) else { return true };
    match lead.entries.iter().find(|(_, max)| *max >= newest) {
        Some((index, _)) => *index <= commit,
        None => {
            marker!("read.waits for an append");
            false
        }
    }
}

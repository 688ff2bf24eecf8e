//! Reads at a known X: admitted when everything at or below X is settled, read from a frozen view, proved by a lease
//! or a quorum round.

use crate::ask::{Answer, Lesson, Outcome, Proof, ReadAsk, ReadTask, Spec};
use crate::replica::{Replica, reroute};
use crate::sink::{Asked, Ready, Sink, Turn};
use base::{Error, Kind, Refusal, Result, Revision, Tick, marker};
use engine::Engine;
use mvcc::Captured;
use raft::ReadRound;
use std::sync::Arc;

impl<V: engine::Read + Send + Sync + 'static> Replica<V> {
    /// Freezes what the read needs, overlay first, and lets it go on its lease.
    pub(crate) fn begin_read<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, ask: ReadAsk) {
        turn.sink.counters.reads += 1;
        if let Spec::Settle { .. } = ask.spec {
            let outcome = Outcome { revision: ask.x, answer: Answer::Settled { index: self.commit } };
            let proof = self.proof(turn);
            return turn.sink.leased.push((proof, Ready::Reply(Asked::Read(ask), Ok(outcome))));
        }
        if let Err(e) = check_revision(&ask, turn.floor) {
            let proof = self.proof(turn);
            return turn.sink.leased.push((proof, Ready::Reply(Asked::Read(ask), Err(e))));
        }
        let Some(lead) = &self.lead else { return };
        let at = read_revision(&ask);
        // The overlay forgets a write in a step after the one that reached the engine, so an overlay and a view of one
        // step miss nothing between them; a view of an earlier step would.
        let mut captured = Captured::default();
        for span in ask.spec.spans() {
            captured.add(lead.overlay.capture(&span, ask.x));
        }
        let view = shared_view(turn);
        let plan = match (&ask.spec, &lead.counts) {
            (Spec::Scan(r), Some(counts)) if !r.span.is_point() => {
                let lesson = Lesson { range: self.descriptor.id, term: lead.term };
                Some((lesson, counts.plan(&r.span, at)))
            }
            _ => None,
        };
        let pin = pin(turn, at);
        let task = ReadTask {
            origin: ask.origin,
            spec: ask.spec,
            x: ask.x,
            compacted: ask.compacted,
            view,
            captured,
            plan,
            pin,
            deadline: ask.deadline,
        };
        let proof = self.proof(turn);
        turn.sink.leased.push((proof, Ready::Read(task)));
    }

    /// A lease came too late (or there is none): a quorum round takes its place, begun in this step.
    pub fn prove(&mut self, sink: &mut Sink<V>, proof: Proof, ready: Ready<V>) {
        match self.lead.as_mut().filter(|l| l.term == proof.term) {
            Some(lead) => lead.unproved.push(ready),
            None => {
                marker!("read.leadership gone before the proof");
                reroute(sink, ready);
            }
        }
    }

    /// One round, begun now, for every answer of this step that needs one: it is later than all their views.
    pub fn begin_round<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        if self.lead.as_ref().is_none_or(|l| l.unproved.is_empty()) {
            return Ok(());
        }
        marker!("read.round instead of lease");
        turn.sink.counters.read_rounds += 1;
        let mut round = None;
        self.with_group(turn, |group, ctx, out| round = group.read_index(ctx, out).ok())?;
        let Some(lead) = &mut self.lead else { return Ok(()) };
        let unproved = std::mem::take(&mut lead.unproved);
        match round {
            Some(round) => lead.proving.extend(unproved.into_iter().map(|ready| (round, ready))),
            None => unproved.into_iter().for_each(|ready| reroute(turn.sink, ready)),
        }
        // A lone voter confirms at once: the confirmation came before the answer was put down.
        self.release_confirmed(turn.sink);
        Ok(())
    }

    /// A quorum has confirmed this round.
    pub(crate) fn round_confirmed(&mut self, sink: &mut Sink<V>, round: ReadRound) {
        self.confirmed = self.confirmed.max(Some(round));
        self.release_confirmed(sink);
    }

    fn release_confirmed(&mut self, sink: &mut Sink<V>) {
        let (Some(confirmed), Some(lead)) = (self.confirmed, &mut self.lead) else { return };
        let proof = Proof { range: self.descriptor.id, term: lead.term, until: Tick::FAR };
        // Rounds are begun in order, and a round confirms those before it.
        let confirmed = lead.proving.iter().take_while(|(round, _)| *round <= confirmed).count();
        for (_, ready) in lead.proving.drain(..confirmed) {
            marker!("read.round confirmed");
            sink.leased.push((proof, ready));
        }
    }

    /// A reader walked over keys of this leadership: the next one need not.
    pub fn learn(&mut self, lesson: Lesson, learned: mvcc::Learned) {
        if let Some(lead) = self.lead.as_mut().filter(|l| l.term == lesson.term)
            && let Some(counts) = &mut lead.counts
        {
            counts.learn(learned, &lead.overlay);
        }
    }
}

/// Reads from the engine alone.
pub(crate) fn as_it_stands<E: Engine>(turn: &mut Turn<E>, ask: ReadAsk) -> ReadTask<E::View> {
    let at = read_revision(&ask);
    let ReadAsk { origin, spec, x, compacted, deadline, .. } = ask;
    // No input is taken between this and the readers that come with an overlay: none can leave it meanwhile.
    let (view, pin) = (shared_view(turn), pin(turn, at));
    ReadTask { origin, spec, x, compacted, view, captured: Captured::default(), plan: None, pin, deadline }
}

/// The view of this step: taken once, shared by all its reads.
fn shared_view<E: Engine>(turn: &mut Turn<E>) -> Arc<E::View> {
    turn.view.get_or_insert_with(|| Arc::new(turn.engine.view())).clone()
}

fn pin<E: Engine>(turn: &mut Turn<E>, at: Revision) -> Arc<Revision> {
    if let Some(p) = turn.pins.last().filter(|p| ***p <= at) {
        return p.clone();
    }
    let p = Arc::new(at);
    turn.pins.push(p.clone());
    p
}

/// The lowest revision it reads at. What is below `compacted` is refused, not read.
fn read_revision(ask: &ReadAsk) -> Revision {
    match &ask.spec {
        Spec::Scan(r) if r.revision != Revision::ZERO => ask.x.min(r.revision),
        // It looks at every version above `compacted`, too.
        Spec::Hash { at, .. } => ask.x.min(*at).min(ask.compacted),
        Spec::Txn(t) => t.success.iter().chain(&t.failure).fold(ask.x, |low, op| lowest(low, op, ask.compacted)),
        Spec::Scan(_) | Spec::Settle { .. } | Spec::Marks { .. } => ask.x,
    }
}

fn lowest(low: Revision, op: &mvcc::Request, compacted: Revision) -> Revision {
    match op {
        mvcc::Request::Range(r) if r.revision != Revision::ZERO && r.revision >= compacted => low.min(r.revision),
        mvcc::Request::Txn(t) => t.success.iter().chain(&t.failure).fold(low, |low, op| lowest(low, op, compacted)),
        _ => low,
    }
}

/// etcd's order: a future revision first, then a compacted one.
fn check_revision(ask: &ReadAsk, floor: Revision) -> Result<()> {
    let named = match &ask.spec {
        Spec::Scan(r) if r.revision != Revision::ZERO => Some(r.revision),
        Spec::Hash { at, .. } => Some(*at),
        Spec::Scan(_) | Spec::Txn(_) | Spec::Settle { .. } | Spec::Marks { .. } => None,
    };
    let at = named.unwrap_or(ask.x);
    if at > ask.x {
        return Err(Error::refused(Refusal::FutureRevision));
    }
    // X may have been fetched before a compaction that this node has heard of since. Who named no revision is not refused
    // for that: if the store is past X, a new X is fetched.
    if named.is_some_and(|r| r < ask.compacted) {
        return Err(Error::refused(Refusal::Compacted));
    }
    // A transaction reads old revisions inside, a hash all versions above `compacted`: the lowest counts.
    let lowest = if base::bug!("only-the-newest-revision-meets-the-floor") { at } else { read_revision(ask) };
    if lowest < floor && !base::bug!("filter-under-a-reader") {
        marker!("read.below the store's bound");
        return Err(Error::new(Kind::Retry, "the store has compacted past this read: a new revision is needed"));
    }
    Ok(())
}

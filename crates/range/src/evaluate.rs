//! ④ evaluate, ⑤ number, ⑥ append: a command's way from the queue into one entry.

use crate::ask::Command;
use crate::entry::{self, Header};
use crate::lead::{Answering, Leading, Pending, Unchanging};
use crate::replica::Replica;
use crate::sink::{Asked, Turn};
use base::{Error, Kind, Refusal, Result, Revision, Span, Stage, marker};
use bytes::Bytes;
use engine::Engine;
use mvcc::{Bounds, Evaluated};

/// So many commands do not wait for the entry before them to commit.
const CROWD: usize = 256;

/// An evaluation that wants a fetch: its sequence number, and whether it needs a number of its own.
pub type Unfetched = (u64, bool);

impl<V: engine::Read + Send + Sync + 'static> Replica<V> {
    /// Evaluates what waits, in arrival order, over engine ∪ overlay, until a command must wait for a number.
    pub fn evaluate<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        if !self.is_serving() || self.is_handing_over() {
            return Ok(());
        }
        let span = self.descriptor.span.clone();
        let Some(lead) = &mut self.lead else { return Ok(()) };
        if lead.bounds.is_some_and(|b| b.compacted < turn.floor) {
            // It waited for a number meanwhile, and what it may read at has gone: it asks again.
            marker!("evaluate.bounds overtaken");
            lead.bounds = None;
        }
        while let Some(command) = lead.queue.pop_front() {
            if turn.now >= command.deadline {
                marker!("evaluate.deadline passed");
                turn.sink.queued -= command.weight();
                turn.sink.replies.push((command.origin, Err(Error::refused(Refusal::Timeout))));
                lead.front_left();
                continue;
            }
            if let Some(back) = evaluate_one(lead, turn, &span, command)? {
                lead.queue.push_front(back);
                break;
            }
            lead.front_left();
        }
        Ok(())
    }

    /// Does the front of the queue wait for `current` and `compacted`?
    /// Says which command that is: an answer for one that has left is of no use to the next.
    pub fn wants_bounds(&self) -> Option<u64> {
        let lead = self.lead.as_ref().filter(|l| l.bounds.is_none())?;
        lead.queue.front().filter(|c| c.request.names_a_revision()).map(|_| lead.front)
    }

    /// What the front of the queue asked for, fetched after it asked.
    pub fn bounds(&mut self, front: u64, bounds: Bounds) {
        let same = |l: &&mut Leading<V>| l.front == front || base::bug!("bounds-of-another-command");
        if let Some(lead) = self.lead.as_mut().filter(same) {
            lead.bounds = Some(bounds);
        }
    }

    /// What a fetch that is sent now must number, in evaluation order.
    pub fn take_unfetched(&mut self) -> Vec<Unfetched> {
        self.lead.as_mut().map(|l| std::mem::take(&mut l.unfetched)).unwrap_or_default()
    }

    /// ⑤ Evaluation `seq` of this leadership got this number; or, when it changes nothing, this X.
    pub fn number<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, seq: u64, number: Revision) {
        let Some(lead) = &mut self.lead else { return };
        lead.numbers.push(seq, number);
        let floor;
        match lead.results.binary_search_by_key(&seq, |r| r.seq) {
            Ok(at) => {
                let r = &mut lead.results[at];
                r.x = Some(number);
                floor = r.floor;
                if let Ok(reply) = &mut r.reply {
                    reply.fill(&|s| lead.numbers.get(s));
                }
            }
            Err(_) => {
                let at = lead.pending.len() - lead.unappended
                    + lead
                        .pending
                        .range(lead.pending.len() - lead.unappended..)
                        .position(|p| p.number.is_none())
                        .unwrap_or(0);
                let p = &mut lead.pending[at];
                assert_eq!(p.seq, seq, "numbers are given in evaluation order");
                assert!(number > self.max_logged, "[W1] {number} would follow {} in the log", self.max_logged);
                self.max_logged = number;
                p.number = Some(number);
                p.effects.fill(&|s| lead.numbers.get(s));
                p.reply.fill(&|s| lead.numbers.get(s));
                lead.overlay.number(seq, number);
                floor = p.floor;
                turn.sink.mark(Stage::Number, turn.now.since(p.command.arrived));
            }
        }
        lead.numbers.forget_below(floor);
    }

    /// ⑥ All that is numbered and in no entry yet becomes one entry (more only when it would be too large).
    pub fn append<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        loop {
            let version = self.descriptor.epoch.version;
            let limit = turn.limits.max_entry_bytes;
            let Some(lead) = &mut self.lead else { return Ok(()) };
            // One entry at a time fills the next one: large entries cost less than many. A crowd does not wait.
            let under_way = lead.entries.back().is_some_and(|(index, _)| *index > self.commit);
            let waits = under_way || lead.pace.holds_entry(lead.unappended, turn.now);
            if waits && lead.unappended < CROWD {
                return Ok(());
            }
            let from = lead.pending.len() - lead.unappended;
            let Some((data, count, max)) = pack(lead, from, version, limit) else { return Ok(()) };
            let arrived = lead.pending[from].command.arrived;
            turn.sink.mark(Stage::Append, turn.now.since(arrived));
            // Under load a quorum is enough, and whoever is spared has work of its own.
            let reach = if count >= turn.limits.quorum_crowd { raft::Reach::Quorum } else { raft::Reach::All };
            let Some(index) = self.propose(turn, data, reach)? else { return Ok(()) };
            turn.sink.counters.proposed += 1;
            // Proposing can end the leadership only through an error, which was handled above.
            let Some(lead) = &mut self.lead else { return Ok(()) };
            for p in lead.pending.range_mut(from..from + count) {
                p.appended = Some(index);
            }
            lead.unappended -= count;
            lead.entries.push_back((index, max));
            lead.pace.proposed(count, turn.now);
            self.complete(turn);
        }
    }

    /// Hands one entry to the Raft core; `None` when this replica does not lead any more.
    pub(crate) fn propose<E: Engine<View = V>>(
        &mut self,
        turn: &mut Turn<E>,
        data: Bytes,
        reach: raft::Reach,
    ) -> Result<Option<base::Index>> {
        let mut index = None;
        self.with_group(turn, |group, ctx, out| {
            index = group.propose(ctx, data, reach, out).ok().map(|(_, i)| i);
        })?;
        Ok(index)
    }
}

/// Evaluates one command; gives it back when it must wait.
fn evaluate_one<E: Engine>(
    lead: &mut Leading<E::View>,
    turn: &mut Turn<E>,
    span: &Span,
    command: Command,
) -> Result<Option<Command>> {
    let mut outside = false;
    let mut spans = Vec::new();
    command.request.spans(&mut |s, _| {
        outside |= !span.covers(s);
        spans.push(s.clone());
    });
    if outside {
        marker!("evaluate.span moved away");
        turn.sink.queued -= command.weight();
        turn.sink.rerouted.push(Asked::Command(command));
        return Ok(None);
    }
    let seq = lead.next_seq;
    let own = Revision::pending(seq);
    let source = mvcc::Source::live(turn.engine, &lead.overlay).with_heads(turn.heads, lead.owner);
    let floor = if lead.numbers.next_seq() == 0 { 1 } else { lead.numbers.next_seq() };
    let reply = match mvcc::evaluate(&source, &command.request, own, lead.bounds) {
        Ok(Evaluated::BlockedOn(_)) | Ok(Evaluated::NeedsBounds) => {
            marker!("evaluate.waits");
            return Ok(Some(command));
        }
        Ok(Evaluated::Done { effects, reply }) if !effects.is_empty() => {
            turn.sink.mark(Stage::Evaluate, turn.now.since(command.arrived));
            lead.overlay.insert_command(own, &effects);
            let reply = Answering::Open(reply);
            lead.pending.push_back(Pending { seq, command, effects, reply, floor, number: None, appended: None });
            lead.unappended += 1;
            lead.unfetched.push((seq, true));
            lead.next_seq += 1;
            return Ok(None);
        }
        Ok(Evaluated::Done { reply, .. }) => Ok(Answering::Open(reply)),
        Err(e) if matches!(e.kind, Kind::Refused(_) | Kind::Unimplemented) => Err(e),
        Err(e) => return Err(e),
    };
    marker!("evaluate.changes nothing");
    lead.results.push_back(Unchanging { seq, command, reply, spans, floor, x: None });
    lead.unfetched.push((seq, false));
    lead.next_seq += 1;
    Ok(None)
}

/// Encodes the numbered commands from `from` on into one entry, up to `limit` bytes.
fn pack<V>(lead: &Leading<V>, from: usize, version: u64, limit: usize) -> Option<(Bytes, usize, Revision)> {
    let numbered: Vec<&Pending> = lead.pending.range(from..).take_while(|p| p.number.is_some()).collect();
    numbered.first()?;
    // The header carries the largest revision, so the cut comes first.
    let mut body = Vec::with_capacity(256 * numbered.len());
    let mut count = 0;
    let mut max = Revision::ZERO;
    for p in numbered {
        if count > 0 && body.len() >= limit {
            break;
        }
        let number = p.number?;
        mvcc::encode_command(&mut body, number, &p.effects);
        max = number;
        count += 1;
    }
    let mut data = entry::begin_commands(Header { version, max_revision: max }, body.len());
    data.extend_from_slice(&body);
    Some((Bytes::from(data), count, max))
}

//! One replica: its consensus half, its state half, and, while it leads, what leading takes.

use crate::ask::{Command, Proof, READ_WEIGHT, ReadAsk};
use crate::lead::Leading;
use crate::sink::{Asked, Ready, Receipt, Sink, Turn};
use crate::state::{Applied, Loaded, Log};
use base::{Descriptor, Error, Index, Kind, Place, Result, Revision, Stage, Term, Tick, marker};
use engine::{Cf, Engine, keys};
use placement::Meta;
use raft::{Became, Committed, Config, Ctx, Group, Member, Message, Output, Role};
use std::collections::VecDeque;

/// Applied with a batch that is not known to be durable yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Applying {
    pub index: Index,
    pub term: Term,
    pub max_revision: Revision,
}

/// One range's copy on this store.
///
/// Invariants (`check`): `written <= applied.index <= commit <= last`; an overlay exists only while leading.
pub struct Replica<V> {
    pub(crate) descriptor: Descriptor,
    pub(crate) place: Place,
    pub(crate) group: Group,
    /// State handed to the disk up to here.
    pub(crate) applied: Applied,
    /// State in the engine, readable through a view, up to here.
    pub(crate) written: Index,
    /// The term of that entry, and the largest revision up to it.
    pub(crate) readable: (Term, Revision),
    pub(crate) applying: VecDeque<Applying>,
    /// The last entry that is gone from the log.
    pub(crate) truncated: Index,
    pub(crate) log_bytes: u64,
    /// Largest revision in the log.
    pub(crate) max_logged: Revision,
    pub(crate) lead: Option<Leading<V>>,
    /// Range 1 only: the meta records as applied.
    pub(crate) meta: Option<Meta>,
    /// Commit index last seen in an output; apply goes up to here.
    pub(crate) commit: Index,
    /// A snapshot is being put in: messages wait for it.
    pub(crate) installing: bool,
    /// Snapshots that were begun to be put in: what was seen of the state before one says nothing about the state after.
    pub(crate) installs: u64,
    /// The latest quorum round of this leadership that was confirmed.
    pub(crate) confirmed: Option<raft::ReadRound>,
    /// To whom leadership is to go once everything evaluated is committed, and until when that may take.
    pub(crate) handing: Option<(base::ReplicaId, Tick)>,
}

impl<V: engine::Read + Send + Sync + 'static> Replica<V> {
    /// From what the disk holds. `meta` is there for range 1.
    pub fn boot(loaded: Loaded, place: Place, election_timeout: Tick, meta: Option<Meta>) -> Replica<V> {
        let conf = raft::Conf::of_voters(loaded.descriptor.replicas.iter().map(|p| member(*p)));
        let mut config = Config::new(loaded.descriptor.id, place.replica, place.store);
        config.election_timeout = election_timeout;
        let boot = raft::Boot { hard: loaded.hard, conf, log: loaded.log, applied: loaded.applied.index };
        let applied = loaded.applied;
        Replica {
            descriptor: loaded.descriptor,
            place,
            group: Group::new(config, boot),
            applied,
            written: applied.index,
            readable: (applied.term, applied.max_revision),
            applying: VecDeque::new(),
            truncated: loaded.log.truncated.0,
            log_bytes: loaded.log_bytes,
            max_logged: applied.max_revision,
            lead: None,
            meta,
            commit: applied.index,
            installing: false,
            installs: 0,
            confirmed: None,
            handing: None,
        }
    }

    /// A message of another replica of this range.
    pub fn receive<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, from: Place, message: Message) -> Result<()> {
        if self.installing {
            marker!("range.message while a snapshot goes in");
            return Ok(());
        }
        if matches!(&message, Message::Append(a) if !a.entries.is_empty()) {
            turn.sink.mark(Stage::OnAppend, 0);
        }
        self.with_group(turn, |group, ctx, out| group.receive(ctx, member(from), message, out))
    }

    /// The leader says that its log is committed up to here.
    pub fn receive_commit<E: Engine<View = V>>(
        &mut self,
        turn: &mut Turn<E>,
        from: Place,
        told: Committed,
    ) -> Result<()> {
        if self.installing {
            return Ok(());
        }
        self.with_group(turn, |group, ctx, out| group.receive_commit(ctx, member(from), told, out))
    }

    /// Its armed deadline has come.
    pub fn deadline<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        if self.installing || self.group.next_deadline() > turn.now {
            return Ok(());
        }
        self.with_group(turn, |group, ctx, out| group.deadline(ctx, out))
    }

    /// When it wants a turn; while a snapshot goes in, it has none to take.
    pub fn next_deadline(&self) -> Tick {
        if self.installing {
            return Tick::FAR;
        }
        let paced = self.lead.as_ref().map_or(Tick::FAR, |l| l.pace.until());
        let handing = self.handing.map_or(Tick::FAR, |(_, give_up)| give_up);
        self.group.next_deadline().min(paced).min(handing)
    }

    /// Something changed in what other stores support.
    pub fn liveness_changed<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, store: base::StoreId) -> Result<()> {
        if self.installing {
            return Ok(());
        }
        self.with_group(turn, |group, ctx, out| group.liveness_changed(ctx, store, out))
    }

    /// Stands for election now: the preferred replica of a fresh range.
    pub fn campaign<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        self.with_group(turn, |group, ctx, out| group.campaign(ctx, out))
    }

    /// Stops leading, in order.
    pub fn stop<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>) -> Result<()> {
        self.with_group(turn, |group, ctx, out| group.stop(ctx, out))
    }

    /// Runs one call of the Raft core and carries what it puts out to where it belongs.
    pub(crate) fn with_group<E: Engine<View = V>>(
        &mut self,
        turn: &mut Turn<E>,
        call: impl FnOnce(&mut Group, &mut Ctx, &mut Output),
    ) -> Result<()> {
        let mut out = Output::default();
        let log = Log { engine: turn.engine, range: self.descriptor.id };
        let mut ctx = Ctx { now: turn.now, supports: turn.supports, log: &log, rng: turn.rng };
        call(&mut self.group, &mut ctx, &mut out);
        self.drain(turn, out)
    }

    fn drain<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, out: Output) -> Result<()> {
        let range = self.descriptor.id;
        if let Some(raft::Lost { acked, last, leader }) = out.lost {
            marker!("range.lost what it acknowledged");
            return Err(Error::corrupt(format!(
                "{range}: {} says that this replica acknowledged its log up to {acked} in term {}, and it ends at {last}: \
                 this store has lost data that it had vouched for; replace the node",
                leader.store,
                self.group.term()
            )));
        }
        self.write_log(turn.sink, &out);
        // What waits for the disk waits for a disk that was told to sync.
        turn.sink.sync |= out.needs_disk();
        turn.sink.urgent |= out.needs_disk() && !out.patient;
        if !out.commits.is_empty() && !base::bug!("late-follower-hears-no-commit") {
            turn.sink.untold.push(range);
        }
        for (to, message) in out.now {
            turn.sink.now.push(self.letter(to, message));
        }
        for (to, message) in out.after_write {
            turn.sink.after.push(self.letter(to, message));
        }
        if let Some((index, _)) = out.commit {
            turn.sink.mark(Stage::Commit, self.waited(turn.now));
            self.commit = self.commit.max(index);
        }
        for (round, _) in out.reads_ready {
            self.round_confirmed(turn.sink, round);
        }
        turn.sink.snapshots.extend(out.snapshot_needed.iter().map(|m| (range, place(*m))));
        if let Some(became) = out.became {
            self.role_changed(turn, became);
        }
        self.complete(turn);
        Ok(())
    }

    /// How long the oldest write that is not answered yet has been here: what a commit took, on the leader.
    fn waited(&self, now: Tick) -> u64 {
        let oldest = self.lead.as_ref().and_then(|l| l.pending.front());
        oldest.map_or(0, |p| now.since(p.command.arrived))
    }

    fn letter(&self, to: Member, message: Message) -> crate::sink::Letter {
        crate::sink::Letter { range: self.descriptor.id, from: self.place, to: place(to), message }
    }

    /// New entries and a new hard state go into this step's batch.
    fn write_log(&mut self, sink: &mut Sink<V>, out: &Output) {
        let range = self.descriptor.id;
        if let Some((from, to)) = out.delete {
            marker!("range.divergent suffix removed");
            let mut i = from;
            while i <= to {
                sink.batch.delete(Cf::Log, keys::entry(range, i));
                i = i.next();
            }
        }
        for e in &out.append {
            let mut bytes = Vec::with_capacity(e.size() + 8);
            e.encode(&mut bytes);
            self.log_bytes += bytes.len() as u64;
            sink.batch.put(Cf::Log, keys::entry(range, e.index), bytes);
        }
        if let Some(hard) = &out.hard {
            let mut bytes = Vec::with_capacity(12);
            hard.encode(&mut bytes);
            sink.batch.put(Cf::Log, keys::hard(range), bytes);
        }
        if out.mark.is_some() {
            sink.receipts.push(Receipt { range, mark: out.mark, applied: None });
        }
    }

    fn role_changed<E: Engine<View = V>>(&mut self, turn: &mut Turn<E>, became: Became) {
        let leads = self.group.role() == Role::Leader;
        let same = self.lead.as_ref().is_some_and(|l| l.term == self.group.term());
        if leads && same && !became.lost_leadership {
            return;
        }
        if self.lead.is_some() {
            self.lost_leadership(turn.sink);
        }
        if leads {
            marker!("range.won leadership");
            turn.sink.counters.elections_won += 1;
            let first = self.group.term_start().unwrap_or(self.group.last().0);
            self.lead = Some(Leading::new(self.group.term(), first, turn.heads.begin()));
        } else if self.group.leader().is_some() {
            turn.sink.counters.leaders_seen += 1;
        }
    }

    /// Everything that waited here is answered: what was never handed to Raft may be routed again.
    fn lost_leadership(&mut self, sink: &mut Sink<V>) {
        marker!("range.lost leadership");
        (self.confirmed, self.handing) = (None, None);
        // What this step has already put on the lease goes another way: from here on nothing rests on it. A confirmed
        // round stays what it is.
        let range = self.descriptor.id;
        let ours = |p: &Proof| p.range == range && p.until != Tick::FAR && !base::bug!("lease-outlives-leadership");
        let (lost, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut sink.leased).into_iter().partition(|(p, _)| ours(p));
        sink.leased = kept;
        for (_, ready) in lost {
            reroute(sink, ready);
        }
        let Some(lead) = self.lead.take() else { return };
        sink.queued -= lead.weight();
        sink.rerouted.extend(lead.queue.into_iter().map(Asked::Command));
        for p in lead.pending {
            if p.appended.is_some() {
                sink.counters.failed += 1;
                let text = "leadership was lost while the write was on its way";
                sink.replies.push((p.command.origin, Err(Error::new(Kind::Unknown, text))));
            } else {
                sink.rerouted.push(Asked::Command(p.command));
            }
        }
        sink.rerouted.extend(lead.results.into_iter().map(|z| Asked::Command(z.command)));
        sink.rerouted.extend(lead.reads.into_iter().map(Asked::Read));
        for ready in lead.proving.into_iter().map(|(_, ready)| ready).chain(lead.unproved) {
            reroute(sink, ready);
        }
        for (_, _, origin) in lead.meta.into_iter().flat_map(|m| m.compactions) {
            sink.replies.push((origin, Err(Error::new(Kind::Unknown, "leadership was lost during the compaction"))));
        }
    }

    /// May this node evaluate and answer for the range: does it lead, with its own first entry in the engine?
    pub fn is_serving(&self) -> bool {
        self.lead.as_ref().is_some_and(|l| self.written >= l.first)
    }

    /// Takes a command into the queue, or sends it another way before anything happened.
    pub fn submit(&mut self, sink: &mut Sink<V>, command: Command) {
        match &mut self.lead {
            Some(lead) => {
                sink.queued += command.weight();
                lead.queue.push_back(command);
            }
            None => sink.rerouted.push(Asked::Command(command)),
        }
    }

    /// Answers commands whose time is over while nothing is evaluated.
    pub fn drop_late(&mut self, sink: &mut Sink<V>, now: Tick) {
        if self.is_serving() {
            return;
        }
        let Some(lead) = self.lead.as_mut().filter(|l| !l.queue.is_empty()) else { return };
        let (late, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut lead.queue).into_iter().partition(|c| now >= c.deadline);
        lead.queue = rest;
        for c in late {
            marker!("evaluate.deadline passed in the queue");
            sink.queued -= c.weight();
            sink.replies.push((c.origin, Err(Error::refused(base::Refusal::Timeout))));
        }
    }

    /// Takes a read that knows its X, or sends it another way.
    pub fn admit(&mut self, sink: &mut Sink<V>, ask: ReadAsk) {
        let serving = self.is_serving();
        let covered = ask.spec.spans().iter().all(|s| self.descriptor.span.covers(s));
        match &mut self.lead {
            Some(lead) if serving && covered => {
                marker!("read.admitted");
                sink.queued += READ_WEIGHT;
                lead.reads.push(ask);
            }
            _ => sink.rerouted.push(Asked::Read(ask)),
        }
    }

    /// Asserts the invariants.
    pub fn check(&self) {
        assert!(self.written <= self.applied.index, "{}: more is readable than was applied", self.descriptor.id);
        assert!(self.applied.index <= self.commit, "{}: applied what is not committed", self.descriptor.id);
        assert!(self.truncated <= self.applied.index, "{}: log cut beyond what is applied", self.descriptor.id);
        assert!(
            self.lead.is_none() || self.group.role() == Role::Leader,
            "{}: leads without being leader",
            self.descriptor.id
        );
        self.group.check();
    }
}

/// What this replica cannot answer after all goes another way; numbers are simply not given.
pub(crate) fn reroute<V: engine::Read>(sink: &mut Sink<V>, ready: Ready<V>) {
    match ready {
        Ready::Read(task) => sink.rerouted.push(Asked::Read(task.ask_again())),
        Ready::Reply(asked, _) => sink.rerouted.push(asked),
        Ready::Fetched(_) => marker!("sequencer.numbers without a lease are dropped"),
        // The node makes these itself, behind all turns of its replicas.
        Ready::Closes(_) => {}
    }
}

/// A place as the Raft core calls it.
pub fn member(p: Place) -> Member {
    Member { replica: p.replica, store: p.store }
}

/// A member as everybody else calls it.
pub fn place(m: Member) -> Place {
    Place { replica: m.replica, store: m.store }
}

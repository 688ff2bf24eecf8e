//! Snapshots under way, both directions. The sender offers, the receiver takes a slot, pieces flow a few at a time,
//! each asked for by the receiver; then one ingest.

use crate::boot;
use crate::effects::{Effects, SnapshotWork};
use crate::emit::Outbox;
use crate::frame::Part;
use crate::node::{Node, Work, turn};
use base::{Incarnation, Index, Place, RangeId, Result, Revision, StoreId, Tick, limits, marker};
use bytes::Bytes;
use engine::Engine;
use range::state::Applied;
use range::{Turn, snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// No piece for this long, although the own disk is done with all, ends a snapshot.
const PATIENCE: Tick = Tick::ms(15_000);
/// Who takes a snapshot says so at least this often, whatever election timeout its node was started with. A sender that
/// hears nothing for twice as long knows that the word for the end was lost.
const AT_IT: Tick = limits::ELECTION_TIMEOUT;
/// Pieces on their way at once.
const WINDOW: u64 = 4;
/// Snapshots a node receives, and sends, at once.
const SLOTS: usize = 2;

struct Sending<V> {
    range: RangeId,
    to: Place,
    view: Arc<V>,
    /// Where the next piece begins; `None` when all was read.
    from: Option<Bytes>,
    end: Bytes,
    read: u64,
    /// Pieces that the receiver said it has; `None` until it accepts.
    taken: Option<u64>,
    wanted: u64,
    reading: bool,
    /// The receiver must be heard before this.
    deadline: Tick,
    /// Compaction ignores views: while pieces are read, the bound stays what the receiver was told.
    _pin: Arc<Revision>,
}

/// Who receives what from whom, under which number of the sender.
type Name = (RangeId, StoreId, u64);

struct Receiving {
    name: Name,
    applied: Applied,
    /// Below it the sender's state may lack versions.
    bound: Revision,
    received: u64,
    staged: u64,
    last: bool,
    ingesting: bool,
    /// The last progress.
    since: Tick,
    /// When to say again what is wanted.
    ask_at: Tick,
    deadline: Tick,
}

impl Receiving {
    /// Is it the sender that is waited for, not the own disk?
    fn waits(&self) -> bool {
        !self.ingesting && !self.last && self.staged == self.received
    }

    /// Must it make room for this offer? A sender that was deposed, or went deaf, may never send anything, and nobody
    /// would tell; the leader of the day must not wait for that. But over a slow link a piece takes longer than that
    /// silence: whoever hears us is at it, and says so when it is not. Other ranges wait for it, or three of them would
    /// take each other's slots for ever.
    fn yields_to(&self, (range, from, number): Name, still: bool, hears: bool) -> bool {
        if self.name.0 == range && self.name.1 == from {
            // It sends one at a time.
            return number > self.name.2 && !self.ingesting;
        }
        let silent = still && self.waits() && !base::bug!("silent-sender-keeps-its-slot");
        silent && (self.name.0 == range || !hears || base::bug!("slow-sender-loses-its-slot"))
    }
}

/// All of them.
pub(crate) struct Snapshots<V> {
    /// Whoever hears answers an offer within this time, and sends what it was asked for.
    silence: Tick,
    /// How much is read for one piece.
    chunk_bytes: usize,
    sending: BTreeMap<u64, Sending<V>>,
    next: u64,
    /// By our own number.
    receiving: BTreeMap<u64, Receiving>,
    /// Sendings that ended: to whom, and at which index when it is in.
    ended: Vec<(RangeId, Place, Option<Index>)>,
    dropped: Vec<u64>,
}

impl<V: engine::Read> Snapshots<V> {
    /// Numbers of an earlier life must not meet those of this one.
    pub fn new(incarnation: Incarnation, silence: Tick, chunk_bytes: usize) -> Snapshots<V> {
        let (sending, receiving, next) = (BTreeMap::new(), BTreeMap::new(), (incarnation.0 << 32) + 1);
        Snapshots { silence, chunk_bytes, sending, next, receiving, ended: Vec::new(), dropped: Vec::new() }
    }

    pub fn next_wake(&self) -> Tick {
        if !self.ended.is_empty() || !self.dropped.is_empty() {
            return Tick::ZERO;
        }
        let sending = self.sending.values().map(|s| s.deadline);
        let asks = self.receiving.values().map(|r| r.ask_at);
        let patience = self.receiving.values().filter(|r| r.waits()).map(|r| r.deadline);
        sending.chain(asks).chain(patience).min().unwrap_or(Tick::FAR)
    }

    /// What makes no progress ends. What was asked for and does not come is asked for again, and whoever is busy with what
    /// came says the same, for the sender to know.
    pub fn pass_time(&mut self, now: Tick, outbox: &mut Outbox) {
        for r in self.receiving.values_mut().filter(|r| now >= r.ask_at) {
            if r.waits() {
                marker!("snapshot.piece asked for again");
            }
            r.ask_at = now + self.silence.min(AT_IT);
            outbox.now(r.name.1, &Part::Wanted(r.name.0, r.name.2, r.staged));
        }
        let late: Vec<u64> = self.sending.iter().filter(|(_, s)| now >= s.deadline).map(|(n, _)| *n).collect();
        for number in late {
            marker!("snapshot.sending timed out");
            self.end_sending(number, None);
        }
        let late = |r: &Receiving| now >= r.deadline && r.waits();
        let late: Vec<u64> = self.receiving.iter().filter(|(_, r)| late(r)).map(|(n, _)| *n).collect();
        for number in late {
            marker!("snapshot.receiving timed out");
            if let Some((range, from, theirs)) = self.end_receiving(number) {
                outbox.now(from, &Part::Refused(range, theirs));
            }
        }
    }

    /// Nothing more of it is taken. What goes in cannot be stopped any more: its replica waits for the end.
    fn end_receiving(&mut self, number: u64) -> Option<Name> {
        let r = self.receiving.remove(&number)?;
        assert!(!r.ingesting || base::bug!("late-answer-ends-an-ingest"), "{:?} is being put in", r.name);
        self.dropped.push(number);
        Some(r.name)
    }

    fn end_sending(&mut self, number: u64, result: Option<Index>) {
        if let Some(s) = self.sending.remove(&number) {
            self.ended.push((s.range, s.to, result));
        }
    }

    /// The receiver has so many pieces and wants more. Says who it is when it has more than before.
    pub fn wanted(&mut self, name: Name, pieces: u64, now: Tick, outbox: &mut Outbox) -> Option<Place> {
        let Some(s) = self.sending.get_mut(&name.2).filter(|s| s.range == name.0 && s.to.store == name.1) else {
            // A piece that follows none: whoever waits for it need not do so.
            marker!("snapshot.not sent any more");
            outbox.snapshot(name.1, &Part::Chunk(name.0, name.2, u64::MAX, false, Bytes::new()));
            return None;
        };
        if s.taken == Some(pieces) && s.read > pieces {
            // It says so again: a piece is late, or lost. Nothing behind what was sent shows it which.
            marker!("snapshot.receiver waits for what was sent");
            outbox.snapshot(s.to.store, &Part::Chunk(s.range, name.2, s.read, false, Bytes::new()));
        }
        let moves = s.taken.unwrap_or_default() < pieces;
        s.taken = s.taken.max(Some(pieces));
        s.wanted = s.wanted.max(pieces + WINDOW);
        let twice = if base::bug!("silent-receiver-keeps-its-slot") { PATIENCE } else { AT_IT + AT_IT };
        s.deadline = now + twice.max(self.silence + self.silence);
        moves.then_some(s.to)
    }

    /// A piece was read.
    pub fn read(&mut self, number: u64, result: Result<(Bytes, Option<Bytes>)>, outbox: &mut Outbox) {
        let Some(s) = self.sending.get_mut(&number) else { return };
        s.reading = false;
        match result {
            Ok((bytes, next)) => {
                marker!("snapshot.piece sent");
                let part = Part::Chunk(s.range, number, s.read, next.is_none(), bytes);
                outbox.snapshot(s.to.store, &part);
                s.read += 1;
                s.from = next;
            }
            Err(_) => self.end_sending(number, None),
        }
    }

    /// Reading goes on where the window allows.
    pub fn go_on<E: Engine<View = V>>(&mut self, effects: &mut Effects<E>) {
        for (number, s) in &mut self.sending {
            go_on_reading(*number, s, self.chunk_bytes, effects);
        }
        for number in std::mem::take(&mut self.dropped) {
            effects.snapshots.push(SnapshotWork::Drop { number });
        }
    }

    /// Is one on its way to this member?
    fn is_under_way(&self, range: RangeId, to: Place) -> bool {
        self.sending.values().any(|s| s.range == range && s.to == to)
    }

    pub fn refused(&mut self, name: Name) {
        if self.sending.get(&name.2).is_some_and(|s| s.range == name.0 && s.to.store == name.1) {
            marker!("snapshot.refused");
            self.end_sending(name.2, None);
        }
    }

    pub fn installed(&mut self, name: Name, index: Index) {
        if self.sending.get(&name.2).is_some_and(|s| s.range == name.0 && s.to.store == name.1) {
            self.end_sending(name.2, Some(index));
        }
    }

    /// A snapshot is offered: a slot, or no. `hears`: does this store hear us?
    pub fn offered(
        &mut self,
        name: Name,
        (applied, bound): (Applied, Revision),
        (wanted, hears): (bool, &dyn Fn(StoreId) -> bool),
        now: Tick,
        outbox: &mut Outbox,
    ) {
        if !wanted || !self.make_room(name, hears, now, outbox) {
            marker!("snapshot.no slot");
            return outbox.now(name.1, &Part::Refused(name.0, name.2));
        }
        marker!("snapshot.slot given");
        let number = self.next;
        self.next += 1;
        let deadline = now + PATIENCE;
        let (since, ask_at) = (now, now + self.silence.min(AT_IT));
        let (received, staged, last, ingesting) = (0, 0, false, false);
        let r = Receiving { name, applied, bound, received, staged, last, ingesting, since, ask_at, deadline };
        self.receiving.insert(number, r);
        outbox.now(name.1, &Part::Wanted(name.0, name.2, 0));
    }

    /// Is there a slot for this offer, or one whose sender says nothing?
    fn make_room(&mut self, name: Name, hears: &dyn Fn(StoreId) -> bool, now: Tick, outbox: &mut Outbox) -> bool {
        let mut rivals = self.receiving.iter().filter(|(_, r)| r.name.0 == name.0).peekable();
        if rivals.peek().is_none() && self.receiving.len() < SLOTS {
            return true;
        }
        let silence = self.silence;
        let yields = |r: &Receiving| r.yields_to(name, now >= r.since + silence, hears(r.name.1));
        let rival = match rivals.next() {
            Some((number, r)) => yields(r).then_some(*number),
            None => self.receiving.iter().find(|(_, r)| yields(r)).map(|(number, _)| *number),
        };
        let Some(ended) = rival.and_then(|number| self.end_receiving(number)) else { return false };
        marker!("snapshot.slot taken from a silent sender");
        outbox.now(ended.1, &Part::Refused(ended.0, ended.2));
        true
    }

    /// A piece came.
    pub fn chunk<E: Engine<View = V>>(
        &mut self,
        name: Name,
        (at, last, bytes): (u64, bool, Bytes),
        (now, outbox): (Tick, &mut Outbox),
        effects: &mut Effects<E>,
    ) {
        let Some((number, r)) = self.receiving.iter_mut().find(|(_, r)| r.name == name) else {
            marker!("snapshot.piece of what is not received");
            return outbox.now(name.1, &Part::Refused(name.0, name.2));
        };
        if r.last && !base::bug!("late-answer-ends-an-ingest") {
            // Everything is here; this answers what was asked before it was.
            marker!("snapshot.piece behind the last");
            return;
        }
        if at != r.received || r.last {
            marker!("snapshot.piece out of order");
            let number = *number;
            self.end_receiving(number);
            return outbox.now(name.1, &Part::Refused(name.0, name.2));
        }
        (r.since, r.deadline) = (now, now + PATIENCE);
        if base::bug!("pieces-put-off-the-word") {
            r.ask_at = now + self.silence;
        }
        if bytes.is_empty() && !last {
            // Only says that nothing was lost.
            return;
        }
        r.last = last;
        r.received += 1;
        effects.snapshots.push(SnapshotWork::Stage { number: *number, records: bytes });
    }

    /// The streams to this peer are gone, or its life is over: so is what was under way.
    pub fn disconnected<E: Engine<View = V>>(&mut self, peer: StoreId, _effects: &mut Effects<E>) {
        let gone: Vec<u64> = self.sending.iter().filter(|(_, s)| s.to.store == peer).map(|(n, _)| *n).collect();
        for number in gone {
            self.end_sending(number, None);
        }
        let lost = |r: &Receiving| r.name.1 == peer && !r.ingesting;
        let gone: Vec<u64> = self.receiving.iter().filter(|(_, r)| lost(r)).map(|(n, _)| *n).collect();
        for number in gone {
            self.end_receiving(number);
        }
    }
}

fn go_on_reading<E: Engine>(number: u64, s: &mut Sending<E::View>, bytes: usize, effects: &mut Effects<E>) {
    if s.reading || s.read >= s.wanted {
        return;
    }
    if let Some(from) = s.from.clone() {
        s.reading = true;
        let (view, to) = (s.view.clone(), s.end.clone());
        effects.snapshots.push(SnapshotWork::Read { number, view, from, to, bytes });
    }
}

impl<E: Engine> Node<E> {
    /// A member needs the state instead of the log.
    pub(crate) fn offer_snapshot(&mut self, range: RangeId, to: Place, now: Tick, work: &mut Work<E::View>) {
        let Some(replica) = self.replicas.get_mut(&range) else { return };
        if self.snapshots.is_under_way(range, to) && !base::bug!("under-way-is-answered-as-failed") {
            // An earlier leadership's. Its end answers this one, which must not take it for failed meanwhile.
            marker!("snapshot.of an earlier leadership");
            return;
        }
        let busy = self.snapshots.sending.len() >= SLOTS;
        let view = Arc::new(self.engine.view());
        let applied = snapshot::position(&*view, replica.descriptor());
        let (Ok(applied), false) = (applied, busy) else {
            // The core asks again.
            self.snapshots.ended.push((range, to, None));
            return;
        };
        marker!("snapshot.offered");
        let (from, end) = snapshot::state_span(replica.descriptor());
        let number = self.snapshots.next;
        self.snapshots.next += 1;
        let deadline = now + self.snapshots.silence;
        let floor = self.bounds.floor();
        let pin = Arc::new(floor);
        if !base::bug!("snapshot-sent-without-a-pin") {
            self.bounds.pins.push_back(pin.clone());
        }
        let (read, taken, wanted, reading) = (0, None, 0, false);
        let from = Some(from);
        let sending = Sending { range, to, view, from, end, read, taken, wanted, reading, deadline, _pin: pin };
        let position = (applied, floor);
        self.outbox.now(to.store, &Part::Offer(range, replica.place(), to, number, position));
        self.snapshots.sending.insert(number, sending);
        let _ = work;
    }

    /// Ended sendings are told to the core; reading goes on.
    pub(crate) fn pump_snapshots(
        &mut self,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> Result<()> {
        for (range, to, result) in std::mem::take(&mut self.snapshots.ended) {
            if let Some(replica) = self.replicas.get_mut(&range) {
                replica.snapshot_sent(&mut turn!(self, work, now), to.replica, result)?;
                self.dirty.insert(range);
            }
        }
        self.snapshots.go_on(effects);
        Ok(())
    }

    /// A piece is staged: the next is asked for, or everything is put in.
    pub(crate) fn staged(
        &mut self,
        number: u64,
        result: Result<()>,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> Result<()> {
        let Some(r) = self.snapshots.receiving.get_mut(&number) else { return Ok(()) };
        if let Err(e) = result {
            let (range, from, theirs) = r.name;
            self.snapshots.end_receiving(number);
            if !engine::is_no_space(&e) {
                return Err(e);
            }
            marker!("snapshot.no room for it");
            self.outbox.now(from, &Part::Refused(range, theirs));
            return Ok(());
        }
        r.staged += 1;
        (r.since, r.deadline) = (now, now + PATIENCE);
        r.ask_at = now + self.config.election_timeout.min(AT_IT);
        let (range, from, theirs) = r.name;
        if !r.last || r.staged < r.received {
            self.outbox.now(from, &Part::Wanted(range, theirs, r.staged));
            return Ok(());
        }
        let Some(replica) = self.replicas.get_mut(&range).filter(|p| p.wants_snapshot(r.applied.index)) else {
            self.outbox.now(from, &Part::Refused(range, theirs));
            self.snapshots.end_receiving(number);
            return Ok(());
        };
        let (clear, then) = replica.begin_install(&self.engine, r.applied)?;
        // The sender may have compacted further than this store: its bound comes with its state, and before it is in.
        // It travels in this step's batch, which the ingest follows: in the ingest it could undo a later, larger bound.
        if r.bound > self.bounds.floor() {
            marker!("snapshot.bound raised");
            boot::put_bound(&mut work.sink.batch, r.bound);
            work.sink.must_sync();
            self.bounds.bound = r.bound;
            self.bounds.compacted = self.bounds.compacted.max(r.bound);
        }
        r.ingesting = true;
        effects.snapshots.push(SnapshotWork::Ingest { number, clear, then });
        Ok(())
    }

    /// The snapshot is in, durably.
    pub(crate) fn ingested(
        &mut self,
        number: u64,
        result: Result<()>,
        now: Tick,
        work: &mut Work<E::View>,
    ) -> Result<()> {
        let Some(r) = self.snapshots.receiving.remove(&number) else { return Ok(()) };
        let (range, from, theirs) = r.name;
        if let Err(e) = result {
            if !engine::is_no_space(&e) {
                return Err(e);
            }
            // Nothing of it is in: the replica is what it was, and hears again.
            marker!("snapshot.no room to put it in");
            if let Some(replica) = self.replicas.get_mut(&range) {
                replica.install_failed(&mut turn!(self, work, now))?;
                self.dirty.insert(range);
            }
            self.outbox.now(from, &Part::Refused(range, theirs));
            return Ok(());
        }
        if let Some(replica) = self.replicas.get_mut(&range) {
            replica.installed(&mut turn!(self, work, now), r.applied)?;
            self.dirty.insert(range);
            self.outbox.after(from, &Part::Installed(range, theirs, r.applied.index));
        }
        Ok(())
    }
}

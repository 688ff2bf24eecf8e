//! Inputs, one by one.

use crate::calls::is_without_room;
use crate::effects::{Effects, Input};
use crate::frame::{Ask, Frame, Part};
use crate::liveness::{Beat, Turned};
use crate::node::{Node, Work, turn};
use crate::numbers::{Landed, Wait, x_of};
use base::{Error, Issued, Kind, Place, RangeId, Refusal, Result, StoreId, Tick, marker};
use bytes::Bytes;
use engine::Engine;
use range::{Command, Letter, Origin, ReadAsk, Ready, Spec, Turn};

impl<E: Engine> Node<E> {
    pub(crate) fn take(
        &mut self,
        input: Input<E::View>,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> Result<()> {
        match input {
            Input::Frame(from, bytes) => self.take_frame(from, bytes, now, work, effects)?,
            Input::Connected(peer) => self.connected(peer, now, work)?,
            Input::Disconnected(peer) => self.disconnected(peer, effects),
            Input::Call(id, ask, deadline) => {
                if self.is_stopping() && !base::bug!("stops-without-an-answer") {
                    marker!("call.the door is closed");
                    let error = Error::new(Kind::Closing, "the node is going down");
                    work.sink.replies.push((Origin::Local(id), Err(error)));
                } else if self.is_crowded(work) {
                    marker!("call.too many");
                    work.sink.replies.push((Origin::Local(id), Err(Error::refused(Refusal::TooManyRequests))));
                } else {
                    self.take_call(id, ask, deadline, now, &mut work.sink);
                }
            }
            Input::Written(seq) => self.written(seq, now, work, effects)?,
            Input::Proved(ready) => self.proved(ready, now, work)?,
            Input::Unproved(_, Ready::Closes(number)) => self.revisions.closing.unproved(number),
            Input::Unproved(proof, ready) => {
                if let Some(replica) = self.replicas.get_mut(&proof.range) {
                    self.dirty.insert(proof.range);
                    replica.prove(&mut work.sink, proof, ready);
                }
            }
            Input::Read(origin, result) => self.answer(origin, result, now, work),
            Input::Learned(lesson, learned) => {
                if let Some(replica) = self.replicas.get_mut(&lesson.range) {
                    replica.learn(lesson, learned);
                }
            }
            Input::SnapshotRead(number, result) => self.snapshots.read(number, result, &mut self.outbox),
            Input::Staged(number, result) => self.staged(number, result, now, work, effects)?,
            Input::Ingested(number, result) => self.ingested(number, result, now, work)?,
            Input::Full(full) => self.set_full(self.identity.store, full),
            Input::Stop => self.begin_stop(now),
        }
        Ok(())
    }

    /// A leased answer was opened in time: it is a fact now.
    fn proved(&mut self, ready: Ready<E::View>, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        match ready {
            Ready::Reply(asked, Err(e)) if e.is_safe_to_retry() && matches!(asked.origin(), Origin::Local(_)) => {
                work.sink.rerouted.push(asked);
            }
            Ready::Reply(asked, result) => work.sink.replies.push((asked.origin(), result)),
            Ready::Fetched((store, fetched)) if store == self.identity.store => self.landed(fetched, now, work)?,
            Ready::Fetched((store, fetched)) => self.outbox.now(store, &Part::Fetched(fetched)),
            Ready::Closes(number) => self.closes_proved(number),
            // The shell carries reads out itself.
            Ready::Read(task) => work.sink.rerouted.push(range::Asked::Read(task.ask_again())),
        }
        Ok(())
    }

    fn take_frame(
        &mut self,
        from: StoreId,
        bytes: Bytes,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> Result<()> {
        let frame = match Frame::decode(bytes) {
            Ok(f) => f,
            Err(_) => {
                // Bytes damaged on the way are bytes lost on the way.
                marker!("frame.damaged");
                return Ok(());
            }
        };
        if !self.outbox.is_next(from, &frame) {
            marker!("frame.old or twice");
            return Ok(());
        }
        for part in frame.parts {
            self.take_part(from, part, now, work, effects)?;
        }
        Ok(())
    }

    fn take_part(
        &mut self,
        from: StoreId,
        part: Part,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> Result<()> {
        match part {
            Part::Beat(beat) => self.take_beat(from, &beat, now, work, effects)?,
            Part::Letter(letter) => self.take_letter(from, letter, now, work)?,
            Part::Commit(range, sender, to, told) => {
                if let Some(replica) = addressed(&mut self.replicas, range, (from, sender), to) {
                    self.dirty.insert(range);
                    replica.receive_commit(&mut turn!(self, work, now), sender, told)?;
                }
            }
            Part::Call(id, (ms, life), ask) => {
                if life != self.incarnation && !base::bug!("call-of-an-earlier-life") {
                    // It may have been done then. Whoever sent it hears of this life, and says "unknown" to its client.
                    marker!("hop.meant for an earlier life");
                    return Ok(());
                }
                self.take_hop(Origin::Remote(from, id), now + Tick::ms(ms), ask, now, work)?;
            }
            Part::Reply(id, result) => self.hop_answered(from, (id, result), now, effects),
            Part::Closes(part) => self.take_closes(from, part, now),
            Part::Fetch(fetch) => {
                if let Some(meta) = self.replicas.get_mut(&RangeId::META).filter(|_| fetch.store == from) {
                    meta.fetch(fetch);
                    self.dirty.insert(RangeId::META);
                }
            }
            Part::Fetched(fetched) => {
                if !self.replicas.contains_key(&RangeId::META) {
                    self.directory.learn(RangeId::META, Some(from));
                }
                self.landed(fetched, now, work)?;
            }
            Part::Offer(range, sender, to, number, (applied, bound)) => {
                let wanted = addressed(&mut self.replicas, range, (from, sender), to)
                    .is_some_and(|r| r.wants_snapshot(applied.index));
                let hears = |store: StoreId| self.liveness.hears_us(store, now);
                let (name, position) = ((range, from, number), (applied, bound));
                self.snapshots.offered(name, position, (wanted, &hears), now, &mut self.outbox);
            }
            Part::Wanted(range, number, chunks) => {
                let moves = self.snapshots.wanted((range, from, number), chunks, now, &mut self.outbox);
                if let (Some(to), Some(replica)) = (moves, self.replicas.get_mut(&range)) {
                    replica.snapshot_moves(&mut turn!(self, work, now), to.replica)?;
                }
            }
            Part::Refused(range, number) => self.snapshots.refused((range, from, number)),
            Part::Chunk(range, number, at, last, bytes) => {
                let piece = (at, last, bytes);
                self.snapshots.chunk((range, from, number), piece, (now, &mut self.outbox), effects);
            }
            Part::Installed(range, number, index) => self.snapshots.installed((range, from, number), index),
        }
        Ok(())
    }

    fn take_beat(
        &mut self,
        from: StoreId,
        beat: &Beat,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> Result<()> {
        let mut turned = Turned::default();
        let disk_ok = self.disk_ok(now);
        let before = self.liveness.incarnation_of(from);
        self.liveness.receive(from, beat, now, disk_ok, &mut turned);
        if self.liveness.incarnation_of(from) != before {
            // What was handed to its earlier life will not be answered, and it sends and takes no snapshot any more.
            self.hops_lost(from, Tick::FAR, effects);
            if !base::bug!("snapshots-of-an-earlier-life") {
                self.snapshots.disconnected(from, effects);
            }
        }
        self.writes.depths.check(from, self.incarnation, beat.remembered)?;
        self.writes.depths.hear(from, beat.incarnation, beat.depth);
        self.set_full(from, beat.full);
        self.revisions.known.raise(Issued::witnessed(beat.revision));
        self.liveness_turned(turned, now, work)?;
        self.campaign_where_fresh(now, work)
    }

    /// A store has no room, or has some again.
    fn set_full(&mut self, store: StoreId, full: bool) {
        if full {
            marker!("node.store is full");
            self.door.full.insert(store);
        } else if self.door.full.remove(&store) {
            marker!("node.store has room again");
        }
        self.liveness.set_full(self.door.full.contains(&self.identity.store));
    }

    fn take_letter(&mut self, from: StoreId, l: Letter, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        if let Some(replica) = addressed(&mut self.replicas, l.range, (from, l.from), l.to) {
            self.dirty.insert(l.range);
            replica.receive(&mut turn!(self, work, now), l.from, l.message)?;
        }
        Ok(())
    }

    fn connected(&mut self, peer: StoreId, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        marker!("node.peer connected");
        self.door.cut.remove(&peer);
        self.fetches.path_changed();
        self.close_anew(peer);
        for (range, replica) in &mut self.replicas {
            if replica.descriptor().on(peer).is_some() {
                replica.liveness_changed(&mut turn!(self, work, now), peer)?;
                self.dirty.insert(*range);
            }
        }
        self.campaign_where_fresh(now, work)
    }

    /// A cluster that was just founded elects at once the replicas it names first.
    pub(crate) fn campaign_where_fresh(&mut self, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        let own = self.identity.store;
        for (range, replica) in &mut self.replicas {
            let d = replica.descriptor();
            let quorum = d.replicas.len() / 2 + 1;
            let heard = d.replicas.iter().filter(|p| p.store == own || self.liveness.is_heard(p.store, now)).count();
            let fresh = replica.group().last().0 == range::state::FIRST_INDEX
                && replica.group().term() == range::state::FIRST_TERM
                && replica.group().role() == raft::Role::Follower;
            if fresh && heard >= quorum && d.replicas[0].store == own {
                marker!("node.first election");
                replica.campaign(&mut turn!(self, work, now))?;
                self.dirty.insert(*range);
            }
        }
        Ok(())
    }

    fn disconnected(&mut self, peer: StoreId, effects: &mut Effects<E>) {
        marker!("node.peer disconnected");
        self.door.cut.insert(peer);
        self.fetches.path_changed();
        self.snapshots.disconnected(peer, effects);
        self.hops_lost(peer, Tick::FAR, effects);
    }

    pub(crate) fn hops_lost(&mut self, peer: StoreId, until: Tick, effects: &mut Effects<E>) {
        for (id, result) in self.calls.hop_lost(peer, until) {
            effects.replies.push((id, result));
        }
    }

    /// Sends what must be fetched; to itself when it leads the meta range.
    pub(crate) fn fetch_numbers(&mut self, now: Tick, _work: &mut Work<E::View>) -> Result<()> {
        let own = self.identity.store;
        let here = self.replicas.get(&RangeId::META).is_some_and(|m| m.is_sequencing());
        let to = if here { Some(own) } else { self.sequencer_elsewhere(now) };
        let known = self.revisions.known.get();
        for fetch in self.fetches.take_unsent(to, known, now) {
            match (to, self.replicas.get_mut(&RangeId::META)) {
                (Some(s), Some(meta)) if s == own => {
                    meta.fetch(fetch);
                    self.dirty.insert(RangeId::META);
                }
                (Some(s), _) => self.outbox.now(s, &Part::Fetch(fetch)),
                (None, _) => {}
            }
        }
        Ok(())
    }

    /// The sequencer's store. Where no replica of the meta range tells, its stores are tried in turn.
    pub(crate) fn sequencer_elsewhere(&mut self, now: Tick) -> Option<StoreId> {
        let own = self.identity.store;
        if let Some(meta) = self.replicas.get(&RangeId::META) {
            // An answer to some call may have taken the leader out of the directory; an idle replica does not put it back.
            let followed = meta.group().leader().map(|m| m.store);
            let followed = followed.filter(|_| !base::bug!("sequencer-forgotten"));
            return self.directory.leader(RangeId::META).or(followed).filter(|s| *s != own);
        }
        if self.fetches.is_unanswered() {
            marker!("fetch.another store is tried");
            self.directory.learn(RangeId::META, None);
        }
        if let Some(leader) = self.directory.leader(RangeId::META) {
            return Some(leader);
        }
        let heard = |s: &StoreId| *s != own && self.liveness.is_heard(*s, now);
        let d = self.directory.get(RangeId::META)?;
        let stores: Vec<StoreId> = d.replicas.iter().map(|p| p.store).filter(heard).collect();
        let next = stores.iter().position(|s| Some(*s) == self.fetches.sent_to()).map_or(0, |i| i + 1);
        let to = if self.fetches.is_unanswered() { stores.get(next).or(stores.first()) } else { None };
        to.copied().or(self.fetches.sent_to().filter(heard)).or(stores.first().copied())
    }

    /// Numbers arrived: they are given out in the order in which they were wanted.
    fn landed(&mut self, fetched: placement::Fetched, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        for Landed { fetched, items, waits } in self.fetches.land(fetched) {
            self.bounds.compacted = self.bounds.compacted.max(fetched.compacted);
            let mut next = fetched.first;
            for item in items {
                let number = if item.own { next } else { next.prev() };
                if item.own {
                    next = next.next();
                }
                if let Some(replica) = self.replicas.get_mut(&item.range).filter(|r| r.leads() == Some(item.term)) {
                    self.dirty.insert(item.range);
                    replica.number(&mut turn!(self, work, now), item.seq, number);
                }
            }
            self.revisions.known.raise(Issued::witnessed(next.prev()));
            let x = x_of(&fetched);
            for wait in waits {
                self.give_x(wait, x, now, work);
            }
        }
        Ok(())
    }

    fn give_x(&mut self, wait: Wait, x: base::Revision, now: Tick, work: &mut Work<E::View>) {
        let compacted = self.bounds.compacted;
        match wait {
            Wait::Read(range, ask) => {
                let ask = ReadAsk { x, compacted, ..ask };
                if let Some(replica) = self.replicas.get_mut(&range) {
                    self.dirty.insert(range);
                    replica.admit(&mut work.sink, ask);
                }
            }
            Wait::Front(range, term, front) => {
                if let Some(replica) = self.replicas.get_mut(&range).filter(|r| r.leads() == Some(term)) {
                    self.dirty.insert(range);
                    replica.bounds(front, mvcc::Bounds { current: x, compacted });
                }
            }
            Wait::Call(id) => self.begin_parts(id, x, now),
            Wait::Life => self.revisions.begin(x),
        }
    }

    /// Another node sends a client's call: it is done here or refused, never sent on.
    fn take_hop(
        &mut self,
        origin: Origin,
        deadline: Tick,
        ask: Ask,
        now: Tick,
        work: &mut Work<E::View>,
    ) -> Result<()> {
        let range = match &ask {
            Ask::Kv(range, _) | Ask::At(range, ..) => *range,
            Ask::Compact(_) => RangeId::META,
        };
        let fetches = self.fetches.sent();
        if self.is_crowded(work) {
            work.sink.replies.push((origin, Err(Error::refused(Refusal::TooManyRequests))));
            return Ok(());
        }
        let open = !self.is_stopping() || base::bug!("stops-without-an-answer");
        let Some(replica) = self.replicas.get_mut(&range).filter(|r| open && r.leads().is_some()) else {
            marker!("hop.not the leader");
            let leader = self.directory.leader(range).filter(|s| *s != self.identity.store);
            let error = Error::new(Kind::Elsewhere { range, leader }, "the range is led elsewhere");
            work.sink.replies.push((origin, Err(error)));
            return Ok(());
        };
        self.dirty.insert(range);
        match ask {
            Ask::Kv(_, request) if is_without_room(&self.door.full, replica.descriptor(), &request) => {
                work.sink.replies.push((origin, Err(Error::refused(Refusal::NoSpace))));
            }
            Ask::Kv(_, request) if request.can_write() => {
                replica.submit(&mut work.sink, Command { origin, request, deadline, arrived: now });
            }
            Ask::Kv(_, request) => {
                let ask = read_ask(origin, &request, deadline);
                self.fetches.want_x(Wait::Read(range, ask));
            }
            Ask::At(_, spec, x, compacted) => {
                self.revisions.known.raise(Issued::witnessed(x));
                self.bounds.compacted = self.bounds.compacted.max(compacted);
                let names_one = matches!(&spec, Spec::Scan(r) if r.revision != base::Revision::ZERO);
                // Whoever names an old revision is told that it is compacted, not that X must be taken anew.
                let compacted = if names_one { self.bounds.compacted } else { compacted };
                replica.admit(&mut work.sink, ReadAsk { origin, spec, x, compacted, fetches, deadline });
            }
            Ask::Compact(revision) => replica.compact(&mut turn!(self, work, now), origin, revision)?,
        }
        Ok(())
    }
}

/// A request that writes nothing, as a read.
pub(crate) fn read_ask(origin: Origin, request: &mvcc::Request, deadline: Tick) -> ReadAsk {
    let spec = match request {
        mvcc::Request::Range(r) => Spec::Scan(r.clone()),
        mvcc::Request::Txn(t) => Spec::Txn(t.clone()),
        mvcc::Request::Put(_) | mvcc::Request::Delete(_) => unreachable!("a write is not a read"),
    };
    let zero = base::Revision::ZERO;
    ReadAsk { origin, spec, x: zero, compacted: zero, fetches: 0, deadline }
}

/// The replica a message is for, if it is here and the sender is who it says.
fn addressed<V: engine::Read + Send + Sync + 'static>(
    replicas: &mut std::collections::BTreeMap<RangeId, range::Replica<V>>,
    range: RangeId,
    (from, sender): (StoreId, Place),
    to: Place,
) -> Option<&mut range::Replica<V>> {
    let replica = replicas.get_mut(&range)?;
    if replica.place() != to || sender.store != from {
        marker!("node.letter for another replica");
        return None;
    }
    Some(replica)
}

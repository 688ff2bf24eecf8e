//! The node: all replicas of one store, and one step.

use crate::boot::{self, Identity};
use crate::calls::Calls;
use crate::deadlines::Deadlines;
use crate::depth::Depths;
use crate::effects::{Effects, Input};
use crate::emit::Outbox;
use crate::frame::Part;
use crate::liveness::{Liveness, Turned};
use crate::numbers::{Fetches, Wait};
use crate::revisions::Revisions;
use crate::snapshots::Snapshots;
use crate::status::Status;
use crate::upkeep::Bounds;
use crate::writes::Writes;
use base::{Error, Incarnation, Index, Issued, RangeId, Result, Revision, Rng, StoreId, Tick, marker};
use engine::{Batch, Engine};
use placement::Meta;
use range::{Counters, Limits, Replica, Sink, Turn, state};
use router::Directory;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How a node runs; times are equal on all nodes of a cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    pub heartbeat: Tick,
    pub election_timeout: Tick,
    pub leases: bool,
    pub limits: Limits,
    /// Leaders of ranges follow the sequencer.
    pub follow_sequencer: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            heartbeat: base::limits::HEARTBEAT_INTERVAL,
            election_timeout: base::limits::ELECTION_TIMEOUT,
            leases: true,
            limits: Limits::default(),
            follow_sequencer: true,
        }
    }
}

/// What replicas share during one step.
pub(crate) struct Work<V> {
    pub sink: Sink<V>,
    pub view: Option<Arc<V>>,
    pub pins: Vec<Arc<Revision>>,
}

/// All replicas of one store.
pub struct Node<E: Engine> {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) incarnation: Incarnation,
    pub(crate) engine: E,
    pub(crate) rng: Rng,
    pub(crate) directory: Directory,
    pub(crate) replicas: BTreeMap<RangeId, Replica<E::View>>,
    pub(crate) liveness: Liveness,
    pub(crate) fetches: Fetches,
    pub(crate) calls: Calls,
    pub(crate) snapshots: Snapshots<E::View>,
    pub(crate) outbox: Outbox,
    pub(crate) bounds: Bounds,
    pub(crate) writes: Writes,
    pub(crate) dirty: BTreeSet<RangeId>,
    pub(crate) deadlines: Deadlines,
    pub(crate) door: Door,
    pub(crate) revisions: Revisions,
    pub(crate) noted: Noted,
    pub(crate) clock: Clockwork,
}

/// What keeps calls out.
#[derive(Default)]
pub(crate) struct Door {
    /// Stores without room for clients' writes.
    pub full: BTreeSet<StoreId>,
    /// Bytes of calls that wait at leaders here.
    pub queued: i64,
    /// Peers without a stream: what is sent to them is lost.
    pub cut: BTreeSet<StoreId>,
}

/// What a node notes on the way.
#[derive(Default)]
pub(crate) struct Noted {
    pub counters: Counters,
    /// For the leaders of all ranges here.
    pub heads: mvcc::Heads,
    /// For what a step puts out.
    pub room: range::Room,
}

/// Things a node does now and then.
#[derive(Default)]
pub(crate) struct Clockwork {
    /// When the last step began.
    pub now: Tick,
    pub next_status: Tick,
    pub next_sweep: Tick,
    /// When calls handed to others are looked at again.
    pub next_look: Tick,
    /// Ranges whose leadership was to follow the sequencer: when it may be tried again, and how long to wait after that.
    pub follow: BTreeMap<RangeId, (Tick, Tick)>,
    /// The orderly end: when it began.
    pub stopping: Option<Tick>,
    /// Since when the sequencer has been closing.
    pub sequencer_closes: Option<Tick>,
    pub said_goodbye: bool,
}

/// Borrows what a replica's turn needs from the node, field by field.
macro_rules! turn {
    ($node:expr, $work:expr, $now:expr) => {
        Turn {
            now: $now,
            engine: &$node.engine,
            supports: $node.liveness.supports(),
            rng: &mut $node.rng,
            sink: &mut $work.sink,
            view: &mut $work.view,
            pins: &mut $work.pins,
            floor: $node.bounds.floor(),
            limits: &$node.config.limits,
            heads: &mut $node.noted.heads,
        }
    };
}
pub(crate) use turn;

impl<E: Engine> Node<E> {
    /// Reads the store back and begins a new life of it.
    pub fn open(config: Config, engine: E, rng: Rng, now: Tick) -> Result<Node<E>> {
        let empty = || Error::corrupt("the store is empty: bootstrap it first");
        let identity = boot::identity(&engine)?.ok_or_else(empty)?;
        let (incarnation, longest) = boot::raise_incarnation(&engine, config.election_timeout)?;
        let directory = Directory::new(boot::directory(&engine)?);
        let mut reset = Batch::new();
        let mut replicas = BTreeMap::new();
        for d in directory.ranges() {
            let Some(place) = d.on(identity.store) else { continue };
            let loaded = state::load(&engine, d.id, &mut reset)?;
            let meta = if d.id == RangeId::META { Some(Meta::load(&engine)?) } else { None };
            replicas.insert(d.id, Replica::boot(loaded, place, config.election_timeout, meta));
        }
        if !reset.is_empty() {
            engine.write(&reset, true)?;
        }
        // A first life has promised nothing, nor has a store without peers; a later life may have, until D from now.
        let alone = directory.ranges().all(|d| d.replicas.len() == 1);
        let promised = incarnation != Incarnation(1) && !alone;
        let longest = if base::bug!("longest-promise-forgotten") { config.election_timeout } else { longest };
        let voting_from = if promised { now + longest } else { Tick::ZERO };
        let times = (config.heartbeat, config.election_timeout);
        let mut liveness = Liveness::new(identity.store, incarnation, times, voting_from);
        liveness.enable_leases(config.leases);
        let stores: BTreeSet<StoreId> = directory
            .ranges()
            .flat_map(|d| d.replicas.iter().map(|p| p.store))
            .filter(|s| *s != identity.store)
            .collect();
        for s in stores {
            liveness.add(s);
        }
        let bound = boot::bound(&engine)?;
        engine.set_filter_bound(bound);
        let compacted = replicas.get(&RangeId::META).and_then(Replica::meta).map_or(Revision::ZERO, |m| m.compacted);
        let depths = Depths::new(boot::depth(&engine)?, boot::heard(&engine)?);
        let known = replicas.values().map(|r| r.applied().max_revision).max().unwrap_or(Revision::FIRST);
        let dirty = replicas.keys().copied().collect();
        let mut fetches = Fetches::new(identity.store, incarnation);
        if incarnation != Incarnation(1) {
            fetches.want_x(Wait::Life);
        }
        Ok(Node {
            fetches,
            calls: Calls::new(incarnation),
            snapshots: Snapshots::new(incarnation, config.election_timeout, config.limits.snapshot_chunk_bytes),
            outbox: Outbox::new(incarnation),
            bounds: Bounds { compacted: compacted.max(bound), bound, ..Bounds::default() },
            writes: Writes::new(depths),
            deadlines: Deadlines::default(),
            door: Door::default(),
            revisions: Revisions::new(Issued::witnessed(known.max(Revision::FIRST)), identity.store, incarnation),
            noted: Noted::default(),
            clock: Clockwork::default(),
            config,
            identity,
            incarnation,
            engine,
            rng,
            directory,
            replicas,
            liveness,
            dirty,
        })
    }

    /// Take everything in, then speak once to the disk, once to each peer and once to each caller.
    ///
    /// `now` was read after the inputs were taken: a promise counts from receipt.
    pub fn step(&mut self, inputs: Vec<Input<E::View>>, now: Tick) -> Effects<E> {
        let mut effects = Effects::empty();
        let mut work = Work { sink: Sink::with_room(self.noted.room), view: None, pins: Vec::new() };
        if let Err(e) = self.turn_all(inputs, now, &mut work, &mut effects) {
            marker!("node.stops itself");
            let mut stopped = Effects::empty();
            stopped.failed = Some(e);
            return stopped;
        }
        self.emit(work, now, &mut effects);
        effects
    }

    fn turn_all(
        &mut self,
        inputs: Vec<Input<E::View>>,
        now: Tick,
        work: &mut Work<E::View>,
        effects: &mut Effects<E>,
    ) -> Result<()> {
        for input in inputs {
            self.take(input, now, work, effects)?;
        }
        self.pass_time(now, work)?;
        self.give_up_deaf(now, effects);
        self.retry_calls(now, work, effects);
        // Numbers that arrived become entries before anything new is evaluated.
        for range in self.dirty.clone() {
            self.append(range, now, work)?;
            self.evaluate(range, now, work)?;
        }
        self.fetch_numbers(now, work)?;
        let taken = self.fetches.taken();
        let dirty = std::mem::take(&mut self.dirty);
        for range in dirty {
            let Some(replica) = self.replicas.get_mut(&range) else { continue };
            let mut t = turn!(self, work, now);
            if range == RangeId::META {
                replica.serve_fetches(&mut t)?;
            }
            replica.begin_round(&mut t)?;
            replica.poll_reads(&mut t, taken);
            replica.apply(&mut t)?;
            self.revisions.known.raise(Issued::witnessed(replica.applied().max_revision));
            replica.truncate(&mut t)?;
            self.deadlines.set(range, replica.next_deadline());
            if replica.is_behind() {
                self.dirty.insert(range);
            }
            let leader = replica.group().leader().map(|m| m.store);
            if leader.is_some() || self.directory.leader(range) == Some(self.identity.store) {
                self.directory.learn(range, leader);
            }
            self.note_end(range, now);
        }
        self.pump_snapshots(now, work, effects)?;
        self.look_for_marks(now, work, effects);
        self.settle_sink(now, work, effects);
        Ok(())
    }

    /// ⑥ What has numbers becomes an entry.
    fn append(&mut self, range: RangeId, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        let Some(replica) = self.replicas.get_mut(&range) else { return Ok(()) };
        if replica.leads().is_some() {
            replica.append(&mut turn!(self, work, now))?;
        }
        Ok(())
    }

    /// ④ What waits is evaluated, and wants numbers.
    fn evaluate(&mut self, range: RangeId, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        let Some(replica) = self.replicas.get_mut(&range) else { return Ok(()) };
        replica.hand_over(&mut turn!(self, work, now))?;
        let Some(term) = replica.leads() else { return Ok(()) };
        replica.evaluate(&mut turn!(self, work, now))?;
        for (seq, own) in replica.take_unfetched() {
            self.fetches.want(range, term, seq, own);
        }
        if let Some(front) = replica.wants_bounds() {
            self.fetches.want_bounds(range, term, front);
        }
        Ok(())
    }

    /// Deadlines, beats, promises that end.
    fn pass_time(&mut self, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        let mut turned = Turned::default();
        let disk_ok = self.disk_ok(now);
        self.liveness.tick(now, disk_ok, &mut turned);
        self.liveness_turned(turned, now, work)?;
        for range in self.deadlines.due(now) {
            self.deadlines.set(range, Tick::FAR);
            if let Some(replica) = self.replicas.get_mut(&range) {
                replica.deadline(&mut turn!(self, work, now))?;
                self.dirty.insert(range);
            }
        }
        self.snapshots.pass_time(now, &mut self.outbox);
        self.fetches.pass_time(now);
        self.stop_in_order(now, work)?;
        if now >= self.clock.next_sweep {
            // News of the disk that nobody waits for wait no longer than this.
            self.clock.next_sweep = now + Tick::ms(200);
            self.campaign_where_fresh(now, work)?;
            self.sweep(now, work)?;
        }
        Ok(())
    }

    /// Do more calls wait inside this node than it has memory for?
    pub(crate) fn is_crowded(&self, work: &Work<E::View>) -> bool {
        let bytes = self.queued_bytes() as i64 + work.sink.queued;
        bytes >= self.config.limits.max_queued_bytes as i64 && !base::bug!("no-bound-on-waiting-calls")
    }

    /// About how much memory the calls that wait inside this node take.
    pub fn queued_bytes(&self) -> usize {
        let waiting = (self.fetches.waiting() as i64).saturating_mul(range::READ_WEIGHT);
        (self.calls.bytes() as i64 + self.door.queued + waiting).max(0) as usize
    }

    pub(crate) fn liveness_turned(&mut self, turned: Turned, now: Tick, work: &mut Work<E::View>) -> Result<()> {
        for (to, mut beat) in turned.beats {
            let (depths, life) = (&self.writes.depths, self.liveness.incarnation_of(to));
            (beat.depth, beat.remembered) = (depths.durable(), (life, depths.remembered(to, life)));
            beat.revision = self.revisions.known.get();
            self.outbox.control(to, &Part::Beat(beat));
        }
        for store in turned.changed {
            marker!("node.support changed");
            for (range, replica) in &mut self.replicas {
                if replica.descriptor().on(store).is_some() {
                    replica.liveness_changed(&mut turn!(self, work, now), store)?;
                    self.dirty.insert(*range);
                }
            }
        }
        Ok(())
    }

    /// A picture for metrics, Status and tests.
    pub fn status(&self) -> Status {
        let mut s = Status {
            revision: self.revisions.known.get(),
            compacted: self.bounds.compacted,
            bound: self.bounds.bound,
            ranges: self.replicas.len() as u64,
            leader: self.directory.leader(RangeId::META).filter(|s| self.is_there(*s)),
            counters: self.noted.counters,
            pending: self.calls.len() as u64,
            full: self.door.full.iter().copied().collect(),
            ..Status::default()
        };
        for (range, r) in &self.replicas {
            let g = r.group();
            s.led += u64::from(r.leads().is_some());
            s.leaderless += u64::from(!g.leader().is_some_and(|m| self.is_there(m.store)));
            s.keys += r.applied().live;
            if *range == RangeId::META {
                (s.term, s.index, s.applied) = (g.term(), g.last().0, r.applied().index);
            }
        }
        if s.term == base::Term(0) {
            s.applied = Index(0);
        }
        s
    }

    /// Was this store heard of lately? A follower remembers its leader for as long as nobody else can be elected, and
    /// whoever is shown that would believe that all is well.
    fn is_there(&self, store: StoreId) -> bool {
        store == self.identity.store || self.liveness.is_heard(store, self.clock.now)
    }

    /// The engine, for looking at.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// The replicas, for looking at.
    pub fn replicas(&self) -> impl Iterator<Item = &Replica<E::View>> {
        self.replicas.values()
    }

    /// What other stores support, for looking at.
    pub fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    /// Who this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// This life's number.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Ranges and leaders as this node knows them.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Asserts every invariant of this node.
    pub fn check(&self) {
        for r in self.replicas.values() {
            r.check();
        }
        assert!(self.bounds.bound <= self.bounds.compacted, "the filter's bound passed the compacted revision");
    }
}

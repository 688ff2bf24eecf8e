//! The world: discrete events in one heap, ordered by true time and then by the order in which they were made.
//!
//! A node is a production `Node` over the in-memory disk that can crash. The world is its shell: it carries effects
//! out as `server` does, only late, out of order, twice or never. Eight files do that:
//!
//! | file | is |
//! |---|---|
//! | `host` | a node's machine: inbox, clock, reader pool |
//! | `disk` | its writer and its snapshot thread |
//! | `clients` | who asks, how long they wait, what they remember |
//! | `faults` | what breaks, when, and how it is mended |
//! | `links` | what breaks between nodes |
//! | `plots` | coincidences on purpose |
//! | `hashes` | whole stores, compared |
//! | `witness` | what the checkers are shown |
//!
//! Invariant: nothing here reads anything but the seed. Every draw comes from a generator that belongs to one part of
//! the world, so that looking (tracing, checking) changes nothing.

mod clients;
mod crash_points;
mod disk;
mod faults;
mod hashes;
mod host;
mod links;
mod plots;
mod witness;

use crate::check::{Invariants, Rules, Violation};
use crate::net::Net;
use crate::options::Options;
use crate::report::{Part, Totals};
use crate::workload::Workload;
use base::{ClusterId, Leased, Rng, StoreId};
use clients::Clients;
pub use crash_points::{CrashPoints, crash_points};
use engine::mem::MemView;
use faults::{Faults, Mend};
use host::Host;
use node::{Founding, Lane};
use range::{Proof, Ready};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;

const MS: u64 = 1_000_000;
const SEC: u64 = 1_000 * MS;

/// Something that will happen.
enum Event {
    /// A node makes a step.
    Step(usize, u64),
    /// A node asked to be woken.
    Wake(usize, u64),
    /// The effects of a step are carried out, late.
    Carry(usize, u64),
    /// A machine that stood still moves again.
    Resume(usize, u64),
    /// A frame arrives: from, to, lane, bytes.
    Frame(usize, usize, Lane, bytes::Bytes),
    /// The writer has finished.
    DiskDone(usize, u64),
    /// An answer that rests on a lease is opened.
    Open(usize, u64, Box<(Proof, Leased<Ready<MemView>>)>),
    /// A reader has finished: the number of the read.
    ReadDone(usize, u64, u64),
    /// The snapshot thread has finished a piece.
    SnapshotDone(usize, u64),
    /// A client asks its next question.
    Ask(usize),
    /// A client gives up waiting for this operation.
    GiveUp(usize, u64),
    /// The next fault.
    Strike(faults::Kind),
    Mend(Mend),
    /// Everything is mended for good.
    Heal,
    /// Clients stop asking.
    Quiet,
    /// A node is asked for a hash of everything.
    Sum,
    /// New operations that must succeed.
    Probe,
    /// The end.
    /// Was it put off once?
    End(bool),
}

struct Entry {
    at: u64,
    seq: u64,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        (self.at, self.seq) == (other.at, other.seq)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.seq).cmp(&(other.at, other.seq))
    }
}

/// Takes one line per event.
pub type Tracer<'a> = &'a mut dyn FnMut(u64, fmt::Arguments<'_>);

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub violation: Option<Violation>,
    pub totals: Totals,
    /// Depends on every event: equal runs have equal hashes.
    pub hash: u64,
    pub events: u64,
    /// Nanoseconds of simulated time.
    pub simulated: u64,
    /// What the clients saw, for keeping beside the seed.
    pub history: crate::check::History,
}

/// One world.
pub struct World<'t> {
    options: Options,
    rules: Rules,
    now: u64,
    seq: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    hosts: Vec<Host>,
    net: Net,
    founding: Founding,
    clients: Clients,
    hashes: hashes::Hashes,
    faults: Faults,
    invariants: Invariants,
    witness: witness::Witness,
    rng: Rng,
    totals: Totals,
    hash: u64,
    events: u64,
    tracer: Option<Tracer<'t>>,
    broken: Option<Violation>,
}

/// Runs one world from beginning to end.
pub fn run(options: &Options, rules: Rules, tracer: Option<Tracer<'_>>) -> Outcome {
    let _ = base::marker::take();
    let mut world = World::new(options, rules, tracer);
    world.begin();
    while world.broken.is_none() && world.turn() {}
    world.finish()
}

impl<'t> World<'t> {
    fn new(options: &Options, rules: Rules, tracer: Option<Tracer<'t>>) -> World<'t> {
        let mut rng = Rng::new(options.seed);
        let founding = Founding {
            cluster: ClusterId(7),
            stores: (1..=options.nodes).map(StoreId).collect(),
            split_keys: Workload::split_keys(options),
            replication: 3,
        };
        let nodes = options.nodes as usize;
        let (net, clients, faults) = (rng.fork(), rng.fork(), rng.fork());
        World {
            options: options.clone(),
            rules,
            now: 1_000 * SEC,
            seq: 0,
            queue: BinaryHeap::new(),
            hosts: (0..nodes).map(|i| Host::new(StoreId(i as u64 + 1), rng.fork())).collect(),
            net: Net::new(options.net, nodes, net),
            clients: Clients::new(options, clients),
            hashes: hashes::Hashes::new(rng.fork()),
            faults: Faults::new(faults),
            invariants: Invariants::new(rules),
            witness: witness::Witness::new(&founding),
            founding,
            rng,
            totals: Totals::default(),
            hash: 0xcbf2_9ce4_8422_2325,
            events: 0,
            tracer,
            broken: None,
        }
    }

    fn begin(&mut self) {
        for i in 0..self.hosts.len() {
            self.found(i);
            self.start(i);
        }
        for c in 0..self.options.clients as usize {
            let first = self.rng.below(2 * SEC);
            self.after(first, Event::Ask(c));
        }
        if self.options.hashes {
            self.after(2 * SEC, Event::Sum);
        }
        self.begin_faults();
        let healed = self.options.faulty_for;
        let quiet = 4 * SEC;
        self.net.quiet_from = self.now + healed + quiet;
        for (after, event) in
            [(0, Event::Heal), (quiet, Event::Quiet), (9 * SEC, Event::Probe), (22 * SEC, Event::End(false))]
        {
            self.after(healed + after, event);
        }
    }

    /// Something will happen after so many nanoseconds.
    fn after(&mut self, nanos: u64, event: Event) {
        self.at(self.now.saturating_add(nanos), event);
    }

    fn at(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.queue.push(Reverse(Entry { at: at.max(self.now), seq: self.seq, event }));
    }

    /// One event. `false` when it was the last.
    fn turn(&mut self) -> bool {
        let Some(Reverse(Entry { at, seq, event })) = self.queue.pop() else { return false };
        self.now = at;
        self.events += 1;
        self.stir(at ^ seq.rotate_left(40));
        match event {
            Event::Step(i, life) => self.step(i, life),
            Event::Wake(i, life) => self.wake(i, life),
            Event::Carry(i, life) => self.carry_late(i, life),
            Event::Resume(i, life) => self.resume(i, life),
            Event::Frame(from, to, lane, bytes) => self.arrive(from, to, lane, bytes),
            Event::DiskDone(i, life) => self.disk_done(i, life),
            Event::Open(i, life, opened) => self.open_late(i, life, *opened),
            Event::ReadDone(i, life, read) => self.read_done(i, life, read),
            Event::SnapshotDone(i, life) => self.snapshot_done(i, life),
            Event::Ask(c) => self.ask(c),
            Event::GiveUp(c, op) => self.give_up(c, op),
            Event::Strike(kind) => self.strike(kind),
            Event::Mend(mend) => self.mend(mend),
            Event::Heal => self.heal(),
            Event::Quiet => self.clients.quiet = true,
            Event::Sum => self.sum(),
            Event::Probe => {
                self.sum_everywhere();
                self.probe();
            }
            Event::End(looked_again) => {
                // A leader may be on its way beside the sequencer at this very moment: that is no range without a leader.
                let goes_on = !looked_again && self.some_leader_is_on_its_way();
                if goes_on {
                    self.after(2 * SEC, Event::End(true));
                }
                return goes_on;
            }
        }
        true
    }

    /// Puts something into the hash of the run.
    fn stir(&mut self, v: u64) {
        self.hash = (self.hash ^ v).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    fn trace(&mut self, line: fmt::Arguments<'_>) {
        if let Some(tracer) = &mut self.tracer {
            tracer(self.now, line);
        }
    }

    /// Takes a checker's word; the first violation ends the world.
    fn judge(&mut self, verdict: Result<(), Violation>) {
        if let Err(v) = verdict {
            self.trace(format_args!("VIOLATION {v}"));
            self.broken.get_or_insert(v);
        }
    }

    fn finish(mut self) -> Outcome {
        let history = self.history();
        if self.broken.is_none() {
            let verdict = self.last_judgement(&history);
            self.judge(verdict);
        }
        let simulated = self.simulated();
        self.count_everything();
        self.totals.add(Part::Size, "simulated seconds", simulated / SEC);
        self.totals.add(Part::Size, "events", self.events);
        self.totals.markers = base::marker::take();
        Outcome {
            violation: self.broken,
            totals: self.totals,
            hash: self.hash,
            events: self.events,
            simulated,
            history,
        }
    }
}

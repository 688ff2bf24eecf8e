//! A node's machine: what `server` is in the real world. It carries effects out, and may be late with everything.

use super::disk::{DiskQueue, SnapshotThread};
use super::faults::Mend;
use super::plots::Lately;
use super::{Event, MS, SEC, World};
use crate::check::Rule;
use crate::clock::Clock;
use crate::report::Part;
use base::{BootId, Leased, Rng, StoreId, Tick};
use bytes::Bytes;
use engine::Engine;
use engine::mem::{Crash, Mem, MemView};
use node::{Config, Effects, Input, Lane, Node, Outgoing};
use range::{Origin, Proof, ReadTask, Ready};
use std::collections::BTreeMap;

/// A step's effects.
pub(super) type Carried = Effects<Mem>;

/// What holds a machine up.
#[derive(Default)]
pub(super) struct Hold {
    /// Nothing of this machine moves until then.
    pub until: u64,
    /// The next step reads the clock and is then held up for so long.
    pub stale_by: u64,
    /// Effects of a step that was held up.
    pub late: Option<Box<Carried>>,
    /// What came to its end while the machine stood still.
    pub events: Vec<Event>,
}

/// One machine and the node on it.
pub(super) struct Host {
    pub store: StoreId,
    pub disk: Mem,
    /// As it was at an earlier start: only the museum puts it back.
    pub old_disk: Option<Mem>,
    pub node: Option<Node<Mem>>,
    pub clock: Clock,
    /// Raised at every start and every end, over all hosts: events of an earlier life are void.
    pub life: u64,
    pub inbox: Vec<Input<MemView>>,
    pub stepping: bool,
    pub hold: Hold,
    pub wake_at: (Tick, u64),
    pub disk_queue: DiskQueue,
    pub snapshots: SnapshotThread,
    pub reads: BTreeMap<u64, ReadTask<MemView>>,
    pub next_read: u64,
    pub lately: Lately,
    /// Its disk is gone or lies: it never comes back.
    pub lost: bool,
    pub stopping: bool,
    /// Its disk waits for the moment to fail.
    pub armed: bool,
    pub rng: Rng,
}

impl Host {
    pub fn new(store: StoreId, rng: Rng) -> Host {
        Host {
            store,
            disk: Mem::new(),
            old_disk: None,
            node: None,
            clock: Clock::new(0, 0, 1_000_000),
            life: 0,
            inbox: Vec::new(),
            stepping: false,
            hold: Hold::default(),
            wake_at: (Tick::FAR, u64::MAX),
            disk_queue: DiskQueue::default(),
            snapshots: SnapshotThread::default(),
            reads: BTreeMap::new(),
            next_read: 0,
            lately: Lately::default(),
            lost: false,
            stopping: false,
            armed: false,
            rng,
        }
    }

    pub fn is_up(&self) -> bool {
        self.node.is_some()
    }
}

impl World<'_> {
    /// Initialises an empty disk.
    pub(super) fn found(&mut self, i: usize) {
        let boot = BootId(self.hosts[i].rng.next_u64());
        let host = &self.hosts[i];
        node::boot::bootstrap(&host.disk, &self.founding, host.store, boot)
            .expect("an empty disk takes its first batch");
    }

    /// The process starts.
    pub(super) fn start(&mut self, i: usize) {
        if self.hosts[i].is_up() || self.hosts[i].lost {
            return;
        }
        self.faults.lives += 1;
        let now = self.now;
        let drift = self.options.drift;
        let config = self.config(i);
        let host = &mut self.hosts[i];
        host.life = self.faults.lives;
        // Each boot has a clock of its own.
        let rate = super::faults::rate(drift, &mut host.rng);
        let wild = 1_000_000 - 900_000 + host.rng.below(2) * 1_800_000;
        let rate = if base::bug!("clock-beyond-its-bound") { wild } else { rate };
        host.clock = Clock::new(now, host.rng.below(1_000_000 * MS), rate);
        let (rng, local) = (host.rng.fork(), host.clock.read(now));
        match Node::open(config, host.disk.clone(), rng, local) {
            Ok(node) => host.node = Some(node),
            Err(e) => {
                self.refuses_to_start(i, &e);
                return;
            }
        }
        self.trace(format_args!("{} starts", StoreId(i as u64 + 1)));
        self.witness_start(i);
        self.haunt(i);
        for other in 0..self.hosts.len() {
            if other != i && self.hosts[other].is_up() {
                let (a, b) = (self.hosts[i].store, self.hosts[other].store);
                self.input(i, Input::Connected(b));
                self.input(other, Input::Connected(a));
            }
        }
        self.schedule_step(i);
    }

    /// A full disk may have room later; bytes that are not what was written were not our doing.
    fn refuses_to_start(&mut self, i: usize, e: &base::Error) {
        let store = self.hosts[i].store;
        self.trace(format_args!("{store} does not start: {e}"));
        if e.kind == base::Kind::Disk {
            self.after(300 * MS, Event::Mend(Mend::Start(i)));
            return;
        }
        self.hosts[i].lost = true;
        let verdict = self.rules.broken(Rule::DurableStays, || format!("{store} does not start: {e}"));
        self.judge(verdict);
    }

    /// The process ends, this way or that; what was being written may or may not have reached the disk.
    pub(super) fn end(&mut self, i: usize, crash: Crash) {
        if !self.hosts[i].is_up() {
            return;
        }
        self.count_life(i);
        self.faults.lives += 1;
        let host = &mut self.hosts[i];
        let store = host.store;
        host.node = None;
        host.life = self.faults.lives;
        host.break_off_writing();
        host.inbox.clear();
        host.reads.clear();
        host.armed = false;
        host.hold = Hold::default();
        (host.stepping, host.stopping) = (false, false);
        host.wake_at = (Tick::FAR, u64::MAX);
        let crash = if base::bug!("batch-not-atomic") { Crash::Keep } else { crash };
        match host.disk.crash(crash) {
            Ok(disk) => host.disk = disk,
            Err(_) => host.lost = true,
        }
        self.trace(format_args!("{store} ends, {crash}"));
        self.invariants.stopped(store);
        self.witness_end(i);
        self.calls_lost(i);
        for other in 0..self.hosts.len() {
            // A peer notices, or does not.
            if other != i && self.hosts[other].is_up() && self.rng.chance(700_000) {
                self.input(other, Input::Disconnected(store));
            }
        }
    }

    /// The flags of this life.
    fn config(&mut self, i: usize) -> Config {
        let o = self.options.flags;
        let mut config = Config { leases: o.leases, limits: o.limits(), ..Config::default() };
        if o.change {
            // Somewhere in the middle somebody goes from machine to machine and changes a flag.
            let later = self.now > 1_000 * SEC + self.options.faulty_for / 2;
            let later = if o.waver && self.hosts[i].life > 0 { self.hosts[i].rng.chance(500_000) } else { later };
            config.election_timeout = Tick::ms(if later { o.timeouts.1 } else { o.timeouts.0 });
            config.leases = o.leases && !self.hosts[i].rng.chance(100_000);
        }
        config
    }

    /// Puts something into a node's inbox.
    pub(super) fn input(&mut self, i: usize, input: Input<MemView>) {
        if self.hosts[i].is_up() {
            self.hosts[i].inbox.push(input);
            self.schedule_step(i);
        }
    }

    pub(super) fn schedule_step(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        if !host.stepping {
            host.stepping = true;
            let (life, at) = (host.life, self.now + host.rng.below(20_000));
            self.at(at, Event::Step(i, life));
        }
    }

    /// Is this event of a life that is over, or must it wait until the machine moves again?
    pub(super) fn holds(&mut self, i: usize, life: u64, again: impl FnOnce() -> Event) -> bool {
        let host = &self.hosts[i];
        if host.life != life {
            return true;
        }
        let paused = host.hold.until;
        if paused <= self.now {
            return false;
        }
        if self.hosts[i].hold.events.is_empty() {
            self.at(paused, Event::Resume(i, life));
        }
        self.hosts[i].hold.events.push(again());
        true
    }

    /// The machine moves again: everything that was held happens now, in order.
    pub(super) fn resume(&mut self, i: usize, life: u64) {
        let host = &mut self.hosts[i];
        if host.life != life {
            return;
        }
        if host.hold.until > self.now {
            let until = host.hold.until;
            return self.at(until, Event::Resume(i, life));
        }
        for event in std::mem::take(&mut host.hold.events) {
            self.at(self.now, event);
        }
    }

    /// Nothing holds this machine up any more.
    pub(super) fn wake_up(&mut self, i: usize) {
        let (now, host) = (self.now, &mut self.hosts[i]);
        host.hold.until = host.hold.until.min(now);
        host.hold.stale_by = 0;
        let life = host.life;
        self.carry_late(i, life);
        self.resume(i, life);
    }

    pub(super) fn step(&mut self, i: usize, life: u64) {
        if self.holds(i, life, || Event::Step(i, life)) {
            return;
        }
        let now = self.now;
        let host = &mut self.hosts[i];
        host.stepping = false;
        let inputs = std::mem::take(&mut host.inbox);
        let local = host.clock.read(now);
        self.hash = (self.hash ^ inputs.len() as u64).wrapping_mul(0x0100_0000_01b3);
        if let Some(tracer) = &mut self.tracer {
            for input in &inputs {
                tracer(now, format_args!("{} ← {}", host.store, Shown(input)));
            }
        }
        let Some(node) = &mut host.node else { return };
        let woke = if inputs.is_empty() { self.invariants.woke(now, host.store) } else { Ok(()) };
        let effects = super::disk::step(node, inputs, local, host.disk_queue.awaited);
        let late = std::mem::take(&mut host.hold.stale_by);
        self.judge(woke);
        let host = &mut self.hosts[i];
        if late > 0 {
            host.hold.until = now + late;
            host.hold.late = Some(Box::new(effects));
            self.after(late, Event::Carry(i, life));
            self.look(i);
            return;
        }
        self.carry(i, effects);
        self.look(i);
    }

    pub(super) fn carry_late(&mut self, i: usize, life: u64) {
        if self.hosts[i].life != life {
            return;
        }
        if let Some(effects) = self.hosts[i].hold.late.take() {
            self.carry(i, *effects);
        }
    }

    pub(super) fn wake(&mut self, i: usize, life: u64) {
        let host = &mut self.hosts[i];
        if host.life == life && host.wake_at.1 <= self.now {
            host.wake_at = (Tick::FAR, u64::MAX);
            self.schedule_step(i);
        }
    }

    /// Does everything that a step asked for.
    fn carry(&mut self, i: usize, fx: Carried) {
        if let Some(error) = fx.failed {
            self.node_failed(i, &error);
            return;
        }
        for frame in fx.frames {
            self.send(i, frame);
        }
        if let Some(bound) = fx.bound {
            self.hosts[i].disk.set_filter_bound(bound);
            self.compact_at_once(i);
        }
        let mut moment = false;
        if let Some(task) = fx.write {
            moment = self.is_a_moment(&task.batch);
            self.witness_batch(i, &task.batch);
            self.tarry(i, &task.batch);
            self.hosts[i].disk_queue.handed = task.seq;
            self.hosts[i].disk_queue.tasks.push_back(task);
            self.start_writing(i);
        }
        for work in fx.snapshots {
            let after = self.hosts[i].disk_queue.handed;
            self.hosts[i].snapshots.work.push_back((after, work));
        }
        self.start_snapshot_work(i);
        for (call, result) in fx.replies {
            self.reply(i, call, result);
        }
        for (proof, leased) in fx.leased {
            self.lease_opens(i, proof, leased);
        }
        for task in fx.reads {
            self.read(i, task);
        }
        if fx.stopped {
            self.end(i, Crash::Keep);
            return;
        }
        self.plan_wake(i, fx.wake);
        self.hosts[i].disk_queue.awaited = fx.awaits_disk;
        if !self.hosts[i].inbox.is_empty() {
            self.schedule_step(i);
        }
        if moment {
            self.crash_now(i);
        }
    }

    pub(super) fn plan_wake(&mut self, i: usize, wake: Tick) {
        let host = &mut self.hosts[i];
        let at = host.clock.when(wake);
        if wake != Tick::FAR && (wake != host.wake_at.0 || at < host.wake_at.1) {
            host.wake_at = (wake, at);
            let life = host.life;
            self.at(at, Event::Wake(i, life));
        }
    }

    pub(super) fn send(&mut self, i: usize, frame: Outgoing) {
        let to = frame.to.0 as usize - 1;
        let tail: u64 = frame.bytes.iter().rev().take(4).fold(0, |h, b| h << 8 | u64::from(*b));
        self.stir(tail);
        self.witness_frame(i, &frame);
        self.remember(i, to, frame.lane, &frame.bytes);
        let lane = Lane::ALL.iter().position(|l| *l == frame.lane).unwrap_or(0);
        let fates: Vec<u64> = self.net.fates(self.now, i, to, lane).to_vec();
        self.trace(format_args!("{} {frame}{}", StoreId(i as u64 + 1), Lost(fates.len())));
        for at in fates {
            let bytes = self.garble(frame.bytes.clone());
            self.at(at, Event::Frame(i, to, frame.lane, bytes));
        }
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, lane: Lane, bytes: Bytes) {
        if self.net.lets_in(from, to) {
            let store = self.hosts[from].store;
            self.input(to, Input::Frame(store, bytes));
            self.supported(to, lane);
        }
    }

    /// The shell opens an answer that rests on a lease, with its own clock, now.
    pub(super) fn open_leased(&mut self, i: usize, proof: Proof, leased: Leased<Ready<MemView>>) {
        let local = self.hosts[i].clock.read(self.now);
        // The museum's shell looks at no clock.
        let local = if base::bug!("stale-read-after-pause") { Tick::ZERO } else { local };
        match leased.open(local) {
            Ok(Ready::Read(task)) => self.read(i, task),
            Ok(ready) => self.input(i, Input::Proved(ready)),
            Err(late) => {
                self.faults.late_answers += 1;
                self.input(i, Input::Unproved(proof, late.into_unproved()));
            }
        }
    }

    pub(super) fn open_late(&mut self, i: usize, life: u64, opened: (Proof, Leased<Ready<MemView>>)) {
        let (host, now) = (&self.hosts[i], self.now);
        if host.life != life {
            return;
        }
        match host.hold.until.checked_sub(now).filter(|n| *n > 0) {
            Some(still) => self.after(still, Event::Open(i, life, Box::new(opened))),
            None => self.open_leased(i, opened.0, opened.1),
        }
    }

    fn read(&mut self, i: usize, task: ReadTask<MemView>) {
        let (least, most) = self.options.disk.read;
        let host = &mut self.hosts[i];
        let mut took = host.rng.between(least, most + 1);
        if !self.faults.is_over() && host.rng.chance(self.options.faults.chances.linger) {
            self.totals.add(Part::Faults, "slow read", 1);
            took += MS + host.rng.below(900 * MS);
        }
        if host.disk_queue.reads_wait > self.now {
            took += host.disk_queue.reads_wait - self.now + host.rng.below(300 * MS);
        }
        host.next_read += 1;
        let (life, number) = (host.life, host.next_read);
        host.reads.insert(number, task);
        self.after(took, Event::ReadDone(i, life, number));
    }

    pub(super) fn read_done(&mut self, i: usize, life: u64, number: u64) {
        if self.holds(i, life, || Event::ReadDone(i, life, number)) {
            return;
        }
        let Some(task) = self.hosts[i].reads.remove(&number) else { return };
        let (result, lesson) = task.run_learning();
        if let Some((lesson, learned)) = lesson {
            self.input(i, Input::Learned(lesson, learned));
        }
        match task.origin {
            Origin::Local(call) => self.reply(i, call, result),
            origin => self.input(i, Input::Read(origin, result)),
        }
    }
}

/// An input on one line, for the trace.
struct Shown<'a>(&'a Input<MemView>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Input::Frame(from, bytes) => write!(f, "frame of {from}, {} bytes", bytes.len()),
            Input::Connected(peer) => write!(f, "connected to {peer}"),
            Input::Disconnected(peer) => write!(f, "disconnected from {peer}"),
            Input::Call(id, ..) => write!(f, "{id}"),
            Input::Written(seq) => write!(f, "written up to {seq}"),
            Input::Proved(Ready::Fetched((store, fetched))) => write!(f, "proved for {store}: {fetched:?}"),
            Input::Proved(Ready::Reply(asked, result)) => write!(f, "proved for {}: {result:?}", asked.origin()),
            Input::Proved(Ready::Read(task)) => write!(f, "proved: {task:?}"),
            Input::Proved(Ready::Closes(n)) => write!(f, "statement {n} of closed revisions proved"),
            Input::Unproved(proof, _) => write!(f, "too late for the lease of {} until {}", proof.range, proof.until),
            Input::Read(origin, result) => write!(f, "read for {origin}: {result:?}"),
            Input::SnapshotRead(n, r) => write!(f, "snapshot {n} read: {}", Fate(r.as_ref().err())),
            Input::Staged(n, r) => write!(f, "snapshot {n} staged: {}", Fate(r.as_ref().err())),
            Input::Ingested(n, r) => write!(f, "snapshot {n} ingested: {}", Fate(r.as_ref().err())),
            Input::Learned(lesson, _) => write!(f, "learned to count in {}", lesson.range),
            Input::Stop => write!(f, "stop"),
            Input::Full(full) => write!(f, "disk {}", if *full { "full" } else { "has room" }),
        }
    }
}

/// Done, or why not.
struct Fate<'a>(Option<&'a base::Error>);

impl std::fmt::Display for Fate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("done"),
            Some(e) => write!(f, "{e}"),
        }
    }
}

/// What became of a frame, for the trace.
struct Lost(usize);

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("  (lost)"),
            1 => Ok(()),
            n => write!(f, "  ({n} times)"),
        }
    }
}

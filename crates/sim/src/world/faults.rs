//! What breaks, when, and how it is mended.

use super::{Event, MS, SEC, World};
use crate::check::Rule;
use crate::options::{Every, Options};
use crate::report::Part;
use base::{Rng, Tick};
use engine::mem::{Crash, Fault};
use engine::{Batch, Cf, Op, keys};
use node::Input;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $name:literal, $($every:ident).+;)*) => {
        /// Kinds of faults that strike at some moment.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(super) enum Kind { $($(#[$doc])* $kind,)* }
        impl Kind {
            const ALL: &'static [Kind] = &[$(Kind::$kind,)*];
            fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }
            fn every(self, o: &Options) -> Every {
                match self { $(Kind::$kind => o.faults.$($every).+,)* }
            }
        }
    };
}

kinds! {
    /// A process is killed; what was not synced is lost, kept, or torn.
    Crash, "crash", crash;
    /// All processes are killed at once.
    CrashAll, "crash of all", crash_all;
    /// A leader is cut off, and everybody else starts anew.
    Forsake, "leader forsaken", forsake;
    /// A follower that the leader cannot reach, and a restart of one that it can.
    Woo, "supporter restarted", woo;
    /// A process is told to end in order.
    Stop, "orderly stop", stop;
    /// A machine stands still for a while; its clock runs on.
    Pause, "pause", pause;
    /// Time passes between reading the clock and using it.
    StaleNow, "stale now", stale_now;
    /// Some nodes are cut off from the others.
    Cut, "partition", cut;
    /// One direction is cut.
    OneWay, "one-way cut", one_way;
    /// Two halves that only one node reaches.
    Bridge, "bridge", bridge;
    /// One node loses some of the others, and they lose it.
    Partial, "partial cut", partial;
    /// Streams break and are set up anew.
    Reset, "stream reset", reset;
    /// A disk hangs.
    Stall, "disk stall", disks.stall;
    /// A disk is slow.
    Slow, "slow disk", disks.slow;
    /// A disk is full.
    Full, "disk full", disks.full;
    /// A write or a sync fails: the store stops.
    WriteFault, "write or sync fails", disks.write_fault;
    /// A machine loses its network and the disk behind it, and the network comes back first.
    Seize, "network and disk gone", disks.seize;
    /// A clock changes its rate.
    Rate, "clock rate", clocks.rate;
    /// A leader's clock is the slowest there may be and all others the fastest; then it is cut off.
    Apart, "clocks apart", clocks.apart;
    /// What goes to a node, or comes from it, takes much longer.
    Lag, "slow link", lag;
    /// A compaction drops what it may.
    Filter, "compaction", filter;
}

/// How something is mended.
pub(super) enum Mend {
    Start(usize),
    Join(Vec<(usize, usize)>),
    /// This host loses all others at the next good moment, for so long.
    Sever(usize, u64),
    Quicken(Vec<(usize, usize)>, usize),
    /// This host is heard late for a while.
    Hinder(usize),
    /// Somebody compacts as far as anybody knows.
    Compact,
    /// This life of a host whose disk hangs ends; who was cut off until now.
    Topple(usize, u64, Option<usize>),
    Unstall(usize),
    Hasten(usize),
    Room(usize),
    /// An orderly stop that does not come to an end is ended.
    Insist(usize, u64),
    /// A leader's followers start anew, and it is cut off for so long, or only heard to beat.
    Desert(usize, Vec<usize>, u64, bool),
}

/// What breaks.
pub(super) struct Faults {
    rng: Rng,
    /// Lives of processes so far.
    pub lives: u64,
    pub late_answers: u64,
    pub garbled: u64,
    /// Hears nobody, to the end.
    pub deaf: Option<usize>,
    /// Links that are cut around whoever led last.
    pub overthrown: Vec<(usize, usize)>,
    /// Who is cut off, and for how long, when it has been promised support.
    pub on_support: Option<(usize, u64)>,
    over: bool,
    struck: bool,
}

impl Faults {
    pub fn new(rng: Rng) -> Faults {
        Faults {
            rng,
            lives: 0,
            late_answers: 0,
            garbled: 0,
            deaf: None,
            overthrown: Vec::new(),
            on_support: None,
            over: false,
            struck: false,
        }
    }

    /// Is everything mended for good?
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Something broke that is not a strike.
    pub fn struck(&mut self) {
        self.struck = true;
    }

    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// When numbers may have been burnt: all the time, once anything broke; else never.
    pub fn disruptions(&self, o: &Options, now: u64) -> Vec<(u64, u64)> {
        if o.is_calm() && !self.struck { Vec::new() } else { vec![(0, now)] }
    }
}

impl World<'_> {
    pub(super) fn begin_faults(&mut self) {
        for &kind in Kind::ALL {
            self.totals.add(Part::Faults, kind.name(), 0);
            self.plan_strike(kind);
        }
    }

    fn plan_strike(&mut self, kind: Kind) {
        let every = kind.every(&self.options);
        if every > 0 && !self.faults.over {
            let after = every / 4 + self.faults.rng.below(every * 3 / 2);
            self.after(after, Event::Strike(kind));
        }
    }

    fn some_host(&mut self) -> Option<usize> {
        let up: Vec<usize> = (0..self.hosts.len()).filter(|i| self.hosts[*i].is_up()).collect();
        if up.is_empty() { None } else { Some(*self.faults.rng.pick(&up)) }
    }

    pub(super) fn strike(&mut self, kind: Kind) {
        if self.faults.over {
            return;
        }
        self.plan_strike(kind);
        // Trouble likes leaders: what happens to others is often nobody's concern.
        let leader = if self.faults.rng.chance(400_000) { self.some_leader() } else { None };
        if let Some(i) = leader.or_else(|| self.some_host()) {
            let store = self.hosts[i].store;
            self.trace(format_args!("FAULT {} ({store})", kind.name()));
            if self.do_strike(kind, i) {
                self.faults.struck = true;
                self.totals.add(Part::Faults, kind.name(), 1);
            }
        }
    }

    /// How long a trouble lasts: anything, or about as long as promises and leaders do, when most is at stake.
    fn some_time(&mut self) -> u64 {
        let d = self.options.election_timeout().0;
        let rng = &mut self.faults.rng;
        match rng.chance(400_000) {
            true => d * 4 / 5 + rng.below(d * 3 / 2),
            false => *rng.pick(&[20 * MS, 200 * MS, SEC, 2 * SEC, 4 * SEC, 9 * SEC]) + rng.below(SEC),
        }
    }

    /// Does it, if it can be done to this host; how long it lasts is drawn.
    fn do_strike(&mut self, kind: Kind, i: usize) -> bool {
        let lasts = self.some_time();
        match kind {
            Kind::Crash => self.kill(i, lasts),
            Kind::CrashAll => {
                for host in 0..self.hosts.len() {
                    let lasts = lasts + self.faults.rng.below(SEC);
                    self.kill(host, lasts);
                }
            }
            Kind::Forsake => return self.forsake(lasts),
            Kind::Woo => return self.woo(lasts),
            Kind::Stop => {
                let life = self.hosts[i].life;
                self.hosts[i].stopping = true;
                self.input(i, Input::Stop);
                self.after(3 * SEC, Event::Mend(Mend::Insist(i, life)));
                self.after(3 * SEC + lasts / 4, Event::Mend(Mend::Start(i)));
            }
            // Never shorter than another one: a machine does not make a step before the effects of its last.
            Kind::Pause => self.hosts[i].hold.until = self.hosts[i].hold.until.max(self.now + lasts),
            // A machine that is already held up is not struck again.
            Kind::StaleNow => {
                if self.hosts[i].hold.late.is_some() {
                    return false;
                }
                self.hosts[i].hold.stale_by = lasts;
            }
            Kind::Cut | Kind::OneWay | Kind::Bridge | Kind::Partial => return self.cut(kind, i, lasts),
            Kind::Reset => return self.reset(i),
            Kind::Stall => {
                self.hosts[i].disk.set_stalled(true);
                self.after(lasts, Event::Mend(Mend::Unstall(i)));
            }
            Kind::Seize => {
                self.hosts[i].disk.set_stalled(true);
                let longer = self.faults.rng.below(2 * SEC);
                self.after(lasts + longer, Event::Mend(Mend::Unstall(i)));
                self.sever_for(i, lasts);
            }
            Kind::Slow => {
                self.hosts[i].disk_queue.slow = 5 + self.faults.rng.below(200);
                self.after(lasts, Event::Mend(Mend::Hasten(i)));
            }
            Kind::Full => {
                self.hosts[i].disk.set_full(true);
                self.input(i, Input::Full(true));
                self.after(lasts, Event::Mend(Mend::Room(i)));
            }
            Kind::WriteFault => {
                let fault = *self.faults.rng.pick(&[Fault::Write, Fault::Sync, Fault::Ingest]);
                self.hosts[i].disk.fail_next(fault);
                self.hosts[i].armed = true;
            }
            Kind::Rate => {
                let rate = rate(self.options.drift, &mut self.faults.rng);
                self.set_rate(i, rate);
            }
            Kind::Apart => return self.tear_clocks_apart(lasts),
            Kind::Lag => self.lag(i, lasts),
            Kind::Filter => {
                let mut rng = self.faults.rng.fork();
                return self.hosts[i].disk.compact_some(&mut rng).is_ok_and(|dropped| dropped > 0);
            }
        }
        true
    }

    pub(super) fn set_rate(&mut self, i: usize, rate: u64) {
        let now = self.now;
        self.hosts[i].clock.set_rate(now, rate);
        let wake = self.hosts[i].wake_at.0;
        self.hosts[i].wake_at = (Tick::FAR, u64::MAX);
        self.plan_wake(i, wake);
        self.look(i);
    }

    fn kill(&mut self, i: usize, lasts: u64) {
        let unsynced = self.hosts[i].disk.unsynced() + self.hosts[i].disk_queue.writing;
        let crash = Crash::draw(&mut self.faults.rng, unsynced);
        self.end(i, crash);
        self.after(lasts, Event::Mend(Mend::Start(i)));
    }

    /// Is this the moment to crash: a batch handed to the writer, nothing of it on disk yet, and everything that need not
    /// wait for it said? Batches with votes and cut logs are the interesting ones.
    pub(super) fn is_a_moment(&mut self, batch: &Batch) -> bool {
        if self.faults.over || self.options.faults.chances.moment == 0 {
            return false;
        }
        let grave = batch.ops().iter().any(|op| match op {
            Op::Put(Cf::Log, key, _) => key.first() == Some(&keys::log::HARD),
            Op::Put(Cf::Data, key, _) => key.get(9) == Some(&keys::local::TRUNCATED),
            _ => false,
        });
        self.faults.rng.chance(if grave {
            self.options.faults.chances.moment * 50
        } else {
            self.options.faults.chances.moment
        })
    }

    pub(super) fn crash_now(&mut self, i: usize) {
        self.trace(format_args!("FAULT crash before a write"));
        self.faults.struck = true;
        self.totals.add(Part::Faults, "crash before a write", 1);
        let lasts = 20 * MS + self.faults.rng.below(2 * SEC);
        self.kill(i, lasts);
    }

    /// The node or its disk gave up: the process ends, and is started again by whoever watches over it.
    pub(super) fn node_failed(&mut self, i: usize, error: &base::Error) {
        let store = self.hosts[i].store;
        self.trace(format_args!("{store} gives up: {error}"));
        self.faults.struck = true;
        self.totals.add(Part::Size, "stores gave up", 1);
        if error.text.contains("had vouched for") {
            // No fault takes what was synced: it was acknowledged before it was durable, or the disk is an old one.
            let verdict = self.rules.broken(Rule::DurableStays, || format!("{store} gives up: {error}"));
            self.judge(verdict);
        }
        if error.kind == base::Kind::Corrupt {
            self.totals.add(Part::Size, "stores lost", 1);
            self.hosts[i].lost = true;
        }
        let lasts = 100 * MS + self.faults.rng.below(SEC);
        self.kill(i, lasts);
    }

    pub(super) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Start(i) => {
                if base::bug!("emptied-disk-comes-back") && !self.hosts[i].is_up() {
                    self.hosts[i].disk = engine::mem::Mem::new();
                    self.found(i);
                }
                if base::bug!("old-disk-comes-back") && !self.hosts[i].is_up() {
                    let now = self.hosts[i].disk.fork();
                    if let Some(old) = self.hosts[i].old_disk.replace(now) {
                        self.hosts[i].disk = old;
                    }
                }
                self.start(i);
            }
            Mend::Join(links) => {
                if !self.faults.over {
                    links.iter().for_each(|(a, b)| self.net.join(*a, *b));
                    self.reconnect(links);
                }
            }
            Mend::Desert(leader, rest, lasts, hushed) => self.desert(leader, &rest, lasts, hushed),
            Mend::Sever(i, lasts) => self.sever_soon(i, lasts),
            Mend::Hinder(door) => self.hinder(door),
            Mend::Compact => self.compact_now(),
            Mend::Topple(i, life, was_out) => self.topple(i, life, was_out),
            Mend::Quicken(links, lane) => links.iter().for_each(|(a, b)| self.net.lag(*a, *b, lane, 0)),
            Mend::Unstall(i) => {
                self.hosts[i].disk.set_stalled(false);
                if std::mem::take(&mut self.hosts[i].disk_queue.hung) {
                    let life = self.hosts[i].life;
                    self.disk_done(i, life);
                }
            }
            Mend::Hasten(i) => self.hosts[i].disk_queue.slow = 1,
            Mend::Room(i) => {
                self.hosts[i].disk.set_full(false);
                self.input(i, Input::Full(false));
            }
            Mend::Insist(i, life) => {
                if self.hosts[i].life == life && self.hosts[i].stopping {
                    self.end(i, Crash::Keep);
                }
            }
        }
    }

    /// The second half of every run: all is mended, and service is demanded.
    pub(super) fn heal(&mut self) {
        self.trace(format_args!("HEAL"));
        self.faults.over = true;
        self.faults.overthrown.clear();
        self.net.heal();
        for i in 0..self.hosts.len() {
            self.mend(Mend::Unstall(i));
            self.mend(Mend::Hasten(i));
            self.mend(Mend::Room(i));
            self.wake_up(i);
            let (host, armed) = (&self.hosts[i], self.hosts[i].armed);
            if host.stopping || armed || host.disk.has_failed() {
                self.end(i, Crash::Keep);
            }
            self.start(i);
        }
        if self.options.deaf {
            let n = self.hosts.len();
            // Often one that leads, and is remembered as a leader.
            let leads = |h: &super::host::Host| {
                h.node.as_ref().is_some_and(|node| node.replicas().any(|r| r.leads().is_some()))
            };
            let leader = self.hosts.iter().position(leads).filter(|_| self.faults.rng.chance(600_000));
            let deaf = leader.unwrap_or(self.faults.rng.below(n as u64) as usize);
            (0..n).filter(|i| *i != deaf).for_each(|i| self.net.sever(i, deaf));
            self.faults.deaf = Some(deaf);
            self.totals.add(Part::Faults, "deaf to the end", 1);
        }
        for a in 0..self.hosts.len() {
            for b in 0..self.hosts.len() {
                if a != b && self.hosts[b].is_up() {
                    let peer = self.hosts[b].store;
                    self.input(a, Input::Connected(peer));
                }
            }
        }
    }

    /// What the network and the shell did, and what the checkers looked at.
    pub(super) fn count_everything(&mut self) {
        let n = &self.net;
        let counts = [
            (Part::Faults, "frame lost", n.dropped),
            (Part::Faults, "frame twice", n.duplicated),
            (Part::Faults, "frame overtaken", n.straggled),
            (Part::Faults, "frame replayed late", n.replayed),
            (Part::Faults, "deaf to the end", 0),
            (Part::Faults, "answer opened late", 0),
            (Part::Faults, "slow read", 0),
            (Part::Faults, "leader overthrown", 0),
            (Part::Faults, "leader hushed", 0),
            (Part::Faults, "bound is slow", 0),
            (Part::Faults, "scan overtaken", 0),
            (Part::Faults, "crash before a write", 0),
            (Part::Faults, "frame garbled", self.faults.garbled),
            (Part::Protocol, "answer too late", self.faults.late_answers),
            (Part::Checks, "invariants", self.invariants.checked()),
        ];
        for (part, name, n) in counts {
            self.totals.add(part, name, n);
        }
        self.totals.add(Part::Answered, "read while cut off", 0);
        for verb in crate::workload::Verb::ALL {
            self.totals.add(Part::Asked, super::clients::name(verb), 0);
            self.totals.add(Part::Answered, super::clients::name(verb), 0);
        }
    }
}

/// A clock's rate: anywhere within its bound, as often as not at one of the ends.
pub(super) fn rate(drift: u64, rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => 1_000_000 - drift,
        1 => 1_000_000 + drift,
        _ => 1_000_000 - drift + rng.below(2 * drift + 1),
    }
}

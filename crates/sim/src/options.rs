//! What a seed is made of.
//!
//! Every seed draws its own mix (swarm testing; Groce et al. 2012): a run that never cuts the network reaches states
//! that a run with everything at once does not.

use crate::tempers::Temper;
use base::{Rng, Tick};
use std::fmt;

/// How often something happens: once in so many nanoseconds of true time on average; 0 is never.
pub type Every = u64;

const MS: u64 = 1_000_000;
const SEC: u64 = 1_000 * MS;

/// Everything that is drawn from a seed before the world begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    pub seed: u64,
    /// What all this was bent towards.
    pub temper: Temper,
    pub nodes: u64,
    /// Ranges of users' keys, beside the meta range.
    pub ranges: u64,
    /// Keys in all, and how many of each range are hot.
    pub keys: u64,
    pub hot: u64,
    pub clients: u64,
    /// Nanoseconds of true time before everything is healed.
    pub faulty_for: u64,
    /// Clients pause this long at most between two operations.
    pub think: u64,
    /// Clients wait this long for an answer.
    pub patience: u64,
    pub mix: Mix,
    pub net: NetOptions,
    pub disk: DiskOptions,
    pub faults: FaultOptions,
    pub flags: FlagOptions,
    /// Clients stop after so many operations.
    pub most_asked: u64,
    /// One node stays deaf for good when everything else is mended: the others must serve without it.
    pub deaf: bool,
    /// How far from true time clocks may run, parts per million.
    pub drift: u64,
    /// Hashes are asked for while clients write; always when all is quiet.
    pub hashes: bool,
    /// Clients ask nothing that can only be judged by revisions.
    pub plain: bool,
}

/// Weights of what clients ask for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Mix {
    pub put: u64,
    pub get: u64,
    pub scan: u64,
    pub old_read: u64,
    pub delete: u64,
    pub txn: u64,
    pub read_txn: u64,
    pub compact: u64,
    pub wrong: u64,
}

/// The network's temper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetOptions {
    /// Shortest and longest usual way, nanoseconds.
    pub delay: (u64, u64),
    /// Chances in a million.
    pub drop: u64,
    pub duplicate: u64,
    /// Much later than the others.
    pub straggle: u64,
    /// Many seconds later.
    pub replay: u64,
}

/// What nodes are started with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlagOptions {
    pub leases: bool,
    /// Lives of a node are not all started with the same flags.
    pub change: bool,
    /// The election timeout of earlier and of later lives, if they change, in milliseconds.
    pub timeouts: (u64, u64),
    /// If they change: to and fro, each life with either of them.
    pub waver: bool,
    /// Bytes of log after which it is cut.
    pub log_bytes: u64,
    /// It is cut whoever still needs it when it is so many times larger.
    pub log_patience: u64,
    /// Bytes of commands that may wait inside one node.
    pub queue_bytes: usize,
    /// Bytes of one piece of a snapshot: all of it, unless the seed has a temper for that.
    pub chunk_bytes: usize,
    /// Commands in one entry from which on it leaves for a quorum only: small worlds have few clients.
    pub quorum_crowd: usize,
    /// Bytes of one entry, and of what one step applies: everything, unless the seed has a temper for that.
    pub entry_bytes: usize,
    pub apply_bytes: usize,
}

/// The disk's temper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskOptions {
    /// Shortest and longest write with its sync.
    pub write: (u64, u64),
    /// Shortest and longest read.
    pub read: (u64, u64),
    /// Longest work for a snapshot, which one in five of them takes; 0: none is slow.
    pub chores: u64,
}

/// How often each kind of fault strikes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct FaultOptions {
    pub crash: Every,
    pub crash_all: Every,
    pub forsake: Every,
    pub woo: Every,
    pub stop: Every,
    pub pause: Every,
    pub stale_now: Every,
    pub cut: Every,
    pub one_way: Every,
    pub bridge: Every,
    pub partial: Every,
    pub reset: Every,
    pub disks: DiskFaults,
    pub clocks: ClockOptions,
    /// Links over which everything takes longer.
    pub lag: Every,
    pub filter: Every,
    pub chances: Chances,
}

/// How often disks fail, this way or that.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct DiskFaults {
    pub stall: Every,
    pub slow: Every,
    pub full: Every,
    pub write_fault: Every,
    /// Together with the network, which comes back first.
    pub seize: Every,
}

/// How often clocks change their rates.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct ClockOptions {
    pub rate: Every,
    /// As far apart as they may be, just before a leader is cut off.
    pub apart: Every,
}

/// What happens at some occasions of one kind, in a million of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Chances {
    /// In a million batches: a crash just before one is written.
    pub moment: u64,
    /// In a million answers that rest on a lease: one is opened late.
    pub dawdle: u64,
    /// In a million reads: one takes much longer.
    pub linger: u64,
    /// In a million scans: one arrives where what it would read is being compacted.
    pub overtake: u64,
    /// In a million leaderships that begin: one is overthrown before anybody hears of it.
    pub coup: u64,
    /// In a million supporters that are restarted: their leader still beats, and nothing else of it gets through.
    pub hush: u64,
    /// In a million bounds of compaction: its way to the disk is long, and reads of that disk take as long.
    pub tarry: u64,
}

/// Seeds whose number leaves one of these when divided by sixteen have a temper. None of those that are kept in
/// `tests/seeds.txt` from before there were tempers is one of them: they replay what they found.
const TEMPERED: [u64; 4] = [4, 5, 6, 15];
/// The newest temper has a number of its own, so that the seeds of the others go on replaying what they found.
const NARROW: u64 = 9;

impl Options {
    /// What this seed is made of.
    pub fn draw(seed: u64) -> Options {
        let mut rng = Rng::new(seed ^ 0x0b5e_55ed_5eed_0b5e);
        let rng = &mut rng;
        let calm = rng.chance(60_000);
        let nodes = *rng.pick(&[1, 3, 3, 3, 3, 3, 5, 5, 5, 7]);
        let ranges = *rng.pick(&[1, 1, 2, 3, 4]);
        let faults = if calm { FaultOptions::default() } else { FaultOptions::draw(rng) };
        Options {
            seed,
            temper: Temper::Drawn,
            nodes,
            ranges,
            keys: ranges * *rng.pick(&[3, 10, 40]),
            hot: rng.between(1, 4),
            clients: *rng.pick(&[2, 4, 8, 16]),
            faulty_for: rng.between(6, 26) * SEC,
            think: *rng.pick(&[1, 5, 20, 100]) * MS,
            patience: *rng.pick(&[300, 1_000, 3_000, 8_000]) * MS,
            mix: Mix::draw(rng),
            net: NetOptions::draw(rng, calm),
            disk: DiskOptions::draw(rng),
            faults,
            // Not drawn: a seed that found something draws what it drew then.
            flags: FlagOptions { quorum_crowd: [1, 3, 12][(seed / 16 % 3) as usize], ..FlagOptions::draw(rng) },
            most_asked: u64::MAX,
            deaf: nodes > 1 && !calm && rng.chance(if nodes > 3 { 500_000 } else { 150_000 }),
            // Clocks are torn as far apart as is allowed, or not at all.
            drift: if faults.clocks.apart > 0 { 100_000 } else { *rng.pick(&[0, 1_000, 50_000, 100_000]) },
            hashes: rng.chance(500_000),
            plain: false,
        }
    }

    /// As `draw`; every sixteenth seed makes a history that is small enough to be searched, and five in sixteen have a
    /// temper.
    pub fn of(seed: u64) -> Options {
        let tempers = Temper::in_turn();
        match seed % 16 {
            0 => Options::small(seed),
            NARROW => Temper::Narrow.of(seed),
            n if TEMPERED.contains(&n) => tempers[(seed / 16 + n) as usize % tempers.len()].of(seed),
            _ => Options::draw(seed),
        }
    }

    /// Little of anything: for histories that are searched.
    fn small(seed: u64) -> Options {
        let mut o = Options::draw(seed);
        o.clients = 3;
        o.keys = o.ranges * 3;
        o.hot = 1;
        o.think = 150 * MS;
        o.faulty_for = 6 * SEC;
        o.most_asked = 80;
        o.mix = Mix { old_read: 0, compact: 0, wrong: 0, ..o.mix };
        o.plain = true;
        o
    }

    /// Is this a run in which nothing breaks?
    pub fn is_calm(&self) -> bool {
        self.faults == FaultOptions::default()
    }

    /// The election timeout that nodes are started with at first.
    pub fn election_timeout(&self) -> Tick {
        if self.flags.change { Tick::ms(self.flags.timeouts.0) } else { base::limits::ELECTION_TIMEOUT }
    }
}

impl Options {
    /// The shortest election timeout that any life of a node is started with, in nanoseconds.
    pub fn least_timeout(&self) -> u64 {
        let FlagOptions { change, timeouts, .. } = self.flags;
        if change { timeouts.0.min(timeouts.1) * MS } else { base::limits::ELECTION_TIMEOUT.0 }
    }
}

impl Mix {
    fn draw(rng: &mut Rng) -> Mix {
        let mut weight = |most: &[u64]| *rng.pick(most);
        let usual = [1, 2, 5, 10];
        let some = [0, 1, 2, 5];
        Mix {
            put: weight(&usual),
            get: weight(&usual),
            scan: weight(&some),
            old_read: weight(&some),
            delete: weight(&some),
            txn: weight(&usual),
            read_txn: weight(&some),
            compact: weight(&[0, 1, 1, 2, 10]),
            wrong: weight(&[0, 0, 1]),
        }
    }
}

impl NetOptions {
    fn draw(rng: &mut Rng, calm: bool) -> NetOptions {
        let slow = *rng.pick(&[100_000, MS, 5 * MS, 30 * MS]);
        let mut chance = |most: &[u64]| if calm { 0 } else { *rng.pick(most) };
        NetOptions {
            delay: (50_000, 50_000 + slow),
            drop: chance(&[0, 0, 1_000, 20_000, 100_000]),
            duplicate: chance(&[0, 0, 10_000, 100_000]),
            straggle: chance(&[0, 0, 5_000, 50_000]),
            replay: chance(&[0, 1_000, 10_000]),
        }
    }
}

impl FlagOptions {
    fn draw(rng: &mut Rng) -> FlagOptions {
        FlagOptions {
            leases: !rng.chance(200_000),
            change: rng.chance(300_000),
            timeouts: (timeout(rng), timeout(rng)),
            waver: false,
            log_bytes: *rng.pick(&[400, 1_000, 5_000, 30_000, 1 << 20]),
            log_patience: *rng.pick(&[1, 1, 4]),
            queue_bytes: *rng.pick(&[1 << 20, 1 << 20, 1 << 20, 8_000]),
            quorum_crowd: base::limits::QUORUM_CROWD,
            chunk_bytes: base::limits::SNAPSHOT_CHUNK_BYTES,
            entry_bytes: base::limits::MAX_ENTRY_BYTES,
            apply_bytes: base::limits::MAX_APPLY_BYTES,
        }
    }
}

#[cfg(feature = "world")]
impl FlagOptions {
    /// What nodes are told about sizes.
    pub fn limits(&self) -> range::Limits {
        range::Limits {
            log_bytes: self.log_bytes,
            log_bytes_hard: self.log_bytes * self.log_patience,
            max_entry_bytes: self.entry_bytes,
            max_apply_bytes: self.apply_bytes,
            max_queued_bytes: self.queue_bytes,
            quorum_crowd: self.quorum_crowd,
            snapshot_chunk_bytes: self.chunk_bytes,
        }
    }
}

/// From the shortest that heartbeats allow.
fn timeout(rng: &mut Rng) -> u64 {
    *rng.pick(&[500, 1_000, 1_000, 3_000])
}

impl DiskOptions {
    fn draw(rng: &mut Rng) -> DiskOptions {
        let write = *rng.pick(&[100_000, MS, 10 * MS]);
        let read = *rng.pick(&[10_000, MS, 20 * MS]);
        DiskOptions { write: (30_000, 30_000 + write), read: (1_000, 1_000 + read), chores: 0 }
    }
}

impl FaultOptions {
    fn draw(rng: &mut Rng) -> FaultOptions {
        // Each kind is on in about half of the seeds; one rate of trouble for all of them.
        let every = *rng.pick(&[300 * MS, SEC, 2 * SEC, 4 * SEC]);
        let moment = *rng.pick(&[0, 0, 300, 3_000]);
        let dawdle = *rng.pick(&[0, 1_000, 20_000, 200_000]);
        let overtake = *rng.pick(&[0, 0, 0, 100_000, 400_000]);
        let linger = if overtake > 0 { *rng.pick(&[0, 20_000, 100_000]) } else { *rng.pick(&[0, 0, 10_000, 100_000]) };
        let coup = *rng.pick(&[0, 0, 0, 700_000]);
        let mut on = || if rng.chance(450_000) { every * rng.between(1, 4) } else { 0 };
        FaultOptions {
            crash: on(),
            crash_all: on() * 4,
            forsake: on() * 2,
            woo: on(),
            stop: on(),
            pause: on(),
            stale_now: on(),
            cut: on(),
            one_way: on(),
            bridge: on() * 2,
            partial: on(),
            reset: on(),
            disks: DiskFaults { stall: on(), slow: on(), full: on() * 2, write_fault: on() * 2, seize: 0 },
            clocks: ClockOptions { rate: on(), apart: on() },
            lag: on(),
            filter: if overtake > 0 { every } else { on() / 4 },
            chances: Chances { moment, dawdle, linger, overtake, coup, hush: 0, tarry: 0 },
        }
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let o = self;
        write!(
            f,
            "seed {} ({}): {} nodes, {} ranges, {} keys, {} clients, {} s of {}, drift {} ppm, leases {}",
            o.seed,
            o.temper.name(),
            o.nodes,
            o.ranges,
            o.keys,
            o.clients,
            o.faulty_for / SEC,
            if o.is_calm() { "calm" } else { "trouble" },
            o.drift,
            if o.flags.leases { "on" } else { "off" }
        )
    }
}

//! Tempers: what a seed draws, bent towards one kind of trouble.
//!
//! A seed draws its mix evenly, so what needs three unlikely things at once is rare in it. A temper makes them likely
//! together and leaves out what would only be in their way (a crash ends most races before anybody can lose them). Each
//! is a place that real clusters have been in: a database on a bad disk, an operator who restarts one node after the
//! other with new flags, a compaction every second. A part of all seeds has one ([`Options::of`]), and an exhibit of the
//! museum may ask for one.

use crate::options::{ClockOptions, DiskFaults, FaultOptions, Mix, NetOptions, Options};
use base::Rng;

const MS: u64 = 1_000_000;
const SEC: u64 = 1_000 * MS;

/// What a run is bent towards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Temper {
    /// Everything as it is drawn.
    Drawn,
    /// Compactions in quick succession, as far as anybody knows, under readers that are slow or late.
    Compactions,
    /// Disks that are slow all the time, and processes that end before they have written.
    SlowDisks,
    /// Whoever keeps a leader in office is restarted, some with other flags than before.
    Supporters,
    /// Logs that are cut at once, replicas that come back behind the cut, streams that are late.
    CutLogs,
    /// Far more clients than usual, who all come at once when something stood in their way.
    Crowd,
    /// Leaders that lose some of the others and not all, and are asked all the same.
    Partings,
    /// One leader after the other, each overthrown before anybody hears of it.
    Coups,
    /// Whatever has a bound of its own is cut into many: entries, applies, snapshots, logs.
    Narrow,
}

impl Temper {
    pub const ALL: [Temper; 9] = [
        Temper::Drawn,
        Temper::Compactions,
        Temper::SlowDisks,
        Temper::Supporters,
        Temper::CutLogs,
        Temper::Crowd,
        Temper::Partings,
        Temper::Coups,
        Temper::Narrow,
    ];

    /// Those that seeds have in turn; a few seeds are narrow besides.
    pub fn in_turn() -> Vec<Temper> {
        Temper::ALL.into_iter().filter(|t| !matches!(t, Temper::Drawn | Temper::Narrow)).collect()
    }

    /// As the command line says it.
    pub fn name(self) -> &'static str {
        match self {
            Temper::Drawn => "drawn",
            Temper::Compactions => "compactions",
            Temper::SlowDisks => "slow-disks",
            Temper::Supporters => "supporters",
            Temper::CutLogs => "cut-logs",
            Temper::Crowd => "crowd",
            Temper::Partings => "partings",
            Temper::Coups => "coups",
            Temper::Narrow => "narrow",
        }
    }

    /// The temper of this name.
    pub fn named(name: &str) -> Option<Temper> {
        Temper::ALL.into_iter().find(|t| t.name() == name)
    }

    /// The world of this seed in this temper, whatever its own is.
    pub fn of(self, seed: u64) -> Options {
        self.on(Options::draw(seed))
    }

    /// What was drawn, in this temper. What it draws itself is the seed's, too.
    pub fn on(self, drawn: Options) -> Options {
        let mut rng = Rng::new(drawn.seed ^ 0x7e39_e57e_39e5_7e39);
        let rng = &mut rng;
        let bent = match self {
            Temper::Drawn => return drawn,
            Temper::Compactions => compactions(drawn, rng),
            Temper::SlowDisks => slow_disks(drawn, rng),
            Temper::Supporters => supporters(drawn, rng),
            Temper::CutLogs => cut_logs(drawn, rng),
            Temper::Crowd => crowd(drawn, rng),
            Temper::Partings => partings(drawn, rng),
            Temper::Coups => coups(drawn, rng),
            Temper::Narrow => narrow(drawn, rng),
        };
        // Somebody must be left.
        let deaf = bent.deaf && bent.nodes > 1;
        Options { temper: self, deaf, ..bent }
    }
}

/// A network that loses and repeats nothing.
fn faithful(net: NetOptions) -> NetOptions {
    NetOptions { drop: 0, duplicate: 0, straggle: 0, replay: 0, ..net }
}

/// Few keys, so that every version is superseded soon; a scan that knows its revision and is not there yet.
fn compactions(mut o: Options, rng: &mut Rng) -> Options {
    o.nodes = *rng.pick(&[3, 3, 5]);
    o.ranges = rng.between(2, 5);
    o.keys = o.ranges * 3;
    o.clients = *rng.pick(&[4, 8, 16]);
    o.think = *rng.pick(&[5, 20]) * MS;
    o.patience = 3 * SEC;
    let compact = *rng.pick(&[0, 1, 3]);
    o.mix = Mix { put: 10, scan: 10, compact, wrong: 0, delete: o.mix.delete.min(1), ..o.mix };
    o.net = faithful(NetOptions { delay: (50_000, 50_000 + *rng.pick(&[5, 30]) * MS), ..o.net });
    // Whoever overtakes a scan makes them a hundred times slower still.
    o.disk.write.1 = 30_000 + *rng.pick(&[1, 3, 10]) * MS;
    o.disk.read.1 = 1_000 + *rng.pick(&[1, 20, 100]) * MS;
    o.faults = FaultOptions { filter: 200 * MS, lag: 2 * SEC, ..FaultOptions::default() };
    o.faults.chances.overtake = 300_000;
    o.faults.chances.linger = *rng.pick(&[0, 5_000, 30_000]);
    o.faults.chances.tarry = *rng.pick(&[0, 500_000, 500_000]);
    o
}

/// What was appended in one term is still on its way to the disk in the next.
fn slow_disks(mut o: Options, rng: &mut Rng) -> Options {
    o.nodes = *rng.pick(&[3, 3, 5]);
    o.think = *rng.pick(&[5, 20]) * MS;
    // Whoever waits for several of them in a row waits long.
    o.patience = 8 * SEC;
    o.disk.write.1 = 30_000 + *rng.pick(&[30, 100, 300]) * MS;
    // Much waits; whoever is refused for that says nothing about disks.
    o.flags.queue_bytes = 1 << 20;
    let every = *rng.pick(&[SEC, 2 * SEC, 4 * SEC]);
    let drawn = o.faults;
    let disks = DiskFaults { stall: 2 * every, seize: every, ..DiskFaults::default() };
    o.faults = FaultOptions { crash: 2 * every, cut: 2 * every, disks, ..FaultOptions::default() };
    o.faults.chances.moment = drawn.chances.moment;
    o.faults.chances.coup = *rng.pick(&[300_000, 700_000]);
    o
}

/// Leases on, promises of several lengths, and nothing else that could end a lease too early.
fn supporters(mut o: Options, rng: &mut Rng) -> Options {
    o.nodes = *rng.pick(&[3, 3, 5]);
    o.clients = *rng.pick(&[2, 4, 8]);
    o.think = *rng.pick(&[5, 100, 300]) * MS;
    o.patience = 3 * SEC;
    o.net = faithful(o.net);
    o.faulty_for = o.faulty_for.max(16 * SEC);
    o.flags.leases = true;
    o.flags.change = true;
    o.flags.waver = rng.chance(700_000);
    o.flags.timeouts = *rng.pick(&[(3_000, 500), (3_000, 1_000), (1_000, 500), (1_000, 1_000)]);
    let every = *rng.pick(&[SEC, 2 * SEC]);
    let clocks = ClockOptions { rate: o.faults.clocks.rate, apart: 0 };
    o.faults = FaultOptions { woo: every, forsake: 2 * every, clocks, lag: o.faults.lag, ..FaultOptions::default() };
    o.faults.chances.hush = 500_000;
    o
}

/// Every replica that was away for a moment needs a snapshot; most leaders change while one is on its way.
fn cut_logs(mut o: Options, rng: &mut Rng) -> Options {
    o.nodes = *rng.pick(&[3, 3, 5]);
    o.clients = *rng.pick(&[8, 16]);
    o.think = *rng.pick(&[5, 20]) * MS;
    o.mix = Mix { put: 10, compact: o.mix.compact.min(2), ..o.mix };
    o.flags.log_bytes = *rng.pick(&[400, 1_000, 3_000]);
    o.flags.log_patience = 1;
    o.disk.write.1 = 30_000 + *rng.pick(&[1, 10, 50]) * MS;
    // One after the other, or nobody gets ahead of anybody.
    let every = *rng.pick(&[2, 3, 5]) * SEC;
    let drawn = o.faults;
    o.faults = FaultOptions { cut: every, crash: 2 * every, lag: every, ..FaultOptions::default() };
    (o.faults.stop, o.faults.pause) = (drawn.stop, drawn.pause);
    o.faults.chances.coup = drawn.chances.coup;
    // Many pieces, of which some are late, lost, or under way when their streams break.
    o.flags.chunk_bytes = *rng.pick(&[2_000, 20_000, o.flags.chunk_bytes]);
    o.faults.reset = *rng.pick(&[0, every, drawn.reset]);
    o.disk.chores = *rng.pick(&[0, 300, 2_000]) * MS;
    o
}

/// Each of them waits for one answer; all of them together want more numbers than are ready.
fn crowd(mut o: Options, rng: &mut Rng) -> Options {
    o.nodes = *rng.pick(&[1, 3, 3, 5]);
    o.clients = *rng.pick(&[100, 200, 400]);
    o.think = 2 * SEC;
    o.patience = *rng.pick(&[2, 5]) * SEC;
    o.faulty_for = 6 * SEC;
    o.mix = Mix { put: 20, delete: o.mix.delete, txn: 1, get: 1, ..Mix::default() };
    o.net = faithful(o.net);
    let (every, drawn) = (SEC, o.faults);
    let disks = DiskFaults { stall: every, ..DiskFaults::default() };
    o.faults = FaultOptions { pause: every, cut: 2 * every, disks, ..FaultOptions::default() };
    (o.faults.crash, o.faults.stop) = (drawn.crash, drawn.stop);
    o
}

/// Reads without leases, through doors that still know somebody who knows what is current.
fn partings(mut o: Options, rng: &mut Rng) -> Options {
    o.nodes = *rng.pick(&[3, 3, 5, 5, 7]);
    o.ranges = rng.between(2, 5);
    o.keys = o.ranges * 3;
    o.clients = *rng.pick(&[8, 16]);
    o.think = *rng.pick(&[5, 20]) * MS;
    o.patience = *rng.pick(&[300, 1_000]) * MS;
    o.mix = Mix { put: 5, get: 10, compact: 0, wrong: 0, ..o.mix };
    o.flags.leases = rng.chance(400_000);
    let every = *rng.pick(&[SEC, 2 * SEC]);
    o.faults = FaultOptions { partial: every, bridge: every, one_way: every, cut: every, ..FaultOptions::default() };
    o.faults.lag = *rng.pick(&[0, every]);
    o.faults.reset = *rng.pick(&[0, every]);
    o
}

/// Short terms, and clients that always have something to say to whoever leads.
fn coups(mut o: Options, rng: &mut Rng) -> Options {
    o.nodes = *rng.pick(&[3, 3, 5]);
    o.ranges = rng.between(1, 3);
    o.keys = o.ranges * 10;
    o.clients = *rng.pick(&[8, 16]);
    o.think = *rng.pick(&[5, 20]) * MS;
    o.patience = *rng.pick(&[300, 1_000]) * MS;
    o.mix = Mix { put: 10, wrong: 0, ..o.mix };
    o.net = faithful(NetOptions { delay: (50_000, 50_000 + *rng.pick(&[1, 5]) * MS), ..o.net });
    o.disk.write.1 = 30_000 + *rng.pick(&[1, 10, 30]) * MS;
    o.faulty_for = o.faulty_for.max(16 * SEC);
    (o.flags.change, o.flags.timeouts) = (true, *rng.pick(&[(500, 500), (1_000, 1_000)]));
    let crash = *rng.pick(&[0, 3, 6]) * SEC;
    o.faults = FaultOptions { crash, ..FaultOptions::default() };
    o.faults.chances.coup = *rng.pick(&[500_000, 800_000, 950_000]);
    o
}

/// A step that cannot do all that is there to do must do the rest later, whatever happens meanwhile: all faults are as
/// they were drawn.
fn narrow(mut o: Options, rng: &mut Rng) -> Options {
    o.nodes = *rng.pick(&[1, 3, 3, 3, 5]);
    o.clients = *rng.pick(&[4, 8, 16]);
    o.think = *rng.pick(&[1, 5]) * MS;
    o.mix = Mix { put: 10, ..o.mix };
    o.flags.entry_bytes = *rng.pick(&[1, 100, 500]);
    o.flags.apply_bytes = *rng.pick(&[1, 200, 1_000]);
    o.flags.chunk_bytes = *rng.pick(&[2_000, 20_000]);
    o.flags.log_bytes = *rng.pick(&[400, 5_000, 30_000]);
    o
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_temper_is_the_seeds_own_and_bends_what_was_drawn() {
        for seed in 0..50 {
            assert_eq!(Temper::Drawn.on(Options::draw(seed)), Options::draw(seed));
            for temper in Temper::ALL {
                let bent = temper.on(Options::draw(seed));
                assert_eq!(bent, temper.on(Options::draw(seed)));
                assert_eq!(bent.temper, temper);
                assert_eq!(bent.is_calm(), temper == Temper::Drawn && Options::draw(seed).is_calm());
                assert_eq!(Temper::named(temper.name()), Some(temper));
            }
        }
        assert_eq!(Temper::named("nobody's"), None);
    }

    #[test]
    fn a_part_of_all_seeds_has_each_temper() {
        let all: BTreeSet<Temper> = (0..200).map(|seed| Options::of(seed).temper).collect();
        assert_eq!(all.len(), Temper::ALL.len());
        let drawn = (0..1_600).filter(|seed| Options::of(*seed).temper == Temper::Drawn).count();
        assert!((1_000..1_200).contains(&drawn), "{drawn} of 1600");
    }
}

//! The simulator's command line. Threads, clocks and printing live here and nowhere else in this crate.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, clippy::disallowed_types)]
#![forbid(unsafe_code)]

use sim::check::{Rules, dump};
use sim::museum::{self, BUGS, Bug};
use sim::options::Options;
use sim::report::{Part, Totals};
use sim::tempers::Temper;
use sim::{runner, world};
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

const USAGE: &str = "\
flotilla-sim: the other world

  sim [--seeds N] [--minutes M] [--from SEED] [--temper T] [--cores C] [--markers]   fresh seeds, one table
  sim --seed N [--temper T] [--plant BUG] [--trace] [--dump FILE]   one seed, explained
  fixed                                                     the seeds of tests/seeds.txt
  canary                                                    a planted bug must be found
  museum [--only NAME] [--max-seeds N] [--from SEED] [--rotate N] [--tests FILE]   every planted bug must be found
  crash-points [--recoveries N]                             every crash point of a run on one disk
  determinism [--seeds N]                                   every seed twice, equal to the byte
";

/// Flags by name; each takes at most one value.
struct Flags(Vec<String>);

impl Flags {
    fn number(&self, name: &str) -> Result<Option<u64>, String> {
        match self.text(name) {
            None => Ok(None),
            Some(v) => v.parse().map(Some).map_err(|_| format!("{name} wants a number, not {v:?}")),
        }
    }
    fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|a| a == name)?;
        self.0.get(at + 1).map(String::as_str)
    }
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|a| a == name)
    }
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let verb = args.next().unwrap_or_default();
    let flags = Flags(args.collect());
    // A failing assertion is told as a violation, with its seed; the usual report would only be in the way.
    if !flags.has("--trace") && std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    let result = match verb.as_str() {
        "sim" => match flags.number("--seed") {
            Ok(Some(seed)) => one(seed, &flags),
            Ok(None) => fresh(&flags),
            Err(e) => Err(e),
        },
        "fixed" => fixed(&flags),
        "canary" => canary(),
        "museum" => all_bugs(&flags),
        "crash-points" => crash_points(&flags),
        "determinism" => determinism(&flags),
        _ => Err(USAGE.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// The worlds of seeds: as they are, or all in the temper that is asked for.
fn worlds(flags: &Flags) -> Result<impl Fn(u64) -> Options, String> {
    let bent = match flags.text("--temper") {
        None => None,
        Some(name) => Some(Temper::named(name).ok_or_else(|| {
            let names: Vec<&str> = Temper::ALL.iter().map(|t| t.name()).collect();
            format!("there is no temper {name:?}, only {}", names.join(", "))
        })?),
    };
    Ok(move |seed| bent.map_or_else(|| Options::of(seed), |t| t.of(seed)))
}

/// What `make sim` must be told to make this world again.
fn again(options: &Options) -> String {
    let seed = options.seed;
    if Options::of(seed) == *options {
        return format!("SEED={seed}");
    }
    format!("SEED={seed} TEMPER={}", options.temper.name())
}

/// One seed, if wanted with one line per event.
fn one(seed: u64, flags: &Flags) -> Result<(), String> {
    let options = worlds(flags)?(seed);
    println!("{options}");
    if let Some(bug) = flags.text("--plant") {
        let bug = BUGS.iter().find(|b| b.name == bug).ok_or("there is no such bug in the museum")?;
        base::museum::plant(bug.name);
    }
    let mut print = |now: u64, line: std::fmt::Arguments<'_>| {
        println!("{:>12}.{:06} {line}", now / 1_000_000, now % 1_000_000);
    };
    let began = Instant::now();
    let tracer: Option<world::Tracer<'_>> = if flags.has("--trace") { Some(&mut print) } else { None };
    let out = runner::run(&options, Rules::default(), tracer);
    if let Some(path) = flags.text("--dump") {
        std::fs::write(path, dump(&out.history)).map_err(|e| format!("{path}: {e}"))?;
    }
    print!("{}", out.totals);
    println!("hash {:016x}, {} events, {:.2} s", out.hash, out.events, began.elapsed().as_secs_f64());
    match out.violation {
        None => Ok(()),
        Some(v) => Err(format!("seed {seed}: {v}")),
    }
}

/// What the threads of a run share.
struct Shared {
    next: AtomicU64,
    stop: AtomicBool,
    sum: Mutex<Sum>,
}

#[derive(Default)]
struct Sum {
    totals: Totals,
    seeds: u64,
    events: u64,
    simulated: u64,
    busy: Duration,
    /// Time that threads really had a core.
    on_core: Duration,
    broken: Option<(Options, String)>,
}

/// Runs seeds on several threads until `more` says that it is enough, or one fails.
fn run_many(cores: u64, from: u64, more: impl Fn(u64) -> Option<Options> + Sync) -> Sum {
    let shared = Shared { next: AtomicU64::new(from), stop: AtomicBool::new(false), sum: Mutex::default() };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !shared.stop.load(Ordering::Relaxed) {
                    let n = shared.next.fetch_add(1, Ordering::Relaxed);
                    let Some(options) = more(n) else { return };
                    let (began, core_began) = (Instant::now(), on_core());
                    let out = runner::run(&options, Rules::default(), None);
                    let mut sum = shared.sum.lock().unwrap_or_else(|e| e.into_inner());
                    sum.totals.merge(&out.totals);
                    sum.seeds += 1;
                    sum.events += out.events;
                    sum.simulated += out.simulated;
                    sum.busy += began.elapsed();
                    sum.on_core += on_core().saturating_sub(core_began);
                    if let Some(v) = out.violation {
                        shared.stop.store(true, Ordering::Relaxed);
                        sum.broken.get_or_insert((options, v.to_string()));
                    }
                }
            });
        }
    });
    shared.sum.into_inner().unwrap_or_else(|e| e.into_inner())
}

/// How long this thread had a core so far: other work on the same machine says nothing about ours. Zero where the
/// system does not tell.
fn on_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

fn cores(flags: &Flags) -> Result<u64, String> {
    let here = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    Ok(flags.number("--cores")?.unwrap_or(here).max(1))
}

/// Fresh seeds; a violation fails, and so does a zero in the table once the run was long enough to expect none.
fn fresh(flags: &Flags) -> Result<(), String> {
    let (seeds, minutes) = (flags.number("--seeds")?, flags.number("--minutes")?);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    // Seeds of different days do not meet.
    let from = flags.number("--from")?.unwrap_or(clock * 1_000);
    let most = seeds.unwrap_or(if minutes.is_some() { u64::MAX } else { 200 });
    let until = Instant::now() + Duration::from_secs(60 * minutes.unwrap_or(60 * 24));
    println!("seeds from {from}");
    let of = worlds(flags)?;
    let sum = run_many(cores(flags)?, from, |n| (n - from < most && Instant::now() < until).then(|| of(n)));
    report(&sum, !flags.has("--temper"), flags.has("--markers"))
}

fn report(sum: &Sum, zeros_fail: bool, every_marker: bool) -> Result<(), String> {
    print!("{}", sum.totals);
    let busy = sum.busy.as_secs_f64().max(0.001);
    let core = if sum.on_core.is_zero() { busy } else { sum.on_core.as_secs_f64() };
    println!(
        "{} seeds, {} s simulated ({:.0} x real time per core), {} events, {:.0} events/s per core ({:.0} by the wall clock)",
        sum.seeds,
        sum.simulated / 1_000_000_000,
        sum.simulated as f64 / 1e9 / core,
        sum.events,
        sum.events as f64 / core,
        sum.events as f64 / busy
    );
    println!(
        "{} faults of {} kinds, {} checked operations, {} markers visited",
        sum.totals.sum(Part::Faults),
        sum.totals.kinds(Part::Faults),
        sum.totals.get(Part::Checks, "operations"),
        sum.totals.markers.len()
    );
    if every_marker {
        sum.totals.markers.iter().for_each(|(name, n)| println!("{n:>12} {name}"));
    }
    let never: Vec<String> =
        all_markers().into_iter().filter(|m| !sum.totals.markers.contains_key(m.as_str())).collect();
    if !never.is_empty() {
        println!("markers never visited: {}", never.join(", "));
    }
    if let Some((options, text)) = &sum.broken {
        let (seed, again) = (options.seed, again(options));
        return Err(format!("VIOLATION, seed {seed}: {text}\nreplay it: make sim {again} TRACE=1"));
    }
    let zeros = sum.totals.zeros();
    if zeros_fail && sum.seeds >= 100 && !zeros.is_empty() {
        return Err(format!("these never happened, so nothing was shown about them: {}", zeros.join(", ")));
    }
    Ok(())
}

/// Every marker in the sources, when they are there to be read.
fn all_markers() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![std::path::PathBuf::from("crates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let names = text.split("marker!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.filter(|n| !n.contains("what")).map(str::to_string));
            }
        }
    }
    found
}

/// Seeds that once failed, or that show something.
fn fixed(flags: &Flags) -> Result<(), String> {
    let path = flags.text("--file").unwrap_or("tests/seeds.txt");
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let seeds: Vec<u64> = text
        .lines()
        .filter_map(|l| l.split('#').next().map(str::trim).filter(|l| !l.is_empty()))
        .map(|l| l.parse().map_err(|_| format!("{path}: not a seed: {l}")))
        .collect::<Result<_, _>>()?;
    let sum = run_many(cores(flags)?, 0, |n| seeds.get(n as usize).copied().map(Options::of));
    report(&sum, false, false)
}

/// The bird in the mine: if this bug is not found, the simulator is blind.
fn canary() -> Result<(), String> {
    let bug = BUGS.iter().find(|b| b.name == museum::CANARY).ok_or("the canary is not in the museum")?;
    match museum::hunt(bug, 1, 50, Rules::default()).found {
        Some(f) => {
            println!("canary {}: found in {} seeds (seed {}): {}", bug.name, f.seeds, f.seed, f.violation);
            Ok(())
        }
        None => Err(format!("the canary {} lives: the simulator is blind", bug.name)),
    }
}

/// Every exhibit, or one, or a few that change from day to day; those that tests show, if their output is given.
fn all_bugs(flags: &Flags) -> Result<(), String> {
    let (most, from) = (flags.number("--max-seeds")?.unwrap_or(500), flags.number("--from")?.unwrap_or(1));
    let mut bugs: Vec<&Bug> = match flags.text("--only") {
        Some(name) => BUGS.iter().filter(|b| b.name == name).collect(),
        None => BUGS.iter().collect(),
    };
    if let Some(n) = flags.number("--rotate")? {
        bugs.retain(|b| museum::OFTEN.contains(&b.name));
        let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() / 86_400);
        let first = (day * n) as usize % bugs.len().max(1);
        bugs.rotate_left(first);
        bugs.truncate(n as usize);
    }
    if bugs.is_empty() {
        return Err("there is no such bug in the museum".to_string());
    }
    let mut missed = flags.text("--tests").map_or(Ok(Vec::new()), shown_by_tests)?;
    let tested = flags.text("--tests").map_or(0, |_| museum::TESTS.iter().map(|(_, bugs)| bugs.len()).sum());
    let (next, unseen) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..cores(flags).unwrap_or(1) {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    if !hunt(bug, from, most) {
                        unseen.lock().unwrap_or_else(|e| e.into_inner()).push(bug.name);
                    }
                }
            });
        }
    });
    missed.extend(unseen.into_inner().unwrap_or_else(|e| e.into_inner()));
    println!("{} of {} found", bugs.len() + tested - missed.len(), bugs.len() + tested);
    if missed.is_empty() { Ok(()) } else { Err(format!("not found: {}", missed.join(", "))) }
}

/// Hunts one exhibit, and prints its line of the table.
fn hunt(bug: &Bug, from: u64, most: u64) -> bool {
    let began = Instant::now();
    let hunt = museum::hunt(bug, from, most, Rules::default());
    let (name, temper, took) = (bug.name, bug.favours.name(), began.elapsed().as_secs_f64());
    match &hunt.found {
        Some(f) => {
            let violation: String = f.violation.to_string().chars().take(160).collect();
            println!("{name:<38} {:>4} seeds (seed {}, {temper}) {took:>6.1} s  {violation}", f.seeds, f.seed);
        }
        None => println!("{name:<38} NOT FOUND in {most} seeds ({temper}), {took:.1} s"),
    }
    if let Some((seed, v)) = hunt.broken.first() {
        let seeds: Vec<String> = hunt.broken.iter().map(|(seed, _)| seed.to_string()).collect();
        let n = seeds.len();
        println!("  skipped {n} seeds ({temper}) that break without it: {}; seed {seed}: {v}", seeds.join(", "));
    }
    hunt.found.is_some()
}

/// Prints the lines of exhibits that tests show, by what `cargo test` printed into a file; says which are missing.
fn shown_by_tests(path: &str) -> Result<Vec<&'static str>, String> {
    let passed = museum::passed(&std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?);
    let mut missed = Vec::new();
    for (test, bugs) in museum::TESTS {
        for name in *bugs {
            if passed.contains(*test) {
                println!("{name:<38} by its test ({test})");
            } else {
                println!("{name:<38} NOT SHOWN: {test} has not passed");
                missed.push(*name);
            }
        }
    }
    Ok(missed)
}

fn crash_points(flags: &Flags) -> Result<(), String> {
    let wanted = flags.number("--recoveries")?.unwrap_or(100_000);
    let (next, sum) = (AtomicU64::new(1), Mutex::new((world::CrashPoints::default(), None)));
    std::thread::scope(|scope| {
        for _ in 0..cores(flags).unwrap_or(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let tried = world::crash_points(seed, 500, 1);
                    let mut sum = sum.lock().unwrap_or_else(|e| e.into_inner());
                    match tried {
                        Ok(c) => {
                            sum.0.operations += c.operations;
                            sum.0.acknowledged += c.acknowledged;
                            sum.0.recoveries += c.recoveries;
                        }
                        Err(v) => drop(sum.1.get_or_insert(v)),
                    }
                    if sum.1.is_some() || sum.0.recoveries >= wanted {
                        return;
                    }
                }
            });
        }
    });
    let (c, broken) = sum.into_inner().unwrap_or_else(|e| e.into_inner());
    println!(
        "{} recoveries after {} disk operations, {} acknowledged writes",
        c.recoveries, c.operations, c.acknowledged
    );
    broken.map_or(Ok(()), |v| Err(v.to_string()))
}

/// Every seed twice: the same hash, or something here reads what is not in the seed.
fn determinism(flags: &Flags) -> Result<(), String> {
    let (seeds, from) = (flags.number("--seeds")?.unwrap_or(50), flags.number("--from")?.unwrap_or(1));
    let (next, differ) = (AtomicU64::new(from), Mutex::new(Vec::new()));
    let all = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..cores(flags).unwrap_or(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds {
                        return;
                    }
                    let (a, b) = (runner::run_seed(seed, None), runner::run_seed(seed, None));
                    all.fetch_xor(a.hash.rotate_left((seed % 64) as u32), Ordering::Relaxed);
                    if (a.hash, a.events, a.totals) != (b.hash, b.events, b.totals) {
                        differ.lock().unwrap_or_else(|e| e.into_inner()).push(seed);
                    }
                }
            });
        }
    });
    let differ = differ.into_inner().unwrap_or_else(|e| e.into_inner());
    println!("{seeds} seeds run twice; hash of all hashes {:016x}", all.into_inner());
    if differ.is_empty() { Ok(()) } else { Err(format!("seeds that differ from themselves: {differ:?}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_fails_a_run_and_so_does_a_zero_in_a_long_one() {
        let mut totals = Totals::default();
        totals.add(Part::Faults, "crash", 3);
        let sum = |seeds, totals: &Totals| Sum { seeds, totals: totals.clone(), ..Sum::default() };
        assert_eq!(report(&sum(100, &totals), true, false), Ok(()));
        let broken = Sum { broken: Some((Options::of(7), "it broke".to_string())), ..sum(1, &totals) };
        assert!(report(&broken, false, false).expect_err("a violation").contains("SEED=7"));
        totals.add(Part::Protocol, "elections", 0);
        assert!(report(&sum(100, &totals), true, false).expect_err("a zero").contains("protocol elections"));
        assert_eq!(report(&sum(99, &totals), true, false), Ok(()), "too short to expect everything");
    }
}

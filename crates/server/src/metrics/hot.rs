//! Latency histograms that cost a few nanoseconds a sample: one array per thread, summed when somebody looks.
//!
//! ```text
//! thread A: sheet [slot 0: buckets…][slot 1: buckets…]…        scrape: for each slot, add up the sheets
//! thread B: sheet [slot 0: buckets…][slot 1: buckets…]…
//! ```
//!
//! A sheet has one writer, its thread, so a sample is a plain load and store: no contention, no lock, no read-modify-write.
//! A thread that ends hands its sheet, counts included, to the next thread that starts.
//!
//! Buckets are log-linear: four to an octave of time, and the octaves are cut at 1 ms × 2ⁿ, the bounds that etcd's own
//! histograms have. Prometheus is shown the octaves only.

use base::Stage;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Different (name, labels) pairs that fit; later ones are refused and go to the slower exporter.
pub const SLOTS: usize = 128;
/// Four buckets to an octave, up to 16.4 s, and one for everything slower.
const BUCKETS: usize = LAST + 1;
const LAST: usize = (OCTAVES - 1) * 4;
/// Octaves above the unit of 1 ms / 2¹³.
const OCTAVES: usize = 28;
/// 2³² · 2¹³ / 10⁶: nanoseconds times this, shifted right by 32, are units.
const UNITS_PER_NANO: u128 = 35_184_372;

struct Slot {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

struct Sheet(Box<[Slot]>);

impl Sheet {
    fn new() -> Sheet {
        let slot = |_| Slot { buckets: [const { AtomicU64::new(0) }; BUCKETS], nanos: AtomicU64::new(0) };
        Sheet((0..SLOTS).map(slot).collect())
    }

    /// Only the sheet's own thread calls this, so nobody writes between the load and the store.
    fn add(&self, slot: usize, nanos: u64) {
        let Some(slot) = self.0.get(slot) else { return };
        let bump =
            |cell: &AtomicU64, by: u64| cell.store(cell.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
        bump(&slot.buckets[bucket(nanos)], 1);
        bump(&slot.nanos, nanos);
    }
}

/// The bucket of a duration; bounds are inclusive above, as Prometheus' `le` is.
fn bucket(nanos: u64) -> usize {
    let units = ((u128::from(nanos) * UNITS_PER_NANO) >> 32) as u64;
    if units < 4 {
        return units as usize;
    }
    let octave = units.ilog2() as usize;
    if octave >= OCTAVES {
        return LAST;
    }
    (octave - 1) * 4 + ((units >> (octave - 2)) & 3) as usize
}

/// Seconds at the end of octave `n`: everything in a bucket below `end_bucket(n)` is at or below it.
fn octave_seconds(octave: usize) -> f64 {
    0.001 * 2f64.powi(octave as i32 - 13)
}

/// The first bucket after octave `n` ends.
fn end_bucket(octave: usize) -> usize {
    (octave - 1) * 4
}

/// The name and labels a slot stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Title {
    name: String,
    labels: Vec<(String, String)>,
}

/// Everything that is shared between threads; locked when a thread starts or ends and at a scrape, never by a sample.
struct Roll {
    sheets: Vec<&'static Sheet>,
    idle: Vec<&'static Sheet>,
    titles: Vec<Title>,
}

static ROLL: Mutex<Roll> = Mutex::new(Roll { sheets: Vec::new(), idle: Vec::new(), titles: Vec::new() });

fn roll() -> MutexGuard<'static, Roll> {
    let mut roll = ROLL.lock().unwrap_or_else(PoisonError::into_inner);
    if roll.titles.is_empty() {
        roll.titles.extend(Stage::ALL.iter().map(|stage| Title {
            name: super::names::STAGE_SECONDS.to_string(),
            labels: vec![("stage".to_string(), stage.name().to_string())],
        }));
    }
    roll
}

/// Returns the sheet when its thread ends.
struct Loan(&'static Sheet);

impl Drop for Loan {
    fn drop(&mut self) {
        SHEET.set(None);
        roll().idle.push(self.0);
    }
}

thread_local! {
    static SHEET: Cell<Option<&'static Sheet>> = const { Cell::new(None) };
    static LOAN: RefCell<Option<Loan>> = const { RefCell::new(None) };
}

/// A thread's first sample: take an idle sheet or make one.
#[cold]
fn borrow() -> Option<&'static Sheet> {
    LOAN.try_with(|loan| {
        let mut roll = roll();
        let sheet = roll.idle.pop().unwrap_or_else(|| {
            let sheet: &'static Sheet = Box::leak(Box::new(Sheet::new()));
            roll.sheets.push(sheet);
            sheet
        });
        drop(roll);
        *loan.borrow_mut() = Some(Loan(sheet));
        SHEET.set(Some(sheet));
        sheet
    })
    .ok()
}

/// Note one duration.
#[inline]
pub fn sample(slot: usize, nanos: u64) {
    if let Some(sheet) = SHEET.get().or_else(borrow) {
        sheet.add(slot, nanos);
    }
}

/// Note how long a station of a Put took. Stations own the first slots.
#[inline]
pub fn stage_sample(stage: Stage, nanos: u64) {
    sample(stage as usize, nanos);
}

/// The slot of a name with these labels, found or made; `None` when all are taken.
pub fn slot(name: &str, labels: Vec<(String, String)>) -> Option<usize> {
    let title = Title { name: name.to_string(), labels };
    let mut roll = roll();
    if let Some(at) = roll.titles.iter().position(|t| *t == title) {
        return Some(at);
    }
    if roll.titles.len() == SLOTS {
        return None;
    }
    roll.titles.push(title);
    Some(roll.titles.len() - 1)
}

/// Buckets and sum of one slot over all threads.
struct Sum {
    buckets: [u64; BUCKETS],
    nanos: u64,
}

fn sum(roll: &Roll, slot: usize) -> Sum {
    let mut sum = Sum { buckets: [0; BUCKETS], nanos: 0 };
    for sheet in &roll.sheets {
        let from = &sheet.0[slot];
        for (total, bucket) in sum.buckets.iter_mut().zip(&from.buckets) {
            *total += bucket.load(Ordering::Relaxed);
        }
        sum.nanos = sum.nanos.wrapping_add(from.nanos.load(Ordering::Relaxed));
    }
    sum
}

/// Samples noted so far under a name with these labels, and their sum in nanoseconds.
pub fn count_and_nanos(name: &str, labels: &[(&str, &str)]) -> (u64, u64) {
    let roll = roll();
    let wanted =
        |t: &Title| t.name == name && t.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(labels.iter().copied());
    let Some(slot) = roll.titles.iter().position(wanted) else { return (0, 0) };
    let sum = sum(&roll, slot);
    (sum.buckets.iter().sum(), sum.nanos)
}

/// All hot histograms as Prometheus text.
pub fn render() -> String {
    let roll = roll();
    let mut order: Vec<usize> = (0..roll.titles.len()).collect();
    order.sort_by_key(|slot| &roll.titles[*slot]);
    let (mut out, mut last) = (String::new(), "");
    for slot in order {
        let title = &roll.titles[slot];
        if title.name != last {
            let help = super::names::help(&title.name);
            let _ = writeln!(out, "# HELP {} {help}\n# TYPE {} histogram", title.name, title.name);
            last = &title.name;
        }
        write_histogram(&mut out, title, &sum(&roll, slot));
    }
    out
}

fn write_histogram(out: &mut String, title: &Title, sum: &Sum) {
    let name = &title.name;
    let labels: String = title.labels.iter().map(|(k, v)| format!("{k}=\"{}\",", escape(v))).collect();
    let count: u64 = sum.buckets.iter().sum();
    let (mut below, mut from) = (0, 0);
    for octave in 3..OCTAVES {
        below += sum.buckets[from..end_bucket(octave)].iter().sum::<u64>();
        from = end_bucket(octave);
        let _ = writeln!(out, "{name}_bucket{{{labels}le=\"{}\"}} {below}", octave_seconds(octave));
    }
    let _ = writeln!(out, "{name}_bucket{{{labels}le=\"+Inf\"}} {count}");
    let bare = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.trim_end_matches(',')) };
    let _ = writeln!(out, "{name}_sum{bare} {}", sum.nanos as f64 / 1e9);
    let _ = writeln!(out, "{name}_count{bare} {count}");
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_grow_with_time_and_bounds_are_inclusive() {
        let mut last = 0;
        for nanos in (0..2_000_000u64).step_by(7).chain([1 << 30, 1 << 34, u64::MAX / 2, u64::MAX]) {
            let at = bucket(nanos);
            assert!(at >= last && at <= last.max(at) && at < BUCKETS, "{nanos}");
            last = at;
        }
        assert_eq!(last, LAST);
        for octave in 3..OCTAVES {
            let bound = (octave_seconds(octave) * 1e9) as u64;
            assert!(bucket(bound) < end_bucket(octave), "le is inclusive at {bound}");
            assert!(bucket(bound + bound / 1000 + 2) >= end_bucket(octave), "and exact at {bound}");
        }
        assert_eq!(octave_seconds(13), 0.001);
    }

    #[test]
    fn samples_of_all_threads_are_counted_also_of_those_that_ended() {
        let labels = || vec![("t".to_string(), "threads".to_string())];
        let slot = slot("hot_test_seconds", labels()).unwrap();
        assert_eq!(super::slot("hot_test_seconds", labels()), Some(slot));
        for _ in 0..3 {
            let threads: Vec<_> =
                (0..4).map(|_| std::thread::spawn(move || (0..1000).for_each(|_| sample(slot, 1_500_000)))).collect();
            threads.into_iter().for_each(|t| t.join().unwrap());
        }
        assert_eq!(count_and_nanos("hot_test_seconds", &[("t", "threads")]), (12_000, 12_000 * 1_500_000));
        let text = render();
        assert!(text.contains("hot_test_seconds_bucket{t=\"threads\",le=\"0.001\"} 0\n"), "{text}");
        assert!(text.contains("hot_test_seconds_bucket{t=\"threads\",le=\"0.002\"} 12000\n"));
        assert!(text.contains("hot_test_seconds_bucket{t=\"threads\",le=\"+Inf\"} 12000\n"));
        assert!(text.contains("hot_test_seconds_sum{t=\"threads\"} 18\n"));
        assert!(text.contains("hot_test_seconds_count{t=\"threads\"} 12000\n"));
    }

    #[test]
    fn a_sample_costs_less_than_15_nanoseconds() {
        let mut best = f64::MAX;
        for round in 0..50u64 {
            let began = std::time::Instant::now();
            (0..20_000u64).for_each(|i| stage_sample(Stage::Commit, std::hint::black_box(i * 997 + round)));
            best = best.min(began.elapsed().as_nanos() as f64 / 20_000.0);
        }
        println!("one sample: {best:.1} ns");
        let bound = if cfg!(debug_assertions) { 200.0 } else { 15.0 };
        assert!(best <= bound, "{best} ns");
    }
}

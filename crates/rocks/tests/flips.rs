//! Damaged files. Copies of a real store get bits flipped, are cut off or lose a file; each then gives either the right
//! answer or a refusal that names a file. The one exception is the very end of the newest WAL: a record that is cut
//! there looks like one that was never finished, and what is found may be an earlier state, but a whole one.
//!
//! `FLOTILLA_CRASH_ROUNDS=1000 cargo test --release -p flotilla-rocks --test flips` for the long form.

mod support;

use base::Rng;
use engine::{Cf, Engine};
use rocks::Rocks;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Model, count, perform, read_all, rounds, seed, settings};

/// Rounds of the short form.
const SHORT: u64 = 120;

/// A store with files in several levels, two WALs' worth of records and an ingestion; copied while it is open, as a
/// killed process would leave it.
fn make(to: &Path, steps: u64) {
    let dir = tempfile::TempDir::new().expect("a directory");
    let rocks = Rocks::open(dir.path(), &settings()).expect("opens");
    for i in 1..=steps {
        perform(&rocks, i).expect("writes");
        if i == steps / 2 {
            rocks.compact(&[0], &[0xff]).expect("compacts");
        }
    }
    rocks.write(&engine::Batch::new(), true).expect("syncs");
    // Flushes under way must not change files while they are copied.
    while rocks.stats().pending_compaction_bytes > 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    copy(dir.path(), to);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("read").flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(|_| ()).expect("copied") }
    }
}

/// The files that matter, by kind: each kind is hit equally often, however few files it has.
fn kinds(dir: &Path) -> BTreeMap<&'static str, Vec<PathBuf>> {
    let mut found: BTreeMap<&'static str, Vec<PathBuf>> = BTreeMap::new();
    for path in [dir.join("STORE"), dir.join("db")].iter().flat_map(|p| match fs::read_dir(p) {
        Ok(entries) => entries.flatten().map(|e| e.path()).collect(),
        Err(_) => vec![p.clone()],
    }) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let kind = match name.as_str() {
            "STORE" => "STORE",
            "CURRENT" => "CURRENT",
            "LOCK" | "LOG" => continue,
            n if n.starts_with("MANIFEST") => "MANIFEST",
            n if n.ends_with(".sst") => "sst",
            n if n.ends_with(".log") => "wal",
            _ => "other",
        };
        found.entry(kind).or_default().push(path);
    }
    found.values_mut().for_each(|files| files.sort());
    found
}

/// Damages a file; says how.
fn damage(path: &Path, rng: &mut Rng) -> String {
    let mut bytes = fs::read(path).expect("read");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    if rng.chance(80_000) {
        fs::remove_file(path).expect("removed");
        return format!("{name} removed");
    }
    if bytes.is_empty() {
        return format!("{name} is empty");
    }
    if rng.chance(250_000) {
        let length = rng.below(bytes.len() as u64) as usize;
        bytes.truncate(length);
        fs::write(path, bytes).expect("written");
        return format!("{name} cut to {length}");
    }
    let mut places = Vec::new();
    for _ in 0..=rng.below(3) {
        let bit = rng.below(bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        places.push(bit / 8);
    }
    let length = bytes.len();
    fs::write(path, bytes).expect("written");
    format!("{name} flipped at {places:?} of {length}")
}

/// What became of a damaged store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Outcome {
    Right,
    Refused,
    Earlier,
}

fn judge(dir: &Path, last: u64, states: &BTreeMap<u64, Model>) -> Result<Outcome, String> {
    let result = Rocks::open(dir, &settings()).and_then(|rocks| {
        let found = read_all(&rocks)?;
        Ok((count(&rocks, Cf::Data)?, found))
    });
    let (steps, found) = match result {
        Ok(read) => read,
        Err(e) => {
            let text = e.to_string();
            let names = [".sst", ".log", "MANIFEST", "CURRENT", "STORE", "OPTIONS", "IDENTITY"];
            return match names.iter().any(|n| text.contains(n)) && !text.contains('\n') {
                true => Ok(Outcome::Refused),
                false => Err(format!("a refusal that names no file: {text}")),
            };
        }
    };
    match states.get(&steps) {
        Some(model) if model.records == found => Ok(if steps == last { Outcome::Right } else { Outcome::Earlier }),
        Some(_) => Err(format!("a wrong answer that looks like {steps} steps")),
        None => Err(format!("a state after {steps} steps")),
    }
}

/// Found by the test below, when it did not come to an end: RocksDB reads such a record again and again.
#[test]
fn a_record_of_a_reused_log_is_refused_and_not_read_for_ever() {
    let source = tempfile::TempDir::new().expect("a directory");
    make(source.path(), 100);
    let kinds = kinds(source.path());
    for (kind, length) in ["MANIFEST", "wal"].iter().flat_map(|kind| [(kind, None), (kind, Some(7))]) {
        let dir = tempfile::TempDir::new().expect("a directory");
        copy(source.path(), dir.path());
        let newest = kinds[kind].last().expect("one").strip_prefix(source.path()).expect("inside").to_path_buf();
        let path = dir.path().join(&newest);
        let mut bytes = fs::read(&path).expect("read");
        // The second record: the first one decides whether a log counts as reused.
        let second = 7 + usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
        bytes[second + 6] |= 4;
        bytes.truncate(length.map_or(bytes.len(), |n| second + n));
        fs::write(&path, bytes).expect("written");
        let text = Rocks::open(dir.path(), &settings()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains(&*newest.file_name().expect("a name").to_string_lossy()), "{kind} {length:?}: {text}");
    }
}

#[test]
fn damaged_stores_are_right_or_refused() {
    let source = tempfile::TempDir::new().expect("a directory");
    let last = 700;
    make(source.path(), last);
    let mut states = BTreeMap::new();
    let mut model = Model::default();
    for i in 0..=last {
        model.advance(i);
        states.insert(i, model.clone());
    }
    let kinds = kinds(source.path());
    assert!(["CURRENT", "MANIFEST", "STORE", "sst", "wal"].iter().all(|k| kinds.contains_key(k)), "{kinds:?}");
    let newest = kinds["wal"].last().expect("a WAL").file_name().expect("a name").to_owned();
    let names: Vec<&&str> = kinds.keys().collect();
    let mut rng = Rng::new(seed());
    let mut table: BTreeMap<(&str, Outcome), u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for round in 0..rounds(SHORT) {
        let dir = tempfile::TempDir::new().expect("a directory");
        copy(source.path(), dir.path());
        let kind = **rng.pick(&names);
        let file = rng.pick(&kinds[kind]).strip_prefix(source.path()).expect("inside").to_path_buf();
        let how = damage(&dir.path().join(&file), &mut rng);
        match judge(dir.path(), last, &states) {
            Ok(Outcome::Earlier) if file.file_name() != Some(&newest) => {
                wrong.push(format!("round {round}, {how}: synced steps are gone without a word"));
            }
            Ok(outcome) => *table.entry((kind, outcome)).or_default() += 1,
            Err(why) => wrong.push(format!("round {round}, {how}: {why}")),
        }
    }
    for ((kind, outcome), n) in &table {
        println!("{kind:>10} {outcome:?}: {n}");
    }
    assert!(wrong.is_empty(), "{} wrong of {}:\n{}", wrong.len(), rounds(SHORT), wrong.join("\n"));
    assert!(table.keys().any(|(_, o)| *o == Outcome::Refused), "damage must be noticed: {table:?}");
}

//! Processes killed under load. A child writes a history that can be told again from its length; the parent kills it at
//! a random moment, in half of the rounds also takes a random part of what was not yet synced off the WAL, or empties sectors
//! of it, as a loss of power would, opens the store and compares every record.
//!
//! `FLOTILLA_CRASH_ROUNDS=300 cargo test --release -p flotilla-rocks --test crash` for the long form.

mod support;

use base::{Revision, Rng};
use engine::{Cf, Engine};
use rocks::{Rocks, Settings};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use support::{Model, count, perform, read_all, repair, rounds, seed, settings};

const DIR: &str = "FLOTILLA_CRASH_DIR";

/// With memtables in several parts.
fn in_parts() -> Settings {
    Settings { data_memtable_bytes: 256 << 10, ..settings() }
}

/// Not a test: what the child runs. Says after each durable step how far it got, and how long the newest WAL is.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = PathBuf::from(dir);
    let rocks = Rocks::open(&dir, &in_parts()).expect("opens");
    repair(&rocks).expect("repairs");
    let other = rocks.clone();
    std::thread::spawn(move || {
        let mut rng = Rng::new(7);
        loop {
            std::thread::sleep(Duration::from_millis(1 + rng.below(30)));
            // A bound of 0 drops nothing: the records stay as the history says, and compactions run all the same.
            other.set_filter_bound(Revision(0));
            other.compact(&[0], &[0xff]).expect("compacts");
        }
    });
    let mut i = count(&rocks, Cf::Data).expect("reads");
    let mut out = std::io::stdout();
    loop {
        i += 1;
        if perform(&rocks, i).expect("writes") {
            let (name, length) = newest_wal(&dir);
            writeln!(out, "durable {i} {name} {length}").expect("the parent listens");
        }
    }
}

fn newest_wal(dir: &Path) -> (String, u64) {
    let mut found = (String::from("-"), 0);
    for entry in std::fs::read_dir(dir.join("db")).expect("a directory").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".log") && name > found.0 {
            found = (name, entry.metadata().map_or(0, |m| m.len()));
        }
    }
    found
}

/// What the child said last.
#[derive(Clone, Default, Debug)]
struct Durable {
    step: u64,
    wal: String,
    length: u64,
}

struct Writer {
    child: Child,
    lines: mpsc::Receiver<Durable>,
}

impl Writer {
    fn start(dir: &Path) -> Writer {
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let out = child.stdout.take().expect("its words");
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                if let ["durable", step, wal, length] = words[..]
                    && let (Ok(step), Ok(length)) = (step.parse(), length.parse())
                {
                    let _ = tell.send(Durable { step, wal: wal.into(), length });
                }
            }
        });
        Writer { child, lines }
    }

    /// Lets it write for a while, kills it, and returns what it said last.
    fn kill_after(mut self, while_: Duration) -> Durable {
        let mut last = self.lines.recv_timeout(Duration::from_secs(60)).expect("the child gets going");
        std::thread::sleep(while_);
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
        while let Ok(line) = self.lines.recv() {
            last = line;
        }
        last
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a loss of power did to what was not synced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Loss {
    /// It ends early.
    Cut,
    /// Some sectors of it never reached the disk.
    Holes,
}

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;

/// Takes a random part of what was not synced from the newest WAL. What was said to be durable stays.
fn lose_power(dir: &Path, durable: &Durable, rng: &mut Rng) -> Option<Loss> {
    let (name, length) = newest_wal(dir);
    let synced = if name == durable.wal { durable.length } else { 0 };
    if name < durable.wal || length <= synced {
        return None;
    }
    let path = dir.join("db").join(name);
    let file = std::fs::File::options().write(true).open(path).expect("the WAL");
    if rng.chance(500_000) {
        file.set_len(rng.between(synced, length)).expect("cut");
        return Some(Loss::Cut);
    }
    for _ in 0..=rng.below(3) {
        let sector = rng.between(synced / SECTOR, length.div_ceil(SECTOR));
        let (begin, end) = (synced.max(sector * SECTOR), length.min((sector + 1) * SECTOR));
        file.write_all_at(&vec![0; (end - begin) as usize], begin).expect("emptied");
    }
    Some(Loss::Holes)
}

#[test]
fn what_is_found_is_a_prefix_and_holds_everything_durable() {
    if std::env::var(DIR).is_ok() {
        return;
    }
    let mut rng = Rng::new(seed());
    let (mut cut, mut holes, mut mended, mut unsynced, mut torn, mut lived) = (0, 0, 0, 0, 0, 0);
    let rounds = rounds(40);
    let mut dir = tempfile::TempDir::new().expect("a directory");
    let mut model = Model::default();
    for round in 0..rounds {
        // A new store now and then, so that first starts are killed too.
        if round % 20 == 19 {
            (dir, model) = (tempfile::TempDir::new().expect("a directory"), Model::default());
        }
        let writer = Writer::start(dir.path());
        let durable = writer.kill_after(Duration::from_micros(rng.below(120_000)));
        match rng.chance(500_000).then(|| lose_power(dir.path(), &durable, &mut rng)).flatten() {
            Some(Loss::Cut) => cut += 1,
            Some(Loss::Holes) => holes += 1,
            None => {}
        }
        let rocks = Rocks::open(dir.path(), &in_parts()).unwrap_or_else(|e| panic!("round {round}: {e}"));
        mended += u64::from(rocks.mended().is_some());
        let (log, data) = (count(&rocks, Cf::Log).expect("reads"), count(&rocks, Cf::Data).expect("reads"));
        assert!(data >= durable.step, "round {round}: step {} was durable, {data} are there", durable.step);
        torn += u64::from(log != data);
        repair(&rocks).expect("repairs");
        unsynced += data - durable.step;
        lived = lived.max(data);
        model.advance(data);
        let found = read_all(&rocks).expect("a sound store reads");
        assert!(found == model.records, "round {round}: not the state after {data} steps: {}", diff(&found, &model));
    }
    println!(
        "{rounds} kills, {cut} with a cut WAL, {holes} with holes in it, {mended} mended; {unsynced} unsynced steps found, \
         {torn} torn ingestions, {lived} steps"
    );
    let hit = cut > 0 && holes > 0 && mended > 0 && unsynced > 0 && lived > 100;
    assert!(rounds < 20 || hit, "the rounds must hit something");
}

fn diff(found: &std::collections::BTreeMap<(Cf, bytes::Bytes), bytes::Bytes>, model: &Model) -> String {
    let missing = model.records.iter().filter(|(k, v)| found.get(*k) != Some(*v)).map(|(k, _)| k);
    let extra = found.keys().filter(|k| !model.records.contains_key(*k));
    format!("missing or wrong {:?}, extra {:?}", missing.take(3).collect::<Vec<_>>(), extra.take(3).collect::<Vec<_>>())
}

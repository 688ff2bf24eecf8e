//! Which changes of this crate would its tests not notice? `cargo mutants` lists the changes; here all of them are compiled
//! into one binary, each behind a number, and the tests run once for each number.
//!
//! ```text
//! cargo run --locked -p flotilla-raft --example mutants -- 0/8 target/mutants
//! ```
//!
//! (`make mutants SHARD=0/8` does that.) `cargo mutants` itself compiles every change alone: three seconds of processor time
//! each, of which the tests take a tenth. What is tested is the same: a function that is changed in ten ways becomes a
//! `match` over eleven bodies, and a body that does not compile is taken out and counted as such. The few changes that
//! are outside of functions, or in one whose type has no name, are compiled alone here too.
//!
//! A change is *noticed* if a test fails, and *hangs* if a test uses [`PROCESSOR`] seconds of processor time, many times
//! what it takes otherwise: a busy machine changes neither. The rest is *missed*, and docs/mutants.md says why it may be.

mod outside;
mod weave;

use outside::{Verdict, cargo, copy_tree, list, play, say, write};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use weave::{Mutant, Woven, weave};

/// Seconds of processor time after which a test hangs; unchanged it takes less than one.
const PROCESSOR: u64 = 6;

/// What is asked, the quickest first.
const QUESTIONS: [(&str, &str); 3] = [("raft", ""), ("group", "scripts"), ("group", "")];

/// The files of this crate as they are.
type Sources = BTreeMap<String, String>;

/// The copy of the tree in which changes are compiled, with a folder of its own for what comes out: `cargo` tells packages
/// apart by where they are in their tree, and would take the copy's binaries for the original's.
struct Bench {
    folder: PathBuf,
    sources: Sources,
}

impl Bench {
    fn new(folder: PathBuf, mutants: &[Mutant]) -> Bench {
        copy_tree(&folder.join("tree"));
        let files: BTreeSet<&String> = mutants.iter().map(|m| &m.file).collect();
        let sources = files.into_iter().map(|f| (f.clone(), outside::read(Path::new(f)))).collect();
        Bench { folder, sources }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join("tree").join(name)
    }

    /// Puts these mutants into the tree, each behind its number.
    fn put(&self, mutants: &[&Mutant]) -> BTreeMap<String, Woven> {
        let mut all = BTreeMap::new();
        for (file, text) in &self.sources {
            let here: Vec<&Mutant> = mutants.iter().filter(|m| m.file == *file).copied().collect();
            let woven = weave(text, &here);
            write(&self.file(file), &woven.text);
            all.insert(file.clone(), woven);
        }
        write(&self.file("crates/raft/src/lib.rs"), &weave::root(&outside::read(Path::new("crates/raft/src/lib.rs"))));
        all
    }

    /// Puts what compiles of these into the tree, and returns it.
    fn put_what_compiles<'a>(&self, mutants: &[&'a Mutant]) -> Vec<&'a Mutant> {
        let mut left: Vec<&Mutant> = mutants.to_vec();
        loop {
            let woven = self.put(&left);
            let errors = cargo(&self.folder, &["check", "--lib"]).errors;
            if errors.is_empty() {
                return left;
            }
            let bad: BTreeSet<usize> =
                errors.iter().filter_map(|(file, line)| woven.get(file)?.mutant_at(*line)).collect();
            assert!(!bad.is_empty(), "what does not compile is no mutant: {errors:?}");
            left.retain(|m| !bad.contains(&m.number));
        }
    }

    /// Compiles the tests and asks them about these mutants.
    fn ask(&self, mutants: &[&Mutant], results: &mut Results) {
        let tests = cargo(&self.folder, &["test", "--no-run", "--lib", "--test", "group"]).binaries;
        let crate_root = self.file("crates/raft");
        let asked = |number: usize| {
            QUESTIONS
                .iter()
                .map(|(test, filter)| play(&crate_root, &tests[*test], filter, number))
                .find(Verdict::noticed)
        };
        let whole = mutants.iter().all(|m| m.body.is_some());
        assert!(!whole || asked(0).is_none(), "the tests fail without any change");
        for m in mutants {
            match asked(m.number) {
                Some(Verdict::Hangs) => results.add("hangs", m),
                Some(_) => results.add("noticed", m),
                None => results.add("missed", m),
            }
        }
    }

    /// Compiles and asks about one that cannot share a binary with others.
    fn ask_alone(&self, m: &Mutant, results: &mut Results) {
        self.put(&[]);
        write(&self.file(&m.file), &m.alone(&self.sources[&m.file]));
        if cargo(&self.folder, &["check", "--lib"]).errors.is_empty() {
            self.ask(&[m], results);
        } else {
            results.add("does not compile", m);
        }
    }
}

/// What became of each mutant.
#[derive(Default)]
struct Results(BTreeMap<&'static str, Vec<Mutant>>);

impl Results {
    fn add(&mut self, what: &'static str, m: &Mutant) {
        if what == "missed" || what == "hangs" {
            say(&format!("{what}: {}", m.name));
        }
        self.0.entry(what).or_default().push(m.clone());
    }

    fn count(&self, what: &str, file: &str) -> usize {
        self.0.get(what).map_or(0, |all| all.iter().filter(|m| file.is_empty() || m.file == file).count())
    }

    /// One line per file, one for all, and a file of names for each outcome.
    fn report(&self, folder: &Path) {
        let mut files: Vec<&str> = self.0.values().flatten().map(|m| m.file.as_str()).collect();
        files.sort_unstable();
        files.dedup();
        files.push("");
        say("| file | mutants | noticed | hang | do not compile | missed |\n|---|---|---|---|---|---|");
        for file in files {
            let [noticed, hang, not, missed] =
                ["noticed", "hangs", "does not compile", "missed"].map(|what| self.count(what, file));
            let name = file.rsplit('/').next().filter(|n| !n.is_empty()).map_or("all".into(), |n| format!("`{n}`"));
            say(&format!("| {name} | {} | {noticed} | {hang} | {not} | {missed} |", noticed + hang + not + missed));
        }
        for (what, all) in &self.0 {
            let names: Vec<String> = all.iter().map(|m| format!("{}\n", m.name)).collect();
            write(&folder.join(format!("{}.txt", what.replace(' ', "-"))), &names.concat());
        }
    }
}

fn main() -> ExitCode {
    let words = outside::words();
    let [part, folder, only @ ..] = &words[..] else {
        say("which part (k/n), a folder to work in, and perhaps words, one of which must be in a mutant's name?");
        return ExitCode::FAILURE;
    };
    let (k, n) = part.split_once('/').expect("a part is k/n");
    let (k, n): (usize, usize) = (k.parse().expect("a number"), n.parse().expect("a number"));
    let mut mutants = list();
    mutants.retain(|m| m.number % n == k && (only.is_empty() || only.iter().any(|word| m.name.contains(word))));
    say(&format!("{} mutants", mutants.len()));
    let folder = PathBuf::from(folder);
    let bench = Bench::new(folder.clone(), &mutants);
    let (together, alone): (Vec<&Mutant>, Vec<&Mutant>) = mutants.iter().partition(|m| m.body.is_some());
    let mut results = Results::default();
    let compile = bench.put_what_compiles(&together);
    let numbers: BTreeSet<usize> = compile.iter().map(|m| m.number).collect();
    together.iter().filter(|m| !numbers.contains(&m.number)).for_each(|m| results.add("does not compile", m));
    bench.ask(&compile, &mut results);
    alone.iter().for_each(|m| bench.ask_alone(m, &mut results));
    results.report(&folder.join(format!("{k}-of-{n}")));
    ExitCode::SUCCESS
}

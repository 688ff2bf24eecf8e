//! # tidy: the law of the house, as a test
//!
//! Floors, sizes, words, essays, docs and stations. Each rule is a function in `tests/tidy/` that looks at text and
//! returns offences, beside tests that show it can fail. An old offender stands in `tests/tidy.ratchet` with a number
//! that may only fall; a new one fails this test. `clippy.toml` in `crates/` says the same about clocks, threads, hash
//! maps and printing with the compiler's eyes; this test also sees what clippy does not.

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/one_engine.rs"]
mod one_engine;
#[path = "tidy/ratchet.rs"]
mod ratchet;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/stages.rs"]
mod stages;
#[path = "tidy/words.rs"]
mod words;

use source::Source;
use std::path::{Path, PathBuf};

/// One thing that is against the law.
#[derive(Debug)]
pub struct Offence {
    /// The rule's short name, as in the ratchet.
    pub rule: &'static str,
    /// Where: a path, often with `::name`.
    pub place: String,
    /// How much or how often.
    pub number: usize,
    /// What to do about it.
    pub says: String,
}

impl Offence {
    pub fn new(rule: &'static str, place: &str, number: usize, says: impl Into<String>) -> Offence {
        Offence { rule, place: place.to_string(), number, says: says.into() }
    }
}

/// The repository's text files, by path from its top.
struct House {
    top: PathBuf,
    files: Vec<(String, String)>,
}

impl House {
    fn read() -> House {
        let top = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs this"))
            .parent()
            .expect("tests/ has a parent")
            .to_path_buf();
        let mut files = Vec::new();
        collect(&top, &top, &mut files);
        files.sort();
        assert!(files.len() > 50, "the house has more than 50 files; the walk went wrong");
        House { top, files }
    }

    fn rust(&self) -> Vec<Source> {
        self.files.iter().filter(|(p, _)| p.ends_with(".rs")).map(|(p, t)| Source::new(p, t)).collect()
    }

    fn crates(&self) -> Vec<String> {
        let names = self.files.iter().filter_map(|(p, _)| p.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"));
        names.map(String::from).collect()
    }

    fn metadata(&self) -> serde_json::Value {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
            .current_dir(&self.top)
            .output()
            .expect("cargo metadata starts");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
    }
}

/// Everything readable below `folder`, without what git ignores or keeps for itself.
fn collect(top: &Path, folder: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), ".git" | "target") && !name.contains("mutants.out") {
                collect(top, &path, files);
            }
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let from_top = path.strip_prefix(top).expect("below the top").to_string_lossy().into_owned();
            files.push((from_top, text));
        }
    }
}

/// A file that is run or replayed and so explains itself at its top.
fn is_script(path: &str) -> bool {
    path.ends_with(".sh")
        || matches!(path, ".ci/run" | "Makefile" | "tests/tidy.ratchet")
        || (path.starts_with("tests/") && path.ends_with(".txt"))
        || (path.starts_with("crates/") && path.contains("/tests/") && path.ends_with(".txt"))
}

/// Every offence in the house.
fn offences(house: &House) -> Vec<Offence> {
    let sources = house.rust();
    let crates = house.crates();
    let mut out = shape::check_base(sources.iter());
    for file in &sources {
        out.extend(shape::check(file));
        out.extend(words::check(file));
    }
    for (path, text) in house.files.iter().filter(|(p, _)| !p.ends_with(".rs") && !p.ends_with(".lock")) {
        out.extend(words::put_off(path, text));
        if is_script(path) {
            out.extend(words::check_script(path, text));
        }
    }
    let (floors, declared) = floors::read(&house.metadata());
    out.extend(floors::check_table(&floors, &crates));
    out.extend(declared.iter().flat_map(|d| floors::check_dependencies(&floors, d)));
    for name in crates.iter().filter(|c| floors.contains_key(*c)) {
        let own: Vec<&Source> = sources.iter().filter(|f| f.path.starts_with(&format!("crates/{name}/src/"))).collect();
        out.extend(floors::check_uses(&floors, name, &own));
        for lib in own.iter().filter(|f| f.path == format!("crates/{name}/src/lib.rs")) {
            out.extend(words::check_lib(lib, name));
        }
    }
    let stage = sources.iter().find(|f| f.path == "crates/base/src/stage.rs").expect("the stations of a Put");
    out.extend(stages::check(&stages::names(stage), sources.iter()));
    let exists = |path: &str| house.top.join(path).exists();
    out.extend(docs::check_first(exists));
    for (path, text) in
        house.files.iter().filter(|(p, _)| p == "README.md" || (p.starts_with("docs/") && p.ends_with(".md")))
    {
        out.extend(docs::check_page(path, text, &crates, exists));
    }
    out
}

#[test]
fn the_law_is_kept() {
    let house = House::read();
    let path = house.top.join("tests/tidy.ratchet");
    let known = ratchet::read(&std::fs::read_to_string(&path).unwrap_or_default()).expect("a readable ratchet");
    let found = offences(&house);
    if std::env::var_os("RATCHET").is_some() {
        std::fs::write(&path, ratchet::print(&ratchet::lower(&found, &known))).expect("the ratchet can be written");
        return;
    }
    let wrong = ratchet::compare(&found, &known);
    assert!(wrong.is_empty(), "{} against the law of the house:\n  {}", wrong.len(), wrong.join("\n  "));
    println!("{} known offenders, none worse", known.len());
}

#[test]
fn scripts_are_recognised() {
    for script in ["tests/setup/peers.sh", ".ci/run", "crates/raft/tests/scripts/vote.txt", "tests/seeds.txt"] {
        assert!(is_script(script), "{script}");
    }
    assert!(!is_script("docs/put.md"));
}

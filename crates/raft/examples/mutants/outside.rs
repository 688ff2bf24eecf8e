//! Everything here that touches the world outside: files, `cargo`, the tests that are run, and lines for people.
#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a person wants to know what tests notice")]

use crate::PROCESSOR;
use crate::weave::{Mutant, Place};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes of memory that a mutant may take.
const MEMORY: u64 = 4 << 30;

/// What the tests say of a mutant.
pub enum Verdict {
    Fails,
    Hangs,
    Passes,
}

impl Verdict {
    pub fn noticed(&self) -> bool {
        !matches!(self, Verdict::Passes)
    }
}

pub fn words() -> Vec<String> {
    std::env::args().skip(1).collect()
}

pub fn say(line: &str) {
    println!("{line}");
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Writes a file if it says something else now: an unchanged one is not compiled again.
pub fn write(path: &Path, text: &str) {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("writable");
    std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// Copies what `cargo` needs of this tree, and nothing of an older copy stays.
pub fn copy_tree(to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let files = Command::new("git").args(["ls-files", "-co", "--exclude-standard"]).output().expect("git lists files");
    for file in String::from_utf8(files.stdout).expect("names are UTF-8").lines() {
        // one that is listed and was deleted is not copied
        if Path::new(file).exists() {
            let to = to.join(file);
            std::fs::create_dir_all(to.parent().expect("a file is in a folder")).expect("writable");
            // With its mode: cargo runs one of them.
            std::fs::copy(file, to).expect("writable");
        }
    }
}

fn place(v: &Value) -> Place {
    let number = |name: &str| v[name].as_u64().expect("a number") as usize;
    (number("line"), number("column"))
}

/// All mutants, as `.cargo/mutants.toml` wants them.
pub fn list() -> Vec<Mutant> {
    let listed = Command::new("cargo").args(["mutants", "-p", "flotilla-raft", "--list", "--json"]).output();
    let all: Value = serde_json::from_slice(&listed.expect("cargo mutants lists").stdout).expect("a list");
    let text = |v: &Value| v.as_str().expect("a text").to_string();
    let one = |(at, v): (usize, &Value)| {
        let f = &v["function"];
        // `impl Trait` stands for one type: that of one body
        let shared = f.is_object() && !text(&f["return_type"]).contains("impl ");
        Mutant {
            number: at + 1,
            name: text(&v["name"]),
            file: text(&v["file"]),
            span: (place(&v["span"]["start"]), place(&v["span"]["end"])),
            replacement: text(&v["replacement"]),
            with_comma: matches!(v["genre"].as_str(), Some("MatchArm" | "StructField")),
            body: shared.then(|| (text(&f["function_name"]), place(&f["span"]["start"]), place(&f["span"]["end"]))),
        }
    };
    all.as_array().expect("a list").iter().enumerate().map(one).collect()
}

/// What `cargo` says: which lines do not compile, and what was built.
#[derive(Default, Debug)]
pub struct Said {
    pub errors: Vec<(String, usize)>,
    pub binaries: BTreeMap<String, PathBuf>,
}

/// Calls `cargo` for the tree in this folder.
pub fn cargo(folder: &Path, words: &[&str]) -> Said {
    let fixed = ["--locked", "-p", "flotilla-raft", "--message-format", "json"];
    let mut command = Command::new("cargo");
    command.current_dir(folder.join("tree")).env("CARGO_TARGET_DIR", folder.join("target"));
    let ran = command.args(words).args(fixed).stderr(Stdio::inherit()).output();
    let ran = ran.expect("cargo runs");
    let mut said = Said::default();
    for line in String::from_utf8_lossy(&ran.stdout).lines() {
        let Ok(v) = serde_json::from_str::<Value>(line) else { continue };
        if let Some(binary) = v["executable"].as_str() {
            said.binaries.insert(v["target"]["name"].as_str().unwrap_or_default().into(), binary.into());
        }
        if v["message"]["level"] == "error" {
            let spans = v["message"]["spans"].as_array().map_or(&[][..], Vec::as_slice);
            said.errors.extend(spans.iter().filter(|s| s["is_primary"] == true).map(here));
        }
    }
    assert!(ran.status.success() || !said.errors.is_empty(), "cargo fails in {}", folder.display());
    said
}

/// Where an error is in this crate: a macro of another is where it is used.
fn here(mut span: &Value) -> (String, usize) {
    while span["expansion"].is_object() && !span["file_name"].as_str().is_some_and(|f| f.starts_with("crates/raft/")) {
        span = &span["expansion"]["span"];
    }
    (span["file_name"].as_str().unwrap_or_default().into(), span["line_start"].as_u64().unwrap_or(0) as usize)
}

/// Runs the tests with this filter while this mutant lives.
pub fn play(folder: &Path, tests: &Path, filter: &str, number: usize) -> Verdict {
    let status = Command::new("prlimit")
        .arg(format!("--cpu={PROCESSOR}:{}", PROCESSOR + 5))
        .arg(format!("--as={MEMORY}"))
        .arg("--")
        .arg(tests)
        .args(["--test-threads=1", filter])
        .current_dir(folder)
        .env("MUTANT", number.to_string())
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the tests run");
    const SIGXCPU: i32 = 24;
    match status.signal() {
        Some(SIGXCPU) => Verdict::Hangs,
        _ if status.success() => Verdict::Passes,
        _ => Verdict::Fails,
    }
}

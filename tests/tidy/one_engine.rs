//! One RocksDB: whatever `make` asks cargo for, RocksDB and all that it is built from have the same features and profile,
//! so that a quarter of an hour is spent once. Cargo is asked what it would build; nothing is built.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Every unit below RocksDB's build script: package, target, features, profile.
fn closure(graph: &Value) -> BTreeSet<String> {
    let units = graph["units"].as_array().expect("units");
    let is_engine = |u: &Value| {
        u["pkg_id"].as_str().is_some_and(|p| p.contains("librocksdb-sys")) && u["mode"] == "run-custom-build"
    };
    let mut open: Vec<usize> = (0..units.len()).filter(|i| is_engine(&units[*i])).collect();
    let (mut seen, mut out) = (BTreeSet::new(), BTreeSet::new());
    while let Some(i) = open.pop() {
        if !seen.insert(i) {
            continue;
        }
        let unit = &units[i];
        out.insert(format!("{} {} {} {}", unit["pkg_id"], unit["target"]["name"], unit["features"], unit["profile"]));
        let below = unit["dependencies"].as_array().expect("dependencies");
        open.extend(below.iter().filter_map(|d| d["index"].as_u64()).map(|d| d as usize));
    }
    out
}

/// What cargo would build for this.
fn graph(top: &Path, verb: &str, choice: &[&str]) -> Value {
    let output = Command::new(env!("CARGO"))
        .args([verb, "--offline", "--unit-graph", "-Z", "unstable-options"])
        .args(choice)
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(top)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {verb} {choice:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The value of a variable in the Makefile.
fn variable<'a>(makefile: &'a str, name: &str) -> Vec<&'a str> {
    let opening = format!("{name} := ");
    let line = makefile.lines().find_map(|l| l.strip_prefix(opening.as_str()));
    line.unwrap_or_else(|| panic!("the Makefile sets {name}")).split_whitespace().collect()
}

#[test]
fn rocksdb_is_compiled_once() {
    let tests = std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs this");
    let top = Path::new(&tests).parent().expect("the top");
    let makefile = std::fs::read_to_string(top.join("Makefile")).expect("a Makefile");
    let all = variable(&makefile, "ALL");
    let asked = |verb: &str, more: &[&str]| closure(&graph(top, verb, &[all.as_slice(), more].concat()));
    let demo = asked("build", &["--bin", "flotilla"]);
    assert!(demo.len() > 20, "RocksDB is in the binary: {demo:?}");
    // What benches/profile/rustc gives a profile to depends on that file, and so would RocksDB.
    let manifest = std::fs::read_to_string(top.join("Cargo.toml")).expect("a manifest");
    let sections = manifest.lines().filter_map(|l| l.strip_prefix("[profile.release.package.")?.strip_suffix(']'));
    for package in sections.filter(|p| *p != "librocksdb-sys") {
        let below: Vec<_> = demo.iter().filter(|unit| unit.contains(&format!("#{package}@"))).collect();
        assert!(below.is_empty(), "RocksDB's build rests on {package}, which gets a profile: {below:#?}");
    }
    let lanes = [("test", &[][..]), ("check", &["--all-targets"]), ("build", &["--bin", "flotilla-compare"])];
    for (verb, more) in lanes {
        let found = asked(verb, more);
        let other: Vec<_> = found.symmetric_difference(&demo).collect();
        assert!(other.is_empty(), "cargo {verb} {more:?} would build another RocksDB, since these differ: {other:#?}");
    }
    for alone in ["RAFT", "WORLD"] {
        let found = closure(&graph(top, "test", &variable(&makefile, alone)));
        assert!(found.is_empty(), "$({alone}) has a RocksDB of its own: build it with $(ALL)");
    }
}

#[test]
fn another_feature_below_rocksdb_is_seen() {
    let graph = |features: &str| {
        let text = format!(
            r#"{{"units":[
            {{"pkg_id":"librocksdb-sys","mode":"run-custom-build","target":{{"name":"b"}},"features":[],"profile":{{}},
              "dependencies":[{{"index":1}}]}},
            {{"pkg_id":"either","mode":"build","target":{{"name":"e"}},"features":{features},"profile":{{}},"dependencies":[]}},
            {{"pkg_id":"apart","mode":"build","target":{{"name":"a"}},"features":{features},"profile":{{}},"dependencies":[]}}]}}"#
        );
        closure(&serde_json::from_str(&text).expect("JSON"))
    };
    assert_eq!(graph("[]").len(), 2, "what RocksDB is not built from does not count");
    assert_ne!(graph("[]"), graph(r#"["default"]"#));
}

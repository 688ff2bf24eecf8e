//! Floors: a crate imports only crates on lower floors, and only some crates may name the outside world.

use super::{Offence, source::Source, source::words, words::PURE};
use std::collections::{BTreeMap, BTreeSet};

/// Our crates and those that each may import, from `[workspace.metadata.floors]`.
pub type Floors = BTreeMap<String, BTreeSet<String>>;

/// What a crate declares: its own name and its dependencies, each with `true` for those of tests only.
pub struct Declared {
    pub name: String,
    pub dependencies: Vec<(String, bool)>,
}

/// Outside crates that only some of ours may depend on.
const RESERVED: [(&str, &[&str]); 8] = [
    ("rocksdb", &["rocks"]),
    ("tonic", &["proto", "grpc", "transport", "gateway", "server"]),
    ("tokio", &["grpc", "transport", "gateway", "server"]),
    ("hyper", &["transport", "gateway", "server"]),
    ("axum", &["gateway", "server"]),
    ("crossbeam", &["rocks", "transport", "server"]),
    ("rand", &[]),
    ("openssl", &[]),
];

/// All that a pure crate may depend on outside its tests, our own crates apart.
const PLAIN: [&str; 3] = ["bytes", "crc32c", "thiserror"];

/// Reads the table and the dependencies from what `cargo metadata --no-deps` prints.
pub fn read(metadata: &serde_json::Value) -> (Floors, Vec<Declared>) {
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_string();
    let list = |v: &serde_json::Value| v.as_array().map(|a| a.iter().map(text).collect()).unwrap_or_default();
    let table = metadata["metadata"]["floors"].as_object().expect("[workspace.metadata.floors] in Cargo.toml");
    let floors = table.iter().map(|(name, may)| (name.clone(), list(may))).collect();
    let packages = metadata["packages"].as_array().expect("packages");
    let declared = packages.iter().map(|p| Declared {
        name: text(&p["name"]),
        dependencies: p["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .map(|d| (text(&d["name"]), d["kind"].as_str() == Some("dev")))
            .collect(),
    });
    (floors, declared.collect())
}

/// The table itself: it names every crate, and nothing imports upward.
pub fn check_table(floors: &Floors, crates: &[String]) -> Vec<Offence> {
    let mut out = Vec::new();
    for name in crates.iter().filter(|c| !floors.contains_key(*c)) {
        out.push(Offence::new("floors", &format!("crates/{name}"), 1, "missing in [workspace.metadata.floors]"));
    }
    for (name, may) in floors {
        for below in may {
            let back = floors.get(below).is_none_or(|theirs| theirs.contains(name) || below == name);
            if back {
                let says = format!("`{below}` is unknown, itself, or imports back");
                out.push(Offence::new("floors", &format!("crates/{name}"), 1, says));
            }
        }
    }
    out
}

/// Dependencies that go up, sideways or outside.
pub fn check_dependencies(floors: &Floors, declared: &Declared) -> Vec<Offence> {
    let Some(name) = declared.name.strip_prefix("flotilla-").filter(|n| floors.contains_key(*n)) else {
        return vec![]; // the tests and benches may import anything
    };
    let mut out = Vec::new();
    let mut refuse = |on: &str, says: &str| {
        out.push(Offence::new("floors", &format!("crates/{name} → {on}"), 1, says.to_string()));
    };
    for (on, only_tests) in &declared.dependencies {
        if let Some(ours) = on.strip_prefix("flotilla-") {
            if !floors[name].contains(ours) {
                refuse(on, "a crate imports only crates on lower floors");
            }
            continue;
        }
        if *only_tests {
            continue;
        }
        if RESERVED.iter().any(|(outside, may)| on.split('-').next() == Some(outside) && !may.contains(&name)) {
            refuse(on, "this crate may not depend on it");
        } else if PURE.contains(&name) && !PLAIN.contains(&on.as_str()) {
            refuse(on, "a pure crate depends on bytes and checksums only");
        }
    }
    out
}

/// Paths such as `node::step` in a crate that may not import `node`.
pub fn check_uses(floors: &Floors, crate_name: &str, files: &[&Source]) -> Vec<Offence> {
    let modules: BTreeSet<String> = files
        .iter()
        .flat_map(|f| f.declared())
        .filter(|(keyword, _)| *keyword == "mod")
        .map(|(_, name)| name)
        .collect();
    let mut out = Vec::new();
    for other in floors.keys().filter(|o| *o != crate_name && !floors[crate_name].contains(*o) && !modules.contains(*o))
    {
        for file in files {
            let live = &file.live;
            let root =
                |at: &usize| live[at + other.len()..].starts_with("::") && !live[..*at].ends_with([':', '.', '$']);
            let times = words(live, other).iter().filter(|at| root(at)).count();
            if times > 0 {
                let place = format!("{} → {other}", file.path);
                out.push(Offence::new("floors", &place, times, "a crate imports only crates on lower floors"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Floors {
        let rows = [("base", vec![]), ("raft", vec!["base"]), ("node", vec!["base", "raft"]), ("server", vec!["node"])];
        rows.into_iter().map(|(n, m)| (n.to_string(), m.into_iter().map(String::from).collect())).collect()
    }

    fn places(name: &str, dependencies: &[(&str, bool)]) -> Vec<String> {
        let dependencies = dependencies.iter().map(|(n, t)| (n.to_string(), *t)).collect();
        let declared = Declared { name: name.to_string(), dependencies };
        check_dependencies(&table(), &declared).into_iter().map(|o| o.place).collect()
    }

    #[test]
    fn an_import_that_goes_up_is_found() {
        assert_eq!(places("flotilla-raft", &[("flotilla-base", false), ("bytes", false)]), [""; 0]);
        assert_eq!(places("flotilla-raft", &[("flotilla-node", false)]), ["crates/raft → flotilla-node"]);
        assert_eq!(places("flotilla-raft", &[("flotilla-node", true)]), ["crates/raft → flotilla-node"]);
        assert_eq!(places("flotilla-tests", &[("flotilla-node", false)]), [""; 0]);
    }

    #[test]
    fn an_outside_crate_in_the_wrong_place_is_found() {
        assert_eq!(places("flotilla-raft", &[("tokio", false)]), ["crates/raft → tokio"]);
        assert_eq!(places("flotilla-server", &[("tokio", false), ("tonic-prost", false)]), [""; 0]);
        assert_eq!(places("flotilla-server", &[("rocksdb", false)]), ["crates/server → rocksdb"]);
        assert_eq!(places("flotilla-raft", &[("serde", false)]), ["crates/raft → serde"]);
        assert_eq!(places("flotilla-raft", &[("proptest", true)]), [""; 0]);
    }

    #[test]
    fn a_table_that_imports_back_or_misses_a_crate_is_found() {
        let mut floors = table();
        assert_eq!(check_table(&floors, &["base".into(), "raft".into()]).len(), 0);
        assert_eq!(check_table(&floors, &["mvcc".into()]).len(), 1);
        floors.get_mut("base").expect("there").insert("raft".into());
        assert_eq!(check_table(&floors, &[]).len(), 2, "base imports raft, raft imports base");
    }

    #[test]
    fn a_path_into_a_higher_floor_is_found() {
        let one = |text: &str| check_uses(&table(), "raft", &[&Source::new("crates/raft/src/a.rs", text)]).len();
        assert_eq!(one("use base::Tick;"), 0);
        assert_eq!(one("use node::step;"), 1);
        assert_eq!(one("use crate::node::step; // node::step"), 0);
        assert_eq!(one("mod node; use node::step;"), 0);
    }
}

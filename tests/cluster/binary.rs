//! The binary and its demo: nothing of the simulator inside, and the demo does what it says.

use crate::{program, turn};
use harness::{Cluster, Program, programs};
use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Literals of `marker!("…")` and `bug!("…")` in the sources of the floors.
fn literals(folder: &Path, opening: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            literals(&path, opening, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            let names = text.match_indices(opening).filter_map(|(at, _)| text[at + opening.len()..].split('"').next());
            found.extend(names.filter(|n| n.len() >= 8).map(String::from));
        }
    }
}

#[test]
fn the_binary_has_neither_markers_nor_planted_bugs() {
    if program() == Program::Etcd {
        return;
    }
    let crates = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs this")).join("../crates");
    let binary = std::fs::read(programs::flotilla()).expect("the binary");
    for opening in ["marker!(\"", "bug!(\""] {
        let mut names = BTreeSet::new();
        for floor in ["base", "raft", "engine", "mvcc", "placement", "range", "router", "node"] {
            literals(&crates.join(floor).join("src"), opening, &mut names);
        }
        assert!(names.len() >= 10, "too few {opening}…\") in the sources to be looking at the right thing: {names:?}");
        let inside = present(&binary, &names);
        assert!(inside.len() * 10 < names.len(), "{opening}…\") is compiled into the binary: {inside:?}");
    }
}

/// Those of the names that occur in the bytes: one pass, guided by the first eight bytes of each name.
fn present<'a>(bytes: &[u8], names: &'a BTreeSet<String>) -> BTreeSet<&'a str> {
    let mut by_start: HashMap<&[u8], Vec<&str>> = HashMap::new();
    for name in names {
        by_start.entry(&name.as_bytes()[..8]).or_default().push(name);
    }
    let mut found = BTreeSet::new();
    for at in 0..bytes.len().saturating_sub(8) {
        if let Some(candidates) = by_start.get(&bytes[at..at + 8]) {
            found.extend(candidates.iter().copied().filter(|n| bytes[at..].starts_with(n.as_bytes())));
        }
    }
    found
}

#[test]
fn a_name_among_other_bytes_is_found() {
    let names = ["range.split".to_string(), "range.spoilt".to_string()].into();
    assert_eq!(present(b"....range.split....", &names).into_iter().collect::<Vec<_>>(), ["range.split"]);
}

/// `flotilla demo` prints endpoints and three commands; they work; Ctrl-C ends it and leaves nothing behind.
#[test]
fn the_demo_does_what_it_says() {
    let _turn = turn();
    if program() == Program::Etcd {
        return;
    }
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let mut demo = Command::new(programs::flotilla())
        .arg("demo")
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("flotilla demo starts");
    let lines = read_until_commands(&mut demo);
    let commands: Vec<&str> = lines.iter().filter_map(|l| command(l)).collect();
    let outcome = commands.iter().try_for_each(|c| try_command(c));
    let ended = interrupt(&mut demo);
    assert!(commands.len() >= 3, "three commands to try: {lines:?}");
    outcome.unwrap_or_else(|e| panic!("{e}"));
    assert!(ended, "it does not end on Ctrl-C");
    let left: Vec<_> = std::fs::read_dir(temporary.path()).expect("readable").flatten().map(|e| e.path()).collect();
    assert!(left.is_empty(), "temporary data were left: {left:?}");
}

/// A node that cannot serve alone says why, with names and reasons, and says when it is over.
#[test]
fn a_node_that_waits_for_others_says_for_whom() {
    let _turn = turn();
    if program() == Program::Etcd {
        return;
    }
    let mut cluster = Cluster::prepare(crate::spec(3, ""));
    cluster.spawn(0);
    let says = ["have no leader", "1 of 3 nodes are connected", "n2 (http://", "n3 (http://", "refused"];
    wait_for_line(&cluster, &says);
    (1..3).for_each(|i| cluster.spawn(i));
    (0..3).for_each(|i| cluster.wait_ready(i));
    wait_for_line(&cluster, &["every range has a leader"]);
}

/// Until the first node has printed a line with all of these words.
fn wait_for_line(cluster: &Cluster, says: &[&str]) {
    let give_up = Instant::now() + Duration::from_secs(30);
    while !cluster.nodes[0].printed().lines().any(|l| says.iter().all(|s| l.contains(s))) {
        assert!(Instant::now() < give_up, "no line says {says:?}:\n{}", cluster.nodes[0].printed());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The command that a line offers to try.
fn command(line: &str) -> Option<&str> {
    let line = line.trim().trim_start_matches("try").trim();
    ["etcdctl ", "flotilla bench "].iter().any(|c| line.starts_with(c)).then_some(line)
}

/// What the demo prints until it has shown three commands, or for a minute.
fn read_until_commands(demo: &mut std::process::Child) -> Vec<String> {
    let (send, receive) = std::sync::mpsc::channel();
    let output = BufReader::new(demo.stdout.take().expect("a pipe"));
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|l| send.send(l)));
    let give_up = Instant::now() + Duration::from_secs(60);
    let mut lines: Vec<String> = Vec::new();
    while Instant::now() < give_up && lines.iter().filter_map(|l| command(l)).count() < 3 {
        if let Ok(line) = receive.recv_timeout(Duration::from_millis(500)) {
            lines.push(line);
        }
    }
    lines
}

fn try_command(command: &str) -> Result<(), String> {
    let folder = |program: &Path| program.parent().expect("a folder").display().to_string();
    let own = std::env::var("PATH").unwrap_or_default();
    let path = [folder(&programs::etcdctl()), folder(&programs::flotilla()), own].join(":");
    let output = Command::new("sh").arg("-c").arg(command).env("PATH", path).env("ETCDCTL_API", "3").output();
    let output = output.map_err(|e| e.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("`{command}`: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Ctrl-C; did it end within twenty seconds?
fn interrupt(demo: &mut std::process::Child) -> bool {
    let _ = Command::new("sh").arg("-c").arg(format!("kill -INT {}", demo.id())).status();
    let give_up = Instant::now() + Duration::from_secs(20);
    while Instant::now() < give_up {
        if demo.try_wait().expect("our own child").is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = demo.kill();
    let _ = demo.wait();
    false
}

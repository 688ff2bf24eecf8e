//! What cannot be started is refused at once, with one line that says what is wrong and what to do.

use crate::{program, turn};
use harness::{Program, programs};
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs `flotilla` with these arguments; it must end within five seconds. Its status and all that it printed.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut child = Command::new(programs::flotilla())
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(dir.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("flotilla starts");
    let give_up = Instant::now() + Duration::from_secs(5);
    while child.try_wait().expect("our own child").is_none() {
        if Instant::now() > give_up {
            let _ = child.kill();
            let output = child.wait_with_output().expect("ended");
            panic!("flotilla {arguments:?} goes on:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("ended");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[track_caller]
fn refused(arguments: &[&str], environment: &[(&str, &str)], says: &[&str]) {
    let (code, text) = run(arguments, environment);
    assert_ne!(code, 0, "{arguments:?} ended well:\n{text}");
    assert!(!text.contains("panicked at"), "{text}");
    let line = text.lines().find(|l| says.iter().all(|s| l.contains(s)));
    assert!(line.is_some(), "{arguments:?}: no line says {says:?}:\n{text}");
}

#[test]
fn bad_starts_are_refused_with_one_line() {
    let _turn = turn();
    if program() == Program::Etcd {
        return;
    }
    refused(
        &["start", "--listen-client-url=http://127.0.0.1:1"],
        &[],
        &["--listen-client-url", "--listen-client-urls"],
    );
    refused(&["start", "--frobnicate"], &[], &["--frobnicate"]);
    refused(&["start", "--config-file=/nowhere/at/all.yml"], &[], &["/nowhere/at/all.yml"]);
    refused(&["start", "--heartbeat-interval=soon"], &[], &["--heartbeat-interval", "soon"]);
    refused(&["start", "--initial-cluster=nonsense"], &[], &["initial-cluster"]);
    refused(&["start", "--listen-client-urls=ftp://127.0.0.1:1"], &[], &["ftp://127.0.0.1:1"]);
    refused(&["start", "--cert-file=/x.pem"], &[], &["--cert-file"]);
    refused(&["start", "--force-new-cluster"], &[], &["--force-new-cluster"]);
    refused(&["start"], &[("ETCD_HEARTBEAT_INTERVAL", "soon")], &["ETCD_HEARTBEAT_INTERVAL"]);
    refused(&["sail"], &[], &["sail"]);
}

#[test]
fn a_bad_config_file_is_refused_with_its_place() {
    let _turn = turn();
    if program() == Program::Etcd {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, text, says) in [
        ("broken.yml", "name: [unclosed\n", "broken.yml"),
        ("unknown.yml", "nmae: n1\n", "nmae"),
        ("binary.yml", "\u{0}\u{1}\u{2}", "binary.yml"),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        refused(&["start", "--config-file", &path.display().to_string()], &[], &[says]);
    }
}

#[test]
fn a_data_directory_that_cannot_be_written_is_refused() {
    let _turn = turn();
    if program() == Program::Etcd {
        return;
    }
    refused(&["start", "--data-dir=/proc/none"], &[], &["/proc/none", "check --data-dir"]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("a-file");
    std::fs::write(&file, "not a directory").expect("written");
    refused(&["start", "--data-dir", &file.display().to_string()], &[], &["a-file"]);
}

#[test]
fn versions_are_told() {
    let _turn = turn();
    if program() == Program::Etcd {
        return;
    }
    let (code, text) = run(&["--version"], &[]);
    assert!(code == 0 && text.to_lowercase().starts_with("flotilla"), "{text}");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let etcd = dir.path().join("etcd");
    std::os::unix::fs::symlink(programs::flotilla(), &etcd).expect("a link");
    let output = Command::new(&etcd).arg("--version").output().expect("it runs under the name etcd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.starts_with("etcd Version: 3.6."), "{text}");
}

/// Under the name `etcd`, and with nothing but `ETCD_*` variables, it is a node.
#[test]
fn the_name_etcd_and_its_variables_are_enough() {
    let _turn = turn();
    if program() == Program::Etcd {
        return;
    }
    let mut cluster = harness::Cluster::prepare(harness::Spec::new(Program::Flotilla, 1));
    let etcd = cluster.dir.path().join("etcd");
    std::os::unix::fs::symlink(programs::flotilla(), &etcd).expect("a link");
    let variables: Vec<(String, String)> = cluster.arguments(0)[1..]
        .chunks(2)
        .map(|pair| (format!("ETCD_{}", pair[0][2..].replace('-', "_").to_uppercase()), pair[1].clone()))
        .collect();
    cluster.spawn_as(0, &etcd, &[], &variables);
    cluster.wait_ready(0);
    harness::rpc::block_on(async {
        let mut client = harness::rpc::connect(&cluster.endpoints()).await;
        client.put("by", "variables", None).await.expect("served");
        assert_eq!(client.member_list().await.expect("served").members()[0].name(), "n1");
    });
}

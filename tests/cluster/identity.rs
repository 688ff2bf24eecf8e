//! Whose data is this? A node never runs with data that is not its own, nor without data that it should have.

use crate::{program, spec, turn, wait_same_hash};
use harness::{Cluster, Program, rpc};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

fn put(cluster: &Cluster, node: usize, key: &str) {
    let endpoints = cluster.endpoints();
    rpc::block_on(async {
        rpc::connect(&endpoints[node..=node])
            .await
            .put(key, "value", None)
            .await
            .unwrap_or_else(|e| panic!("put {key}: {e}"));
    });
}

/// It ended by itself, with an error status and one line that says what is wrong; it did not panic.
#[track_caller]
fn refused(ended: (std::process::ExitStatus, String), says: &[&str]) {
    let (status, printed) = ended;
    assert!(!status.success(), "it ended well:\n{printed}");
    assert!(!printed.contains("panicked at"), "{printed}");
    assert!(!printed.contains(harness::cluster::READY), "it served clients:\n{printed}");
    let line = printed.lines().find(|l| says.iter().all(|s| l.to_lowercase().contains(&s.to_lowercase())));
    assert!(line.is_some(), "no line says {says:?}:\n{printed}");
}

/// A node whose disk was emptied has forgotten its votes and acknowledgements: under its old name it must not come back.
#[test]
fn an_emptied_data_directory_under_an_old_name_is_refused() {
    let _turn = turn();
    if program() == Program::Etcd {
        return; // 3.4 lets it in
    }
    let mut cluster = Cluster::start(spec(3, ""));
    put(&cluster, 0, "a");
    cluster.kill(2);
    std::fs::remove_dir_all(&cluster.nodes[2].data_dir).expect("its data");
    cluster.spawn(2);
    refused(cluster.wait_end(2, SOON), &["n3"]);
    put(&cluster, 1, "b");
}

#[test]
fn the_data_directory_of_another_cluster_is_refused() {
    let _turn = turn();
    if program() == Program::Etcd {
        return; // 3.4 ignores the flags and runs with the other cluster's identity
    }
    // Same names, same numbers: nothing but the cluster itself is different.
    let mut other = Cluster::start(spec(3, ""));
    put(&other, 0, "theirs");
    other.stop(2);
    let mut cluster = Cluster::start(spec(3, ""));
    put(&cluster, 0, "ours");
    cluster.kill(2);
    cluster.nodes[2].data_dir = other.nodes[2].data_dir.clone();
    cluster.spawn(2);
    refused(cluster.wait_end(2, SOON), &["cluster"]);
    put(&cluster, 0, "ours");
    other.start_node(2); // and their data are as they were
    put(&other, 2, "theirs");
}

#[test]
fn a_second_process_on_one_directory_is_refused() {
    let _turn = turn();
    if program() == Program::Etcd {
        return; // 3.4 waits for the lock for ever
    }
    let mut cluster = Cluster::start(spec(1, ""));
    let mut second = Cluster::prepare(spec(1, ""));
    second.nodes[0].data_dir = cluster.nodes[0].data_dir.clone();
    second.spawn(0);
    let directory = cluster.nodes[0].data_dir.display().to_string();
    refused(second.wait_end(0, SOON), &[&directory]);
    put(&cluster, 0, "a");
    cluster.kill(0);
    cluster.start_node(0); // kill -9 leaves no lock behind
    put(&cluster, 0, "b");
}

#[test]
fn an_orderly_stop_and_a_restart_keep_everything() {
    let _turn = turn();
    for nodes in [1, 3] {
        let mut cluster = Cluster::start(spec(nodes, "g,n,t"));
        for key in ["a", "h", "p", "z"] {
            put(&cluster, 0, key);
        }
        for i in 0..nodes {
            let (status, printed) = cluster.stop(i);
            assert!(
                program() == Program::Etcd || status.success(),
                "SIGTERM ended n{} with {status}:\n{printed}",
                i + 1
            );
            assert!(!printed.contains("panicked at"), "{printed}");
        }
        cluster.start_all();
        wait_same_hash(&cluster);
        let count = rpc::block_on(async {
            let all = etcd_client::GetOptions::new().with_all_keys().with_count_only();
            rpc::connect(&cluster.endpoints()).await.get("", Some(all)).await.expect("served").count()
        });
        assert_eq!(count, 4);
    }
}

/// `etcdctl --cluster` asks one node where all are: whoever is down must be on the list, or nobody misses it.
#[test]
fn a_node_that_is_down_is_still_listed_with_its_address() {
    let _turn = turn();
    let mut cluster = Cluster::start(spec(3, ""));
    (0..3).for_each(|i| cluster.kill(i));
    for i in [0, 1] {
        cluster.spawn(i);
    }
    for i in [0, 1] {
        cluster.wait_ready(i);
    }
    let mut wanted = cluster.endpoints();
    let first = vec![wanted[0].clone()];
    wanted.sort();
    rpc::block_on(async {
        let members = rpc::connect(&first).await.member_list().await.expect("served");
        let mut urls: Vec<String> = members.members().iter().flat_map(|m| m.client_urls().to_vec()).collect();
        urls.sort();
        assert_eq!(urls, wanted);
    });
}

#[test]
fn a_port_in_use_is_named() {
    let _turn = turn();
    let mut cluster = Cluster::prepare(spec(1, ""));
    let taken = cluster.nodes[0].client_address();
    let _held = std::net::TcpListener::bind(taken).expect("a free port");
    cluster.spawn(0);
    refused(cluster.wait_end(0, SOON), &[&taken.to_string()]);
}

/// The newest WAL is cut at the end of a record, half way: to the store itself this looks like a crash before these records
/// were written. Its leader knows better.
#[test]
fn a_store_that_lost_what_it_acknowledged_is_told_so_and_ends() {
    let _turn = turn();
    if program() == Program::Etcd {
        return; // it panics or goes on, depending on what it lost
    }
    let mut cluster = Cluster::start(spec(3, ""));
    put(&cluster, 0, "before");
    // From here on it follows: whoever leads now goes on leading.
    cluster.kill(2);
    put(&cluster, 0, "without it");
    cluster.start_node(2);
    (0..100).for_each(|i| put(&cluster, 0, &format!("acknowledged {i}")));
    wait_same_hash(&cluster);
    cluster.kill(2);
    cut_newest_wal(&cluster.nodes[2].data_dir.join("db"));
    cluster.spawn(2);
    let (status, printed) = cluster.wait_end(2, SOON);
    assert!(!status.success() && !printed.contains("panicked at"), "{status}:\n{printed}");
    let says = ["acknowledged its log up to", "vouched for", "replace the node"];
    assert!(printed.lines().any(|l| says.iter().all(|s| l.contains(s))), "no line says {says:?}:\n{printed}");
    put(&cluster, 1, "the others go on");
}

/// Leaves half of the records of the newest WAL, whole.
fn cut_newest_wal(db: &std::path::Path) {
    let files = std::fs::read_dir(db).expect("a database").flatten().map(|e| e.path());
    let newest = files.filter(|p| p.extension().is_some_and(|x| x == "log")).max().expect("a WAL");
    let bytes = std::fs::read(&newest).expect("readable");
    // Blocks of 32 KiB; a piece: checksum, length, type (1 whole, 4 last, above 128 what may be ignored), data.
    let (mut at, mut ends) = (0, Vec::new());
    while at + 7 <= bytes.len() {
        let left = (32 << 10) - at % (32 << 10);
        let (length, kind) = (usize::from(bytes[at + 4]) | usize::from(bytes[at + 5]) << 8, bytes[at + 6]);
        if left < 7 || (kind == 0 && length == 0) {
            at += left;
            continue;
        }
        at += 7 + length;
        if kind == 1 || kind == 4 {
            ends.push(at);
        }
    }
    assert!(ends.len() > 40, "{} records in {}", ends.len(), newest.display());
    let file = std::fs::File::options().write(true).open(&newest).expect("writable");
    file.set_len(ends[ends.len() / 2] as u64).expect("cut");
}

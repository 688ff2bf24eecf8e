//! # cluster: real processes under real faults
//!
//! Three and more `flotilla start` processes on loopback, with RocksDB and the operating system underneath: killed,
//! paused, cut off, filled up, wiped, started twice. Histories are judged by the simulator's own checkers.
//!
//! `CLUSTER_PROGRAM=etcd` runs what also makes sense for Debian's etcd against it: that is how these tests were tried
//! out. They take turns, since each wants the whole machine.
//!
//! There are two forms. The short one (`make cluster`) runs every fault at least once and takes some four minutes on two
//! quiet cores. The long one (`make cluster LONG=1`) runs each as often as there are nodes and pairs of nodes, kills a
//! hundred times instead of twenty, and cuts for longer.

mod binary;
mod catch_up;
mod cuts;
mod disk;
mod identity;
mod kill;
mod refusal;
mod serializable;

use harness::{Cluster, Program, Spec, rpc};
use std::sync::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test runs.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn program() -> Program {
    match std::env::var("CLUSTER_PROGRAM").as_deref() {
        Err(_) | Ok("flotilla") => Program::Flotilla,
        Ok("etcd") => Program::Etcd,
        Ok(other) => panic!("CLUSTER_PROGRAM={other}: neither flotilla nor etcd"),
    }
}

fn is_long() -> bool {
    std::env::var_os("LONG").is_some()
}

/// All of them, or in the short form as many as are enough to meet the fault.
fn some_of<T>(mut all: Vec<T>, enough: usize) -> Vec<T> {
    if !is_long() {
        all.truncate(enough);
    }
    all
}

/// What every cluster under load is started with. `splits` are boundaries between Flotilla's ranges.
fn spec(nodes: usize, splits: &str) -> Spec {
    let spec = Spec::new(program(), nodes);
    match program() {
        Program::Flotilla if !splits.is_empty() => spec.flag(format!("--initial-split-keys={splits}")),
        _ => spec,
    }
}

/// All of the cluster's nodes tell the same HashKV at the newest revision, within a minute.
fn wait_same_hash(cluster: &Cluster) -> u32 {
    rpc::block_on(async {
        let endpoints = cluster.endpoints();
        let give_up = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let newest = rpc::connect(&endpoints[..1]).await.get("newest?", None).await;
            let revision = newest.expect("served").header().expect("a header").revision();
            let mut hashes = Vec::new();
            for endpoint in &endpoints {
                let mut client = rpc::connect(std::slice::from_ref(endpoint)).await;
                hashes.push(client.hash_kv(revision).await.map(|h| h.hash()).map_err(|e| e.to_string()));
            }
            match &hashes[0] {
                Ok(first) if hashes.iter().all(|h| h == &hashes[0]) => return *first,
                _ => assert!(std::time::Instant::now() < give_up, "HashKV at {revision} differs: {hashes:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        }
    })
}

//! kill -9 and SIGSTOP under load by 64 clients: every acknowledged write is there afterwards, none twice, and writes
//! go on soon.

use crate::{is_long, some_of, spec, turn, wait_same_hash};
use base::Rng;
use harness::load::{Load, Work};
use harness::{Cluster, rpc, versions};
use std::time::Duration;

/// After the loss of any node writes go on within this time.
const RESUME: Duration = Duration::from_secs(3);
/// How long a disturbance may burn revision numbers.
pub const AFTERMATH: u64 = 15_000_000_000;

/// Four groups of keys, one in each range that `SPLITS` makes.
pub const GROUPS: [&str; 4] = ["a/", "h/", "p/", "z/"];
pub const SPLITS: &str = "g,n,t";

pub fn judge(cluster: &Cluster, load: Load, disruptions: Vec<(u64, u64)>) {
    let ops = load.finish();
    let versions = rpc::block_on(versions::collect(&cluster.endpoints()[0]));
    let known = ops.iter().filter(|op| op.revision().is_some()).count();
    let summary = versions::judge(ops, versions, disruptions);
    println!("{known} answered operations judged: {summary:?}");
    assert!(summary.owned > 300, "too little was written to judge anything: {summary:?}");
    wait_same_hash(cluster);
}

pub fn load(cluster: &Cluster, groups: &[&str], rest: u64) -> Load {
    let mut work = Work::new(64, groups);
    work.rest = Duration::from_millis(rest);
    let load = Load::start(cluster.endpoints(), work);
    load.wait_acked(300, Duration::from_secs(30)).expect("the load gets going");
    load
}

/// With one range, whoever leads is among the three.
#[test]
fn writes_go_on_within_three_seconds_after_the_loss_of_any_node() {
    let _turn = turn();
    let mut cluster = Cluster::start(spec(3, ""));
    let load = load(&cluster, &["k/"], 40);
    let mut disruptions = Vec::new();
    for node in 0..3 {
        let at = load.now();
        cluster.kill(node);
        disruptions.push((at, at + AFTERMATH));
        std::thread::sleep(RESUME + Duration::from_secs(1));
        let silence = load.longest_silence(at);
        println!("n{} killed: no write for {silence:?}", node + 1);
        assert!(silence <= RESUME, "n{} killed: no write for {silence:?}", node + 1);
        cluster.start_node(node);
        load.wait_acked(200, Duration::from_secs(20)).expect("all three serve again");
        std::thread::sleep(Duration::from_secs(1)); // the returned node catches up before the next one goes
    }
    judge(&cluster, load, disruptions);
}

#[test]
fn all_nodes_killed_at_once_lose_nothing() {
    let _turn = turn();
    let mut cluster = Cluster::start(spec(3, SPLITS));
    let load = load(&cluster, &GROUPS, 40);
    let mut disruptions = Vec::new();
    for _ in 0..if is_long() { 10 } else { 2 } {
        let at = load.now();
        (0..3).for_each(|i| cluster.kill(i));
        cluster.start_all();
        disruptions.push((at, load.now() + AFTERMATH));
        load.wait_acked(300, Duration::from_secs(30)).expect("writes go on");
    }
    judge(&cluster, load, disruptions);
}

#[test]
fn twenty_kills_lose_nothing() {
    let _turn = turn();
    let mut cluster = Cluster::start(spec(3, SPLITS));
    let load = load(&cluster, &GROUPS, 60);
    let mut disruptions = Vec::new();
    let mut rng = Rng::new(20);
    for kill in 0..if is_long() { 100 } else { 20 } {
        let node = rng.below(3) as usize;
        let at = load.now();
        cluster.kill(node);
        std::thread::sleep(Duration::from_millis(rng.below(1500)));
        cluster.start_node(node);
        disruptions.push((at, load.now() + AFTERMATH));
        let waited = load.wait_acked(100, Duration::from_secs(20));
        assert!(waited.is_some(), "no writes after kill {kill} (n{})", node + 1);
    }
    judge(&cluster, load, disruptions);
}

/// A stopped process wakes up believing what it believed: its lease, its leadership, its clock.
#[test]
fn a_paused_node_serves_nothing_stale() {
    let _turn = turn();
    let cluster = Cluster::start(spec(3, SPLITS));
    let load = load(&cluster, &GROUPS, 40);
    let mut disruptions = Vec::new();
    for node in some_of(vec![0, 1, 2], 2) {
        let at = load.now();
        cluster.pause(node);
        std::thread::sleep(Duration::from_secs(4));
        let others = load.wait_acked(100, Duration::from_secs(10));
        cluster.resume(node);
        disruptions.push((at, load.now() + AFTERMATH));
        assert!(others.is_some(), "two of three nodes take no writes while n{} stands still", node + 1);
        load.wait_acked(200, Duration::from_secs(20)).expect("all three serve again");
    }
    judge(&cluster, load, disruptions);
}

/// One node and five nodes: what three can, they can.
#[test]
fn one_and_five_nodes_lose_nothing() {
    let _turn = turn();
    for (nodes, victims) in [(1, vec![0]), (5, vec![1, 3])] {
        let mut cluster = Cluster::start(spec(nodes, SPLITS));
        let load = load(&cluster, &GROUPS, 40);
        let at = load.now();
        victims.iter().for_each(|v| cluster.kill(*v));
        std::thread::sleep(Duration::from_secs(2));
        victims.iter().for_each(|v| cluster.start_node(*v));
        load.wait_acked(200, Duration::from_secs(20)).expect("writes go on");
        // The load begins while leaders still move to the sequencer's node, and a move of leadership may burn numbers.
        judge(&cluster, load, vec![(0, at + AFTERMATH)]);
    }
}

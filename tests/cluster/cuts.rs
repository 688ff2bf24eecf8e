//! One-way cuts between peers, by our own proxy: the node that is heard but does not hear, and the other way round.

use crate::kill::{AFTERMATH, GROUPS, SPLITS, judge, load};
use crate::{is_long, some_of, spec, turn};
use harness::Cluster;
use std::time::Duration;

/// Ordered pairs are cut, in the long form each: bytes of one to the other are lost, the way back stays open.
#[test]
fn one_way_cuts_lose_nothing() {
    let _turn = turn();
    let cluster = Cluster::start(spec(3, SPLITS).proxied());
    let load = load(&cluster, &GROUPS, 40);
    let mut disruptions = Vec::new();
    for (from, to) in some_of(vec![(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)], 3) {
        let at = load.now();
        let before: u64 = cluster.proxies.iter().map(|p| p.lost()).sum();
        cluster.cut(from, to);
        std::thread::sleep(Duration::from_secs(if is_long() { 15 } else { 4 }));
        let lost: u64 = cluster.proxies.iter().map(|p| p.lost()).sum::<u64>() - before;
        cluster.heal();
        disruptions.push((at, load.now() + AFTERMATH));
        assert!(lost > 0, "nothing was said on the way n{} → n{}, so nothing was cut", from + 1, to + 1);
        let waited = load.wait_acked(200, Duration::from_secs(20));
        println!("n{} → n{} cut: {lost} bytes lost; 200 writes {waited:?} after the heal", from + 1, to + 1);
        assert!(waited.is_some(), "no writes after the way n{} → n{} was healed", from + 1, to + 1);
    }
    judge(&cluster, load, disruptions);
}

/// One node is cut off both ways: the other two go on, and it serves nothing stale.
#[test]
fn a_node_cut_off_serves_nothing_stale() {
    let _turn = turn();
    let cluster = Cluster::start(spec(3, SPLITS).proxied());
    let load = load(&cluster, &GROUPS, 40);
    let mut disruptions = Vec::new();
    for node in some_of(vec![0, 1, 2], 2) {
        let at = load.now();
        for other in (0..3).filter(|o| *o != node) {
            cluster.cut(node, other);
            cluster.cut(other, node);
        }
        std::thread::sleep(Duration::from_secs(4));
        let others = load.wait_acked(100, Duration::from_secs(10));
        cluster.heal();
        disruptions.push((at, load.now() + AFTERMATH));
        assert!(others.is_some(), "two of three nodes take no writes while n{} is cut off", node + 1);
        load.wait_acked(200, Duration::from_secs(20)).expect("all three serve again");
    }
    judge(&cluster, load, disruptions);
}

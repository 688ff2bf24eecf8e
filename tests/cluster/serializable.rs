//! A node that is cut off from all others answers serializable reads from what it holds, as etcd does, and nothing else.

use crate::kill::{GROUPS, SPLITS};
use crate::{spec, turn};
use etcd_client::{Client, GetOptions};
use harness::{Cluster, rpc};
use std::time::{Duration, Instant};

/// The header's revision and the value.
async fn read_here(client: &mut Client, key: &str) -> (i64, String) {
    let options = GetOptions::new().with_serializable();
    let reply = client.get(key, Some(options)).await.unwrap_or_else(|e| panic!("a serializable read of {key}: {e}"));
    let value = reply.kvs().first().map(|kv| kv.value_str().expect("text").to_string()).unwrap_or_default();
    (reply.header().expect("a header").revision(), value)
}

#[test]
fn a_node_cut_off_reads_what_it_has_shown_and_nothing_linearizable() {
    let _turn = turn();
    let cluster = Cluster::start(spec(3, SPLITS).proxied());
    rpc::block_on(async {
        for node in 0..3 {
            let here = cluster.endpoints()[node..=node].to_vec();
            let there = cluster.endpoints()[(node + 1) % 3..][..1].to_vec();
            let mut client = rpc::connect(&here).await;
            let mut shown = 0;
            for group in GROUPS {
                let put = client.put(format!("{group}k"), format!("{node}"), None).await.expect("put");
                shown = put.header().expect("a header").revision();
            }
            // The others are a quorum without this node, which may get only a moment later what it has just shown. Cut off
            // before that it would have to refuse.
            tokio::time::sleep(Duration::from_secs(1)).await;
            for other in (0..3).filter(|o| *o != node) {
                cluster.cut(node, other);
                cluster.cut(other, node);
            }
            let cut = Instant::now();
            // At once, and when every lease is over and every call has lost its patience with the others.
            for after in [0, 1, 6] {
                tokio::time::sleep(Duration::from_secs(after)).await;
                for group in GROUPS {
                    let (revision, value) = read_here(&mut client, &format!("{group}k")).await;
                    assert_eq!(value, node.to_string(), "n{} {group}k, {:?} after the cut", node + 1, cut.elapsed());
                    assert!(revision >= shown, "n{} showed {shown} and reads at {revision}", node + 1);
                    shown = revision;
                }
            }
            let mut impatient = rpc::try_connect(&here, Duration::from_secs(3)).await.expect("connected");
            assert!(impatient.get("a/k", None).await.is_err(), "n{} answers a linearizable read alone", node + 1);
            let mut others = rpc::connect(&there).await;
            let newest = others.put("a/k", "newer", None).await.expect("two of three go on");
            let newest = newest.header().expect("a header").revision();
            cluster.heal();
            let give_up = Instant::now() + Duration::from_secs(30);
            loop {
                let (revision, value) = read_here(&mut client, "a/k").await;
                assert!(revision >= shown, "n{} showed {shown} and reads at {revision}", node + 1);
                shown = revision;
                if revision >= newest {
                    assert_eq!(value, "newer");
                    break;
                }
                assert!(Instant::now() < give_up, "n{} stays at {revision}, the others are at {newest}", node + 1);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
}

//! A node that was away for longer than the log is kept catches up by snapshot.

use crate::{program, spec, turn, wait_same_hash};
use harness::{Cluster, Program, http, rpc};
use std::time::Duration;

/// 3,200 values of 64 KiB: 200 MiB.
const VALUES: usize = 3200;
const BYTES: usize = 64 << 10;
/// How many values go into one transaction; below etcd's 1.5 MiB.
const AT_ONCE: usize = 20;
/// Longer than Flotilla keeps its log for a member that was heard lately.
const KEPT_FOR: Duration = Duration::from_secs(11);

#[test]
fn a_node_that_missed_200_mib_catches_up_by_snapshot() {
    let _turn = turn();
    let spec = match program() {
        Program::Flotilla => spec(3, "g,n,t"),
        Program::Etcd => spec(3, "").flag("--snapshot-count=100"),
    };
    let mut cluster = Cluster::start(spec);
    rpc::block_on(write(&cluster.endpoints()[..1], "before", 10 * AT_ONCE));
    wait_same_hash(&cluster);
    cluster.kill(2);
    let gone = std::time::Instant::now();
    rpc::block_on(write(&cluster.endpoints()[..2], "while away", VALUES / 2));
    // For a member that was there a moment ago some log is kept: it must be away for longer than that.
    std::thread::sleep(KEPT_FOR.saturating_sub(gone.elapsed()));
    rpc::block_on(write(&cluster.endpoints()[..2], "still away", VALUES / 2));
    let started = std::time::Instant::now();
    cluster.start_node(2);
    println!("ready again after {:?}", started.elapsed());
    let hash = wait_same_hash(&cluster);
    println!("HashKV {hash} on all three after {:?}", started.elapsed());
    if program() == Program::Flotilla {
        let address = cluster.nodes[2].client_address();
        let installed = http::metric(address, "flotilla_snapshots_installed_total");
        assert!(installed.is_some_and(|n| n >= 1.0), "no snapshot was installed: {installed:?}");
    }
    // What it has is what was written: read it from that node alone.
    let count = rpc::block_on(async {
        let mut client = rpc::connect(&cluster.endpoints()[2..]).await;
        let all = etcd_client::GetOptions::new().with_all_keys().with_count_only();
        client.get("", Some(all)).await.expect("served").count()
    });
    assert_eq!(count as usize, VALUES + 10 * AT_ONCE);
}

/// Values that do not compress, spread over the ranges a, h, p and z.
async fn write(endpoints: &[String], name: &str, values: usize) {
    let mut client = rpc::connect(endpoints).await;
    let mut rng = base::Rng::new(values as u64);
    for first in (0..values).step_by(AT_ONCE) {
        let group = ["a", "h", "p", "z"][first / AT_ONCE % 4];
        let put = |i: usize| {
            let value: Vec<u8> = (0..BYTES / 8).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
            etcd_client::TxnOp::put(format!("{group}/{name}/{i:06}"), value, None)
        };
        let puts: Vec<_> = (first..first + AT_ONCE).map(put).collect();
        let txn = etcd_client::Txn::new().and_then(puts);
        client.txn(txn).await.unwrap_or_else(|e| panic!("{name} {first}: {e}"));
    }
}

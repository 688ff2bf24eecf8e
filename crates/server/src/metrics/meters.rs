//! What the door counts: how long calls take, and how many operations of which kind were served.

use super::hot;
use super::names::{HANDLING_SECONDS, HASH_SECONDS};
use gateway::rpc::Rpc;
use mvcc::Reply;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Operations served, in the order of [`OPERATIONS`].
#[derive(Default)]
struct Served([AtomicU64; 4]);

/// Name and help of each counter.
const OPERATIONS: [(&str, &str); 4] = [
    ("etcd_mvcc_range_total", "Total number of ranges seen by this member."),
    ("etcd_mvcc_put_total", "Total number of puts seen by this member."),
    ("etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
    ("etcd_mvcc_txn_total", "Total number of txns seen by this member."),
];

/// Slots of histograms, found once.
pub struct Meters {
    handling: Vec<Option<usize>>,
    hash: Option<usize>,
    served: Served,
}

impl Meters {
    /// Finds or makes the slots of all RPCs that are built.
    #[allow(clippy::new_without_default, reason = "it registers names, which a default should not")]
    pub fn new() -> Meters {
        let slot = |rpc: &Rpc| {
            let (service, method) = rpc.names();
            let labels = [("grpc_method", method), ("grpc_service", service), ("grpc_type", rpc.shape().name())];
            let labels = labels.map(|(k, v)| (k.to_string(), v.to_string())).to_vec();
            if rpc.missing().is_none() { hot::slot(HANDLING_SECONDS, labels) } else { None }
        };
        Meters {
            handling: Rpc::ALL.iter().map(slot).collect(),
            hash: hot::slot(HASH_SECONDS, Vec::new()),
            served: Served::default(),
        }
    }

    /// A call ended.
    pub fn handled(&self, rpc: Rpc, nanos: u64) {
        if let Some(slot) = self.handling[rpc as usize] {
            hot::sample(slot, nanos);
        }
    }

    /// A HashKV ended.
    pub fn hashed(&self, took: Duration) {
        if let Some(slot) = self.hash {
            hot::sample(slot, took.as_nanos() as u64);
        }
    }

    /// An operation was answered; what a transaction did counts as well.
    pub fn served(&self, reply: &Reply) {
        let kind = match reply {
            Reply::Range(_) => 0,
            Reply::Put(_) => 1,
            Reply::Delete(_) => 2,
            Reply::Txn(t) => {
                t.replies.iter().for_each(|r| self.served(r));
                3
            }
        };
        self.served.0[kind].fetch_add(1, Relaxed);
    }

    /// Appends the counters in Prometheus' text format; the histograms are among the others.
    pub fn render(&self, out: &mut String) {
        for ((name, help), n) in OPERATIONS.iter().zip(&self.served.0) {
            let n = n.load(Relaxed);
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {n}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mvcc::{DeleteReply, PutReply, TxnReply};

    #[test]
    fn what_a_transaction_did_counts_and_calls_have_histograms() {
        let meters = Meters::new();
        let put = || Reply::Put(PutReply { prev: None });
        let delete = Reply::Delete(DeleteReply { deleted: 0, prev: vec![] });
        meters.served(&put());
        meters.served(&Reply::Txn(TxnReply { succeeded: true, replies: vec![put(), delete] }));
        let mut text = String::new();
        meters.render(&mut text);
        for line in
            ["etcd_mvcc_put_total 2", "etcd_mvcc_delete_total 1", "etcd_mvcc_txn_total 1", "etcd_mvcc_range_total 0"]
        {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        let labels = [("grpc_method", "Put"), ("grpc_service", "etcdserverpb.KV"), ("grpc_type", "unary")];
        let before = hot::count_and_nanos(HANDLING_SECONDS, &labels);
        meters.handled(Rpc::Put, 1_000);
        meters.handled(Rpc::Watch, 1_000);
        let after = hot::count_and_nanos(HANDLING_SECONDS, &labels);
        assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1_000));
    }
}

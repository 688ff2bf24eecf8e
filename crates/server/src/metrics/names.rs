//! The names that are exported: etcd's where etcd has one, ours where it has none. One line each: kind, name, help.
//! What counts RPCs is the gateway's own, and `process_…` is a library's; neither is listed here.

/// The stations of a Put.
pub const STAGE_SECONDS: &str = "flotilla_stage_seconds";
/// One fsync of the log.
pub const WAL_FSYNC_SECONDS: &str = "etcd_disk_wal_fsync_duration_seconds";
/// One batch handed to the engine, its fsync included.
pub const BACKEND_COMMIT_SECONDS: &str = "etcd_disk_backend_commit_duration_seconds";
/// Bytes of all batches handed to the engine.
pub const WAL_WRITE_BYTES: &str = "etcd_disk_wal_write_bytes_total";
/// One HashKV.
pub const HASH_SECONDS: &str = "etcd_mvcc_hash_rev_duration_seconds";
/// One call of an RPC.
pub const HANDLING_SECONDS: &str = "grpc_server_handling_seconds";
/// Our version as etcd's, label `server_version`.
pub const SERVER_VERSION: &str = "etcd_server_version";

/// What kind of metric a name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Durations.
    Histogram,
}

use Kind::{Counter, Gauge, Histogram};

/// Every name with its kind and help.
pub static NAMES: &[(Kind, &str, &str)] = &[
    (Histogram, STAGE_SECONDS, "Time spent in one station on the road of a put, see docs/put.md."),
    (Gauge, "flotilla_ranges", "Replicas on this node."),
    (Gauge, "flotilla_leaders", "Replicas on this node that lead their range."),
    (Counter, "flotilla_snapshots_sent_total", "Snapshots sent to replicas that were behind."),
    (Counter, "flotilla_snapshots_installed_total", "Snapshots received and installed."),
    (Counter, "flotilla_leader_changes_total", "The number of leader changes seen, over all ranges of this node."),
    (Counter, "flotilla_read_rounds_total", "Rounds of a quorum that stood in for a lease."),
    (Histogram, WAL_FSYNC_SECONDS, "The latency distributions of fsync called by WAL."),
    (Histogram, BACKEND_COMMIT_SECONDS, "The latency distributions of commit called by backend."),
    (Counter, WAL_WRITE_BYTES, "Total number of bytes written in WAL."),
    (Histogram, HASH_SECONDS, "The latency distribution of storage hash by revision operation."),
    (Histogram, HANDLING_SECONDS, "Response latency of gRPC that had been application-level handled by the server."),
    (Gauge, "etcd_cluster_version", "Running version. 1 for 'cluster_version' label with current cluster version."),
    (Gauge, "etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID."),
    (Gauge, "etcd_debugging_mvcc_keys_total", "Total number of keys."),
    (Gauge, "os_fd_limit", "The file descriptor limit."),
    (Gauge, "os_fd_used", "The number of used file descriptors."),
    (Gauge, "etcd_network_known_peers", "The current number of known peers."),
    (Gauge, "etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not."),
    (Gauge, "etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise."),
    (Gauge, "etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise."),
    (Counter, "etcd_server_leader_changes_seen_total", "The number of leader changes seen, of the meta range."),
    (Gauge, "etcd_server_proposals_committed_total", "The total number of consensus proposals committed."),
    (Gauge, "etcd_server_proposals_applied_total", "The total number of consensus proposals applied."),
    (Gauge, "etcd_server_proposals_pending", "The current number of pending proposals to commit."),
    (Counter, "etcd_server_proposals_failed_total", "The total number of failed proposals seen."),
    (Gauge, "etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes."),
    (Gauge, SERVER_VERSION, "Which version is running. 1 for 'server_version' label with current version."),
    (Gauge, "etcd_mvcc_db_total_size_in_bytes", "Total size of the underlying database physically allocated in bytes."),
    (
        Gauge,
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
    ),
    (Gauge, "etcd_debugging_mvcc_current_revision", "The current revision of store."),
    (Gauge, "etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store."),
];

/// The help of a name; a name that is not listed explains itself badly, which the test of this module notices.
pub fn help(name: &str) -> &'static str {
    NAMES.iter().find(|(_, known, _)| *known == name).map_or("Durations in seconds.", |(_, _, help)| *help)
}

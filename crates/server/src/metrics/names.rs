//! The names that are exported: etcd's where etcd has one, ours where it has none. One line each: kind, name, help.
//! What counts RPCs is the gateway's own and not listed here.

/// The stations of a Put.
pub const STAGE_SECONDS: &str = "flotilla_stage_seconds";
/// One fsync of the log.
pub const WAL_FSYNC_SECONDS: &str = "etcd_disk_wal_fsync_duration_seconds";
/// One batch handed to the engine, its fsync included.
pub const BACKEND_COMMIT_SECONDS: &str = "etcd_disk_backend_commit_duration_seconds";
/// A beat to a peer and back, label `To`.
pub const PEER_ROUND_TRIP_SECONDS: &str = "etcd_network_peer_round_trip_time_seconds";
/// One call, labels `grpc_type`, `grpc_service`, `grpc_method`; only with `--metrics extensive`.
pub const GRPC_HANDLING_SECONDS: &str = "grpc_server_handling_seconds";

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
    (Counter, "flotilla_steps_total", "Steps taken by the node."),
    (Counter, "flotilla_step_inputs_total", "Inputs taken by all steps."),
    (Counter, "flotilla_frames_sent_total", "Frames sent to peers."),
    (Counter, "flotilla_frames_received_total", "Frames received from peers."),
    (Counter, "flotilla_snapshots_sent_total", "Snapshots sent to replicas that were behind."),
    (Counter, "flotilla_snapshots_received_total", "Snapshots received and ingested."),
    (Counter, "flotilla_log_truncations_total", "Times a range's log was cut."),
    (Histogram, WAL_FSYNC_SECONDS, "The latency distributions of fsync called by WAL."),
    (Histogram, "etcd_disk_wal_write_duration_seconds", "The latency distributions of write called by WAL."),
    (Counter, "etcd_disk_wal_write_bytes_total", "Total number of bytes written in WAL."),
    (Histogram, BACKEND_COMMIT_SECONDS, "The latency distributions of commit called by backend."),
    (Histogram, PEER_ROUND_TRIP_SECONDS, "Round-Trip-Time histogram between peers"),
    (Counter, "etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers."),
    (Counter, "etcd_network_peer_received_bytes_total", "The total number of bytes received from peers."),
    (Counter, "etcd_network_peer_sent_failures_total", "The total number of send failures from peers."),
    (Gauge, "etcd_network_active_peers", "The current number of active peer connections."),
    (Gauge, "etcd_network_known_peers", "The current number of known peers."),
    (Gauge, "etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not."),
    (Gauge, "etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise."),
    (Gauge, "etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise."),
    (Counter, "etcd_server_leader_changes_seen_total", "The number of leader changes seen."),
    (Gauge, "etcd_server_proposals_committed_total", "The total number of consensus proposals committed."),
    (Gauge, "etcd_server_proposals_applied_total", "The total number of consensus proposals applied."),
    (Gauge, "etcd_server_proposals_pending", "The current number of pending proposals to commit."),
    (Counter, "etcd_server_proposals_failed_total", "The total number of failed proposals seen."),
    (Gauge, "etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes."),
    (Counter, "etcd_server_slow_apply_total", "The total number of slow apply requests."),
    (Counter, "etcd_server_slow_read_indexes_total", "The total number of pending read indexes not in sync in time."),
    (Counter, "etcd_server_read_indexes_failed_total", "The total number of failed read indexes seen."),
    (Counter, "etcd_server_heartbeat_send_failures_total", "The total number of leader heartbeat send failures."),
    (Gauge, "etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID."),
    (Gauge, "etcd_server_version", "Which version is running. 1 for 'server_version' label with current version."),
    (Gauge, "etcd_cluster_version", "Which version is running. 1 for 'cluster_version' label with current version."),
    (Counter, "etcd_server_client_requests_total", "The total number of client requests per client version."),
    (Gauge, "etcd_mvcc_db_total_size_in_bytes", "Total size of the underlying database physically allocated in bytes."),
    (
        Gauge,
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
    ),
    (Gauge, "etcd_mvcc_db_open_read_transactions", "The number of currently open read transactions"),
    (Counter, "etcd_mvcc_put_total", "Total number of puts seen by this member."),
    (Counter, "etcd_mvcc_range_total", "Total number of ranges seen by this member."),
    (Counter, "etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
    (Counter, "etcd_mvcc_txn_total", "Total number of txns seen by this member."),
    (Gauge, "etcd_debugging_mvcc_current_revision", "The current revision of store."),
    (Gauge, "etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store."),
    (Counter, "grpc_server_msg_received_total", "Total number of RPC stream messages received on the server."),
    (Counter, "grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server."),
    (
        Histogram,
        GRPC_HANDLING_SECONDS,
        "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
    ),
];

/// The help of a name; a name that is not listed explains itself badly, which the test of this module notices.
pub fn help(name: &str) -> &'static str {
    NAMES.iter().find(|(_, known, _)| *known == name).map_or("Durations in seconds.", |(_, _, help)| *help)
}

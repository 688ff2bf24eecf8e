//! Every limit, in one place, with their relations asserted at compile time.

use crate::Tick;

/// How often a store asks every other store for support (etcd's `--heartbeat-interval`).
pub const HEARTBEAT_INTERVAL: Tick = Tick::ms(100);
/// D: how long support lasts (etcd's `--election-timeout`).
pub const ELECTION_TIMEOUT: Tick = Tick::ms(1000);
/// ρ in per cent: the bound on how fast or slow a node's clock may run.
pub const CLOCK_DRIFT_PERCENT: u64 = 10;
/// etcd's `--max-txn-ops`.
pub const MAX_TXN_OPS: usize = 128;
/// etcd's `--max-request-bytes`.
pub const MAX_REQUEST_BYTES: usize = 3 * 512 * 1024;
/// Entries of one group on their way to one follower.
pub const MAX_INFLIGHT_MSGS: usize = 256;
/// Bytes of one group on their way to one follower.
pub const MAX_INFLIGHT_BYTES: usize = 4 << 20;
/// Bytes of entries in one append message (one larger entry still travels alone).
pub const MAX_APPEND_BYTES: usize = 1 << 20;
/// Payload bytes of one entry: what one step proposes to one range is cut here.
pub const MAX_ENTRY_BYTES: usize = 8 << 20;
/// Keys that one command may change: it is evaluated inside one step, and a step must end long before D.
pub const MAX_COMMAND_KEYS: usize = 100_000;
/// Bytes of keys and values that one command may change: its effects are one entry, and an entry travels in one frame.
pub const MAX_COMMAND_BYTES: usize = MAX_ENTRY_BYTES;
/// Bytes of what a delete hands back (`prev_kv`): an answer travels in one frame, too.
pub const MAX_DELETED_BYTES: usize = MAX_FRAME_BYTES / 4;
/// Payload bytes that one step may put into one batch for applying, so that one large apply does not delay every fsync.
pub const MAX_APPLY_BYTES: usize = 4 << 20;
/// A frame larger than this is refused by its receiver.
pub const MAX_FRAME_BYTES: usize = 64 << 20;
/// A range's log is cut back to half of this when it grows beyond it.
pub const LOG_BYTES: u64 = 16 << 20;
/// A log kept for a follower that is alive but behind is cut at this size all the same.
pub const LOG_BYTES_HARD: u64 = 64 << 20;
/// Commands in one entry from which on it leaves for a quorum only.
pub const QUORUM_CROWD: usize = 12;
/// Bytes of one snapshot chunk on the wire.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// Bytes of commands waiting inside one node before it answers `too many requests`.
pub const MAX_QUEUED_BYTES: usize = 256 << 20;
/// Fetches of one node under way to the sequencer.
pub const MAX_FETCHES: usize = 4;

const _: () = assert!(HEARTBEAT_INTERVAL.0 * 5 <= ELECTION_TIMEOUT.0, "several beats fit into one promise");
const _: () =
    assert!(CLOCK_DRIFT_PERCENT > 0 && CLOCK_DRIFT_PERCENT < 50, "a clock runs forward and at a bounded rate");
const _: () = assert!(MAX_REQUEST_BYTES < MAX_ENTRY_BYTES, "one request fits one entry");
const _: () = assert!(MAX_APPEND_BYTES <= MAX_INFLIGHT_BYTES, "one message fits the window");
const _: () = assert!(MAX_ENTRY_BYTES + MAX_COMMAND_BYTES < MAX_FRAME_BYTES / 2, "one entry fits one frame");
const _: () = assert!(MAX_REQUEST_BYTES < MAX_COMMAND_BYTES, "whatever is put in one request fits");
const _: () = assert!(SNAPSHOT_CHUNK_BYTES < MAX_FRAME_BYTES / 2, "one chunk fits one frame");
const _: () = assert!(LOG_BYTES <= LOG_BYTES_HARD, "the soft bound comes first");

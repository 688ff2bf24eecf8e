//! What a node tells about itself, as plain data.

use base::{Index, RangeId, Revision, StoreId, Term};
use range::Counters;

/// A picture of the node, taken now and then.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Status {
    /// Of the meta range: what etcd's headers and Status show.
    pub term: Term,
    pub index: Index,
    pub applied: Index,
    pub leader: Option<StoreId>,
    /// The highest revision this node knows to be issued.
    pub revision: Revision,
    pub compacted: Revision,
    /// Below it the engine may have dropped versions.
    pub bound: Revision,
    pub ranges: u64,
    pub led: u64,
    /// Local replicas that know no leader.
    pub leaderless: u64,
    /// Live keys in local replicas.
    pub keys: u64,
    pub log_bytes: u64,
    pub pending: u64,
    /// Stores without room, this one among them: ranges that have a replica there take no writes that grow them.
    pub full: Vec<StoreId>,
    pub counters: Counters,
    pub per_range: Vec<RangeStatus>,
}

/// One local replica, for `flotilla ctl` and tests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeStatus {
    pub range: RangeId,
    pub term: Term,
    pub leader: Option<StoreId>,
    pub last: Index,
    pub commit: Index,
    pub applied: Index,
    pub truncated: Index,
}

//! What the gateway asks of the node behind it.

use crate::rpc::Rpc;
use base::{Result, Revision, Stage};
use mvcc::{Reply, Request};
use std::fmt;
use std::future::Future;
use std::time::Duration;

/// The node behind the gateway. Its methods are called on the threads that carry gRPC: none of them may block, and the
/// ones that are not `async` may only read what is in memory.
pub trait Backend: Send + Sync + 'static {
    /// One key-value operation, whose form has been checked. `within` is how long the caller will wait; afterwards the
    /// answer is `Refused(Timeout)` if nothing was handed to Raft, else `Unknown`.
    fn call(&self, request: Request, within: Duration) -> impl Future<Output = Result<Outcome>> + Send;
    /// Forgets superseded versions up to `revision`; `physical` waits until they are gone from the disk. Returns the
    /// store's current revision.
    fn compact(
        &self,
        revision: Revision,
        physical: bool,
        within: Duration,
    ) -> impl Future<Output = Result<Revision>> + Send;
    /// A hash over all versions up to `revision` (`ZERO`: the newest) that is equal on every node.
    fn hash_kv(&self, revision: Revision, within: Duration) -> impl Future<Output = Result<HashKv>> + Send;
    /// All nodes; `linearizable` asks the meta range instead of this node's memory.
    fn members(&self, linearizable: bool, within: Duration) -> impl Future<Output = Result<Vec<Member>>> + Send;
    /// Is this node itself alive, whoever else is: does it turn, and can its disk be read?
    fn lives(&self, within: Duration) -> impl Future<Output = Result<()>> + Send;
    /// What every response header says. Read once for each request.
    fn header(&self) -> Header;
    /// How this node is.
    fn status(&self) -> Status;
    /// Alarms that are raised now.
    fn alarms(&self) -> Vec<Alarm>;
    /// Is there a leader of the meta range, as far as this node knows?
    fn has_leader(&self) -> bool;
    /// The versions this node reports.
    fn versions(&self) -> Versions;
    /// One command took this long at this station.
    fn mark(&self, stage: Stage, nanos: u64);
    /// One call of a unary RPC took this long, from its headers to its answer, whatever the answer was.
    fn handled(&self, rpc: Rpc, nanos: u64);
    /// Appends this node's metrics in Prometheus' text format.
    fn metrics(&self, out: &mut String);
}

/// The answer to a key-value operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The header's revision: what an effective write got, or what a read saw as current.
    pub revision: Revision,
    /// Of the same kind as the request.
    pub reply: Reply,
}

/// What a response header is made of.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Header {
    /// The cluster's identity.
    pub cluster_id: u64,
    /// This node's identity.
    pub member_id: u64,
    /// The meta range's term.
    pub raft_term: u64,
    /// The newest revision this node knows of, for answers that do not carry their own.
    pub revision: Revision,
}

/// The answer to `hash_kv`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashKv {
    /// Over every version up to `revision`.
    pub hash: u32,
    /// The header's revision.
    pub current: Revision,
    /// What was compacted when the hash was taken.
    pub compacted: Revision,
    /// Up to where.
    pub revision: Revision,
}

/// How a node is.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Status {
    /// Bytes on disk.
    pub size: u64,
    /// Bytes of live data.
    pub size_in_use: u64,
    /// The configured ceiling, in bytes.
    pub quota: u64,
    /// Member id of the meta range's leader, 0 when unknown.
    pub leader: u64,
    /// The meta range's committed index.
    pub raft_index: u64,
    /// The meta range's term.
    pub raft_term: u64,
    /// The meta range's applied index.
    pub raft_applied: u64,
    /// Does this node only learn?
    pub learner: bool,
}

/// A node as clients see it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its identity.
    pub id: u64,
    /// Empty until it has started once.
    pub name: String,
    /// Where other nodes reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Does it only learn?
    pub learner: bool,
}

/// A raised alarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// Where.
    pub member: u64,
    /// What.
    pub kind: AlarmKind,
}

/// What an alarm says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlarmKind {
    /// No room for writes.
    NoSpace,
    /// Bytes are not what was written.
    Corrupt,
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AlarmKind::NoSpace => "NOSPACE",
            AlarmKind::Corrupt => "CORRUPT",
        })
    }
}

/// The versions a node reports.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Versions {
    /// Of the API that is served, `3.6.x`.
    pub server: String,
    /// What the whole cluster serves, `3.6.0`.
    pub cluster: String,
    /// Of the layout on disk.
    pub storage: String,
}

//! # gateway: the door that speaks etcd
//!
//! Floor 5. It turns bytes on a socket into the words of the floors below and their answers back into bytes, and it
//! decides nothing that depends on a key. Whoever is behind it implements [`Backend`].
//!
//! ```text
//! listen      one port: the first bytes say HTTP/1 (http) or HTTP/2
//! connection  one HTTP/2 connection is one task; its calls run inside it (crate `grpc`)
//! call        which RPC; may it come in; decode, serve, encode, count
//!   wire      one unary call over `h2`
//!   tunnel    tonic's generated services, for streams
//! check       etcd's static rules
//! translate   messages ↔ `mvcc`
//! kv, operator, http   the verbs
//! refusal     every error text, in one file
//! rpc, meter  every RPC: its path, whether it is built, its counters
//! ```
//!
//! ## Why not a tonic server
//!
//! A put is a few hundred bytes, and most of what it costs a node that stores it is spent here. Through tonic's server
//! a call crosses a router, some boxed services and bodies, a stream for one message, and a task of its own, and its
//! answer wakes that task, which wakes the connection. Here the call is a future inside the connection's task: when a
//! step of the node answers forty calls of one connection, the task wakes once, encodes forty answers and writes them
//! with one system call. Measured with a server that stores nothing, this takes a third off the CPU per call. Answers
//! that take long to encode leave the task (`Ask::heavy`), and streams never run in it.
//!
//! ## Invariants
//!
//! * Every error text a client can see comes from [`refusal`]; an outcome that is not known is `Unavailable` and
//!   nothing else, because clients never send a write again after it.
//! * A request that leaves [`check`] translates without failing.
//! * Every started call is counted as ended exactly once, also when its client goes away.
//! * A key is copied at the door; a value shares the network's buffer until a floor below encodes it.
//!
//! ## What we left out
//!
//! * The JSON gateway (its paths say so), TLS, and authentication.
//! * Compressed messages: etcd's clients send none.
//! * GOAWAY for clients that ping too often. `h2` bounds what pings and resets can cost.
//! * etcd accepts a transaction that puts a key in one nested transaction and deletes it in a later one, or that puts
//!   a key under a delete to the end of the key space, though it refuses the same the other way round. All of these
//!   are refused here: one revision has one version of a key.
//! * Messages nested deeper than a hundred levels, prost's bound.

#![forbid(unsafe_code)]

mod authority;
pub mod backend;
mod call;
pub mod check;
mod connection;
mod http;
mod kv;
mod listen;
mod meter;
mod operator;
pub mod refusal;
pub mod rpc;
pub mod translate;
mod tunnel;
mod wire;

pub use backend::Backend;
pub use listen::{Port, serve};
pub use meter::Meter;

use base::Revision;
use proto::etcdserverpb::ResponseHeader;
use std::sync::Arc;
use std::time::Duration;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// What clients are allowed, by etcd's flags.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `--max-request-bytes`
    pub max_request_bytes: usize,
    /// `--max-txn-ops`
    pub max_txn_ops: usize,
    /// `--max-concurrent-streams`, for each connection
    pub max_streams: u32,
    /// How long a request may take: etcd gives five seconds and two election timeouts.
    pub request_timeout: Duration,
    /// `--grpc-keepalive-interval`: a client that was silent for so long is pinged.
    pub ping_interval: Duration,
    /// `--grpc-keepalive-timeout`: a client that does not answer is dropped.
    pub ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let election = Duration::from_nanos(base::limits::ELECTION_TIMEOUT.0);
        Limits {
            max_request_bytes: base::limits::MAX_REQUEST_BYTES,
            max_txn_ops: base::limits::MAX_TXN_OPS,
            max_streams: u32::MAX,
            request_timeout: Duration::from_secs(5) + 2 * election,
            ping_interval: Duration::from_secs(2 * 60 * 60),
            ping_timeout: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// Bytes of the largest message that is read at all: etcd lets a request be refused by its own text up to here.
    fn max_message(&self) -> usize {
        self.max_request_bytes + 512 * 1024
    }
}

/// One door, in front of one node.
pub struct Gateway<B> {
    backend: Arc<B>,
    limits: Limits,
    meter: Meter,
    health: HealthServer<HealthService>,
    reporter: HealthReporter,
}

impl<B: Backend> Gateway<B> {
    /// A door that says it is not serving yet, see [`Gateway::set_serving`].
    pub async fn new(backend: Arc<B>, limits: Limits) -> Gateway<B> {
        let reporter = HealthReporter::new();
        reporter.set_service_status("", ServingStatus::NotServing).await;
        let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
        Gateway { backend, limits, meter: Meter::default(), health, reporter }
    }

    /// What gRPC's health service answers.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.reporter.set_service_status("", status).await;
    }

    /// Counters of all RPCs.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The header of an answer that does not bring its own revision.
    fn header(&self) -> ResponseHeader {
        self.header_at(self.backend.header().revision)
    }

    fn header_at(&self, revision: Revision) -> ResponseHeader {
        let h = self.backend.header();
        ResponseHeader {
            cluster_id: h.cluster_id,
            member_id: h.member_id,
            revision: revision.to_i64(),
            raft_term: h.raft_term,
        }
    }
}

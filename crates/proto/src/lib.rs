//! # proto: the Rust face of `/proto`
//!
//! Floor 1. Everything here is generated from the files in `/proto`: etcd's API, restated in files of our own with
//! etcd's names, numbers and types, and the one service that carries frames between nodes. There is no logic.
//!
//! Every `bytes` field is [`bytes::Bytes`]: a decoded key or value is a slice of the network buffer it came in, not a
//! copy. So whoever keeps a small key for long must copy it, or it keeps that whole buffer alive.
//!
//! ```text
//! proto/etcd/*.proto         → etcdserverpb, mvccpb, authpb, v3lockpb, v3electionpb
//! proto/flotilla/peer.proto  → flotilla
//! ```
//!
//! ## What we left out
//!
//! etcd's annotations for its JSON gateway and for the version in which a field appeared: they change no byte on the
//! wire. Messages that only etcd's own log uses.

#![forbid(unsafe_code)]

/// A key-value and an event, as clients see them.
#[allow(missing_docs, clippy::all)]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Permissions.
#[allow(missing_docs, clippy::all)]
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// etcd's services: KV, Watch, Lease, Cluster, Maintenance, Auth.
#[allow(missing_docs, clippy::all)]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// etcd's lock service.
#[allow(missing_docs, clippy::all)]
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// etcd's election service.
#[allow(missing_docs, clippy::all)]
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// Frames between nodes.
#[allow(missing_docs, clippy::all)]
pub mod flotilla {
    tonic::include_proto!("flotilla");
}

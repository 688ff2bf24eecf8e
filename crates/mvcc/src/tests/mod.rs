//! Tests that need more than one file of this crate: a naive model of etcd, random worlds judged by it, each verb by
//! itself, counting, hashing and compaction.

mod compaction;
mod counting;
mod differential;
mod make;
mod model;
mod verbs;

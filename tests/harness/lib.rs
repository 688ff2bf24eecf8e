//! # harness: real processes on loopback, and what drives them
//!
//! Tests that need more than one floor start real programs: our own `flotilla start` and Debian's etcd, which is both
//! the yardstick of what is right and the proof that a test can pass. A [`Cluster`] starts, kills, pauses and restarts
//! them, waits until they say `ready to serve client requests`, and takes everything down again when it is dropped,
//! also when a test fails. Each node has a loopback address of its own, so that a port is free because nobody else
//! can have it, and keeps it over restarts.
//!
//! [`Proxy`] stands before a node's peer port and can cut one direction between two nodes: it finds out which process
//! opened a connection, so the programs under test need no help from us. [`load`] runs many clients and records what
//! they asked and were told in the simulator's own words, so that the same checkers judge simulated and real runs.
//!
//! Nothing here is `unsafe`; signals are sent by the shell's `kill`, by process id.
//!
//! ## What we left out
//!
//! No containers, no network namespaces, no root: only the full-disk test needs to mount something. No way to bend the
//! clock of a real process: that is the simulator's. No retries: a client that is told nothing says "unknown".

#![forbid(unsafe_code)]

pub mod address;
pub mod cluster;
pub mod http;
pub mod load;
pub mod programs;
pub mod proxy;
pub mod raw;
pub mod rpc;
pub mod versions;

pub use cluster::{Cluster, Node, Spec};
pub use programs::Program;
pub use proxy::Proxy;

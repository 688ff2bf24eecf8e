//! # sim: the other world
//!
//! Floor 6. Runs the production floors 0 to 4, unchanged, as whole clusters in one thread and from one seed: a world
//! with its own clocks, network, disks, clients and faults, and the checkers that judge what the clients saw.
//!
//! Two halves:
//!
//! * [`check`] judges histories. It knows nothing about the world that made them: tests of real processes use it
//!   unchanged. Every property is one file; every rule has a name ([`check::Rule`]) and can be switched off, which a
//!   test uses to show that each one is needed.
//! * `world` (feature `world`) makes histories. Discrete events in a heap, ordered by true time and then by
//!   the order in which they were made, so that one seed is one run, to the byte. `options` draws what a seed is made
//!   of: how many nodes and ranges, which faults and how often, how far clocks drift, what clients ask for.
//!
//! A run has two halves as well. First safety: faults of every kind, at any rate, and nothing that was acknowledged
//! may be lost or read back wrong. Then everything is healed and service is demanded: one leader per range, replicas
//! equal, every client answered.
//!
//! ## What we left out
//!
//! Threads inside one world (a step is a call), real disks (the RocksDB lane lives in `tests/`), Byzantine nodes, and
//! clocks that break the drift bound: leases promise nothing there (the museum does break it, to show that a checker
//! would notice).

#![forbid(unsafe_code)]

pub mod check;
pub mod clock;
#[cfg(feature = "world")]
pub mod museum;
pub mod net;
pub mod options;
pub mod report;
#[cfg(feature = "world")]
pub mod runner;
pub mod tempers;
pub mod workload;
#[cfg(feature = "world")]
pub mod world;

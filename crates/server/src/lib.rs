//! # server: the binary
//!
//! Floor 6. `flotilla` is one program with a few commands, and this crate is its outermost layer: it reads what the
//! user said, starts the threads that run a node, carries the effects of each step out and brings what happens back in.
//! It decides nothing about keys; it decides what is started, and what is refused before anything is.
//!
//! ```text
//! cli        which command; what is printed; the exit code
//!   config   flags, ETCD_ variables and a file → one Settings, every value with its origin
//!   logging  etcd's log flags → lines
//!   metrics  etcd's names: per-thread arrays for durations, the `metrics` facade for the rest
//!   shell    runs a node with these Settings
//!   demo     a cluster of child processes
//!   bench    a closed loop of clients against any etcd endpoint
//! ```
//!
//! ## Rules
//!
//! * What is asked for and not there is said: what touches safety is refused, everything else is warned about.
//! * An error of the user's is one line that says what is wrong and what to do, and the exit code is 1.
//! * A child that we start ends with us, however we end: it reads a pipe of which we hold the other end.
//!
//! ## What we left out
//!
//! * Changing settings while a node runs, and rotating its logs.
//! * An open loop for `bench`, and its comparison of two results.
//! * Shell completion and manual pages.

#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod config;
pub mod demo;
pub mod logging;
pub mod metrics;
pub mod shell;

/// What clients and tools wait for on standard error.
pub const READY: &str = "ready to serve client requests";

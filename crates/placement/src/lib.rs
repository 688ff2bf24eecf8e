//! # placement: what the meta range means
//!
//! Floor 2. Range 1, the *meta range*, is an ordinary Raft group whose state is small and plain: the ceiling of the
//! revisions that may have been issued, the compacted revision, the directory of stores and ranges. This crate is its
//! state machine: [`record`] lays out the records, [`Sequencer`] issues revisions under the ceiling.
//!
//! The sequencer is the one thing every operation of the cluster passes (protocols §3). It is a counter in the memory
//! of the meta range's leader. Three rules make it safe:
//!
//! * It never issues above the *ceiling*, and the ceiling is raised by a replicated entry: so whoever leads next can
//!   start above everything that was ever issued, by reading one record.
//! * Every answer is [`Leased`](base::Leased) by whoever carries it out: a deposed leader's numbers go nowhere.
//! * A node's fetches are served strictly in the order of their sequence numbers, and a repeated fetch gets the reply
//!   it got before: a lost reply burns nothing and reorders nothing.
//!
//! ## What we left out
//!
//! Scheduling (splits, moves, balance), id allocation beyond bootstrap, cluster settings, auth and alarms: their
//! records will stand beside these.

#![forbid(unsafe_code)]

pub mod record;
pub mod sequencer;

pub use record::Meta;
pub use sequencer::{Fetch, Fetched, Sequencer, Served};

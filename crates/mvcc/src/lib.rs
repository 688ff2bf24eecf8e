//! # mvcc: what a range of keys means
//!
//! Floor 2, pure functions. etcd's put, scan, delete, transaction, compare, compaction and hash over many versions of
//! every key. Nothing here knows of Raft, nodes or clients.
//!
//! ## The idea
//!
//! A command is evaluated **once**, by the leader of its range, in the order of arrival; what is replicated is not the
//! request but its [`Effects`]: these keys become these records. Followers only write. So everything that decides is in
//! [`evaluate()`](evaluate()), and applying is total and cannot fail on anything but corrupt bytes.
//!
//! ```text
//!   request ──evaluate(engine ∪ overlay)──▶ effects, reply         revision: ?7
//!                 │                            │
//!                 └──── overlay.insert ◀───────┤
//!   sequencer: ?7 is 41 ─── overlay.number, effects.number, reply.fill ──▶ log entry, answer
//!   committed, applied ──── batch ◀── apply_commands;   overlay.remove(41), counts.note
//! ```
//!
//! ## Three kinds of state
//!
//! * The **engine** holds versions: `key ∥ ¬revision → record`, newest first, and never changes one.
//! * The [`Overlay`] holds what was evaluated and is not in the engine yet. A version is put there under a *pending*
//!   revision and takes its number later. Readers take a [`Captured`] part of it, then a view of the engine: in this
//!   order a version is in one of the two, or in both, which does no harm because versions are equal by revision.
//! * A [`Source`] is one of each: all reading goes through it, at a revision; [`NEWEST`] sees pending versions too.
//!
//! ## Pending revisions
//!
//! A command does not know its number while it is evaluated, and the one before it perhaps neither. That matters only
//! to whoever *looks* at a mod or create revision. Another command's pending number in a compare or filter:
//! [`Evaluated::BlockedOn`] it. The command's own number in a filter: the reply waits, in [`OpenReply`]. A sort: pending
//! numbers are the largest, in the order of evaluation, and stay so. A scan inside a transaction that names a revision:
//! [`Evaluated::NeedsBounds`], because only the sequencer knows what is future and what is compacted.
//!
//! ## Rules kept to the letter
//!
//! A put always makes a version, also with the same value; a delete of nothing leaves nothing; a delete mark ends a life
//! and the next put begins at version 1. A transaction first chooses all branches on the state before it, then checks
//! what could refuse, then runs; later operations see earlier ones; everything it writes has one revision, ordered by
//! `sub`. `count` ignores limit and filters.
//!
//! Reading order: `request`, `record`, `effects`, `overlay`, `source`, `evaluate`, then one file per verb: `put`,
//! `delete`, `scan`, `compare`, `txn`, `compaction`, `hash`; `count` and `heads` make exact counts
//! and puts cheap.
//!
//! ## What we left out
//!
//! Leases (a put that names one is refused as etcd refuses an unknown one), events for watches (effects hold all they
//! need), transactions over several ranges, and evaluation in chunks: a delete of a million keys is one evaluation.
//! Access rights are the gateway's; splitting a request over ranges is the router's, which finds `part_of` and
//! `merge_replies` here because only this crate knows what a scan means.

#![forbid(unsafe_code)]

mod compaction;
mod compare;
pub mod count;
mod delete;
pub mod effects;
pub mod evaluate;
mod hash;
pub mod heads;
pub mod overlay;
mod put;
pub mod record;
pub mod reply;
pub mod request;
mod scan;
pub mod source;
mod txn;
mod walk;

pub use compaction::{DeadMarks, dead_marks};
pub use count::{CountIndex, CountPlan, Learned};
pub use effects::{Commands, Effect, Effects, Tally, apply, apply_commands, decode_commands, encode_command};
pub use evaluate::{Bounds, Evaluated, evaluate, read_txn};
pub use hash::{hash_source, hash_span};
pub use heads::{Head, Heads};
pub use overlay::{Captured, Overlay};
pub use record::{Record, RecordRef};
pub use reply::OpenReply;
pub use request::*;
pub use scan::{merge_replies, part_of, read, read_counted};
pub use source::{Found, NEWEST, Pages, Source};
pub use walk::Direction;

#[cfg(test)]
mod tests;

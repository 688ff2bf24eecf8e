//! # raft: one group agrees
//!
//! Floor 1. A [`Group`] is one replica of one range's Raft group: the textbook's consensus (Ongaro's thesis: election with
//! PreVote, pipelined replication, joint consensus with learners, snapshots, leader transfer, numbered ReadIndex rounds,
//! asynchronous log writes), shaped for a node that holds very many of them.
//!
//! A group is pure. Whoever owns it calls a verb with a [`Ctx`] (a time that was read, perhaps a while ago, what other
//! stores support, the durable log, a seeded generator) and an [`Output`] into which the group puts what is to be done:
//! entries and a hard state to write, messages that may leave now, messages that must wait for that write, the commit
//! index, read rounds that are confirmed. Nothing happens by itself:
//!
//! * **An idle group costs nothing.** There are no ticks; a group that wants to be called later arms one deadline, and a
//!   fortified group with nothing to do arms none. It keeps no buffers.
//! * **Leases come from the stores.** A follower that accepts an append while its store supports the leader's is
//!   *fortified*: it neither campaigns nor votes for others. The leader's lease is the least of what a quorum of stores
//!   promised ([`Supports`], protocols §2).
//! * **The disk is slow and honest.** A leader's appends leave before its own write; its own copy counts, and any ack
//!   leaves, only after `written`, which is matched by term as well as index.
//!
//! One file per verb: `election`, `replicate`, `accept`, `commit`, `fortify`, `read`, `conf`, `transfer`, `snapshot`;
//! `log` keeps the cursors (`truncated ≤ applied ≤ commit ≤ last`, `written ≤ last`), `check` asserts the invariants.
//!
//! ## What we left out
//!
//! Reading from followers, witnesses, membership changes without a joint phase, and any queue of its own: what is not
//! sent now is asked for again.

#![forbid(unsafe_code)]

mod accept;
mod check;
mod commit;
pub mod conf;
mod election;
pub mod entry;
mod fortify;
pub mod group;
mod lead;
mod log;
mod member;
pub mod message;
pub mod output;
mod progress;
mod read;
mod replicate;
mod snapshot;
pub mod supports;
mod timer;
mod transfer;
pub mod types;

pub use conf::{Change, Conf, ConfChange, ConfStep, Member};
pub use entry::{Entry, HardState, LogBounds, LogRead, Payload};
pub use group::Group;
pub use message::{Append, AppendAck, AppendReject, Message, VoteAnswer, VoteRequest};
pub use output::{Became, Output, ReadRound, Role};
pub use supports::{Received, SupportEpoch, Supports};
pub use types::{Boot, Committed, ConfRefused, Config, Ctx, NotLeader, PeerState, Snapshot, TransferRefused};

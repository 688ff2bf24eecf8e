//! # raft: one group agrees
//!
//! Floor 1. Three or five replicas of a range agree on one log, through crashes, lost and late messages and changes of
//! membership. This crate decides; it neither writes, nor sends, nor reads a clock. A [`Group`] is one replica. Whoever
//! owns it calls a method (a message came, a write is durable, a deadline passed) and finds in an [`Output`], as plain
//! data, what to write, what to send now, what to send *after* the write, and what is committed.
//!
//! It is the textbook's Raft (Ongaro 2014): PreVote, joint consensus with learners, pipelined appends with bounded
//! windows, snapshots, leader transfer. Three things are our own, because a node carries a hundred thousand groups:
//!
//! * **An idle group costs nothing.** No timer, no heartbeat, no memory beyond a kilobyte. The node's stores support each
//!   other ([`Supports`]); a follower that is *fortified* by an append waits for no deadline of its own, and the
//!   leader's lease ([`Group::lease`]) is the support of a quorum. `fortify.rs` says why at most one replica holds it.
//! * **All groups share one write and one frame.** So nothing here assumes that its write is done soon: entries leave
//!   before the leader's own fsync, and votes and acknowledgements travel inside the write that they wait for.
//!   "Acknowledge before fsync" takes a bug planted on purpose.
//! * **Commit indexes travel in bulk**, as a vector beside the messages ([`Output::commits`]), each with the term of its
//!   entry.
//!
//! ## A tour
//!
//! One file per verb, both halves in it: `election.rs` (campaign, vote), `replicate.rs` (the leader sends),
//! `accept.rs` (the follower takes), `commit.rs`, `read.rs` (read rounds), `member.rs` (membership), `transfer.rs`,
//! `snapshot.rs`, `fortify.rs` (leases), `timer.rs` (deadlines and roles). `group.rs` holds the state and the doors,
//! `log.rs` the four cursors and their order, `check.rs` the invariants. `tests/scripts` shows every rule as a short
//! play; `tests/group/random.rs` walks at random through everything that can happen; `examples/explore` visits
//! *every* state of small worlds; `tests/group/differential.rs` compares with the `raft` crate;
//! `tests/group/museum.rs` says which of them finds which planted bug.
//!
//! ## What the owner promises
//!
//! 1. Outputs of one group are carried out in order, and each as [`Output`] says. `after_write` waits for all earlier
//!    writes of the group, also when its own output writes nothing.
//! 2. Committed entries are applied in order. At a [`Payload::Conf`] entry the owner computes [`Conf::apply`] (an `Err`
//!    means: no change), makes the result durable with the applied index, and calls [`Group::conf_applied`].
//! 3. A store that restarts raises its incarnation, and votes for nobody until its promises have run out
//!    ([`Supports::voting_allowed_from`]).
//! 4. [`Group::liveness_changed`] is called whenever support in either direction begins, ends, lapses or changes.
//! 5. A replica that was removed is destroyed only when the owner is sure: what [`Message::Removed`] says is a hint.
//!
//! ## What we left out
//!
//! Election priorities, witnesses, asymmetric quorums, and reads at followers: a follower's node asks the leader's.
//! Auto-leave of the joint state: the range above proposes it, because it counts epochs. Batching of proposals: what one
//! step proposes to a range is one entry already. Checksums: frames and records have theirs. A memory of followers'
//! promises across restarts: the store's gate stands for all of them. What a replica acknowledged to leaders that lead no more:
//! only the present leader says it back ([`Lost`]); the node above remembers how much the stores of others had written.

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
pub use output::{Became, Lost, Output, ReadRound, Role};
pub use replicate::Reach;
pub use supports::{Received, SupportEpoch, Supports};
pub use types::{Boot, Committed, ConfRefused, Config, Ctx, NotLeader, PeerState, Snapshot, TransferRefused};

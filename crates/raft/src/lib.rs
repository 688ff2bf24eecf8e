//! # raft: one group agrees

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

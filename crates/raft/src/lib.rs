//! # raft: one group agrees

pub mod conf;
pub mod entry;
pub mod group;
pub mod message;
pub mod output;
pub mod supports;
pub mod types;

pub use conf::{Change, Conf, ConfChange, ConfStep, Member};
pub use entry::{Entry, HardState, LogBounds, LogRead, Payload};
pub use group::Group;
pub use message::{Append, AppendAck, AppendReject, Message, VoteRequest};
pub use output::{Became, Output, ReadRound, Role};
pub use supports::{Received, SupportEpoch, Supports};
pub use types::{Boot, Committed, ConfRefused, Config, Ctx, NotLeader, PeerState, Snapshot, TransferRefused};

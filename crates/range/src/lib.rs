//! # range: one replicated range
//!
//! Floor 3. A [`Replica`] is one range's copy on one store: a consensus half (the Raft core's `Group`), a state half
//! (position, live keys, what is readable), and while it leads, what leading takes (queue, overlay, waiting reads).
//! One file per verb:
//!
//! | file | verb |
//! |---|---|
//! | `evaluate` | ④ evaluate, ⑤ number, ⑥ append: from the queue into one entry |
//! | `pace` | when the next entry leaves |
//! | `complete` | ⑩ commit → ⑪ the reply leaves; reads and unchanging commands settle |
//! | `apply` | ⑫ committed effects into the batch; what a durable batch means; cutting the log |
//! | `read` | a frozen view, a captured overlay, a lease or a quorum round |
//! | `close` | which revisions nothing can be written at any more |
//! | `meta` | range 1: the sequencer and compaction |
//! | `snapshot` | a replica that is too far behind |
//! | `transfer` | leadership is handed over in order |
//!
//! *Evaluate first, replicate effects.* The leader works out what a command changes, over the engine plus everything
//! evaluated before it, and replicates that. Followers only write. So a hot key pipelines without latches, the answer
//! is known before the proposal, and the reply leaves at commit.
//!
//! A replica never talks to anybody. Every call gets a [`Turn`]: what time it is said to be, the engine to read, what
//! other stores support; and puts everything it wants into the turn's [`Sink`]: letters that may leave now, letters
//! that wait for the disk, the batch, replies, and answers that rest on a lease, which only the shell may open.
//!
//! ## What we left out
//!
//! Locks and transactions over ranges, leases, feeds, splits, merges and changes of membership: each will be a file
//! beside these. A large delete is evaluated inline, on the step thread.

#![forbid(unsafe_code)]

mod apply;
pub mod ask;
mod close;
mod complete;
pub mod entry;
mod evaluate;
mod lately;
mod lead;
mod meta;
mod pace;
mod read;
mod replica;
pub mod sink;
pub mod snapshot;
pub mod state;
mod transfer;

pub use ask::{Answer, Command, Lesson, Origin, Outcome, Proof, READ_WEIGHT, ReadAsk, ReadTask, Spec, weight};
pub use close::End;
pub use lately::most_of_late;
pub use replica::{Replica, member, place};
pub use sink::{Asked, Counters, Letter, Limits, Ready, Receipt, Room, Sink, Turn};

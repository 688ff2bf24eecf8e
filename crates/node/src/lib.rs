//! # node: one step, one batch, one fsync, one frame per peer
//!
//! Floor 4. A [`Node`] is everything one process decides: all replicas on its store, store liveness, the fetches to
//! the sequencer, the calls of its clients, snapshots under way. It is one pure function with a memory:
//!
//! ```text
//! step(inputs, now) → effects
//! ```
//!
//! Inputs are frames of peers, calls of clients, completions of the disk, the reader pool and the lease gate. Effects
//! are plain data: frames that may leave now, one write task that carries what must wait for the disk, replies,
//! answers that rest on a lease (the shell reads its clock and opens them), reads for the pool. Nothing in here knows
//! a thread, a clock or a socket; `server` carries effects out in the real world and `sim` in a seeded one.
//!
//! The order inside a step is the order of the house: take everything in (numbers, acks, beats); let time pass; turn
//! numbered commands into one entry per range; evaluate what waits; fetch numbers for it; settle reads; apply what is
//! committed; then speak once.
//!
//! | file | what |
//! |---|---|
//! | `node` | the step itself, deadlines |
//! | `take` | each input |
//! | `calls` | clients' calls that need another node, or patience |
//! | `parts` | one call, several ranges, one X |
//! | `serial` | reads that may be answered from an older state |
//! | `revisions`, `closing`, `closed`, `closes` | what is issued, shown and closed: as leader, as receiver, as bytes |
//! | `upkeep` | bounds, following the sequencer, the orderly end |
//! | `marks` | delete marks that say nothing any more are removed |
//! | `numbers` | fetching revisions in order |
//! | `liveness` | support between stores |
//! | `deadlines` | when which replica wants a turn |
//! | `depth` | does this disk still hold what its peers remember? |
//! | `snapshots` | state for who is too far behind |
//! | `frame`, `wire` | the bytes between nodes |
//! | `emit`, `held` | frames and the write task; what waits for company |
//! | `boot` | founding a store, reading it back |
//!
//! ## What we left out
//!
//! Several step threads (one is enough until a core is full; the work is already cut by range), splits and moves,
//! feeds, leases, and closing a range on demand.

#![forbid(unsafe_code)]

pub mod boot;
mod builder;
mod calls;
mod closed;
pub mod closes;
mod closing;
mod deadlines;
mod depth;
pub mod effects;
mod emit;
pub mod frame;
mod held;
pub mod liveness;
mod marks;
mod node;
mod numbers;
mod parts;
mod revisions;
mod say;
mod serial;
mod snapshots;
pub mod status;
mod stop;
mod take;
#[cfg(test)]
mod tests;
mod upkeep;
mod wire;
mod writes;

pub use boot::{Founding, Identity};
pub use effects::{ClientAsk, Effects, Input, Outgoing, SnapshotWork, WriteTask};
pub use frame::Lane;
pub use node::{Config, Node};
pub use status::{RangeStatus, Status};

//! Runs a node: the loops that carry effects out and bring what happens back in. Nothing is decided here.
//!
//! ```text
//!  tokio (clients)      gateway ── Call ──▶ inbox ──▶ step thread ── frames ──▶ tokio (peers)
//!        ▲                                    ▲           │ write task
//!        │ replies, reads                     │           ▼
//!    reader pool ◀── reads ───────────────────┼───── writer thread: one batch, one fsync; then what waited for it
//!                                             └─ Written ─┘
//! ```
//!
//! On a machine with few cores the step thread carries the peers' frames, too (docs/decisions/0009).

mod backend;
mod clock;
mod fatal;
mod files;
mod found;
mod news;
mod peers;
mod picture;
mod policy;
mod queue;
mod read;
mod report;
mod slots;
mod start;
mod step;
mod write;

pub use start::run;

use node::Input;
use rocks::Rocks;

/// What the engine of the real world is called here.
pub(crate) type View = <Rocks as engine::Engine>::View;
/// Where everything that happens goes.
pub(crate) type Inbox = queue::Sender<Input<View>>;

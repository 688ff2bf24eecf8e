//! # base: the words every crate shares
//!
//! Floor 0. Identifiers, keys and spans, revisions, the stations of a Put, limits, the seeded generator, time as a
//! number, varints, and the one prescriptive error kind. Nothing here decides anything; everything here is plain
//! data that can be compared, printed on one line and replayed.
//!
//! Three habits begin here and hold for every floor above:
//!
//! * **Time is handed in.** [`Tick`] is a number of nanoseconds on *this node's* boot-time clock. No crate on floors
//!   0 to 4 reads a clock; whoever calls a step function says what time it is, and may be late.
//! * **Randomness is handed in.** [`Rng`] is a small seeded generator; two runs from one seed are equal to the byte.
//! * **Errors prescribe.** [`Kind`] says what the caller should do next, not where in the code it happened.
//!
//! A key inside Flotilla carries a one-byte tag that says whose it is (see [`key`]): the key space of users and the
//! records of the system live side by side without a special case in any comparison.
//!
//! ## What we left out
//!
//! No logging, no metrics, no async, no traits for storage (`engine`) or consensus (`raft`). No "util" module: a
//! function that fits nowhere belongs to the crate that needs it.

#![forbid(unsafe_code)]

pub mod codec;
pub mod descriptor;
pub mod error;
pub mod ids;
pub mod key;
pub mod limits;
pub mod marker;
pub mod museum;
pub mod revision;
pub mod rng;
pub mod stage;
pub mod tick;

pub use descriptor::{Descriptor, Place};
pub use error::{Error, Kind, Refusal, Result};
pub use ids::{BootId, CallId, ClusterId, Epoch, Incarnation, Index, RangeId, ReplicaId, StoreId, Term};
pub use key::{Key, Span};
pub use revision::{Issued, Revision};
pub use rng::Rng;
pub use stage::Stage;
pub use tick::{Leased, Tick};

//! # transport: carries frames between nodes
//!
//! Floor 5. A frame is everything one node has to say to one peer after one step; its layout belongs to the crate
//! `node`, and here it is opaque bytes. This crate takes frames from the step threads, which must never wait, brings
//! them to the peer in order, and hands in what arrives. It decides nothing: whether a peer may talk to us at all is
//! asked of a closure, and whether a silent peer is dead is none of its business.
//!
//! ```text
//!              n1                                                  n2
//!   step ── send ──► outbox ─┐  control   own TCP connection   ┌─► Event::Frame
//!   step ── send ──► outbox ─┼─ append    own TCP connection  ─┼─► Event::Frame
//!   step ── send ──► outbox ─┘  snapshot  own TCP connection   └─► Event::Frame
//!                            ◄── hello, pong, refusal ────────
//!                    (and the same again, dialled by n2, for what n2 has to say)
//! ```
//!
//! **A session** is the three streams (one per [`Lane`]) that one node has opened to one peer. They live and die
//! together: when one of them ends, all are closed, [`Event::Disconnected`] is told, and the peer is dialled again
//! after a short, jittered pause. So between [`Event::Connected`] and [`Event::Disconnected`] every frame that
//! [`Peers::send`] took arrives in order within its lane, unless the [`PeerStats`] say that it was dropped for lack of
//! room. Outside a session frames are dropped at once: whoever sent them is told so by the answer of `send`, and Raft
//! sends again.
//!
//! **Hello** ([`Hello`]): the first message on each stream, answered by the other side's. Both sides check it with the
//! same rules (another cluster, other settings fixed at bootstrap, an older incarnation of a process that already
//! restarted) and then ask `admit`. A refusal is one line for people; both sides hear it as [`Event::Refused`]. A
//! connection that was accepted and turns out to be stale never delivers a frame after a newer one has.
//!
//! **Natural batching**: there is no timer. While a message is on its way into the socket, frames collect in the
//! outbox, and the next message carries all of them, up to a bound. An idle pair of nodes costs a ping a second.
//!
//! **Bounded**: each outbox holds a bounded number of bytes. Control forgets its oldest frame when it overflows (a
//! newer beat is worth more); append and snapshot refuse the newest (a prefix is worth more than a tail with a hole).
//!
//! **gRPC by hand**: what is on the wire is `rpc Exchange` of proto/flotilla/peer.proto, and any gRPC client can speak it.
//! A connection is one task that moves messages between an outbox or the step thread and `h2`; tonic's layers cost more
//! than the frames (docs/decisions/0014).
//!
//! **Its own runtime**: so that no amount of client load can starve the peers. With threads of its own events are told on
//! these, and a closure that blocks is back pressure on every peer. Without any ([`Peers::drive`]) the step thread
//! carries the frames between its steps: fewer wake-ups, which on a small machine are dearer than the frames.
//!
//! What the step thread pays for `send` is one lock and, if the stream was idle and has a thread of its own, one wake-up.
//!
//! ## What we left out
//!
//! Checksums, compression and the meaning of a frame (`node`). TLS: an `https` address is refused, never served in
//! plain text. Several append streams per pair: one connection is one thread's work, and one thread was enough so far.
//! Zero-copy sending: frames are copied once into their message; the copy is small beside the system call. A frame
//! received is a slice of what was read from the socket with it and keeps that alive, so whoever keeps a small part for
//! long must copy it.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod accept;
mod dial;
mod event;
mod hello;
mod message;
mod outbox;
mod peer;
mod peers;
mod stats;
mod stream;

pub use event::{Event, Lane, Side};
pub use hello::Hello;
pub use peers::{Admit, Config, Peers, Sender};
pub use stats::{PeerStats, ROUND_TRIP_BOUNDS, RoundTrips};

//! # grpc: gRPC's framing over HTTP/2, by hand
//!
//! Floor 1. Both doors of a node speak gRPC, the one for clients (`gateway`) and the one for peers (`transport`), and
//! both handle so many small messages that tonic's server would cost more than the messages (docs/decisions 0003 and
//! 0014). What they have in common is here, over the crate `h2`; statuses are tonic's.
//!
//! ```text
//! listen      accepts connections until told to close, and waits for the last of them
//! connection  one HTTP/2 connection is one task, and every call of it a future inside
//! keepalive   is a silent peer still there?
//! message     the frame of a message; a stream of messages; an answer that refuses
//! ```
//!
//! ## What we left out
//!
//! Compression: a compressed message is refused in gRPC's words. TLS. Deadlines and the meaning of a message are its
//! callers' business.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod connection;
mod keepalive;
mod listen;
mod message;

pub use connection::serve;
pub use keepalive::Keepalive;
pub use listen::accept;
pub use message::{GRPC, Messages, PREFIX, answers, begin, length, refuse, response, trailers};

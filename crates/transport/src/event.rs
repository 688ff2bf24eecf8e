//! What the outside sees: lanes and events.

use crate::Hello;
use base::StoreId;
use bytes::Bytes;
use std::fmt;

/// One of the three streams from one node to another. Order holds within a lane, not between lanes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Beats, votes, transfers: small, and never behind anything large.
    Control,
    /// Appends, acks, forwarded commands.
    Append,
    /// Chunks of snapshots.
    Snapshot,
}

impl Lane {
    /// Every lane, in the order of their numbers on the wire.
    pub const ALL: [Lane; 3] = [Lane::Control, Lane::Append, Lane::Snapshot];

    /// 0, 1, 2: its place in arrays and its number on the wire.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Lane::Control => 0,
            Lane::Append => 1,
            Lane::Snapshot => 2,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lane::Control => "control",
            Lane::Append => "append",
            Lane::Snapshot => "snapshot",
        })
    }
}

/// One of the two ends of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// This node.
    Us,
    /// The peer.
    Them,
}

/// What happened between this node and a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Frames sent to this peer from now on travel: all lanes are open and both sides admitted each other. Alternates
    /// strictly with `Disconnected`. What the *peer* sends travels on its own streams and may arrive before or after.
    Connected {
        /// Who.
        peer: StoreId,
        /// What it said about itself.
        hello: Hello,
    },
    /// The session is over: what was not received by now is lost.
    Disconnected {
        /// Who.
        peer: StoreId,
    },
    /// A frame arrived. In order within its lane.
    Frame {
        /// From whom.
        peer: StoreId,
        /// On which lane.
        lane: Lane,
        /// The very bytes that were sent; never empty of meaning to us, never looked at.
        bytes: Bytes,
    },
    /// One side will not talk to the other, or heard something that made no sense. Told once per reason, and again
    /// only after that peer was admitted in between.
    Refused {
        /// The peer (as it called itself, if it was the one refused).
        peer: StoreId,
        /// Who refused.
        by: Side,
        /// Why, one line for people.
        text: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Connected { peer, hello } => write!(f, "{peer} connected: {hello}"),
            Event::Disconnected { peer } => write!(f, "{peer} disconnected"),
            Event::Frame { peer, lane, bytes } => write!(f, "{peer} → {lane} frame of {} bytes", bytes.len()),
            Event::Refused { peer, by: Side::Us, text } => write!(f, "refused {peer}: {text}"),
            Event::Refused { peer, by: Side::Them, text } => write!(f, "refused by {peer}: {text}"),
        }
    }
}

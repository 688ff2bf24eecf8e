//! The one error of floors 0 to 4: it says what to do next, then what happened.

use crate::{RangeId, StoreId};
use std::fmt;

/// What the caller should do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing was handed to Raft: try again here, soon.
    Retry,
    /// Nothing was handed to Raft: that store leads the range (if known), ask there.
    Elsewhere { range: RangeId, leader: Option<StoreId> },
    /// May or may not have happened: only the client can decide what to do (`Unavailable`).
    Unknown,
    /// The request is at fault; the text is etcd's.
    Refused(Refusal),
    /// Bytes that were read are not what was written: the store stops.
    Corrupt,
    /// The node is going down.
    Closing,
    /// Not built yet; names the feature.
    Unimplemented,
    /// The disk refuses writes (full, read-only, failed fsync).
    Disk,
}

/// Requests that are wrong in themselves or at this revision. The gateway maps each to etcd's code and text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Refusal {
    EmptyKey,
    KeyNotFound,
    ValueProvided,
    LeaseProvided,
    LeaseNotFound,
    TooManyOps,
    DuplicateKey,
    InvalidSortOption,
    RequestTooLarge,
    Compacted,
    FutureRevision,
    NoSpace,
    TooManyRequests,
    Timeout,
}

/// An error with its prescription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    /// What to do next.
    pub kind: Kind,
    /// What happened and why, one line, for people.
    pub text: String,
}

/// The result of everything below the gateway.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of this kind with a text for people.
    pub fn new(kind: Kind, text: impl Into<String>) -> Error {
        Error { kind, text: text.into() }
    }
    /// The request is at fault.
    pub fn refused(r: Refusal) -> Error {
        Error::new(Kind::Refused(r), String::new())
    }
    /// Bytes on disk or wire that do not say what they should.
    pub fn corrupt(text: impl Into<String>) -> Error {
        Error::new(Kind::Corrupt, text)
    }
    /// Was it certainly never handed to Raft, so that it may be sent again?
    pub fn is_safe_to_retry(&self) -> bool {
        matches!(self.kind, Kind::Retry | Kind::Elsewhere { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() { write!(f, "{:?}", self.kind) } else { write!(f, "{:?}: {}", self.kind, self.text) }
    }
}
impl std::error::Error for Error {}

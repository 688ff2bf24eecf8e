//! # router: which range, and which node
//!
//! Floor 3. The [`Directory`] knows every range's span and where its leader was last seen. [`Directory::plan`] looks
//! at a request's keys and says where it must go: to one range, to several at one revision (a scan), or nowhere yet
//! (a write over several ranges). [`merge`] puts the parts of a scan together again.
//!
//! A route is a hint: the range itself checks its span and its leadership, and answers with a better hint. Nothing
//! here is authoritative.
//!
//! ## What we left out
//!
//! Coordinating transactions over ranges, merging watches, and following splits: the directory is fixed at bootstrap.

#![forbid(unsafe_code)]

mod directory;

pub use directory::{Directory, Plan, Route};

use base::Result;
use mvcc::{RangeReply, RangeReq};

/// Puts the parts of one scan together, in the order of their spans.
pub fn merge(parts: Vec<RangeReply>, request: &RangeReq) -> Result<RangeReply> {
    Ok(mvcc::merge_replies(parts, request))
}

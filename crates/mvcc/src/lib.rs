//! # mvcc: what a range of keys means
//!
//! Floor 2, pure functions.
//!
//! ## What we left out

#![forbid(unsafe_code)]

pub mod request;

pub use request::*;

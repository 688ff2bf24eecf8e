//! # harness: real processes

//! What tests a whole group: golden scripts, random walks, the `raft` crate as an oracle, an allocator that counts; and
//! the museum, which shows that they would notice.
//!
//! `SEED=n` replays one walk or one play against the oracle, line by line; `WALKS=n` takes so many walks, `PLAYS=n` so
//! many plays; `UPDATE=1` writes what scripts say now: read the difference.

mod differential;
mod looks;
mod memory;
mod museum;
mod outside;
mod random;
mod scripts;
#[path = "../world/mod.rs"]
mod world;

//! # benches: what each station of a Put costs
//!
//! One criterion benchmark per crate, in `benches/`: `cargo bench -p flotilla-benches --bench mvcc`. Those over RocksDB
//! need `--features rocks`; the others compile no C++. They measure parts; whole clusters are measured by
//! `flotilla bench`, and against a real etcd by `benches/compare`.
//!
//! ## What we left out
//!
//! Numbers: they rot. Each benchmark prints its own.

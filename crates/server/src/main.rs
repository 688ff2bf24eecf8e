//! `flotilla`, also under the name `etcd`.

#![forbid(unsafe_code)]

/// One heap for Rust and RocksDB.
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    server::cli::run()
}

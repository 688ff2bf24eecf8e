//! `cargo run --release -p flotilla-compare`: a server that stores nothing as a yardstick, three nodes of Debian's etcd and
//! three of Flotilla on this machine, under the same load from the same generator; then the ratios.
//!
//! All systems run, one of them is under load: they take turns, so that a machine that is slow for half a minute is slow
//! for all of them.
//!
//! This program is also the Flotilla that is measured: it runs itself with `start`, through the same function as the
//! `flotilla` binary and on the same heap, so that what is measured is never older than what measures.

#![forbid(unsafe_code)]

mod cells;
mod cpu;
mod nothing;
mod system;
mod table;

use cells::Cell;
use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;
use system::{Kind, System};

/// One heap for Rust and RocksDB, as in the `flotilla` binary.
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Compare Flotilla with etcd, three nodes each, under the same load
#[derive(Parser, Debug)]
#[command(name = "flotilla-compare")]
pub struct Options {
    /// Measure one system only
    #[arg(long, value_enum)]
    only: Option<Kind>,
    /// Seconds of each cell and turn
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Turns of each system in each cell; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Seconds before a turn that are not counted
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Nodes of each system
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Keys written before the measurements
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Cells to measure, such as put-64,get-1; mixed-64 and txn-64 only if named [default: all others]
    #[arg(long, value_delimiter = ',')]
    cells: Vec<String>,
    /// Prefixes of keys, comma separated; the keys are spread over them
    #[arg(long, default_value = "bench/", value_delimiter = ',')]
    prefix: Vec<String>,
    /// Flotilla's ranges are split at these keys
    #[arg(long, default_value = "")]
    initial_split_keys: String,
    /// Measure this `flotilla` instead of the one that is built in
    #[arg(long)]
    flotilla: Option<std::path::PathBuf>,
    /// Print every cell as a line of JSON too
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("start") {
        return server::cli::run();
    }
    if std::env::args().nth(1).as_deref() == Some(nothing::COMMAND) {
        return nothing::run(std::env::args().nth(2).as_deref());
    }
    let options = Options::parse();
    match compare(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("flotilla-compare: {e}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), String> {
    let cells = Cell::chosen(&options.cells)?;
    let kinds = options.only.map_or(vec![Kind::Nothing, Kind::Etcd, Kind::Flotilla], |kind| vec![kind]);
    system::stop_on_signals()?;
    let mut systems = Vec::new();
    for kind in kinds {
        let system = System::start(kind, options)?;
        println!("{}: on {}", system.version, system.endpoints.join(", "));
        let fill = cells::fill(&system, options)?;
        println!("  {} keys written in {:.1} s", options.keys, fill.as_secs_f64());
        systems.push((table::Column { kind, version: system.version.clone(), measured: Vec::new() }, system));
    }
    // Let the disk finish what this left.
    std::thread::sleep(Duration::from_secs(2));
    for cell in cells {
        measure(&mut systems, cell, options)?;
    }
    let (columns, systems): (Vec<_>, Vec<_>) = systems.into_iter().unzip();
    systems.into_iter().for_each(System::stop);
    print!("\n{}", table::render(&columns, options));
    if options.json {
        columns.iter().for_each(|column| print!("{}", table::json(column)));
    }
    Ok(())
}

/// One cell, all systems in turn.
fn measure(systems: &mut [(table::Column, System)], cell: Cell, options: &Options) -> Result<(), String> {
    println!();
    let mut turns = vec![Vec::new(); systems.len()];
    for _ in 0..options.rounds {
        for ((column, system), turns) in systems.iter_mut().zip(&mut turns) {
            if column.kind == Kind::Nothing && !cell.needs_nothing() {
                continue;
            }
            let outcome =
                cells::measure(system, cell, options).map_err(|e| format!("{}: {cell}: {e}", column.version))?;
            println!("  {:<8}  {outcome}", column.kind.to_string());
            system.check_alive()?;
            turns.push(outcome);
        }
    }
    for ((column, _), turns) in systems.iter_mut().zip(&turns) {
        column.measured.extend(cells::Measured::median(turns));
    }
    Ok(())
}

//! The result: one line a cell, both systems beside each other.

use crate::Options;
use crate::cells::Measured;
use crate::nothing::REFERENCE;
use crate::system::Kind;
use std::fmt::Write;

/// All cells of one system.
pub struct Column {
    /// Which system.
    pub kind: Kind,
    /// Its version.
    pub version: String,
    /// Its cells, in the order of measurement.
    pub measured: Vec<Measured>,
}

/// The table for people.
pub fn render(columns: &[Column], options: &Options) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (nothing, columns): (Vec<&Column>, Vec<&Column>) = columns.iter().partition(|c| c.kind == Kind::Nothing);
    let names: Vec<&str> = columns.iter().map(|c| c.version.as_str()).collect();
    let mut out = format!(
        "{}: {} nodes each and the load generator on {cores} cores, 256-byte values, {} keys, scans of 100, median of {} turns of {} s\n\n",
        names.join(" and "),
        options.nodes,
        options.keys,
        options.rounds,
        options.seconds,
    );
    let [first, second] = columns[..] else {
        out.extend(nothing.iter().chain(&columns).flat_map(|c| &c.measured).map(|m| format!("{m}\n")));
        return out;
    };
    let _ = writeln!(
        out,
        "{:<8} | {:>31} | {:>19} | {:>19} | {:>24}\n{:<8} | {:>9} {:>11} {:>9} | {:>9} {:>9} | {:>9} {:>9} | {:>7} {:>8} {:>7}",
        "",
        "operations per second",
        "p50 ms",
        "p99 ms",
        "server CPU µs/op",
        "cell",
        "etcd",
        "flotilla",
        "ratio",
        "etcd",
        "flotilla",
        "etcd",
        "flotilla",
        "etcd",
        "flotilla",
        "ratio"
    );
    for (a, b) in first.measured.iter().zip(&second.measured) {
        let (rate, cpu) = (b.rate / a.rate, b.server_cpu / a.server_cpu);
        let _ = writeln!(
            out,
            "{:<8} | {:>9.0} {:>11.0} {rate:>8.2}x | {:>9.3} {:>9.3} | {:>9.3} {:>9.3} | {:>7.1} {:>8.1} {cpu:>6.2}x",
            a.cell.to_string(),
            a.rate,
            b.rate,
            a.p50,
            b.p50,
            a.p99,
            b.p99,
            a.server_cpu,
            b.server_cpu
        );
    }
    let errors: u64 = columns.iter().flat_map(|c| &c.measured).map(|m| m.errors).sum();
    let _ = writeln!(out, "\n{errors} errors");
    nothing.iter().for_each(|n| out.push_str(&yardstick(n, second)));
    out
}

/// What the same cells cost a server that stores nothing, and what ours would have cost where that took as long as where
/// the budgets were set.
fn yardstick(nothing: &Column, ours: &Column) -> String {
    let mut out = format!("\n{}, beside flotilla, server CPU µs/op:\n", nothing.version);
    for m in nothing.measured.iter().filter(|m| m.cell.is_crowded()) {
        let Some(own) = ours.measured.iter().find(|o| o.cell == m.cell) else { continue };
        let scaled = own.server_cpu * REFERENCE / m.server_cpu;
        let cell = m.cell.to_string();
        let _ = writeln!(
            out,
            "{cell:<8} | {:>6.1} and {:>6.1}; where such a server takes {REFERENCE} that is {scaled:.1}",
            m.server_cpu, own.server_cpu
        );
    }
    out
}

/// One line of JSON for each cell.
pub fn json(column: &Column) -> String {
    let system = column.kind.to_string();
    let line = |m: &Measured| {
        let value = serde_json::json!({
            "system": system, "version": column.version, "cell": m.cell.to_string(), "ops_per_second": m.rate,
            "p50_ms": m.p50, "p99_ms": m.p99, "server_cpu_us": m.server_cpu, "client_cpu_us": m.client_cpu,
            "errors": m.errors,
        });
        format!("{value}\n")
    };
    column.measured.iter().map(line).collect()
}

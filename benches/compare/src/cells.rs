//! What is measured: one verb with one number of clients is a cell.

use crate::{Options, cpu, system::System};
use server::bench::load::{Keys, Load, Verb};
use server::bench::run::{Plan, Stop, run};
use std::fmt;
use std::time::Duration;

/// One verb with one number of clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    verb: Verb,
    clients: usize,
}

/// In the order of measurement: reads first, over the keys as they were written.
const ALL: [Cell; 6] = [
    Cell { verb: Verb::Get, clients: 1 },
    Cell { verb: Verb::Get, clients: 64 },
    Cell { verb: Verb::Scan, clients: 1 },
    Cell { verb: Verb::Scan, clients: 64 },
    Cell { verb: Verb::Put, clients: 1 },
    Cell { verb: Verb::Put, clients: 64 },
];
/// Measured only if they are named.
const MORE: [Cell; 2] = [Cell { verb: Verb::Mixed, clients: 64 }, Cell { verb: Verb::Txn, clients: 64 }];

/// Connections of 64 clients.
const CONNECTIONS: usize = 8;
/// Bytes of a value.
pub const VALUE: usize = 256;
/// Keys of one scan.
const LIMIT: i64 = 100;

impl Cell {
    /// Many clients at once: batches are full and CPU per operation means something.
    pub fn is_crowded(self) -> bool {
        self.clients > 1
    }

    /// Can a server that stores nothing answer this?
    pub fn needs_nothing(self) -> bool {
        matches!(self.verb, Verb::Put | Verb::Get)
    }

    /// The cells with these names, or all.
    pub fn chosen(names: &[String]) -> Result<Vec<Cell>, String> {
        if names.is_empty() {
            return Ok(ALL.to_vec());
        }
        let all = || ALL.into_iter().chain(MORE);
        let known = || all().map(|cell| cell.to_string()).collect::<Vec<_>>().join(", ");
        let find = |name: &String| all().find(|cell| cell.to_string() == *name);
        names.iter().map(|name| find(name).ok_or_else(|| format!("no cell {name}; there are {}", known()))).collect()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", format!("{:?}", self.verb).to_lowercase(), self.clients)
    }
}

/// What one cell brought, in one turn or as the median of several.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    /// Which cell.
    pub cell: Cell,
    /// Operations per second.
    pub rate: f64,
    /// Median latency in milliseconds.
    pub p50: f64,
    /// The latency that one in a hundred exceeded, in milliseconds.
    pub p99: f64,
    /// CPU of all servers, in microseconds for each operation.
    pub server_cpu: f64,
    /// CPU of the load generator, in microseconds for each operation.
    pub client_cpu: f64,
    /// Operations that failed.
    pub errors: u64,
}

impl Measured {
    /// The median of every figure; errors are added up. Nothing of no turns.
    pub fn median(turns: &[Measured]) -> Option<Measured> {
        let of = |figure: fn(&Measured) -> f64| {
            let mut all: Vec<f64> = turns.iter().map(figure).collect();
            all.sort_by(f64::total_cmp);
            (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
        };
        let first = turns.first()?;
        Some(Measured {
            cell: first.cell,
            rate: of(|m| m.rate),
            p50: of(|m| m.p50),
            p99: of(|m| m.p99),
            server_cpu: of(|m| m.server_cpu),
            client_cpu: of(|m| m.client_cpu),
            errors: turns.iter().map(|m| m.errors).sum(),
        })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cell, rate, p50, p99) = (self.cell.to_string(), self.rate, self.p50, self.p99);
        let (server, client, errors) = (self.server_cpu, self.client_cpu, self.errors);
        write!(
            f,
            "{cell:<8} {rate:>9.0} ops/s  p50 {p50:>8.3} ms  p99 {p99:>8.3} ms  server {server:>7.1} µs/op  \
             client {client:>5.1} µs/op  {errors} errors"
        )
    }
}

fn plan(system: &System, cell: Cell, options: &Options) -> Plan {
    let keys = Keys { prefixes: options.prefix.clone(), size: 8, space: options.keys, sequential: false };
    let load =
        Load { verb: cell.verb, keys, value: Load::value(VALUE), limit: LIMIT, serializable: false, read_percent: 50 };
    Plan {
        endpoints: system.endpoints.clone(),
        conns: CONNECTIONS.min(cell.clients),
        clients: cell.clients,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        stop: Stop::After(Duration::from_secs_f64(options.seconds)),
        warmup: Duration::from_secs_f64(options.warmup),
        prefill: false,
        load,
    }
}

/// Write all keys; how long it took.
pub fn fill(system: &System, options: &Options) -> Result<Duration, String> {
    let put = Cell { verb: Verb::Put, clients: 8 };
    let plan = Plan { prefill: true, stop: Stop::Total(8), warmup: Duration::ZERO, ..plan(system, put, options) };
    let began = std::time::Instant::now();
    run(&plan, |_, _| {}).map_err(|e| format!("{}: {e}", system.version))?;
    Ok(began.elapsed())
}

/// Measure one cell.
pub fn measure(system: &System, cell: Cell, options: &Options) -> Result<Measured, String> {
    let plan = plan(system, cell, options);
    let before = (cpu::of_all(&system.pids())?, cpu::own()?);
    let outcome = run(&plan, |_, _| {})?;
    let after = (cpu::of_all(&system.pids())?, cpu::own()?);
    let tally = &outcome.tally;
    if tally.done() == 0 {
        return Err(format!("no operation succeeded: {}", tally.first_error.as_deref().unwrap_or("no answer")));
    }
    let per_op = |cpu: Duration| cpu.as_secs_f64() * 1e6 / outcome.done_with_warmup as f64;
    Ok(Measured {
        cell,
        rate: server::bench::rate(&outcome),
        p50: tally.quantile_ms(0.5),
        p99: tally.quantile_ms(0.99),
        server_cpu: per_op(after.0.saturating_sub(before.0)),
        client_cpu: per_op(after.1.saturating_sub(before.1)),
        errors: tally.errors,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_turn_does_not_count() {
        let turn = |rate: f64| Measured {
            cell: ALL[0],
            rate,
            p50: 1.0 / rate,
            p99: 2.0 / rate,
            server_cpu: 3.0 / rate,
            client_cpu: 4.0 / rate,
            errors: 1,
        };
        assert_eq!(Measured::median(&[]), None);
        assert_eq!(Measured::median(&[turn(8.0)]), Some(turn(8.0)));
        assert_eq!(Measured::median(&[turn(8.0), turn(1.0), turn(16.0)]), Some(Measured { errors: 3, ..turn(8.0) }));
        assert_eq!(Measured::median(&[turn(8.0), turn(16.0)]).map(|m| (m.rate, m.errors)), Some((12.0, 2)));
    }
}

//! `flotilla bench`: the load generator, for any etcd endpoint.
//!
//! A closed loop: each client waits for its answer before it asks again. [`line`] is one connection, [`load`] what is
//! asked, [`tally`] what is counted, [`run`] the threads. `benches/compare` drives the same code.

#[cfg(test)]
mod fake;
pub mod line;
pub mod load;
pub mod run;
pub mod tally;

use crate::config::Complaint;
use clap::Parser;
use load::{Keys, Load, Verb};
use run::{Outcome, Plan, Stop};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use tally::Tally;

/// Put load on any etcd endpoint and print what it bore
#[derive(Parser, Clone, Debug)]
#[command(name = "flotilla bench", no_binary_name = true)]
pub struct Bench {
    /// What one operation is
    #[arg(value_enum)]
    verb: Verb,
    /// Addresses, comma separated
    #[arg(long, default_value = "127.0.0.1:2379", value_delimiter = ',', env = "ETCDCTL_ENDPOINTS")]
    endpoints: Vec<String>,
    /// Connections
    #[arg(long, default_value_t = 8, value_parser = counted())]
    conns: u64,
    /// Clients, each waiting for its answer before it asks again
    #[arg(long, default_value_t = 64, value_parser = counted())]
    clients: u64,
    /// Threads of the generator [default: one per core, at most one per connection]
    #[arg(long)]
    threads: Option<usize>,
    /// End after this many operations
    #[arg(long, conflicts_with = "seconds", value_parser = counted())]
    total: Option<u64>,
    /// End after this long [default: 10]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds at the beginning that are not counted
    #[arg(long, default_value_t = 0.0)]
    warmup: f64,
    /// Bytes of a key after its prefix
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1024))]
    key_size: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    val_size: usize,
    /// Different keys
    #[arg(long, default_value_t = 100_000, value_parser = counted())]
    key_space_size: u64,
    /// Take keys one after the other instead of at random
    #[arg(long)]
    sequential_keys: bool,
    /// Prefixes of keys, comma separated; the keys are spread over them
    #[arg(long, default_value = "bench/", value_delimiter = ',')]
    prefix: Vec<String>,
    /// Keys of one scan
    #[arg(long, default_value_t = 100)]
    limit: i64,
    /// Read the answering node's own state, which may be old
    #[arg(long)]
    serializable: bool,
    /// Reads among a hundred operations of `mixed`
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u64).range(0..=100))]
    read_percent: u64,
    /// Write every key before the run
    #[arg(long)]
    prefill: bool,
    /// Print the result as one JSON object, and the progress on standard error
    #[arg(long)]
    json: bool,
}

fn counted() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

/// Run `flotilla bench` with these arguments.
pub fn run(words: &[String]) -> Result<ExitCode, Complaint> {
    let bench = match Bench::try_parse_from(words) {
        Ok(bench) => bench,
        Err(e) => {
            let _ = e.print();
            return Ok(ExitCode::from(e.exit_code() as u8));
        }
    };
    let plan = bench.plan()?;
    let say = |line: &str| {
        let _ = if bench.json {
            writeln!(std::io::stderr().lock(), "{line}")
        } else {
            writeln!(std::io::stdout().lock(), "{line}")
        };
    };
    let mut last = std::time::Instant::now();
    let outcome = run::run(&plan, |number, tally| {
        if number == 1 {
            say(&progress_head());
        }
        say(&progress_line(number, last.elapsed(), tally));
        last = std::time::Instant::now();
    });
    let outcome = outcome.map_err(|e| Complaint::new(format!("{e}; is a server there? see --endpoints")))?;
    let text = if bench.json { format!("{}\n", json(&plan, &outcome)) } else { table(&plan, &outcome) };
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(if outcome.tally.done() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Bench {
    fn plan(&self) -> Result<Plan, Complaint> {
        let endpoints = self.endpoints.iter().map(|e| endpoint(e)).collect::<Result<Vec<_>, _>>()?;
        let seconds = |s: f64| {
            Duration::try_from_secs_f64(s).map_err(|_| Complaint::new(format!("{s} is not a number of seconds")))
        };
        let stop = match self.total {
            Some(total) => Stop::Total(total),
            None => Stop::After(seconds(self.seconds.unwrap_or(10.0))?),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let keys = Keys {
            prefixes: self.prefix.clone(),
            size: self.key_size as usize,
            space: self.key_space_size,
            sequential: self.sequential_keys,
        };
        let load = Load {
            verb: self.verb,
            keys,
            value: Load::value(self.val_size),
            limit: self.limit,
            serializable: self.serializable,
            read_percent: self.read_percent,
        };
        Ok(Plan {
            endpoints,
            conns: (self.conns as usize).min(self.clients as usize),
            clients: self.clients as usize,
            threads: self.threads.unwrap_or(cores),
            stop,
            warmup: seconds(self.warmup)?,
            prefill: self.prefill,
            load,
        })
    }
}

/// `host:port` of an endpoint, with or without `http://`.
fn endpoint(text: &str) -> Result<String, Complaint> {
    if text.starts_with("https://") {
        return Err(Complaint::new(format!("--endpoints {text}: TLS is not built yet; use http")));
    }
    let bare = text.trim().trim_start_matches("http://").trim_end_matches('/');
    match bare.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(bare.to_string()),
        _ => Err(Complaint::new(format!("--endpoints: `{text}` should be host:port"))),
    }
}

fn progress_head() -> String {
    format!(
        "{:>5} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "s", "ops/s", "errors", "p50 ms", "p95 ms", "p99 ms", "max ms"
    )
}

fn progress_line(number: u64, took: Duration, tally: &Tally) -> String {
    let rate = tally.done() as f64 / took.as_secs_f64().max(0.001);
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|part| tally.quantile_ms(part));
    format!("{number:>5} {rate:>10.0} {:>8} {p50:>9.3} {p95:>9.3} {p99:>9.3} {:>9.3}", tally.errors, tally.max_ms())
}

/// Operations per second of an outcome.
pub fn rate(outcome: &Outcome) -> f64 {
    outcome.tally.done() as f64 / outcome.elapsed.as_secs_f64().max(1e-9)
}

fn table(plan: &Plan, outcome: &Outcome) -> String {
    let tally = &outcome.tally;
    let mut text = format!(
        "\n{:?}: {} operations in {:.2} s by {} clients over {} connections\n\n",
        plan.load.verb,
        tally.done(),
        outcome.elapsed.as_secs_f64(),
        plan.clients,
        plan.conns
    );
    let row = |name: &str, value: String| format!("  {name:<8} {value:>12}\n");
    text.push_str(&row("ops/s", format!("{:.0}", rate(outcome))));
    for (name, part) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)] {
        text.push_str(&row(name, format!("{:.3} ms", tally.quantile_ms(part))));
    }
    text.push_str(&row("max", format!("{:.3} ms", tally.max_ms())));
    text.push_str(&row("errors", tally.errors.to_string()));
    if tally.empty > 0 {
        text.push_str(&row("empty", format!("{} (reads that found nothing; see --prefill)", tally.empty)));
    }
    if let Some(error) = &tally.first_error {
        text.push_str(&format!("\n  first error: {error}\n"));
    }
    text
}

fn json(plan: &Plan, outcome: &Outcome) -> serde_json::Value {
    let tally = &outcome.tally;
    serde_json::json!({
        "verb": format!("{:?}", plan.load.verb).to_lowercase(),
        "clients": plan.clients,
        "connections": plan.conns,
        "seconds": outcome.elapsed.as_secs_f64(),
        "operations": tally.done(),
        "ops_per_second": rate(outcome),
        "errors": tally.errors,
        "empty": tally.empty,
        "first_error": tally.first_error,
        "latency_ms": {
            "mean": tally.mean_ms(),
            "p50": tally.quantile_ms(0.5),
            "p95": tally.quantile_ms(0.95),
            "p99": tally.quantile_ms(0.99),
            "p99.9": tally.quantile_ms(0.999),
            "max": tally.max_ms(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(line: &[&str]) -> Result<Plan, String> {
        let words: Vec<String> = line.iter().map(|s| s.to_string()).collect();
        Bench::try_parse_from(words).map_err(|e| e.to_string())?.plan().map_err(|c| c.to_string())
    }

    #[test]
    fn the_defaults_are_the_budgets_load() {
        let plan = plan(&["put"]).unwrap();
        assert_eq!((plan.conns, plan.clients, plan.load.value.len()), (8, 64, 256));
        assert_eq!(plan.stop, Stop::After(Duration::from_secs(10)));
    }

    #[test]
    fn endpoints_come_in_several_forms() {
        let plan = plan(&["get", "--endpoints", "http://a:1,b:2", "--clients", "1"]).unwrap();
        assert_eq!((plan.endpoints, plan.conns), (vec!["a:1".to_string(), "b:2".to_string()], 1));
    }

    #[test]
    fn mistakes_are_refused() {
        for line in [
            &["fly"][..],
            &["put", "--clients", "0"],
            &["put", "--endpoints", "https://a:1"],
            &["put", "--endpoints", "a"],
            &["put", "--seconds", "-1"],
            &["put", "--seconds", "1", "--total", "5"],
        ] {
            assert!(plan(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn nobody_there_is_an_error_that_names_the_address() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let error = run::run(&plan(&["put", "--endpoints", &address]).unwrap(), |_, _| {}).unwrap_err();
        assert!(error.contains(&address), "{error}");
    }
}

//! What the node tells Prometheus, under etcd's names where etcd has one.
//!
//! Code anywhere says `metrics::counter!`, `gauge!` or `histogram!` (and keeps the handle: the macro with labels is not
//! for a hot path). [`install`] puts [`recorder::Split`] behind that facade: durations (`…_seconds`) go to per-thread
//! arrays ([`hot`], a few nanoseconds a sample), everything else to the exporter. [`render`] is the text of `/metrics`.

pub mod hot;
pub mod meters;
pub mod names;
pub mod network;
pub mod recorder;

pub use hot::stage_sample;

use crate::config::Complaint;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use names::{Kind, NAMES};
use std::sync::OnceLock;

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Buckets of the few histograms that are not durations (sizes and counts): powers of two.
fn size_buckets() -> Vec<f64> {
    (0..28).map(|n| 2f64.powi(n)).collect()
}

/// Put our recorder behind the facade, once per process; later calls do nothing. Call [`upkeep`] every second afterwards.
pub fn install() -> Result<(), Complaint> {
    if HANDLE.get().is_some() {
        return Ok(());
    }
    let complain = |e: &dyn std::fmt::Display| Complaint::new(format!("cannot start metrics: {e}"));
    let builder = PrometheusBuilder::new().set_buckets(&size_buckets()).map_err(|e| complain(&e))?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder::Split(recorder)).map_err(|e| complain(&e))?;
    for (kind, name, help) in NAMES {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => {}
        }
    }
    start_at_zero();
    metrics_process::Collector::default().describe();
    let _ = HANDLE.set(handle);
    Ok(())
}

/// Counters without labels that alerts subtract and divide: they must exist before anything happens.
fn start_at_zero() {
    for name in [
        "etcd_server_leader_changes_seen_total",
        "etcd_server_proposals_failed_total",
        "flotilla_leader_changes_total",
        "flotilla_snapshots_sent_total",
        "flotilla_snapshots_installed_total",
    ] {
        metrics::counter!(name).increment(0);
    }
    for name in [names::WAL_FSYNC_SECONDS, names::BACKEND_COMMIT_SECONDS] {
        let _ = metrics::histogram!(name);
    }
    metrics::gauge!(names::SERVER_VERSION, "server_version" => crate::cli::ETCD_VERSION).set(1.0);
}

/// Once a second: the exporter folds what it has buffered; without this it grows without bound.
pub fn upkeep() {
    if let Some(handle) = HANDLE.get() {
        handle.run_upkeep();
    }
}

/// The text of `/metrics`, all but the gateway's own counters of RPCs.
pub fn render() -> String {
    let Some(handle) = HANDLE.get() else { return hot::render() };
    metrics_process::Collector::default().collect();
    let mut text = handle.render();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&hot::render());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_text_holds_both_halves_each_name_described_once() {
        install().unwrap();
        install().unwrap();
        metrics::counter!("flotilla_test_total", "To" => "n2").increment(3);
        metrics::gauge!("etcd_server_has_leader").set(1.0);
        metrics::histogram!(names::WAL_FSYNC_SECONDS).record(0.003);
        metrics::histogram!("flotilla_test_beat_seconds", "To" => "b\"2").record(0.0004);
        metrics::histogram!("flotilla_batch_bytes").record(300.0);
        stage_sample(base::Stage::Apply, 10);
        upkeep();
        let text = render();
        for line in [
            "etcd_server_has_leader 1",
            "etcd_server_leader_changes_seen_total 0",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 0",
            "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.004\"} 1",
            "flotilla_test_beat_seconds_count{To=\"b\\\"2\"} 1",
            "flotilla_batch_bytes_bucket{le=\"512\"} 1",
            "# TYPE flotilla_stage_seconds histogram",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
        assert!(text.contains("flotilla_test_total{") && text.contains("process_resident_memory_bytes"));
        let types: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE ")).collect();
        assert_eq!(types.len(), types.iter().collect::<BTreeSet<_>>().len(), "each name has one TYPE line");
    }

    #[test]
    fn every_listed_name_is_unique_and_explained() {
        let names: BTreeSet<_> = NAMES.iter().map(|(_, name, _)| name).collect();
        assert_eq!(names.len(), NAMES.len());
        for (kind, name, help) in NAMES {
            assert!(help.len() > 10 && !help.contains('\n'), "{name}");
            assert_eq!(*kind == Kind::Histogram, name.ends_with("_seconds"), "{name}");
        }
    }
}

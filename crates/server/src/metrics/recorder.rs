//! The `metrics` facade in front of both halves: durations go to [`super::hot`], everything else to the exporter.

use super::hot;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;
use std::sync::Arc;

/// Decides by the name: `…_seconds` are durations.
pub struct Split(pub PrometheusRecorder);

/// One hot histogram behind the facade; values are seconds, as everywhere in Prometheus.
struct Hot(usize);

impl HistogramFn for Hot {
    fn record(&self, seconds: f64) {
        hot::sample(self.0, (seconds * 1e9) as u64);
    }
}

impl Recorder for Split {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_counter(key, unit, description);
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.0.describe_gauge(key, unit, description);
    }
    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        if !key.as_str().ends_with("_seconds") {
            self.0.describe_histogram(key, unit, description);
        }
    }
    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.0.register_counter(key, metadata)
    }
    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        self.0.register_gauge(key, metadata)
    }
    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        let labels = || key.labels().map(|l| (l.key().to_string(), l.value().to_string())).collect();
        let slot = key.name().ends_with("_seconds").then(|| hot::slot(key.name(), labels())).flatten();
        match slot {
            Some(slot) => Histogram::from_arc(Arc::new(Hot(slot))),
            None => self.0.register_histogram(key, metadata),
        }
    }
}

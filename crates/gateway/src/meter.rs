//! Counts every RPC under the names etcd's dashboards ask for. A request costs five additions on one cache line.

use crate::rpc::Rpc;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tonic::Code;

/// What is counted of one RPC; the fields of every successful request lie together.
#[derive(Default)]
#[repr(align(64))]
struct Line {
    started: AtomicU64,
    ok: AtomicU64,
    received: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    failed: [AtomicU64; 17],
}

/// Counters of all RPCs.
pub struct Meter {
    lines: [Line; Rpc::ALL.len()],
    health_ok: AtomicU64,
    health_failed: AtomicU64,
}

/// Prometheus' names of gRPC's codes, in the order of their numbers.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// One request while it is served. Dropped without an end, it counts as cancelled by its client.
pub(crate) struct Counted<'a> {
    line: &'a Line,
    ended: bool,
}

impl Counted<'_> {
    /// A message of this many bytes came in.
    pub(crate) fn received(&self, bytes: usize) {
        self.line.received.fetch_add(1, Relaxed);
        self.line.received_bytes.fetch_add(bytes as u64, Relaxed);
    }
    /// It is answered, with a message of this many bytes.
    pub(crate) fn answered(mut self, bytes: usize) {
        self.line.sent_bytes.fetch_add(bytes as u64, Relaxed);
        self.line.ok.fetch_add(1, Relaxed);
        self.ended = true;
    }
    /// It is answered with an error.
    pub(crate) fn refused(mut self, code: Code) {
        self.line.failed[code as usize].fetch_add(1, Relaxed);
        self.ended = true;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.line.failed[Code::Cancelled as usize].fetch_add(1, Relaxed);
        }
    }
}

impl Default for Meter {
    fn default() -> Meter {
        Meter {
            lines: std::array::from_fn(|_| Line::default()),
            health_ok: AtomicU64::new(0),
            health_failed: AtomicU64::new(0),
        }
    }
}

impl Meter {
    /// A request came in.
    pub(crate) fn start(&self, rpc: Rpc) -> Counted<'_> {
        let line = &self.lines[rpc as usize];
        line.started.fetch_add(1, Relaxed);
        Counted { line, ended: false }
    }

    /// Somebody asked for this node's health.
    pub(crate) fn health(&self, ok: bool) {
        if ok { &self.health_ok } else { &self.health_failed }.fetch_add(1, Relaxed);
    }

    /// Requests of one RPC that were started, and those of them that ended well.
    pub fn counts(&self, rpc: Rpc) -> (u64, u64) {
        let line = &self.lines[rpc as usize];
        (line.started.load(Relaxed), line.ok.load(Relaxed))
    }

    /// Bytes of all messages, received and sent.
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |f: fn(&Line) -> &AtomicU64| self.lines.iter().map(|l| f(l).load(Relaxed)).sum();
        (sum(|l| &l.received_bytes), sum(|l| &l.sent_bytes))
    }

    /// Appends all counters in Prometheus' text format.
    pub fn render(&self, out: &mut String) {
        self.each(out, "grpc_server_started_total", "RPCs started on the server.", |l| &l.started);
        self.each(out, "grpc_server_msg_received_total", "Messages received by the server.", |l| &l.received);
        // A unary call that ends well has sent one.
        self.each(out, "grpc_server_msg_sent_total", "Messages sent by the server.", |l| &l.ok);
        head(out, "grpc_server_handled_total", "RPCs completed on the server, whatever their outcome.");
        for rpc in Rpc::ALL {
            let line = &self.lines[*rpc as usize];
            for (code, name) in CODES.iter().enumerate() {
                let n = if code == 0 { &line.ok } else { &line.failed[code] }.load(Relaxed);
                // A rate sees no first failure unless the line was there before, with nothing counted yet.
                if code == 0 || n > 0 || rpc.missing().is_none() {
                    let labels = labels(*rpc);
                    writeln!(out, "grpc_server_handled_total{{grpc_code=\"{name}\",{labels}}} {n}").expect("a string");
                }
            }
        }
        let (received, sent) = self.bytes();
        let (ok, failed) = (self.health_ok.load(Relaxed), self.health_failed.load(Relaxed));
        for (name, help, n) in [
            ("etcd_network_client_grpc_received_bytes_total", "Bytes received from gRPC clients.", received),
            ("etcd_network_client_grpc_sent_bytes_total", "Bytes sent to gRPC clients.", sent),
            ("etcd_server_health_success", "Successful health checks.", ok),
            ("etcd_server_health_failures", "Failed health checks.", failed),
        ] {
            head(out, name, help);
            writeln!(out, "{name} {n}").expect("a string");
        }
    }

    fn each(&self, out: &mut String, name: &str, help: &str, f: fn(&Line) -> &AtomicU64) {
        head(out, name, help);
        for rpc in Rpc::ALL {
            let n = f(&self.lines[*rpc as usize]).load(Relaxed);
            writeln!(out, "{name}{{{}}} {n}", labels(*rpc)).expect("a string");
        }
    }
}

fn head(out: &mut String, name: &str, help: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} counter").expect("a string");
}

fn labels(rpc: Rpc) -> String {
    let (service, method) = rpc.names();
    format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{}\"", rpc.shape().name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_counted_once() {
        let meter = Meter::default();
        let put = meter.start(Rpc::Put);
        put.received(10);
        put.answered(7);
        meter.start(Rpc::Put).refused(Code::OutOfRange);
        drop(meter.start(Rpc::Put));
        let mut text = String::new();
        meter.render(&mut text);
        let labels = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
        for line in [
            format!("grpc_server_started_total{{{labels}}} 3"),
            format!("grpc_server_handled_total{{grpc_code=\"OK\",{labels}}} 1"),
            format!("grpc_server_msg_received_total{{{labels}}} 1"),
            format!("grpc_server_msg_sent_total{{{labels}}} 1"),
            format!("grpc_server_handled_total{{grpc_code=\"OutOfRange\",{labels}}} 1"),
            format!("grpc_server_handled_total{{grpc_code=\"Canceled\",{labels}}} 1"),
            "etcd_network_client_grpc_received_bytes_total 10".into(),
            "etcd_network_client_grpc_sent_bytes_total 7".into(),
        ] {
            assert!(text.lines().any(|l| l == line), "{line}");
        }
    }

    #[test]
    fn what_is_built_shows_every_code_before_anything_happens() {
        let mut text = String::new();
        Meter::default().render(&mut text);
        let lines =
            |labels: &str| text.lines().filter(|l| l.starts_with("grpc_server_handled") && l.contains(labels)).count();
        assert_eq!(lines("grpc_method=\"Range\",grpc_service=\"etcdserverpb.KV\""), CODES.len());
        assert_eq!(lines("grpc_method=\"LeaseGrant\""), 1);
    }
}

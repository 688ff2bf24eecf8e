//! What passes between nodes, under etcd's names, written from the transport's own counters when somebody looks.

use base::StoreId;
use std::fmt::Write;
use transport::{PeerStats, ROUND_TRIP_BOUNDS};

/// How a counter is read from a peer's numbers.
type Number = fn(&PeerStats) -> u64;

/// Kind, name, label of the peer, help and value.
const LINES: [(&str, &str, &str, &str, Number); 5] = [
    ("counter", "etcd_network_peer_sent_bytes_total", "To", "The total number of bytes sent to peers.", |p| {
        p.sent_bytes
    }),
    (
        "counter",
        "etcd_network_peer_received_bytes_total",
        "From",
        "The total number of bytes received from peers.",
        |p| p.received_bytes,
    ),
    ("counter", "etcd_network_peer_sent_failures_total", "To", "The total number of send failures from peers.", |p| {
        p.unconnected_frames + p.overflow_frames
    }),
    (
        "counter",
        "etcd_network_peer_received_failures_total",
        "From",
        "The total number of receive failures from peers.",
        |p| p.received_failures,
    ),
    ("counter", "flotilla_peer_sessions_total", "To", "How often a session with a peer began.", |p| p.sessions),
];

const ACTIVE: (&str, &str) = ("etcd_network_active_peers", "The current number of active peer connections.");
const ROUND_TRIPS: (&str, &str) =
    ("etcd_network_peer_round_trip_time_seconds", "Round-Trip-Time histogram between peers.");

/// Appends everything about peers in Prometheus' text format. `own`: this member's id; `id`: any store's.
pub fn render(peers: &[PeerStats], own: u64, id: impl Fn(StoreId) -> u64, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write_all(peers, own, id, out);
}

fn write_all(peers: &[PeerStats], own: u64, id: impl Fn(StoreId) -> u64, out: &mut String) -> std::fmt::Result {
    for (kind, name, label, help, number) in LINES {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        for p in peers {
            writeln!(out, "{name}{{{label}=\"{:x}\"}} {}", id(p.peer), number(p))?;
        }
    }
    let (name, help) = ACTIVE;
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge")?;
    for p in peers {
        writeln!(out, "{name}{{Local=\"{own:x}\",Remote=\"{:x}\"}} {}", id(p.peer), u8::from(p.connected))?;
    }
    let (name, help) = ROUND_TRIPS;
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram")?;
    for p in peers {
        let to = id(p.peer);
        let mut below = 0;
        for (count, bound) in p.round_trips.counts.iter().zip(ROUND_TRIP_BOUNDS) {
            below += count;
            writeln!(out, "{name}_bucket{{To=\"{to:x}\",le=\"{bound}\"}} {below}")?;
        }
        let count: u64 = p.round_trips.counts.iter().sum();
        writeln!(out, "{name}_bucket{{To=\"{to:x}\",le=\"+Inf\"}} {count}")?;
        writeln!(out, "{name}_sum{{To=\"{to:x}\"}} {}", p.round_trips.sum)?;
        writeln!(out, "{name}_count{{To=\"{to:x}\"}} {count}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use transport::RoundTrips;

    #[test]
    fn a_peer_is_told_by_its_member_id() {
        let mut round_trips = RoundTrips { sum: 4.001, ..RoundTrips::default() };
        round_trips.counts[3] = 1; // 0.8 ms
        round_trips.counts[ROUND_TRIP_BOUNDS.len()] = 1; // beyond all
        let peer = PeerStats {
            peer: StoreId(2),
            connected: true,
            sessions: 1,
            sent_frames: [1, 2, 3],
            sent_bytes: 10,
            unconnected_frames: 4,
            overflow_frames: 5,
            received_frames: 6,
            received_bytes: 20,
            received_failures: 0,
            failed_dials: 1,
            last_error: String::new(),
            round_trips,
        };
        let mut text = String::new();
        render(&[peer], 0xa1, |store| 0xb0 + store.0, &mut text);
        let name = "etcd_network_peer_round_trip_time_seconds";
        for line in [
            "etcd_network_peer_sent_bytes_total{To=\"b2\"} 10",
            "etcd_network_peer_received_bytes_total{From=\"b2\"} 20",
            "etcd_network_peer_sent_failures_total{To=\"b2\"} 9",
            "etcd_network_active_peers{Local=\"a1\",Remote=\"b2\"} 1",
            &format!("{name}_bucket{{To=\"b2\",le=\"0.0004\"}} 0"),
            &format!("{name}_bucket{{To=\"b2\",le=\"0.0008\"}} 1"),
            &format!("{name}_bucket{{To=\"b2\",le=\"+Inf\"}} 2"),
            &format!("{name}_sum{{To=\"b2\"}} 4.001"),
            &format!("{name}_count{{To=\"b2\"}} 2"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }
}

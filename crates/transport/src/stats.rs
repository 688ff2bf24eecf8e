//! What is counted per peer, in the shape in which etcd's `etcd_network_peer_*` metrics want it.

use crate::Lane;
use base::StoreId;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in seconds of the buckets of [`RoundTrips`], etcd's own: 0.1 ms doubled fifteen times.
pub const ROUND_TRIP_BOUNDS: [f64; 16] = [
    0.0001, 0.0002, 0.0004, 0.0008, 0.0016, 0.0032, 0.0064, 0.0128, 0.0256, 0.0512, 0.1024, 0.2048, 0.4096, 0.8192,
    1.6384, 3.2768,
];

/// A histogram of round trips on the control lane, measured once a second.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub struct RoundTrips {
    /// How many fell into each bucket of [`ROUND_TRIP_BOUNDS`] and no earlier one; the last counts those beyond.
    pub counts: [u64; ROUND_TRIP_BOUNDS.len() + 1],
    /// Their sum in seconds.
    pub sum: f64,
}

impl RoundTrips {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.counts[ROUND_TRIP_BOUNDS.partition_point(|&bound| bound < seconds)] += 1;
        self.sum += seconds;
    }
}

/// One peer in numbers, all counted since the start except `connected` and `last_error`.
#[derive(Clone, PartialEq, Debug)]
pub struct PeerStats {
    /// Which peer.
    pub peer: StoreId,
    /// A session is open: frames sent now travel.
    pub connected: bool,
    /// How often a session began.
    pub sessions: u64,
    /// Frames handed in for sending, by [`Lane::index`], whatever became of them.
    pub sent_frames: [u64; 3],
    /// Their bytes.
    pub sent_bytes: u64,
    /// Of those, frames dropped because no session was open, or because it ended before they left.
    pub unconnected_frames: u64,
    /// Of those, frames dropped because the lane's outbox was full.
    pub overflow_frames: u64,
    /// Frames received.
    pub received_frames: u64,
    /// Their bytes, and those of hellos and lengths.
    pub received_bytes: u64,
    /// Streams of this peer that we ended because of rubbish on them.
    pub received_failures: u64,
    /// Attempts to reach it that did not lead to a session. Says nothing about whether it is alive.
    pub failed_dials: u64,
    /// Why the last attempt or session ended; empty while connected.
    pub last_error: String,
    /// How long a ping takes, there and back.
    pub round_trips: RoundTrips,
}

/// The living counters behind [`PeerStats`]. None orders anything.
#[derive(Default)]
pub(crate) struct Counters {
    pub connected: AtomicBool,
    pub sessions: AtomicU64,
    pub sent_frames: [AtomicU64; 3],
    pub sent_bytes: AtomicU64,
    pub unconnected_frames: AtomicU64,
    pub overflow_frames: AtomicU64,
    pub received_frames: AtomicU64,
    pub received_bytes: AtomicU64,
    pub received_failures: AtomicU64,
    pub failed_dials: AtomicU64,
    pub last_error: Mutex<String>,
    pub round_trips: Mutex<RoundTrips>,
}

impl Counters {
    pub(crate) fn round_trip(&self, took: Duration) {
        self.round_trips.lock().add(took);
    }

    pub(crate) fn read(&self, peer: StoreId) -> PeerStats {
        PeerStats {
            peer,
            connected: self.connected.load(Relaxed),
            sessions: self.sessions.load(Relaxed),
            sent_frames: Lane::ALL.map(|lane| self.sent_frames[lane.index()].load(Relaxed)),
            sent_bytes: self.sent_bytes.load(Relaxed),
            unconnected_frames: self.unconnected_frames.load(Relaxed),
            overflow_frames: self.overflow_frames.load(Relaxed),
            received_frames: self.received_frames.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            received_failures: self.received_failures.load(Relaxed),
            failed_dials: self.failed_dials.load(Relaxed),
            last_error: self.last_error.lock().clone(),
            round_trips: *self.round_trips.lock(),
        }
    }
}

/// Adds to a counter.
pub(crate) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_falls_into_the_bucket_that_bounds_it() {
        let mut trips = RoundTrips::default();
        for (micros, bucket) in [(1, 0), (100, 0), (101, 1), (3_276_800, 15), (9_000_000, 16)] {
            let before = trips.counts[bucket];
            trips.add(Duration::from_micros(micros));
            assert_eq!(trips.counts[bucket], before + 1, "{micros} µs");
        }
        assert!((trips.sum - 12.277_002).abs() < 1e-6, "{}", trips.sum);
    }
}

//! Once a second: gauges and counters, sizes, and whether there is room.

use super::found::Founded;
use base::{StoreId, Term};
use engine::{Engine, Sizes};
use metrics::{counter, gauge};
use parking_lot::Mutex;
use rocks::Rocks;
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the last look found.
#[derive(Clone, Default)]
pub struct Report {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    full: AtomicBool,
    sizes: Mutex<Sizes>,
    client_urls: Mutex<BTreeMap<StoreId, Vec<String>>>,
    leaders: Mutex<(Option<(Term, StoreId)>, u64)>,
}

impl Report {
    /// Is there no room for writes?
    pub fn is_full(&self) -> bool {
        self.inner.full.load(Ordering::Relaxed)
    }
    /// Of the store.
    pub fn sizes(&self) -> Sizes {
        *self.inner.sizes.lock()
    }
    /// Where clients reach the other nodes, as far as they said.
    pub fn client_urls(&self) -> BTreeMap<StoreId, Vec<String>> {
        self.inner.client_urls.lock().clone()
    }
    /// A peer said where clients reach it.
    pub fn learn_urls(&self, store: StoreId, urls: Vec<String>) {
        self.inner.client_urls.lock().insert(store, urls);
    }

    /// The disk has no room any more: told by whoever noticed first.
    pub fn raise(&self) -> bool {
        let news = !self.inner.full.swap(true, Ordering::Relaxed);
        if news {
            tracing::error!("no room: writes are refused until there is (mvcc: database space exceeded)");
        }
        news
    }

    /// Looks at disk and quota.
    pub fn look(&self, engine: &Rocks, quota: Option<u64>) {
        let sizes = engine.sizes();
        // Looks now: while writes are refused, nobody else does.
        engine.free_space();
        let full = engine.is_full() || quota.is_some_and(|q| sizes.total > q);
        if full {
            self.raise();
        } else if self.inner.full.swap(false, Ordering::Relaxed) {
            tracing::info!("there is room again: writes go on");
        }
        *self.inner.sizes.lock() = sizes;
    }

    /// Leaders of the meta range seen so far. etcd's alert counts those of its only group: it would go off at every
    /// restart of a node that leads many ranges.
    fn leader_changes(&self, s: &node::Status) -> u64 {
        let (last, seen) = &mut *self.inner.leaders.lock();
        let present = s.leader.map(|leader| (s.term, leader));
        if present.is_some() && present != *last {
            (*last, *seen) = (present, *seen + 1);
        }
        *seen
    }

    /// Tells Prometheus.
    pub fn publish(&self, s: &node::Status, founded: &Founded, quota: Option<u64>) {
        let own = founded.identity.store;
        let c = &s.counters;
        gauge!("etcd_server_has_leader").set(if s.leader.is_some() && s.leaderless == 0 { 1.0 } else { 0.0 });
        gauge!("etcd_server_is_leader").set(if s.leader == Some(own) { 1.0 } else { 0.0 });
        gauge!("etcd_server_is_learner").set(0.0);
        gauge!("etcd_cluster_version", "cluster_version" => super::backend::CLUSTER_MINOR).set(1.0);
        let id = founded.members.iter().find(|m| m.store == own).map_or(0, |m| m.id);
        gauge!("etcd_server_id", "server_id" => format!("{id:x}")).set(1.0);
        counter!("etcd_server_leader_changes_seen_total").absolute(self.leader_changes(s));
        counter!("flotilla_leader_changes_total").absolute(c.elections_won + c.leaders_seen);
        gauge!("etcd_server_proposals_committed_total").set(c.committed as f64);
        gauge!("etcd_server_proposals_applied_total").set(c.applied as f64);
        gauge!("etcd_server_proposals_pending").set(s.pending as f64);
        counter!("etcd_server_proposals_failed_total").absolute(c.failed);
        gauge!("etcd_server_quota_backend_bytes").set(quota.unwrap_or(0) as f64);
        let sizes = self.sizes();
        gauge!("etcd_mvcc_db_total_size_in_bytes").set(sizes.total as f64);
        gauge!("etcd_mvcc_db_total_size_in_use_in_bytes").set(sizes.in_use as f64);
        gauge!("etcd_debugging_mvcc_current_revision").set(s.revision.0 as f64);
        gauge!("etcd_debugging_mvcc_compact_revision").set(s.compacted.0 as f64);
        gauge!("etcd_debugging_mvcc_keys_total").set(s.keys as f64);
        gauge!("os_fd_limit").set(getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |n| n as f64));
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            gauge!("os_fd_used").set(open.count() as f64);
        }
        gauge!("etcd_network_known_peers").set((founded.members.len() - 1) as f64);
        gauge!("flotilla_ranges").set(s.ranges as f64);
        gauge!("flotilla_leaders").set(s.led as f64);
        counter!("flotilla_snapshots_sent_total").absolute(c.snapshots_sent);
        counter!("flotilla_snapshots_installed_total").absolute(c.snapshots_installed);
        counter!("flotilla_read_rounds_total").absolute(c.read_rounds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_counts_once_and_its_absence_does_not() {
        let report = Report::default();
        let seen = |term, leader: Option<u64>| {
            let status = node::Status { term: Term(term), leader: leader.map(StoreId), ..Default::default() };
            report.leader_changes(&status)
        };
        assert_eq!([seen(1, None), seen(1, Some(1)), seen(1, Some(1))], [0, 1, 1]);
        assert_eq!([seen(2, None), seen(2, Some(2)), seen(3, Some(2))], [1, 2, 3], "a new term is a new election");
    }
}

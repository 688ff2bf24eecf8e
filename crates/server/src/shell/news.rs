//! What the log says when the cluster is not as it should be: ranges without a leader (at a start that waits for others,
//! and when too many of them are gone), and other stores without room.

use super::found::Founded;
use base::StoreId;
use transport::PeerStats;

/// What was told, so that it is not told again.
#[derive(Default)]
pub struct Told {
    leaders: Leaders,
    full: Vec<StoreId>,
}

impl Told {
    /// One look a second.
    pub fn look(&mut self, status: &node::Status, founded: &Founded, peers: impl FnOnce() -> Vec<PeerStats>) {
        match self.leaders.look(status.leaderless) {
            Some(News::Missing) => {
                let (n, all, there) = (status.leaderless, status.ranges, presence(founded, &peers()));
                tracing::warn!("{n} of {all} ranges on this node have no leader and serve nothing: {there}");
            }
            Some(News::Back) => tracing::info!("every range has a leader"),
            None => {}
        }
        let own = founded.identity.store;
        let full: Vec<StoreId> = status.full.iter().copied().filter(|store| *store != own).collect();
        for store in full.iter().filter(|store| !self.full.contains(store)) {
            let name = founded.name(*store);
            tracing::warn!("{name} has no room: writes to ranges with a replica there are refused until it has");
        }
        for store in self.full.iter().filter(|store| !full.contains(store)) {
            tracing::info!("{} has room again, or is gone", founded.name(*store));
        }
        self.full = full;
    }
}

/// Ranges without a leader, looked at once a second: worth a line when an election should have been over, another one a
/// minute as long as it lasts, and one when it is over.
#[derive(Default)]
struct Leaders {
    looks: u32,
}

/// What to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    /// Nobody leads some range.
    Missing,
    /// Everybody has a leader again.
    Back,
}

/// Looks without a leader before the first line; an election takes one or two.
const FIRST: u32 = 5;
/// Looks from one line to the next.
const AGAIN: u32 = 60;

impl Leaders {
    /// One look.
    fn look(&mut self, leaderless: u64) -> Option<News> {
        if leaderless == 0 {
            let looks = std::mem::take(&mut self.looks);
            return (looks >= FIRST).then_some(News::Back);
        }
        self.looks += 1;
        (self.looks % AGAIN == FIRST).then_some(News::Missing)
    }
}

/// Which nodes are there, and why the others are not.
fn presence(founded: &Founded, peers: &[PeerStats]) -> String {
    let all = founded.members.len();
    let missing: Vec<String> = peers.iter().filter(|p| !p.connected).map(|p| absence(founded, p)).collect();
    match missing.len() {
        0 => format!("all {all} nodes are connected"),
        n => format!("{} of {all} nodes are connected, missing {}", all - n, missing.join(", ")),
    }
}

fn absence(founded: &Founded, peer: &PeerStats) -> String {
    let why = if peer.last_error.is_empty() { "not reached yet" } else { &peer.last_error };
    format!("{} ({why})", founded.name(peer.peer))
}

#[cfg(test)]
mod tests {
    use super::super::found::Member;
    use super::*;
    use base::{BootId, ClusterId, StoreId};

    #[test]
    fn an_election_is_no_news_and_a_lasting_loss_is_told_now_and_then() {
        let mut leaders = Leaders::default();
        assert_eq!([1, 1, 0].map(|n| leaders.look(n)), [None; 3], "an election");
        let told: Vec<u32> = (1..=130).filter(|_| leaders.look(2) == Some(News::Missing)).collect();
        assert_eq!(told, [5, 65, 125]);
        assert_eq!((leaders.look(0), leaders.look(0)), (Some(News::Back), None));
    }

    #[test]
    fn who_is_missing_is_named_with_the_reason() {
        let member = |n: u64| Member { store: StoreId(n), name: format!("n{n}"), peer_urls: vec![], id: n };
        let identity = node::Identity { cluster: ClusterId(1), store: StoreId(1), boot: BootId(1), founding: 1 };
        let founded = Founded { identity, members: (1..=3).map(member).collect(), fresh: false };
        let peer = |n: u64, connected: bool, last_error: &str| PeerStats {
            peer: StoreId(n),
            connected,
            sessions: 0,
            sent_frames: [0; 3],
            sent_bytes: 0,
            unconnected_frames: 0,
            overflow_frames: 0,
            received_frames: 0,
            received_bytes: 0,
            received_failures: 0,
            failed_dials: 0,
            last_error: last_error.to_string(),
            round_trips: Default::default(),
        };
        let text = presence(&founded, &[peer(2, true, ""), peer(3, false, "http://h:1: connection refused")]);
        assert_eq!(text, "2 of 3 nodes are connected, missing n3 (http://h:1: connection refused)");
        assert_eq!(presence(&founded, &[peer(2, true, ""), peer(3, true, "")]), "all 3 nodes are connected");
    }
}

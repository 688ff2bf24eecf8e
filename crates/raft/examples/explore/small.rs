//! The small worlds: how each begins, and what it is there to find.

use super::world::{World, member};
use super::{Budget, State};
use base::Tick;
use raft::{Change, ConfChange, Reach};

/// A small world and what it is there to find.
pub struct Small {
    pub name: &'static str,
    pub about: &'static str,
    pub begin: fn() -> State,
    /// The planted bugs that must be found here.
    #[cfg_attr(not(feature = "museum"), expect(dead_code, reason = "planted only with the museum"))]
    pub bugs: &'static [&'static str],
}

pub const SMALL: &[Small] = &[
    Small {
        name: "pre-votes",
        about: "3 nodes, one campaign from nothing, everything by itself, a crash",
        begin: || {
            let mut s = start(3, false, Budget { campaigns: 1, crashes: 1, max_term: 2, ..Budget::default() });
            (s.quick_disk, s.quick_pre_vote) = (false, false);
            s
        },
        bugs: &["vote-forgotten-on-restart"],
    },
    Small {
        name: "votes",
        about: "3 nodes, a candidate and another campaign in the same term, slow disks, a crash",
        begin: || {
            let mut s = start(3, false, Budget { campaigns: 1, crashes: 1, max_term: 2, ..Budget::default() });
            s.world.campaign(0);
            s.quick_disk = false;
            s.hurry();
            s.quick_pre_vote = false;
            s
        },
        bugs: &["vote-before-write"],
    },
    Small {
        name: "entries",
        about: "3 nodes, a leader, 2 entries, slow disks, a second term, a crash",
        begin: || {
            let left = Budget { campaigns: 1, proposals: 2, crashes: 1, max_term: 3, ..Budget::default() };
            let mut s = start(3, true, left);
            s.quick_disk = false;
            s
        },
        bugs: &["ack-before-fsync", "own-copy-counts-before-written"],
    },
    Small {
        name: "spares",
        about: "3 nodes, a leader, 2 entries for a quorum only, slow disks, a second term, a crash",
        begin: || {
            let left = Budget { campaigns: 1, proposals: 2, crashes: 1, max_term: 3, ..Budget::default() };
            let mut s = start(3, true, left);
            (s.quick_disk, s.reach) = (false, Reach::Quorum);
            s
        },
        bugs: &["ack-before-fsync", "own-copy-counts-before-written"],
    },
    Small {
        name: "restriction",
        about: "3 nodes, an entry on some of them, any of them campaigns",
        begin: || start(3, true, Budget { campaigns: 2, proposals: 1, max_term: 4, ..Budget::default() }),
        bugs: &["vote-for-shorter-log"],
    },
    Small {
        name: "divergence",
        about: "3 nodes, divergent tails of two leaders, 3 entries, repeated appends, a duplicate",
        begin: || {
            let mut s = diverged();
            s.left =
                Budget { proposals: 1, greetings: 1, campaigns: 1, max_term: 4, duplicates: 1, ..Budget::default() };
            s
        },
        bugs: &["append-without-prev-check", "commit-beyond-match", "commit-vector-over-divergent-tail", "written-aba"],
    },
    Small {
        name: "figure-8",
        about: "3 nodes, an entry of an old term on a majority, and another leader (Ongaro 2014, figure 3.7)",
        begin: figure_8,
        bugs: &["commit-older-term-by-counting"],
    },
    Small {
        name: "reads",
        about: "3 nodes, a leader that has read before and reads again, a second leader that commits",
        begin: || {
            let mut s = start(3, true, Budget { campaigns: 1, reads: 1, max_term: 3, ..Budget::default() });
            s.world.read(0);
            s.world.settle();
            s
        },
        bugs: &["reused-read-context", "read-confirmed-for-old-term"],
    },
    Small {
        name: "leases",
        about: "3 stores that support each other, a promise that lapses, two campaigns",
        begin: || supported(Budget { campaigns: 2, lapses: 1, max_term: 4, ..Budget::default() }),
        bugs: &["vote-while-fortified"],
    },
    Small {
        name: "handover",
        about: "3 stores that support each other, two transfers, messages late",
        begin: || supported(Budget { transfers: 2, duplicates: 1, ..Budget::default() }),
        bugs: &["delayed-timeout-now"],
    },
    Small {
        name: "restarts",
        about: "3 stores that support each other, one restarts and has forgotten its promises, a campaign",
        begin: || {
            supported(Budget { campaigns: 1, lapses: 1, crashes: 1, promises: 1, max_term: 3, ..Budget::default() })
        },
        bugs: &["votes-right-after-restart"],
    },
    Small {
        name: "epochs",
        about: "3 stores, promises that lapse and one that is made anew while old acknowledgements are under way",
        begin: || supported(Budget { campaigns: 1, lapses: 2, promises: 1, max_term: 3, ..Budget::default() }),
        bugs: &["lease-counts-stale-epoch"],
    },
    Small {
        name: "release",
        about: "3 stores, a leader that stepped down, a new one, a late Defortify, a third that campaigns",
        begin: || {
            let mut s = released();
            s.left = Budget { campaigns: 2, lapses: 1, max_term: 5, ..Budget::default() };
            s
        },
        bugs: &["defortify-any-term"],
    },
    Small {
        name: "members",
        about: "from voters 1, 2, 3 to 1, 4, 5: joint consensus and out of it, an entry",
        begin: || {
            let mut s = joint();
            s.left = Budget { changes: 1, proposals: 1, max_term: 3, ..Budget::default() };
            s
        },
        bugs: &["joint-counts-one-half"],
    },
    Small {
        name: "old-conf",
        about: "the change is made and left; replicas that have applied neither step campaign",
        begin: || {
            let mut s = left_joint();
            s.left = Budget { campaigns: 1, proposals: 1, max_term: 3, ..Budget::default() };
            s
        },
        bugs: &["campaign-with-old-conf"],
    },
    Small {
        name: "snapshots",
        about: "3 nodes, a truncated log, a late snapshot, another leader, an entry",
        begin: || {
            let mut s = start(3, true, Budget::default());
            s.world.propose(0, "a");
            s.world.net.retain(|e| e.to == member(2));
            s.world.settle();
            s.world.truncate(0, base::Index(3));
            s.left = Budget { greetings: 2, proposals: 1, campaigns: 1, max_term: 3, ..Budget::default() };
            s
        },
        bugs: &[],
    },
];

fn start(nodes: u64, led: bool, left: Budget) -> State {
    let mut world = World::new(nodes, nodes, 0, 1);
    world.base.election_timeout = Tick(0);
    (0..world.nodes.len()).for_each(|n| world.start(n));
    if led {
        world.campaign(0);
        world.settle();
    }
    State { world, left, path: None, quick_pre_vote: true, quick_disk: true, reach: Reach::All }
}

/// Node 1 led and has an entry of its own that nobody else has; node 2 leads now and has sent nothing yet.
fn diverged() -> State {
    let mut s = start(3, true, Budget::default());
    s.world.propose(0, "x");
    s.world.net.clear();
    s.world.campaign(1);
    for _ in 0..12 {
        // everything but what node 1 would hear from node 2
        s.world.net.retain(|e| !(e.to == member(1) && e.from == member(2)));
        if s.world.net.is_empty() {
            (1..3).for_each(|n| s.world.complete(n));
        } else {
            s.world.deliver(0);
        }
        if s.world.group(1).is_leader() {
            break;
        }
    }
    assert!(s.world.group(1).is_leader(), "node 2 leads");
    s
}

/// Node 1 has an entry of term 2, node 2 another of term 3, in the same place; node 1 leads term 4; one entry per append.
fn figure_8() -> State {
    let mut s = diverged();
    s.world.net.clear();
    s.world.settle();
    s.world.net.clear();
    s.world.base.max_append_bytes = 1;
    s.world.base.max_inflight = 1;
    for n in 0..3 {
        s.world.crash(n, 0);
        s.world.restart(n);
    }
    // node 1 is elected again, with node 3; nothing of its log has left yet
    while !s.world.group(0).is_leader() {
        s.hurry();
        if s.world.net.is_empty() {
            s.world.campaign(0);
        } else {
            s.world.deliver(0);
        }
    }
    s.hurry();
    s.left = Budget { campaigns: 1, max_term: 5, ..Budget::default() };
    s
}

fn supported(left: Budget) -> State {
    let mut s = start(3, false, left);
    for (n, (t, p)) in pairs(3).into_iter().enumerate() {
        s.world.promise(t, p, n as u64 + 1);
    }
    s.world.campaign(0);
    s.world.settle();
    s
}

/// Node 1 led, stepped down and said so; node 2 leads and is fortified by node 3; the Defortify is still under way.
fn released() -> State {
    let mut s = supported(Budget::default());
    s.world.call(0, |g, ctx, out| g.step_down(ctx, out));
    let late = s.world.net.clone();
    s.world.settle();
    s.world.campaign(1);
    s.world.settle();
    s.world.net.extend(late);
    s
}

/// Voters 1, 2, 3; a change to 1, 4, 5 is proposed; nobody has heard of it.
fn joint() -> State {
    let mut world = World::new(5, 3, 2, 1);
    world.base.election_timeout = Tick(0);
    world.lazy_apply = true;
    (0..5).for_each(|n| world.start(n));
    world.campaign(0);
    world.settle();
    let changes = vec![
        Change::Voter(member(4)),
        Change::Voter(member(5)),
        Change::Remove(member(2).replica),
        Change::Remove(member(3).replica),
    ];
    let change = ConfChange::enter(changes);
    let proposed = world.call(0, |g, ctx, out| g.propose_conf(ctx, &change, out).is_ok());
    assert_eq!(proposed, Some(true));
    State { world, left: Budget::default(), path: None, quick_pre_vote: true, quick_disk: true, reach: Reach::All }
}

/// The change is made, and leaving it is written everywhere, applied on node 1 alone; what is applied is not durable.
fn left_joint() -> State {
    let mut s = joint();
    s.world.settle();
    let proposed = s.world.call(0, |g, ctx, out| g.propose_conf(ctx, &ConfChange::leave(), out).is_ok());
    assert_eq!(proposed, Some(true));
    s.world.tells_commits = false;
    s.world.settle();
    for n in 1..5 {
        s.world.crash(n, 0);
        s.world.restart(n);
    }
    s
}

pub fn pairs(n: usize) -> Vec<(usize, usize)> {
    (0..n).flat_map(|t| (0..n).map(move |s| (t, s))).filter(|(t, s)| t != s).collect()
}

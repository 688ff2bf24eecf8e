//! A disk that has lost what was synced: peers remember that it was there.

mod world;

use base::StoreId;
use engine::mem::Mem;
use node::frame::Part;
use world::World;

/// No appends reach the third node: it has nothing of what the other two have agreed upon.
fn appends_to_the_third(part: &Part) -> bool {
    let to = |l: &range::Letter| {
        l.to.store == StoreId(3) && matches!(&l.message, raft::Message::Append(a) if !a.entries.is_empty())
    };
    matches!(part, Part::Letter(l) if to(l))
}

/// The first two nodes have agreed on writes that the third lacks. Returns the second one's disk as it was before them.
fn agreed_by_two() -> (World, Mem) {
    let mut w = World::new(3, &[]);
    w.put(0, "k", "0");
    w.run(500);
    assert_eq!(w.leader(), 0);
    let old = w.nodes[1].engine().fork();
    w.lose = appends_to_the_third;
    for i in 1..=5 {
        w.put(0, "k", &i.to_string());
    }
    // Long enough for a beat.
    w.run(150);
    (w, old)
}

#[test]
fn whoever_lost_what_it_vouched_for_elects_nobody() {
    let (mut w, old) = agreed_by_two();
    w.dead.extend([0, 1]);
    w.lose = |_| false;
    w.run(10);
    w.may_stop.insert(1);
    w.restart(1, old);
    // The gate of a restarted store, and time for an election.
    w.run(4_000);
    let leads = w.nodes[2].replicas().any(|r| r.leads().is_some());
    assert!(!leads, "elected with a vote that was not free: what two nodes had agreed upon is lost");
    assert!(w.stopped[&1].contains("vouched for"), "{:?}", w.stopped);
}

#[test]
fn it_is_remembered_by_a_peer_that_was_restarted_itself() {
    let (mut w, old) = agreed_by_two();
    // Another synced write of the third node carries what it remembers.
    w.lose = |_| false;
    w.run(1_000);
    w.put(0, "k", "6");
    w.run(150);
    let third = w.nodes[2].engine().fork();
    w.dead.extend([0, 1, 2]);
    w.restart(2, third);
    w.may_stop.insert(1);
    w.restart(1, old);
    w.run(500);
    assert!(w.stopped.contains_key(&1), "a memory that does not outlive its keeper");
}

#[test]
fn an_old_disk_of_an_earlier_life_is_told_so() {
    let (mut w, old) = agreed_by_two();
    w.lose = |_| false;
    for _ in 0..2 {
        let disk = w.nodes[1].engine().fork();
        w.dead.insert(1);
        w.run(10);
        w.restart(1, disk);
        w.run(1_500);
    }
    // No leader either, who would tell it what it acknowledged.
    w.dead.extend([0, 1]);
    w.may_stop.insert(1);
    w.restart(1, old);
    w.run(500);
    assert!(w.stopped.contains_key(&1), "it talks to nobody who listens, and nobody says why");
}

#[test]
fn an_honest_disk_is_believed() {
    let (mut w, _) = agreed_by_two();
    for i in 0..3 {
        let disk = w.nodes[1].engine().fork();
        w.dead.insert(1);
        w.run(10 + 700 * i);
        w.restart(1, disk);
        w.run(300);
        w.put(0, "k", "again");
    }
}

#[cfg(feature = "museum")]
#[test]
fn each_of_these_tests_fails_when_its_bug_is_planted() {
    base::museum::each_is_noticed(&[
        ("depth-not-remembered", whoever_lost_what_it_vouched_for_elects_nobody),
        ("depth-not-remembered", it_is_remembered_by_a_peer_that_was_restarted_itself),
        ("depth-not-remembered", an_old_disk_of_an_earlier_life_is_told_so),
    ]);
}

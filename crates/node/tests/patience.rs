//! What must not be done too often: moving leaders, asking quorums.

mod world;

use node::Config;
use node::frame::Part;
use world::World;

fn is_timeout_now(part: &Part) -> bool {
    matches!(part, Part::Letter(l) if matches!(l.message, raft::Message::TimeoutNow { .. }))
}

#[test]
fn leadership_that_does_not_reach_the_sequencer_is_handed_over_more_and_more_rarely() {
    // The last of three ranges begins on the third store, and the sequencer is on the first.
    let mut w = World::new(4, &["m", "t"]);
    w.lose = is_timeout_now;
    w.put(0, "a", "1");
    w.run(20_000);
    assert!(w.lost >= 2, "it is tried again: {}", w.lost);
    assert!(w.lost <= 12, "each attempt costs an election: {} in 20 s", w.lost);
    w.lose = |_| false;
    w.run(60_000);
    let status = w.nodes[0].status();
    assert_eq!(status.leader, Some(base::StoreId(1)), "the sequencer stayed where it was");
    assert!(w.nodes[2].replicas().all(|r| r.leads().is_none()), "in the end it got there");
}

#[test]
fn answers_without_a_lease_share_a_round() {
    let mut w = World::with(3, &[], Config { leases: false, ..Config::default() });
    w.put(0, "k", "1");
    w.run(300);
    let leader = w.leader();
    let before = w.nodes[leader].status().counters.read_rounds;
    let ids: Vec<_> = (0..100).map(|_| w.begin(leader, World::get_ask("k"))).collect();
    w.run(100);
    for id in &ids {
        assert!(w.answers.remove(id).expect("answered").is_ok());
    }
    let rounds = w.nodes[leader].status().counters.read_rounds - before;
    assert!((1..=10).contains(&rounds), "{rounds} rounds for 100 reads");
}

#[test]
fn a_lease_needs_no_round() {
    let mut w = World::new(3, &[]);
    w.put(0, "k", "1");
    w.run(300);
    let leader = w.leader();
    let before = w.nodes[leader].status().counters.read_rounds;
    let id = w.begin(leader, World::get_ask("k"));
    w.run(20);
    assert!(w.answers.remove(&id).expect("answered").is_ok());
    assert_eq!(w.nodes[leader].status().counters.read_rounds, before);
}

#[cfg(feature = "museum")]
#[test]
fn each_of_these_tests_fails_when_its_bug_is_planted() {
    base::museum::each_is_noticed(&[(
        "follows-the-sequencer-without-rest",
        leadership_that_does_not_reach_the_sequencer_is_handed_over_more_and_more_rarely,
    )]);
}

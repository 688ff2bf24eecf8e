//! Interleavings of whole nodes that once went wrong.

mod world;

use base::{Revision, Tick};
use node::ClientAsk;
use range::Answer;
use world::World;

fn hash(w: &mut World, node: usize) -> u64 {
    let o = w.call(node, ClientAsk::Hash(Revision::ZERO)).unwrap();
    let Answer::Hash { hash, .. } = o.answer else { panic!("a hash is answered with a hash") };
    hash
}

#[test]
fn a_follower_with_a_slow_disk_hears_of_the_commit_without_another_write() {
    let mut w = World::new(3, &[]);
    w.put(0, "k", "1");
    w.run(500);
    w.slow_disk[2] = Tick::ms(40);
    w.put(0, "k", "2");
    // Sooner than the core says again what may have been lost.
    w.run(120);
    let commits: Vec<_> =
        w.nodes.iter().map(|n| n.replicas().map(range::Replica::commit).collect::<Vec<_>>()).collect();
    assert!(commits.iter().all(|c| *c == commits[0]), "somebody was not told: {commits:?}");
}

#[test]
fn a_node_without_the_meta_range_finds_the_sequencer() {
    let mut w = World::new(7, &["m"]);
    assert_eq!(w.put(0, "k", "1"), Revision(2));
    for node in 5..7 {
        assert_eq!(w.scan(node, "a", "z").1.len(), 1, "node {node} has no replica of the meta range");
    }
}

#[test]
fn a_hash_at_the_leader_waits_for_the_engine() {
    // The fourth node has no replica of the users' range: the leader hashes for it.
    let mut w = World::new(4, &[]);
    w.put(0, "k", "1");
    w.run(50);
    let leader = w.nodes.iter().position(|n| n.replicas().any(|r| r.descriptor().id.0 == 2 && r.leads().is_some()));
    let without = w.nodes.iter().position(|n| !n.replicas().any(|r| r.descriptor().id.0 == 2));
    let (leader, without) = (leader.expect("a leader"), without.expect("a node without a replica"));
    w.slow_disk[leader] = Tick::ms(60);
    w.put(leader, "k", "2");
    let early = hash(&mut w, without);
    w.slow_disk[leader] = Tick::ZERO;
    w.run(300);
    assert_eq!(early, hash(&mut w, without), "the first sum lacked what was committed and not yet applied");
}

/// Which range is led where.
fn leaders(w: &World) -> Vec<(u64, usize)> {
    let led = |i: usize| w.nodes[i].replicas().filter(|r| r.leads().is_some()).map(move |r| (r.descriptor().id.0, i));
    (0..w.nodes.len()).flat_map(led).collect()
}

#[test]
fn leaders_that_move_burn_no_number_and_leave_no_write_in_doubt() {
    let mut w = World::new(5, &["c", "e", "g"]);
    w.slow_disk.fill(Tick::ms(5));
    w.put(0, "a", "0");
    let (before, mut ids) = (leaders(&w), Vec::new());
    for i in 0..2_000 {
        // More than one entry's way takes: some are always evaluated and in none yet.
        for key in ["b", "d", "f", "h"] {
            ids.push(w.begin(i % 5, World::put_ask(key, &i.to_string())));
        }
        w.run(1);
    }
    w.run(2_000);
    assert_ne!(before, leaders(&w), "leaders move to the sequencer's node");
    let mut last = Revision::ZERO;
    for id in &ids {
        let answer = w.answers.remove(id).expect("answered");
        last = last.max(answer.unwrap_or_else(|e| panic!("nothing broke: {e}")).revision);
    }
    assert_eq!(last.0, 2 + ids.len() as u64, "numbers were burnt");
}

#[cfg(feature = "museum")]
#[test]
fn each_of_these_tests_fails_when_its_bug_is_planted() {
    base::museum::each_is_noticed(&[
        ("late-follower-hears-no-commit", a_follower_with_a_slow_disk_hears_of_the_commit_without_another_write),
        ("transfer-burns-numbers", leaders_that_move_burn_no_number_and_leave_no_write_in_doubt),
        ("hash-without-the-overlay", a_hash_at_the_leader_waits_for_the_engine),
    ]);
}

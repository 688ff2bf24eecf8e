//! The orderly end of a node that leads everything, while it is asked.

mod world;

use base::{CallId, Revision, Tick};
use node::Input;
use world::World;

/// Writes that are evaluated at a leader while all disks are slow: asked of it, and of another node.
fn under_way() -> (World, Vec<CallId>) {
    asked(10)
}

fn asked(times: usize) -> (World, Vec<CallId>) {
    let mut w = World::new(3, &["m"]);
    w.put(0, "a", "1");
    w.put(0, "z", "1");
    w.run(500);
    assert_eq!(w.leader(), 0);
    w.slow_disk = vec![Tick::ms(10); 3];
    let mut ids = Vec::new();
    for i in 0..times {
        for key in ["a", "z"] {
            ids.push(w.begin(i % 2, World::put_ask(key, &i.to_string())));
        }
        w.run(1);
    }
    (w, ids)
}

fn stops_in_order(times: usize) {
    let (mut w, ids) = asked(times);
    let count = ids.len() as u64;
    w.inbox[0].push_back(Input::Stop);
    w.run(2_000);
    let mut revisions = Vec::new();
    for id in ids {
        let answer = w.answers.remove(&id).expect("nobody waits for its deadline");
        revisions
            .push(answer.unwrap_or_else(|e| panic!("it was evaluated, and its client knows nothing: {e}")).revision);
    }
    revisions.sort();
    let first = revisions[0].0;
    let all: Vec<Revision> = (first..first + count).map(Revision).collect();
    assert_eq!(revisions, all, "and its number was burnt");
}

#[test]
fn what_is_evaluated_is_answered_before_the_end() {
    // Now and then the sequencer's ceiling is being raised.
    (1..60).step_by(4).for_each(stops_in_order);
}

#[test]
fn the_others_lead_at_once_and_a_stopped_node_is_gone() {
    let (mut w, _) = under_way();
    w.inbox[0].push_back(Input::Stop);
    let begun = w.now;
    while !w.ended.contains(&0) {
        w.run(5);
        assert!(w.now.since(begun) < Tick::ms(1_000).0, "it has nothing left to do");
    }
    assert_ne!(w.leader(), 0);
    let late = w.begin(0, World::put_ask("a", "late"));
    w.run(5);
    assert!(w.answers.remove(&late).expect("refused at once").is_err());
    w.dead.insert(0);
    let write = w.begin(1, World::put_ask("a", "2"));
    w.run(200);
    assert!(w.answers.remove(&write).expect("no election is waited for").is_ok());
}

#[test]
fn a_node_without_others_answers_and_goes() {
    let mut w = World::new(1, &[]);
    w.put(0, "a", "1");
    w.slow_disk = vec![Tick::ms(10)];
    let ids: Vec<CallId> = (0..5).map(|i| w.begin(0, World::put_ask("a", &i.to_string()))).collect();
    w.run(1);
    w.inbox[0].push_back(Input::Stop);
    w.run(300);
    assert!(w.ended.contains(&0));
    assert!(ids.iter().all(|id| w.answers.remove(id).is_some_and(|a| a.is_ok())));
}

#[test]
fn a_node_that_hears_nobody_ends_all_the_same() {
    let (mut w, _) = under_way();
    w.cut_off(0);
    w.inbox[0].push_back(Input::Stop);
    w.run(2_500);
    assert!(w.ended.contains(&0));
}

#[cfg(feature = "museum")]
#[test]
fn each_of_these_tests_fails_when_its_bug_is_planted() {
    base::museum::each_is_noticed(&[("stops-without-an-answer", || stops_in_order(10))]);
}

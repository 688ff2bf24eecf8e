//! A leader's node is lost, or cannot be reached: what its peers do with the calls of their clients.

mod world;

use base::{Kind, StoreId};
use node::Input;
use world::World;

/// How long an election may take: D until support is withdrawn, then some jitter and a few round trips.
const ELECTION: u64 = 2_000;

fn cluster() -> (World, usize, usize) {
    let mut w = World::new(3, &[]);
    w.put(0, "k", "1");
    w.run(500);
    let leader = w.leader();
    (w, leader, (leader + 1) % 3)
}

#[test]
fn calls_that_come_after_the_loss_of_a_leader_wait_for_the_next_one() {
    let (mut w, leader, other) = cluster();
    w.kill(leader);
    w.run(1);
    let ids: Vec<_> = (0..20).map(|i| w.begin(other, World::put_ask("k", &i.to_string()))).collect();
    w.run(ELECTION);
    for id in ids {
        let answer = w.answers.remove(&id).expect("it was never handed to the lost node, so it need not wait for it");
        answer.unwrap_or_else(|e| panic!("it was never handed to anybody, so it can be routed again: {e}"));
    }
}

#[test]
fn a_write_under_way_to_a_lost_leader_is_in_doubt_at_once_and_a_read_is_asked_again() {
    let (mut w, leader, other) = cluster();
    w.cut.insert((other, leader));
    let write = w.begin(other, World::put_ask("k", "2"));
    let read = w.begin(other, World::get_ask("k"));
    w.run(5);
    w.kill(leader);
    w.run(5);
    let told = w.answers.remove(&write).expect("its client is told at once");
    assert_eq!(told.unwrap_err().kind, Kind::Unknown);
    w.run(ELECTION);
    assert!(w.answers.remove(&read).expect("read at the next leader").is_ok());
}

#[test]
fn calls_to_a_leader_that_went_deaf_do_not_wait_for_their_deadline() {
    let (mut w, leader, other) = cluster();
    // Streams stand, frames are lost one way: nobody says that the call did not arrive.
    w.cut.insert((other, leader));
    let write = w.begin(other, World::put_ask("k", "2"));
    w.run(1_500);
    let told = w.answers.remove(&write).expect("D and a little later its client is told");
    assert_eq!(told.unwrap_err().kind, Kind::Unknown, "nobody knows, and it is not sent twice");
    let next = w.begin(other, World::put_ask("k", "3"));
    w.run(1_500);
    assert!(w.answers.remove(&next).is_none(), "nobody that hears us leads: it waits, handed to nobody");
    w.cut.clear();
    w.run(1_000);
    assert!(w.answers.remove(&next).expect("the way is open again").is_ok());
}

#[test]
fn a_stream_that_stands_again_is_used_again() {
    let (mut w, leader, other) = cluster();
    w.inbox[other].push_back(Input::Disconnected(StoreId(leader as u64 + 1)));
    let write = w.begin(other, World::put_ask("k", "2"));
    w.run(100);
    assert!(w.answers.is_empty(), "without a stream nothing is handed over");
    w.inbox[other].push_back(Input::Connected(StoreId(leader as u64 + 1)));
    w.run(100);
    assert!(w.answers.remove(&write).expect("handed over").is_ok());
}

#[cfg(feature = "museum")]
#[test]
fn each_of_these_tests_fails_when_its_bug_is_planted() {
    base::museum::each_is_noticed(&[
        ("calls-into-the-void", calls_that_come_after_the_loss_of_a_leader_wait_for_the_next_one),
        ("calls-into-the-void", calls_to_a_leader_that_went_deaf_do_not_wait_for_their_deadline),
    ]);
}

//! What a node shows of itself must be true when others are gone.

mod world;

use world::World;

/// Whichever of the three is left, whether it led or followed: it does not go on showing a leader that is no more.
#[test]
fn a_leader_that_is_gone_is_not_shown() {
    for left in 0..3 {
        let mut w = World::new(3, &["m"]);
        w.put(0, "a", "1");
        w.run(300);
        let before = w.nodes[left].status();
        assert!(before.leader.is_some() && before.leaderless == 0, "{before:?}");
        for other in (0..3).filter(|i| *i != left) {
            w.cut.extend([(left, other), (other, left)]);
        }
        w.run(5_000);
        let after = w.nodes[left].status();
        assert_eq!((after.leader, after.leaderless), (None, after.ranges), "n{} alone", left + 1);
    }
}

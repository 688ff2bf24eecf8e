//! What a node may look at: every accessor of a leader and of a follower, in one small world.

use super::world::{World, member};
use base::{Index, ReplicaId, StoreId, Term, Tick};
use raft::Role;

#[test]
fn what_a_node_may_look_at() {
    let mut world = World::new(4, 3, 1, 1);
    world.campaign(0);
    world.settle();
    world.propose(0, "a");
    world.settle();
    world.propose(0, "b");
    let (leader, follower) = (world.group(0), world.group(1));
    assert_eq!((leader.member(), leader.role(), leader.leader()), (member(1), Role::Leader, Some(member(1))));
    assert_eq!((follower.member(), follower.role(), follower.leader()), (member(2), Role::Follower, Some(member(1))));
    assert!(leader.is_leader() && !follower.is_leader());
    assert_eq!((leader.term(), leader.vote()), (Term(2), Some(ReplicaId(1))));
    assert_eq!((leader.commit(), leader.applied_index(), leader.written_index()), (Index(3), Index(3), Index(3)));
    assert_eq!((leader.last(), leader.truncated()), ((Index(4), Term(2)), (Index(1), Term(1))));
    assert_eq!((leader.memory_from(), follower.memory_from()), (Index(4), Index(4)));
    assert_eq!((leader.term_start(), follower.term_start()), (Some(Index(2)), None));
    assert_eq!(leader.config().replica, ReplicaId(1));
    assert_eq!(leader.conf().to_string(), "(p1 p2 p3) ~(p4)");
    assert!(leader.promotable() && !world.group(3).promotable());
    // its own copy counts once it is written
    let matched = |n: u64| leader.matched(ReplicaId(n));
    assert_eq!((matched(1), matched(2), matched(9)), (Some(Index(3)), Some(Index(3)), None));
    assert_eq!(follower.matched(ReplicaId(2)), None);
    let states = leader.progress();
    let at: Vec<_> = states.iter().map(|p| (p.member, p.matched, p.snapshot, p.heard, p.fortified)).collect();
    let expected = |n| (member(n), Index(3), false, Tick::ms(1000), None);
    assert_eq!(at, vec![expected(2), expected(3), expected(4)]);
    assert!(follower.progress().is_empty());
    assert_eq!((leader.transferring(), follower.transferring()), (None, None));
    let told = leader.commit_for(ReplicaId(2)).map(|c| c.to_string());
    assert_eq!(told.as_deref(), Some("commit 3@2 term=2"));
    let disk = &world.nodes[0].disk;
    assert_eq!((leader.term_at(disk, Index(1)), leader.term_at(disk, Index(3))), (Some(Term(1)), Some(Term(2))));
    assert_eq!((leader.term_at(disk, Index(0)), leader.term_at(disk, Index(5))), (None, None));
    let entries = leader.entries(disk, Index(2), Index(3), 1).expect("the disk can be read");
    assert_eq!(entries.len(), 1, "never cut before the first");
    world.call(0, |g, ctx, out| g.transfer(ctx, ReplicaId(2), out)).expect("it is up").expect("it may");
    assert_eq!(world.group(0).transferring(), Some(ReplicaId(2)), "b is still under way");
}

#[test]
pub(crate) fn who_leads_alone_waits_for_its_disk_asleep() {
    let mut world = World::new(1, 1, 0, 1);
    world.campaign(0);
    world.settle();
    assert!(world.propose(0, "a"));
    // The disk takes its time.
    let armed = world.group(0).next_deadline();
    assert!(armed < Tick::FAR);
    world.now = armed;
    world.call(0, |group, ctx, out| group.deadline(ctx, out));
    assert!(world.group(0).is_leader());
    assert!(world.group(0).next_deadline() > world.now, "not awake");
    world.settle();
    assert_eq!(world.group(0).commit(), world.group(0).last().0);
}

#[test]
fn a_leader_keeps_in_memory_what_is_not_sent_while_that_is_little() {
    for (bytes, from) in [(1 << 20, Index(4)), (40, Index(6))] {
        let mut world = World::new(3, 3, 0, 1);
        (world.base.max_inflight, world.base.max_inflight_bytes) = (1, bytes);
        (0..3).for_each(|n| world.start(n));
        world.campaign(0);
        world.settle();
        for data in ["a", "b", "c", "d"] {
            world.propose(0, data);
            // the third is silent: it was sent the first of them, and has room for no more
            world.net.retain(|e| e.to != member(3));
            world.settle();
        }
        let leader = world.group(0);
        assert_eq!((leader.applied_index(), leader.memory_from()), (Index(6), from), "{bytes} bytes may be under way");
    }
}

#[test]
fn soon_is_not_now() {
    let mut world = World::new(3, 3, 0, 1);
    // so short that there is no jitter
    world.base.election_timeout = Tick(4);
    (0..3).for_each(|n| world.start(n));
    world.campaign(0);
    world.settle();
    world.call(0, |g, ctx, out| g.step_down(ctx, out));
    world.settle();
    assert_eq!(world.group(1).next_deadline(), world.now + Tick(1));
}

#[test]
fn whose_promises_count_is_said_of_every_voter() {
    let mut world = World::new(3, 3, 0, 1);
    for (n, (from, to)) in (1..).zip([(1, 0), (2, 0), (0, 1), (0, 2)]) {
        world.promise(from, to, n);
    }
    world.campaign(0);
    world.settle();
    let said = |world: &World| world.group(0).promisers(&world.nodes[0].supports);
    let expected = |third| vec![(StoreId(1), true), (StoreId(2), true), (StoreId(3), third)];
    assert_eq!(said(&world), expected(true));
    world.lapse(2, 0);
    assert_eq!(said(&world), expected(false));
}

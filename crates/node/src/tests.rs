//! Interleavings that need a look inside the node.

use crate::boot::{self, Founding};
use crate::effects::{Effects, Input};
use crate::node::{Config, Node, Work};
use base::{BootId, ClusterId, Place, RangeId, ReplicaId, Revision, Rng, StoreId, Tick};
use engine::mem::Mem;
use range::Sink;

type View = <Mem as engine::Engine>::View;

/// Store 1 of a cluster of so many.
fn node(stores: u64) -> Node<Mem> {
    let founding = Founding {
        cluster: ClusterId(7),
        stores: (1..=stores).map(StoreId).collect(),
        split_keys: Vec::new(),
        replication: 3,
    };
    let engine = Mem::new();
    boot::bootstrap(&engine, &founding, StoreId(1), BootId(1)).unwrap();
    Node::open(Config::default(), engine, Rng::new(1), Tick::ms(1)).unwrap()
}

fn work() -> Work<View> {
    Work { sink: Sink::default(), view: None, pins: Vec::new() }
}

/// A step at this time that takes nothing in; its write is not carried out.
fn step(node: &mut Node<Mem>, ms: u64) -> Effects<Mem> {
    take(node, ms, Vec::new())
}

fn take(node: &mut Node<Mem>, ms: u64, inputs: Vec<Input<View>>) -> Effects<Mem> {
    let effects = node.step(inputs, Tick::ms(ms));
    assert!(effects.failed.is_none(), "{:?}", effects.failed);
    effects
}

#[test]
fn an_earlier_write_does_not_end_the_bound_that_a_later_one_carries() {
    let mut n = node(3);
    n.bounds.compacted = Revision(5);
    let first = step(&mut n, 2).write.expect("the bound is written").seq;
    // Another task goes out while the bound is on its way.
    let between = n.hand_out(engine::Batch::new(), true, Vec::new(), Tick::ms(3)).seq;
    take(&mut n, 4, vec![Input::Written(first)]);
    assert_eq!((n.bounds.bound, n.bounds.writing), (Revision(5), None));
    n.bounds.compacted = Revision(9);
    let second = step(&mut n, 300).write.expect("the next bound is written").seq;
    take(&mut n, 301, vec![Input::Written(between)]);
    assert_eq!(n.bounds.floor(), Revision(9), "a read at 7 would lose its versions when 9 is in use");
    let effects = take(&mut n, 302, vec![Input::Written(second)]);
    assert_eq!((effects.bound, n.bounds.writing), (Some(Revision(9)), None));
}

#[test]
fn the_floor_is_the_larger_of_what_is_written_and_what_a_snapshot_brought() {
    let mut n = node(3);
    n.bounds.compacted = Revision(5);
    let write = step(&mut n, 2).write.expect("the bound is written");
    (n.bounds.bound, n.bounds.compacted) = (Revision(8), Revision(8));
    assert_eq!(n.bounds.floor(), Revision(8));
    let effects = take(&mut n, 3, vec![Input::Written(write.seq)]);
    assert_eq!(effects.bound, Some(Revision(5)), "8 is not known to be durable here");
}

#[test]
fn the_bound_waits_while_a_snapshot_is_sent() {
    let mut n = node(3);
    let to = Place { replica: ReplicaId(2), store: StoreId(2) };
    n.offer_snapshot(RangeId(2), to, Tick::ms(2), &mut work());
    n.bounds.compacted = Revision(5);
    step(&mut n, 300);
    assert_eq!(n.bounds.writing, None, "pieces are still read from a view that compaction ignores");
    n.snapshots.disconnected(StoreId(2), &mut Effects::<Mem>::empty());
    step(&mut n, 600);
    assert_eq!(n.bounds.writing, Some(Revision(5)));
}

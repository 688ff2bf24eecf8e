//! What a group costs while it is idle, against an allocator that counts.

use super::world::World;
use raft::Group;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// Counts what this thread holds.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a thread-local number that allocates
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LIVE.try_with(|live| live.set(live.get() + layout.size() as isize));
        // SAFETY: the caller keeps the contract of `alloc`
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let _ = LIVE.try_with(|live| live.set(live.get() - layout.size() as isize));
        // SAFETY: `ptr` came from `alloc` above with this layout
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> isize {
    LIVE.with(Cell::get)
}

/// Three replicas that support each other, led by the first, which did some work and rest now.
fn rested() -> World {
    rested_after(true)
}

fn rested_after(reads: bool) -> World {
    let mut world = World::new(3, 3, 0, 1);
    for (n, (t, s)) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)].into_iter().enumerate() {
        world.promise(t, s, n as u64 + 1);
    }
    world.campaign(0);
    world.settle();
    for round in 0..50 {
        for n in 0..20 {
            world.propose(0, &format!("some data {round} {n}"));
        }
        if reads {
            world.read(0);
        }
        world.settle();
    }
    // one beat finds that nothing is missing, and is the last
    world.pass(base::Tick::ms(600), true);
    world
}

#[test]
fn an_idle_group_costs_at_most_a_kilobyte() {
    let world = rested();
    for n in 0..3 {
        let group = world.group(n);
        assert_eq!(group.next_deadline(), base::Tick::FAR, "{group} is not idle");
        let claimed = group.heap_bytes();
        let before = live();
        let copy: Group = group.clone();
        let held = live() - before;
        drop(copy);
        // a clone allocates what the original needs, perhaps less of what it reserved
        assert!(held <= claimed as isize, "{group}: {held} bytes on the heap, it claims {claimed}");
        let total = size_of::<Group>() + claimed;
        assert!(total <= 1024, "{group}: {total} bytes");
        assert_eq!(group.memory_from(), group.last().0.next(), "{group} keeps entries in memory");
    }
}

#[test]
fn reads_leave_nothing_behind() {
    let heap = |reads| rested_after(reads).group(0).heap_bytes();
    assert_eq!(heap(true), heap(false));
}

#[test]
fn the_claim_is_exact_when_a_group_goes() {
    let mut world = rested();
    for n in 0..3 {
        let claimed = world.group(n).heap_bytes();
        let before = live();
        world.nodes[n].group = None;
        assert_eq!((before - live()) as usize, claimed, "replica {}", n + 1);
    }
}

#[test]
fn what_was_cut_off_and_sent_is_no_longer_claimed() {
    // a divergent tail that is cut, rounds that nobody confirmed, entries that were under way
    let mut world = rested();
    for n in 0..3 {
        world.propose(0, &format!("unsent {n}"));
        world.read(0);
    }
    world.net.clear();
    let busy = world.group(0).heap_bytes();
    world.complete(0);
    world.call(0, |g, ctx, out| g.step_down(ctx, out));
    world.settle();
    world.campaign(1);
    world.settle();
    assert!(world.group(1).is_leader() && world.group(0).last() == world.group(1).last(), "the tail was cut");
    world.propose(1, "one more");
    world.settle();
    world.pass(base::Tick::ms(600), true);
    for n in 0..3 {
        let claimed = world.group(n).heap_bytes();
        assert!(claimed < busy, "replica {}: {claimed} bytes at rest, {busy} while busy", n + 1);
        let before = live();
        world.nodes[n].group = None;
        assert_eq!((before - live()) as usize, claimed, "replica {}", n + 1);
    }
}

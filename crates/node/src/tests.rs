//! Interleavings that need a look inside the node.

use crate::boot::{self, Founding};
use crate::builder::Builder;
use crate::calls::{Call, State};
use crate::effects::{ClientAsk, Effects, Input, WriteTask};
use crate::frame::{Ask, Frame, Part, Stream};
use crate::held::Load;
use crate::liveness::{Beat, Turned};
use crate::node::{Config, Node, Work, turn};
use crate::numbers::Fetches;
use crate::parts::PartState;
use base::{
    BootId, CallId, ClusterId, Error, Incarnation, Key, Kind, Place, RangeId, Refusal, ReplicaId, Result, Revision,
    Rng, Span, StoreId, Tick, limits,
};
use bytes::Bytes;
use engine::mem::Mem;
use mvcc::{PutReq, RangeReq, Request, TxnReq};
use range::{Answer, Command, Origin, Outcome, ReadAsk, Ready, Sink, Spec, Turn};
use std::collections::BTreeSet;
use std::sync::Arc;

type View = <Mem as engine::Engine>::View;

/// Store 1 of a cluster of so many.
fn node(stores: u64) -> Node<Mem> {
    node_of(1, stores)
}

fn node_of(store: u64, stores: u64) -> Node<Mem> {
    let founding = Founding {
        cluster: ClusterId(7),
        stores: (1..=stores).map(StoreId).collect(),
        split_keys: Vec::new(),
        replication: 3,
    };
    let engine = Mem::new();
    boot::bootstrap(&engine, &founding, StoreId(store), BootId(1)).unwrap();
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
    let between = n.hand_out(Load { sync: true, ..Load::default() }, Tick::ms(3)).seq;
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
fn the_disk_is_awaited_by_whoever_commits_with_it_and_by_no_follower() {
    let mut n = serving();
    let ask = ClientAsk::Kv(Arc::new(put(b"w")));
    let mut inputs = vec![Input::Call(CallId(2), ask, Tick::ms(5_000))];
    let mut told = 0;
    for ms in 200..300 {
        let effects = take(&mut n, ms, std::mem::take(&mut inputs));
        told += effects.replies.len();
        let entry = |t: &WriteTask| t.batch.ops().iter().any(|op| matches!(op, engine::Op::Put(engine::Cf::Log, ..)));
        if let Some(task) = effects.write {
            assert_eq!(effects.awaits_disk, entry(&task), "what is applied nobody waits for");
            inputs.push(Input::Written(task.seq));
        }
        let open = |(_, leased): (_, base::Leased<Ready<View>>)| Input::Proved(leased.open(Tick::ms(ms)).ok().unwrap());
        inputs.extend(effects.leased.into_iter().map(open));
    }
    assert_eq!(told, 1);
    assert!(!step(&mut n, 300).awaits_disk, "nothing is under way");

    let mut n = node(3);
    let base = (range::state::FIRST_INDEX, range::state::FIRST_TERM);
    let entry = raft::Entry { index: base.0.next(), term: base::Term(2), payload: raft::Payload::Empty };
    let (term, commit, acked) = (base::Term(2), base.0, base::Index(0));
    let message = raft::Message::Append(raft::Append { term, base, commit, epoch: None, acked, entries: vec![entry] });
    let mut frame = Builder::expecting(0);
    frame.push(&Part::Letter(range::Letter { range: RangeId(2), from: place(2), to: place(1), message }));
    let frame = Input::Frame(StoreId(2), frame.finish(Stream::Now, Incarnation(1), 1));
    let effects = take(&mut n, 2, vec![frame]);
    assert!(effects.write.is_some_and(|t| t.sync && !t.frames.is_empty()), "it acknowledges with its write");
    assert!(!effects.awaits_disk && !n.awaits_disk());
    n.dirty.insert(RangeId(2));
    assert!(n.awaits_disk(), "what was left over goes on when the write is done");
    assert!(take(&mut n, 3, vec![Input::Stop]).awaits_disk, "it goes when all is written");
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

/// What a frame says.
fn parts(effects: &Effects<Mem>) -> Vec<Part> {
    effects.frames.iter().flat_map(|f| Frame::decode(f.bytes.clone()).expect("a frame").parts).collect()
}

fn scan(revision: u64) -> RangeReq {
    RangeReq {
        span: Span::point(&Key::user(b"k")),
        revision: Revision(revision),
        limit: 0,
        sort: None,
        keys_only: false,
        count_only: false,
        serializable: false,
        filter: mvcc::Filter::default(),
    }
}

fn put(value: &[u8]) -> Request {
    let (key, value) = (Key::user(b"k"), Bytes::copy_from_slice(value));
    Request::Put(PutReq { key, value, lease: 0, prev_kv: false, ignore_value: false, ignore_lease: false })
}

/// Runs a node that is a whole cluster until this time; what clients were told.
fn run(node: &mut Node<Mem>, mut inputs: Vec<Input<View>>, (from, to): (u64, u64)) -> Vec<(CallId, Result<Outcome>)> {
    let mut told = Vec::new();
    for ms in from..to {
        let effects = take(node, ms, std::mem::take(&mut inputs));
        if let Some(task) = effects.write {
            engine::Engine::write(node.engine(), &task.batch, task.sync).unwrap();
            inputs.push(Input::Written(task.seq));
        }
        for (proof, leased) in effects.leased {
            inputs.push(match leased.open(Tick::ms(ms)) {
                Ok(Ready::Read(task)) => Input::Read(task.origin, task.run()),
                Ok(ready) => Input::Proved(ready),
                Err(late) => Input::Unproved(proof, late.into_unproved()),
            });
        }
        told.extend(effects.replies);
        node.check();
    }
    told
}

/// A cluster of one that leads and serves, with `k` written at 2.
fn serving() -> Node<Mem> {
    let mut n = node(1);
    let ask = ClientAsk::Kv(Arc::new(put(b"v")));
    let told = run(&mut n, vec![Input::Call(CallId(1), ask, Tick::ms(5_000))], (2, 200));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].1.as_ref().expect("written").revision, Revision(2));
    n
}

fn call(n: &Node<Mem>, life: u64) -> Input<View> {
    let mut frame = Builder::expecting(0);
    frame.push(&Part::Call(CallId(9), (1_000, Incarnation(life)), Ask::Kv(RangeId(2), Arc::new(put(b"v")))));
    assert_eq!(n.incarnation(), Incarnation(1));
    Input::Frame(StoreId(2), frame.finish(Stream::Now, Incarnation(1), life))
}

#[test]
fn a_call_for_another_life_of_this_store_is_not_even_answered() {
    let mut n = node(3);
    let replay = call(&n, 0);
    let effects = take(&mut n, 2, vec![replay]);
    assert!(
        parts(&effects).iter().all(|p| !matches!(p, Part::Reply(..))),
        "it may have been done in the life it was for"
    );
    let fresh = call(&n, 1);
    let effects = take(&mut n, 3, vec![fresh]);
    assert!(parts(&effects).iter().any(|p| matches!(p, Part::Reply(..))));
}

#[test]
fn what_one_frame_cannot_carry_travels_in_several_and_too_large_an_answer_is_refused() {
    let mut n = node(3);
    let chunk = |at| Part::Chunk(RangeId(2), 1, at, false, Bytes::from(vec![0; limits::MAX_FRAME_BYTES / 3]));
    for at in 0..4 {
        n.outbox.snapshot(StoreId(2), &chunk(at));
    }
    let reply = mvcc::Reply::Put(mvcc::PutReply {
        prev: Some(mvcc::KeyValue {
            key: Key::user(b"k"),
            create: Revision(2),
            modified: Revision(2),
            version: 1,
            value: Bytes::from(vec![0; limits::MAX_FRAME_BYTES]),
            lease: 0,
        }),
    });
    let outcome = Outcome { revision: Revision(2), answer: Answer::Kv(reply) };
    n.outbox.now(StoreId(2), &Part::Reply(CallId(1), Ok(outcome)));
    let effects = step(&mut n, 2);
    assert!(effects.frames.iter().all(|f| f.bytes.len() <= limits::MAX_FRAME_BYTES));
    let all = parts(&effects);
    assert_eq!(all.iter().filter(|p| matches!(p, Part::Chunk(..))).count(), 4);
    assert!(all.iter().any(|p| matches!(p, Part::Reply(CallId(1), Err(_)))));
}

#[test]
fn calls_beyond_the_bound_are_refused_and_the_count_comes_back_to_zero() {
    let mut n = serving();
    n.config.limits.max_queued_bytes = 3_000;
    let ask = |id| Input::Call(CallId(id), ClientAsk::Kv(Arc::new(put(&[0; 500]))), Tick::ms(5_000));
    let told = run(&mut n, (10..30).map(ask).collect(), (200, 400));
    let refused = |r: &Result<Outcome>| r.as_ref().is_err_and(|e| e.kind == Kind::Refused(Refusal::TooManyRequests));
    let no = told.iter().filter(|(_, r)| refused(r)).count();
    assert_eq!(told.len(), 20);
    assert!((10..20).contains(&no), "{no} of 20 were refused");
    assert_eq!((n.door.queued, n.calls.bytes()), (0, 0));
}

#[test]
fn a_restart_waits_for_the_longest_promise_of_any_life() {
    let founding =
        Founding { cluster: ClusterId(7), stores: (1..=3).map(StoreId).collect(), split_keys: vec![], replication: 3 };
    let engine = Mem::new();
    boot::bootstrap(&engine, &founding, StoreId(1), BootId(1)).unwrap();
    let open = |d, now| {
        let config = Config { election_timeout: Tick::ms(d), ..Config::default() };
        Node::open(config, engine.clone(), Rng::new(1), Tick::ms(now)).unwrap()
    };
    drop(open(5_000, 1));
    let again = open(1_000, 10);
    assert_eq!(again.liveness.supports().voting_allowed_from, Tick::ms(5_010));
}

#[test]
fn a_full_store_that_is_gone_keeps_nobody_from_writing() {
    let mut n = node(3);
    n.door.full.extend([StoreId(1), StoreId(2)]);
    assert_eq!(n.status().full, [StoreId(1), StoreId(2)]);
    step(&mut n, 300);
    assert_eq!(n.door.full, BTreeSet::from([StoreId(1)]));
    assert_eq!(n.status().full, [StoreId(1)], "alarms end with what they are about");
}

#[test]
fn a_transaction_that_reads_below_the_bound_asks_for_a_new_x() {
    let mut n = serving();
    let txn = |revision| TxnReq { compares: vec![], success: vec![Request::Range(scan(revision))], failure: vec![] };
    let ask = |revision| ReadAsk {
        origin: Origin::Local(CallId(5)),
        spec: Spec::Txn(txn(revision)),
        x: Revision(9),
        compacted: Revision::ZERO,
        fetches: 0,
        deadline: Tick::FAR,
    };
    // X came before a compaction that is in use now.
    (n.bounds.bound, n.bounds.compacted) = (Revision(5), Revision(5));
    let mut outcomes = Vec::new();
    for revision in [4, 5] {
        let mut w = work();
        n.replicas.get_mut(&RangeId(2)).unwrap().admit(&mut w.sink, ask(revision));
        n.dirty.insert(RangeId(2));
        let effects = step(&mut n, 250);
        outcomes.extend(effects.leased.into_iter().filter_map(|(_, l)| match l.into_unproved() {
            Ready::Read(_) => Some("read"),
            Ready::Reply(_, Err(e)) if e.kind == Kind::Retry => Some("again"),
            _ => None,
        }));
    }
    assert_eq!(outcomes, ["again", "read"]);
}

#[test]
fn whoever_names_no_revision_is_never_told_that_it_is_compacted() {
    let mut n = serving();
    // X came late, from before a compaction that this node has heard of otherwise.
    (n.bounds.bound, n.bounds.compacted) = (Revision(5), Revision(5));
    let mut outcomes = Vec::new();
    for (x, named) in [(4, 0), (6, 0), (6, 6)] {
        let (spec, compacted) = (Spec::Scan(scan(named)), Revision(8));
        let (origin, x) = (Origin::Local(CallId(5)), Revision(x));
        let ask = ReadAsk { origin, spec, x, compacted, fetches: 0, deadline: Tick::FAR };
        n.replicas.get_mut(&RangeId(2)).unwrap().admit(&mut work().sink, ask);
        n.dirty.insert(RangeId(2));
        let effects = step(&mut n, 250);
        outcomes.extend(effects.leased.into_iter().filter_map(|(_, l)| match l.into_unproved() {
            Ready::Reply(_, Err(e)) => Some(e.kind),
            Ready::Closes(_) => None,
            _ => Some(Kind::Unknown),
        }));
    }
    assert_eq!(outcomes, [Kind::Retry, Kind::Unknown, Kind::Refused(Refusal::Compacted)], "again, read, refused");
}

#[test]
fn what_is_current_is_told_to_the_command_that_asked() {
    let mut n = serving();
    let ops = vec![Request::Range(scan(2)), put(b"w")];
    let request = Arc::new(Request::Txn(TxnReq { compares: vec![], success: ops, failure: vec![] }));
    let command = Command { origin: Origin::Local(CallId(6)), request, deadline: Tick::FAR, arrived: Tick::ZERO };
    let replica = n.replicas.get_mut(&RangeId(2)).unwrap();
    replica.submit(&mut work().sink, command);
    let front = replica.wants_bounds().expect("it names a revision");
    let bounds = mvcc::Bounds { current: Revision(2), compacted: Revision::ZERO };
    replica.bounds(front + 1, bounds);
    assert_eq!(replica.wants_bounds(), Some(front), "that was for another");
    replica.bounds(front, bounds);
    assert_eq!(replica.wants_bounds(), None);
}

#[test]
fn a_leadership_that_ends_takes_back_what_rests_on_its_lease() {
    let mut n = serving();
    let (now, mut w) = (Tick::ms(250), work());
    let replica = n.replicas.get_mut(&RangeId::META).unwrap();
    replica.compact(&mut turn!(n, w, now), Origin::Local(CallId(7)), Revision(999)).unwrap();
    assert_eq!(w.sink.leased.len(), 1, "a refusal, on the lease");
    // A lone voter's lease has no end; that of others has.
    w.sink.leased[0].0.until = Tick::ms(900);
    replica.stop(&mut turn!(n, w, now)).unwrap();
    assert!(w.sink.leased.is_empty());
    assert_eq!(w.sink.rerouted.len(), 1);
}

/// A part that another node was asked for.
fn asked(spec: Spec) -> PartState {
    PartState { asked: Some(StoreId(2)), retry_at: Tick::ms(3), ..PartState::new(RangeId(2), spec, Tick::ms(2)) }
}

#[test]
fn a_part_below_the_bound_begins_the_call_anew_and_old_answers_mean_nothing() {
    let mut n = node(3);
    let state = State::Parts { x: Revision(9), compacted: Revision::ZERO, parts: vec![asked(Spec::Scan(scan(0)))] };
    let ask = ClientAsk::Kv(Arc::new(Request::Range(scan(0))));
    n.calls.put(CallId(8), Call { ask, deadline: Tick::FAR, state, misled: false });
    let answer = Answer::Kv(mvcc::Reply::Range(mvcc::RangeReply { kvs: vec![], more: false, count: 0 }));
    n.part_answered(CallId(8), 0, Ok(Outcome { revision: Revision(7), answer }));
    let State::Parts { parts, .. } = &n.calls.open[&CallId(8)].state else { panic!("still in parts") };
    assert_eq!((parts[0].done.clone(), parts[0].asked), (None, Some(StoreId(2))), "7 is not 9");
    n.part_answered(CallId(8), 0, Err(Error::new(Kind::Retry, "below the bound")));
    assert!(matches!(n.calls.open[&CallId(8)].state, State::Parked(_)));
}

/// A call that begins anew while nothing is written has the same X again. Its sum is over what lies above one compaction.
#[test]
fn a_late_hash_from_before_a_compaction_is_not_added_to_those_from_after_it() {
    let mut n = node(3);
    let parts = vec![asked(Spec::Hash { span: Span::users(), at: Revision(9) })];
    let state = State::Parts { x: Revision(9), compacted: Revision(8), parts };
    n.calls.put(CallId(8), Call { ask: ClientAsk::Hash(Revision::ZERO), deadline: Tick::FAR, state, misled: false });
    let mut hears = |compacted| {
        let answer = Answer::Hash { hash: compacted, compacted: Revision(compacted) };
        n.part_answered(CallId(8), 0, Ok(Outcome { revision: Revision(9), answer }));
        let State::Parts { parts, .. } = &n.calls.open[&CallId(8)].state else { panic!("still in parts") };
        (parts[0].done.is_some(), parts[0].asked)
    };
    assert_eq!(hears(7), (false, Some(StoreId(2))), "7 was compacted when it was asked; now it is 8");
    assert_eq!(hears(8), (true, None));
}

#[test]
fn nothing_is_kept_of_the_parts_of_a_call_that_has_ended() {
    let mut n = node(3);
    n.calls.hops.insert(CallId(1 << 62), (CallId(8), 0));
    step(&mut n, 300);
    assert!(n.calls.hops.is_empty(), "its answer was lost, and nobody says so");
}

#[test]
fn a_hash_that_waited_until_the_bound_passed_it_begins_anew() {
    let mut n = node(3);
    let (mut w, mut effects) = (work(), Effects::empty());
    n.bounds.bound = Revision(7);
    let hash = Spec::Hash { span: Span::users(), at: Revision(9) };
    let part = PartState { settled: Some(base::Index(0)), ..PartState::new(RangeId(2), hash, Tick::ZERO) };
    let state = State::Parts { x: Revision(9), compacted: Revision(5), parts: vec![part] };
    let ask = ClientAsk::Hash(Revision::ZERO);
    n.calls.put(CallId(8), Call { ask, deadline: Tick::FAR, state, misled: false });
    n.go_on_with_parts(CallId(8), Tick::ms(3), &mut w, &mut effects);
    assert!(effects.reads.is_empty(), "it would miss versions that others still sum");
    assert!(matches!(n.calls.open[&CallId(8)].state, State::Parked(_)));
}

#[test]
fn whoever_names_no_revision_is_never_told_that_its_hash_is_compacted() {
    let answer = |at: u64| {
        let mut n = node(3);
        // X came late, from before a compaction that this node has heard of otherwise.
        n.bounds.compacted = Revision(9);
        let ask = ClientAsk::Hash(Revision(at));
        n.calls.put(CallId(8), Call { ask, deadline: Tick::FAR, state: State::Asking, misled: false });
        n.begin_parts(CallId(8), Revision(7), Tick::ms(3));
        let settled = Outcome { revision: Revision(7), answer: Answer::Settled { index: base::Index(5) } };
        n.part_answered(CallId(8), 0, Ok(settled));
        let again = matches!(n.calls.open[&CallId(8)].state, State::Parked(_));
        (again, n.calls.failed.pop().map(|(_, e)| e.kind))
    };
    assert_eq!(answer(0), (true, None), "a new X is fetched");
    assert_eq!(answer(7), (false, Some(Kind::Refused(Refusal::Compacted))));
    assert_eq!(answer(8), (false, Some(Kind::Refused(Refusal::FutureRevision))));
}

#[test]
fn a_replica_that_takes_a_snapshot_in_wants_no_turn() {
    let mut n = node(3);
    step(&mut n, 2);
    let engine = n.engine.clone();
    let replica = n.replicas.get_mut(&RangeId(2)).unwrap();
    assert!(replica.next_deadline() < Tick::FAR);
    let applied = range::state::Applied { index: base::Index(50), ..replica.applied() };
    replica.begin_install(&engine, applied).unwrap();
    assert_eq!(replica.next_deadline(), Tick::FAR, "a deadline that nobody serves would wake the node for ever");
}

#[test]
fn whoever_may_be_elected_without_another_word_takes_no_snapshot() {
    let mut n = node(3);
    step(&mut n, 2);
    let (now, mut w) = (Tick::ms(3), work());
    let replica = n.replicas.get_mut(&RangeId(2)).unwrap();
    replica.campaign(&mut turn!(n, w, now)).unwrap();
    assert!(replica.wants_snapshot(base::Index(50)));
    let yes = raft::VoteAnswer { term: base::Term(2), granted: true, commit: (base::Index(0), base::Term(0)) };
    let from = Place { replica: ReplicaId(2), store: StoreId(2) };
    replica.receive(&mut turn!(n, w, now), from, raft::Message::PreVoteAck(yes)).unwrap();
    assert_eq!(replica.group().role(), raft::Role::Candidate);
    // A vote may be here already, and its own is on its way to the disk.
    assert!(!replica.wants_snapshot(base::Index(50)), "it would lead while a snapshot goes in");
}

#[test]
fn a_failed_snapshot_does_not_silence_a_replica_whose_leader_is_gone() {
    let mut n = node(3);
    let engine = n.engine.clone();
    step(&mut n, 2);
    let asks = Beat { asks: true, ..beat(None) };
    n.liveness.receive(StoreId(2), &asks, Tick::ms(2), true, &mut Turned::default());
    let (from, term) = (Place { replica: ReplicaId(2), store: StoreId(2) }, base::Term(2));
    let base = (range::state::FIRST_INDEX, range::state::FIRST_TERM);
    let epoch = n.liveness.supports().given(StoreId(2));
    let append = raft::Append { term, base, commit: base.0, epoch, acked: base::Index(0), entries: vec![] };
    let (now, mut w) = (Tick::ms(3), work());
    let replica = n.replicas.get_mut(&RangeId(2)).unwrap();
    replica.receive(&mut turn!(n, w, now), from, raft::Message::Append(append)).unwrap();
    let applied = range::state::Applied { index: base::Index(50), ..replica.applied() };
    replica.begin_install(&engine, applied).unwrap();
    // The leader's store is silent, and its support ends.
    take(&mut n, 1_500, vec![]);
    assert_eq!(n.liveness.supports().given(StoreId(2)), None);
    let now = Tick::ms(1_501);
    let replica = n.replicas.get_mut(&RangeId(2)).unwrap();
    replica.install_failed(&mut turn!(n, w, now)).unwrap();
    assert!(replica.next_deadline() < Tick::FAR, "nobody else may be able to lead");
}

#[test]
fn an_answer_that_names_nobody_does_not_hide_the_sequencer_from_its_follower() {
    let mut n = node(3);
    step(&mut n, 2);
    let base = (range::state::FIRST_INDEX, range::state::FIRST_TERM);
    let append =
        raft::Append { term: base::Term(2), base, commit: base.0, epoch: None, acked: base::Index(0), entries: vec![] };
    let (now, mut w) = (Tick::ms(3), work());
    let meta = n.replicas.get_mut(&RangeId::META).unwrap();
    meta.receive(&mut turn!(n, w, now), place(2), raft::Message::Append(append)).unwrap();
    // The replica is idle and says nothing more; whoever answered knew no leader.
    n.directory.learn(RangeId::META, None);
    assert_eq!(n.sequencer_elsewhere(now), Some(StoreId(2)), "no number would be fetched here any more");
}

#[test]
fn nobody_to_fetch_from_is_no_reason_to_look_again_at_once() {
    let mut f = Fetches::new(StoreId(1), Incarnation(1));
    f.want(RangeId(2), base::Term(1), 1, true);
    assert_eq!(f.take_unsent(Some(StoreId(2)), Revision::ZERO, Tick::ms(0)).len(), 1);
    f.pass_time(Tick::ms(100));
    assert!(f.take_unsent(None, Revision::ZERO, Tick::ms(100)).is_empty());
    assert!(f.next_wake() > Tick::ms(100));
    assert_eq!(f.take_unsent(Some(StoreId(3)), Revision::ZERO, Tick::ms(101)).len(), 1, "and nothing was forgotten");
}

#[test]
fn the_late_reply_of_a_deposed_sequencer_is_not_taken_between_two_of_its_successor() {
    let mut f = Fetches::new(StoreId(1), Incarnation(1));
    let mut sent = Vec::new();
    for command in 1..=2 {
        f.want(RangeId(2), base::Term(1), command, true);
        sent.extend(f.take_unsent(Some(StoreId(2)), Revision::ZERO, Tick::ms(0)));
    }
    let reply = |n: usize, term, first| placement::Fetched {
        seq: sent[n].seq,
        term: base::Term(term),
        first: Revision(first),
        compacted: Revision::ZERO,
    };
    // The successor answers the first, and the second only once its ceiling is raised.
    assert_eq!(f.land(reply(0, 7, 100)).len(), 1);
    assert!(f.land(reply(1, 6, 50)).is_empty(), "numbers would go back");
    assert_eq!(f.land(reply(1, 7, 101))[0].fetched.first, Revision(101));
}

fn beat(support: Option<(raft::SupportEpoch, Tick)>) -> Beat {
    Beat {
        incarnation: Incarnation(1),
        n: 1,
        asks: false,
        sent: Tick::ms(2),
        duration: Tick::ms(1_000),
        support,
        withdrawn: None,
        vouches: vec![],
        is_reply: true,
        goodbye: false,
        full: false,
        revision: Revision(9),
        depth: 0,
        remembered: (Incarnation(0), 0),
    }
}

#[test]
fn a_node_without_a_replica_hears_the_newest_revision_in_beats_and_passes_it_on() {
    let mut n = node_of(4, 4);
    let mut frame = Builder::expecting(0);
    frame.push(&Part::Beat(beat(None)));
    let bytes = frame.finish(Stream::Control, Incarnation(1), 1);
    let effects = take(&mut n, 2, vec![Input::Frame(StoreId(1), bytes)]);
    assert_eq!((effects.revision, n.status().revision), (Revision(9), Revision(9)));
    let told = parts(&take(&mut n, 200, vec![])).into_iter().filter_map(|p| match p {
        Part::Beat(b) => Some(b.revision),
        _ => None,
    });
    assert!(told.clone().count() > 0 && told.clone().all(|r| r == Revision(9)), "{:?}", told.collect::<Vec<_>>());
}

#[test]
fn a_leader_that_hears_nothing_is_not_asked_for_ever() {
    // No replica here hears of the next leader.
    let mut n = node_of(4, 4);
    n.directory.learn(RangeId(2), Some(StoreId(1)));
    let beat = |n: &mut Node<Mem>, from: u64, asks: bool, support| {
        let beat = Beat { asks, ..beat(support) };
        n.liveness.receive(StoreId(from), &beat, Tick::ms(2), true, &mut Turned::default());
    };
    let ours = raft::SupportEpoch { incarnation: Incarnation(1), n: 1 };
    beat(&mut n, 1, false, None);
    beat(&mut n, 2, false, Some((ours, Tick::ms(1))));
    assert_eq!(n.someone_for(RangeId(2), Tick::ms(3)), Some(StoreId(2)), "it knows better, and it answers");
    beat(&mut n, 1, true, None);
    let leader = n.someone_for(RangeId(2), Tick::ms(3));
    assert_eq!(leader, Some(StoreId(1)), "it asks for support, so it hears, although it gives none");
}

#[test]
fn nodes_that_know_no_leader_are_not_asked_again_at_once() {
    let mut n = node_of(4, 4);
    let (now, mut effects) = (Tick::ms(5), Effects::empty());
    let mut answered = |from: u64, leader: Option<u64>| {
        let ask = ClientAsk::Kv(Arc::new(Request::Range(scan(0))));
        let misled = n.calls.take(&CallId(3)).is_some_and(|c| c.misled);
        let state = State::Away(StoreId(from), now);
        n.calls.put(CallId(3), Call { ask, deadline: Tick::FAR, state, misled });
        let kind = Kind::Elsewhere { range: RangeId(2), leader: leader.map(StoreId) };
        n.hop_answered(StoreId(from), (CallId(3), Err(Error::new(kind, "not here"))), now, &mut effects);
        let State::Parked(until) = n.calls.open[&CallId(3)].state else { panic!("it waits") };
        until.since(now)
    };
    assert_eq!(answered(1, Some(2)), 0, "a name is followed at once");
    assert!(answered(2, Some(1)) > 0, "two that name each other are not");
    assert!(answered(1, None) > 0, "nor is one that knows nobody");
}

#[test]
fn whoever_asks_for_nothing_is_told_about_the_range_that_was_asked() {
    let mut n = node(3);
    let (mut w, mut effects) = (work(), Effects::empty());
    let nothing = RangeReq { span: Span::new(Key::user(b"x"), Key::user(b"b")), ..scan(0) };
    let origin = Origin::Remote(StoreId(2), CallId(4));
    let (x, deadline) = (Revision(9), Tick::FAR);
    let ask = ReadAsk { origin, spec: Spec::Scan(nothing), x, compacted: x, fetches: 0, deadline };
    w.sink.rerouted.push(range::Asked::Read(ask));
    n.settle_sink(Tick::ms(3), &mut w, &mut effects);
    let Some((2, Part::Reply(_, Err(e)))) = said(&mut n).pop() else { panic!("it is told to ask elsewhere") };
    assert_eq!(e.kind, Kind::Elsewhere { range: RangeId(2), leader: None }, "not who leads the meta range");
}

/// What snapshots had to say since the last time, and to whom.
fn said(n: &mut Node<Mem>) -> Vec<(u64, Part)> {
    let (frames, _) = n.outbox.finish();
    let parts = |f: &crate::effects::Outgoing| Frame::decode(f.bytes.clone()).expect("a frame").parts;
    frames.iter().flat_map(|f| parts(f).into_iter().map(|p| (f.to.0, p))).collect()
}

fn offered(n: &mut Node<Mem>, name: (u64, u64, u64), ms: u64) -> Vec<(u64, Part)> {
    offered_heard(n, name, ms, &|_| false)
}

fn offered_heard(
    n: &mut Node<Mem>,
    (range, from, number): (u64, u64, u64),
    ms: u64,
    hears: &dyn Fn(StoreId) -> bool,
) -> Vec<(u64, Part)> {
    let applied = range::state::Applied { index: base::Index(9), ..Default::default() };
    let name = (RangeId(range), StoreId(from), number);
    n.snapshots.offered(name, (applied, Revision(1)), (true, hears), Tick::ms(ms), &mut n.outbox);
    said(n)
}

#[test]
fn a_sender_that_says_nothing_makes_room_for_the_next_leader() {
    let mut n = node(3);
    let no = |range, to, number| (to, Part::Refused(RangeId(range), number));
    let go_on = |range, to, number| (to, Part::Wanted(RangeId(range), number, 0));
    assert_eq!(offered(&mut n, (2, 2, 7), 10), [go_on(2, 2, 7)]);
    assert_eq!(offered(&mut n, (2, 3, 1), 500), [no(2, 3, 1)], "the first may still be at it");
    assert_eq!(offered(&mut n, (2, 3, 2), 1_010), [no(2, 2, 7), go_on(2, 3, 2)], "it went deaf, and leads no more");
    assert_eq!(offered(&mut n, (2, 3, 4), 1_011), [no(2, 3, 2), go_on(2, 3, 4)], "it sends one at a time");
    assert_eq!(offered(&mut n, (2, 3, 3), 1_012), [no(2, 3, 3)], "an offer that was overtaken");
    assert_eq!(offered(&mut n, (1, 2, 8), 1_013), [go_on(1, 2, 8)], "there is another slot");
    assert_eq!(offered(&mut n, (3, 2, 9), 1_014), [no(3, 2, 9)], "and no third");
    let told = offered(&mut n, (3, 2, 9), 2_500);
    let room = told.contains(&no(2, 3, 4)) && told.contains(&go_on(3, 2, 9));
    assert!(room, "whoever is silent makes room for another range, too: {told:?}");
}

#[test]
fn over_slow_links_snapshots_of_several_ranges_come_to_an_end() {
    let mut n = node(3);
    let (pieces, each) = (8, 1_500);
    let name = |range: u64, number| (range, 2 + range % 2, number);
    // Who sends: how many pieces were taken, and when the next one is here. Whoever is refused offers again soon.
    let mut sending: std::collections::BTreeMap<u64, (u64, u64, u64)> = Default::default();
    let (mut done, mut number) = (BTreeSet::new(), 0);
    for ms in (0..120_000).step_by(250) {
        for range in [5, 6, 7] {
            if !sending.contains_key(&range) && !done.contains(&range) {
                number += 1;
                let told = offered_heard(&mut n, name(range, number), ms, &|_| true);
                for (_, part) in told {
                    match part {
                        Part::Refused(r, _) => drop(sending.remove(&r.0)),
                        Part::Wanted(r, at, _) => drop(sending.insert(r.0, (at, 0, ms + each))),
                        _ => {}
                    }
                }
            }
        }
        for (range, (number, taken, due)) in &mut sending {
            if ms >= *due {
                let (range, from, number) = name(*range, *number);
                let (name, last) = ((RangeId(range), StoreId(from), number), *taken + 1 == pieces);
                let piece = (*taken, last, Bytes::from_static(b"records"));
                let mut effects = Effects::<Mem>::empty();
                n.snapshots.chunk(name, piece, (Tick::ms(ms), &mut n.outbox), &mut effects);
                (*taken, *due) = (*taken + 1, ms + each);
                let Some(crate::effects::SnapshotWork::Stage { number: own, .. }) = effects.snapshots.pop() else {
                    panic!("the piece is taken")
                };
                let (mut w, mut effects) = (work(), Effects::empty());
                n.staged(own, Ok(()), Tick::ms(ms), &mut w, &mut effects).unwrap();
                done.extend(last.then_some(range));
            }
        }
        sending.retain(|range, _| !done.contains(range));
        said(&mut n);
    }
    assert_eq!(done, BTreeSet::from([5, 6, 7]), "each takes a slot from another that is at it, for ever");
}

#[test]
fn a_snapshot_that_is_not_sent_any_more_is_not_waited_for() {
    let (mut to, mut from) = (node_of(2, 3), node(3));
    from.offer_snapshot(RangeId(2), place(2), Tick::ms(2), &mut work());
    let Some((2, Part::Offer(_, _, _, number, _))) = said(&mut from).pop() else { panic!("it is offered") };
    offered(&mut to, (2, 1, number), 3);
    // Its answer came late.
    from.snapshots.pass_time(Tick::ms(1_002), &mut from.outbox);
    from.snapshots.wanted((RangeId(2), StoreId(2), number), 0, Tick::ms(1_003), &mut from.outbox);
    let Some((2, Part::Chunk(_, _, at, last, bytes))) = said(&mut from).pop() else { panic!("it says so") };
    let name = (RangeId(2), StoreId(1), number);
    to.snapshots.chunk(name, (at, last, bytes), (Tick::ms(1_004), &mut to.outbox), &mut Effects::<Mem>::empty());
    let other = offered_heard(&mut to, (2, 3, 1), 1_005, &|_| true);
    assert!(other.contains(&(3, Part::Wanted(RangeId(2), 1, 0))), "{other:?}");
}

#[test]
fn a_new_life_of_a_store_ends_the_snapshots_of_the_last_one() {
    let mut n = node(3);
    let hear = |n: &mut Node<Mem>, life, ms| {
        let mut frame = Builder::expecting(0);
        frame.push(&Part::Beat(Beat { incarnation: Incarnation(life), ..beat(None) }));
        take(n, ms, vec![Input::Frame(StoreId(2), frame.finish(Stream::Control, Incarnation(life), 1))]);
    };
    hear(&mut n, 1, 2);
    n.offer_snapshot(RangeId(2), place(2), Tick::ms(3), &mut work());
    let Some((2, Part::Offer(_, _, _, number, _))) = said(&mut n).pop() else { panic!("it is offered") };
    n.snapshots.wanted((RangeId(2), StoreId(2), number), 0, Tick::ms(4), &mut n.outbox);
    hear(&mut n, 2, 500);
    said(&mut n);
    n.offer_snapshot(RangeId(2), place(2), Tick::ms(501), &mut work());
    assert!(matches!(said(&mut n)[..], [(2, Part::Offer(..))]), "its next life waits for the patience of the first");
}

#[test]
fn a_snapshot_of_which_something_was_lost_does_not_wait_for_its_patience() {
    let (mut to, mut from) = (node_of(2, 3), node(3));
    from.offer_snapshot(RangeId(2), place(2), Tick::ms(2), &mut work());
    let Some((2, Part::Offer(_, _, _, number, _))) = said(&mut from).pop() else { panic!("it is offered") };
    let (there, back) = ((RangeId(2), StoreId(1), number), (RangeId(2), StoreId(2), number));
    offered(&mut to, (2, 1, number), 3);
    // What is wanted is said again until something comes.
    to.snapshots.pass_time(Tick::ms(1_003), &mut to.outbox);
    assert_eq!(said(&mut to), [(1, Part::Wanted(RangeId(2), number, 0))]);
    from.snapshots.wanted(back, 0, Tick::ms(1_004), &mut from.outbox);
    assert_eq!(said(&mut from), [], "the first time that it is heard");
    from.snapshots.read(number, Ok((Bytes::from_static(b"xyz"), None)), &mut from.outbox);
    said(&mut from);
    from.snapshots.wanted(back, 0, Tick::ms(2_004), &mut from.outbox);
    let Some((2, Part::Chunk(_, _, at, last, bytes))) = said(&mut from).pop() else { panic!("up to where it sent") };
    to.snapshots.chunk(there, (at, last, bytes), (Tick::ms(2_005), &mut to.outbox), &mut Effects::<Mem>::empty());
    assert_eq!(said(&mut to), [(1, Part::Refused(RangeId(2), number))], "a piece is missing: all begins anew");
    assert_eq!(offered(&mut to, (2, 1, number + 1), 2_006).len(), 1);
}

fn place(store: u64) -> Place {
    Place { replica: ReplicaId(store), store: StoreId(store) }
}

/// Offers a snapshot of this range to this store, if there is a slot: under which number.
fn offers(n: &mut Node<Mem>, range: u64, to: u64, ms: u64) -> Option<u64> {
    n.offer_snapshot(RangeId(range), place(to), Tick::ms(ms), &mut work());
    let number = |part| if let Part::Offer(_, _, _, number, _) = part { Some(number) } else { None };
    said(n).into_iter().find_map(|(_, part)| number(part))
}

#[test]
fn a_receiver_whose_word_was_lost_makes_room_for_the_next_offer() {
    let mut n = node(3);
    let all = || Ok((Bytes::from_static(b"all of it"), None));
    let first = offers(&mut n, 2, 2, 2).expect("a slot");
    let second = offers(&mut n, 2, 3, 2).expect("another");
    for (store, number) in [(2, first), (3, second)] {
        n.snapshots.wanted((RangeId(2), StoreId(store), number), 0, Tick::ms(10), &mut n.outbox);
        n.snapshots.read(number, all(), &mut n.outbox);
    }
    // That it is in was lost on its way from the one; the other is at it, and says so.
    n.snapshots.wanted((RangeId(2), StoreId(3), second), 0, Tick::ms(1_010), &mut n.outbox);
    n.snapshots.pass_time(Tick::ms(2_009), &mut n.outbox);
    assert_eq!(offers(&mut n, 2, 2, 2_009), None, "its word may be on its way");
    n.snapshots.pass_time(Tick::ms(2_010), &mut n.outbox);
    assert_eq!(n.snapshots.next_wake(), Tick::ZERO, "the core hears that it may ask for another");
    assert!(offers(&mut n, 2, 2, 2_010).is_some(), "nobody waits for the first any more");
    assert_eq!(offers(&mut n, 1, 2, 2_011), None, "both slots are in use");
    n.snapshots.refused((RangeId(2), StoreId(2), first));
    assert_eq!(offers(&mut n, 1, 2, 2_013), None, "an answer to the first says nothing about the second");
}

#[test]
fn whoever_takes_a_snapshot_says_so_while_pieces_come_and_its_disk_is_slow() {
    for timeout in [1_000, 3_000] {
        let mut n = node(3);
        n.snapshots = crate::snapshots::Snapshots::new(Incarnation(1), Tick::ms(timeout), 1 << 20);
        let name = (RangeId(2), StoreId(2), 7);
        assert_eq!(offered(&mut n, (2, 2, 7), 0).len(), 1);
        let (mut heard, mut longest) = (0, 0);
        for ms in (100..20_000).step_by(100) {
            if ms % 900 == 0 && ms / 900 <= 4 {
                let piece = (ms / 900 - 1, ms / 900 == 4, Bytes::from_static(b"records"));
                n.snapshots.chunk(name, piece, (Tick::ms(ms), &mut n.outbox), &mut Effects::<Mem>::empty());
            }
            n.snapshots.pass_time(Tick::ms(ms), &mut n.outbox);
            for (_, part) in said(&mut n) {
                assert!(matches!(part, Part::Wanted(..)), "it is its own disk that it waits for: {part}");
                (longest, heard) = (longest.max(ms - heard), ms);
            }
        }
        assert!(longest < 2_000, "its sender heard nothing for {longest} ms, and gave its slot away");
    }
}

#[test]
fn whoever_gives_a_snapshot_up_says_so() {
    let mut n = node(3);
    assert_eq!(offered(&mut n, (2, 2, 7), 0).len(), 1);
    let told: Vec<Part> = (1..=16)
        .flat_map(|s| {
            n.snapshots.pass_time(Tick::ms(s * 1_000), &mut n.outbox);
            said(&mut n).into_iter().map(|(_, part)| part).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(told.last(), Some(&Part::Refused(RangeId(2), 7)), "or the sender would wait as long once more");
}

#[test]
fn a_snapshot_of_an_earlier_leadership_is_the_next_ones_too() {
    let mut n = node(3);
    let number = offers(&mut n, 2, 2, 2).expect("a slot");
    n.snapshots.wanted((RangeId(2), StoreId(2), number), 0, Tick::ms(10), &mut n.outbox);
    assert_eq!(offers(&mut n, 2, 2, 900), None);
    assert!(n.snapshots.next_wake() > Tick::ZERO, "told that it failed, a leader that waits for it would leave");
    n.snapshots.installed((RangeId(2), StoreId(2), number), base::Index(9));
    assert_eq!(n.snapshots.next_wake(), Tick::ZERO, "its end is told");
}

#[test]
fn what_was_asked_before_the_last_piece_came_does_not_end_its_ingest() {
    let mut n = node(3);
    step(&mut n, 2);
    let name = (RangeId(2), StoreId(2), 7);
    let applied = range::state::Applied { index: base::Index(50), ..n.replicas[&RangeId(2)].applied() };
    n.snapshots.offered(name, (applied, Revision(1)), (true, &|_| true), Tick::ms(3), &mut n.outbox);
    // The piece takes long, so it is asked for again.
    n.snapshots.pass_time(Tick::ms(1_003), &mut n.outbox);
    let piece = |n: &mut Node<Mem>, piece, ms| {
        let mut effects = Effects::<Mem>::empty();
        n.snapshots.chunk(name, piece, (Tick::ms(ms), &mut n.outbox), &mut effects);
        effects.snapshots.pop()
    };
    let answer = (1, false, Bytes::new());
    let Some(crate::effects::SnapshotWork::Stage { number, .. }) =
        piece(&mut n, (0, true, Bytes::from_static(b"records")), 1_500)
    else {
        panic!("the piece is taken")
    };
    assert!(piece(&mut n, answer.clone(), 1_501).is_none(), "staged as soon as the disk is done");
    let (mut w, mut effects) = (work(), Effects::empty());
    n.staged(number, Ok(()), Tick::ms(1_502), &mut w, &mut effects).unwrap();
    assert!(matches!(effects.snapshots[..], [crate::effects::SnapshotWork::Ingest { .. }]));
    said(&mut n);
    piece(&mut n, answer, 1_503);
    assert_eq!(said(&mut n), [], "the sender is told when it is in");
    n.ingested(number, Ok(()), Tick::ms(1_504), &mut w).unwrap();
    let replica = &n.replicas[&RangeId(2)];
    assert!(!replica.is_installing() && replica.applied() == applied, "it would be deaf until the next restart");
}

#[test]
fn an_offer_that_nobody_answers_ends() {
    let mut n = node(3);
    n.offer_snapshot(RangeId(2), place(2), Tick::ms(2), &mut work());
    n.offer_snapshot(RangeId(1), place(2), Tick::ms(2), &mut work());
    said(&mut n);
    n.offer_snapshot(RangeId(2), place(3), Tick::ms(3), &mut work());
    assert_eq!(said(&mut n).len(), 0, "both slots are taken");
    n.snapshots.pass_time(Tick::ms(1_002), &mut n.outbox);
    n.offer_snapshot(RangeId(2), place(3), Tick::ms(1_003), &mut work());
    assert!(matches!(said(&mut n)[..], [(3, Part::Offer(..))]), "a store that hears answers at once");
}

#[cfg(feature = "museum")]
#[test]
fn each_of_these_tests_fails_when_its_bug_is_planted() {
    base::museum::each_is_noticed(&[
        (
            "depth-forgotten-with-the-next-life",
            crate::depth::tests::a_loss_is_remembered_by_a_peer_that_is_restarted_before_it_can_tell,
        ),
        ("pieces-put-off-the-word", whoever_takes_a_snapshot_says_so_while_pieces_come_and_its_disk_is_slow),
        ("under-way-is-answered-as-failed", a_snapshot_of_an_earlier_leadership_is_the_next_ones_too),
        ("sequencer-forgotten", an_answer_that_names_nobody_does_not_hide_the_sequencer_from_its_follower),
        ("silent-receiver-keeps-its-slot", a_receiver_whose_word_was_lost_makes_room_for_the_next_offer),
        ("late-answer-ends-an-ingest", what_was_asked_before_the_last_piece_came_does_not_end_its_ingest),
        ("slow-sender-loses-its-slot", over_slow_links_snapshots_of_several_ranges_come_to_an_end),
        ("snapshots-of-an-earlier-life", a_new_life_of_a_store_ends_the_snapshots_of_the_last_one),
        ("marks-of-a-replaced-state", marks_seen_before_a_snapshot_goes_in_are_left_alone),
        ("candidate-takes-a-snapshot", whoever_may_be_elected_without_another_word_takes_no_snapshot),
        ("nothing-heard-after-a-failed-install", a_failed_snapshot_does_not_silence_a_replica_whose_leader_is_gone),
        ("newest-hash-refused", whoever_names_no_revision_is_never_told_that_its_hash_is_compacted),
        (
            "numbers-of-an-older-sequencer",
            the_late_reply_of_a_deposed_sequencer_is_not_taken_between_two_of_its_successor,
        ),
        ("closed-over-a-fetch-in-flight", a_number_on_its_way_holds_the_closing_back),
        ("restart-forgets-what-was-shown", a_restarted_node_reads_nothing_here_before_it_knows_what_is_issued),
        ("lapse-unnoticed", crate::liveness::tests::support_that_lapses_is_told_although_nobody_says_so),
        ("silent-sender-keeps-its-slot", a_sender_that_says_nothing_makes_room_for_the_next_leader),
        ("hash-below-the-floor", a_hash_that_waited_until_the_bound_passed_it_begins_anew),
        ("deaf-leader-is-asked-for-ever", a_leader_that_hears_nothing_is_not_asked_for_ever),
        ("any-write-ends-the-writing-bound", an_earlier_write_does_not_end_the_bound_that_a_later_one_carries),
        ("snapshot-sent-without-a-pin", the_bound_waits_while_a_snapshot_is_sent),
        ("only-the-newest-revision-meets-the-floor", a_transaction_that_reads_below_the_bound_asks_for_a_new_x),
        ("hash-of-two-compactions", a_late_hash_from_before_a_compaction_is_not_added_to_those_from_after_it),
        ("parts-of-two-revisions", a_part_below_the_bound_begins_the_call_anew_and_old_answers_mean_nothing),
        ("bounds-of-another-command", what_is_current_is_told_to_the_command_that_asked),
        ("lease-outlives-leadership", a_leadership_that_ends_takes_back_what_rests_on_its_lease),
        ("call-of-an-earlier-life", a_call_for_another_life_of_this_store_is_not_even_answered),
        ("longest-promise-forgotten", a_restart_waits_for_the_longest_promise_of_any_life),
        ("frame-too-large-to-send", what_one_frame_cannot_carry_travels_in_several_and_too_large_an_answer_is_refused),
        ("no-bound-on-waiting-calls", calls_beyond_the_bound_are_refused_and_the_count_comes_back_to_zero),
    ]);
}

/// The task of the look for dead marks that this step begins.
fn look(n: &mut Node<Mem>, ms: u64) -> range::ReadTask<View> {
    n.bounds.marks = crate::marks::Marks::default();
    let mut reads = step(n, ms).reads;
    assert_eq!(reads.len(), 1, "one look");
    reads.remove(0)
}

#[test]
fn marks_seen_before_a_snapshot_goes_in_are_left_alone() {
    let mut n = node(3);
    let mark = engine::keys::version(&Key::user(b"gone"), Revision(3));
    let mut batch = engine::Batch::new();
    let mut record = Vec::new();
    mvcc::Record::mark(0).encode(&mut record);
    batch.put(engine::Cf::Data, mark, record);
    engine::Engine::write(n.engine(), &batch, true).unwrap();
    (n.bounds.compacted, n.bounds.bound) = (Revision(5), Revision(5));
    // Nobody waits for it, so it may be held for a while.
    let deletes = |n: &mut Node<Mem>, ms: u64, answer: Input<View>| {
        let steps = [take(n, ms, vec![answer]), step(n, ms + 50)];
        let ops = steps.iter().flat_map(|fx| &fx.write).flat_map(|w| w.batch.ops());
        ops.filter(|op| matches!(op, engine::Op::Delete(engine::Cf::Data, _))).count()
    };
    let task = look(&mut n, 1_000);
    let answer = Input::Read(task.origin, task.run());
    assert_eq!(deletes(&mut n, 1_001, answer), 1, "it is dead");
    // The same once more, and meanwhile a snapshot begins to be put in: it may bring back what lay beneath.
    let task = look(&mut n, 2_000);
    let answer = Input::Read(task.origin, task.run());
    let replica = n.replicas.get_mut(&RangeId(2)).expect("a replica");
    let applied = range::state::Applied { index: base::Index(90), term: base::Term(1), ..Default::default() };
    let engine = n.engine.clone();
    replica.begin_install(&engine, applied).unwrap();
    assert_eq!(deletes(&mut n, 2_001, answer), 0, "what was seen is not what is there");
    n.bounds.marks = crate::marks::Marks::default();
    assert!(step(&mut n, 3_000).reads.is_empty(), "no look while the state is being replaced");
}

#[test]
fn a_restarted_node_reads_nothing_here_before_it_knows_what_is_issued() {
    let read = |n: &mut Node<Mem>, ms: u64, id: u64| {
        let ask = ClientAsk::Kv(Arc::new(Request::Range(RangeReq { serializable: true, ..scan(0) })));
        take(n, ms, vec![Input::Call(CallId(id), ask, Tick::ms(ms + 5_000))]).reads.len()
    };
    let mut first = node(3);
    assert_eq!(read(&mut first, 2, 1), 1, "a first life has shown nothing");
    let mut n = Node::open(Config::default(), first.engine().clone(), Rng::new(1), Tick::ms(10)).unwrap();
    assert_eq!(read(&mut n, 11, 1), 0, "its earlier life may have shown more than there is now");
    // The sequencer answers: nothing beyond what is here was ever shown.
    let seq = n.fetches.sent() + 1;
    n.fetches.take_unsent(Some(StoreId(2)), Revision::FIRST, Tick::ms(12));
    let fetched = placement::Fetched { seq, term: base::Term(3), first: Revision(2), compacted: Revision::ZERO };
    let mut builder = Builder::expecting(0);
    builder.push(&Part::Fetched(fetched));
    let frame = builder.finish(Stream::Now, Incarnation(1), 1);
    take(&mut n, 13, vec![Input::Frame(StoreId(2), frame)]);
    assert_eq!(read(&mut n, 14, 2), 1, "now it knows");
}

#[test]
fn a_number_on_its_way_holds_the_closing_back() {
    let mut n = serving();
    let ask = ClientAsk::Kv(Arc::new(put(b"v")));
    take(&mut n, 260, vec![Input::Call(CallId(1), ask, Tick::ms(5_000))]);
    let end = n.replicas[&RangeId(2)].end(Revision(50), Revision(3)).expect("it serves");
    assert!(end.is_open, "evaluated, and not in the log");
    assert_eq!(
        end.closed,
        Revision(3),
        "its number is larger than what was known when the fetch was sent, and no more"
    );
}

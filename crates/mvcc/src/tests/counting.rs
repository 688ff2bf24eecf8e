//! Exact counts from an index that only ever learnt from readers.

use super::make::*;
use crate::*;
use base::{Key, Revision, Rng, Span};
use engine::mem::Mem;
use engine::{Batch, Engine};
use std::collections::BTreeSet;

fn name(i: u64) -> Key {
    Key::user(format!("k{i:05}").as_bytes())
}

/// A range under constant creation and deletion.
struct Range {
    engine: Mem,
    overlay: Overlay,
    counts: CountIndex,
    live: BTreeSet<u64>,
    waiting: Vec<(Revision, Effects)>,
    revision: u64,
}

impl Range {
    fn new() -> Range {
        Range {
            engine: Mem::new(),
            overlay: Overlay::new(),
            counts: CountIndex::new(Revision::FIRST, 1),
            live: BTreeSet::new(),
            waiting: Vec::new(),
            revision: 1,
        }
    }
    fn change(&mut self, i: u64) {
        let request = if self.live.contains(&i) && !i.is_multiple_of(3) {
            self.live.remove(&i);
            Request::Delete(DeleteReq { span: Span::point(&name(i)), prev_kv: false })
        } else {
            self.live.insert(i);
            let Request::Put(p) = put("", "v") else { panic!() };
            Request::Put(PutReq { key: name(i), prev_kv: false, ..p })
        };
        let source = Source::live(&self.engine, &self.overlay);
        let own = Revision::pending(self.revision);
        let Evaluated::Done { mut effects, .. } = evaluate(&source, &request, own, None).unwrap() else { panic!() };
        self.revision += 1;
        let revision = Revision(self.revision);
        effects.number(own, revision);
        self.overlay.insert_command(revision, &effects);
        let mut batch = Batch::new();
        apply(revision, &effects, &mut batch);
        self.engine.write(&batch, false).unwrap();
        self.waiting.push((revision, effects));
    }
    fn settle(&mut self, n: usize) {
        let left: Vec<_> = self.waiting.drain(..n.min(self.waiting.len())).collect();
        if let Some((last, _)) = left.last() {
            let counts = &mut self.counts;
            self.overlay.drain_up_to(*last, &mut |r, k, record| counts.note_record(r, k, record));
        }
    }
    fn plan(&self, span: &Span, at: Revision) -> (Captured, CountPlan) {
        (self.overlay.capture(span, at), self.counts.plan(span, at))
    }
}

#[test]
fn counts_stay_exact_while_keys_come_and_go() {
    let mut rng = Rng::new(7);
    let mut r = Range::new();
    let mut plans = Vec::new();
    let mut quick = 0;
    for round in 0..6000u64 {
        r.change(rng.below(3000));
        if rng.below(4) == 0 {
            let n = rng.below(9) as usize;
            r.settle(n);
        }
        if round > 1000 && rng.below(40) == 0 {
            let from = rng.below(3000);
            let span = Span::new(name(from), name(from + rng.below(3000)));
            let at = Revision(r.revision);
            let expected = r.live.iter().filter(|i| span.contains(&name(**i))).count() as u64;
            let (captured, plan) = r.plan(&span, at);
            plans.push((captured, plan, r.engine.view(), span, at, expected));
        }
        if plans.len() > rng.below(12) as usize {
            let (captured, plan, view, span, at, expected) = plans.remove(rng.below(plans.len() as u64) as usize);
            let source = Source::new(&view, &captured);
            assert_eq!(source.count(&span, at).unwrap(), expected);
            let (count, learned) = plan.carry_out(&source, at).unwrap();
            assert_eq!(count, expected, "{plan}");
            quick += u64::from(!plan.is_trivial());
            r.counts.learn(learned, &r.overlay);
            r.counts.check();
        }
    }
    assert!(quick > 50, "most counts rest on what was learnt: {quick}");
    assert!(r.counts.blocks() > 8, "{}", r.counts.blocks());
}

#[test]
fn a_count_over_many_keys_walks_over_few() {
    let mut r = Range::new();
    (0..20_000).for_each(|i| r.change(i));
    r.settle(usize::MAX);
    let at = Revision(r.revision);
    let (captured, plan) = r.plan(&Span::users(), at);
    assert!(plan.is_trivial());
    let all = all_of(Span::users());
    let (reply, learned) =
        read_counted(&Source::new(&r.engine, &captured), &RangeReq { limit: 10, ..all.clone() }, at, &plan).unwrap();
    assert_eq!((reply.count, reply.more, reply.kvs.len()), (20_000, true, 10));
    r.counts.learn(learned, &r.overlay);
    assert_eq!(r.counts.blocks(), 20_000usize.div_ceil(128));

    let span = Span::new(name(5_000), Span::users().end);
    let (captured, plan) = r.plan(&span, at);
    let source = Source::new(&r.engine, &captured);
    let walked: u64 = plan.walks().map(|s| source.count(s, at).unwrap()).sum();
    assert!(walked <= 256, "{walked} keys walked over: {plan}");
    for (limit, count_only) in [(100, false), (0, true), (0, false)] {
        let request = RangeReq { span: span.clone(), limit, count_only, ..all.clone() };
        let (reply, _) = read_counted(&source, &request, at, &plan).unwrap();
        assert_eq!(reply, read(&source, &request, at).unwrap());
        assert_eq!(reply.count, 15_000);
    }

    // An older revision is answered from the index too, or by a walk, and is exact.
    (15_000..15_300).for_each(|i| r.change(i));
    r.settle(usize::MAX);
    for back in [0, 1, 150, 299, 300, 10_000] {
        let at = Revision(r.revision - back);
        let (captured, plan) = r.plan(&span, at);
        let source = Source::new(&r.engine, &captured);
        assert_eq!(plan.carry_out(&source, at).unwrap().0, source.count(&span, at).unwrap(), "{back} revisions ago");
    }
}

#[test]
fn growing_blocks_are_cut_and_shrinking_ones_join() {
    let mut r = Range::new();
    r.change(0);
    r.settle(1);
    let learn = |r: &mut Range| {
        let at = Revision(r.revision);
        let (captured, plan) = r.plan(&Span::users(), at);
        let (count, learned) = plan.carry_out(&Source::new(&r.engine, &captured), at).unwrap();
        r.counts.learn(learned, &r.overlay);
        r.counts.check();
        (count, plan)
    };
    learn(&mut r);
    assert_eq!(r.counts.blocks(), 1);
    (1..1000).for_each(|i| r.change(i));
    r.settle(usize::MAX);
    let (count, plan) = learn(&mut r);
    assert_eq!((count, plan.walks().count()), (1000, 1), "the large block is walked once more");
    assert_eq!(r.counts.blocks(), 8);
    (0..1000).filter(|i| i % 3 != 0).for_each(|i| r.change(i));
    r.settle(usize::MAX);
    assert!(r.counts.blocks() < 8, "{} blocks for 334 keys", r.counts.blocks());
    let (count, plan) = learn(&mut r);
    assert_eq!((count, plan.walks().count()), (334, 0));
}

#[test]
fn an_index_learns_nothing_from_plans_of_an_earlier_one() {
    let mut r = Range::new();
    (0..300).for_each(|i| r.change(i));
    r.settle(usize::MAX);
    let at = Revision(r.revision);
    let (captured, plan) = r.plan(&Span::users(), at);
    let (_, learned) = plan.carry_out(&Source::new(&r.engine, &captured), at).unwrap();
    assert!(!learned.is_empty());
    let mut later = CountIndex::new(at, 2);
    later.learn(learned.clone(), &r.overlay);
    assert_eq!(later.blocks(), 0);
    let mut behind = CountIndex::new(at.next(), 1);
    behind.learn(learned.clone(), &r.overlay);
    assert_eq!(behind.blocks(), 0, "the state may hold what the walk did not see");
    let mut same = CountIndex::new(at, 1);
    same.learn(learned, &r.overlay);
    assert_eq!(same.blocks(), 3);
}

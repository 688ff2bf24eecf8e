//! Random worlds: commands, numbers, entries, batches, readers, compaction, in any order that protocols §4 and §5 allow,
//! each answer compared with the model's. A world is a list of steps, so that a failing one shrinks.

use super::make::Maker;
use super::model::Model;
use crate::*;
use base::{Error, Key, Kind, Revision, Rng, Span};
use bytes::Bytes;
use engine::mem::Mem;
use engine::{Batch, Engine, keys};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A command between its evaluation and its number.
struct Open {
    seq: u64,
    effects: Effects,
    reply: OpenReply,
    expected: Reply,
    revision: Revision,
}

/// A reader that was admitted and has not read yet.
struct Reader {
    at: Revision,
    request: RangeReq,
    captured: Captured,
    plan: CountPlan,
    view: <Mem as Engine>::View,
}

struct World {
    model: Model,
    engine: Mem,
    /// Gets every command at once and is never compacted.
    pristine: Mem,
    overlay: Overlay,
    counts: CountIndex,
    seq: u64,
    open: VecDeque<Open>,
    /// Numbered, not yet in a batch.
    numbered: VecDeque<(Revision, Effects)>,
    /// In the engine, not yet out of the overlay.
    written: VecDeque<(Revision, Effects)>,
    issued: u64,
    /// The number of every evaluation that has one.
    numbers: BTreeMap<u64, Revision>,
    readers: Vec<Reader>,
    live: i64,
}

impl World {
    fn new() -> World {
        World {
            model: Model::new(),
            engine: Mem::new(),
            pristine: Mem::new(),
            overlay: Overlay::new(),
            counts: CountIndex::new(Revision::FIRST, 1),
            seq: 0,
            open: VecDeque::new(),
            numbered: VecDeque::new(),
            written: VecDeque::new(),
            issued: 1,
            numbers: BTreeMap::new(),
            readers: Vec::new(),
            live: 0,
        }
    }

    fn step(&mut self, kind: u8, rng: &mut Rng) {
        match kind {
            0..=4 => self.submit(rng),
            5 => self.number(1 + rng.below(3)),
            6 => self.write(rng),
            7 => self.forget(1 + rng.below(3)),
            8 => self.admit(rng),
            9 => self.answer(rng),
            10 => self.compact(rng),
            11 => self.read_txn(rng),
            12 => self.hash(rng),
            _ => self.merge(rng),
        }
        self.overlay.check();
        self.counts.check();
    }

    fn submit(&mut self, rng: &mut Rng) {
        let request = Maker { rng, current: self.model.current() }.request();
        let mut bounds = None;
        loop {
            let source = Source::live(&self.engine, &self.overlay);
            let own = Revision::pending(self.seq + 1);
            match evaluate(&source, &request, own, bounds) {
                Ok(Evaluated::Done { effects, reply }) => return self.done(&request, effects, reply),
                Ok(Evaluated::BlockedOn(seq)) => {
                    let i = self.open.iter().position(|o| o.seq == seq).expect("blocked on a pending command");
                    self.number(i as u64 + 1);
                }
                Ok(Evaluated::NeedsBounds) => {
                    assert_eq!(bounds, None, "bounds were given");
                    bounds = Some(Bounds {
                        current: Revision(self.model.current()),
                        compacted: Revision(self.model.compacted),
                    });
                }
                Err(Error { kind: Kind::Refused(r), .. }) => {
                    assert_eq!(self.model.run(&request).map(|_| ()), Err(r), "{request:?}");
                    return;
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn done(&mut self, request: &Request, effects: Effects, reply: OpenReply) {
        let (expected, effect) = self.model.run(request).unwrap_or_else(|r| panic!("{r:?} for {request:?}"));
        assert_eq!(!effects.is_empty(), effect, "{request:?}: {effects}");
        effects.check();
        if !effect {
            // Its reply may still name others' pending numbers: the model gave them out already.
            let number = |seq| self.open.iter().find(|o| o.seq == seq).expect("a pending number").revision;
            let reply = reply.fill(&number);
            assert_eq!(reply, expected, "{request:?}");
            return;
        }
        self.seq += 1;
        let revision = Revision(self.model.current());
        let changed = self.model.changed(revision.0);
        assert_eq!(effects.effects.iter().map(|e| &e.key).collect::<BTreeSet<_>>(), changed);
        self.overlay.insert_command(Revision::pending(self.seq), &effects);
        self.open.push_back(Open { seq: self.seq, effects, reply, expected, revision });
    }

    /// The next `n` open commands get their numbers.
    fn number(&mut self, n: u64) {
        for _ in 0..n {
            let Some(mut o) = self.open.pop_front() else { return };
            self.numbers.insert(o.seq, o.revision);
            let number = |seq: u64| self.numbers[&seq];
            o.effects.number(Revision::pending(o.seq), o.revision);
            o.effects.fill(&number);
            assert_eq!(o.reply.fill(&number), o.expected);
            self.overlay.number(o.seq, o.revision);
            self.issued = o.revision.0;
            let mut batch = Batch::new();
            apply(o.revision, &o.effects, &mut batch);
            self.pristine.write(&batch, false).unwrap();
            self.numbered.push_back((o.revision, o.effects));
        }
    }

    /// Some numbered commands become an entry, and the entry a batch.
    fn write(&mut self, rng: &mut Rng) {
        let n = (1 + rng.below(4) as usize).min(self.numbered.len());
        let commands: Vec<_> = self.numbered.drain(..n).collect();
        let mut entry = Vec::new();
        commands.iter().for_each(|(r, e)| encode_command(&mut entry, *r, e));
        let entry = Bytes::from(entry);
        let decoded: Vec<_> = decode_commands(entry.clone()).map(|c| c.unwrap()).collect();
        assert_eq!(decoded, commands);
        let mut batch = Batch::new();
        let tally = apply_commands(entry, &mut batch).unwrap();
        self.engine.write(&batch, rng.below(2) == 0).unwrap();
        self.live += tally.live_delta;
        if let Some((last, _)) = commands.last() {
            assert_eq!(tally.max_revision, *last);
            assert_eq!(self.live, self.model.state(last.0).len() as i64);
        }
        self.written.extend(commands);
    }

    fn forget(&mut self, n: u64) {
        for _ in 0..n {
            let Some((revision, effects)) = self.written.pop_front() else { return };
            self.overlay.remove(revision);
            self.counts.note(revision, &effects);
        }
    }

    /// A read is admitted at an issued revision: overlay and plan, then view.
    fn admit(&mut self, rng: &mut Rng) {
        let request = Maker { rng, current: self.model.current() }.range(false);
        let newest = rng.below(2) == 0;
        let at = Revision(if newest { self.issued } else { rng.between(self.model.compacted.max(1), self.issued + 1) });
        let exact = rng.below(2) == 0;
        let captured = match exact {
            true => self.overlay.capture_newest(&request.span, at),
            false => self.overlay.capture(&request.span, Revision(self.issued)),
        };
        let plan = self.counts.plan(&request.span, at);
        self.readers.push(Reader { at, request, captured, plan, view: self.engine.view() });
    }

    fn answer(&mut self, rng: &mut Rng) {
        if self.readers.is_empty() {
            return;
        }
        let reader = self.readers.swap_remove(rng.below(self.readers.len() as u64) as usize);
        let expected = self.model.read(&reader.request, reader.at.0);
        let source = Source::new(&reader.view, &reader.captured);
        assert_eq!(read(&source, &reader.request, reader.at).unwrap(), expected, "{:?}", reader.request);
        let (reply, learned) = read_counted(&source, &reader.request, reader.at, &reader.plan).unwrap();
        assert_eq!(reply, expected, "{:?} by {}", reader.request, reader.plan);
        self.counts.learn(learned, &self.overlay);
    }

    /// Superseded versions below every reader's revision go, and so do dead marks.
    fn compact(&mut self, rng: &mut Rng) {
        let pins = self.readers.iter().map(|r| r.at.0).min().unwrap_or(u64::MAX);
        let bound = rng.between(self.model.compacted, self.issued + 1).min(pins);
        self.model.compacted = self.model.compacted.max(bound);
        let bound = Revision(self.model.compacted);
        self.engine.set_filter_bound(bound);
        let (lower, upper) = keys::version_span(&Maker { rng, current: 0 }.span());
        self.engine.compact(&lower, &upper).unwrap();
        let (view, mut from, mut batch) = (self.engine.view(), Key::default(), Batch::new());
        loop {
            let found = dead_marks(&view, &Span::users(), bound, &from, 1 + rng.below(5) as usize).unwrap();
            found.keys.into_iter().for_each(|k| batch.delete(engine::Cf::Data, k));
            match found.next {
                Some(next) => from = next,
                None => break,
            }
        }
        self.engine.write(&batch, false).unwrap();
    }

    fn read_txn(&mut self, rng: &mut Rng) {
        let txn = Maker { rng, current: self.issued }.txn(2, false);
        let compacted = Revision(self.model.compacted);
        let current = Revision(rng.between(compacted.0.max(1), self.issued + 1));
        let captured = self.overlay.capture(&Span::users(), current);
        let view = self.engine.view();
        let got = read_txn(&Source::new(&view, &captured), &txn, Bounds { current, compacted });
        match (got, self.model.read_txn(&txn, current.0)) {
            (Ok(got), Ok(expected)) => assert_eq!(Reply::Txn(got), expected, "{txn:?}"),
            (Err(got), Err(expected)) => assert_eq!(got.kind, Kind::Refused(expected), "{txn:?}"),
            (got, expected) => panic!("{got:?} and {expected:?} for {txn:?}"),
        }
    }

    /// Equal with and without compaction, in one piece and in two.
    fn hash(&mut self, rng: &mut Rng) {
        let compacted = Revision(self.model.compacted);
        let at = Revision(rng.between(compacted.0.max(1), self.issued + 1));
        let captured = self.overlay.capture(&Span::users(), at);
        let view = self.engine.view();
        let source = Source::new(&view, &captured);
        let whole = hash_span(&self.pristine, &Span::users(), at, compacted).unwrap();
        let cut = Maker { rng, current: 0 }.key();
        let left = hash_source(&source, &Span::new(Span::users().start, cut.clone()), at, compacted).unwrap();
        let right = hash_source(&source, &Span::new(cut, Span::users().end), at, compacted).unwrap();
        assert_eq!(left.wrapping_add(right), whole);
    }

    /// A scan over three adjacent ranges, each answering its part.
    fn merge(&mut self, rng: &mut Rng) {
        let request = Maker { rng, current: self.model.current() }.range(false);
        let at = Revision(self.issued);
        let captured = self.overlay.capture(&Span::users(), at);
        let view = self.engine.view();
        let mut cuts = [Maker { rng, current: 0 }.key(), Maker { rng, current: 0 }.key()];
        cuts.sort();
        let [a, b] = cuts;
        let ranges =
            [Span::new(Span::users().start, a.clone()), Span::new(a, b.clone()), Span::new(b, Span::users().end)];
        let parts = ranges.iter().filter_map(|s| s.intersection(&request.span));
        let source = Source::new(&view, &captured);
        let parts = parts.map(|s| read(&source, &part_of(&request, s), at).unwrap()).collect();
        assert_eq!(merge_replies(parts, &request), self.model.read(&request, at.0), "{request:?}");
    }
}

fn run(steps: &[(u8, u64)]) {
    let mut world = World::new();
    for (kind, seed) in steps {
        world.step(*kind, &mut Rng::new(*seed));
    }
    // Everything drains, and the last state is whole.
    world.number(u64::MAX);
    while !world.numbered.is_empty() {
        world.write(&mut Rng::new(1));
    }
    world.forget(u64::MAX);
    assert!(world.overlay.is_empty() && world.overlay.bytes() == 0);
    let request = super::make::all_of(Span::users());
    let nothing = Captured::default();
    let got = read(&Source::new(&world.engine, &nothing), &request, Revision(world.issued)).unwrap();
    assert_eq!(got, world.model.read(&request, world.issued));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn agrees_with_the_model(steps in prop::collection::vec((0u8..14, any::<u64>()), 1..120)) {
        run(&steps);
    }
}

/// Random steps from a seed.
#[cfg(any(feature = "museum", feature = "sim"))]
fn steps(seed: u64) -> Vec<(u8, u64)> {
    let mut rng = Rng::new(seed);
    (0..100).map(|_| (rng.below(14) as u8, rng.next_u64())).collect()
}

/// Each planted bug is found: the judge can say no.
#[cfg(feature = "museum")]
#[test]
fn finds_every_planted_bug() {
    let bugs = [
        "version-not-reset-after-delete",
        "compare-sees-own-writes",
        "txn-branch-swapped",
        "count-honours-limit",
        "sub-order-lost",
        "delete-of-nothing-counts",
        "own-filter-before-numbering",
        "capture-skips-marks",
    ];
    for bug in bugs {
        base::museum::plant(bug);
        let found = (0..300).find(|seed| std::panic::catch_unwind(|| run(&steps(*seed))).is_err());
        base::museum::plant("");
        assert!(found.is_some(), "{bug} was not found");
    }
    (0..50).for_each(|seed| run(&steps(seed)));
}

/// Random worlds come to every protocol step of this crate.
#[cfg(feature = "sim")]
#[test]
fn visits_every_marker() {
    base::marker::take();
    (0..300).for_each(|seed| run(&steps(seed)));
    let seen = base::marker::take();
    let expected = [
        "mvcc.blocked on a pending revision",
        "mvcc.needs bounds",
        "mvcc.read-only txn",
        "mvcc.put",
        "mvcc.delete",
        "mvcc.delete of nothing",
        "mvcc.nested txn",
        "mvcc.txn succeeded",
        "mvcc.txn failed",
        "mvcc.txn names a future revision",
        "mvcc.txn names a compacted revision",
        "mvcc.filter after numbering",
        "mvcc.count by plan",
        "mvcc.count learnt",
        "mvcc.hash",
        "mvcc.dead mark",
    ];
    for marker in expected {
        assert!(seen.contains_key(marker), "{marker} was never visited: {seen:?}");
    }
}

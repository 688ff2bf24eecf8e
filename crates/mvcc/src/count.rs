//! Counting without walking: how many live keys does a span hold?
//!
//! etcd's `count` is exact and ignores the limit, so that "the first 100 of 100,000" would cost 100,000 steps. This index
//! remembers, per block of some hundred neighbouring keys, how many are live, so that a count costs one addition per
//! block and a walk over the two blocks that the span cuts.
//!
//! Nothing is ever counted for the index's own sake: it *learns* from walks that readers made anyway. Between a reader's
//! X and the moment it reports, keys were created and deleted; a bounded list of these recent changes brings its numbers
//! up to date, and brings the index's numbers back to an older X.
//!
//! ```text
//!  step thread                                   reader thread
//!  capture overlay, plan(span, X) ─────────────▶ known sum + captured delta + walks of the rest
//!  note(effects) as they leave the overlay        │
//!  learn(walks)  ◀───────────────────────────────┘
//! ```
//!
//! The index speaks of the state without the overlay: everything that was noted. Overlay and index together are
//! everything, so a plan belongs to the overlay as it was captured in the same moment.

use crate::effects::Effects;
use crate::overlay::Overlay;
use crate::record::Record;
use crate::source::Source;
use crate::walk::Direction;
use base::{Key, Result, Revision, Span};
use engine::Read;
use std::collections::VecDeque;
use std::fmt;
use std::ops::ControlFlow;

/// Live keys of a block when it is learnt.
const BLOCK: u64 = 128;
/// A block that has grown beyond this is walked, once, to be cut.
const LARGE: u64 = 2 * BLOCK;
/// A block that has shrunk below this is joined with a neighbour, if both together are no more than one.
const SMALL: u64 = BLOCK / 2;
/// Changes remembered.
const RECENT: usize = 16 * 1024;

/// What is known about a part of the key space.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Block {
    span: Span,
    live: u64,
    /// No key in it was created or deleted behind this revision, as far as was noted.
    changed: Revision,
}

/// A key came or went.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Change {
    revision: Revision,
    key: Key,
    delta: i64,
    /// The largest revision up to here in the list: numbers need not be noted in order.
    max: Revision,
}

/// Live keys per block.
///
/// Invariants: blocks are in order and disjoint; what lies between them is unknown.
#[derive(Clone, Debug)]
pub struct CountIndex {
    blocks: Vec<Block>,
    recent: VecDeque<Change>,
    /// Every change behind this revision is in `recent`.
    forgotten: Revision,
    /// Walks planned under another generation teach nothing.
    generation: u64,
}

/// How to count a span at a revision.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct CountPlan {
    span: Span,
    /// Live keys outside the walks, without what the overlay holds.
    known: i64,
    /// What must be walked; is it worth learning from?
    walks: Vec<(Span, bool)>,
    generation: u64,
}

/// What walks saw.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Learned {
    at: Revision,
    generation: u64,
    /// In order, disjoint.
    blocks: Vec<(Span, u64)>,
}

impl CountIndex {
    /// Knows nothing yet; the state holds nothing behind `applied`. The generation tells this index from earlier ones of
    /// the same range (a leader's term does): what was planned under another teaches nothing.
    pub fn new(applied: Revision, generation: u64) -> CountIndex {
        CountIndex { blocks: Vec::new(), recent: VecDeque::new(), forgotten: applied, generation }
    }

    /// Blocks known.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// These effects are in the engine and leave the overlay in this moment.
    pub fn note(&mut self, revision: Revision, effects: &Effects) {
        for e in &effects.effects {
            self.note_record(revision, &e.key, &e.record);
        }
    }

    /// This version is in the engine and leaves the overlay in this moment.
    pub fn note_record(&mut self, revision: Revision, key: &Key, record: &Record) {
        match (record.is_live(), record.creates()) {
            (true, true) => self.note_key(revision, key, 1),
            (true, false) => {}
            (false, _) => self.note_key(revision, key, -1),
        }
    }

    fn note_key(&mut self, revision: Revision, key: &Key, delta: i64) {
        if let Some(i) = self.block_of(key) {
            let b = &mut self.blocks[i];
            b.live = b.live.checked_add_signed(delta).expect("a block never holds less than no key");
            b.changed = b.changed.max(revision);
            if delta < 0 && b.live < SMALL {
                self.join(i);
            }
        }
        let max = self.recent.back().map_or(revision, |c| c.max.max(revision));
        self.recent.push_back(Change { revision, key: key.clone(), delta, max });
        if self.recent.len() > RECENT
            && let Some(oldest) = self.recent.pop_front()
        {
            self.forgotten = self.forgotten.max(oldest.revision);
        }
    }

    fn block_of(&self, key: &Key) -> Option<usize> {
        let i = self.blocks.partition_point(|b| b.span.start <= *key).checked_sub(1)?;
        self.blocks[i].span.contains(key).then_some(i)
    }

    /// Joins the small block `i` with a neighbour that touches it, if both together are one block.
    fn join(&mut self, i: usize) {
        for left in [i, i.wrapping_sub(1)] {
            let (Some(a), Some(b)) = (self.blocks.get(left), self.blocks.get(left.wrapping_add(1))) else { continue };
            if a.span.end == b.span.start && a.live + b.live <= BLOCK {
                let b = self.blocks.remove(left + 1);
                let a = &mut self.blocks[left];
                a.span.end = b.span.end;
                a.live += b.live;
                a.changed = a.changed.max(b.changed);
                return;
            }
        }
    }

    /// How to count the span at `at`, to be made in the moment in which the overlay is captured.
    pub fn plan(&self, span: &Span, at: Revision) -> CountPlan {
        let mut plan = CountPlan { span: span.clone(), known: 0, walks: Vec::new(), generation: self.generation };
        if span.is_empty() {
            return plan;
        }
        let from = self.blocks.partition_point(|b| b.span.end <= span.start);
        let to = self.blocks.partition_point(|b| b.span.start < span.end).max(from);
        let (mut here, mut invested) = (&span.start, false);
        for (i, b) in self.blocks[from..to].iter().enumerate() {
            if *here < b.span.start {
                plan.walk(Span::new(here.clone(), b.span.start.clone()), true);
            }
            // Only the first and the last can be cut by the span.
            let inner = i > 0 && i + 1 < to - from;
            let whole = inner || span.covers(&b.span);
            // A large block is walked so that it can be cut; one at a time.
            let cut = whole && b.live > LARGE && !invested;
            invested |= cut;
            if whole && !cut && (at >= self.forgotten || b.changed <= at) {
                plan.known += b.live as i64;
            } else {
                let part = b.span.intersection(span).unwrap_or_default();
                plan.walk(part, cut);
            }
            here = &b.span.end;
        }
        if *here < span.end {
            plan.walk(Span::new(here.clone(), span.end.clone()), true);
        }
        plan.known -= self.behind(at).filter(|c| plan.knows(&c.key)).map(|c| c.delta).sum::<i64>();
        plan
    }

    /// Remembered changes behind `at`, newest first.
    fn behind(&self, at: Revision) -> impl Iterator<Item = &Change> {
        let complete = at >= self.forgotten;
        self.recent.iter().rev().take_while(move |c| complete && c.max > at).filter(move |c| c.revision > at)
    }

    /// Takes in what walks saw. `overlay` is the overlay as it is now.
    pub fn learn(&mut self, learned: Learned, overlay: &Overlay) {
        let at = learned.at;
        if learned.generation != self.generation || at < self.forgotten || learned.blocks.is_empty() {
            return;
        }
        base::marker!("mvcc.count learnt");
        let mut counts: Vec<i64> = learned.blocks.iter().map(|(_, n)| *n as i64).collect();
        let mut changed = vec![at; counts.len()];
        let place = |key: &Key| {
            let i = learned.blocks.partition_point(|(s, _)| s.start <= *key).checked_sub(1)?;
            learned.blocks[i].0.contains(key).then_some(i)
        };
        for c in self.behind(at) {
            if let Some(i) = place(&c.key) {
                counts[i] += c.delta;
                changed[i] = changed[i].max(c.revision);
            }
        }
        let hull = Span::new(learned.blocks[0].0.start.clone(), learned.blocks[counts.len() - 1].0.end.clone());
        for (key, delta) in overlay.live_deltas(&hull, at) {
            if let Some(i) = place(key) {
                counts[i] -= delta;
            }
        }
        for (i, (span, _)) in learned.blocks.into_iter().enumerate() {
            let live = u64::try_from(counts[i]).expect("a block never holds less than no key");
            self.put(Block { span, live, changed: changed[i] });
        }
    }

    /// Puts a block in the place of those it covers. One that cuts a known block is not worth the trouble.
    fn put(&mut self, block: Block) {
        let from = self.blocks.partition_point(|b| b.span.end <= block.span.start);
        let to = self.blocks.partition_point(|b| b.span.start < block.span.end).max(from);
        if self.blocks[from..to].iter().all(|b| block.span.covers(&b.span)) {
            self.blocks.splice(from..to, [block]);
        } else if let [old] = &self.blocks[from..to]
            && old.span.covers(&block.span)
            && old.span.start == block.span.start
            && old.live >= block.live
        {
            // The first part of a block that is being cut: the rest is what remains.
            let span = Span::new(block.span.end.clone(), old.span.end.clone());
            let rest = Block { span, live: old.live - block.live, changed: old.changed.max(block.changed) };
            self.blocks.splice(from..to, [block, rest]);
        }
    }

    /// Panics when an invariant of the type is broken.
    pub fn check(&self) {
        assert!(self.blocks.iter().all(|b| !b.span.is_empty()), "an empty block");
        assert!(self.blocks.windows(2).all(|w| w[0].span.end <= w[1].span.start), "blocks overlap");
        assert!(self.recent.len() <= RECENT, "too many changes remembered");
    }
}

impl CountPlan {
    fn walk(&mut self, span: Span, learn: bool) {
        match self.walks.last_mut() {
            Some((last, l)) if last.end == span.start && *l == learn => last.end = span.end,
            _ => self.walks.push((span, learn)),
        }
    }

    /// Is this key counted without a walk?
    fn knows(&self, key: &Key) -> bool {
        let i = self.walks.partition_point(|(s, _)| s.start <= *key);
        self.span.contains(key) && !i.checked_sub(1).is_some_and(|i| self.walks[i].0.contains(key))
    }

    /// Nothing is known: a walk over the whole span.
    pub(crate) fn is_trivial(&self) -> bool {
        matches!(&self.walks[..], [(span, _)] if *span == self.span)
    }

    /// Spans that will be walked.
    pub fn walks(&self) -> impl Iterator<Item = &Span> {
        self.walks.iter().map(|(s, _)| s)
    }

    /// Counts.
    pub fn carry_out<R: Read + ?Sized>(&self, source: &Source<'_, R>, at: Revision) -> Result<(u64, Learned)> {
        let mut learned = Learned { at, generation: self.generation, blocks: Vec::new() };
        let over = |span: &Span| source.captured().map_or(0, |c| c.live_delta(span, at));
        let mut count = self.known + over(&self.span);
        for (span, learn) in &self.walks {
            count -= over(span);
            let blocks = walk(source, span, at)?;
            count += blocks.iter().map(|(_, n)| *n as i64).sum::<i64>();
            if *learn {
                learned.blocks.extend(blocks);
            }
        }
        let count = u64::try_from(count).expect("a span never holds less than no key");
        Ok((count, learned))
    }
}

/// Walks over the live keys of a span and says how many lie in each block of it.
fn walk<R: Read + ?Sized>(source: &Source<'_, R>, span: &Span, at: Revision) -> Result<Vec<(Span, u64)>> {
    let mut blocks = Vec::new();
    let (mut start, mut n) = (span.start.clone(), 0);
    source.scan(span, at, Direction::Forward, |found| {
        if n == BLOCK {
            let key = found.key()?;
            blocks.push((Span::new(std::mem::replace(&mut start, key.clone()), key), n));
            n = 0;
        }
        n += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    blocks.push((Span::new(start, span.end.clone()), n));
    Ok(blocks)
}

impl Learned {
    /// Is there anything to learn?
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl fmt::Display for CountPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count {}: {} known, {} walks", self.span, self.known, self.walks.len())
    }
}

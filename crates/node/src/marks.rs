//! Delete marks with nothing beneath are removed (protocols §11): the engine's filter keeps them, because dropping one
//! could bring a deeper version back to life that its pass does not see. A view sees everything.
//!
//! In the background, a few thousand versions at a time: a reader looks at one local replica's state, and the next step
//! puts what it found into its batch as plain deletes. Each store does so for itself; nothing is replicated.
//!
//! Why it is safe. The mark is at or below the bound in use, so nobody reads below it here any more; it is the oldest
//! version of its key, and nothing older is ever applied later, because numbers rise along the log. So its absence says
//! what it said. The one thing that could put something beneath it is a snapshot: what was seen before an install says
//! nothing about the state after it, and is thrown away. After a crash the deletes are there or not: either is right, and
//! a batch that applies entries again lies before them. Counters count live keys, hashes leave out marks at or below
//! the compacted revision, and a snapshot's receiver raises its bound to the sender's before it reads.

use crate::effects::Effects;
use crate::node::{Node, Work, turn};
use base::{CallId, Key, RangeId, Result, Revision, Tick, marker};
use engine::{Cf, Engine};
use range::{Answer, Origin, Outcome, ReadAsk, Spec, Turn};

/// No client's call, no hop.
pub(crate) const UPKEEP: CallId = CallId(u64::MAX);

/// Versions that one look sees.
const MOST: usize = 4096;
/// Between two looks.
const PAUSE: Tick = Tick::ms(100);
/// Marks that waited for the filter are looked at again after so long, then after twice that, up to the longest.
const FIRST_AGAIN: Tick = Tick::ms(5_000);
const LAST_AGAIN: Tick = Tick::ms(600_000);

/// Where the work stands.
#[derive(Default)]
pub(crate) struct Marks {
    /// Of the last round; a round looks at every local replica once.
    bound: Revision,
    /// Where the round goes on.
    at: Option<(RangeId, Key)>,
    /// A look is under way: at this replica, after so many installs.
    looking: Option<(RangeId, u64)>,
    /// Marks that this round saw with something beneath.
    covering: usize,
    next_look: Tick,
    again: Tick,
    next_again: Tick,
}

impl<E: Engine> Node<E> {
    /// Begins a look when one is due.
    pub(crate) fn look_for_marks(&mut self, now: Tick, work: &mut Work<E::View>, effects: &mut Effects<E>) {
        let bound = self.bounds.bound;
        let marks = &mut self.bounds.marks;
        if marks.looking.is_some() || now < marks.next_look {
            return;
        }
        marks.next_look = now + PAUSE;
        if marks.at.is_none() {
            let risen = bound > marks.bound;
            let waited = marks.covering > 0 && now >= marks.again;
            if !risen && !waited {
                return;
            }
            marker!("marks.round begins");
            marks.next_again = if risen { FIRST_AGAIN } else { (marks.next_again + marks.next_again).min(LAST_AGAIN) };
            (marks.bound, marks.covering) = (bound, 0);
            marks.at = Some((RangeId(RangeId::META.0 + 1), Key::default()));
        }
        let Some((range, from)) = marks.at.clone() else { return };
        let Some((found, replica)) = self.replicas.range(range..).next() else {
            marks.at = None;
            marks.again = now + marks.next_again;
            return;
        };
        if replica.is_installing() {
            // Its view may be the one that is replaced behind what this look finds.
            return;
        }
        let from = if *found == range { from } else { Key::default() };
        let (range, installs) = (*found, replica.installs());
        marks.at = Some((range, from.clone()));
        marks.looking = Some((range, installs));
        let span = replica.descriptor().span.clone();
        let spec = Spec::Marks { span, from, bound: marks.bound, most: MOST };
        let origin = Origin::Part(UPKEEP, 0);
        let ask = ReadAsk { origin, spec, x: bound, compacted: bound, fetches: 0, deadline: Tick::FAR };
        let Some(replica) = self.replicas.get(&range) else { return };
        effects.reads.push(replica.read_as_it_stands(&mut turn!(self, work, now), ask));
    }

    /// A look is done: what it found goes into this step's batch, unless the state was replaced meanwhile.
    pub(crate) fn marks_found(&mut self, result: Result<Outcome>, now: Tick, work: &mut Work<E::View>) {
        let marks = &mut self.bounds.marks;
        let Some((range, installs)) = marks.looking.take() else { return };
        marks.next_look = now + PAUSE;
        let Ok(Outcome { answer: Answer::Marks(found), .. }) = result else { return };
        let same = self.replicas.get(&range).is_some_and(|r| r.installs() == installs);
        if !same && !base::bug!("marks-of-a-replaced-state") {
            marker!("marks.state was replaced meanwhile");
            return;
        }
        for key in found.keys {
            marker!("marks.removed");
            work.sink.batch.delete(Cf::Data, key);
        }
        marks.covering += found.covering;
        marks.at = Some(match found.next {
            Some(key) => (range, key),
            None => (RangeId(range.0 + 1), Key::default()),
        });
    }
}

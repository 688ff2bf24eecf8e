//! Closed revisions (protocols §7): at or below which nothing will be written any more that is not in the log already.
//!
//! A leader says "closed at Z, up to `index@term`": whatever this range will ever commit at or below Z is in its log up
//! to that position. A replica whose state holds that entry holds everything at or below Z. Without the position a
//! follower would count what is still on its way to it.

use crate::replica::Replica;
use crate::sink::Turn;
use crate::state::Log;
use crate::{ReadAsk, ReadTask};
use base::{Index, Revision, StoreId, Term};
use engine::Engine;
use raft::Supports;

/// Where a leader's log ends, and what it says about revisions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// Nothing at or below it is still to come.
    pub closed: Revision,
    /// The position up to which the log must be applied to hold all of it.
    pub at: (Term, Index),
    /// Has it evaluated what is not in the log yet?
    pub is_open: bool,
}

impl<V: engine::Read + Send + Sync + 'static> Replica<V> {
    /// What this leader can close. `known` was issued; `before` is what was known when the oldest fetch that is still
    /// under way was sent. What it says rests on the lease.
    pub fn end(&self, known: Revision, before: Revision) -> Option<End> {
        let lead = self.lead.as_ref().filter(|_| self.is_serving())?;
        let first = lead.unappended.checked_sub(1).and_then(|_| lead.pending.get(lead.pending.len() - lead.unappended));
        // Numbers come in evaluation order, so the first one that is not in the log is the smallest. One that is not
        // known yet is larger than whatever was issued before it was asked for.
        let closed = match first {
            Some(p) if !base::bug!("closed-over-what-is-not-in-the-log") => match p.number {
                Some(number) => number.prev().min(known),
                None if base::bug!("closed-over-a-fetch-in-flight") => known,
                None => before.min(known),
            },
            _ => known,
        };
        let (index, term) = self.group.last();
        Some(End { closed, at: (term, index), is_open: first.is_some() })
    }

    /// Does the state in the engine hold this entry of this term, and all before it?
    pub fn has_reached<E: Engine<View = V>>(&self, engine: &E, (term, index): (Term, Index)) -> bool {
        if self.written < index {
            return false;
        }
        if self.readable.0 == term {
            return true;
        }
        // A later leader has written since: did that entry survive?
        let log = Log { engine, range: self.descriptor.id };
        self.readable.0 > term && self.group.term_at(&log, index) == Some(term)
    }

    /// Nothing at or below it will be written any more that is not in the engine: numbers rise along the log [W1].
    pub fn readable_revision(&self) -> Revision {
        self.readable.1
    }

    /// The voters, and whose promise to this leader counts: leaders with equal answers hold leases that end together.
    pub fn promisers(&self, supports: &Supports) -> Vec<(StoreId, bool)> {
        self.group.promisers(supports)
    }

    /// A read of this replica as it stands in the engine; the caller knows that it holds what is asked for.
    pub fn read_as_it_stands<E: Engine<View = V>>(&self, turn: &mut Turn<E>, ask: ReadAsk) -> ReadTask<V> {
        crate::read::as_it_stands(turn, ask)
    }
}

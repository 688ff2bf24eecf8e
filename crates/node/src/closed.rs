//! The receiver's side of closed revisions (protocols §7): up to which revision each local replica holds everything.
//!
//! What a leader says comes with a position in the range's log, and counts only when the state in the engine holds that
//! entry of that term. A revision that counts once, counts for ever: closed revisions only grow. Lost parts of a stream
//! are noticed by their numbers; what was counted before stays.

use crate::closes::{At, Closes};
use base::{Incarnation, RangeId, Revision, StoreId, marker};
use std::collections::BTreeMap;

/// What is known of one local replica.
#[derive(Default)]
struct Known {
    /// Held, for sure.
    sure: Revision,
    /// Said, with a position that was not reached when it was looked at last: the oldest, so that some is reached even
    /// while new ones keep coming, and the newest.
    oldest: Option<(Revision, At)>,
    newest: Option<(Revision, At)>,
    group: Option<InGroup>,
}

#[derive(Clone, Copy)]
struct InGroup {
    of: StoreId,
    group: u64,
    at: At,
    is_reached: bool,
}

/// A peer's stream, as far as it was taken without a gap.
#[derive(Default)]
struct Stream {
    /// The part that was taken last; `None`: there is a gap.
    taken: Option<(Incarnation, u64)>,
    groups: BTreeMap<u64, Revision>,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Closed {
    ranges: BTreeMap<RangeId, Known>,
    streams: BTreeMap<StoreId, Stream>,
}

impl Known {
    fn tell(&mut self, revision: Revision, at: At) {
        if revision <= self.sure {
            return;
        }
        match &self.oldest {
            None => self.oldest = Some((revision, at)),
            Some(_) => self.newest = Some((revision, at)),
        }
    }

    fn look(&mut self, group: impl Fn(InGroup) -> Revision, has_reached: &dyn Fn(At) -> bool) -> Revision {
        for slot in [&mut self.oldest, &mut self.newest] {
            if let Some((revision, _)) = slot.take_if(|(_, at)| has_reached(*at)) {
                self.sure = self.sure.max(revision);
            }
        }
        // What a leader of an earlier term said may never be reached.
        let later = self.newest.zip(self.oldest).is_some_and(|(new, old)| new.1.0 > old.1.0);
        if self.oldest.is_none() || later {
            self.oldest = self.newest.take();
        }
        if let Some(g) = &mut self.group {
            g.is_reached |= has_reached(g.at);
            if g.is_reached {
                self.sure = self.sure.max(group(*g));
            }
        }
        self.sure
    }
}

impl Closed {
    /// This revision is closed at this position: said by its leader, or by this node as its leader.
    pub fn tell(&mut self, range: RangeId, revision: Revision, at: At) {
        self.ranges.entry(range).or_default().tell(revision, at);
    }

    /// Up to which revision the local replica holds everything, as far as was said.
    pub fn of(&mut self, range: RangeId, has_reached: &dyn Fn(At) -> bool) -> Revision {
        let streams = &self.streams;
        let value = |g: InGroup| streams.get(&g.of).and_then(|s| s.groups.get(&g.group)).copied().unwrap_or_default();
        let has_reached = |at: At| base::bug!("closed-without-a-position") || has_reached(at);
        self.ranges.get_mut(&range).map_or(Revision::ZERO, |k| k.look(value, &has_reached))
    }

    /// A part of a peer's stream. Returns the largest revision in it; `None` when the stream has a gap. `is_here`: is
    /// there a local replica?
    pub fn take(&mut self, from: StoreId, part: Closes, is_here: &dyn Fn(RangeId) -> bool) -> Option<Revision> {
        let stream = self.streams.entry(from).or_default();
        let follows = stream.taken == Some((part.life, part.number.saturating_sub(1)));
        if part.is_first {
            self.forget(from);
        } else if !follows && !base::bug!("closed-over-a-gap") {
            marker!("closed.gap in a stream");
            self.forget(from);
            return None;
        }
        // Whoever is named has left the group in which it was, also when it is in one again by now: for that membership
        // the values count that were said before, not those of this part.
        for range in part.left {
            self.leave(range, Some(from));
        }
        let joined: Vec<_> = part.joined.into_iter().filter(|j| is_here(j.0)).collect();
        if !base::bug!("closed-group-left-at-a-later-value") {
            joined.iter().for_each(|(range, ..)| self.leave(*range, Some(from)));
        }
        let stream = self.streams.entry(from).or_default();
        stream.taken = Some((part.life, part.number));
        for (group, value) in &part.groups {
            let before = stream.groups.entry(*group).or_default();
            *before = (*before).max(*value);
        }
        for (range, group, at) in joined {
            // A deposed leader may begin its stream anew after its successor was heard: what it said is true, but it
            // will say no more, and its successor would not repeat what it told already.
            if self.ranges.get(&range).and_then(|k| k.group).is_some_and(|g| g.at.0 > at.0) {
                marker!("closed.group of a deposed leader");
                continue;
            }
            self.leave(range, None);
            self.ranges.entry(range).or_default().group = Some(InGroup { of: from, group, at, is_reached: false });
        }
        let largest = part.groups.iter().map(|g| g.1).chain(part.alone.iter().map(|a| a.1)).max();
        for (range, revision, at) in part.alone.into_iter().filter(|a| is_here(a.0)) {
            self.tell(range, revision, at);
        }
        Some(largest.unwrap_or_default())
    }

    /// The range's group says nothing about it any more; what it said stays said.
    fn leave(&mut self, range: RangeId, of: Option<StoreId>) {
        let Some(known) = self.ranges.get_mut(&range) else { return };
        let Some(g) = known.group.take_if(|g| of.is_none_or(|s| s == g.of)) else { return };
        let value = self.streams.get(&g.of).and_then(|s| s.groups.get(&g.group)).copied().unwrap_or_default();
        if g.is_reached {
            known.sure = known.sure.max(value);
        } else {
            known.tell(value, g.at);
        }
    }

    /// Nothing more is counted from this stream until it begins anew.
    fn forget(&mut self, from: StoreId) {
        let of = |k: &Known| k.group.is_some_and(|g| g.of == from);
        let members: Vec<RangeId> = self.ranges.iter().filter(|(_, k)| of(k)).map(|(r, _)| *r).collect();
        for range in members {
            self.leave(range, Some(from));
        }
        self.streams.remove(&from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Index, Term};

    const R: RangeId = RangeId(2);
    const S: StoreId = StoreId(1);

    fn at(term: u64, index: u64) -> At {
        (Term(term), Index(index))
    }
    fn part(number: u64, groups: &[(u64, u64)]) -> Closes {
        let groups = groups.iter().map(|(g, z)| (*g, Revision(*z))).collect();
        Closes { number, is_first: number == 1, groups, ..Closes::default() }
    }
    /// The largest revision that counts when the state stands here.
    fn of(c: &mut Closed, term: u64, index: u64) -> u64 {
        c.of(R, &|(t, i)| t.0 == term && i.0 <= index).0
    }

    #[test]
    fn a_value_counts_once_its_position_is_reached_and_for_ever() {
        let mut c = Closed::default();
        c.tell(R, Revision(10), at(3, 7));
        assert_eq!(of(&mut c, 3, 6), 0);
        c.tell(R, Revision(20), at(3, 9));
        c.tell(R, Revision(30), at(3, 12));
        assert_eq!(of(&mut c, 3, 8), 10, "the oldest was kept, however many came after it");
        assert_eq!(of(&mut c, 3, 12), 30);
        assert_eq!(of(&mut c, 4, 1), 30, "what counts, counts for ever");
    }

    #[test]
    fn what_an_earlier_leader_said_and_lost_does_not_stand_in_the_way() {
        let mut c = Closed::default();
        c.tell(R, Revision(10), at(3, 7));
        c.tell(R, Revision(20), at(4, 7));
        assert_eq!(of(&mut c, 4, 6), 0);
        c.tell(R, Revision(30), at(4, 9));
        assert_eq!(of(&mut c, 4, 8), 20);
    }

    #[test]
    fn a_group_closes_its_ranges_until_they_leave() {
        let mut c = Closed::default();
        let join = Closes { joined: vec![(R, 0, at(3, 7))], ..part(1, &[(0, 10)]) };
        assert_eq!(c.take(S, join, &|_| true), Some(Revision(10)));
        assert_eq!(of(&mut c, 3, 6), 0, "not applied yet");
        assert_eq!(of(&mut c, 3, 7), 10);
        assert_eq!(c.take(S, part(2, &[(0, 15)]), &|_| true), Some(Revision(15)));
        assert_eq!(of(&mut c, 4, 1), 15, "it was reached");
        let leave = Closes { left: vec![R], ..part(3, &[(0, 20)]) };
        c.take(S, leave, &|_| true);
        assert_eq!(of(&mut c, 3, 100), 15, "it left before 20 was said");
    }

    #[test]
    fn nothing_counts_behind_a_gap_until_the_stream_begins_anew() {
        let mut c = Closed::default();
        let join = Closes { joined: vec![(R, 0, at(3, 7))], ..part(1, &[(0, 10)]) };
        c.take(S, join, &|_| true);
        // Number 2 said that the range left.
        assert_eq!(c.take(S, part(3, &[(0, 30)]), &|_| true), None);
        assert_eq!(c.take(S, part(4, &[(0, 40)]), &|_| true), None, "still");
        assert_eq!(of(&mut c, 3, 9), 10);
        let anew = Closes { is_first: true, ..part(5, &[(0, 50)]) };
        assert_eq!(c.take(S, anew, &|_| true), Some(Revision(50)));
        assert_eq!(of(&mut c, 3, 9), 10, "it is in no group");
        let alone = Closes { alone: vec![(R, Revision(60), at(3, 9))], ..part(6, &[]) };
        assert_eq!(c.take(S, alone, &|_| true), Some(Revision(60)));
        assert_eq!(of(&mut c, 3, 9), 60);
    }

    #[test]
    fn another_life_of_the_sender_does_not_go_on_where_the_last_one_ended() {
        let mut c = Closed::default();
        let join = Closes { joined: vec![(R, 0, at(3, 7))], ..part(1, &[(0, 10)]) };
        c.take(S, join, &|_| true);
        assert_eq!(of(&mut c, 3, 9), 10);
        // The first part of its new life, in which it does not lead the range any more, was lost.
        let later = Closes { life: Incarnation(1), ..part(2, &[(0, 30)]) };
        assert_eq!(c.take(S, later, &|_| true), None);
        assert_eq!(of(&mut c, 3, 9), 10);
    }

    #[test]
    fn a_deposed_leader_does_not_take_the_range_out_of_the_group_of_its_successor() {
        let mut c = Closed::default();
        let join = |number, term, z| Closes { joined: vec![(R, 0, at(term, 7))], ..part(number, &[(0, z)]) };
        c.take(StoreId(2), join(1, 4, 10), &|_| true);
        c.take(S, join(1, 3, 9), &|_| true);
        assert_eq!(of(&mut c, 4, 7), 10);
        assert_eq!(c.take(StoreId(2), part(2, &[(0, 15)]), &|_| true), Some(Revision(15)));
        assert_eq!(of(&mut c, 4, 7), 15);
    }

    #[test]
    fn a_range_that_left_and_joined_again_was_closed_at_the_earlier_value() {
        let mut c = Closed::default();
        let join = |number, index, z| Closes { joined: vec![(R, 0, at(3, index))], ..part(number, &[(0, z)]) };
        c.take(S, join(1, 7, 10), &|_| true);
        assert_eq!(of(&mut c, 3, 7), 10);
        // 15 is in entry 8. That the range left for it and came back is said in one.
        c.take(S, join(2, 8, 20), &|_| true);
        assert_eq!(of(&mut c, 3, 7), 10, "entry 8 is not here");
        assert_eq!(of(&mut c, 3, 8), 20);
    }

    #[cfg(feature = "museum")]
    #[test]
    fn each_of_these_tests_fails_when_its_bug_is_planted() {
        base::museum::each_is_noticed(&[
            ("closed-group-left-at-a-later-value", a_range_that_left_and_joined_again_was_closed_at_the_earlier_value),
            ("closed-over-a-gap", nothing_counts_behind_a_gap_until_the_stream_begins_anew),
        ]);
    }
}

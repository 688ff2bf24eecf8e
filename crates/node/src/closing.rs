//! The leader's side of closed revisions (protocols §7): what this node says is closed in the ranges it leads.
//!
//! Idle ranges are closed together. A range whose log has not grown for a while joins a *group* with the position at
//! which its log ends, and leaves the group before anything new is evaluated in it; one value closes the whole group,
//! however many ranges are in it. All leases of a group rest on the same promises, so they end together. Ranges that are
//! written to are closed one by one, each with its position.
//!
//! ```text
//! state()    what could be closed now, given to the lease gate under a number
//! proved()   the leases held when the shell read its clock: it is a fact, for every peer and for this node
//! part_for() what a peer was not told yet: ranges that left and joined, the values, those that stand alone
//! ```
//!
//! A range that joins behind a statement's making is told with a later one: a value counts for a range only when the
//! lease of that range was part of what was proved.

use crate::closes::{At, Closes};
use base::{Incarnation, Place, RangeId, Revision, StoreId, Tick, marker};
use range::End;
use std::collections::{BTreeMap, BTreeSet};

/// Whose promises a lease rests on.
pub(crate) type Promisers = Vec<(StoreId, bool)>;

/// A range joins a group when its log has not grown for so long.
const IDLE: Tick = Tick::ms(100);
/// A peer to which nothing else is said hears of news after so long.
const PACE: Tick = Tick::ms(20);
/// A peer hears that nothing is new after so long: it notices a lost part.
const REPEAT: Tick = Tick::ms(1_000);
/// So many ranges that stand alone go into one statement.
const ALONE: usize = 64;

/// A range in a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Joined {
    group: u64,
    at: At,
    /// The first statement whose proof covers it.
    since: u64,
}

/// A statement at the lease gate.
#[derive(Clone, Default, Debug)]
struct Statement {
    number: u64,
    made: Tick,
    groups: Vec<u64>,
    value: Revision,
    alone: Vec<(RangeId, Revision, At)>,
}

/// What one peer was told.
#[derive(Default)]
struct Told {
    /// Parts so far, in this life.
    number: u64,
    /// The stream goes on; else it begins anew with the next part.
    goes_on: bool,
    begun: Tick,
    sent: Tick,
    /// Ranges with a replica there that joined or left since.
    news: BTreeSet<RangeId>,
    alone: BTreeMap<RangeId, (Revision, At)>,
    unsent: bool,
    /// Its stream to us has a gap.
    again: bool,
}

/// What a range's turn left behind, for a range that is led here.
pub(crate) struct Led<'a> {
    pub end: End,
    pub promisers: &'a dyn Fn() -> Promisers,
    pub replicas: &'a [Place],
}

/// All of it.
pub(crate) struct Closing {
    own: StoreId,
    life: Incarnation,
    joined: BTreeMap<RangeId, Joined>,
    groups: Vec<(Promisers, BTreeSet<RangeId>)>,
    /// Led here and in no group: where its log ended, and since when.
    loose: BTreeMap<RangeId, (At, Tick)>,
    /// Where the last statement stopped among them.
    next_alone: RangeId,
    gate: Option<Statement>,
    /// Each group's value, and the statement that it came with.
    values: BTreeMap<u64, (Revision, u64)>,
    numbers: u64,
    /// Of the last statement made.
    stated: Revision,
    next_join: Tick,
    /// Nothing held a lease: not before then.
    next_try: Tick,
    peers: BTreeMap<StoreId, Told>,
}

impl Closing {
    /// Nothing said yet in this life of the store `own`.
    pub fn new(own: StoreId, life: Incarnation) -> Closing {
        Closing {
            own,
            life,
            joined: BTreeMap::new(),
            groups: Vec::new(),
            loose: BTreeMap::new(),
            next_alone: RangeId(0),
            gate: None,
            values: BTreeMap::new(),
            numbers: 0,
            stated: Revision::ZERO,
            next_join: Tick::ZERO,
            next_try: Tick::ZERO,
            peers: BTreeMap::new(),
        }
    }

    /// What is kept for whoever has a replica and is not this node: that one would never be told, and wait for it for ever.
    fn others(&self, replicas: &[Place]) -> impl Iterator<Item = StoreId> + use<> {
        let own = self.own;
        let is_other = |s: &StoreId| *s != own || base::bug!("tells-itself-what-is-closed");
        let stores: Vec<StoreId> = replicas.iter().map(|p| p.store).filter(is_other).collect();
        stores.into_iter()
    }

    /// A range had a turn. Returns what it leaves behind in its group, for this node itself to count.
    pub fn note(&mut self, range: RangeId, led: Option<Led<'_>>, now: Tick) -> Option<(Revision, At)> {
        let Some(led) = led else {
            self.loose.remove(&range);
            return self.leave(range, None);
        };
        if let Some(j) = self.joined.get(&range) {
            let same = j.at == led.end.at && !led.end.is_open && self.groups[j.group as usize].0 == (led.promisers)();
            if same || base::bug!("closed-range-stays-in-its-group") {
                return None;
            }
            marker!("closed.range leaves its group");
            self.loose.insert(range, (led.end.at, now));
            return self.leave(range, Some(led.replicas));
        }
        let loose = self.loose.entry(range).or_insert((led.end.at, now));
        if loose.0 != led.end.at || led.end.is_open {
            *loose = (led.end.at, now);
        }
        None
    }

    fn leave(&mut self, range: RangeId, replicas: Option<&[Place]>) -> Option<(Revision, At)> {
        let j = self.joined.remove(&range)?;
        self.groups[j.group as usize].1.remove(&range);
        for (store, told) in &mut self.peers {
            if replicas.is_none_or(|all| all.iter().any(|p| p.store == *store)) {
                told.news.insert(range);
            }
        }
        self.covers(j).map(|value| (value, j.at))
    }

    /// The group's value, when this range was in the group while the leases of the group were proved.
    fn covers(&self, j: Joined) -> Option<Revision> {
        self.values.get(&j.group).filter(|(_, number)| *number >= j.since).map(|(value, _)| *value)
    }

    /// What this node itself may count of its own group: the value, and the position it goes with.
    pub fn own(&self, range: RangeId) -> Option<(Revision, At)> {
        let j = *self.joined.get(&range)?;
        self.covers(j).map(|value| (value, j.at))
    }

    /// Should a statement be made?
    pub fn is_due(&self, known: Revision, now: Tick) -> bool {
        let nothing = self.joined.is_empty() && self.loose.is_empty();
        self.gate.is_none() && !nothing && now >= self.next_try && (known > self.stated || self.wants_join(now))
    }

    fn wants_join(&self, now: Tick) -> bool {
        !self.loose.is_empty() && now >= self.next_join
    }

    /// Makes a statement, if any lease holds. `look` says of a range led here where it stands, and until when its lease
    /// holds. Returns the statement's number, and until when all leases that it rests on hold.
    pub fn state(
        &mut self,
        known: Revision,
        now: Tick,
        look: &mut dyn FnMut(RangeId) -> Option<(End, Promisers, Tick, Vec<Place>)>,
    ) -> Option<(u64, Tick)> {
        self.numbers += 1;
        let mut made = Statement { number: self.numbers, made: now, value: known, ..Statement::default() };
        let mut until = Tick::FAR;
        if self.wants_join(now) {
            self.next_join = now + IDLE;
        }
        let behind = self.loose.range(self.next_alone..).chain(self.loose.range(..self.next_alone));
        let some: Vec<(RangeId, (At, Tick))> = behind.take(ALONE).map(|(r, l)| (*r, *l)).collect();
        self.next_alone = some.last().map_or(RangeId(0), |(r, _)| RangeId(r.0 + 1));
        for (range, (at, since)) in some {
            let Some((end, promisers, lease, replicas)) = look(range).filter(|l| l.2 > now) else { continue };
            if !end.is_open && end.at == at && now >= since + IDLE {
                self.join(range, at, promisers, &replicas);
            } else {
                marker!("closed.range alone");
                until = until.min(lease);
                made.alone.push((range, end.closed, end.at));
            }
        }
        for (group, (_, ranges)) in self.groups.iter().enumerate() {
            let Some(one) = ranges.first() else { continue };
            if let Some((_, _, lease, _)) = look(*one).filter(|l| l.2 > now) {
                until = until.min(lease);
                made.groups.push(group as u64);
            }
        }
        if made.groups.is_empty() && made.alone.is_empty() {
            self.next_try = now + PACE;
            return None;
        }
        self.stated = known;
        self.gate = Some(made);
        Some((self.numbers, until))
    }

    fn join(&mut self, range: RangeId, at: At, promisers: Promisers, replicas: &[Place]) {
        marker!("closed.range joins a group");
        self.loose.remove(&range);
        let group = match self.groups.iter().position(|(p, _)| *p == promisers) {
            Some(g) => g,
            None => {
                self.groups.push((promisers, BTreeSet::new()));
                self.groups.len() - 1
            }
        };
        self.groups[group].1.insert(range);
        self.joined.insert(range, Joined { group: group as u64, at, since: self.numbers });
        for store in self.others(replicas) {
            self.peers.entry(store).or_default().news.insert(range);
        }
    }

    /// Its leases held when the clock was read. Returns what stood alone, for this node itself to count.
    pub fn proved(&mut self, number: u64, replicas: &dyn Fn(RangeId) -> Vec<Place>) -> Vec<(RangeId, Revision, At)> {
        let Some(statement) = self.gate.take_if(|s| s.number == number) else { return Vec::new() };
        marker!("closed.proved");
        for (range, value, at) in &statement.alone {
            for store in self.others(&replicas(*range)) {
                self.peers.entry(store).or_default().alone.insert(*range, (*value, *at));
            }
        }
        for group in statement.groups {
            self.values.insert(group, (statement.value, number));
        }
        self.peers.values_mut().for_each(|t| t.unsent = true);
        statement.alone
    }

    /// It came too late: nothing was said.
    pub fn unproved(&mut self, number: u64) {
        marker!("closed.lease over before it was said");
        self.gate.take_if(|s| s.number == number);
        self.stated = Revision::ZERO;
    }

    /// The peer's stream must begin anew: the connection was set up anew, or it says that it has a gap.
    pub fn begin_anew(&mut self, peer: StoreId, replicas: &dyn Fn(RangeId) -> Vec<Place>) {
        let on_it = |r: &&RangeId| replicas(**r).iter().any(|p| p.store == peer);
        let news = self.joined.keys().filter(on_it).copied().collect();
        let told = self.peers.entry(peer).or_default();
        (told.news, told.goes_on, told.unsent, told.sent) = (news, false, true, Tick::ZERO);
        if base::bug!("closed-stream-counts-from-one-again") {
            told.number = 0;
        }
    }

    /// The peer says that its copy of our stream has a gap. What is under way already may mend it.
    pub fn has_gap(&mut self, peer: StoreId, now: Tick, replicas: &dyn Fn(RangeId) -> Vec<Place>) {
        if self.peers.get(&peer).is_none_or(|t| now >= t.begun + Tick::ms(300)) {
            marker!("closed.stream begins anew");
            self.begin_anew(peer, replicas);
        }
    }

    /// Our copy of the peer's stream has a gap: it is told with the next part.
    pub fn ask_again(&mut self, peer: StoreId) {
        let told = self.peers.entry(peer).or_default();
        (told.again, told.unsent) = (true, true);
    }

    /// Peers that wait for a part. `is_spoken_to`: something else leaves for that peer now.
    pub fn due(&self, now: Tick, is_spoken_to: &dyn Fn(StoreId) -> bool) -> Vec<StoreId> {
        let due = |(peer, t): (&StoreId, &Told)| {
            let news = t.unsent && (now >= t.sent + PACE || is_spoken_to(*peer));
            let repeats = t.number > 0 && now >= t.sent + REPEAT;
            (news || repeats).then_some(*peer)
        };
        self.peers.iter().filter_map(due).collect()
    }

    /// What a peer is told now.
    pub fn part_for(&mut self, peer: StoreId, now: Tick) -> Closes {
        let told = self.peers.entry(peer).or_default();
        let (life, number, is_first) = (self.life, told.number + 1, !told.goes_on);
        let mut part = Closes { life, number, is_first, again: std::mem::take(&mut told.again), ..Closes::default() };
        for range in std::mem::take(&mut told.news) {
            let j = self.joined.get(&range);
            let is_covered = |j: &&Joined| self.values.get(&j.group).is_some_and(|(_, number)| *number >= j.since);
            match j.filter(is_covered) {
                Some(j) => part.joined.push((range, j.group, j.at)),
                None => {
                    part.left.push(range);
                    if j.is_some() {
                        told.news.insert(range);
                    }
                }
            }
        }
        // Whoever left was told, so that a group without ranges has nothing to say.
        let is_used = |g: &u64| !self.groups[*g as usize].1.is_empty();
        part.groups = self.values.iter().filter(|(g, _)| is_used(g)).map(|(g, (z, _))| (*g, *z)).collect();
        part.alone = std::mem::take(&mut told.alone).into_iter().map(|(r, (z, at))| (r, z, at)).collect();
        if is_first {
            told.begun = now;
        }
        (told.number, told.goes_on, told.sent, told.unsent) = (number, true, now, false);
        part
    }

    /// When something must be said next.
    pub fn next_wake(&self, now: Tick) -> Tick {
        let unsent = self.peers.values().filter(|t| t.unsent).map(|t| t.sent + PACE);
        // The gate's answer is taken in with whatever comes next. One look for it is worth a step; one that comes later
        // than that is not waited for awake.
        let gate = self.gate.as_ref().map(|s| s.made + PACE);
        let gate = gate.filter(|t| *t > now || base::bug!("waits-awake-for-a-late-gate"));
        unsent.chain(gate).min().unwrap_or(Tick::FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Index, ReplicaId, Term};

    const R: RangeId = RangeId(2);
    const PEER: StoreId = StoreId(2);

    fn closing() -> Closing {
        Closing::new(StoreId(1), Incarnation(1))
    }
    fn at(index: u64) -> At {
        (Term(3), Index(index))
    }
    fn replicas() -> Vec<Place> {
        (1..=3).map(|n| Place { replica: ReplicaId(n), store: StoreId(n) }).collect()
    }
    fn end(closed: u64, index: u64, is_open: bool) -> End {
        End { closed: Revision(closed), at: at(index), is_open }
    }
    fn note(c: &mut Closing, end: End, ms: u64) -> Option<(Revision, At)> {
        c.note(R, Some(Led { end, promisers: &|| vec![(PEER, true)], replicas: &replicas() }), Tick::ms(ms))
    }
    /// Makes a statement about `R` under a lease until 1 s, and proves it.
    fn say(c: &mut Closing, known: u64, end: End, ms: u64) -> Vec<(RangeId, Revision, At)> {
        let mut look = |_| Some((end, vec![(PEER, true)], Tick::ms(1_000), replicas()));
        let (number, until) = c.state(Revision(known), Tick::ms(ms), &mut look).expect("a statement");
        assert_eq!(until, Tick::ms(1_000));
        c.proved(number, &|_| replicas())
    }
    fn part(c: &mut Closing, ms: u64) -> Closes {
        c.part_for(PEER, Tick::ms(ms))
    }

    #[test]
    fn an_active_range_is_closed_with_its_position_and_an_idle_one_with_its_group() {
        let mut c = closing();
        assert!(!c.is_due(Revision(9), Tick::ms(0)), "nothing is led here");
        note(&mut c, end(9, 7, false), 0);
        assert!(c.is_due(Revision(9), Tick::ms(0)));
        assert_eq!(say(&mut c, 9, end(9, 7, false), 0), vec![(R, Revision(9), at(7))]);
        let first = part(&mut c, 1);
        assert_eq!((first.number, first.alone.len(), first.joined.len()), (1, 1, 0));
        // Its log has not grown for long enough: it joins, and the same statement's proof covers it.
        assert!(say(&mut c, 20, end(20, 7, false), 200).is_empty());
        let second = part(&mut c, 201);
        assert_eq!((second.joined, second.groups), (vec![(R, 0, at(7))], vec![(0, Revision(20))]));
        assert_eq!(c.own(R), Some((Revision(20), at(7))));
        // Something is evaluated in it: it has left before anything larger is said.
        assert_eq!(note(&mut c, end(20, 7, true), 300), Some((Revision(20), at(7))), "what was said stays said");
        assert_eq!(c.own(R), None);
        say(&mut c, 30, end(24, 7, true), 300);
        let third = part(&mut c, 301);
        assert_eq!((third.left, third.alone), (vec![R], vec![(R, Revision(24), at(7))]));
    }

    #[test]
    fn a_range_that_joins_is_told_only_when_its_lease_was_proved_with_it() {
        let mut c = closing();
        note(&mut c, end(9, 7, false), 0);
        say(&mut c, 9, end(9, 7, false), 0);
        let mut look = |_| Some((end(9, 7, false), vec![(PEER, true)], Tick::ms(1_000), replicas()));
        let (number, _) = c.state(Revision(20), Tick::ms(200), &mut look).expect("a statement");
        assert_eq!(c.own(R), None, "the shell has not read its clock yet");
        assert!(part(&mut c, 201).joined.is_empty());
        c.unproved(number);
        assert!(c.proved(number, &|_| replicas()).is_empty());
        assert_eq!(c.own(R), None, "it came too late");
        assert!(c.is_due(Revision(20), Tick::ms(210)), "and is tried again");
        say(&mut c, 20, end(20, 7, false), 210);
        assert_eq!(part(&mut c, 211).joined, vec![(R, 0, at(7))]);
    }

    #[test]
    fn without_a_lease_nothing_is_said() {
        let mut c = closing();
        note(&mut c, end(9, 7, false), 0);
        assert!(c.state(Revision(9), Tick::ms(5), &mut |_| None).is_none());
        let mut over = |_| Some((end(9, 7, false), vec![], Tick::ms(5), replicas()));
        assert!(c.state(Revision(9), Tick::ms(50), &mut over).is_none(), "it is over already");
        assert!(!c.is_due(Revision(9), Tick::ms(51)), "not at every step");
        assert!(c.is_due(Revision(9), Tick::ms(100)));
    }

    #[test]
    fn a_stream_that_begins_anew_names_every_idle_range() {
        let mut c = closing();
        note(&mut c, end(9, 7, false), 0);
        say(&mut c, 9, end(9, 7, false), 0);
        say(&mut c, 20, end(20, 7, false), 200);
        assert_eq!(part(&mut c, 201).number, 1);
        assert_eq!(part(&mut c, 202).number, 2);
        c.has_gap(PEER, Tick::ms(300), &|_| replicas());
        assert_eq!(part(&mut c, 301).number, 3, "what is on its way may mend it");
        c.has_gap(PEER, Tick::ms(600), &|_| replicas());
        let anew = part(&mut c, 601);
        assert_eq!((anew.number, anew.is_first, anew.joined.len()), (4, true, 1), "it goes on counting");
        assert!(!part(&mut c, 602).is_first);
    }

    #[test]
    fn a_lost_beginning_is_a_gap_whatever_came_before_it() {
        let mut c = closing();
        let mut peer = crate::closed::Closed::default();
        let of = |peer: &mut crate::closed::Closed| peer.of(R, &|at: At| at.1 <= Index(7)).0;
        let hear = |peer: &mut crate::closed::Closed, part: Closes| peer.take(StoreId(1), part, &|_| true);
        note(&mut c, end(9, 7, false), 0);
        say(&mut c, 20, end(20, 7, false), 200);
        assert_eq!(hear(&mut peer, part(&mut c, 201)), Some(Revision(20)));
        assert_eq!(of(&mut peer), 20);
        // The connection is set up anew; the range has left its group; what would say so is lost.
        note(&mut c, end(20, 7, true), 300);
        c.begin_anew(PEER, &|_| replicas());
        part(&mut c, 301);
        c.note(R, None, Tick::ms(302));
        const OTHER: RangeId = RangeId(3);
        c.note(
            OTHER,
            Some(Led { end: end(20, 7, false), promisers: &|| vec![(PEER, true)], replicas: &replicas() }),
            Tick::ms(303),
        );
        say(&mut c, 30, end(30, 7, false), 500);
        assert_eq!(hear(&mut peer, part(&mut c, 501)), None, "the range may have left in what is missing");
        assert_eq!(of(&mut peer), 20);
    }

    #[test]
    fn when_all_was_told_nothing_is_waited_for() {
        let mut c = closing();
        note(&mut c, end(9, 7, false), 0);
        say(&mut c, 9, end(9, 7, false), 0);
        say(&mut c, 20, end(20, 7, false), 200);
        let due = c.due(Tick::ms(300), &|_| false);
        assert_eq!(due, [2, 3].map(StoreId), "the others, not this node itself");
        due.into_iter().for_each(|peer| drop(c.part_for(peer, Tick::ms(300))));
        assert_eq!(c.next_wake(Tick::ms(300)), Tick::FAR);
        let mut look = |_| Some((end(30, 7, false), vec![(PEER, true)], Tick::ms(1_000), replicas()));
        assert!(c.state(Revision(30), Tick::ms(310), &mut look).is_some());
        assert_eq!(c.next_wake(Tick::ms(310)), Tick::ms(330), "the gate's answer may lie there");
        assert_eq!(c.next_wake(Tick::ms(330)), Tick::FAR, "it is not waited for awake");
    }

    #[cfg(feature = "museum")]
    #[test]
    fn each_of_these_tests_fails_when_its_bug_is_planted() {
        base::museum::each_is_noticed(&[
            ("closed-stream-counts-from-one-again", a_lost_beginning_is_a_gap_whatever_came_before_it),
            ("tells-itself-what-is-closed", when_all_was_told_nothing_is_waited_for),
            ("waits-awake-for-a-late-gate", when_all_was_told_nothing_is_waited_for),
        ]);
    }
}

//! Who belongs to a group, what a quorum is, and how membership changes.
//!
//! A configuration is one set of voters, or during a change two: the incoming `voters` and the `outgoing` ones
//! (joint consensus, Ongaro 2014 §4.3). In the joint state whatever needs a quorum needs one of *each half*.

use base::codec::{get_bytes, get_u8, get_u64, put_bytes, put_u64};
use base::{Error, ReplicaId, Result, StoreId};
use bytes::Bytes;
use std::fmt;

/// One replica and the store it lives on. A replica id is never used again, also not after a removal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Member {
    /// The copy.
    pub replica: ReplicaId,
    /// The disk that it is on.
    pub store: StoreId,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.replica)
    }
}

impl Member {
    /// Appends replica and store as varints.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.replica.0);
        put_u64(out, self.store.0);
    }

    /// Takes a member off the front.
    pub fn decode(buf: &mut Bytes) -> Result<Member> {
        Ok(Member { replica: ReplicaId(get_u64(buf)?), store: StoreId(get_u64(buf)?) })
    }
}

/// The members of a group. Every list is sorted by replica id, without repetition.
///
/// * joint exactly when `outgoing` is not empty;
/// * a learner is in no list of voters, except that a voter which becomes a learner stands in `learners_next` until
///   the joint state is left, because it still votes in the outgoing half.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Conf {
    /// Those who vote; the incoming half while joint.
    pub voters: Vec<Member>,
    /// The outgoing half while joint, else empty.
    pub outgoing: Vec<Member>,
    /// Those who receive entries and do not vote.
    pub learners: Vec<Member>,
    /// Voters of the outgoing half that become learners when the joint state is left.
    pub learners_next: Vec<Member>,
}

/// One change of one member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// A new voter, or a learner that becomes one.
    Voter(Member),
    /// A new learner, or a voter that becomes one.
    Learner(Member),
    /// Away with it.
    Remove(ReplicaId),
}

/// What a [`crate::Payload::Conf`] entry says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConfChange {
    /// Enter or leave.
    pub step: ConfStep,
    /// What the range above wants to travel with the change; opaque here.
    pub context: Bytes,
}

/// The two steps of a change of membership.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ConfStep {
    /// All of these at once. The group becomes joint if the set of voters changes; a change of learners alone takes
    /// effect in this one step.
    Enter(Vec<Change>),
    /// Leave the joint state: only the incoming half remains.
    Leave,
}

impl Conf {
    /// A plain configuration of these voters.
    pub fn of_voters(voters: impl IntoIterator<Item = Member>) -> Conf {
        let mut conf = Conf { voters: voters.into_iter().collect(), ..Conf::default() };
        conf.voters.sort_unstable();
        conf.voters.dedup();
        conf
    }

    /// Are there two halves?
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Does this replica vote, in either half?
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        has(&self.voters, replica) || has(&self.outgoing, replica)
    }

    /// Is this replica a member at all?
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.is_voter(replica) || has(&self.learners, replica)
    }

    /// The member with this replica id.
    pub fn member(&self, replica: ReplicaId) -> Option<Member> {
        self.members().into_iter().find(|m| m.replica == replica)
    }

    /// Every member once, sorted by replica id.
    pub fn members(&self) -> Vec<Member> {
        let mut all: Vec<Member> = self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect();
        all.sort_unstable();
        all.dedup_by_key(|m| m.replica);
        all
    }

    /// The halves that each need a quorum: one, or two while joint.
    pub fn halves(&self) -> impl Iterator<Item = &[Member]> {
        let second = if base::bug!("joint-counts-one-half") { None } else { Some(self.outgoing.as_slice()) };
        std::iter::once(self.voters.as_slice()).chain(second.filter(|half| !half.is_empty()))
    }

    /// Do those for whom `yes` holds form a quorum of every half? A group without voters has no quorum.
    pub fn quorum(&self, mut yes: impl FnMut(Member) -> bool) -> bool {
        !self.voters.is_empty() && self.halves().all(|half| half.iter().filter(|m| yes(**m)).count() > half.len() / 2)
    }

    /// The largest value that a quorum of every half has reached; `None` without voters.
    pub fn quorum_value<T: Ord + Copy>(&self, mut value: impl FnMut(Member) -> T) -> Option<T> {
        if self.voters.is_empty() {
            return None;
        }
        self.halves().filter_map(|half| majority_value(half, &mut value)).min()
    }

    /// The configuration after this change, or what is wrong with the change. Total: the same answer on every replica.
    pub fn apply(&self, change: &ConfChange) -> Result<Conf> {
        match &change.step {
            ConfStep::Enter(changes) => self.enter(changes),
            ConfStep::Leave => self.leave(),
        }
    }

    fn enter(&self, changes: &[Change]) -> Result<Conf> {
        if self.is_joint() {
            return Err(wrong("a change is under way: the group is joint"));
        }
        let mut next = self.clone();
        let mut touched: Vec<ReplicaId> = Vec::with_capacity(changes.len());
        for change in changes {
            let replica = change.replica();
            if replica.0 == 0 || touched.contains(&replica) {
                return Err(wrong("a replica is named twice or has no id"));
            }
            touched.push(replica);
            next.take_in(change, self)?;
        }
        if next.voters.is_empty() {
            return Err(wrong("no voter would remain"));
        }
        if next.voters == self.voters {
            return Ok(next);
        }
        next.outgoing.clone_from(&self.voters);
        Ok(next)
    }

    fn take_in(&mut self, change: &Change, old: &Conf) -> Result<()> {
        if let Change::Voter(m) | Change::Learner(m) = change
            && (m.store.0 == 0 || old.member(m.replica).is_some_and(|known| known.store != m.store))
        {
            return Err(wrong("a replica does not move between stores"));
        }
        match change {
            Change::Voter(m) => {
                remove(&mut self.learners, m.replica);
                insert(&mut self.voters, *m);
            }
            Change::Learner(m) => {
                if remove(&mut self.voters, m.replica) {
                    insert(&mut self.learners_next, *m);
                } else {
                    insert(&mut self.learners, *m);
                }
            }
            Change::Remove(r) => {
                let known = remove(&mut self.voters, *r) | remove(&mut self.learners, *r);
                if !known {
                    return Err(wrong("a replica to remove is not a member"));
                }
            }
        }
        Ok(())
    }

    fn leave(&self) -> Result<Conf> {
        if !self.is_joint() {
            return Err(wrong("nothing to leave: the group is not joint"));
        }
        let mut next = Conf { outgoing: Vec::new(), learners_next: Vec::new(), ..self.clone() };
        for m in &self.learners_next {
            insert(&mut next.learners, *m);
        }
        Ok(next)
    }

    /// Appends the four lists.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for list in [&self.voters, &self.outgoing, &self.learners, &self.learners_next] {
            put_u64(out, list.len() as u64);
            list.iter().for_each(|m| m.encode(out));
        }
    }

    /// Takes a configuration off the front; refuses lists that are not sorted.
    pub fn decode(buf: &mut Bytes) -> Result<Conf> {
        let conf = Conf {
            voters: decode_list(buf)?,
            outgoing: decode_list(buf)?,
            learners: decode_list(buf)?,
            learners_next: decode_list(buf)?,
        };
        Ok(conf)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let lists = [&self.voters, &self.outgoing, &self.learners, &self.learners_next];
        lists.iter().map(|l| l.capacity() * size_of::<Member>()).sum()
    }
}

impl Change {
    /// Whom it is about.
    pub fn replica(&self) -> ReplicaId {
        match self {
            Change::Voter(m) | Change::Learner(m) => m.replica,
            Change::Remove(r) => *r,
        }
    }
}

impl ConfChange {
    /// Enter, with nothing from above.
    pub fn enter(changes: Vec<Change>) -> ConfChange {
        ConfChange { step: ConfStep::Enter(changes), context: Bytes::new() }
    }

    /// Leave, with nothing from above.
    pub fn leave() -> ConfChange {
        ConfChange { step: ConfStep::Leave, context: Bytes::new() }
    }

    /// The bytes of a [`crate::Payload::Conf`].
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match &self.step {
            ConfStep::Leave => out.push(0),
            ConfStep::Enter(changes) => {
                out.push(1);
                put_u64(&mut out, changes.len() as u64);
                for change in changes {
                    match change {
                        Change::Voter(m) => {
                            out.push(0);
                            m.encode(&mut out);
                        }
                        Change::Learner(m) => {
                            out.push(1);
                            m.encode(&mut out);
                        }
                        Change::Remove(r) => {
                            out.push(2);
                            put_u64(&mut out, r.0);
                        }
                    }
                }
            }
        }
        put_bytes(&mut out, &self.context);
        Bytes::from(out)
    }

    /// Reads what [`ConfChange::encode`] wrote.
    pub fn decode(mut buf: Bytes) -> Result<ConfChange> {
        let step = match get_u8(&mut buf)? {
            0 => ConfStep::Leave,
            1 => {
                let n = get_u64(&mut buf)?;
                let mut changes = Vec::new();
                for _ in 0..n {
                    changes.push(match get_u8(&mut buf)? {
                        0 => Change::Voter(Member::decode(&mut buf)?),
                        1 => Change::Learner(Member::decode(&mut buf)?),
                        2 => Change::Remove(ReplicaId(get_u64(&mut buf)?)),
                        kind => return Err(Error::corrupt(format!("a change of unknown kind {kind}"))),
                    });
                }
                ConfStep::Enter(changes)
            }
            kind => return Err(Error::corrupt(format!("a change of membership of unknown kind {kind}"))),
        };
        let context = get_bytes(&mut buf)?;
        if buf.is_empty() { Ok(ConfChange { step, context }) } else { Err(Error::corrupt("bytes after a change")) }
    }
}

impl fmt::Display for ConfChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            ConfStep::Leave => write!(f, "leave"),
            ConfStep::Enter(changes) => {
                write!(f, "enter(")?;
                for (i, c) in changes.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    match c {
                        Change::Voter(m) => write!(f, "{comma}+{m}")?,
                        Change::Learner(m) => write!(f, "{comma}~{m}")?,
                        Change::Remove(r) => write!(f, "{comma}-{r}")?,
                    }
                }
                write!(f, ")")
            }
        }
    }
}

impl fmt::Display for Conf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("", &self.voters), ("<-", &self.outgoing), ("~", &self.learners), ("~next", &self.learners_next)];
        let mut gap = "";
        for (name, list) in parts {
            if !list.is_empty() || name.is_empty() {
                write!(f, "{gap}{name}(")?;
                for (i, m) in list.iter().enumerate() {
                    write!(f, "{}{m}", if i == 0 { "" } else { " " })?;
                }
                write!(f, ")")?;
                gap = " ";
            }
        }
        Ok(())
    }
}

fn wrong(text: &str) -> Error {
    Error::new(base::Kind::Retry, text)
}

fn has(list: &[Member], replica: ReplicaId) -> bool {
    list.binary_search_by_key(&replica, |m| m.replica).is_ok()
}

fn insert(list: &mut Vec<Member>, m: Member) {
    if let Err(at) = list.binary_search_by_key(&m.replica, |m| m.replica) {
        list.insert(at, m);
    }
}

fn remove(list: &mut Vec<Member>, replica: ReplicaId) -> bool {
    match list.binary_search_by_key(&replica, |m| m.replica) {
        Ok(at) => {
            list.remove(at);
            true
        }
        Err(_) => false,
    }
}

/// The largest value that more than half of these have reached.
fn majority_value<T: Ord + Copy>(half: &[Member], value: &mut impl FnMut(Member) -> T) -> Option<T> {
    // up to seven voters without touching the heap: this runs for every acknowledgement
    let mut small = [None; 7];
    let mut large;
    let values: &mut [Option<T>] = if half.len() <= small.len() {
        &mut small[..half.len()]
    } else {
        large = vec![None; half.len()];
        &mut large
    };
    for (slot, m) in values.iter_mut().zip(half) {
        *slot = Some(value(*m));
    }
    values.sort_unstable();
    // ascending: the element at (n - 1) / 2 is reached by n / 2 + 1 members
    values.get(half.len().saturating_sub(1) / 2).copied().flatten()
}

fn decode_list(buf: &mut Bytes) -> Result<Vec<Member>> {
    let n = get_u64(buf)?;
    let mut list: Vec<Member> = Vec::new();
    for _ in 0..n {
        let m = Member::decode(buf)?;
        if list.last().is_some_and(|before| before.replica >= m.replica) {
            return Err(Error::corrupt("members that are not in order"));
        }
        list.push(m);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Rng;

    fn m(n: u64) -> Member {
        Member { replica: ReplicaId(n), store: StoreId(n) }
    }

    #[test]
    fn quorums_of_one_to_seven() {
        for n in 1..=9u64 {
            let conf = Conf::of_voters((1..=n).map(m));
            for yes in 0..=n {
                assert_eq!(conf.quorum(|v| v.replica.0 <= yes), yes > n / 2, "{yes} of {n}");
            }
            // values 1 to n: the largest that more than half have reached
            assert_eq!(conf.quorum_value(|v| v.replica.0), Some(n.div_ceil(2)), "{n} voters");
        }
        assert!(!Conf::default().quorum(|_| true), "nobody is no quorum");
        assert_eq!(Conf::default().quorum_value(|_| 1), None);
    }

    #[test]
    fn a_value_is_reached_by_a_quorum_and_no_larger_one_is() {
        let mut rng = Rng::new(3);
        for _ in 0..5_000 {
            let half = |rng: &mut Rng| (1..=9).filter(|_| rng.chance(400_000)).map(m).collect::<Vec<_>>();
            let (voters, outgoing) = (half(&mut rng), half(&mut rng));
            let conf = Conf { voters, outgoing, ..Conf::default() };
            let values: Vec<u64> = (0..10).map(|_| rng.below(6)).collect();
            let of = |v: Member| values[v.replica.0 as usize];
            if let Some(reached) = conf.quorum_value(of) {
                assert!(conf.quorum(|v| of(v) >= reached), "{conf} {values:?}");
                assert!(!conf.quorum(|v| of(v) > reached), "{conf} {values:?}");
            } else {
                assert!(conf.voters.is_empty());
            }
        }
    }

    #[test]
    fn joint_needs_both_halves() {
        let old = Conf::of_voters((1..=3).map(m));
        let changes =
            vec![Change::Voter(m(4)), Change::Voter(m(5)), Change::Remove(m(2).replica), Change::Remove(m(3).replica)];
        let joint = old.apply(&ConfChange::enter(changes)).unwrap();
        assert_eq!(joint.to_string(), "(p1 p4 p5) <-(p1 p2 p3)");
        assert!(!joint.quorum(|v| [1, 4, 5].contains(&v.replica.0)), "the outgoing half is missing");
        assert!(!joint.quorum(|v| [1, 2, 3].contains(&v.replica.0)), "the incoming half is missing");
        assert!(joint.quorum(|v| [1, 2, 4].contains(&v.replica.0)));
        assert!(joint.apply(&ConfChange::enter(vec![Change::Voter(m(6))])).is_err(), "one change at a time");
        let new = joint.apply(&ConfChange::leave()).unwrap();
        assert_eq!(new, Conf::of_voters([m(1), m(4), m(5)]));
    }

    #[test]
    fn a_demoted_voter_learns_after_the_joint_state() {
        let old = Conf::of_voters((1..=3).map(m));
        let joint = old.apply(&ConfChange::enter(vec![Change::Learner(m(3))])).unwrap();
        assert_eq!(joint.to_string(), "(p1 p2) <-(p1 p2 p3) ~next(p3)");
        assert!(joint.contains(m(3).replica) && joint.is_voter(m(3).replica));
        let new = joint.apply(&ConfChange::leave()).unwrap();
        assert_eq!(new.to_string(), "(p1 p2) ~(p3)");
        let back = new.apply(&ConfChange::enter(vec![Change::Voter(m(3))])).unwrap();
        assert_eq!(back.to_string(), "(p1 p2 p3) <-(p1 p2)");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let conf = Conf::of_voters((1..=3).map(m));
        let moved = Member { replica: ReplicaId(1), store: StoreId(9) };
        let wrong = [
            vec![Change::Remove(ReplicaId(9))],
            vec![Change::Voter(m(4)), Change::Remove(m(4).replica)],
            (1..=3).map(|n| Change::Remove(ReplicaId(n))).collect(),
            vec![Change::Voter(moved)],
            vec![Change::Voter(Member::default())],
        ];
        for changes in wrong {
            assert!(conf.apply(&ConfChange::enter(changes.clone())).is_err(), "{changes:?}");
        }
        assert!(conf.apply(&ConfChange::leave()).is_err());
    }

    #[test]
    fn configurations_and_changes_come_back() {
        let conf = Conf {
            voters: vec![m(1), m(4)],
            outgoing: vec![m(1), m(2)],
            learners: vec![m(7)],
            learners_next: vec![m(2)],
        };
        let mut bytes = Vec::new();
        conf.encode(&mut bytes);
        assert_eq!(Conf::decode(&mut Bytes::from(bytes)).unwrap(), conf);
        assert!(Conf::decode(&mut Bytes::from_static(&[2, 2, 1, 1, 1, 0, 0, 0])).is_err(), "not sorted");
        let change = ConfChange {
            step: ConfStep::Enter(vec![Change::Voter(m(4)), Change::Learner(m(5)), Change::Remove(ReplicaId(1))]),
            context: Bytes::from_static(b"descriptor"),
        };
        assert_eq!(ConfChange::decode(change.encode()).unwrap(), change);
        assert_eq!(ConfChange::decode(ConfChange::leave().encode()).unwrap(), ConfChange::leave());
        assert!(ConfChange::decode(Bytes::from_static(&[9])).is_err());
    }
}

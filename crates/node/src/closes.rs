//! What one node tells another about closed revisions: its stream to that peer, part by part (protocols §7).

use base::codec::{get_u8, get_u64, put_u64};
use base::{Error, Incarnation, Index, RangeId, Result, Revision, Term};
use bytes::Bytes;
use std::fmt;

/// A position in a range's log.
pub type At = (Term, Index);

/// One part of the stream. What it says rested on leases when it was said: it is a fact.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Closes {
    /// The sender's life, and the part's place among all it ever said in that life to this peer. A stream that begins
    /// anew goes on counting: otherwise a part of it could be taken for the continuation of what it replaces.
    pub life: Incarnation,
    pub number: u64,
    /// It begins anew: everything said before is forgotten (what was counted stays).
    pub is_first: bool,
    /// "Your stream has a gap here: begin it anew."
    pub again: bool,
    /// These left the group they were in, before anything below was said.
    pub left: Vec<RangeId>,
    /// These joined a group: whoever holds their log up to the position counts the group's values from here on.
    pub joined: Vec<(RangeId, u64, At)>,
    /// Each group's value.
    pub groups: Vec<(u64, Revision)>,
    /// Ranges in no group, each with its own value and position.
    pub alone: Vec<(RangeId, Revision, At)>,
}

impl Closes {
    /// Appends its bytes: life, number, two flags, then four lists with their lengths.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.life.0);
        put_u64(out, self.number);
        out.push(u8::from(self.is_first));
        out.push(u8::from(self.again));
        let mut list = |lines: Vec<Vec<u64>>| {
            put_u64(out, lines.len() as u64);
            lines.iter().flatten().for_each(|v| put_u64(out, *v));
        };
        list(self.left.iter().map(|r| vec![r.0]).collect());
        list(self.joined.iter().map(|(r, group, (t, i))| vec![r.0, *group, t.0, i.0]).collect());
        list(self.groups.iter().map(|(group, z)| vec![*group, z.0]).collect());
        list(self.alone.iter().map(|(r, z, (t, i))| vec![r.0, z.0, t.0, i.0]).collect());
    }

    /// From its bytes.
    pub fn decode(b: &mut Bytes) -> Result<Closes> {
        let (life, number) = (Incarnation(get_u64(b)?), get_u64(b)?);
        let (is_first, again) = (get_u8(b)? != 0, get_u8(b)? != 0);
        let left = list(b, |b| Ok(RangeId(get_u64(b)?)))?;
        let joined = list(b, |b| Ok((RangeId(get_u64(b)?), get_u64(b)?, at(b)?)))?;
        let groups = list(b, |b| Ok((get_u64(b)?, issued(b)?)))?;
        let alone = list(b, |b| Ok((RangeId(get_u64(b)?), issued(b)?, at(b)?)))?;
        Ok(Closes { life, number, is_first, again, left, joined, groups, alone })
    }
}

fn list<T>(b: &mut Bytes, mut one: impl FnMut(&mut Bytes) -> Result<T>) -> Result<Vec<T>> {
    let count = get_u64(b)?;
    if count > b.len() as u64 {
        return Err(Error::corrupt(format!("{count} things are announced in {} bytes", b.len())));
    }
    (0..count).map(|_| one(b)).collect()
}

fn at(b: &mut Bytes) -> Result<At> {
    Ok((Term(get_u64(b)?), Index(get_u64(b)?)))
}

fn issued(b: &mut Bytes) -> Result<Revision> {
    let r = Revision(get_u64(b)?);
    if r.is_pending() {
        return Err(Error::corrupt("a peer closed a pending revision"));
    }
    Ok(r)
}

impl fmt::Display for Closes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, again) = (if self.is_first { " anew" } else { "" }, if self.again { " (again!)" } else { "" });
        write!(f, "closes #{}{first}{again}", self.number)?;
        self.left.iter().try_for_each(|r| write!(f, " -{r}"))?;
        self.joined.iter().try_for_each(|(r, group, (t, i))| write!(f, " +{r} {i}@{t} in g{group}"))?;
        self.groups.iter().try_for_each(|(group, z)| write!(f, " g{group}≤{z}"))?;
        self.alone.iter().try_for_each(|(r, z, (t, i))| write!(f, " {r}≤{z} up to {i}@{t}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_round_trips_and_lies_about_lengths_are_noticed() {
        let at = (Term(3), Index(70));
        let whole = Closes {
            life: Incarnation(3),
            number: 9,
            is_first: true,
            again: true,
            left: vec![RangeId(4), RangeId(5)],
            joined: vec![(RangeId(6), 2, at)],
            groups: vec![(2, Revision(300))],
            alone: vec![(RangeId(7), Revision(299), at)],
        };
        for closes in [whole.clone(), Closes { number: 1, ..Closes::default() }] {
            let mut bytes = Vec::new();
            closes.encode(&mut bytes);
            let mut bytes = Bytes::from(bytes);
            assert_eq!(Closes::decode(&mut bytes).unwrap(), closes);
            assert!(bytes.is_empty());
        }
        let mut bytes = Vec::new();
        whole.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert!(Closes::decode(&mut Bytes::copy_from_slice(&bytes[..cut])).is_err());
        }
        assert!(Closes::decode(&mut Bytes::from_static(&[1, 1, 0, 0, 200])).is_err());
    }
}

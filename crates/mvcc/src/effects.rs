//! What one command changes, and how it travels in a log entry.
//!
//! ```text
//! command: revision (varint) ∥ live delta (zigzag varint) ∥ number of effects (varint) ∥ effects
//! effect:  key (length ∥ bytes) ∥ record (length ∥ bytes)
//! ```
//!
//! The record's bytes in an entry are the very bytes that go into the engine, so that a follower writes slices of the
//! entry it received ([`apply_commands`]) and encodes nothing.

use crate::record::Record;
use base::codec::{get_bytes, get_u64, put_bytes, put_u64};
use base::{Error, Key, Result, Revision};
use bytes::Bytes;
use engine::{Batch, Cf, keys};
use std::fmt;

/// One key becomes this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effect {
    /// Which key.
    pub key: Key,
    /// What it becomes.
    pub record: Record,
}

/// What one command changes. Its own revision is open; `create` fields may name it, or other pending ones.
///
/// Invariants: no key twice; in ascending order of (sub, key); `live_delta` is keys created minus keys deleted.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Effects {
    /// In order of (sub, key).
    pub effects: Vec<Effect>,
    /// By how much the number of live keys changes.
    pub live_delta: i64,
}

impl Effects {
    /// Does it change nothing?
    pub fn is_empty(&self) -> bool {
        self.effects.is_empty()
    }
    /// Its own number is known: every `create` that named it becomes it.
    pub fn number(&mut self, pending: Revision, issued: Revision) {
        assert!(pending.is_pending() && !issued.is_pending(), "{pending} becomes an issued number, not {issued}");
        for e in &mut self.effects {
            if e.record.create == pending {
                e.record.create = issued;
            }
        }
    }
    /// Asks for the number behind every pending revision that is left (keys created by earlier commands).
    pub fn fill(&mut self, number: &dyn Fn(u64) -> Revision) {
        for e in &mut self.effects {
            if let Some(seq) = e.record.create.pending_seq() {
                e.record.create = number(seq);
            }
        }
    }
    /// About how many bytes it takes in an entry and in memory.
    pub fn bytes(&self) -> usize {
        self.effects.iter().map(|e| e.key.bytes().len() + e.record.encoded_len()).sum()
    }
    /// Panics when an invariant of the type is broken.
    pub fn check(&self) {
        let mut seen = std::collections::BTreeSet::new();
        for pair in self.effects.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            assert!((a.record.sub, &a.key) < (b.record.sub, &b.key), "effects out of order: {self}");
        }
        assert!(self.effects.iter().all(|e| seen.insert(&e.key)), "a key twice: {self}");
        assert!(self.live_delta.unsigned_abs() <= self.effects.len() as u64, "a live delta without keys: {self}");
    }
}

/// Appends one numbered command to an entry.
pub fn encode_command(out: &mut Vec<u8>, revision: Revision, effects: &Effects) {
    assert!(!revision.is_pending(), "a command is appended under its number, not {revision}");
    put_u64(out, revision.0);
    put_u64(out, ((effects.live_delta << 1) ^ (effects.live_delta >> 63)) as u64);
    put_u64(out, effects.effects.len() as u64);
    for e in &effects.effects {
        put_bytes(out, e.key.bytes());
        put_u64(out, e.record.encoded_len() as u64);
        e.record.encode(out);
    }
}

/// Takes the commands of an entry one by one. Ends after the first error.
pub fn decode_commands(body: Bytes) -> Commands {
    Commands { body }
}

/// See [`decode_commands`].
#[derive(Clone, Debug)]
pub struct Commands {
    body: Bytes,
}

impl Iterator for Commands {
    type Item = Result<(Revision, Effects)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.body.is_empty() {
            return None;
        }
        let command = command(&mut self.body);
        if command.is_err() {
            self.body.clear();
        }
        Some(command)
    }
}

fn head(body: &mut Bytes) -> Result<(Revision, i64, u64)> {
    let revision = Revision(get_u64(body)?);
    if revision.is_pending() {
        return Err(Error::corrupt("a command in the log without a number"));
    }
    let z = get_u64(body)?;
    let count = get_u64(body)?;
    if count > body.len() as u64 {
        return Err(Error::corrupt(format!("{count} effects are announced and {} bytes are there", body.len())));
    }
    Ok((revision, (z >> 1) as i64 ^ -((z & 1) as i64), count))
}

fn command(body: &mut Bytes) -> Result<(Revision, Effects)> {
    let (revision, live_delta, count) = head(body)?;
    let mut effects = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let key = Key(get_bytes(body)?);
        effects.push(Effect { key, record: Record::decode(&get_bytes(body)?)? });
    }
    Ok((revision, Effects { effects, live_delta }))
}

/// Writes what one command changes, at its number.
pub fn apply(revision: Revision, effects: &Effects, batch: &mut Batch) {
    for e in &effects.effects {
        let mut out = Vec::with_capacity(e.record.encoded_len());
        e.record.encode(&mut out);
        batch.put(Cf::Data, keys::version(&e.key, revision), out);
    }
}

/// What applying an entry's commands adds up to.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Commands in the entry.
    pub commands: u64,
    /// Keys created minus keys deleted.
    pub live_delta: i64,
    /// The largest revision among them.
    pub max_revision: Revision,
}

/// Writes what all commands of an entry change, without taking their records apart.
pub fn apply_commands(mut body: Bytes, batch: &mut Batch) -> Result<Tally> {
    let mut tally = Tally::default();
    while !body.is_empty() {
        let (revision, live_delta, count) = head(&mut body)?;
        for _ in 0..count {
            let key = Key(get_bytes(&mut body)?);
            let record = get_bytes(&mut body)?;
            crate::record::is_live(&record)?;
            batch.put(Cf::Data, keys::version(&key, revision), record);
        }
        tally.commands += 1;
        tally.live_delta = tally.live_delta.wrapping_add(live_delta);
        tally.max_revision = tally.max_revision.max(revision);
    }
    Ok(tally)
}

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{")?;
        for (i, e) in self.effects.iter().enumerate() {
            write!(f, "{}{}: {}", if i == 0 { "" } else { ", " }, e.key, e.record)?;
        }
        write!(f, "}} live{:+}", self.live_delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(n: usize) -> Effects {
        let live = |i: usize| Record {
            sub: i as u32,
            create: Revision(3),
            version: 2,
            lease: 0,
            value: Some(Bytes::from(vec![7; i * 50])),
        };
        let effect = |i: usize| Effect {
            key: Key::user(format!("k{i:04}").as_bytes()),
            record: if i % 3 == 2 { Record::mark(i as u32) } else { live(i) },
        };
        Effects { effects: (0..n).map(effect).collect(), live_delta: -((n / 3) as i64) }
    }

    #[test]
    fn commands_round_trip_and_apply_the_same_both_ways() {
        let mut body = Vec::new();
        let all: Vec<_> = [0, 1, 2, 7, 40].into_iter().map(effects).collect();
        for (i, e) in all.iter().enumerate() {
            e.check();
            encode_command(&mut body, Revision(i as u64 + 10), e);
        }
        let body = Bytes::from(body);
        let decoded: Vec<_> = decode_commands(body.clone()).map(|c| c.unwrap()).collect();
        let expected: Vec<_> = all.iter().enumerate().map(|(i, e)| (Revision(i as u64 + 10), e.clone())).collect();
        assert_eq!(decoded, expected);

        let (mut slow, mut quick) = (Batch::new(), Batch::new());
        decoded.iter().for_each(|(r, e)| apply(*r, e, &mut slow));
        let tally = apply_commands(body, &mut quick).unwrap();
        assert_eq!(slow, quick);
        assert_eq!(tally, Tally { commands: 5, live_delta: -15, max_revision: Revision(14) });
    }

    #[test]
    fn numbers_replace_pending_creates() {
        let mut e = effects(2);
        e.effects[0].record.create = Revision::pending(7);
        e.effects[1].record.create = Revision::pending(4);
        e.number(Revision::pending(7), Revision(20));
        assert_eq!(e.effects[0].record.create, Revision(20));
        e.fill(&|seq| Revision(seq + 10));
        assert_eq!((e.effects[0].record.create, e.effects[1].record.create), (Revision(20), Revision(14)));
    }

    #[test]
    fn a_cut_entry_is_corrupt_and_ends() {
        let mut body = Vec::new();
        encode_command(&mut body, Revision(9), &effects(3));
        for n in 1..body.len() {
            let cut = Bytes::copy_from_slice(&body[..n]);
            let got: Vec<_> = decode_commands(cut.clone()).collect();
            assert!(got.len() == 1 && got[0].is_err(), "cut at {n}");
            assert!(apply_commands(cut, &mut Batch::new()).is_err(), "cut at {n}");
        }
        assert!(decode_commands(Bytes::from_static(&[1, 0, 0xff, 0xff, 0xff, 0xff, 1])).next().unwrap().is_err());
    }
}

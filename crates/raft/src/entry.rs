//! Entries: what the log is made of.

use base::codec::{get_bytes, get_u8, get_u64, put_bytes, put_u64};
use base::{Error, Index, Result, Term};
use bytes::Bytes;
use std::fmt;

/// What an entry carries. The core never looks inside.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Payload {
    /// A new leader's first entry: it says nothing and commits everything before it.
    #[default]
    Empty,
    /// What the range above wants to have agreed.
    Normal(Bytes),
    /// A change of membership: an encoded [`crate::ConfChange`].
    Conf(Bytes),
}

impl Payload {
    /// The bytes inside; none for [`Payload::Empty`].
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::Empty => &[],
            Payload::Normal(b) | Payload::Conf(b) => b,
        }
    }
}

/// One entry of a group's log, `index@term`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// The term of the leader that made it.
    pub term: Term,
    /// Its place in the log; the first entry ever has index 1.
    pub index: Index,
    /// What it carries.
    pub payload: Payload,
}

const EMPTY: u8 = 0;
const NORMAL: u8 = 1;
const CONF: u8 = 2;

impl Entry {
    /// About how many bytes [`Entry::encode`] writes; what windows and budgets count.
    pub fn size(&self) -> usize {
        self.payload.bytes().len() + 16
    }

    /// Appends the entry: term and index as varints, a kind, the payload with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.term.0);
        put_u64(out, self.index.0);
        match &self.payload {
            Payload::Empty => out.push(EMPTY),
            Payload::Normal(b) => {
                out.push(NORMAL);
                put_bytes(out, b);
            }
            Payload::Conf(b) => {
                out.push(CONF);
                put_bytes(out, b);
            }
        }
    }

    /// Takes an entry off the front; its payload shares the buffer.
    pub fn decode(buf: &mut Bytes) -> Result<Entry> {
        let term = Term(get_u64(buf)?);
        let index = Index(get_u64(buf)?);
        let payload = match get_u8(buf)? {
            EMPTY => Payload::Empty,
            NORMAL => Payload::Normal(get_bytes(buf)?),
            CONF => Payload::Conf(get_bytes(buf)?),
            kind => return Err(Error::corrupt(format!("an entry of unknown kind {kind}"))),
        };
        if index == Index(0) || index.0 == u64::MAX {
            return Err(Error::corrupt(format!("an entry with index {index}")));
        }
        Ok(Entry { term, index, payload })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)?;
        match &self.payload {
            Payload::Empty => Ok(()),
            Payload::Normal(b) => match std::str::from_utf8(b) {
                Ok(s) if s.len() <= 16 && s.bytes().all(|c| c.is_ascii_graphic()) => write!(f, ":{s}"),
                _ => write!(f, ":{}B", b.len()),
            },
            Payload::Conf(b) => match crate::ConfChange::decode(b.clone()) {
                Ok(change) => write!(f, ":{change}"),
                Err(_) => write!(f, ":conf?"),
            },
        }
    }
}

/// What a replica must never forget: its term and whom it voted for in it.
///
/// The commit index is not here: it is a fact about the group, not a promise, and a booting replica raises it to what
/// it has applied.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct HardState {
    /// The largest term this replica has taken part in.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<base::ReplicaId>,
}

impl fmt::Display for HardState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vote {
            Some(v) => write!(f, "term={} vote={v}", self.term),
            None => write!(f, "term={} vote=-", self.term),
        }
    }
}

impl HardState {
    /// Appends term and vote as varints (0 means "no vote").
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.term.0);
        put_u64(out, self.vote.map_or(0, |v| v.0));
    }

    /// Takes a hard state off the front.
    pub fn decode(buf: &mut Bytes) -> Result<HardState> {
        let term = Term(get_u64(buf)?);
        let vote = Some(base::ReplicaId(get_u64(buf)?)).filter(|v| v.0 != 0);
        Ok(HardState { term, vote })
    }
}

/// Where a durable log begins and ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct LogBounds {
    /// The last entry that is no longer in the log (0@0 while the log is whole).
    pub truncated: (Index, Term),
    /// The last entry; equal to `truncated` when the log is empty.
    pub last: (Index, Term),
}

/// The durable log of one group, as the core reads it: the records of entries, nothing that is remembered beside them.
/// Only indexes that were reported as written are ever asked for.
pub trait LogRead {
    /// The term of the entry at `index`; `None` if it is not in the log. The index of the last truncated entry may be
    /// answered or not: the core remembers that one itself.
    fn term(&self, index: Index) -> Option<Term>;
    /// The entries of `[from, to_inclusive]`, cut after `max_bytes` of payload but never before the first.
    fn entries(&self, from: Index, to_inclusive: Index, max_bytes: usize) -> Result<Vec<Entry>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_states_come_back() {
        for vote in [None, Some(base::ReplicaId(7))] {
            let hard = HardState { term: Term(300), vote };
            let mut bytes = Vec::new();
            hard.encode(&mut bytes);
            let mut buf = Bytes::from(bytes);
            assert_eq!(HardState::decode(&mut buf).unwrap(), hard);
            assert!(buf.is_empty());
        }
        assert!(HardState::decode(&mut Bytes::from_static(&[1])).is_err());
    }

    #[test]
    fn an_entry_has_a_place() {
        let decoded = |index| {
            let entry = Entry { term: Term(1), index: Index(index), payload: Payload::Empty };
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            Entry::decode(&mut Bytes::from(bytes)).is_ok()
        };
        assert!(decoded(1) && decoded(u64::MAX - 1));
        assert!(!decoded(0) && !decoded(u64::MAX));
    }

    #[test]
    fn an_entry_is_as_large_as_its_payload_and_a_little() {
        let size = |payload| Entry { term: Term(1), index: Index(1), payload }.size();
        assert_eq!((size(Payload::Empty), size(Payload::Normal(Bytes::from_static(b"four")))), (16, 20));
    }
}

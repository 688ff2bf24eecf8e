//! What replicas of one group say to each other. The range and both members travel beside a message, in the frame.

use crate::{Entry, SupportEpoch};
use base::codec::{get_u8, get_u64, put_u64};
use base::{Error, Incarnation, Index, RangeId, Result, Term};
use bytes::Bytes;
use std::fmt;

/// Entries after `base`, from the leader of `term`; without entries it probes, fortifies or tells the commit index.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Append {
    /// The leader's term.
    pub term: Term,
    /// The entry before the first of `entries`.
    pub base: (Index, Term),
    /// What the leader knows to be committed; it holds for the receiver only up to `base` plus `entries`.
    pub commit: Index,
    /// The epoch under which, as the sender knows, the receiver's store supports the sender's: exactly that can be
    /// fortified.
    pub epoch: Option<SupportEpoch>,
    /// Up to where the receiver has acknowledged the log of this term; told when there are no entries, else 0. A log that
    /// is shorter has lost what it vouched for.
    pub acked: Index,
    /// Consecutive entries.
    pub entries: Vec<Entry>,
}

/// "My log equals yours up to `index`, durably", and perhaps "I am fortified".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AppendAck {
    /// The leader's term, which is also the follower's.
    pub term: Term,
    /// Matches up to here.
    pub index: Index,
    /// The leader's epoch that the follower fortified, and the follower's own incarnation.
    pub fortified: Option<(SupportEpoch, Incarnation)>,
}

/// "I have no such `base`", or "your term is over".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AppendReject {
    /// The follower's term; larger than the append's if that is over.
    pub term: Term,
    /// The index of the base that was refused.
    pub base: Index,
    /// The last entry of the follower that might match.
    pub hint: (Index, Term),
}

/// A request for a vote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VoteRequest {
    /// The term in which the sender campaigns (PreVote: would campaign).
    pub term: Term,
    /// The sender's last entry.
    pub last: (Index, Term),
    /// The leader of this term gave up its lease and told the sender to take over: fortifications of that term end.
    pub released: Option<Term>,
}

/// The answer to a request for a vote.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct VoteAnswer {
    /// In a granted pre-vote the term asked for, else the answering replica's own.
    pub term: Term,
    /// Yes or no.
    pub granted: bool,
    /// An entry that is committed. A candidate that has it too learns so: after a change of membership the ones who
    /// know that it is committed may be just those who may no longer lead.
    pub commit: (Index, Term),
}

/// Everything one replica can say to another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Message {
    /// Leader to member.
    Append(Append),
    /// The answer when the base matched.
    AppendAck(AppendAck),
    /// The answer when it did not.
    AppendReject(AppendReject),
    /// Would you vote for me? Changes nothing at the receiver.
    PreVote(VoteRequest),
    /// Yes or no.
    PreVoteAck(VoteAnswer),
    /// Vote for me.
    Vote(VoteRequest),
    /// Yes, durably, or no.
    VoteAck(VoteAnswer),
    /// The leader of this term relies on no lease any more and leads no more: fortifications of this term end.
    Defortify { term: Term },
    /// From a leader that stepped down for the receiver's sake: campaign now.
    TimeoutNow { term: Term },
    /// Leader to voter: am I still your leader? One number per round, fresh for each.
    ReadIndex { term: Term, round: u64 },
    /// Yes.
    ReadIndexAck { term: Term, round: u64 },
    /// You were removed from the group by the change at this index, or an earlier one.
    Removed { since: Index },
}

const APPEND: u8 = 1;
const APPEND_ACK: u8 = 2;
const APPEND_REJECT: u8 = 3;
const PRE_VOTE: u8 = 4;
const PRE_VOTE_ACK: u8 = 5;
const VOTE: u8 = 6;
const VOTE_ACK: u8 = 7;
const DEFORTIFY: u8 = 8;
const TIMEOUT_NOW: u8 = 9;
const READ_INDEX: u8 = 10;
const READ_INDEX_ACK: u8 = 11;
const REMOVED: u8 = 12;

impl Message {
    /// The term it speaks in; [`Message::Removed`] has none.
    pub fn term(&self) -> Term {
        match self {
            Message::Append(m) => m.term,
            Message::AppendAck(m) => m.term,
            Message::AppendReject(m) => m.term,
            Message::PreVote(m) | Message::Vote(m) => m.term,
            Message::PreVoteAck(m) | Message::VoteAck(m) => m.term,
            Message::Defortify { term } | Message::TimeoutNow { term } => *term,
            Message::ReadIndex { term, .. } | Message::ReadIndexAck { term, .. } => *term,
            Message::Removed { .. } => Term(0),
        }
    }

    /// Does it carry entries? Everything else is small and may take the control stream.
    pub fn is_bulk(&self) -> bool {
        matches!(self, Message::Append(m) if !m.entries.is_empty())
    }

    /// About how many bytes it takes on the wire.
    pub fn size(&self) -> usize {
        match self {
            Message::Append(m) => 32 + m.entries.iter().map(Entry::size).sum::<usize>(),
            _ => 16,
        }
    }

    /// One line with the range in it: `append r7 base=3@1 [4@2]`.
    pub fn show(&self, range: RangeId) -> impl fmt::Display {
        let line = self.to_string();
        match line.split_once(' ') {
            Some((kind, rest)) => format!("{kind} {range} {rest}"),
            None => format!("{line} {range}"),
        }
    }

    /// Appends the message: a kind, then varints; entries last.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Message::Append(m) => encode_append(m, out),
            Message::AppendAck(m) => {
                out.push(APPEND_ACK);
                put_u64(out, m.term.0);
                put_u64(out, m.index.0);
                put_epoch(out, m.fortified.map(|f| f.0));
                if let Some((_, incarnation)) = m.fortified {
                    put_u64(out, incarnation.0);
                }
            }
            Message::AppendReject(m) => {
                put(out, APPEND_REJECT, &[m.term.0, m.base.0, m.hint.0.0, m.hint.1.0]);
            }
            Message::PreVote(m) => put_vote(out, PRE_VOTE, m),
            Message::Vote(m) => put_vote(out, VOTE, m),
            Message::PreVoteAck(m) => put_answer(out, PRE_VOTE_ACK, m),
            Message::VoteAck(m) => put_answer(out, VOTE_ACK, m),
            Message::Defortify { term } => put(out, DEFORTIFY, &[term.0]),
            Message::TimeoutNow { term } => put(out, TIMEOUT_NOW, &[term.0]),
            Message::ReadIndex { term, round } => put(out, READ_INDEX, &[term.0, *round]),
            Message::ReadIndexAck { term, round } => put(out, READ_INDEX_ACK, &[term.0, *round]),
            Message::Removed { since } => put(out, REMOVED, &[since.0]),
        }
    }

    /// Takes a message off the front; payloads of entries share the buffer.
    pub fn decode(buf: &mut Bytes) -> Result<Message> {
        Ok(match get_u8(buf)? {
            APPEND => Message::Append(decode_append(buf)?),
            APPEND_ACK => {
                let (term, index) = (get_term(buf)?, get_index(buf)?);
                let fortified = match get_epoch(buf)? {
                    Some(epoch) => Some((epoch, Incarnation(get_u64(buf)?))),
                    None => None,
                };
                Message::AppendAck(AppendAck { term, index, fortified })
            }
            APPEND_REJECT => {
                let (term, base) = (get_term(buf)?, get_index(buf)?);
                let hint = (get_index(buf)?, get_term(buf)?);
                Message::AppendReject(AppendReject { term, base, hint })
            }
            PRE_VOTE => Message::PreVote(get_vote(buf)?),
            VOTE => Message::Vote(get_vote(buf)?),
            PRE_VOTE_ACK => Message::PreVoteAck(get_answer(buf)?),
            VOTE_ACK => Message::VoteAck(get_answer(buf)?),
            DEFORTIFY => Message::Defortify { term: get_term(buf)? },
            TIMEOUT_NOW => Message::TimeoutNow { term: get_term(buf)? },
            READ_INDEX => Message::ReadIndex { term: get_term(buf)?, round: get_u64(buf)? },
            READ_INDEX_ACK => Message::ReadIndexAck { term: get_term(buf)?, round: get_u64(buf)? },
            REMOVED => Message::Removed { since: get_index(buf)? },
            kind => return Err(Error::corrupt(format!("a message of unknown kind {kind}"))),
        })
    }
}

fn put(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    out.push(kind);
    numbers.iter().for_each(|n| put_u64(out, *n));
}

fn put_vote(out: &mut Vec<u8>, kind: u8, m: &VoteRequest) {
    // term 0 never led anything, so 0 stands for "not released"
    put(out, kind, &[m.term.0, m.last.0.0, m.last.1.0, m.released.map_or(0, |t| t.0)]);
}

fn get_vote(buf: &mut Bytes) -> Result<VoteRequest> {
    let term = get_term(buf)?;
    let last = (get_index(buf)?, get_term(buf)?);
    let released = Some(get_term(buf)?).filter(|t| t.0 != 0);
    Ok(VoteRequest { term, last, released })
}

fn put_answer(out: &mut Vec<u8>, kind: u8, m: &VoteAnswer) {
    put(out, kind, &[m.term.0, u64::from(m.granted), m.commit.0.0, m.commit.1.0]);
}

fn get_answer(buf: &mut Bytes) -> Result<VoteAnswer> {
    let (term, granted) = (get_term(buf)?, get_bool(buf)?);
    Ok(VoteAnswer { term, granted, commit: (get_index(buf)?, get_term(buf)?) })
}

fn put_epoch(out: &mut Vec<u8>, epoch: Option<SupportEpoch>) {
    match epoch {
        Some(e) => put(out, 1, &[e.incarnation.0, e.n]),
        None => out.push(0),
    }
}

fn get_epoch(buf: &mut Bytes) -> Result<Option<SupportEpoch>> {
    if !get_bool(buf)? {
        return Ok(None);
    }
    Ok(Some(SupportEpoch { incarnation: Incarnation(get_u64(buf)?), n: get_u64(buf)? }))
}

/// The entries follow the base and one another: whatever does not is refused when it is read.
fn encode_append(m: &Append, out: &mut Vec<u8>) {
    put(out, APPEND, &[m.term.0, m.base.0.0, m.base.1.0, m.commit.0]);
    put_epoch(out, m.epoch);
    put_u64(out, m.entries.len() as u64);
    if m.entries.is_empty() {
        put_u64(out, m.acked.0);
    }
    m.entries.iter().for_each(|e| e.encode(out));
}

fn decode_append(buf: &mut Bytes) -> Result<Append> {
    let term = get_term(buf)?;
    let base = (get_index(buf)?, get_term(buf)?);
    let commit = get_index(buf)?;
    let epoch = get_epoch(buf)?;
    let n = get_u64(buf)?;
    let acked = if n == 0 { get_index(buf)? } else { Index(0) };
    // an entry takes at least three bytes: a wrong count cannot make us reserve memory
    let mut entries: Vec<Entry> = Vec::with_capacity(n.min(buf.len() as u64 / 3) as usize);
    let (mut index, mut before) = base;
    if base.0.0 > u64::MAX / 2 || base.1 > term {
        return Err(Error::corrupt(format!("an append of term {term} after {}@{}", base.0, base.1)));
    }
    for _ in 0..n {
        let e = Entry::decode(buf)?;
        if e.index != index.next() || e.term < before || e.term > term {
            return Err(Error::corrupt(format!("entry {}@{} after {index}@{before}", e.index, e.term)));
        }
        (index, before) = (e.index, e.term);
        entries.push(e);
    }
    Ok(Append { term, base, commit, epoch, acked, entries })
}

fn get_term(buf: &mut Bytes) -> Result<Term> {
    Ok(Term(get_u64(buf)?))
}

fn get_index(buf: &mut Bytes) -> Result<Index> {
    Ok(Index(get_u64(buf)?))
}

fn get_bool(buf: &mut Bytes) -> Result<bool> {
    match get_u8(buf)? {
        0 => Ok(false),
        1 => Ok(true),
        b => Err(Error::corrupt(format!("{b} is neither yes nor no"))),
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Append(m) => show_append(m, f),
            Message::AppendAck(m) => {
                write!(f, "ack term={} index={}", m.term, m.index)?;
                match m.fortified {
                    Some((epoch, incarnation)) => write!(f, " fortified={epoch} by {incarnation}"),
                    None => Ok(()),
                }
            }
            Message::AppendReject(m) => {
                write!(f, "reject term={} base={} hint={}@{}", m.term, m.base, m.hint.0, m.hint.1)
            }
            Message::PreVote(m) => show_vote("pre-vote", m, f),
            Message::Vote(m) => show_vote("vote", m, f),
            Message::PreVoteAck(m) => show_answer("pre-vote-ack", m, f),
            Message::VoteAck(m) => show_answer("vote-ack", m, f),
            Message::Defortify { term } => write!(f, "defortify term={term}"),
            Message::TimeoutNow { term } => write!(f, "timeout-now term={term}"),
            Message::ReadIndex { term, round } => write!(f, "read-index term={term} round={round}"),
            Message::ReadIndexAck { term, round } => write!(f, "read-index-ack term={term} round={round}"),
            Message::Removed { since } => write!(f, "removed since={since}"),
        }
    }
}

fn show_append(m: &Append, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "append term={} base={}@{} commit={}", m.term, m.base.0, m.base.1, m.commit)?;
    if let Some(epoch) = m.epoch {
        write!(f, " epoch={epoch}")?;
    }
    write!(f, " [")?;
    for (i, e) in m.entries.iter().enumerate() {
        write!(f, "{}{e}", if i == 0 { "" } else { " " })?;
    }
    write!(f, "]")
}

fn show_vote(kind: &str, m: &VoteRequest, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{kind} term={} last={}@{}", m.term, m.last.0, m.last.1)?;
    match m.released {
        Some(t) => write!(f, " released={t}"),
        None => Ok(()),
    }
}

fn show_answer(kind: &str, m: &VoteAnswer, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let answer = if m.granted { "yes" } else { "no" };
    write!(f, "{kind} term={} {answer} commit={}@{}", m.term, m.commit.0, m.commit.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;
    use base::Rng;

    fn any(rng: &mut Rng) -> Message {
        let small = |rng: &mut Rng| {
            let bits = 1 + rng.below(40);
            rng.below(1 << bits)
        };
        let term = Term(1 + small(rng));
        let index = |rng: &mut Rng| Index(small(rng));
        let epoch = |rng: &mut Rng| {
            rng.chance(500_000).then(|| SupportEpoch { incarnation: Incarnation(small(rng)), n: small(rng) })
        };
        let vote = |rng: &mut Rng| VoteRequest {
            term,
            last: (index(rng), Term(small(rng))),
            released: rng.chance(300_000).then_some(Term(1 + small(rng))),
        };
        let answer =
            |rng: &mut Rng| VoteAnswer { term, granted: rng.chance(500_000), commit: (index(rng), Term(small(rng))) };
        match rng.below(13) {
            0 | 1 => {
                let base = (index(rng), Term(rng.below(term.0 + 1)));
                let entries = (0..rng.below(5)).map(|i| Entry {
                    term,
                    index: Index(base.0.0 + 1 + i),
                    payload: match rng.below(3) {
                        0 => Payload::Empty,
                        1 => Payload::Normal(Bytes::from(vec![7; rng.below(300) as usize])),
                        _ => Payload::Conf(Bytes::from_static(b"c")),
                    },
                });
                let entries: Vec<Entry> = entries.collect();
                let acked = if entries.is_empty() { index(rng) } else { Index(0) };
                Message::Append(Append { term, base, commit: index(rng), epoch: epoch(rng), acked, entries })
            }
            2 => {
                let fortified = epoch(rng).map(|e| (e, Incarnation(small(rng))));
                Message::AppendAck(AppendAck { term, index: index(rng), fortified })
            }
            3 => Message::AppendReject(AppendReject { term, base: index(rng), hint: (index(rng), Term(small(rng))) }),
            4 => Message::PreVote(vote(rng)),
            5 => Message::Vote(vote(rng)),
            6 => Message::PreVoteAck(answer(rng)),
            7 => Message::VoteAck(answer(rng)),
            8 => Message::Defortify { term },
            9 => Message::TimeoutNow { term },
            10 => Message::ReadIndex { term, round: small(rng) },
            11 => Message::ReadIndexAck { term, round: small(rng) },
            _ => Message::Removed { since: index(rng) },
        }
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let mut rng = Rng::new(1);
        for _ in 0..20_000 {
            let m = any(&mut rng);
            let mut bytes = Vec::new();
            m.encode(&mut bytes);
            let mut buf = Bytes::from(bytes);
            assert_eq!(Message::decode(&mut buf).unwrap(), m);
            assert!(buf.is_empty(), "{m} leaves bytes behind");
        }
    }

    #[test]
    fn rubbish_is_refused_and_never_panics() {
        let mut rng = Rng::new(2);
        let mut refused = 0;
        for _ in 0..50_000 {
            let mut bytes = Vec::new();
            any(&mut rng).encode(&mut bytes);
            match rng.below(3) {
                0 => bytes.truncate(rng.below(bytes.len() as u64) as usize),
                1 => {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1 << rng.below(8);
                }
                _ => bytes.iter_mut().for_each(|b| *b = rng.next_u64() as u8),
            }
            refused += u64::from(Message::decode(&mut Bytes::from(bytes)).is_err());
        }
        assert!(refused > 20_000, "only {refused} refused");
    }

    #[test]
    fn entries_share_the_buffer() {
        let payload = Payload::Normal(Bytes::from(vec![9; 1000]));
        let entry = Entry { term: Term(3), index: Index(5), payload };
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        let mut buf = Bytes::from(bytes);
        let whole = buf.clone();
        let back = Entry::decode(&mut buf).unwrap();
        let inside = back.payload.bytes().as_ptr() as usize - whole.as_ptr() as usize;
        assert!(inside < whole.len(), "the payload was copied");
        assert_eq!(back, entry);
    }

    fn append(term: u64, base: (u64, u64), entries: &[(u64, u64)]) -> Message {
        let entry = |(index, term): &(u64, u64)| {
            let payload = Payload::Normal(Bytes::from_static(b"four"));
            Entry { term: Term(*term), index: Index(*index), payload }
        };
        let (base, entries) = ((Index(base.0), Term(base.1)), entries.iter().map(entry).collect());
        Message::Append(Append { term: Term(term), base, commit: Index(1), epoch: None, acked: Index(0), entries })
    }

    #[test]
    fn appends_that_cannot_be_are_refused() {
        let comes = |m: &Message| {
            let mut bytes = Vec::new();
            m.encode(&mut bytes);
            Message::decode(&mut Bytes::from(bytes)).ok().as_ref() == Some(m)
        };
        assert!(comes(&append(3, (4, 3), &[(5, 3), (6, 3)])));
        assert!(comes(&append(3, (u64::MAX / 2, 2), &[])));
        let wrong = [
            append(3, (u64::MAX / 2 + 1, 2), &[]),
            append(3, (4, 4), &[]),
            append(3, (4, 2), &[(6, 2)]),
            append(3, (4, 2), &[(5, 1)]),
            append(3, (4, 2), &[(5, 4)]),
            append(3, (4, 2), &[(5, 3), (6, 2)]),
        ];
        for m in wrong {
            assert!(!comes(&m), "{m}");
        }
    }

    #[test]
    fn what_is_said_of_a_message() {
        let (full, empty) = (append(3, (4, 3), &[(5, 3), (6, 3)]), append(3, (4, 3), &[]));
        assert!(full.is_bulk() && !empty.is_bulk() && !Message::Defortify { term: Term(3) }.is_bulk());
        assert_eq!((full.size(), empty.size(), Message::Removed { since: Index(4) }.size()), (32 + 2 * 20, 32, 16));
        let mut rng = Rng::new(3);
        for _ in 0..200 {
            let m = any(&mut rng);
            let shown = m.to_string();
            let term = if matches!(m, Message::Removed { .. }) { Term(0) } else { m.term() };
            assert!(
                term == Term(0) || shown.contains(&format!("term={term} ")) || shown.ends_with(&format!("term={term}")),
                "{shown}"
            );
            assert!(term != Term(0) || !shown.contains("term=") || shown.contains("term=0"), "{shown}");
        }
    }

    #[test]
    fn one_line_each() {
        let entries = vec![Entry { term: Term(2), index: Index(4), payload: Payload::Empty }];
        let base = (Index(3), Term(1));
        let m =
            Message::Append(Append { term: Term(2), base, commit: Index(3), epoch: None, acked: Index(0), entries });
        assert_eq!(m.show(RangeId(7)).to_string(), "append r7 term=2 base=3@1 commit=3 [4@2]");
    }
}

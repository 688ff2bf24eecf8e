//! The frame: everything one node has to say to one peer after one step.
//!
//! ```text
//! version (1) ∥ stream (1) ∥ incarnation of the sender ∥ number in its stream (varints) ∥ parts … ∥ CRC-32C (4)
//! ```
//!
//! Each part begins with a byte that names it. Frames of a stream carry consecutive numbers; a receiver takes each number
//! once and nothing older, so a frame that comes twice, late or out of order is as good as lost. Everything above
//! lives with loss, and nothing is done twice.

use crate::closes::Closes;
use crate::liveness::Beat;
use crate::wire;
use base::codec::{get_bytes, get_u8, get_u64, put_bytes, put_u64};
use base::{CallId, Error, Incarnation, Index, Kind, Place, RangeId, ReplicaId, Result, Revision, StoreId, Term, Tick};
use bytes::Bytes;
use mvcc::Request;
use placement::{Fetch, Fetched};
use raft::{Committed, Message, SupportEpoch};
use range::state::Applied;
use range::{Answer, Letter, Outcome, Spec};
use std::sync::Arc;

pub(crate) const VERSION: u8 = 1;

/// Which stream between two nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Liveness: small, never behind anything large.
    Control,
    /// Everything else.
    Append,
    /// Snapshots.
    Snapshot,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Lane; 3] = [Lane::Control, Lane::Append, Lane::Snapshot];
}

/// Which sequence of numbers a frame belongs to. Frames that wait for the disk leave in an order of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stream {
    Control,
    Now,
    After,
    Snapshot,
}

impl Stream {
    /// The lane it travels on.
    pub fn lane(self) -> Lane {
        match self {
            Stream::Control => Lane::Control,
            Stream::Now | Stream::After => Lane::Append,
            Stream::Snapshot => Lane::Snapshot,
        }
    }
    fn from_byte(b: u8) -> Result<Stream> {
        let all = [Stream::Control, Stream::Now, Stream::After, Stream::Snapshot];
        all.get(usize::from(b)).copied().ok_or_else(|| Error::corrupt(format!("a frame of unknown stream {b}")))
    }
}

/// What one node asks another to do for a client: one hop.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask {
    /// At the range's leader, a command or a read at the newest revision.
    Kv(RangeId, Arc<Request>),
    /// At the range's leader, at a revision the asker knows to be issued.
    At(RangeId, Spec, Revision, Revision),
    /// At the meta range's leader.
    Compact(Revision),
}

/// What a small part takes, and for how many there is room at once: an append is one part, of many bytes.
const PART_BYTES: usize = 64;
const MOST_ROOM: usize = 32;

/// One thing a frame carries.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    Beat(Beat),
    Letter(Letter),
    /// A committed index without entries: range, from, to whom.
    Commit(RangeId, Place, Place, Committed),
    /// A forwarded call: its id at the sender, the milliseconds it may still take, the life of the receiver it is for.
    Call(CallId, (u64, Incarnation), Ask),
    Reply(CallId, Result<Outcome>),
    /// Closed revisions of ranges that the sender leads.
    Closes(Closes),
    Fetch(Fetch),
    Fetched(Fetched),
    /// "I would send you a snapshot of this range, number so-and-so, at this position, and below this bound it may
    /// lack versions."
    Offer(RangeId, Place, Place, u64, (Applied, Revision)),
    /// "Go on: I have this many chunks." Zero accepts the offer.
    Wanted(RangeId, u64, u64),
    /// "No (more)": the snapshot is not wanted or failed.
    Refused(RangeId, u64),
    /// Records, consecutive; the last one ends it.
    Chunk(RangeId, u64, u64, bool, Bytes),
    /// The snapshot of this number is in, at this index.
    Installed(RangeId, u64, Index),
}

/// A decoded frame.
#[derive(Clone, PartialEq, Debug)]
pub struct Frame {
    pub stream: Stream,
    pub incarnation: Incarnation,
    pub number: u64,
    pub parts: Vec<Part>,
}

impl Frame {
    /// Checks and takes apart; entries share the buffer.
    pub fn decode(mut bytes: Bytes) -> Result<Frame> {
        if bytes.len() < 8 {
            return Err(Error::corrupt("a frame is cut off"));
        }
        let sum = bytes.split_off(bytes.len() - 4);
        let sum = u32::from_le_bytes([sum[0], sum[1], sum[2], sum[3]]);
        if crc32c::crc32c(&bytes) != sum {
            return Err(Error::corrupt("a frame's checksum is wrong"));
        }
        let version = get_u8(&mut bytes)?;
        if version != VERSION {
            return Err(Error::corrupt(format!("a frame of version {version}: the peer runs another version")));
        }
        let stream = Stream::from_byte(get_u8(&mut bytes)?)?;
        let incarnation = Incarnation(get_u64(&mut bytes)?);
        let number = get_u64(&mut bytes)?;
        let mut parts = Vec::with_capacity(bytes.len().div_ceil(PART_BYTES).min(MOST_ROOM));
        while !bytes.is_empty() {
            parts.push(get_part(&mut bytes)?);
        }
        Ok(Frame { stream, incarnation, number, parts })
    }
}

fn put_place(out: &mut Vec<u8>, p: Place) {
    put_u64(out, p.replica.0);
    put_u64(out, p.store.0);
}
fn get_place(b: &mut Bytes) -> Result<Place> {
    Ok(Place { replica: ReplicaId(get_u64(b)?), store: StoreId(get_u64(b)?) })
}
fn put_ids(out: &mut Vec<u8>, tag: u8, ids: &[u64]) {
    out.push(tag);
    for v in ids {
        put_u64(out, *v);
    }
}

pub(crate) fn put_part(out: &mut Vec<u8>, part: &Part) {
    match part {
        Part::Beat(b) => put_beat(out, b),
        Part::Letter(l) => {
            put_ids(out, 2, &[l.range.0]);
            put_place(out, l.from);
            put_place(out, l.to);
            l.message.encode(out);
        }
        Part::Commit(range, from, to, c) => {
            put_ids(out, 3, &[range.0]);
            put_place(out, *from);
            put_place(out, *to);
            for v in [c.leader_term.0, c.index.0, c.entry_term.0] {
                put_u64(out, v);
            }
        }
        Part::Call(id, (ms, life), ask) => {
            put_ids(out, 4, &[id.0, *ms, life.0]);
            put_ask(out, ask);
        }
        Part::Reply(id, result) => {
            put_ids(out, 5, &[id.0]);
            put_result(out, result);
        }
        Part::Fetch(f) => put_ids(out, 6, &[f.store.0, f.incarnation.0, f.seq, f.oldest, f.take]),
        Part::Fetched(f) => put_ids(out, 7, &[f.seq, f.term.0, f.first.0, f.compacted.0]),
        Part::Offer(range, from, to, number, (applied, bound)) => {
            put_ids(out, 8, &[range.0]);
            put_place(out, *from);
            put_place(out, *to);
            put_u64(out, *number);
            put_bytes(out, &applied.encode());
            put_u64(out, bound.0);
        }
        Part::Wanted(range, number, chunks) => put_ids(out, 9, &[range.0, *number, *chunks]),
        Part::Refused(range, number) => put_ids(out, 10, &[range.0, *number]),
        Part::Chunk(range, number, at, last, bytes) => {
            put_ids(out, 11, &[range.0, *number, *at, u64::from(*last)]);
            put_bytes(out, bytes);
        }
        Part::Installed(range, number, index) => put_ids(out, 12, &[range.0, *number, index.0]),
        Part::Closes(closes) => {
            out.push(13);
            closes.encode(out);
        }
    }
}

fn get_part(b: &mut Bytes) -> Result<Part> {
    Ok(match get_u8(b)? {
        1 => Part::Beat(get_beat(b)?),
        2 => {
            let (range, from, to) = (RangeId(get_u64(b)?), get_place(b)?, get_place(b)?);
            Part::Letter(Letter { range, from, to, message: Message::decode(b)? })
        }
        3 => {
            let (range, from, to) = (RangeId(get_u64(b)?), get_place(b)?, get_place(b)?);
            let (leader_term, index) = (Term(get_u64(b)?), Index(get_u64(b)?));
            Part::Commit(range, from, to, Committed { leader_term, index, entry_term: Term(get_u64(b)?) })
        }
        4 => Part::Call(CallId(get_u64(b)?), (get_u64(b)?, Incarnation(get_u64(b)?)), get_ask(b)?),
        5 => Part::Reply(CallId(get_u64(b)?), get_result(b)?),
        6 => {
            let (store, incarnation) = (StoreId(get_u64(b)?), Incarnation(get_u64(b)?));
            Part::Fetch(Fetch { store, incarnation, seq: get_u64(b)?, oldest: get_u64(b)?, take: get_u64(b)? })
        }
        7 => {
            let (seq, term) = (get_u64(b)?, Term(get_u64(b)?));
            let (first, compacted) = (issued(b)?, issued(b)?);
            Part::Fetched(Fetched { seq, term, first, compacted })
        }
        8 => {
            let (range, from, to, number) = (RangeId(get_u64(b)?), get_place(b)?, get_place(b)?, get_u64(b)?);
            let applied = Applied::decode(get_bytes(b)?)?;
            Part::Offer(range, from, to, number, (applied, issued(b)?))
        }
        9 => Part::Wanted(RangeId(get_u64(b)?), get_u64(b)?, get_u64(b)?),
        10 => Part::Refused(RangeId(get_u64(b)?), get_u64(b)?),
        11 => Part::Chunk(RangeId(get_u64(b)?), get_u64(b)?, get_u64(b)?, get_u64(b)? != 0, get_bytes(b)?),
        12 => Part::Installed(RangeId(get_u64(b)?), get_u64(b)?, Index(get_u64(b)?)),
        13 => Part::Closes(Closes::decode(b)?),
        v => return Err(Error::corrupt(format!("a frame has a part of unknown kind {v}"))),
    })
}

/// A revision from a peer; a pending one can only be a mistake.
fn issued(b: &mut Bytes) -> Result<Revision> {
    let r = Revision(get_u64(b)?);
    if r.is_pending() {
        return Err(Error::corrupt("a peer sent a pending revision"));
    }
    Ok(r)
}

fn put_beat(out: &mut Vec<u8>, b: &Beat) {
    put_ids(out, 1, &[b.incarnation.0, b.n, b.sent.0, b.duration.0, b.revision.0]);
    let bits = [b.asks, b.is_reply, b.goodbye, b.support.is_some(), b.withdrawn.is_some(), b.full];
    out.push(bits.iter().enumerate().fold(0, |f, (i, on)| f | (u8::from(*on) << i)));
    if let Some((e, sent)) = b.support {
        for v in [e.incarnation.0, e.n, sent.0] {
            put_u64(out, v);
        }
    }
    if let Some(w) = b.withdrawn {
        put_u64(out, w.incarnation.0);
        put_u64(out, w.n);
    }
    put_u64(out, b.vouches.len() as u64);
    for s in &b.vouches {
        put_u64(out, s.0);
    }
    for v in [b.depth, b.remembered.0.0, b.remembered.1] {
        put_u64(out, v);
    }
}

fn get_beat(b: &mut Bytes) -> Result<Beat> {
    let (incarnation, n) = (Incarnation(get_u64(b)?), get_u64(b)?);
    let (sent, duration, revision) = (Tick(get_u64(b)?), Tick(get_u64(b)?), issued(b)?);
    let bits = get_u8(b)?;
    let epoch = |b: &mut Bytes| -> Result<SupportEpoch> {
        Ok(SupportEpoch { incarnation: Incarnation(get_u64(b)?), n: get_u64(b)? })
    };
    let support = if bits & 8 != 0 { Some((epoch(b)?, Tick(get_u64(b)?))) } else { None };
    let withdrawn = if bits & 16 != 0 { Some(epoch(b)?) } else { None };
    let count = get_u64(b)?;
    let mut vouches = Vec::new();
    for _ in 0..count.min(b.len() as u64) {
        vouches.push(StoreId(get_u64(b)?));
    }
    let (asks, is_reply, goodbye, full) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0, bits & 32 != 0);
    let (depth, remembered) = (get_u64(b)?, (Incarnation(get_u64(b)?), get_u64(b)?));
    Ok(Beat {
        incarnation,
        n,
        asks,
        sent,
        duration,
        support,
        withdrawn,
        vouches,
        is_reply,
        goodbye,
        full,
        revision,
        depth,
        remembered,
    })
}

fn put_ask(out: &mut Vec<u8>, ask: &Ask) {
    match ask {
        Ask::Kv(range, request) => {
            put_ids(out, 1, &[range.0]);
            wire::put_request(out, request);
        }
        Ask::At(range, spec, x, compacted) => {
            put_ids(out, 2, &[range.0, x.0, compacted.0]);
            match spec {
                Spec::Scan(r) => {
                    out.push(1);
                    wire::put_range(out, r);
                }
                Spec::Txn(t) => {
                    out.push(2);
                    wire::put_txn(out, t);
                }
                Spec::Hash { span, at } => {
                    put_ids(out, 3, &[at.0]);
                    wire::put_span(out, span);
                }
                // A node asks it of itself; whoever hears it cannot read it.
                Spec::Marks { .. } => out.push(0),
                Spec::Settle { span } => {
                    out.push(4);
                    wire::put_span(out, span);
                }
            }
        }
        Ask::Compact(r) => put_ids(out, 3, &[r.0]),
    }
}

fn get_ask(b: &mut Bytes) -> Result<Ask> {
    Ok(match get_u8(b)? {
        1 => Ask::Kv(RangeId(get_u64(b)?), Arc::new(wire::get_request(b)?)),
        2 => {
            let (range, x, compacted) = (RangeId(get_u64(b)?), issued(b)?, issued(b)?);
            let spec = match get_u8(b)? {
                1 => Spec::Scan(wire::get_range(b)?),
                2 => Spec::Txn(wire::get_txn(b)?),
                3 => {
                    let at = issued(b)?;
                    Spec::Hash { span: wire::get_span(b)?, at }
                }
                4 => Spec::Settle { span: wire::get_span(b)? },
                v => return Err(Error::corrupt(format!("a read of unknown kind {v}"))),
            };
            Ask::At(range, spec, x, compacted)
        }
        3 => Ask::Compact(issued(b)?),
        v => return Err(Error::corrupt(format!("a call of unknown kind {v}"))),
    })
}

fn put_result(out: &mut Vec<u8>, result: &Result<Outcome>) {
    match result {
        Ok(o) => {
            put_ids(out, 0, &[o.revision.0]);
            match &o.answer {
                Answer::Kv(r) => {
                    out.push(1);
                    wire::put_reply(out, r);
                }
                Answer::Compacted => out.push(2),
                Answer::Hash { hash, compacted } => put_ids(out, 3, &[*hash, compacted.0]),
                Answer::Settled { index } => put_ids(out, 4, &[index.0]),
                Answer::Marks(_) => out.push(0),
            }
        }
        Err(e) => {
            out.push(1);
            put_kind(out, &e.kind);
            put_bytes(out, e.text.as_bytes());
        }
    }
}

fn get_result(b: &mut Bytes) -> Result<Result<Outcome>> {
    if get_u8(b)? != 0 {
        let kind = get_kind(b)?;
        let text = String::from_utf8_lossy(&get_bytes(b)?).into_owned();
        return Ok(Err(Error { kind, text }));
    }
    let revision = issued(b)?;
    let answer = match get_u8(b)? {
        1 => Answer::Kv(wire::get_reply(b)?),
        2 => Answer::Compacted,
        3 => Answer::Hash { hash: get_u64(b)?, compacted: issued(b)? },
        4 => Answer::Settled { index: Index(get_u64(b)?) },
        v => return Err(Error::corrupt(format!("an answer of unknown kind {v}"))),
    };
    Ok(Ok(Outcome { revision, answer }))
}

use base::error::Refusal;
const REFUSALS: [Refusal; 14] = [
    Refusal::EmptyKey,
    Refusal::KeyNotFound,
    Refusal::ValueProvided,
    Refusal::LeaseProvided,
    Refusal::LeaseNotFound,
    Refusal::TooManyOps,
    Refusal::DuplicateKey,
    Refusal::InvalidSortOption,
    Refusal::RequestTooLarge,
    Refusal::Compacted,
    Refusal::FutureRevision,
    Refusal::NoSpace,
    Refusal::TooManyRequests,
    Refusal::Timeout,
];

fn put_kind(out: &mut Vec<u8>, kind: &Kind) {
    match kind {
        Kind::Retry => out.push(1),
        Kind::Elsewhere { range, leader } => put_ids(out, 2, &[range.0, leader.map_or(0, |s| s.0)]),
        Kind::Unknown => out.push(3),
        Kind::Refused(r) => put_ids(out, 4, &[REFUSALS.iter().position(|x| x == r).unwrap_or(0) as u64]),
        Kind::Corrupt => out.push(5),
        Kind::Closing => out.push(6),
        Kind::Unimplemented => out.push(7),
        Kind::Disk => out.push(8),
    }
}

fn get_kind(b: &mut Bytes) -> Result<Kind> {
    Ok(match get_u8(b)? {
        1 => Kind::Retry,
        2 => {
            let (range, leader) = (RangeId(get_u64(b)?), get_u64(b)?);
            Kind::Elsewhere { range, leader: (leader != 0).then_some(StoreId(leader)) }
        }
        3 => Kind::Unknown,
        4 => {
            let at = get_u64(b)? as usize;
            Kind::Refused(*REFUSALS.get(at).ok_or_else(|| Error::corrupt("an unknown refusal"))?)
        }
        5 => Kind::Corrupt,
        6 => Kind::Closing,
        7 => Kind::Unimplemented,
        8 => Kind::Disk,
        v => return Err(Error::corrupt(format!("an error of unknown kind {v}"))),
    })
}

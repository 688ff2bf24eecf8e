//! Every key, byte by byte.
//!
//! ```text
//! Cf::Log
//!   01 ∥ range (8, big-endian) ∥ index (8, big-endian)          → one entry
//!   02 ∥ range (8)                                              → hard state: term, vote
//!
//! Cf::Data
//!   01 ∥ name                                                   → store-local: identity, incarnation, filter bound …
//!   02 ∥ range (8) ∥ kind (1) ∥ suffix                          → range-local: descriptor, applied index@term, counters …
//!   03 ∥ escaped key ∥ 00 01 ∥ ¬revision (8, big-endian)        → one MVCC version, newest first
//!   04 ∥ key (tag and bytes as they are)                        → plain records of the meta range
//! ```
//!
//! In an escaped key each byte 00 is written 00 FF, so that the terminator 00 01 sorts before any continuation: keys
//! keep their order whatever follows them. A revision is stored inverted, so that the newest version comes first.
//! The range comes before everything else in its local records, so that a replica is one span of them.

use base::{Error, Index, Key, RangeId, Result, Revision, Span};
use bytes::Bytes;

/// First bytes of `Cf::Log`.
pub mod log {
    /// Entries.
    pub const ENTRY: u8 = 1;
    /// Hard states.
    pub const HARD: u8 = 2;
}

/// First bytes of `Cf::Data`.
pub mod data {
    /// Store-local records.
    pub const STORE: u8 = 1;
    /// Range-local records.
    pub const LOCAL: u8 = 2;
    /// MVCC versions.
    pub const MVCC: u8 = 3;
    /// Plain records.
    pub const PLAIN: u8 = 4;
}

/// Kinds of range-local records.
pub mod local {
    /// The range's descriptor.
    pub const DESCRIPTOR: u8 = 1;
    /// Applied index@term, the largest revision in it, live-key counter.
    pub const APPLIED: u8 = 2;
    /// The last index@term that is no longer in the log.
    pub const TRUNCATED: u8 = 3;
    /// For ever: (range, lowest acceptable replica id).
    pub const TOMBSTONE: u8 = 4;
}

fn with_range(first: u8, range: RangeId, extra: usize) -> Vec<u8> {
    let mut k = Vec::with_capacity(9 + extra);
    k.push(first);
    k.extend_from_slice(&range.0.to_be_bytes());
    k
}

/// `Cf::Log`: an entry.
pub fn entry(range: RangeId, index: Index) -> Bytes {
    let mut k = with_range(log::ENTRY, range, 8);
    k.extend_from_slice(&index.0.to_be_bytes());
    Bytes::from(k)
}

/// The index of an entry's key.
pub fn entry_index(key: &[u8]) -> Result<Index> {
    match <[u8; 8]>::try_from(key.get(9..).unwrap_or_default()) {
        Ok(b) if key[0] == log::ENTRY => Ok(Index(u64::from_be_bytes(b))),
        _ => Err(Error::corrupt(format!("not the key of a log entry: {}", key.escape_ascii()))),
    }
}

/// `Cf::Log`: a hard state.
pub fn hard(range: RangeId) -> Bytes {
    Bytes::from(with_range(log::HARD, range, 0))
}

/// `Cf::Data`: a store-local record.
pub fn store(name: &str) -> Bytes {
    let mut k = Vec::with_capacity(1 + name.len());
    k.push(data::STORE);
    k.extend_from_slice(name.as_bytes());
    Bytes::from(k)
}

/// `Cf::Data`: a range-local record.
pub fn local(range: RangeId, kind: u8) -> Bytes {
    let mut k = with_range(data::LOCAL, range, 1);
    k.push(kind);
    Bytes::from(k)
}

/// `Cf::Data`: all local records of a range.
pub fn local_span(range: RangeId) -> (Bytes, Bytes) {
    (Bytes::from(with_range(data::LOCAL, range, 0)), Bytes::from(with_range(data::LOCAL, RangeId(range.0 + 1), 0)))
}

/// The range of a range-local key.
pub fn local_range(key: &[u8]) -> Result<RangeId> {
    match <[u8; 8]>::try_from(key.get(1..9).unwrap_or_default()) {
        Ok(b) if key[0] == data::LOCAL => Ok(RangeId(u64::from_be_bytes(b))),
        _ => Err(Error::corrupt(format!("not a range-local key: {}", key.escape_ascii()))),
    }
}

/// `Cf::Data`: a plain record of the meta range.
pub fn plain(key: &Key) -> Bytes {
    let mut k = Vec::with_capacity(1 + key.bytes().len());
    k.push(data::PLAIN);
    k.extend_from_slice(key.bytes());
    Bytes::from(k)
}

/// `Cf::Data`: all plain records with keys in this span.
pub fn plain_span(span: &Span) -> (Bytes, Bytes) {
    (plain(&span.start), plain(&span.end))
}

/// Appends what all versions of `key` begin with: tag byte, escaped key, terminator.
pub fn put_prefix(out: &mut Vec<u8>, key: &Key) {
    out.push(data::MVCC);
    for &b in key.bytes() {
        out.push(b);
        if b == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

/// `Cf::Data`: the version of `key` at `revision`.
pub fn version(key: &Key, revision: Revision) -> Bytes {
    assert!(!revision.is_pending(), "a pending revision never reaches the disk: {key}@{revision}");
    let mut k = Vec::with_capacity(key.bytes().len() + 12);
    put_prefix(&mut k, key);
    k.extend_from_slice(&(!revision.0).to_be_bytes());
    Bytes::from(k)
}

/// `Cf::Data`: where all versions of `key` lie.
pub fn versions_of(key: &Key) -> (Bytes, Bytes) {
    let mut k = Vec::with_capacity(key.bytes().len() + 4);
    put_prefix(&mut k, key);
    let lower = Bytes::copy_from_slice(&k);
    let last = k.len() - 1;
    k[last] = 2;
    (lower, Bytes::from(k))
}

/// `Cf::Data`: where all versions of all keys of a span lie.
pub fn version_span(span: &Span) -> (Bytes, Bytes) {
    let mut lower = Vec::with_capacity(span.start.bytes().len() + 4);
    put_prefix(&mut lower, &span.start);
    let mut upper = Vec::with_capacity(span.end.bytes().len() + 4);
    put_prefix(&mut upper, &span.end);
    (Bytes::from(lower), Bytes::from(upper))
}

/// Length of the part of an MVCC key that names the key: everything but the revision.
pub fn prefix_len(raw: &[u8]) -> Result<usize> {
    if raw.len() < 11 || raw[0] != data::MVCC {
        return Err(Error::corrupt(format!("not an MVCC key: {}", raw.escape_ascii())));
    }
    Ok(raw.len() - 8)
}

/// Takes an MVCC key apart.
pub fn split_version(raw: &[u8]) -> Result<(Key, Revision)> {
    let n = prefix_len(raw)?;
    let bad = || Error::corrupt(format!("not an MVCC key: {}", raw.escape_ascii()));
    let mut key = Vec::with_capacity(n);
    let mut rest = raw[1..n].iter();
    loop {
        match rest.next().ok_or_else(bad)? {
            0 => match rest.next().ok_or_else(bad)? {
                0xff => key.push(0),
                1 => break,
                _ => return Err(bad()),
            },
            b => key.push(*b),
        }
    }
    if rest.next().is_some() {
        return Err(bad());
    }
    let rev: [u8; 8] = raw[n..].try_into().map_err(|_| bad())?;
    Ok((Key(Bytes::from(key)), Revision(!u64::from_be_bytes(rev))))
}

/// The revision of an MVCC key.
pub fn version_revision(raw: &[u8]) -> Result<Revision> {
    let n = prefix_len(raw)?;
    let rev: [u8; 8] = raw[n..].try_into().map_err(|_| Error::corrupt("an MVCC key without a revision"))?;
    Ok(Revision(!u64::from_be_bytes(rev)))
}

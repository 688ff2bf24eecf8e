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
    /// There while a snapshot is in but the log it replaces is not yet gone: boot drops that log.
    pub const LOG_RESET: u8 = 5;
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
    let upper = match range.0.checked_add(1) {
        Some(next) => with_range(data::LOCAL, RangeId(next), 0),
        None => vec![data::LOCAL + 1],
    };
    (Bytes::from(with_range(data::LOCAL, range, 0)), Bytes::from(upper))
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

/// The part of a version, or of the lower bound of [`versions_of`], that all versions of its key begin with, and nothing
/// else does. `None` for everything else.
pub fn name(raw: &[u8]) -> Option<&[u8]> {
    if *raw.first()? != data::MVCC {
        return None;
    }
    let mut at = 1;
    loop {
        at += raw.get(at..)?.iter().position(|b| *b == 0)? + 2;
        match raw.get(at - 1)? {
            1 => return raw.get(..at),
            0xff => {}
            _ => return None,
        }
    }
}

/// Are these the bounds of [`versions_of`] one key?
pub fn are_of_one_key(lower: &[u8], upper: &[u8]) -> bool {
    match (name(lower), upper.split_last()) {
        (Some(name), Some((2, rest))) => name == lower && *rest == name[..name.len() - 1],
        _ => false,
    }
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
    let mut key = Vec::with_capacity(prefix_len(raw)?);
    key_of_version(raw, |part| key.extend_from_slice(part))?;
    Ok((Key(Bytes::from(key)), version_revision(raw)?))
}

/// The key of an MVCC key, part by part; most have one.
pub fn key_of_version(raw: &[u8], mut part: impl FnMut(&[u8])) -> Result<()> {
    let mut rest = &raw[1..prefix_len(raw)?];
    loop {
        let zero = rest.iter().position(|b| *b == 0);
        match zero.and_then(|at| Some((at, *rest.get(at + 1)?))) {
            Some((at, 0xff)) => {
                part(&rest[..=at]);
                rest = &rest[at + 2..];
            }
            Some((at, 1)) if at + 2 == rest.len() => {
                part(&rest[..at]);
                return Ok(());
            }
            _ => return Err(Error::corrupt(format!("not an MVCC key: {}", raw.escape_ascii()))),
        }
    }
}

/// The revision of an MVCC key.
pub fn version_revision(raw: &[u8]) -> Result<Revision> {
    let n = prefix_len(raw)?;
    let rev: [u8; 8] = raw[n..].try_into().map_err(|_| Error::corrupt("an MVCC key without a revision"))?;
    Ok(Revision(!u64::from_be_bytes(rev)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Something like a version.
    fn raw() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop_oneof![Just(0u8), Just(1), Just(2), Just(3), Just(0xff)];
        prop::collection::vec(bytes, 0..12)
    }

    fn key() -> impl Strategy<Value = Key> {
        // Bytes that escaping cares about are frequent.
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..8)
            .prop_map(|b| Key(b.into()))
    }
    fn revision() -> impl Strategy<Value = Revision> {
        prop_oneof![0u64..8, 0..(1u64 << 63)].prop_map(Revision)
    }

    #[test]
    fn drawn_byte_by_byte() {
        let key = Key::user(b"a\0b");
        let hex = |b: &[u8]| b.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
        assert_eq!(hex(&entry(RangeId(2), Index(3))), "01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 03");
        assert_eq!(hex(&hard(RangeId(2))), "02 00 00 00 00 00 00 00 02");
        assert_eq!(hex(&store("id")), "01 69 64");
        assert_eq!(hex(&local(RangeId(2), local::APPLIED)), "02 00 00 00 00 00 00 00 02 02");
        assert_eq!(hex(&plain(&key)), "04 02 61 00 62");
        assert_eq!(hex(&version(&key, Revision(5))), "03 02 61 00 ff 62 00 01 ff ff ff ff ff ff ff fa");
    }

    #[test]
    fn local_records_of_a_range_are_one_span() {
        let (lower, upper) = local_span(RangeId(255));
        for kind in [0, local::DESCRIPTOR, local::TOMBSTONE, 255] {
            let mut k = local(RangeId(255), kind).to_vec();
            k.extend_from_slice(b"suffix");
            assert!(lower[..] <= k[..] && k[..] < upper[..]);
            assert_eq!(local_range(&k).unwrap(), RangeId(255));
        }
        let (lower, upper) = local_span(RangeId(u64::MAX));
        assert!(lower < local(RangeId(u64::MAX), 9) && local(RangeId(u64::MAX), 9) < upper);
        for other in [254, 256] {
            let k = local(RangeId(other), local::APPLIED);
            assert!(k < lower || upper <= k);
        }
    }

    #[test]
    fn rubbish_is_refused() {
        for raw in [
            &b""[..],
            b"\x03",
            b"\x03\0\x01",
            b"\x03a\0\x02\0\0\0\0\0\0\0\0",
            b"\x03a\0\x01z\0\0\0\0\0\0\0\0",
            b"\x03abcdefghijklm",
        ] {
            assert!(split_version(raw).is_err(), "{}", raw.escape_ascii());
        }
        assert!(version_revision(b"\x02aaaaaaaaaaaaaaa").is_err());
        assert!(entry_index(b"\x02").is_err() && entry_index(b"\x01\0\0\0\0\0\0\0\x01\0").is_err());
        assert!(local_range(b"\x02\0\0").is_err() && local_range(b"\x01\0\0\0\0\0\0\0\x01\0").is_err());
    }

    proptest! {
        #[test]
        fn versions_round_trip(k in key(), r in revision()) {
            let raw = version(&k, r);
            prop_assert_eq!(split_version(&raw).unwrap(), (k.clone(), r));
            prop_assert_eq!(version_revision(&raw).unwrap(), r);
            prop_assert_eq!(prefix_len(&raw).unwrap() + 8, raw.len());
            let (lower, upper) = versions_of(&k);
            prop_assert!(lower <= raw && raw < upper);
            prop_assert_eq!((name(&raw), name(&lower), name(&upper)), (Some(&lower[..]), Some(&lower[..]), None));
            prop_assert!(are_of_one_key(&lower, &upper));
        }

        #[test]
        fn a_name_is_of_one_key(a in key(), b in key(), r in revision(), s in revision(), any in raw()) {
            prop_assert_eq!(name(&version(&a, r)) == name(&version(&b, s)), a == b);
            let (lower, upper) = version_span(&Span::new(a.clone(), b));
            prop_assert!(!are_of_one_key(&lower, &upper) && !are_of_one_key(&lower, &lower));
            if let Some(found) = name(&any) {
                prop_assert!(any.starts_with(found) && name(found) == Some(found));
            }
            for raw in [store("identity"), local(RangeId(3), 1), plain(&a)] {
                prop_assert_eq!(name(&raw), None);
            }
        }

        #[test]
        fn versions_are_ordered_by_key_then_newest_first(a in key(), b in key(), r in revision(), s in revision()) {
            let expected = a.cmp(&b).then(s.cmp(&r));
            prop_assert_eq!(version(&a, r).cmp(&version(&b, s)), expected);
            // No version of another key lies among a key's versions.
            let (lower, upper) = versions_of(&a);
            let raw = version(&b, s);
            prop_assert_eq!(lower <= raw && raw < upper, a == b);
        }

        #[test]
        fn spans_hold_exactly_their_keys(k in key(), a in key(), b in key(), r in revision()) {
            let span = Span::new(a, b);
            let (lower, upper) = version_span(&span);
            let raw = version(&k, r);
            prop_assert_eq!(lower <= raw && raw < upper, span.contains(&k));
            let (lower, upper) = plain_span(&span);
            let raw = plain(&k);
            prop_assert_eq!(lower <= raw && raw < upper, span.contains(&k));
        }

        #[test]
        fn entries_are_ordered_by_range_then_index(a in any::<(u64, u64)>(), b in any::<(u64, u64)>()) {
            let k = |(r, i): (u64, u64)| entry(RangeId(r), Index(i));
            prop_assert_eq!(k(a).cmp(&k(b)), a.cmp(&b));
            prop_assert_eq!(entry_index(&k(a)).unwrap(), Index(a.1));
        }

        #[test]
        fn any_bytes_are_taken_apart_or_refused(raw in prop::collection::vec(any::<u8>(), 0..24)) {
            if let Ok((k, r)) = split_version(&raw) && !r.is_pending() {
                prop_assert_eq!(&version(&k, r)[..], &raw[..]);
            }
            let _ = (entry_index(&raw), local_range(&raw), version_revision(&raw));
        }
    }
}

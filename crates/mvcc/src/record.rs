//! One version of one key, as it lies in the engine and in log entries.
//!
//! ```text
//! flags (1) ∥ sub (varint)                                                              a delete mark
//! flags (1) ∥ sub (varint) ∥ create (varint) ∥ version (varint) ∥ [lease (varint)] ∥ value   everything else
//!   flags: bit 0 "there is a value", bit 1 "there is a lease"
//! ```
//!
//! The mod revision is in the engine's key. The value comes last and has no length of its own: what is left is the value.

use base::codec::put_u64;
use base::{Error, Result, Revision};
use bytes::Bytes;
use std::fmt;

const LIVE: u8 = 1;
const LEASED: u8 = 2;

/// One version of one key.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its place among what its revision did: the position of the operation in its transaction.
    pub sub: u32,
    /// The revision that created the key; `ZERO` in a delete mark.
    pub create: Revision,
    /// How many times the key was written since then; 0 in a delete mark.
    pub version: u64,
    /// The lease it is attached to; 0 means none.
    pub lease: i64,
    /// `None`: this is a delete mark.
    pub value: Option<Bytes>,
}

/// An encoded record, taken apart without copying.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordRef<'a> {
    /// As in [`Record`].
    pub sub: u32,
    /// As in [`Record`].
    pub create: Revision,
    /// As in [`Record`].
    pub version: u64,
    /// As in [`Record`].
    pub lease: i64,
    /// As in [`Record`].
    pub value: Option<&'a [u8]>,
}

impl Record {
    /// A delete mark at this place.
    pub fn mark(sub: u32) -> Record {
        Record { sub, ..Record::default() }
    }
    /// Is there a value? A delete mark is not live.
    pub fn is_live(&self) -> bool {
        self.value.is_some()
    }
    /// Did this version bring the key into being?
    pub fn creates(&self) -> bool {
        self.is_live() && self.version == 1
    }
    /// How many bytes `encode` appends, once the create revision is known.
    pub fn encoded_len(&self) -> usize {
        let head = 1 + varint_len(u64::from(self.sub));
        let Some(value) = &self.value else { return head };
        let lease = if self.lease == 0 { 0 } else { varint_len(self.lease as u64) };
        head + varint_len(self.create.0) + varint_len(self.version) + lease + value.len()
    }
    /// Appends its bytes. A create revision that is still pending has no bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Some(value) = &self.value else {
            out.push(0);
            put_u64(out, u64::from(self.sub));
            return;
        };
        assert!(!self.create.is_pending(), "a pending revision never leaves the node: created at {}", self.create);
        out.push(if self.lease == 0 { LIVE } else { LIVE | LEASED });
        put_u64(out, u64::from(self.sub));
        put_u64(out, self.create.0);
        put_u64(out, self.version);
        if self.lease != 0 {
            put_u64(out, self.lease as u64);
        }
        out.extend_from_slice(value);
    }
    /// From its bytes; the value shares them.
    pub fn decode(bytes: &Bytes) -> Result<Record> {
        let r = RecordRef::parse(bytes)?;
        Ok(Record {
            sub: r.sub,
            create: r.create,
            version: r.version,
            lease: r.lease,
            value: r.value.map(|v| bytes.slice_ref(v)),
        })
    }
}

/// Does an encoded record hold a value? Looks at one byte.
pub fn is_live(encoded: &[u8]) -> Result<bool> {
    match encoded.first() {
        Some(flags) => Ok(flags & LIVE != 0),
        None => Err(Error::corrupt("a version without bytes")),
    }
}

impl<'a> RecordRef<'a> {
    /// Takes an encoded record apart.
    pub fn parse(bytes: &'a [u8]) -> Result<RecordRef<'a>> {
        let Some((&flags, mut rest)) = bytes.split_first() else {
            return Err(Error::corrupt("a version without bytes"));
        };
        if flags & !(LIVE | LEASED) != 0 || flags == LEASED {
            return Err(Error::corrupt(format!(
                "a version with unknown flags {flags:#x}: written by a newer release?"
            )));
        }
        let sub = number(&mut rest)?;
        let sub = u32::try_from(sub).map_err(|_| Error::corrupt(format!("a sub-revision of {sub}")))?;
        if flags & LIVE == 0 {
            if !rest.is_empty() {
                return Err(Error::corrupt("a delete mark with a value"));
            }
            return Ok(RecordRef { sub, create: Revision::ZERO, version: 0, lease: 0, value: None });
        }
        let create = Revision(number(&mut rest)?);
        if create.is_pending() {
            return Err(Error::corrupt("a version whose create revision was never issued"));
        }
        let version = number(&mut rest)?;
        let lease = if flags & LEASED != 0 { number(&mut rest)? as i64 } else { 0 };
        Ok(RecordRef { sub, create, version, lease, value: Some(rest) })
    }
    /// A record of its own, the value copied.
    pub fn to_record(self) -> Record {
        Record {
            sub: self.sub,
            create: self.create,
            version: self.version,
            lease: self.lease,
            value: self.value.map(Bytes::copy_from_slice),
        }
    }
}

/// Bytes that `put_u64` appends.
pub(crate) fn varint_len(v: u64) -> usize {
    (70 - (v | 1).leading_zeros() as usize) / 7
}

/// Takes a varint off the front of a slice.
fn number(rest: &mut &[u8]) -> Result<u64> {
    let mut v = 0u64;
    for (i, &b) in rest.iter().enumerate().take(10) {
        let part = u64::from(b & 0x7f);
        if i == 9 && part > 1 {
            break;
        }
        v |= part << (7 * i);
        if b & 0x80 == 0 {
            *rest = &rest[i + 1..];
            return Ok(v);
        }
    }
    Err(Error::corrupt("a number in a version is cut off or larger than 64 bits"))
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(value) = &self.value else { return write!(f, "deleted.{}", self.sub) };
        write!(f, "v{} create={} {}B", self.version, self.create, value.len())?;
        if self.sub != 0 {
            write!(f, " sub={}", self.sub)?;
        }
        if self.lease != 0 {
            write!(f, " lease={:x}", self.lease)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = Record> {
        let live = (any::<u32>(), 0..1u64 << 63, any::<u64>(), any::<i64>(), prop::collection::vec(any::<u8>(), 0..40));
        prop_oneof![
            any::<u32>().prop_map(Record::mark),
            live.prop_map(|(sub, create, version, lease, value)| Record {
                sub,
                create: Revision(create),
                version,
                lease,
                value: Some(value.into())
            }),
        ]
    }

    proptest! {
        #[test]
        fn records_round_trip(r in record()) {
            let mut out = Vec::new();
            r.encode(&mut out);
            prop_assert_eq!(out.len(), r.encoded_len());
            prop_assert_eq!(is_live(&out).unwrap(), r.is_live());
            prop_assert_eq!(RecordRef::parse(&out).unwrap().to_record(), r.clone());
            prop_assert_eq!(Record::decode(&Bytes::from(out)).unwrap(), r);
        }

        #[test]
        fn rubbish_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(r) = Record::decode(&Bytes::from(bytes.clone())) {
                prop_assert_eq!(is_live(&bytes).unwrap(), r.is_live());
            }
        }
    }

    #[test]
    fn a_small_version_has_a_small_head() {
        let mut out = Vec::new();
        Record { sub: 0, create: Revision(9), version: 1, lease: 0, value: Some(Bytes::from_static(b"v")) }
            .encode(&mut out);
        assert_eq!(out, [1, 0, 9, 1, b'v']);
        out.clear();
        Record::mark(2).encode(&mut out);
        assert_eq!(out, [0, 2]);
    }

    #[test]
    fn what_is_not_a_record_is_corrupt() {
        for bytes in [
            &b""[..],
            b"\x04\x00",
            b"\x02\x00",
            b"\x01",
            b"\x01\x00\x09",
            b"\x00\x00x",
            b"\x00\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(RecordRef::parse(bytes).unwrap_err().kind, base::Kind::Corrupt, "{}", bytes.escape_ascii());
        }
        let mut pending = vec![1, 0];
        put_u64(&mut pending, Revision::pending(1).0);
        pending.push(1);
        assert!(RecordRef::parse(&pending).is_err());
    }
}

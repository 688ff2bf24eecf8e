//! The hash of what a span logically holds, for HashKV: equal on all replicas whatever has been removed physically and
//! wherever the span was cut.
//!
//! The logical set at (r, compacted): every version in (compacted, r], delete marks included, and of each key that lived
//! at `compacted` the version it had. Each member is hashed for itself; the hashes are added, so that the parts of a span
//! add up to the hash of the whole.

use crate::overlay::Captured;
use crate::record::RecordRef;
use crate::source::Source;
use crate::walk::open;
use base::{Error, Result, Revision, Span};
use bytes::Bytes;
use engine::{Read, keys};

/// The hash over what `read` holds of the span.
pub fn hash_span<R: Read + ?Sized>(read: &R, span: &Span, at: Revision, compacted: Revision) -> Result<u64> {
    hash_source(&Source::new(read, &Captured::default()), span, at, compacted)
}

/// The hash over what a source holds of the span, captured overlay included.
pub fn hash_source<R: Read + ?Sized>(
    source: &Source<'_, R>,
    span: &Span,
    at: Revision,
    compacted: Revision,
) -> Result<u64> {
    if at.is_pending() {
        return Err(Error::corrupt(format!("a hash at the pending revision {at}")));
    }
    if span.is_empty() {
        return Ok(0);
    }
    base::marker!("mvcc.hash");
    let mut sum = Sum { at, compacted: compacted.min(at), prefix: Vec::new(), below: false, hash: 0 };
    let mut over = encoded(source, span, at).into_iter().peekable();
    let (lower, upper) = keys::version_span(span);
    let mut cursor = open(source.engine(), true, (&lower, &upper))?;
    cursor.seek_first();
    while let Some((raw, value)) = cursor.item() {
        while let Some((k, v)) = over.next_if(|(k, _)| k[..] < *raw) {
            sum.add(&k, &v)?;
        }
        // In both: the overlay's is the same version.
        over.next_if(|(k, _)| k[..] == *raw);
        sum.add(raw, value)?;
        cursor.next();
    }
    cursor.status()?;
    for (k, v) in over {
        sum.add(&k, &v)?;
    }
    Ok(sum.hash)
}

/// What was captured, as it will lie in the engine.
fn encoded<R: Read + ?Sized>(source: &Source<'_, R>, span: &Span, at: Revision) -> Vec<(Bytes, Vec<u8>)> {
    let Some(captured) = source.captured() else { return Vec::new() };
    let mut out = Vec::new();
    for (key, revision, record) in captured.all_in(span).filter(|(_, r, _)| *r <= at) {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        out.push((keys::version(key, revision), bytes));
    }
    out
}

struct Sum {
    at: Revision,
    compacted: Revision,
    /// The key that is passing by, newest version first.
    prefix: Vec<u8>,
    /// Was its newest version at or below `compacted` met?
    below: bool,
    hash: u64,
}

impl Sum {
    fn add(&mut self, raw: &[u8], value: &[u8]) -> Result<()> {
        let (n, revision) = (keys::prefix_len(raw)?, keys::version_revision(raw)?);
        if self.prefix != raw[..n] {
            self.prefix.clear();
            self.prefix.extend_from_slice(&raw[..n]);
            self.below = false;
        }
        if revision > self.at || (revision <= self.compacted && self.below) {
            return Ok(());
        }
        let record = RecordRef::parse(value)?;
        if revision <= self.compacted {
            self.below = true;
            if record.value.is_none() {
                return Ok(());
            }
        }
        self.hash = self.hash.wrapping_add(hash(raw, &record));
        Ok(())
    }
}

/// The hash of one version: key and revision, and what it says.
fn hash(raw: &[u8], r: &RecordRef<'_>) -> u64 {
    let mut h = Mix(0x9e37_79b9_7f4a_7c15);
    h.bytes(raw);
    for v in [u64::from(r.sub), r.create.0, r.version, r.lease as u64, u64::from(r.value.is_some())] {
        h.word(v);
    }
    h.bytes(r.value.unwrap_or_default());
    h.end()
}

/// A small 64-bit hash, the same for ever on every machine; not for secrets.
struct Mix(u64);

impl Mix {
    fn word(&mut self, v: u64) {
        let product = u128::from(self.0 ^ v ^ 0xd6e8_feb8_6659_fd93) * 0xa076_1d64_78bd_642f;
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }
    fn bytes(&mut self, b: &[u8]) {
        self.word(b.len() as u64);
        for chunk in b.chunks(8) {
            let mut w = [0; 8];
            w[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(w));
        }
    }
    fn end(mut self) -> u64 {
        for _ in 0..2 {
            self.0 = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xe703_7ed1_a0b4_28db);
        }
        self.0 ^ (self.0 >> 29)
    }
}

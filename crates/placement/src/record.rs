//! The meta range's records: plain, unversioned, each under a system key.

use base::codec::{get_u64, put_u64};
use base::{Descriptor, Key, RangeId, Result, Revision};
use bytes::Bytes;
use engine::{Cf, Read, keys};

/// What the leader of the meta range keeps in memory; rebuilt from the records when it starts to lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// No revision above it was ever issued.
    pub ceiling: Revision,
    /// Reads below it are refused.
    pub compacted: Revision,
}

/// One change of a record; `None` removes it.
pub type Change = (Key, Option<Bytes>);

/// The key of the ceiling.
pub fn ceiling_key() -> Key {
    Key::system(b"meta/ceiling")
}
/// The key of the compacted revision.
pub fn compacted_key() -> Key {
    Key::system(b"meta/compacted")
}
/// The key of a range's descriptor in the directory.
pub fn range_key(id: RangeId) -> Key {
    let mut k = b"meta/range/".to_vec();
    k.extend_from_slice(&id.0.to_be_bytes());
    Key::system(&k)
}

/// A record that holds one revision.
pub fn revision_value(r: Revision) -> Bytes {
    let mut v = Vec::with_capacity(10);
    put_u64(&mut v, r.0);
    Bytes::from(v)
}

/// What a fresh cluster's meta range holds.
pub fn initial(ranges: &[Descriptor]) -> Vec<Change> {
    let mut out = vec![
        (ceiling_key(), Some(revision_value(Revision::FIRST))),
        (compacted_key(), Some(revision_value(Revision::ZERO))),
    ];
    for d in ranges {
        let mut v = Vec::new();
        d.encode(&mut v);
        out.push((range_key(d.id), Some(Bytes::from(v))));
    }
    out
}

impl Meta {
    /// Reads the records.
    pub fn load(read: &impl Read) -> Result<Meta> {
        Ok(Meta { ceiling: revision(read, &ceiling_key())?, compacted: revision(read, &compacted_key())? })
    }

    /// Takes a committed change in.
    pub fn absorb(&mut self, key: &Key, value: Option<&Bytes>) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        if *key == ceiling_key() {
            self.ceiling = Revision(get_u64(&mut value.clone())?);
        } else if *key == compacted_key() {
            self.compacted = Revision(get_u64(&mut value.clone())?);
        }
        Ok(())
    }
}

fn revision(read: &impl Read, key: &Key) -> Result<Revision> {
    match read.get(Cf::Data, &keys::plain(key))? {
        None => Ok(Revision::ZERO),
        Some(mut v) => Ok(Revision(get_u64(&mut v)?)),
    }
}

//! Bootstrap of an empty store, and reading a store back.

use crate::depth::Heard;
use base::codec::{get_bytes, get_u64, put_bytes, put_u64};
use base::{
    BootId, ClusterId, Descriptor, Epoch, Error, Incarnation, Place, RangeId, ReplicaId, Result, Span, StoreId, Tick,
};
use bytes::Bytes;
use engine::{Batch, Cf, Engine, Read, keys};
use placement::record;
use range::state;
use std::collections::BTreeMap;

/// What a cluster is founded with: the same on every store, or they are not one cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Founding {
    pub cluster: ClusterId,
    /// All stores, ascending.
    pub stores: Vec<StoreId>,
    /// Users' keys at which ranges begin, ascending, none empty.
    pub split_keys: Vec<base::Key>,
    /// Replicas per range (at most one per store).
    pub replication: usize,
}

/// Who a store is: written once, when its directory is initialised.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    pub cluster: ClusterId,
    pub store: StoreId,
    pub boot: BootId,
    /// Of what the cluster was founded with.
    pub founding: u64,
}

impl Founding {
    /// The meta range and the users' ranges.
    pub fn ranges(&self) -> Vec<Descriptor> {
        let n = self.stores.len();
        assert!(n > 0, "a cluster has stores");
        let epoch = Epoch { conf: 1, version: 1 };
        let place = |first: usize, count: usize| -> Vec<Place> {
            let on = |i: usize| Place { replica: ReplicaId(i as u64 + 1), store: self.stores[(first + i) % n] };
            (0..count.min(n)).map(on).collect()
        };
        let meta = Descriptor { id: RangeId::META, span: Span::system(), epoch, replicas: place(0, 5) };
        let mut out = vec![meta];
        let mut start = Span::users().start;
        let ends = self.split_keys.iter().cloned().chain([Span::users().end]);
        for (i, end) in ends.enumerate() {
            let span = Span::new(start, end.clone());
            // Ranges whose replicas fit everywhere begin at the same store, beside the sequencer.
            let first = if self.replication >= n { 0 } else { i % n };
            out.push(Descriptor { id: RangeId(i as u64 + 2), span, epoch, replicas: place(first, self.replication) });
            start = end;
        }
        out
    }

    /// Tells foundings apart.
    pub fn fingerprint(&self) -> u64 {
        let mut bytes = Vec::new();
        for d in self.ranges() {
            d.encode(&mut bytes);
        }
        // FNV-1a: small, fixed for ever, not for secrets.
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
    }
}

const IDENTITY: &str = "identity";
const INCARNATION: &str = "incarnation";
const DIRECTORY: &str = "directory";
/// The name of the record with the bound of compaction.
pub const BOUND: &str = "filter bound";
const PROMISED: &str = "longest promise";
const DEPTH: &str = "depth";
const HEARD: &str = "depth of peers";

/// Who is on this disk; `None` when it is empty.
pub fn identity(read: &impl Read) -> Result<Option<Identity>> {
    let Some(mut b) = read.get(Cf::Data, &keys::store(IDENTITY))? else { return Ok(None) };
    let (cluster, store) = (ClusterId(get_u64(&mut b)?), StoreId(get_u64(&mut b)?));
    Ok(Some(Identity { cluster, store, boot: BootId(get_u64(&mut b)?), founding: get_u64(&mut b)? }))
}

/// Initialises an empty store, in one durable batch.
pub fn bootstrap(engine: &impl Engine, founding: &Founding, store: StoreId, boot: BootId) -> Result<()> {
    let mut batch = Batch::new();
    let ranges = founding.ranges();
    for d in ranges.iter().filter(|d| d.on(store).is_some()) {
        state::write_initial(&mut batch, d);
    }
    if ranges[0].on(store).is_some() {
        for (key, value) in record::initial(&ranges) {
            batch.put(Cf::Data, keys::plain(&key), value.unwrap_or_default());
        }
    }
    let mut directory = Vec::new();
    put_u64(&mut directory, ranges.len() as u64);
    for d in &ranges {
        d.encode(&mut directory);
    }
    batch.put(Cf::Data, keys::store(DIRECTORY), directory);
    let mut identity = Vec::new();
    for v in [founding.cluster.0, store.0, boot.0, founding.fingerprint()] {
        put_u64(&mut identity, v);
    }
    batch.put(Cf::Data, keys::store(IDENTITY), identity);
    engine.write(&batch, true)
}

/// The directory as founded.
pub fn directory(read: &impl Read) -> Result<Vec<Descriptor>> {
    let missing = || Error::corrupt("the store has an identity but no directory: it lost data; replace the node");
    let mut b = read.get(Cf::Data, &keys::store(DIRECTORY))?.ok_or_else(missing)?;
    let n = get_u64(&mut b)?;
    (0..n).map(|_| Descriptor::decode(&mut b)).collect()
}

/// Raises the incarnation, durably: before the first beat of this life. Returns it, and for how long any life up to
/// this one may have promised support: `promise` is the longest that this one will.
pub fn raise_incarnation(engine: &impl Engine, promise: Tick) -> Result<(Incarnation, Tick)> {
    let before = match engine.get(Cf::Data, &keys::store(INCARNATION))? {
        Some(mut b) => get_u64(&mut b)?,
        None => 0,
    };
    let mut batch = Batch::new();
    let mut value = Vec::new();
    put_u64(&mut value, before + 1);
    batch.put(Cf::Data, keys::store(INCARNATION), value);
    let longest = match engine.get(Cf::Data, &keys::store(PROMISED))? {
        Some(mut b) => promise.max(Tick(get_u64(&mut b)?)),
        None => promise,
    };
    let mut value = Vec::new();
    put_u64(&mut value, longest.0);
    batch.put(Cf::Data, keys::store(PROMISED), value);
    engine.write(&batch, true)?;
    Ok((Incarnation(before + 1), longest))
}

/// The persisted bound of the compaction filter.
pub fn bound(read: &impl Read) -> Result<base::Revision> {
    match read.get(Cf::Data, &keys::store(BOUND))? {
        Some(mut b) => Ok(base::Revision(get_u64(&mut b)?)),
        None => Ok(base::Revision::ZERO),
    }
}

/// Persists a bound; the filter may use it when the batch is durable.
pub fn put_bound(batch: &mut Batch, bound: base::Revision) {
    batch.put(Cf::Data, keys::store(BOUND), record::revision_value(bound));
}

/// How many synced writes this store has made.
pub(crate) fn depth(read: &impl Read) -> Result<u64> {
    read.get(Cf::Data, &keys::store(DEPTH))?.map_or(Ok(0), |mut b| get_u64(&mut b))
}

pub(crate) fn put_depth(batch: &mut Batch, depth: u64) {
    let mut value = Vec::with_capacity(10);
    put_u64(&mut value, depth);
    batch.put(Cf::Data, keys::store(DEPTH), value);
}

/// What is remembered of the depths of peers.
pub(crate) fn heard(read: &impl Read) -> Result<BTreeMap<StoreId, Heard>> {
    let mut out = BTreeMap::new();
    let Some(mut b) = read.get(Cf::Data, &keys::store(HEARD))? else { return Ok(out) };
    while !b.is_empty() {
        let (store, life) = (StoreId(get_u64(&mut b)?), Incarnation(get_u64(&mut b)?));
        out.insert(store, Heard { life, depth: get_u64(&mut b)?, ..Heard::default() });
    }
    Ok(out)
}

pub(crate) fn put_heard(batch: &mut Batch, heard: &BTreeMap<StoreId, Heard>) {
    let mut value = Vec::with_capacity(16 * heard.len());
    for (store, h) in heard {
        let (life, depth) = h.to_keep();
        for v in [store.0, life.0, depth] {
            put_u64(&mut value, v);
        }
    }
    batch.put(Cf::Data, keys::store(HEARD), value);
}

/// The boot ids of peers, as first met.
pub fn known_boot(read: &impl Read, name: &str) -> Result<Option<BootId>> {
    match read.get(Cf::Data, &keys::store(&format!("boot/{name}")))? {
        Some(mut b) => Ok(Some(BootId(get_u64(&mut b)?))),
        None => Ok(None),
    }
}

/// Remembers a peer's boot id for ever.
pub fn remember_boot(engine: &impl Engine, name: &str, boot: BootId) -> Result<()> {
    let mut batch = Batch::new();
    let mut value = Vec::new();
    put_u64(&mut value, boot.0);
    batch.put(Cf::Data, keys::store(&format!("boot/{name}")), value);
    engine.write(&batch, true)
}

/// Chunk of raw records, as snapshots carry them.
pub fn put_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    put_bytes(out, key);
    put_bytes(out, value);
}

/// The next raw record of a chunk.
pub fn get_record(b: &mut Bytes) -> Result<(Bytes, Bytes)> {
    Ok((get_bytes(b)?, get_bytes(b)?))
}

/// Reads about `bytes` bytes of raw records from `from` on; the key to go on from, `None` at the end.
pub fn read_chunk(view: &impl Read, from: &Bytes, to: &Bytes, bytes: usize) -> Result<(Bytes, Option<Bytes>)> {
    let mut out = Vec::with_capacity(bytes + bytes / 8);
    let mut cursor = view.cursor(Cf::Data, from, to)?;
    cursor.seek_first();
    while let Some((k, v)) = cursor.item() {
        if out.len() >= bytes {
            return Ok((Bytes::from(out), Some(Bytes::copy_from_slice(k))));
        }
        put_record(&mut out, k, v);
        cursor.next();
    }
    cursor.status()?;
    Ok((Bytes::from(out), None))
}

//! The range's own records on disk, and how a replica is read back at boot.

use base::codec::{get_u64, put_u64};
use base::{Descriptor, Error, Index, RangeId, Result, Revision, Term};
use bytes::Bytes;
use engine::{Batch, Cf, Engine, Read, keys};
use raft::{Entry, HardState, LogBounds};

/// Where the log of a range begins that was created at bootstrap: as if entries up to here had been applied.
pub const FIRST_INDEX: Index = Index(5);
/// The term of what bootstrap wrote.
pub const FIRST_TERM: Term = Term(1);

/// The position of a replica's state; always in the same batch as the state.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Applied {
    pub index: Index,
    pub term: Term,
    /// The largest revision applied.
    pub max_revision: Revision,
    /// Live keys in the span, at this state.
    pub live: u64,
}

impl Applied {
    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(24);
        for v in [self.index.0, self.term.0, self.max_revision.0, self.live] {
            put_u64(&mut out, v);
        }
        Bytes::from(out)
    }
    /// From its bytes.
    pub fn decode(mut b: Bytes) -> Result<Applied> {
        Ok(Applied {
            index: Index(get_u64(&mut b)?),
            term: Term(get_u64(&mut b)?),
            max_revision: Revision(get_u64(&mut b)?),
            live: get_u64(&mut b)?,
        })
    }
}

/// `index@term` as a record.
pub fn encode_position(index: Index, term: Term) -> Bytes {
    let mut out = Vec::with_capacity(12);
    put_u64(&mut out, index.0);
    put_u64(&mut out, term.0);
    Bytes::from(out)
}

fn decode_position(mut b: Bytes) -> Result<(Index, Term)> {
    Ok((Index(get_u64(&mut b)?), Term(get_u64(&mut b)?)))
}

/// Writes what a replica begins with: at bootstrap the same bytes on every store.
pub fn write_initial(batch: &mut Batch, d: &Descriptor) {
    let applied = Applied { index: FIRST_INDEX, term: FIRST_TERM, max_revision: Revision::FIRST, live: 0 };
    let mut bytes = Vec::new();
    d.encode(&mut bytes);
    batch.put(Cf::Data, keys::local(d.id, keys::local::DESCRIPTOR), bytes);
    batch.put(Cf::Data, keys::local(d.id, keys::local::APPLIED), applied.encode());
    batch.put(Cf::Data, keys::local(d.id, keys::local::TRUNCATED), encode_position(FIRST_INDEX, FIRST_TERM));
    let mut hard = Vec::new();
    HardState { term: FIRST_TERM, vote: None }.encode(&mut hard);
    batch.put(Cf::Log, keys::hard(d.id), hard);
}

/// A replica's records as read from a view.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub descriptor: Descriptor,
    pub applied: Applied,
    pub hard: HardState,
    pub log: LogBounds,
    /// Bytes of entries in the log.
    pub log_bytes: u64,
}

/// Reads a replica's records. When the log does not hold the applied entry at its term, it belongs to an earlier life
/// of the replica (a crash fell between ingesting a snapshot and resetting the log): `reset` gets what mends it.
pub fn load(read: &impl Read, range: RangeId, reset: &mut Batch) -> Result<Loaded> {
    let need = |kind: u8, what: &str| -> Result<Bytes> {
        read.get(Cf::Data, &keys::local(range, kind))?.ok_or_else(|| {
            Error::corrupt(format!("{range} has no {what} record: its store lost data; replace the node"))
        })
    };
    let descriptor = Descriptor::decode(&mut need(keys::local::DESCRIPTOR, "descriptor")?)?;
    let applied = Applied::decode(need(keys::local::APPLIED, "applied")?)?;
    let truncated = decode_position(need(keys::local::TRUNCATED, "truncated")?)?;
    let hard = match read.get(Cf::Log, &keys::hard(range))? {
        Some(mut b) => HardState::decode(&mut b)?,
        None => {
            return Err(Error::corrupt(format!("{range} has no hard state: its store lost data; replace the node")));
        }
    };
    if read.get(Cf::Data, &keys::local(range, keys::local::LOG_RESET))?.is_some() {
        base::marker!("boot.log dropped behind a snapshot");
        drop_log(read, range, reset)?;
        reset.delete(Cf::Data, keys::local(range, keys::local::LOG_RESET));
        let log = LogBounds { truncated, last: truncated };
        return Ok(Loaded { descriptor, applied, hard, log, log_bytes: 0 });
    }
    let mut last = truncated;
    let mut log_bytes = 0;
    let mut at_applied = (truncated.0 == applied.index).then_some(truncated.1);
    let (lower, upper) = (keys::entry(range, truncated.0.next()), keys::entry(range, Index(u64::MAX)));
    let mut cursor = read.cursor(Cf::Log, &lower, &upper)?;
    cursor.seek_first();
    while let Some((k, v)) = cursor.item() {
        let index = keys::entry_index(k)?;
        let entry = Entry::decode(&mut Bytes::copy_from_slice(v))?;
        if index != last.0.next() || entry.index != index || entry.term < last.1 {
            let text =
                format!("the log of {range} jumps from {} to {}: its store lost data; replace the node", last.0, entry);
            return Err(Error::corrupt(text));
        }
        if index == applied.index {
            at_applied = Some(entry.term);
        }
        log_bytes += v.len() as u64;
        last = (index, entry.term);
        cursor.next();
    }
    cursor.status()?;
    drop(cursor);
    if at_applied != Some(applied.term) {
        base::marker!("boot.log reset to applied");
        drop_log(read, range, reset)?;
        let here = (applied.index, applied.term);
        reset.put(Cf::Data, keys::local(range, keys::local::TRUNCATED), encode_position(here.0, here.1));
        return Ok(Loaded { descriptor, applied, hard, log: LogBounds { truncated: here, last: here }, log_bytes: 0 });
    }
    Ok(Loaded { descriptor, applied, hard, log: LogBounds { truncated, last }, log_bytes })
}

/// Deletes every entry of a range's log.
pub fn drop_log(read: &impl Read, range: RangeId, batch: &mut Batch) -> Result<()> {
    let mut cursor = read.cursor(Cf::Log, &keys::entry(range, Index(0)), &keys::entry(range, Index(u64::MAX)))?;
    cursor.seek_first();
    while let Some((k, _)) = cursor.item() {
        batch.delete(Cf::Log, Bytes::copy_from_slice(k));
        cursor.next();
    }
    cursor.status()
}

/// A range's durable log, as the Raft core reads it.
pub struct Log<'a, E> {
    pub engine: &'a E,
    pub range: RangeId,
}

impl<E: Engine> raft::LogRead for Log<'_, E> {
    fn term(&self, index: Index) -> Option<Term> {
        let bytes = self.engine.get(Cf::Log, &keys::entry(self.range, index)).ok()??;
        Entry::decode(&mut bytes.clone()).ok().map(|e| e.term)
    }

    fn entries(&self, from: Index, to: Index, max_bytes: usize) -> Result<Vec<Entry>> {
        let mut out = Vec::new();
        let mut bytes = 0;
        let mut cursor =
            self.engine.cursor(Cf::Log, &keys::entry(self.range, from), &keys::entry(self.range, to.next()))?;
        cursor.seek_first();
        while let Some((_, v)) = cursor.item() {
            if bytes > 0 && bytes + v.len() > max_bytes {
                break;
            }
            bytes += v.len();
            out.push(Entry::decode(&mut Bytes::copy_from_slice(v))?);
            cursor.next();
        }
        cursor.status()?;
        Ok(out)
    }
}

//! A history that can be told again from its length alone: step `i` writes what `step(i)` says, always the same, so that
//! whoever finds a store knows from its counter what all of it must be.

use base::{Key, Revision, Rng};
use bytes::Bytes;
use engine::{Batch, Cf, Engine, Op, Read, keys};
use rocks::{Rocks, Settings};
use std::collections::BTreeMap;

/// Small memtables: much is flushed and compacted in a short time.
pub fn settings() -> Settings {
    Settings {
        cache_bytes: 4 << 20,
        log_memtable_bytes: 128 << 10,
        data_memtable_bytes: 64 << 10,
        ..Settings::default()
    }
}

/// One step of the history.
pub enum Step {
    /// A batch, synced or not.
    Write(Batch, bool),
    /// An ingestion: cleared span, staged records, what comes after.
    Ingest((Bytes, Bytes), Vec<(Bytes, Bytes)>, Batch),
}

fn data_key(rng: &mut Rng) -> Bytes {
    keys::version(&Key::user(format!("key{:03}", rng.below(150)).as_bytes()), Revision(1 + rng.below(3)))
}

fn value(i: u64, rng: &mut Rng) -> Bytes {
    let mut v = format!("step {i} ").into_bytes();
    // Noise, so that compression does not make the files too small to be hit.
    v.extend((0..rng.below(400)).map(|_| rng.next_u64() as u8));
    Bytes::from(v)
}

/// The counter, in both families.
pub const COUNT: &[u8] = b"\x01count";

pub fn count(from: &impl Read, cf: Cf) -> base::Result<u64> {
    let bytes = from.get(cf, COUNT)?.unwrap_or_default();
    Ok(<[u8; 8]>::try_from(&bytes[..]).map_or(0, u64::from_be_bytes))
}

/// Step `i`, the first being 1.
pub fn step(i: u64) -> Step {
    let mut rng = Rng::new(i.wrapping_mul(0x1234_5678_9abc_def1));
    let mut batch = Batch::new();
    for cf in [Cf::Log, Cf::Data] {
        batch.put(cf, COUNT, i.to_be_bytes().to_vec());
    }
    batch.put(Cf::Log, keys::entry(base::RangeId(rng.below(5)), base::Index(i)), value(i, &mut rng));
    if i > 40 {
        for range in 0..5 {
            batch.delete(Cf::Log, keys::entry(base::RangeId(range), base::Index(i - 40)));
        }
    }
    for _ in 0..rng.below(12) {
        match rng.below(10) {
            0..=7 => batch.put(Cf::Data, data_key(&mut rng), value(i, &mut rng)),
            8 => batch.delete(Cf::Data, data_key(&mut rng)),
            _ if rng.chance(100_000) => batch.delete_range(Cf::Data, data_key(&mut rng), data_key(&mut rng)),
            _ => {}
        }
    }
    if !i.is_multiple_of(97) {
        return Step::Write(batch, i.is_multiple_of(8));
    }
    let (a, b) = (data_key(&mut rng), data_key(&mut rng));
    let sorted: BTreeMap<Bytes, Bytes> = (0..20).map(|_| (data_key(&mut rng), value(i, &mut rng))).collect();
    Step::Ingest((a, b), sorted.into_iter().collect(), batch)
}

/// Does step `i` on the store. True when it is durable.
pub fn perform(rocks: &Rocks, i: u64) -> base::Result<bool> {
    match step(i) {
        Step::Write(batch, sync) => rocks.write(&batch, sync).map(|()| sync),
        Step::Ingest(clear, records, then) => {
            let mut stage = rocks.stage()?;
            for (k, v) in &records {
                stage.put(k, v)?;
            }
            stage.finish()?;
            rocks.ingest(stage, &[clear], &then)?;
            Ok(true)
        }
    }
}

#[allow(dead_code)] // flips.rs kills nobody
/// What a boot does after a crash in the middle of an ingestion: data and position are there, the log is not.
pub fn repair(rocks: &Rocks) -> base::Result<()> {
    let (log, data) = (count(rocks, Cf::Log)?, count(rocks, Cf::Data)?);
    if log == data {
        return Ok(());
    }
    let Step::Ingest(_, _, then) = step(data) else {
        panic!("log at {log}, data at {data}: only an ingestion may be torn between the families");
    };
    assert_eq!(log + 1, data, "the log may miss one ingestion's part only");
    let (_, log) = engine::batch::by_family(&then);
    rocks.write(&log, true)
}

/// All records after so many steps.
#[derive(Clone, Default)]
pub struct Model {
    pub steps: u64,
    pub records: BTreeMap<(Cf, Bytes), Bytes>,
}

impl Model {
    pub fn advance(&mut self, to: u64) {
        while self.steps < to {
            self.steps += 1;
            let batch = match step(self.steps) {
                Step::Write(batch, _) => batch,
                Step::Ingest((start, end), records, then) => {
                    self.clear(Cf::Data, &start, &end);
                    self.records.extend(records.into_iter().map(|(k, v)| ((Cf::Data, k), v)));
                    then
                }
            };
            for op in batch.ops() {
                match op {
                    Op::Put(cf, k, v) => {
                        self.records.insert((*cf, k.clone()), v.clone());
                    }
                    Op::Delete(cf, k) => {
                        self.records.remove(&(*cf, k.clone()));
                    }
                    Op::DeleteRange(cf, s, e) => self.clear(*cf, s, e),
                }
            }
        }
    }

    fn clear(&mut self, cf: Cf, start: &Bytes, end: &Bytes) {
        self.records.retain(|(c, k), _| *c != cf || k < start || k >= end);
    }
}

/// Every record of the store, both ways and one by one, or the error that reading met.
pub fn read_all(rocks: &Rocks) -> base::Result<BTreeMap<(Cf, Bytes), Bytes>> {
    let mut found = BTreeMap::new();
    for cf in [Cf::Log, Cf::Data] {
        let mut cursor = rocks.cursor(cf, &[0], &[0xff; 64])?;
        cursor.seek_first();
        while let Some((k, v)) = cursor.item() {
            found.insert((cf, Bytes::copy_from_slice(k)), Bytes::copy_from_slice(v));
            cursor.next();
        }
        cursor.status()?;
        let mut backwards = 0;
        cursor.seek_last();
        while cursor.item().is_some() {
            backwards += 1;
            cursor.prev();
        }
        cursor.status()?;
        assert_eq!(backwards, found.keys().filter(|(c, _)| *c == cf).count(), "both ways see the same");
    }
    for ((cf, k), v) in &found {
        assert_eq!(rocks.get(*cf, k)?.as_ref(), Some(v));
    }
    Ok(found)
}

/// The rounds asked for by the environment, or the short form's.
pub fn rounds(short: u64) -> u64 {
    std::env::var("FLOTILLA_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(short)
}

/// A seed from the environment, or a fixed one.
pub fn seed() -> u64 {
    std::env::var("FLOTILLA_CRASH_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

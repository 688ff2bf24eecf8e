//! Reading: the newest state or a frozen one, from disk or only from memory.

use crate::Inner;
use base::{Error, Kind, Result};
use bytes::Bytes;
use engine::{Cf, Cursor, Read};
use rocksdb::{DB, DBRawIterator, ReadOptions, ReadTier, Snapshot};
use std::sync::Arc;

/// Where a read may go for its blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Anywhere.
    All,
    /// Memtables and block cache only.
    Cached,
}

/// For reads of any kind. Without total order RocksDB asks its filters for the name of the key that is sought, and finds
/// nothing where that key itself does not exist.
pub(crate) fn options(tier: Tier) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    if tier == Tier::Cached {
        options.set_read_tier(ReadTier::BlockCache);
    }
    options
}

/// A snapshot and the options that name it; both borrow from the database.
struct Frozen<'a> {
    all: ReadOptions,
    cached: ReadOptions,
    snapshot: Snapshot<'a>,
}

self_cell::self_cell!(
    struct Owned {
        owner: Arc<Inner>,
        #[covariant]
        dependent: Frozen,
    }
);

/// A frozen state. Keeps the store open as long as it lives.
pub struct View {
    owned: Owned,
}

impl View {
    pub(crate) fn new(inner: Arc<Inner>) -> View {
        let owned = Owned::new(inner, |inner| {
            let snapshot = inner.db().snapshot();
            let (mut all, mut cached) = (options(Tier::All), options(Tier::Cached));
            all.set_snapshot(&snapshot);
            cached.set_snapshot(&snapshot);
            Frozen { all, cached, snapshot }
        });
        View { owned }
    }

    fn walk(&self, cf: Cf, bounds: (&[u8], &[u8]), tier: Tier) -> Box<dyn Cursor + '_> {
        let mut options = options(tier);
        options.set_snapshot(&self.owned.borrow_dependent().snapshot);
        cursor(self.owned.borrow_owner(), cf, bounds, options)
    }
}

impl Read for View {
    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Bytes>> {
        get(self.owned.borrow_owner(), cf, key, &self.owned.borrow_dependent().all)
    }
    fn cursor(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        Ok(self.walk(cf, (lower, upper), Tier::All))
    }
    fn try_get(&self, cf: Cf, key: &[u8]) -> Option<Result<Option<Bytes>>> {
        known(get(self.owned.borrow_owner(), cf, key, &self.owned.borrow_dependent().cached))
    }
    fn try_cursor(&self, cf: Cf, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        Ok(self.walk(cf, (lower, upper), Tier::Cached))
    }
}

pub(crate) fn get(inner: &Inner, cf: Cf, key: &[u8], options: &ReadOptions) -> Result<Option<Bytes>> {
    match inner.db().get_pinned_cf_opt(inner.family(cf), key, options) {
        Ok(value) => Ok(value.map(|v| Bytes::copy_from_slice(&v))),
        Err(e) => Err(inner.explain("cannot read", &e)),
    }
}

/// A read that found no block in memory knows nothing.
pub(crate) fn known(read: Result<Option<Bytes>>) -> Option<Result<Option<Bytes>>> {
    match read {
        Err(Error { kind: Kind::Retry, .. }) => None,
        other => Some(other),
    }
}

pub(crate) fn cursor<'a>(
    inner: &'a Inner,
    cf: Cf,
    (lower, upper): (&[u8], &[u8]),
    mut options: ReadOptions,
) -> Box<dyn Cursor + 'a> {
    if lower >= upper {
        // RocksDB leaves open what inverted bounds mean.
        return Box::new(Empty);
    }
    // Versions of one key: memtables and files that have none of them say so without a search.
    options.set_total_order_seek(cf != Cf::Data || !engine::keys::are_of_one_key(lower, upper));
    options.set_iterate_lower_bound(lower);
    options.set_iterate_upper_bound(upper);
    Box::new(Walk { iterator: inner.db().raw_iterator_cf_opt(inner.family(cf), options), inner })
}

/// A cursor between inverted bounds.
struct Empty;

impl Cursor for Empty {
    fn seek(&mut self, _: &[u8]) {}
    fn seek_for_prev(&mut self, _: &[u8]) {}
    fn seek_first(&mut self) {}
    fn seek_last(&mut self) {}
    fn next(&mut self) {}
    fn prev(&mut self) {}
    fn item(&self) -> Option<(&[u8], &[u8])> {
        None
    }
    fn status(&self) -> Result<()> {
        Ok(())
    }
}

struct Walk<'a> {
    iterator: DBRawIterator<'a>,
    inner: &'a Inner,
}

impl Cursor for Walk<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.iterator.seek(key);
    }
    fn seek_for_prev(&mut self, key: &[u8]) {
        self.iterator.seek_for_prev(key);
    }
    fn seek_first(&mut self) {
        self.iterator.seek_to_first();
    }
    fn seek_last(&mut self) {
        self.iterator.seek_to_last();
    }
    fn next(&mut self) {
        // RocksDB does not allow a step from off the end.
        if self.iterator.valid() {
            self.iterator.next();
        }
    }
    fn prev(&mut self) {
        if self.iterator.valid() {
            self.iterator.prev();
        }
    }
    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.iterator.item()
    }
    fn key(&self) -> Option<&[u8]> {
        self.iterator.key()
    }
    fn status(&self) -> Result<()> {
        self.iterator.status().map_err(|e| self.inner.explain("cannot read", &e))
    }
}

/// Walks over everything, blocks checked and not cached; returns the number of records.
pub(crate) fn verify(inner: &Inner) -> Result<u64> {
    let mut count = 0;
    for cf in [Cf::Log, Cf::Data] {
        let mut options = options(Tier::All);
        options.fill_cache(false);
        let db: &DB = inner.db();
        let mut iterator = db.raw_iterator_cf_opt(inner.family(cf), options);
        iterator.seek_to_first();
        while iterator.valid() {
            count += 1;
            iterator.next();
        }
        iterator.status().map_err(|e| inner.explain("cannot read", &e))?;
    }
    Ok(count)
}

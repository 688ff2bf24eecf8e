//! One column family in memory: each key has its newest value and those older ones that a live view still sees.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

/// The views that are alive: the sequence number each was taken at, and how many share it.
pub(super) type Views = BTreeMap<u64, usize>;

/// What a key holds. A value of `None` is a delete that an older view does not know of yet.
///
/// Invariants: `older` ascends in sequence numbers, all below `seq`; no key is kept whose only value is a delete.
#[derive(Clone, Debug)]
struct Chain {
    seq: u64,
    value: Option<Bytes>,
    older: Vec<(u64, Option<Bytes>)>,
}

impl Chain {
    fn at(&self, seq: u64) -> Option<&Bytes> {
        if self.seq <= seq {
            return self.value.as_ref();
        }
        self.older.iter().rev().find(|(s, _)| *s <= seq).and_then(|(_, v)| v.as_ref())
    }
}

/// A column family: all keys, at every sequence number that a live view needs.
#[derive(Clone, Default, Debug)]
pub(super) struct Table {
    chains: BTreeMap<Bytes, Chain>,
    /// Keys that hold more than their newest value.
    stale: Vec<Bytes>,
    /// Older values kept since the last sweep, and how many that sweep left.
    kept: usize,
    swept: usize,
    bytes: u64,
}

impl Table {
    /// The value at `key` as of `seq`.
    pub(super) fn get(&self, key: &[u8], seq: u64) -> Option<&Bytes> {
        self.chains.get(key)?.at(seq)
    }

    /// Keys and newest values, in order.
    pub(super) fn newest(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.chains.iter().filter_map(|(k, c)| Some((k, c.value.as_ref()?)))
    }

    /// Bytes of keys and newest values.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Sets or deletes; returns what was there. `views` says which older values must stay.
    pub(super) fn set(&mut self, key: &Bytes, value: Option<Bytes>, seq: u64, views: &Views) -> Option<Bytes> {
        self.bytes += value.as_ref().map_or(0, |v| (key.len() + v.len()) as u64);
        let mut entry = match self.chains.entry(key.clone()) {
            Entry::Vacant(place) => {
                if value.is_some() {
                    place.insert(Chain { seq, value, older: Vec::new() });
                }
                return None;
            }
            Entry::Occupied(entry) => entry,
        };
        let chain = entry.get_mut();
        let prior = chain.value.clone();
        self.bytes -= prior.as_ref().map_or(0, |v| (key.len() + v.len()) as u64);
        // Every live view is older than `seq`, so the newest of them decides.
        if views.last_key_value().is_some_and(|(view, _)| *view >= chain.seq) {
            if chain.older.is_empty() {
                self.stale.push(key.clone());
            }
            self.kept += 1;
            chain.older.push((chain.seq, chain.value.take()));
        }
        (chain.seq, chain.value) = (seq, value);
        if chain.value.is_none() && chain.older.is_empty() {
            entry.remove();
        }
        prior
    }

    /// The keys within `[start, end)` that have a newest value.
    pub(super) fn keys(&self, start: &[u8], end: &[u8]) -> Vec<Bytes> {
        self.span(start, end).filter(|(_, c)| c.value.is_some()).map(|(k, _)| k.clone()).collect()
    }

    /// The keys within `[start, end)` whose newest value was written at or before `seq`.
    pub(super) fn keys_until(&self, start: &[u8], end: &[u8], seq: u64) -> Vec<Bytes> {
        self.span(start, end).filter(|(_, c)| c.value.is_some() && c.seq <= seq).map(|(k, _)| k.clone()).collect()
    }

    fn span(&self, start: &[u8], end: &[u8]) -> impl DoubleEndedIterator<Item = (&Bytes, &Chain)> {
        // An empty or inverted span is empty here; BTreeMap would panic.
        let end = if start < end { end } else { start };
        self.chains.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end)))
    }

    /// Forgets a key at every sequence number, whoever looks: what a compaction filter does.
    pub(super) fn purge(&mut self, key: &[u8]) {
        if let Some((key, chain)) = self.chains.remove_entry(key) {
            self.bytes -= chain.value.map_or(0, |v| (key.len() + v.len()) as u64);
        }
    }

    /// Forgets values that no live view sees. Cheap to call often: it works only when that pays.
    pub(super) fn sweep(&mut self, views: &Views) {
        if self.stale.is_empty() || (!views.is_empty() && self.kept < self.swept + 64) {
            return;
        }
        let mut stale = std::mem::take(&mut self.stale);
        (self.kept, self.swept) = (0, 0);
        stale.retain(|key| {
            let Some(chain) = self.chains.get_mut(key) else { return false };
            let mut next = chain.seq;
            for i in (0..chain.older.len()).rev() {
                let seq = chain.older[i].0;
                if views.range(seq..next).next().is_none() {
                    chain.older.remove(i);
                }
                next = seq;
            }
            if chain.older.is_empty() && chain.value.is_none() {
                self.chains.remove(key);
                return false;
            }
            self.swept += chain.older.len();
            !chain.older.is_empty()
        });
        self.stale = stale;
    }

    /// Up to `max` records as of `seq`, ascending from `from`, below `upper`.
    pub(super) fn ahead(&self, from: Bound<&[u8]>, upper: &[u8], seq: u64, max: usize) -> Vec<(Bytes, Bytes)> {
        let (Bound::Included(start) | Bound::Excluded(start)) = from else { unreachable!("a cursor has two bounds") };
        if start >= upper {
            return Vec::new();
        }
        let range = self.chains.range::<[u8], _>((from, Bound::Excluded(upper)));
        range.filter_map(|(k, c)| Some((k.clone(), c.at(seq)?.clone()))).take(max).collect()
    }

    /// Up to `max` records as of `seq`, descending from `from`, not below `lower`.
    pub(super) fn back(&self, from: Bound<&[u8]>, lower: &[u8], seq: u64, max: usize) -> Vec<(Bytes, Bytes)> {
        let empty = match from {
            Bound::Included(start) => start < lower,
            Bound::Excluded(start) => start <= lower,
            Bound::Unbounded => unreachable!("a cursor has two bounds"),
        };
        if empty {
            return Vec::new();
        }
        let range = self.chains.range::<[u8], _>((Bound::Included(lower), from)).rev();
        range.filter_map(|(k, c)| Some((k.clone(), c.at(seq)?.clone()))).take(max).collect()
    }

    /// How many values are kept beside the newest ones.
    #[cfg(test)]
    pub(super) fn older(&self) -> usize {
        self.chains.values().map(|c| c.older.len() + usize::from(c.value.is_none())).sum()
    }
}

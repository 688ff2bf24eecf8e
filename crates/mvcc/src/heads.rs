//! Heads: what a put needs of the version before it, for keys that were written here lately.
//!
//! A put asks for the newest version of its key, for create revision and version count only. A seek in the engine costs
//! as much as all the rest of an evaluation; this table answers for the keys it remembers. The leader notes every version
//! that leaves its overlay for the engine, so what it remembers of a key is what the engine holds, as long as the same
//! leadership lasts: each leadership gets an [`Owner`] of its own, and what another owner noted does not count.
//!
//! The table has a bound, and forgets: buckets of eight, the oldest version goes first. Which keys share a bucket depends on
//! their bytes alone, so two runs forget the same.

use crate::record::Record;
use base::{Key, Revision};

/// Keys remembered at most; 68 bytes each, and a long key's own.
const MOST_SLOTS: usize = 1 << 18;
/// Slots to begin with.
const FIRST_SLOTS: usize = 1 << 6;
/// A longer key is not remembered.
const LONGEST_KEY: usize = 128;
/// A key up to this length needs no memory of its own.
const SHORT_KEY: usize = 22;
/// Slots of one bucket.
const WAYS: usize = 8;

/// A version without its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its revision.
    pub modified: Revision,
    /// As in [`Record`].
    pub create: Revision,
    /// As in [`Record`]: 0 in a delete mark.
    pub version: u64,
    /// As in [`Record`].
    pub lease: i64,
}

impl Head {
    /// Of this version.
    pub fn of(modified: Revision, record: &Record) -> Head {
        Head { modified, create: record.create, version: record.version, lease: record.lease }
    }
    /// A delete mark is not live.
    pub fn is_live(&self) -> bool {
        self.version != 0
    }
}

/// Whose notes count: one per leadership of one range.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Owner(u32);

struct Slot {
    owner: Owner,
    key: Name,
    head: Head,
}

/// A key; a short one needs no memory of its own, so that a slot is one cache line, and all that a lookup touches beside
/// the tags of its bucket.
enum Name {
    Short(u8, [u8; SHORT_KEY]),
    Long(Box<[u8]>),
}

const _: () = assert!(size_of::<Option<Slot>>() == 64);

impl Name {
    fn new(key: &[u8]) -> Name {
        let mut short = [0; SHORT_KEY];
        match short.get_mut(..key.len()) {
            Some(room) => {
                room.copy_from_slice(key);
                Name::Short(key.len() as u8, short)
            }
            None => Name::Long(key.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Name::Short(len, bytes) => &bytes[..usize::from(*len)],
            Name::Long(bytes) => bytes,
        }
    }
}

/// The newest versions of keys written lately, in a table with a bound.
///
/// Invariants: a key is in the bucket of its hash, at most once; there are no or a power of two of slots; a slot's tag is
/// its key's hash, 0 while it is free.
#[derive(Default)]
pub struct Heads {
    slots: Vec<Option<Slot>>,
    tags: Vec<u32>,
    owners: u32,
    /// Slots that hold something. At most half of them, unless the table cannot grow any more: a fuller one forgets keys
    /// whose buckets are full, and each of these costs a seek.
    used: usize,
}

impl Heads {
    /// A leadership begins.
    pub fn begin(&mut self) -> Owner {
        self.owners += 1;
        Owner(self.owners)
    }

    /// This version of the key is in the engine now, and no newer one.
    pub fn note(&mut self, owner: Owner, modified: Revision, key: &Key, record: &Record) {
        let bytes = key.bytes();
        if bytes.len() > LONGEST_KEY {
            return;
        }
        if self.used * 2 >= self.slots.len() && self.slots.len() < MOST_SLOTS {
            self.grow();
        }
        let (hash, head) = (hash(bytes), Head::of(modified, record));
        if let Some(at) = self.find(hash, bytes)
            && let Some(slot) = &mut self.slots[at]
        {
            assert!(slot.owner != owner || slot.head.modified <= modified, "{key} goes back to {modified}");
            (slot.owner, slot.head) = (owner, head);
            return;
        }
        let forgot = self.put(hash, Slot { owner, key: Name::new(bytes), head });
        self.used += usize::from(!forgot);
    }

    /// What this leadership noted of the key, if it is still remembered.
    pub fn get(&self, owner: Owner, key: &Key) -> Option<Head> {
        let slot = self.slots[self.find(hash(key.bytes()), key.bytes())?].as_ref()?;
        (slot.owner == owner).then_some(slot.head)
    }

    fn bucket(&self, hash: u32) -> std::ops::Range<usize> {
        let first = (hash as usize & (self.slots.len() / WAYS - 1)) * WAYS;
        first..first + WAYS
    }

    /// Where this key is.
    fn find(&self, hash: u32, key: &[u8]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let is_it = |at: &usize| self.slots[*at].as_ref().is_some_and(|slot| slot.key.bytes() == key);
        self.bucket(hash).filter(|at| self.tags[*at] == hash).find(is_it)
    }

    /// Into a free slot, or over the oldest version; says whether something was forgotten.
    fn put(&mut self, hash: u32, fresh: Slot) -> bool {
        let bucket = self.bucket(hash);
        let age = |at: &usize| self.slots[*at].as_ref().map_or(Revision::ZERO, |s| s.head.modified);
        let free = bucket.clone().find(|at| self.tags[*at] == 0);
        let Some(at) = free.or_else(|| bucket.min_by_key(age)) else { return false };
        self.tags[at] = hash;
        self.slots[at].replace(fresh).is_some()
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(FIRST_SLOTS);
        let mut old = Vec::with_capacity(size);
        old.resize_with(size, || None);
        std::mem::swap(&mut old, &mut self.slots);
        let tags = std::mem::replace(&mut self.tags, vec![0; size]);
        for (tag, slot) in tags.into_iter().zip(old).filter_map(|(tag, slot)| Some((tag, slot?))) {
            // A bucket's keys part among two, so none is forgotten.
            let forgot = self.put(tag, slot);
            assert!(!forgot, "the bucket of half as many slots had room for it");
        }
    }
}

/// FNV-1a, folded, never 0. No secret to keep: a client that makes keys collide makes its own puts seek.
fn hash(bytes: &[u8]) -> u32 {
    let h = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3));
    ((h ^ (h >> 32)) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn key(i: u64) -> Key {
        Key::user(format!("k{i}").as_bytes())
    }
    fn record(version: u64) -> Record {
        Record { create: Revision(1), version, value: Some(Bytes::from_static(b"v")), ..Record::default() }
    }

    #[test]
    fn what_is_remembered_is_the_newest_and_of_this_leadership() {
        let mut heads = Heads::default();
        let (a, b) = (heads.begin(), heads.begin());
        assert_eq!(heads.get(a, &key(1)), None);
        heads.note(a, Revision(5), &key(1), &record(1));
        heads.note(a, Revision(7), &key(1), &record(2));
        assert_eq!(heads.get(a, &key(1)).map(|h| (h.modified, h.version)), Some((Revision(7), 2)));
        assert_eq!(heads.get(b, &key(1)), None, "another leadership knows nothing of it");
        heads.note(b, Revision(9), &key(1), &Record::mark(0));
        assert_eq!(heads.get(b, &key(1)).map(|h| h.is_live()), Some(false), "a delete mark is remembered too");
        assert_eq!(heads.get(a, &key(1)), None);
        let sized = |n: usize| Key::user(&vec![b'x'; n - 1]);
        for n in [2, SHORT_KEY, SHORT_KEY + 1, LONGEST_KEY] {
            assert_eq!((sized(n).bytes().len(), heads.get(b, &sized(n))), (n, None));
            heads.note(b, Revision(n as u64), &sized(n), &record(1));
        }
        for n in [2, SHORT_KEY, SHORT_KEY + 1, LONGEST_KEY] {
            assert_eq!(heads.get(b, &sized(n)).map(|h| h.modified), Some(Revision(n as u64)));
        }
        let longer = sized(LONGEST_KEY + 1);
        heads.note(b, Revision(10), &longer, &record(1));
        assert_eq!(heads.get(b, &longer), None);
    }

    #[test]
    fn it_grows_to_its_bound_and_forgets_the_oldest() {
        let mut heads = Heads::default();
        let owner = heads.begin();
        let many = 3 * MOST_SLOTS as u64;
        for i in 0..many {
            heads.note(owner, Revision(i + 2), &key(i), &record(1));
            assert_eq!(heads.get(owner, &key(i)).map(|h| h.modified), Some(Revision(i + 2)), "the last one is there");
        }
        assert_eq!(heads.slots.len(), MOST_SLOTS);
        let known = |from: u64, to: u64| (from..to).filter(|i| heads.get(owner, &key(*i)).is_some()).count();
        let (old, new) = (known(0, many / 3), known(many - many / 12, many));
        assert!(new > MOST_SLOTS / 5, "of the last quarter of its size nearly all are known: {new}");
        assert!(old * 10 < new, "of the first hardly any: {old}");
        for i in (0..many).filter(|i| heads.get(owner, &key(*i)).is_some()) {
            assert_eq!(heads.get(owner, &key(i)).map(|h| h.modified), Some(Revision(i + 2)), "never another key's");
        }
    }
}

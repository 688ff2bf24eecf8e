//! What compaction may drop: the one rule, pure, the same for RocksDB and the in-memory twin.
//!
//! Within one pass over ascending MVCC keys (of one key, newest version first) a version is dropped when the pass has
//! already met a newer version of the same key at or below the bound. So the newest version at or below the bound stays,
//! whatever a pass happens to see: a pass that does not see the newer version drops nothing on its behalf.
//!
//! The rule does not look at values. A delete mark that is the newest version at or below the bound stays too: dropping it
//! here could bring a deeper version back to life that this pass does not see (protocols §11).

use crate::keys;
use base::Revision;

/// The state of one pass.
#[derive(Clone, Debug)]
pub struct Filter {
    bound: Revision,
    /// The key whose versions are passing by: an MVCC key without its revision.
    prefix: Vec<u8>,
    /// Its newest version at or below the bound, once met.
    kept: Option<Revision>,
}

impl Filter {
    /// A pass with this bound, fixed for the whole pass. A bound of 0 drops nothing.
    pub fn new(bound: Revision) -> Filter {
        assert!(!bound.is_pending(), "a bound is a revision that was issued: {bound}");
        Filter { bound, prefix: Vec::new(), kept: None }
    }

    /// May the record at this raw `Cf::Data` key go? Call it for each record of the pass, in order.
    pub fn drops(&mut self, raw: &[u8]) -> bool {
        let (Ok(n), Ok(revision)) = (keys::prefix_len(raw), keys::version_revision(raw)) else {
            return false;
        };
        if self.prefix != raw[..n] {
            self.prefix.clear();
            self.prefix.extend_from_slice(&raw[..n]);
            self.kept = None;
        }
        if revision > self.bound {
            return false;
        }
        match self.kept {
            // The same record once more (written twice) is not a superseded one.
            Some(kept) => revision < kept,
            None => {
                self.kept = Some(revision);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Key;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn v(key: &str, rev: u64) -> bytes::Bytes {
        keys::version(&Key::user(key.as_bytes()), Revision(rev))
    }

    #[test]
    fn drops_only_what_is_superseded_at_or_below_the_bound() {
        let mut f = Filter::new(Revision(6));
        let pass = [("a", 9, false), ("a", 6, false), ("a", 5, true), ("a", 2, true), ("b", 7, false), ("b", 1, false)];
        for (key, rev, dropped) in pass {
            assert_eq!(f.drops(&v(key, rev)), dropped, "{key}@{rev}");
        }
        assert!(!f.drops(&v("ab", 1)), "another key begins anew");
    }

    #[test]
    fn leaves_everything_else_alone() {
        let mut f = Filter::new(Revision(1 << 40));
        assert!(!f.drops(&v("a", 9)));
        for raw in [
            &b""[..],
            b"\x03",
            b"\x03short",
            b"\x01identity",
            b"\x04plain-record-of-meta",
            b"\x02\0\0\0\0\0\0\0\x07\x02",
        ] {
            assert!(!f.drops(raw), "{}", raw.escape_ascii());
            assert!(!f.drops(raw), "{} a second time", raw.escape_ascii());
        }
        assert!(f.drops(&v("a", 8)), "records between do not end a key's versions");
        assert!(!f.drops(&v("a", 9)), "the kept record itself, met twice");
        let mut none = Filter::new(Revision(0));
        assert!(!none.drops(&v("a", 2)) && !none.drops(&v("a", 1)), "bound 0 drops nothing");
    }

    proptest! {
        /// Any number of passes, each over any subset of the records, each with a bound that never falls: what a reader
        /// at or above the last bound sees does not change.
        #[test]
        fn readers_at_or_above_the_bound_see_no_difference(
            records in prop::collection::btree_set((0u8..4, 1u64..20), 0..40),
            passes in prop::collection::vec((0u64..20, any::<u64>()), 0..5),
        ) {
            let newest = |set: &BTreeSet<(u8, u64)>, key: u8, at: u64| {
                set.iter().filter(|(k, r)| *k == key && *r <= at).map(|(_, r)| *r).max()
            };
            let mut left = records.clone();
            let mut bound = 0;
            for (raise, mask) in passes {
                bound = bound.max(raise);
                let mut f = Filter::new(Revision(bound));
                let mut sorted: BTreeMap<bytes::Bytes, (u8, u64)> = BTreeMap::new();
                for (i, (k, r)) in left.iter().enumerate() {
                    if mask >> (i % 64) & 1 == 1 {
                        sorted.insert(v(&(*k as char).to_string(), *r), (*k, *r));
                    }
                }
                for (raw, record) in sorted {
                    if f.drops(&raw) {
                        left.remove(&record);
                    }
                }
                for at in bound..25 {
                    for key in 0..4 {
                        prop_assert_eq!(newest(&records, key, at), newest(&left, key, at));
                    }
                }
            }
        }
    }
}

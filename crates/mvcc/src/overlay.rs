//! The overlay: what was evaluated but is not yet in the engine.
//!
//! The leader evaluates each command over the engine *plus* everything evaluated before it (protocols §4), and readers
//! see what is committed but not yet applied. So each version lives here from its evaluation until its batch is in the
//! engine: first under its pending name, later under its number.
//!
//! ```text
//! evaluate → insert(?7) → number(?7 → 41) → … committed, written … → remove(41)
//! ```
//!
//! For one moment a version is in both, overlay and engine; it is the same version, so that does no harm.

use crate::effects::Effects;
use crate::record::Record;
use base::{Key, Revision, Span};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::fmt;

/// How many keys a question about a span looks at before it asks command by command instead.
const FEW_KEYS: usize = 64;

/// Versions on their way into the engine.
///
/// Invariants: the versions of a key are in ascending order of revision, none twice; `commands` is in the same order and
/// names exactly the keys that have a version of that revision; nothing here is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    keys: BTreeMap<Key, Vec<(Revision, Record)>>,
    commands: VecDeque<(Revision, Vec<Key>)>,
    bytes: usize,
}

fn size(key: &Key, record: &Record) -> usize {
    key.bytes().len() + record.value.as_ref().map_or(0, |v| v.len()) + 96
}

impl Overlay {
    /// Nothing yet.
    pub fn new() -> Overlay {
        Overlay::default()
    }
    /// Is everything in the engine?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
    /// Commands with a version here.
    pub fn commands(&self) -> usize {
        self.commands.len()
    }
    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything one command changes, under its pending or issued revision.
    pub fn insert_command(&mut self, revision: Revision, effects: &Effects) {
        for e in &effects.effects {
            self.insert(e.key.clone(), revision, e.record.clone());
        }
    }

    /// One version. The same version twice is one.
    pub fn insert(&mut self, key: Key, revision: Revision, record: Record) {
        self.bytes += size(&key, &record);
        let versions = self.keys.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1));
        let at = versions.partition_point(|(r, _)| *r < revision);
        if versions.get(at).is_some_and(|(r, _)| *r == revision) {
            self.bytes -= size(&key, &versions[at].1);
            versions[at].1 = record;
            return;
        }
        versions.insert(at, (revision, record));
        match self.command(revision) {
            Ok(i) => self.commands[i].1.push(key),
            Err(i) => self.commands.insert(i, (revision, vec![key])),
        }
    }

    /// Where this command is, or would be: as a rule near the end.
    fn command(&self, revision: Revision) -> Result<usize, usize> {
        self.commands.binary_search_by_key(&revision, |(r, _)| *r)
    }

    /// The command evaluated as `seq` got its number: its versions, and every `create` that named it, take it.
    pub fn number(&mut self, seq: u64, issued: Revision) {
        assert!(!issued.is_pending(), "?{seq} becomes an issued number, not {issued}");
        let pending = Revision::pending(seq);
        let Ok(i) = self.command(pending) else { return };
        let in_order = i.checked_sub(1).is_none_or(|i| self.commands[i].0 < issued);
        assert!(in_order, "numbers are given in evaluation order: ?{seq} is {issued} behind a larger one");
        self.commands[i].0 = issued;
        for key in &self.commands[i].1 {
            for (revision, record) in self.keys.get_mut(key).into_iter().flatten() {
                if *revision == pending {
                    *revision = issued;
                }
                if record.create == pending {
                    record.create = issued;
                }
            }
        }
    }

    /// This command's effects are in the engine, or will never be: forget them.
    pub fn remove(&mut self, revision: Revision) {
        self.remove_noting(revision, &mut |_, _, _| {});
    }

    /// Everything issued up to here is in the engine: forget it.
    pub fn remove_up_to(&mut self, revision: Revision) {
        self.drain_up_to(revision, &mut |_, _, _| {});
    }

    /// As `remove_up_to`; says what leaves, command by command, for instance to `CountIndex::note_record`.
    pub fn drain_up_to(&mut self, revision: Revision, note: &mut dyn FnMut(Revision, &Key, &Record)) {
        assert!(!revision.is_pending(), "what has no number is not in the engine: {revision}");
        while let Some(oldest) = self.commands.front().map(|(r, _)| *r).filter(|r| *r <= revision) {
            self.remove_noting(oldest, note);
        }
    }

    fn remove_noting(&mut self, revision: Revision, note: &mut dyn FnMut(Revision, &Key, &Record)) {
        let Some((_, keys)) = self.command(revision).ok().and_then(|i| self.commands.remove(i)) else { return };
        for key in keys {
            let Entry::Occupied(mut entry) = self.keys.entry(key) else { continue };
            let versions = entry.get_mut();
            let at = versions.iter().position(|(r, _)| *r == revision).expect("a command's key has its version");
            let (_, record) = versions.remove(at);
            self.bytes -= size(entry.key(), &record);
            note(revision, entry.key(), &record);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    /// Forgets everything: leadership is lost.
    pub fn clear(&mut self) {
        *self = Overlay::default();
    }

    /// The newest version of `key` at or below `at`, delete marks included.
    pub fn newest(&self, key: &Key, at: Revision) -> Option<(Revision, &Record)> {
        pick(self.keys.get(key)?, at)
    }

    /// The newest version at or below `at` of each key in the span, delete marks included, in the order of keys.
    pub fn newest_in<'a>(&'a self, span: &Span, at: Revision) -> Vec<(&'a Key, Revision, &'a Record)> {
        let mut out = Vec::new();
        self.each(span, |key, versions| {
            if let Some((revision, record)) = pick(versions, at) {
                out.push((key, revision, record));
            }
            true
        });
        out
    }

    /// The largest revision at or below `at_most`, pending ones included, under which a key of the span has a version.
    pub fn max_revision_overlapping(&self, span: &Span, at_most: Revision) -> Option<Revision> {
        let (mut seen, mut max) = (0, None);
        self.each(span, |_, versions| {
            seen += 1;
            max = max.max(pick(versions, at_most).map(|(r, _)| r));
            seen < FEW_KEYS
        });
        if seen < FEW_KEYS {
            return max;
        }
        // A wide span: the newest commands are likely to be in it.
        let n = self.commands.partition_point(|(r, _)| *r <= at_most);
        let mut newest = self.commands.range(..n).rev();
        newest.find(|(_, keys)| keys.iter().any(|k| span.contains(k))).map(|(r, _)| *r)
    }

    /// The largest pending revision under which a key of the span has a version.
    pub fn pending_overlapping(&self, span: &Span) -> Option<Revision> {
        self.max_revision_overlapping(span, Revision(u64::MAX)).filter(|r| r.is_pending())
    }

    /// Freezes every version at or below `at_most` of the span's keys: a read may ask for any revision up to it.
    pub fn capture(&self, span: &Span, at_most: Revision) -> Captured {
        let mut out = Captured { at_most, ..Captured::default() };
        out.extend(self, span, |versions| {
            let n = versions.partition_point(|(r, _)| *r <= at_most);
            &versions[..n]
        });
        out
    }

    /// Freezes only the newest version at or below `at` of the span's keys: for a read at exactly `at`.
    pub fn capture_newest(&self, span: &Span, at: Revision) -> Captured {
        let mut out = Captured { at_most: at, at_least: at, ..Captured::default() };
        out.extend(self, span, |versions| {
            let n = versions.partition_point(|(r, _)| *r <= at);
            &versions[n.saturating_sub(1)..n]
        });
        out
    }

    /// For each key of the span with a version at or below `at`: live at `at`, minus live before the overlay's versions.
    pub(crate) fn live_deltas<'a>(&'a self, span: &Span, at: Revision) -> Vec<(&'a Key, i64)> {
        let mut out = Vec::new();
        self.each(span, |key, versions| {
            if let Some((_, newest)) = pick(versions, at) {
                out.push((key, i64::from(newest.is_live()) - i64::from(lived_before(&versions[0].1))));
            }
            true
        });
        out
    }

    /// Calls `f` for each key of the span that has a version, in order, until it says false.
    fn each<'a>(&'a self, span: &Span, mut f: impl FnMut(&'a Key, &'a [(Revision, Record)]) -> bool) {
        if self.keys.is_empty() || span.is_empty() {
            return;
        }
        if span.is_point() {
            if let Some((key, versions)) = self.keys.get_key_value(&span.start) {
                f(key, versions);
            }
            return;
        }
        for (key, versions) in self.keys.range(&span.start..&span.end) {
            if !f(key, versions) {
                return;
            }
        }
    }

    /// Panics when an invariant of the type is broken.
    pub fn check(&self) {
        let mut pairs = 0;
        for (key, versions) in &self.keys {
            assert!(!versions.is_empty(), "{key} is in the overlay without a version");
            assert!(versions.windows(2).all(|w| w[0].0 < w[1].0), "versions of {key} out of order");
            for (revision, _) in versions {
                pairs += 1;
                let named = self.command(*revision).is_ok_and(|i| self.commands[i].1.contains(key));
                assert!(named, "{key}@{revision} belongs to no command");
            }
        }
        let named: usize = self.commands.iter().map(|(_, keys)| keys.len()).sum();
        assert_eq!(pairs, named, "a command names a key without a version");
        let in_order = self.commands.iter().zip(self.commands.iter().skip(1)).all(|(a, b)| a.0 < b.0);
        assert!(in_order, "commands out of order");
        let bytes: usize = self.keys.iter().flat_map(|(k, vs)| vs.iter().map(|(_, r)| size(k, r))).sum();
        assert_eq!(bytes, self.bytes, "bytes of the overlay");
    }
}

fn pick(versions: &[(Revision, Record)], at: Revision) -> Option<(Revision, &Record)> {
    let n = versions.partition_point(|(r, _)| *r <= at);
    n.checked_sub(1).map(|i| (versions[i].0, &versions[i].1))
}

/// Was the key live before this, its oldest version in the overlay? Marks are written for live keys only.
fn lived_before(oldest: &Record) -> bool {
    !oldest.creates()
}

/// A frozen part of an overlay: what a reader adds to the view that was taken *after* it.
///
/// Invariant: in the order of keys, of one key the newest version first, none twice.
#[derive(Clone, PartialEq, Eq)]
pub struct Captured {
    versions: Vec<Version>,
    /// Complete for reads from here …
    at_least: Revision,
    /// … up to here.
    at_most: Revision,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Version {
    key: Key,
    revision: Revision,
    record: Record,
    /// Was the key live before everything the overlay held of it?
    lived: bool,
}

impl Default for Captured {
    /// Nothing was in the overlay: complete for every read.
    fn default() -> Captured {
        Captured { versions: Vec::new(), at_least: Revision::ZERO, at_most: Revision(u64::MAX) }
    }
}

impl Captured {
    fn extend<'a>(
        &mut self,
        overlay: &'a Overlay,
        span: &Span,
        keep: impl Fn(&'a [(Revision, Record)]) -> &'a [(Revision, Record)],
    ) {
        overlay.each(span, |key, versions| {
            let lived = lived_before(&versions[0].1);
            if base::bug!("capture-skips-marks") && versions.iter().all(|(_, r)| !r.is_live()) {
                return true;
            }
            for (revision, record) in keep(versions).iter().rev() {
                let version = Version { key: key.clone(), revision: *revision, record: record.clone(), lived };
                self.versions.push(version);
            }
            true
        });
    }

    /// Is there nothing?
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }
    /// Versions held.
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Adds what was captured later, or of another span; versions that are in both are one.
    pub fn add(&mut self, mut later: Captured) {
        for v in &mut later.versions {
            // What lived before is said from the earlier capture's point of view.
            let i = self.versions.partition_point(|mine| mine.key < v.key);
            v.lived = self.versions.get(i).filter(|mine| mine.key == v.key).map_or(v.lived, |mine| mine.lived);
        }
        self.at_least = self.at_least.max(later.at_least);
        self.at_most = self.at_most.min(later.at_most);
        self.versions.extend(later.versions);
        self.versions.sort_by(|a, b| a.key.cmp(&b.key).then(b.revision.cmp(&a.revision)));
        self.versions.dedup_by(|b, a| a.key == b.key && a.revision == b.revision);
    }

    /// Numbers a command that was captured while it was pending.
    pub fn number(&mut self, seq: u64, issued: Revision) {
        let pending = Revision::pending(seq);
        for v in &mut self.versions {
            if v.revision == pending {
                v.revision = issued;
            }
            if v.record.create == pending {
                v.record.create = issued;
            }
        }
    }

    /// The newest version of `key` at or below `at`, delete marks included.
    pub fn newest(&self, key: &Key, at: Revision) -> Option<(Revision, &Record)> {
        let i = self.versions.partition_point(|v| (&v.key, Reverse(v.revision)) < (key, Reverse(at)));
        self.versions.get(i).filter(|v| v.key == *key).map(|v| (v.revision, &v.record))
    }

    /// The newest version at or below `at` of each key in the span, delete marks included, in the order of keys.
    pub fn newest_in<'a>(&'a self, span: &Span, at: Revision) -> Vec<(&'a Key, Revision, &'a Record)> {
        self.newest_of(span, at).map(|v| (&v.key, v.revision, &v.record)).collect()
    }

    fn newest_of<'a>(&'a self, span: &Span, at: Revision) -> impl Iterator<Item = &'a Version> {
        let from = self.versions.partition_point(|v| v.key < span.start);
        let to = self.versions.partition_point(|v| v.key < span.end).max(from);
        let mut last: Option<&Key> = None;
        self.versions[from..to].iter().filter(move |v| {
            let first = v.revision <= at && last != Some(&v.key);
            if first {
                last = Some(&v.key);
            }
            first
        })
    }

    /// Live keys of the span at `at`, minus those that were live before everything the overlay held.
    pub fn live_delta(&self, span: &Span, at: Revision) -> i64 {
        self.newest_of(span, at).map(|v| i64::from(v.record.is_live()) - i64::from(v.lived)).sum()
    }

    /// Every version in the span, in the engine's order.
    pub fn all_in<'a>(&'a self, span: &Span) -> impl Iterator<Item = (&'a Key, Revision, &'a Record)> {
        let from = self.versions.partition_point(|v| v.key < span.start);
        let to = self.versions.partition_point(|v| v.key < span.end).max(from);
        self.versions[from..to].iter().map(|v| (&v.key, v.revision, &v.record))
    }

    /// Panics when a read at `at` could miss a version.
    pub(crate) fn check_covers(&self, at: Revision) {
        let inside = self.at_least <= at && at <= self.at_most;
        assert!(inside, "captured for reads at [{}, {}] and read at {at}", self.at_least, self.at_most);
    }
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "overlay of {} keys, {} commands, {} bytes", self.keys.len(), self.commands.len(), self.bytes)
    }
}
impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.keys).finish()
    }
}
impl fmt::Display for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "captured {} versions up to {}", self.versions.len(), self.at_most)
    }
}
impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.versions).finish()
    }
}

#[cfg(test)]
mod tests;

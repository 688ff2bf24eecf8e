//! The log as the core sees it: a durable part behind [`LogRead`], a tail in memory, and four cursors.

use crate::{Entry, LogBounds, LogRead};
use base::{Index, Result, Term};
use std::collections::VecDeque;

/// Cursors and tail.
///
/// * `truncated ≤ applied ≤ commit ≤ last`, `written ≤ last`;
/// * `tail` is the end of the log: consecutive entries up to `last`;
/// * everything after `min(written, applied)` that this process appended is in `tail`, so only durable, never
///   overwritten entries are read from the disk;
/// * terms never fall along the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    pub(crate) truncated: (Index, Term),
    pub(crate) last: (Index, Term),
    /// The log up to here, as it is now, is durable on this replica.
    pub(crate) written: Index,
    pub(crate) commit: Index,
    pub(crate) applied: Index,
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// The last entry that left memory: whoever was sent everything up to it is sent on from there.
    trimmed: Option<(Index, Term)>,
}

impl Log {
    pub(crate) fn new(bounds: LogBounds, applied: Index) -> Log {
        let LogBounds { truncated, last } = bounds;
        assert!(truncated.0 <= applied && applied <= last.0, "{truncated:?} <= {applied} <= {last:?}");
        assert!(truncated.1 <= last.1, "terms fall between {truncated:?} and {last:?}");
        Log {
            truncated,
            last,
            written: last.0,
            commit: applied,
            applied,
            tail: VecDeque::new(),
            tail_bytes: 0,
            trimmed: None,
        }
    }

    /// The first index that is in memory; `last + 1` when none is.
    pub(crate) fn tail_first(&self) -> Index {
        Index(self.last.0.0 + 1 - self.tail.len() as u64)
    }

    /// The term of the entry at `index`; of the last truncated entry too.
    pub(crate) fn term(&self, index: Index, disk: &dyn LogRead) -> Option<Term> {
        if index == self.last.0 {
            return Some(self.last.1);
        }
        if index == self.truncated.0 {
            return Some(self.truncated.1);
        }
        if index < self.truncated.0 || index > self.last.0 {
            return None;
        }
        let first = self.tail_first();
        if index >= first {
            return Some(self.tail[(index.0 - first.0) as usize].term);
        }
        self.trimmed.filter(|(at, _)| *at == index).map(|(_, term)| term).or_else(|| disk.term(index))
    }

    /// Puts an entry at the end.
    pub(crate) fn push(&mut self, entry: Entry) {
        assert!(entry.index == self.last.0.next(), "entry {entry} after {:?}", self.last);
        assert!(entry.term >= self.last.1, "entry {entry} after {:?}: terms fall", self.last);
        self.last = (entry.index, entry.term);
        self.tail_bytes += entry.size();
        self.tail.push_back(entry);
    }

    /// Removes a divergent suffix, `from` included; `before` is the term of the entry before it.
    pub(crate) fn cut(&mut self, from: Index, before: Term) {
        assert!(
            from > self.commit && from <= self.last.0,
            "cut at {from}, commit {} last {}",
            self.commit,
            self.last.0
        );
        while self.tail.back().is_some_and(|e| e.index >= from) {
            let gone = self.tail.pop_back().map_or(0, |e| e.size());
            self.tail_bytes -= gone;
        }
        self.last = (from.prev(), before);
        self.written = self.written.min(from.prev());
    }

    /// Forgets what is durable and applied, up to `limit`.
    pub(crate) fn trim(&mut self, limit: Index) {
        let upto = limit.min(self.written).min(self.applied);
        while self.tail.front().is_some_and(|e| e.index <= upto) {
            let Some(gone) = self.tail.pop_front() else { break };
            self.tail_bytes -= gone.size();
            self.trimmed = Some((gone.index, gone.term));
        }
        if self.tail.is_empty() && self.tail.capacity() > 0 && self.applied == self.last.0 {
            self.tail = VecDeque::new();
        }
    }

    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Entries `[from, to]`, cut after `max_bytes` but never before the first: from the disk up to where memory begins,
    /// then from memory.
    pub(crate) fn entries(&self, disk: &dyn LogRead, from: Index, to: Index, max_bytes: usize) -> Result<Vec<Entry>> {
        let to = to.min(self.last.0);
        if from > to || from <= self.truncated.0 {
            return Ok(Vec::new());
        }
        let first = self.tail_first();
        if from < first {
            return disk.entries(from, to.min(first.prev()), max_bytes);
        }
        let (start, end) = ((from.0 - first.0) as usize, (to.0 - first.0) as usize + 1);
        let mut bytes = 0;
        let fits = |e: &&Entry| {
            bytes += e.size();
            bytes <= max_bytes || bytes == e.size()
        };
        Ok(self.tail.range(start..end).take_while(fits).cloned().collect())
    }

    /// Begins anew after a snapshot.
    pub(crate) fn reset(&mut self, at: (Index, Term)) {
        *self = Log::new(LogBounds { truncated: at, last: at }, at.0);
    }

    /// The largest index in `[low, high]` whose term is at most `term`; `low` if there is none. Terms never fall, so
    /// halving finds it with few look-ups in the disk's part.
    pub(crate) fn last_with_term_at_most(&self, term: Term, low: Index, high: Index, disk: &dyn LogRead) -> Index {
        // What was cut off has no terms any more: halving across the cut would take all of it for too late.
        let cut = self.truncated.0;
        let known = high >= cut && low < cut && !base::bug!("backs-off-across-the-cut");
        let (mut low, mut high) = (if known { cut.0 } else { low.0 }, high.0.max(low.0));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.term(Index(middle), disk).is_some_and(|t| t <= term) { low = middle } else { high = middle - 1 }
        }
        Index(low)
    }

    /// Bytes on the heap, payloads included.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.tail.capacity() * size_of::<Entry>() + self.tail_bytes
    }

    /// Panics if a cursor is out of order.
    pub(crate) fn check(&self) {
        let Log { truncated, last, written, commit, applied, .. } = self;
        assert!(truncated.0 <= *applied, "R1: truncated {truncated:?} beyond applied {applied}");
        assert!(applied <= commit, "R1: applied {applied} beyond commit {commit}");
        assert!(*commit <= last.0, "R1: commit {commit} beyond last {last:?}");
        assert!(*written <= last.0, "R1: written {written} beyond last {last:?}");
        assert!(truncated.1 <= last.1, "R1: terms fall from {truncated:?} to {last:?}");
        let mut at = (self.tail_first().prev(), Term(0));
        for e in &self.tail {
            assert!(e.index == at.0.next() && e.term >= at.1, "R1: entry {e} after {at:?}");
            at = (e.index, e.term);
        }
        assert!(self.tail.is_empty() || at == *last, "R1: the tail ends at {at:?}, the log at {last:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Disk;

    impl LogRead for Disk {
        fn term(&self, index: Index) -> Option<Term> {
            (index.0 > 5).then_some(Term(2))
        }
        fn entries(&self, _: Index, _: Index, _: usize) -> Result<Vec<Entry>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn backing_off_stops_at_the_cut() {
        // A new leader knows nothing of the follower (low = 0), and its log begins behind 5.
        let bounds = LogBounds { truncated: (Index(5), Term(1)), last: (Index(9), Term(2)) };
        let log = Log::new(bounds, Index(8));
        assert_eq!(log.last_with_term_at_most(Term(2), Index(0), Index(8), &Disk), Index(8));
        assert_eq!(log.last_with_term_at_most(Term(1), Index(0), Index(8), &Disk), Index(5));
        assert_eq!(log.last_with_term_at_most(Term(2), Index(0), Index(3), &Disk), Index(0), "only a snapshot helps");
    }

    /// A disk that has everything, truncated or not.
    struct Whole;

    impl LogRead for Whole {
        fn term(&self, _: Index) -> Option<Term> {
            Some(Term(2))
        }
        fn entries(&self, from: Index, to: Index, _: usize) -> Result<Vec<Entry>> {
            Ok((from.0..=to.0).map(entry).collect())
        }
    }

    fn entry(index: u64) -> Entry {
        let payload = crate::Payload::Normal(bytes::Bytes::from_static(b"four"));
        Entry { term: Term(2), index: Index(index), payload }
    }

    /// Truncated at 5, durable to 7, and 8 to 10 in memory.
    fn log() -> Log {
        let bounds = LogBounds { truncated: (Index(5), Term(1)), last: (Index(7), Term(2)) };
        let mut log = Log::new(bounds, Index(6));
        (8..=10).for_each(|index| log.push(entry(index)));
        log
    }

    #[test]
    fn what_is_truncated_is_gone_also_while_the_disk_has_it() {
        let log = log();
        let terms: Vec<_> = [4, 5, 6, 10, 11].into_iter().map(|i| log.term(Index(i), &Whole).map(|t| t.0)).collect();
        assert_eq!(terms, [None, Some(1), Some(2), Some(2), None]);
        let read = |from, to, max| {
            let some = log.entries(&Whole, Index(from), Index(to), max).unwrap();
            some.iter().map(|e| e.index.0).collect::<Vec<_>>()
        };
        assert_eq!(read(5, 9, 1000), [], "begins where nothing is");
        assert_eq!(read(9, 8, 1000), [], "ends before it begins");
        assert_eq!(read(6, 9, 1000), [6, 7], "the disk's part first");
        assert_eq!(read(8, 99, 1000), [8, 9, 10]);
        assert_eq!(read(8, 9, 1000), [8, 9]);
        assert_eq!((read(8, 10, 1), read(8, 10, 40), read(8, 10, 39)), (vec![8], vec![8, 9], vec![8]));
    }

    #[test]
    fn memory_holds_what_is_not_durable_or_not_applied() {
        let mut log = log();
        assert_eq!((log.tail_first(), log.tail_bytes()), (Index(8), 60));
        log.trim(Index(10));
        assert_eq!(log.tail_first(), Index(8), "not durable");
        log.written = Index(9);
        log.trim(Index(10));
        assert_eq!(log.tail_first(), Index(8), "not applied");
        (log.commit, log.applied) = (Index(8), Index(8));
        log.trim(Index(7));
        assert_eq!(log.tail_first(), Index(8), "not sent");
        log.trim(Index(10));
        assert_eq!((log.tail_first(), log.tail_bytes()), (Index(9), 40));
        log.cut(Index(10), Term(2));
        assert_eq!((log.last.0, log.written, log.tail_bytes()), (Index(9), Index(9), 20));
        log.trim(Index(9));
        assert!(log.heap_bytes() > 20, "memory is kept while there is more to apply");
        (log.commit, log.applied) = (Index(9), Index(9));
        log.trim(Index(9));
        assert_eq!((log.tail_first(), log.heap_bytes()), (Index(10), 0));
        log.push(entry(10));
        assert_eq!(log.heap_bytes(), log.tail.capacity() * size_of::<Entry>() + 20);
    }
}

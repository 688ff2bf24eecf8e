//! A disk that keeps what was written in order, and loses what was not yet durable.

use base::{Index, Result, Term};
use raft::{Conf, Entry, HardState, LogRead, Member, Message, Snapshot};
use std::hash::{Hash, Hasher};

/// What the state machine is: a hash chain over everything applied.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct View {
    pub applied: Index,
    pub term: Term,
    pub conf: Conf,
    pub state: u64,
}

impl View {
    pub fn take(&mut self, entry: &Entry) {
        assert_eq!(entry.index, self.applied.next(), "applied out of order");
        let mut h = super::ghost::Fnv::default();
        (self.state, entry).hash(&mut h);
        (self.applied, self.term, self.state) = (entry.index, entry.term, h.finish());
    }
}

/// One write under way; what waits for it travels inside.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Write {
    pub delete: Option<(Index, Index)>,
    pub append: Vec<Entry>,
    pub hard: Option<HardState>,
    pub mark: Option<(Term, Index)>,
    pub after: Vec<(Member, Message)>,
    pub view: Option<View>,
    pub snapshot: Option<(Snapshot, u64)>,
}

impl Write {
    pub fn is_idle(&self) -> bool {
        self.delete.is_none() && self.append.is_empty() && self.hard.is_none() && self.snapshot.is_none()
    }
}

impl std::fmt::Display for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut gap = "";
        if let Some((from, to)) = self.delete {
            write!(f, "without {from}..{to}")?;
            gap = " ";
        }
        if !self.append.is_empty() {
            let list: Vec<String> = self.append.iter().map(Entry::to_string).collect();
            write!(f, "{gap}[{}]", list.join(" "))?;
            gap = " ";
        }
        if let Some(hard) = self.hard {
            write!(f, "{gap}{hard}")?;
        }
        if self.is_idle() {
            write!(f, "nothing new")?;
        }
        Ok(())
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Disk {
    pub truncated: (Index, Term),
    /// Consecutive, beginning after `truncated`.
    pub log: Vec<Entry>,
    pub hard: HardState,
    pub view: View,
}

impl Disk {
    /// A group that starts from nothing: at index 1 of term 1, applied, truncated.
    pub fn bootstrap(conf: Conf) -> Disk {
        let view = View { applied: Index(1), term: Term(1), conf, state: 1 };
        Disk { truncated: (Index(1), Term(1)), log: Vec::new(), hard: HardState::default(), view }
    }

    pub fn last(&self) -> (Index, Term) {
        self.log.last().map_or(self.truncated, |e| (e.index, e.term))
    }

    /// In the order that `Output` demands: delete, append, hard state; then what was applied.
    pub fn write(&mut self, write: Write) {
        if let Some((from, to)) = write.delete {
            self.log.retain(|e| e.index < from || e.index > to);
        }
        if self.log.is_empty() && self.view.applied > self.truncated.0 {
            self.truncated = (self.view.applied, self.view.term);
        }
        for entry in write.append {
            if entry.index <= self.truncated.0 {
                continue;
            }
            match self.log.iter_mut().find(|e| e.index == entry.index) {
                Some(old) => *old = entry,
                None => {
                    assert_eq!(entry.index, self.last().0.next(), "a hole in the log");
                    self.log.push(entry);
                }
            }
        }
        if let Some(hard) = write.hard {
            self.hard = hard;
        }
        if let Some(view) = write.view {
            assert!(view.applied <= self.last().0, "applied durably what is not in the log");
            self.view = view;
        }
    }

    pub fn truncate(&mut self, to: Index, term: Term) {
        self.log.retain(|e| e.index > to);
        self.truncated = (to, term);
    }

    /// Data and position in one. The log follows in a write of its own.
    pub fn ingest(&mut self, snapshot: &Snapshot, state: u64) {
        let (applied, term) = (snapshot.index, snapshot.term);
        self.view = View { applied, term, conf: snapshot.conf.clone(), state };
    }

    /// What a boot finds: a log that does not fit what is applied is that of a crash in the middle of an install.
    pub fn recover(&mut self) {
        let applied = (self.view.applied, self.view.term);
        if applied != self.truncated && self.term(applied.0) != Some(applied.1) {
            self.log.clear();
            self.truncated = applied;
        }
    }

    pub fn has(&self, index: Index, term: Term) -> bool {
        index <= self.view.applied || self.term(index) == Some(term)
    }
}

impl LogRead for Disk {
    fn term(&self, index: Index) -> Option<Term> {
        let at = index.0.checked_sub(self.truncated.0.0 + 1)?;
        self.log.get(at as usize).map(|e| e.term)
    }

    fn entries(&self, from: Index, to_inclusive: Index, max_bytes: usize) -> Result<Vec<Entry>> {
        let mut bytes = 0;
        let wanted = self.log.iter().filter(|e| e.index >= from && e.index <= to_inclusive);
        let fits = |e: &&Entry| {
            bytes += e.size();
            bytes <= max_bytes || bytes == e.size()
        };
        Ok(wanted.take_while(fits).cloned().collect())
    }
}

//! What clients asked, what they were told and when, and what was found on disk in the end.

use base::error::Refusal;
use base::{Key, Revision};
use mvcc::{KeyValue, Reply, Request};
use std::fmt;

/// One operation of one client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Op {
    /// Its place in the history; unique.
    pub id: u64,
    /// Who asked.
    pub client: u64,
    /// Which node was asked, whatever became of it meanwhile. 0: not known.
    pub door: u64,
    /// When it was asked, in true time, nanoseconds.
    pub call: u64,
    /// When the answer was there; `u64::MAX` if it never was.
    pub ret: u64,
    /// What was asked.
    pub ask: Ask,
    /// What was answered.
    pub outcome: Outcome,
}

/// What clients can ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// An operation on keys.
    Kv(Request),
    /// Forget what is superseded at or below this revision.
    Compact(Revision),
}

/// What a client knows afterwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Answered under this header revision; a compaction has no reply of its own.
    Ok(Revision, Option<Reply>),
    /// Refused with a reason that may depend on the state; certainly not done.
    Refused(Refusal),
    /// Certainly not done.
    Failed,
    /// Done, or not, or still to come.
    Unknown,
}

/// One version of one key, as found on disk: every one that was ever applied, also those compacted since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Which key.
    pub key: Key,
    /// Its modification revision.
    pub revision: Revision,
    /// Its place among what its revision did, where known.
    pub sub: Option<u32>,
    /// What it became; `None` when it was deleted.
    pub kv: Option<KeyValue>,
}

/// Everything a run left to be judged.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct History {
    /// In the order of their ids.
    pub ops: Vec<Op>,
    /// In any order.
    pub versions: Vec<Version>,
    /// True times, from and to, in which numbers may have been burnt: crashes, changes of leadership.
    pub disruptions: Vec<(u64, u64)>,
}

impl Op {
    /// The header revision, when there is one.
    pub fn revision(&self) -> Option<Revision> {
        match &self.outcome {
            Outcome::Ok(r, _) => Some(*r),
            _ => None,
        }
    }
    /// Did the answer report a change?
    pub fn is_effective(&self) -> bool {
        matches!(&self.outcome, Outcome::Ok(_, Some(reply)) if effective(reply))
    }
    /// May it be answered from an older state?
    pub fn is_serializable(&self) -> bool {
        matches!(&self.ask, Ask::Kv(Request::Range(r)) if r.serializable)
    }
}

/// Does this answer report a change?
fn effective(reply: &Reply) -> bool {
    match reply {
        Reply::Range(_) => false,
        Reply::Put(_) => true,
        Reply::Delete(d) => d.deleted > 0,
        Reply::Txn(t) => t.replies.iter().any(effective),
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = String::new();
        super::text::write_op(&mut line, self);
        f.write_str(&line)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kv {
            None => write!(f, "{}@{} deleted", self.key, self.revision),
            Some(kv) => write!(
                f,
                "{}@{} = {} (version {}, created {})",
                self.key,
                self.revision,
                kv.value.escape_ascii(),
                kv.version,
                kv.create
            ),
        }
    }
}

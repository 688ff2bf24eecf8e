//! Replies while revisions in them are still pending.
//!
//! A command is answered after its number is known, but its reply is made before. [`OpenReply`] keeps it until then,
//! with the one thing that could not be done yet: filters on mod or create revisions of the command's own versions.

use crate::request::{DeleteReply, Filter, KeyValue, PutReply, RangeReply, Reply, TxnReply};
use base::Revision;

/// A reply that may hold pending revisions, and what remains to be done when they are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenReply {
    reply: Reply,
    deferred: Vec<Deferred>,
}

/// A scan inside a transaction whose filter concerns the transaction's own number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Deferred {
    /// Where the reply is: one index per level of transactions; empty for the reply itself.
    pub(crate) path: Vec<usize>,
    pub(crate) filter: Filter,
    pub(crate) limit: u64,
}

impl OpenReply {
    pub(crate) fn new(reply: Reply, deferred: Vec<Deferred>) -> OpenReply {
        OpenReply { reply, deferred }
    }

    /// Every pending number is known (`number` says it by sequence number): what the client is told.
    pub fn fill(mut self, number: &dyn Fn(u64) -> Revision) -> Reply {
        self.reply.fill(number);
        for d in &self.deferred {
            base::marker!("mvcc.filter after numbering");
            if let Some(reply) = find(&mut self.reply, &d.path) {
                reply.kvs.retain(|kv| d.filter.passes(kv));
                reply.cut(d.limit);
            }
        }
        self.reply
    }

    /// The reply as far as it is known.
    pub fn peek(&self) -> &Reply {
        &self.reply
    }

    /// Is there anything left to fill in?
    pub fn is_open(&self) -> bool {
        !self.deferred.is_empty() || self.reply.is_open()
    }
}

fn find<'a>(reply: &'a mut Reply, path: &[usize]) -> Option<&'a mut RangeReply> {
    match (reply, path.split_first()) {
        (Reply::Range(r), None) => Some(r),
        (Reply::Txn(t), Some((&i, rest))) => find(t.replies.get_mut(i)?, rest),
        _ => None,
    }
}

/// Is a known revision within inclusive bounds, where `ZERO` means "no bound"?
pub(crate) fn within(r: Revision, min: Revision, max: Revision) -> bool {
    r >= min && (max == Revision::ZERO || r <= max)
}

impl Filter {
    /// Is every key-value let through?
    pub fn is_none(&self) -> bool {
        *self == Filter::default()
    }
    /// Is this key-value, whose revisions are known, let through?
    pub fn passes(&self, kv: &KeyValue) -> bool {
        within(kv.modified, self.min_mod, self.max_mod) && within(kv.create, self.min_create, self.max_create)
    }
}

impl RangeReply {
    /// Keeps the first `limit` key-values; 0 means all.
    pub(crate) fn cut(&mut self, limit: u64) {
        if limit > 0 && self.kvs.len() as u64 > limit {
            self.kvs.truncate(limit as usize);
            self.more = true;
        }
    }
}

impl Reply {
    /// Puts numbers in the place of pending revisions.
    pub fn fill(&mut self, number: &dyn Fn(u64) -> Revision) {
        self.each_kv(&mut |kv| {
            for r in [&mut kv.create, &mut kv.modified] {
                if let Some(seq) = r.pending_seq() {
                    *r = number(seq);
                }
            }
        });
    }

    /// Does it name a pending revision?
    pub fn is_open(&self) -> bool {
        let open = |kv: &KeyValue| kv.create.is_pending() || kv.modified.is_pending();
        match self {
            Reply::Range(r) => r.kvs.iter().any(open),
            Reply::Put(p) => p.prev.as_ref().is_some_and(open),
            Reply::Delete(d) => d.prev.iter().any(open),
            Reply::Txn(t) => t.replies.iter().any(Reply::is_open),
        }
    }

    fn each_kv(&mut self, f: &mut dyn FnMut(&mut KeyValue)) {
        match self {
            Reply::Range(RangeReply { kvs, .. }) => kvs.iter_mut().for_each(f),
            Reply::Put(PutReply { prev }) => prev.iter_mut().for_each(f),
            Reply::Delete(DeleteReply { prev, .. }) => prev.iter_mut().for_each(f),
            Reply::Txn(TxnReply { replies, .. }) => replies.iter_mut().for_each(|r| r.each_kv(f)),
        }
    }
}

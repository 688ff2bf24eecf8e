//! What a client can ask of keys and values, and what it is told: etcd's KV service without its protobuf.
//!
//! Requests arrive here already checked for form (the gateway knows etcd's static rules: empty keys, sort enums, too
//! many operations, duplicate keys). What depends on state is decided by `evaluate`.

use base::{Key, Revision, Span};
use bytes::Bytes;

/// One operation; a transaction holds more of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Range(RangeReq),
    Put(PutReq),
    Delete(DeleteReq),
    Txn(TxnReq),
}

/// etcd's `RangeRequest`: a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeReq {
    /// Which keys.
    pub span: Span,
    /// At which revision; `ZERO` means the newest.
    pub revision: Revision,
    /// At most this many key-values; 0 means all.
    pub limit: u64,
    pub sort: Option<Sort>,
    pub keys_only: bool,
    pub count_only: bool,
    /// May be answered from a local, possibly older state.
    pub serializable: bool,
    /// Filters on mod and create revisions; they shape the key-values, never `count`.
    pub filter: Filter,
}

/// Bounds on revisions, each inclusive; `ZERO` means "no bound".
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Filter {
    pub min_mod: Revision,
    pub max_mod: Revision,
    pub min_create: Revision,
    pub max_create: Revision,
}

/// By what, and which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sort {
    pub target: SortTarget,
    pub descending: bool,
}

/// What key-values are sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SortTarget {
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// etcd's `PutRequest`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PutReq {
    pub key: Key,
    pub value: Bytes,
    /// 0: none.
    pub lease: i64,
    pub prev_kv: bool,
    /// Keep the value, change the rest; the key must exist.
    pub ignore_value: bool,
    /// Keep the lease; the key must exist.
    pub ignore_lease: bool,
}

/// etcd's `DeleteRangeRequest`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeleteReq {
    pub span: Span,
    pub prev_kv: bool,
}

/// etcd's `TxnRequest`. All compares, nested ones included, see the state before the transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TxnReq {
    pub compares: Vec<Compare>,
    pub success: Vec<Request>,
    pub failure: Vec<Request>,
}

/// All keys of the span must satisfy it; a missing key is a zero key-value, and its value compares false.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    pub span: Span,
    pub result: CompareResult,
    pub target: CompareTarget,
}

/// `actual <result> target`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompareResult {
    Equal,
    Greater,
    Less,
    NotEqual,
}

/// What is compared, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompareTarget {
    Version(i64),
    Create(i64),
    Mod(i64),
    Value(Bytes),
    Lease(i64),
}

/// One key-value as etcd shows it. Revisions may still be pending inside a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyValue {
    pub key: Key,
    pub create: Revision,
    pub modified: Revision,
    pub version: u64,
    pub value: Bytes,
    pub lease: i64,
}

/// The answer to one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    Range(RangeReply),
    Put(PutReply),
    Delete(DeleteReply),
    Txn(TxnReply),
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct RangeReply {
    pub kvs: Vec<KeyValue>,
    /// Was it cut by the limit?
    pub more: bool,
    /// All keys in the span, ignoring limit and filters.
    pub count: u64,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct PutReply {
    pub prev: Option<KeyValue>,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct DeleteReply {
    pub deleted: u64,
    pub prev: Vec<KeyValue>,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TxnReply {
    pub succeeded: bool,
    pub replies: Vec<Reply>,
}

impl Request {
    /// Can it change anything, whatever the state? A transaction counts if either branch does, at any depth.
    pub fn can_write(&self) -> bool {
        match self {
            Request::Range(_) => false,
            Request::Put(_) | Request::Delete(_) => true,
            Request::Txn(t) => t.success.iter().chain(&t.failure).any(Request::can_write),
        }
    }

    /// Calls `f(span, written?)` for every span it may touch, compares and both branches included, at any depth.
    pub fn spans(&self, f: &mut impl FnMut(&Span, bool)) {
        match self {
            Request::Range(r) => f(&r.span, false),
            Request::Put(p) => f(&Span::point(&p.key), true),
            Request::Delete(d) => f(&d.span, true),
            Request::Txn(t) => {
                for c in &t.compares {
                    f(&c.span, false);
                }
                for op in t.success.iter().chain(&t.failure) {
                    op.spans(f);
                }
            }
        }
    }

    /// Does any scan inside a transaction name a revision, so that `current` and `compacted` are needed first?
    pub fn names_a_revision(&self) -> bool {
        match self {
            Request::Range(r) => r.revision != Revision::ZERO,
            Request::Put(_) | Request::Delete(_) => false,
            Request::Txn(t) => t.success.iter().chain(&t.failure).any(Request::names_a_revision),
        }
    }
}

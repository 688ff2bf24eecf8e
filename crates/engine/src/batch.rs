//! A batch: what one step writes, or several, as plain data.

use crate::Cf;
use bytes::Bytes;
use std::fmt;

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets `key` to `value`.
    Put(Cf, Bytes, Bytes),
    /// Removes `key`.
    Delete(Cf, Bytes),
    /// Removes `[start, end)`. For destroying a replica, never for truncating a log.
    DeleteRange(Cf, Bytes, Bytes),
}

impl Op {
    /// Bytes of key and value; a span counts nothing.
    fn bytes(&self) -> usize {
        match self {
            Op::Put(_, key, value) => key.len() + value.len(),
            Op::Delete(_, key) => key.len(),
            Op::DeleteRange(..) => 0,
        }
    }
}

/// Changes that happen together, in order.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Batch {
        Batch::default()
    }
    /// Nothing yet, and room for so many changes.
    pub fn with_capacity(ops: usize) -> Batch {
        Batch { ops: Vec::with_capacity(ops), bytes: 0 }
    }
    /// Sets `key` to `value`.
    pub fn put(&mut self, cf: Cf, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        let (key, value) = (key.into(), value.into());
        self.bytes += key.len() + value.len();
        self.ops.push(Op::Put(cf, key, value));
    }
    /// Removes `key`.
    pub fn delete(&mut self, cf: Cf, key: impl Into<Bytes>) {
        let key = key.into();
        self.bytes += key.len();
        self.ops.push(Op::Delete(cf, key));
    }
    /// Removes `[start, end)`.
    pub fn delete_range(&mut self, cf: Cf, start: impl Into<Bytes>, end: impl Into<Bytes>) {
        self.ops.push(Op::DeleteRange(cf, start.into(), end.into()));
    }
    /// Adds what `other` does, behind what this one does.
    pub fn append(&mut self, other: Batch) {
        if self.is_empty() {
            *self = other;
            return;
        }
        self.bytes += other.bytes;
        self.ops.extend(other.ops);
    }
    /// The changes, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
    /// Does it change nothing?
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
    /// Bytes of keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Divides a batch into what concerns `Cf::Data` and what concerns `Cf::Log`, each in order.
pub fn by_family(batch: &Batch) -> (Batch, Batch) {
    let (mut data, mut log) = (Batch::new(), Batch::new());
    for op in batch.ops() {
        let (Op::Put(cf, ..) | Op::Delete(cf, ..) | Op::DeleteRange(cf, ..)) = op;
        let part = if *cf == Cf::Data { &mut data } else { &mut log };
        part.bytes += op.bytes();
        part.ops.push(op.clone());
    }
    (data, log)
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} ops, {} bytes", self.ops.len(), self.bytes)
    }
}

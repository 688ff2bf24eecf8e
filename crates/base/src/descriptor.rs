//! A range's descriptor: what it is called, what it holds, who has it.

use crate::codec::{get_bytes, get_u64, put_bytes, put_u64};
use crate::{Epoch, Error, Key, RangeId, ReplicaId, Result, Span, StoreId};
use bytes::Bytes;
use std::fmt;

/// One replica's name and place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    pub replica: ReplicaId,
    pub store: StoreId,
}

/// Authoritative in the range's own log; the meta range keeps a copy for routing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Descriptor {
    pub id: RangeId,
    pub span: Span,
    pub epoch: Epoch,
    /// Sorted by replica id; never empty.
    pub replicas: Vec<Place>,
}

impl Descriptor {
    /// The replica on this store, if there is one.
    pub fn on(&self, store: StoreId) -> Option<Place> {
        self.replicas.iter().copied().find(|p| p.store == store)
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.id.0);
        put_bytes(out, self.span.start.bytes());
        put_bytes(out, self.span.end.bytes());
        put_u64(out, self.epoch.conf);
        put_u64(out, self.epoch.version);
        put_u64(out, self.replicas.len() as u64);
        for p in &self.replicas {
            put_u64(out, p.replica.0);
            put_u64(out, p.store.0);
        }
    }

    /// Takes one off the front.
    pub fn decode(buf: &mut Bytes) -> Result<Descriptor> {
        let id = RangeId(get_u64(buf)?);
        let span = Span::new(Key(get_bytes(buf)?), Key(get_bytes(buf)?));
        let epoch = Epoch { conf: get_u64(buf)?, version: get_u64(buf)? };
        let n = get_u64(buf)?;
        if n == 0 || n > buf.len() as u64 {
            return Err(Error::corrupt(format!("the descriptor of {id} announces {n} replicas")));
        }
        let mut replicas = Vec::with_capacity(n as usize);
        for _ in 0..n {
            replicas.push(Place { replica: ReplicaId(get_u64(buf)?), store: StoreId(get_u64(buf)?) });
        }
        Ok(Descriptor { id, span, epoch, replicas })
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} e{}", self.id, self.span, self.epoch)?;
        for p in &self.replicas {
            write!(f, " {}@{}", p.replica, p.store)?;
        }
        Ok(())
    }
}

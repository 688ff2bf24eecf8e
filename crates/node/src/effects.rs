//! What goes into a step, and what comes out of it.

use crate::frame::Lane;
use crate::status::Status;
use base::{CallId, Error, Leased, Result, Revision, Stage, StoreId, Tick};
use bytes::Bytes;
use engine::{Batch, Engine};
use mvcc::{Learned, Request};
use range::{Lesson, Origin, Outcome, Proof, ReadTask, Ready};
use std::fmt;
use std::sync::Arc;

/// What a client of this node asks.
#[derive(Clone, PartialEq, Debug)]
pub enum ClientAsk {
    Kv(Arc<Request>),
    Compact(Revision),
    /// The sum of hashes at a revision (`ZERO`: the newest) over this node's replicas.
    Hash(Revision),
}

/// One thing that happened.
pub enum Input<V> {
    /// A frame of a peer.
    Frame(StoreId, Bytes),
    /// Streams to and from a peer stand.
    Connected(StoreId),
    /// They are gone. Proves nothing about the peer.
    Disconnected(StoreId),
    /// A client's call, and until when it may still be evaluated.
    Call(CallId, ClientAsk, Tick),
    /// Everything up to this write task is durable (or, where no sync was asked for, in the engine).
    Written(u64),
    /// A leased answer was opened in time.
    Proved(Ready<V>),
    /// It came too late.
    Unproved(Proof, Ready<V>),
    /// A read for somebody else than a local client is done.
    Read(Origin, Result<Outcome>),
    /// What a reader saw on its way, for counting.
    Learned(Lesson, Learned),
    /// A piece of a snapshot that this node sends was read: the records, and whether they are the last.
    SnapshotRead(u64, Result<(Bytes, Option<Bytes>)>),
    /// A piece of a snapshot that this node receives is staged.
    Staged(u64, Result<()>),
    /// It is in.
    Ingested(u64, Result<()>),
    /// This store has no room for clients' writes, or has some again.
    Full(bool),
    /// The orderly end begins.
    Stop,
}

/// One batch, and what may leave only when it is durable.
pub struct WriteTask {
    pub seq: u64,
    pub batch: Batch,
    pub sync: bool,
    pub frames: Vec<Outgoing>,
}

/// A frame for a peer.
#[derive(Clone, PartialEq, Eq)]
pub struct Outgoing {
    pub to: StoreId,
    pub lane: Lane,
    pub bytes: Bytes,
}

/// Work on snapshots, carried out in order by a thread of its own.
pub enum SnapshotWork<V> {
    /// Read records of a frozen view: from this raw key to that, about so many bytes.
    Read { number: u64, view: Arc<V>, from: Bytes, to: Bytes, bytes: usize },
    /// Stage received records.
    Stage { number: u64, records: Bytes },
    /// Everything is staged: put it in, behind every write task handed out so far.
    Ingest { number: u64, clear: Vec<(Bytes, Bytes)>, then: Batch },
    /// Forget what was staged.
    Drop { number: u64 },
}

/// What a step puts out.
pub struct Effects<E: Engine> {
    pub frames: Vec<Outgoing>,
    pub write: Option<WriteTask>,
    /// Facts for local clients.
    pub replies: Vec<(CallId, Result<Outcome>)>,
    /// The shell reads its clock and opens them: reads go to the pool, everything else comes back as `Proved`; what is
    /// late comes back as `Unproved`.
    pub leased: Vec<(Proof, Leased<Ready<E::View>>)>,
    /// Reads that rest on nothing: answers may be old.
    pub reads: Vec<ReadTask<E::View>>,
    pub snapshots: Vec<SnapshotWork<E::View>>,
    /// Persisted: the engine's filter may use it from now on.
    pub bound: Option<Revision>,
    /// Call again at this tick at the latest.
    pub wake: Tick,
    /// A `Written` alone is worth a step now. Otherwise it may wait for the next one.
    pub awaits_disk: bool,
    pub samples: Vec<(Stage, u64)>,
    /// The highest revision this node knows to be issued.
    pub revision: Revision,
    /// For metrics and Status, now and then.
    pub status: Option<Status>,
    /// The store must stop: nothing of this step may be carried out.
    pub failed: Option<Error>,
    /// The orderly end is reached: everything was given up and told.
    pub stopped: bool,
}

impl fmt::Display for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "→ {} {:?}", self.to, self.lane)?;
        match crate::frame::Frame::decode(self.bytes.clone()) {
            Ok(frame) => {
                for p in &frame.parts {
                    write!(f, " | {p}")?;
                }
                Ok(())
            }
            Err(e) => write!(f, " {e}"),
        }
    }
}

//! Evaluation: what would this command change, and what would it answer?
//!
//! The leader asks this once per command, in arrival order (protocols §4). The command's own revision is not known yet;
//! it has a pending name, and so do commands evaluated just before. Where an answer depends on such a name (a compare or
//! a filter on another command's pending revision) the command is [`Evaluated::BlockedOn`] it and is evaluated again when
//! the number is known. Filters on the command's *own* versions shape only its reply: they wait inside [`OpenReply`].
//!
//! A [`Turn`] is one command on its way through: what it reads, what it wrote so far. Each verb adds its half in a file
//! of its own.

use crate::effects::{Effect, Effects};
use crate::heads::Head;
use crate::record::Record;
use crate::reply::{Deferred, OpenReply};
use crate::request::{Reply, Request, TxnReply, TxnReq};
use crate::source::{Layer, NEWEST, Source};
use base::error::Refusal;
use base::{Error, Key, Kind, Result, Revision, Span, limits};
use bytes::Bytes;
use engine::Read;
use std::collections::BTreeMap;
use std::fmt;

/// What a `revision` inside a transaction is checked against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Everything above is the future.
    pub current: Revision,
    /// Everything below is compacted.
    pub compacted: Revision,
}

/// What evaluating came to. Refusals are errors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evaluated {
    /// It would change this and answer that.
    Done { effects: Effects, reply: OpenReply },
    /// It depends on the number of the command evaluated under this sequence number: evaluate again when it is known.
    BlockedOn(u64),
    /// A scan inside names a revision: evaluate again with bounds.
    NeedsBounds,
}

/// Evaluates a command whose own revision is the pending `own`.
pub fn evaluate<R: Read + ?Sized>(
    source: &Source<'_, R>,
    request: &Request,
    own: Revision,
    bounds: Option<Bounds>,
) -> Result<Evaluated> {
    assert!(own.is_pending(), "a command is evaluated before it has a number: {own}");
    let mut turn = Turn::new(source, Some(own), NEWEST, bounds);
    let done = turn.run(request);
    match done {
        Ok(reply) => {
            let effects = Effects { effects: turn.effects, live_delta: turn.live_delta };
            if cfg!(debug_assertions) && !base::bug!("sub-order-lost") {
                effects.check();
            }
            Ok(Evaluated::Done { effects, reply: OpenReply::new(reply, turn.deferred) })
        }
        Err(Stop::Refused(e)) => Err(e),
        Err(Stop::BlockedOn(seq)) => {
            base::marker!("mvcc.blocked on a pending revision");
            Ok(Evaluated::BlockedOn(seq))
        }
        Err(Stop::NeedsBounds) => {
            base::marker!("mvcc.needs bounds");
            Ok(Evaluated::NeedsBounds)
        }
    }
}

/// A transaction that can write nothing, read at `bounds.current`.
pub fn read_txn<R: Read + ?Sized>(source: &Source<'_, R>, txn: &TxnReq, bounds: Bounds) -> Result<TxnReply> {
    base::marker!("mvcc.read-only txn");
    let mut turn = Turn::new(source, None, bounds.current, Some(bounds));
    match turn.txn(txn) {
        Ok(reply) => Ok(reply),
        Err(Stop::Refused(e)) => Err(e),
        Err(Stop::BlockedOn(_) | Stop::NeedsBounds) => {
            Err(Error::new(Kind::Retry, "a read at an issued revision met a pending one"))
        }
    }
}

/// Why an evaluation stopped early.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    Refused(Error),
    BlockedOn(u64),
    NeedsBounds,
}

impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Refused(e)
    }
}

impl From<Refusal> for Stop {
    fn from(r: Refusal) -> Stop {
        Stop::Refused(Error::refused(r))
    }
}

pub(crate) type Stopped<T> = std::result::Result<T, Stop>;

/// One command on its way through evaluation.
pub(crate) struct Turn<'a, R: Read + ?Sized> {
    pub(crate) source: &'a Source<'a, R>,
    /// Its pending revision; `None` when it may only read.
    pub(crate) own: Option<Revision>,
    /// What "newest" means: everything, or a read's X.
    pub(crate) at: Revision,
    pub(crate) bounds: Option<Bounds>,
    /// What it wrote so far, in the order of operations.
    effects: Vec<Effect>,
    /// Bytes of their keys and values.
    bytes: usize,
    live_delta: i64,
    /// Which effect is a key's: only transactions look back.
    written: BTreeMap<Key, usize>,
    /// The operation it is at.
    pub(crate) position: u32,
    /// Where in the reply: an index per nested transaction.
    pub(crate) path: Vec<usize>,
    pub(crate) deferred: Vec<Deferred>,
}

impl<'a, R: Read + ?Sized> Turn<'a, R> {
    fn new(source: &'a Source<'a, R>, own: Option<Revision>, at: Revision, bounds: Option<Bounds>) -> Turn<'a, R> {
        Turn {
            source,
            own,
            at,
            bounds,
            effects: Vec::new(),
            bytes: 0,
            live_delta: 0,
            written: BTreeMap::new(),
            position: 0,
            path: Vec::new(),
            deferred: Vec::new(),
        }
    }

    /// One whole request. A transaction looks at everything before it writes anything.
    fn run(&mut self, request: &Request) -> Stopped<Reply> {
        match request {
            Request::Txn(t) => Ok(Reply::Txn(self.txn(t)?)),
            Request::Put(p) if p.lease != 0 => Err(Refusal::LeaseNotFound.into()),
            op => self.operation(op),
        }
    }

    /// One operation that is not a transaction.
    pub(crate) fn operation(&mut self, op: &Request) -> Stopped<Reply> {
        let reply = match op {
            Request::Range(r) => Reply::Range(self.scan(r)?),
            Request::Put(p) => Reply::Put(self.put(p)?),
            Request::Delete(d) => Reply::Delete(self.delete(d)?),
            Request::Txn(_) => unreachable!("transactions are taken apart by their own file"),
        };
        self.position += 1;
        Ok(reply)
    }

    /// The newest version of a key as this command sees it: its own writes first.
    pub(crate) fn newest(&self, key: &Key) -> Result<Option<(Revision, Record)>> {
        match (self.written.get(key), self.own) {
            (Some(&i), Some(own)) => Ok(Some((own, self.effects[i].record.clone()))),
            _ => self.source.get(key, self.at),
        }
    }

    /// As `newest`, without the value.
    pub(crate) fn newest_head(&self, key: &Key) -> Result<Option<Head>> {
        match (self.written.get(key), self.own) {
            (Some(&i), Some(own)) => Ok(Some(Head::of(own, &self.effects[i].record))),
            _ => self.source.head(key, self.at),
        }
    }

    /// What lies over the engine as this command sees it: the overlay, and its own writes over that.
    pub(crate) fn layer(&self, span: &Span) -> Layer<'_> {
        let mut layer = self.source.layer(span, self.at);
        let Some(own) = self.own else { return layer };
        if self.written.is_empty() || span.is_empty() {
            return layer;
        }
        let mine: Layer<'_> =
            self.written.range(&span.start..&span.end).map(|(k, &i)| (k, own, &self.effects[i].record)).collect();
        if mine.is_empty() {
            return layer;
        }
        layer.retain(|(k, _, _)| !self.written.contains_key(*k));
        layer.extend(mine);
        layer.sort_by(|a, b| a.0.cmp(b.0));
        layer
    }

    /// Writes one key. The gateway refuses a key that a transaction writes twice; so does this, whoever asks.
    pub(crate) fn write(&mut self, key: Key, mut record: Record, live_delta: i64) -> Stopped<()> {
        if self.own.is_none() {
            return Err(Error::new(Kind::Unimplemented, "a write in a transaction that only reads").into());
        }
        if self.written.contains_key(&key) {
            return Err(Refusal::DuplicateKey.into());
        }
        let bytes = key.bytes().len() + record.value.as_ref().map_or(0, Bytes::len);
        self.room_for(1, bytes)?;
        self.bytes += bytes;
        record.sub = if base::bug!("sub-order-lost") { 0 } else { self.position };
        if self.in_txn() {
            self.written.insert(key.clone(), self.effects.len());
        }
        self.effects.push(Effect { key, record });
        self.live_delta += live_delta;
        Ok(())
    }

    /// May this command change so many more keys, and bytes of keys and values?
    pub(crate) fn room_for(&self, keys: usize, bytes: usize) -> Result<()> {
        if self.effects.len() + keys > limits::MAX_COMMAND_KEYS || self.bytes + bytes > limits::MAX_COMMAND_BYTES {
            base::marker!("mvcc.command too large");
            return Err(too_large());
        }
        Ok(())
    }

    /// Inside a transaction later operations see earlier ones.
    fn in_txn(&self) -> bool {
        !self.path.is_empty()
    }
}

/// One step evaluates a command, and one entry carries it: what does not fit is refused before anything is done.
pub(crate) fn too_large() -> Error {
    let (keys, mib) = (limits::MAX_COMMAND_KEYS, limits::MAX_COMMAND_BYTES >> 20);
    let text = format!("one request that changes more than {keys} keys or {mib} MiB: delete a large span in parts");
    Error::new(Kind::Unimplemented, text)
}

impl fmt::Display for Evaluated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evaluated::Done { effects, .. } if effects.is_empty() => write!(f, "no effect"),
            Evaluated::Done { effects, .. } => write!(f, "{effects}"),
            Evaluated::BlockedOn(seq) => write!(f, "blocked on ?{seq}"),
            Evaluated::NeedsBounds => write!(f, "needs bounds"),
        }
    }
}

//! What an evaluation or a read looks at: the engine and, over it, the overlay.

use crate::heads::{Head, Heads, Owner};
use crate::overlay::{Captured, Overlay};
use crate::record::{self, Record, RecordRef};
use crate::request::KeyValue;
use crate::walk::{Direction, Walk, open};
use base::{Key, Result, Revision, Span};
use bytes::{Bytes, BytesMut};
use engine::{Read, keys};
use std::ops::ControlFlow;

/// Newer than everything, pending versions included.
pub const NEWEST: Revision = Revision(u64::MAX);

/// One consistent state: engine ∪ overlay.
pub struct Source<'a, R: Read + ?Sized> {
    read: &'a R,
    over: Over<'a>,
    patient: bool,
    heads: Option<(&'a Heads, Owner)>,
}

#[derive(Clone, Copy)]
enum Over<'a> {
    Captured(&'a Captured),
    Live(&'a Overlay),
}

/// Versions that lie over the engine, newest of each key, in the order of keys.
pub(crate) type Layer<'a> = Vec<(&'a Key, Revision, &'a Record)>;

/// A live version that a scan came to.
pub struct Found<'a> {
    /// Its revision.
    pub revision: Revision,
    body: Body<'a>,
}

enum Body<'a> {
    Raw { key: &'a [u8], value: &'a [u8] },
    Over { key: &'a Key, record: &'a Record },
}

impl Found<'_> {
    /// Its key.
    pub fn key(&self) -> Result<Key> {
        match self.body {
            Body::Raw { key, .. } => Ok(keys::split_version(key)?.0),
            Body::Over { key, .. } => Ok(key.clone()),
        }
    }
    /// The key-value as etcd shows it; without its value when only keys are wanted. Its bytes lie in the pages.
    pub fn kv(&self, keys_only: bool, pages: &mut Pages) -> Result<KeyValue> {
        match self.body {
            Body::Raw { key, value } => {
                let r = RecordRef::parse(value)?;
                let value = if keys_only { &[][..] } else { r.value.unwrap_or_default() };
                let (key, value) = pages.put(key, value)?;
                Ok(KeyValue {
                    key,
                    create: r.create,
                    modified: self.revision,
                    version: r.version,
                    value,
                    lease: r.lease,
                })
            }
            Body::Over { key, record } => {
                let key = key.clone();
                let mut kv = key_value(key, self.revision, record);
                if keys_only {
                    kv.value = Bytes::new();
                }
                Ok(kv)
            }
        }
    }
}

/// Memory that key-values of one reply share, so that a hundred of them are not two hundred allocations.
pub struct Pages {
    page: BytesMut,
    /// Bytes of the next one.
    next: usize,
}

impl Pages {
    const FIRST: usize = 1 << 10;
    const LARGEST: usize = 64 << 10;

    /// For a reply that is kept or dropped as a whole.
    pub fn shared() -> Pages {
        Pages { page: BytesMut::new(), next: Pages::FIRST }
    }

    /// Every key-value has its own memory: for those of which few are kept.
    pub fn single() -> Pages {
        Pages { page: BytesMut::new(), next: 0 }
    }

    /// The key out of an MVCC key, and the value.
    fn put(&mut self, raw: &[u8], value: &[u8]) -> Result<(Key, Bytes)> {
        let bytes = raw.len() + value.len();
        if self.page.capacity() < bytes {
            self.page = BytesMut::with_capacity(bytes.max(self.next));
            self.next = (self.next * 2).min(Pages::LARGEST);
        }
        keys::key_of_version(raw, |part| self.page.extend_from_slice(part))?;
        let key = Key(self.page.split().freeze());
        self.page.extend_from_slice(value);
        Ok((key, self.page.split().freeze()))
    }
}

/// A record as etcd shows it.
pub(crate) fn key_value(key: Key, modified: Revision, r: &Record) -> KeyValue {
    let value = r.value.clone().unwrap_or_default();
    KeyValue { key, create: r.create, modified, version: r.version, value, lease: r.lease }
}

impl<'a, R: Read + ?Sized> Source<'a, R> {
    /// For readers: a view, and what was captured of the overlay before the view was taken.
    pub fn new(read: &'a R, captured: &'a Captured) -> Source<'a, R> {
        Source { read, over: Over::Captured(captured), patient: true, heads: None }
    }

    /// For evaluation: the engine or a fresh view of it, and the overlay itself.
    pub fn live(read: &'a R, overlay: &'a Overlay) -> Source<'a, R> {
        Source { read, over: Over::Live(overlay), patient: true, heads: None }
    }

    /// What is remembered of the engine's newest versions spares a seek.
    #[must_use]
    pub fn with_heads(mut self, heads: &'a Heads, owner: Owner) -> Self {
        self.heads = Some((heads, owner));
        self
    }

    /// Where it would wait for a disk, it fails with `Retry` instead.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.patient = false;
        self
    }

    /// The newest version of `key` at or below `at`, delete marks included, and its mod revision.
    pub fn get(&self, key: &Key, at: Revision) -> Result<Option<(Revision, Record)>> {
        let over = match self.over {
            // Nothing in the engine is newer than what the live overlay holds.
            Over::Live(o) => match o.newest(key, at) {
                Some((revision, record)) => return Ok(Some((revision, record.clone()))),
                None => None,
            },
            Over::Captured(c) => {
                c.check_covers(at);
                c.newest(key, at)
            }
        };
        let (lower, upper) = keys::versions_of(key);
        let mut cursor = open(self.read, self.patient, (&lower, &upper))?;
        if at >= Revision::MAX {
            cursor.seek_first();
        } else {
            let mut from = Vec::with_capacity(lower.len() + 8);
            from.extend_from_slice(&lower);
            from.extend_from_slice(&(!at.0).to_be_bytes());
            cursor.seek(&from);
        }
        let over = over.map(|(revision, record)| (revision, record.clone()));
        let Some((raw, value)) = cursor.item() else {
            cursor.status()?;
            return Ok(over);
        };
        let revision = keys::version_revision(raw)?;
        match over {
            Some(over) if over.0 >= revision => Ok(Some(over)),
            _ => Ok(Some((revision, RecordRef::parse(value)?.to_record()))),
        }
    }

    /// As `get`, without the value.
    pub(crate) fn head(&self, key: &Key, at: Revision) -> Result<Option<Head>> {
        if let (Over::Live(o), Some((heads, owner)), NEWEST) = (self.over, self.heads, at) {
            // What lies over the engine is newer than anything in it.
            if let Some((revision, record)) = o.newest(key, at) {
                return Ok(Some(Head::of(revision, record)));
            }
            if let Some(head) = heads.get(owner, key) {
                base::marker!("mvcc.head remembered");
                return Ok(Some(head));
            }
        }
        Ok(self.get(key, at)?.map(|(revision, record)| Head::of(revision, &record)))
    }

    /// The live key-value at `key`.
    pub fn get_live(&self, key: &Key, at: Revision) -> Result<Option<KeyValue>> {
        Ok(self.get(key, at)?.filter(|(_, r)| r.is_live()).map(|(revision, r)| key_value(key.clone(), revision, &r)))
    }

    /// Visits the live keys of the span at `at`, until the visitor breaks.
    pub fn scan(
        &self,
        span: &Span,
        at: Revision,
        direction: Direction,
        visit: impl FnMut(&Found<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        self.scan_under(span, at, direction, self.layer(span, at), visit)
    }

    /// How many keys of the span are live at `at`, by walking over all of them. Values are not decoded.
    pub fn count(&self, span: &Span, at: Revision) -> Result<u64> {
        let mut n = 0;
        self.scan(span, at, Direction::Forward, |_| {
            n += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(n)
    }

    /// What lies over the engine in this span.
    pub(crate) fn layer(&self, span: &Span, at: Revision) -> Layer<'a> {
        match self.over {
            Over::Live(o) => o.newest_in(span, at),
            Over::Captured(c) => {
                c.check_covers(at);
                c.newest_in(span, at)
            }
        }
    }

    /// The largest pending revision among the newest versions of the span's keys.
    pub(crate) fn pending_in(&self, span: &Span) -> Option<Revision> {
        match self.over {
            Over::Live(o) => o.pending_overlapping(span),
            Over::Captured(_) => None,
        }
    }

    /// The engine, for those who look at all versions.
    pub(crate) fn engine(&self) -> &'a R {
        self.read
    }

    /// What was captured; nothing when the overlay is live.
    pub(crate) fn captured(&self) -> Option<&'a Captured> {
        match self.over {
            Over::Captured(c) => Some(c),
            Over::Live(_) => None,
        }
    }

    /// As `scan`, under a layer of the caller's making.
    pub(crate) fn scan_under(
        &self,
        span: &Span,
        at: Revision,
        direction: Direction,
        mut layer: Layer<'_>,
        mut visit: impl FnMut(&Found<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if span.is_empty() {
            return Ok(());
        }
        if direction == Direction::Backward {
            layer.reverse();
        }
        let mut layer = layer.into_iter().peekable();
        let mut walk = Walk::new(self.read, self.patient, span, at, direction)?;
        let mut more = walk.advance()?;
        let (mut over_prefix, mut encoded) = (Vec::new(), false);
        while more || layer.peek().is_some() {
            let mut order = std::cmp::Ordering::Less;
            if let Some((key, _, _)) = layer.peek() {
                if !encoded {
                    over_prefix.clear();
                    keys::put_prefix(&mut over_prefix, key);
                    encoded = true;
                }
                order = match (more, direction) {
                    (false, _) => std::cmp::Ordering::Greater,
                    (true, Direction::Forward) => walk.prefix().cmp(&over_prefix),
                    (true, Direction::Backward) => over_prefix[..].cmp(walk.prefix()),
                };
            }
            // At equal keys the larger revision is the newer version.
            let over_first = match (order, layer.peek()) {
                (std::cmp::Ordering::Greater, Some(_)) => true,
                (std::cmp::Ordering::Equal, Some((_, revision, _))) => *revision >= walk.revision(),
                _ => false,
            };
            let flow = if over_first {
                let Some(over) = layer.peek() else { break };
                visit_over(over, &mut visit)?
            } else {
                let value = walk.value();
                if record::is_live(value)? {
                    visit(&Found { revision: walk.revision(), body: Body::Raw { key: walk.raw(), value } })?
                } else {
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                return Ok(());
            }
            if order != std::cmp::Ordering::Less {
                layer.next();
                encoded = false;
            }
            if order != std::cmp::Ordering::Greater {
                more = walk.advance()?;
            }
        }
        Ok(())
    }
}

fn visit_over(
    (key, revision, record): &(&Key, Revision, &Record),
    visit: &mut impl FnMut(&Found<'_>) -> Result<ControlFlow<()>>,
) -> Result<ControlFlow<()>> {
    if !record.is_live() {
        return Ok(ControlFlow::Continue(()));
    }
    visit(&Found { revision: *revision, body: Body::Over { key, record } })
}

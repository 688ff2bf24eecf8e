//! Compares: the condition of a transaction, always on the state before it.

use crate::evaluate::{Stop, Stopped, Turn};
use crate::request::{Compare, CompareResult, CompareTarget, KeyValue};
use crate::source::{Layer, Pages};
use crate::walk::Direction;
use base::{Key, Revision};
use bytes::Bytes;
use engine::Read;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// What is known about a compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Holds,
    Fails,
    /// It depends on the number of this pending command.
    Open(u64),
}

impl<R: Read + ?Sized> Turn<'_, R> {
    /// Do all of them hold? What certainly fails decides, also beside one that is still open.
    pub(crate) fn compares(&self, compares: &[Compare]) -> Stopped<bool> {
        let mut open = None;
        for c in compares {
            match self.compare(c)? {
                Verdict::Holds => {}
                Verdict::Fails => return Ok(false),
                Verdict::Open(seq) => open = open.max(Some(seq)),
            }
        }
        match open {
            Some(seq) => Err(Stop::BlockedOn(seq)),
            None => Ok(true),
        }
    }

    /// One compare: all live keys of the span must satisfy it. No key at all is compared as a zero key-value, and a
    /// value that is not there compares false.
    fn compare(&self, c: &Compare) -> Stopped<Verdict> {
        let (mut seen, mut verdict) = (false, Verdict::Holds);
        let keys_only = !matches!(c.target, CompareTarget::Value(_));
        let mut look = |kv: &KeyValue| {
            seen = true;
            match satisfies(c, kv) {
                Verdict::Holds => ControlFlow::Continue(()),
                Verdict::Fails => {
                    verdict = Verdict::Fails;
                    ControlFlow::Break(())
                }
                open @ Verdict::Open(_) => {
                    verdict = open;
                    ControlFlow::Continue(())
                }
            }
        };
        let own_writes = base::bug!("compare-sees-own-writes");
        if c.span.is_point() && !own_writes {
            if let Some(kv) = self.source.get_live(&c.span.start, self.at)? {
                let _ = look(&kv);
            }
        } else {
            let layer: Layer<'_> = if own_writes { self.layer(&c.span) } else { self.source.layer(&c.span, self.at) };
            self.source.scan_under(&c.span, self.at, Direction::Forward, layer, |found| {
                Ok(look(&found.kv(keys_only, &mut Pages::single())?))
            })?;
        }
        if seen {
            return Ok(verdict);
        }
        match c.target {
            CompareTarget::Value(_) => Ok(Verdict::Fails),
            _ => Ok(satisfies(c, &nothing())),
        }
    }
}

fn nothing() -> KeyValue {
    KeyValue {
        key: Key::default(),
        create: Revision::ZERO,
        modified: Revision::ZERO,
        version: 0,
        value: Bytes::new(),
        lease: 0,
    }
}

fn satisfies(c: &Compare, kv: &KeyValue) -> Verdict {
    let order = match &c.target {
        CompareTarget::Version(v) => i64::try_from(kv.version).unwrap_or(i64::MAX).cmp(v),
        CompareTarget::Lease(v) => kv.lease.cmp(v),
        CompareTarget::Value(v) => kv.value.cmp(v),
        CompareTarget::Create(v) => match revision_order(kv.create, *v) {
            Ok(order) => order,
            Err(seq) => return Verdict::Open(seq),
        },
        CompareTarget::Mod(v) => match revision_order(kv.modified, *v) {
            Ok(order) => order,
            Err(seq) => return Verdict::Open(seq),
        },
    };
    let holds = match c.result {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::NotEqual => order != Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
    };
    if holds { Verdict::Holds } else { Verdict::Fails }
}

/// How a revision relates to a number from a client. A pending one will be larger than 1, where every store begins:
/// enough for "was it ever created?", the compare that most transactions make.
fn revision_order(r: Revision, target: i64) -> Result<Ordering, u64> {
    match r.pending_seq() {
        None => Ok((r.0 as i64).cmp(&target)),
        Some(_) if target <= Revision::FIRST.0 as i64 => Ok(Ordering::Greater),
        Some(seq) => Err(seq),
    }
}

//! Scan: etcd's Range, at one revision.
//!
//! What etcd does, in its order: take the live keys of the span at the revision, filter by mod and create revision, sort,
//! cut at the limit, drop values if only keys are wanted. `count` is taken before all of it: filters and limit do not
//! touch it. Without filter and sort (or sorted by key) the limit stops the reading, and the rest is only counted.

use crate::count::{CountPlan, Learned};
use crate::evaluate::{Stop, Stopped, Turn};
use crate::reply::{Deferred, within};
use crate::request::{KeyValue, RangeReply, RangeReq, Sort, SortTarget};
use crate::source::{Found, Layer, Pages, Source, key_value};
use crate::walk::Direction;
use base::{Error, Kind, Result, Revision, Span};
use engine::Read;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// Answers a scan at `at`, which is an issued revision.
pub fn read<R: Read + ?Sized>(source: &Source<'_, R>, r: &RangeReq, at: Revision) -> Result<RangeReply> {
    finish(Scan { source, r, at, own: None }.answer(source.layer(&r.span, at), None)).map(|(reply, _)| reply)
}

/// Answers a scan at `at`, counting by a plan that was made when the source's overlay was captured. What the walks of
/// the plan saw goes back to its index.
pub fn read_counted<R: Read + ?Sized>(
    source: &Source<'_, R>,
    r: &RangeReq,
    at: Revision,
    plan: &CountPlan,
) -> Result<(RangeReply, Learned)> {
    let scan = Scan { source, r, at, own: None };
    finish(scan.answer(source.layer(&r.span, at), Some(plan)))
        .map(|(reply, learned)| (reply, learned.unwrap_or_default()))
}

fn finish(answer: Stopped<Answer>) -> Result<(RangeReply, Option<Learned>)> {
    match answer {
        Ok(answer) => Ok((answer.reply, answer.learned)),
        Err(Stop::Refused(e)) => Err(e),
        Err(Stop::BlockedOn(_) | Stop::NeedsBounds) => {
            Err(Error::new(Kind::Retry, "a read at an issued revision met a pending one"))
        }
    }
}

/// What to ask of one of several adjacent ranges, so that `merge_replies` can combine the answers.
#[must_use]
pub fn part_of(r: &RangeReq, span: Span) -> RangeReq {
    // Values decide the order across parts even when only keys are wanted in the end.
    let keys_only = r.keys_only && r.sort.is_none_or(|s| s.target != SortTarget::Value);
    RangeReq { span, keys_only, ..r.clone() }
}

/// Combines the answers of adjacent ranges, given in the order of keys, each to its `part_of` the request.
pub fn merge_replies(parts: Vec<RangeReply>, r: &RangeReq) -> RangeReply {
    let mut whole = RangeReply::default();
    for part in parts {
        whole.kvs.extend(part.kvs);
        whole.more |= part.more;
        whole.count += part.count;
    }
    if let Some(sort) = r.sort {
        whole.kvs.sort_by(|a, b| order(sort, a, b));
    }
    whole.cut(r.limit);
    if r.keys_only {
        drop_values(&mut whole.kvs);
    }
    whole
}

impl<R: Read + ?Sized> Turn<'_, R> {
    /// A scan inside a command: it sees what the command wrote before, unless it names a revision.
    pub(crate) fn scan(&mut self, r: &RangeReq) -> Stopped<RangeReply> {
        self.check_revision(r)?;
        let answer = if r.revision == Revision::ZERO {
            let scan = Scan { source: self.source, r, at: self.at, own: self.own };
            if r.span.is_point() {
                let newest = self.newest(&r.span.start)?.filter(|(_, record)| record.is_live());
                scan.point(newest.map(|(modified, record)| key_value(r.span.start.clone(), modified, &record)))?
            } else {
                scan.answer(self.layer(&r.span), None)?
            }
        } else {
            // Some pending version may turn out to be at or below the revision.
            if let Some(seq) = self.source.pending_in(&r.span).and_then(Revision::pending_seq) {
                return Err(Stop::BlockedOn(seq));
            }
            let scan = Scan { source: self.source, r, at: r.revision, own: None };
            scan.answer(self.source.layer(&r.span, r.revision), None)?
        };
        if answer.deferred {
            self.deferred.push(Deferred { path: self.path.clone(), filter: r.filter, limit: r.limit });
        }
        Ok(answer.reply)
    }
}

/// One scan being answered.
struct Scan<'a, 'b, R: Read + ?Sized> {
    source: &'a Source<'b, R>,
    r: &'a RangeReq,
    at: Revision,
    /// The pending revision of the command it belongs to.
    own: Option<Revision>,
}

struct Answer {
    reply: RangeReply,
    learned: Option<Learned>,
    /// Filter and limit wait for the command's own number.
    deferred: bool,
}

/// What is known about a key-value under a filter.
enum Pass {
    Yes,
    No,
    /// It depends on the command's own number.
    Own,
    /// It depends on the number of another command.
    Other(u64),
}

impl<R: Read + ?Sized> Scan<'_, '_, R> {
    fn answer(&self, layer: Layer<'_>, plan: Option<&CountPlan>) -> Stopped<Answer> {
        let r = self.r;
        if r.span.is_point() && plan.is_none_or(|p| p.is_trivial()) && layer.is_empty() {
            return self.point(self.source.get_live(&r.span.start, self.at)?);
        }
        let by_key = r.sort.is_none_or(|s| s.target == SortTarget::Key);
        if r.count_only || (by_key && r.filter.is_none()) { self.in_order(layer, plan) } else { self.sorted(layer) }
    }

    /// A single key: no walk.
    fn point(&self, kv: Option<KeyValue>) -> Stopped<Answer> {
        let mut kvs = Vec::new();
        let (mut count, mut deferred) = (0, false);
        if let Some(mut kv) = kv {
            count = 1;
            let pass = if self.r.count_only { Pass::No } else { self.pass(&kv) };
            if self.r.keys_only {
                kv.value = bytes::Bytes::new();
            }
            match pass {
                Pass::No => {}
                Pass::Other(seq) => return Err(Stop::BlockedOn(seq)),
                Pass::Yes => kvs.push(kv),
                Pass::Own => {
                    deferred = true;
                    kvs.push(kv);
                }
            }
        }
        Ok(Answer { reply: RangeReply { kvs, more: false, count }, learned: None, deferred })
    }

    /// In the order of keys, no filter: the limit ends the reading of values.
    fn in_order(&self, layer: Layer<'_>, plan: Option<&CountPlan>) -> Stopped<Answer> {
        let r = self.r;
        let direction = match r.sort {
            Some(s) if s.descending && !r.count_only => Direction::Backward,
            _ => Direction::Forward,
        };
        let (mut kvs, mut seen, mut pages) = (Vec::new(), 0u64, Pages::shared());
        let wanted = match (r.count_only, r.limit) {
            (true, _) => 0,
            (false, 0) => u64::MAX,
            (false, limit) => limit,
        };
        let mut visit = |found: &Found<'_>| {
            seen += 1;
            if seen <= wanted {
                kvs.push(found.kv(r.keys_only, &mut pages)?);
            }
            // With a plan, one key more than wanted is all that must be seen.
            Ok(if plan.is_some() && seen > wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        if !(plan.is_some() && r.count_only) {
            self.source.scan_under(&r.span, self.at, direction, layer, &mut visit)?;
        }
        let (mut count, mut learned) = (seen, None);
        if let Some(plan) = plan
            && (seen > wanted || r.count_only)
        {
            base::marker!("mvcc.count by plan");
            let counted = plan.carry_out(self.source, self.at)?;
            (count, learned) = (counted.0, Some(counted.1));
        }
        let more = !r.count_only && count > wanted;
        if base::bug!("count-honours-limit") {
            count = kvs.len() as u64;
        }
        Ok(Answer { reply: RangeReply { kvs, more, count }, learned, deferred: false })
    }

    /// Filtered or sorted by something else: every key-value is looked at, few are kept at a time.
    fn sorted(&self, layer: Layer<'_>) -> Stopped<Answer> {
        let r = self.r;
        let by_value = r.sort.is_some_and(|s| s.target == SortTarget::Value);
        let (mut kvs, mut count, mut passed) = (Vec::new(), 0u64, 0u64);
        let (mut deferred, mut blocked) = (false, None);
        self.source.scan_under(&r.span, self.at, Direction::Forward, layer, |found| {
            count += 1;
            let kv = found.kv(r.keys_only && !by_value, &mut Pages::single())?;
            match self.pass(&kv) {
                Pass::No => return Ok(ControlFlow::Continue(())),
                Pass::Other(seq) => {
                    blocked = Some(seq);
                    return Ok(ControlFlow::Break(()));
                }
                Pass::Own => deferred = true,
                Pass::Yes => {}
            }
            passed += 1;
            kvs.push(kv);
            let keep = r.limit.saturating_mul(2).saturating_add(256);
            if r.limit > 0 && self.own.is_none() && kvs.len() as u64 > keep {
                self.sort(&mut kvs);
                kvs.truncate(r.limit as usize);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some(seq) = blocked {
            return Err(Stop::BlockedOn(seq));
        }
        self.sort(&mut kvs);
        if r.keys_only {
            drop_values(&mut kvs);
        }
        let mut reply = RangeReply { kvs, more: false, count };
        if !deferred {
            reply.cut(r.limit);
            reply.more = r.limit > 0 && passed > r.limit;
        }
        Ok(Answer { reply, learned: None, deferred })
    }

    /// Ties stay in the order of keys. Pending revisions are the largest.
    fn sort(&self, kvs: &mut [KeyValue]) {
        if let Some(sort) = self.r.sort {
            kvs.sort_by(|a, b| order(sort, a, b));
        }
    }

    fn pass(&self, kv: &KeyValue) -> Pass {
        let f = &self.r.filter;
        let mut pass = Pass::Yes;
        for (r, min, max) in [(kv.modified, f.min_mod, f.max_mod), (kv.create, f.min_create, f.max_create)] {
            if min == Revision::ZERO && max == Revision::ZERO {
                continue;
            }
            match r.pending_seq() {
                None => {
                    if !within(r, min, max) {
                        return Pass::No;
                    }
                }
                Some(_) if self.own == Some(r) && base::bug!("own-filter-before-numbering") => return Pass::Yes,
                Some(_) if self.own == Some(r) => {
                    if matches!(pass, Pass::Yes) {
                        pass = Pass::Own;
                    }
                }
                Some(seq) => pass = Pass::Other(seq),
            }
        }
        pass
    }
}

fn drop_values(kvs: &mut [KeyValue]) {
    for kv in kvs {
        kv.value = bytes::Bytes::new();
    }
}

fn order(sort: Sort, a: &KeyValue, b: &KeyValue) -> Ordering {
    let order = match sort.target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create.cmp(&b.create),
        SortTarget::Mod => a.modified.cmp(&b.modified),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    if sort.descending { order.reverse() } else { order }
}

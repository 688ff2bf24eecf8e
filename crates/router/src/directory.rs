//! Spans → ranges → leaders.

use base::{Descriptor, Error, Key, Kind, RangeId, Result, Span, StoreId, marker};
use mvcc::Request;
use std::collections::BTreeMap;

/// One part of a request's way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    pub range: RangeId,
    /// What of the request lies in this range.
    pub span: Span,
}

/// Where a request must go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plan {
    /// All its keys lie in one range.
    One(RangeId),
    /// A scan over several ranges: each part is read at the same revision.
    Scan(Vec<Route>),
}

/// Every range of the cluster, by its first key.
#[derive(Clone, Default, Debug)]
pub struct Directory {
    by_start: BTreeMap<Key, Descriptor>,
    by_id: BTreeMap<RangeId, Key>,
    leaders: BTreeMap<RangeId, StoreId>,
}

impl Directory {
    /// The directory that holds these ranges.
    pub fn new(ranges: impl IntoIterator<Item = Descriptor>) -> Directory {
        let mut d = Directory::default();
        for r in ranges {
            d.by_id.insert(r.id, r.span.start.clone());
            d.by_start.insert(r.span.start.clone(), r);
        }
        d
    }

    /// A range by its id.
    pub fn get(&self, id: RangeId) -> Option<&Descriptor> {
        self.by_start.get(self.by_id.get(&id)?)
    }

    /// All ranges, in key order.
    pub fn ranges(&self) -> impl Iterator<Item = &Descriptor> {
        self.by_start.values()
    }

    /// The ranges that share keys with this span, in key order, each with what it shares.
    pub fn overlapping(&self, span: &Span) -> Vec<Route> {
        if span.is_empty() {
            return Vec::new();
        }
        let first = self.by_start.range(..=span.start.clone()).next_back();
        let later = self.by_start.range(span.start.clone()..span.end.clone()).filter(|(k, _)| **k != span.start);
        let mut out = Vec::new();
        for (_, d) in first.into_iter().chain(later) {
            if let Some(part) = d.span.intersection(span) {
                out.push(Route { range: d.id, span: part });
            }
        }
        out
    }

    /// Where a request must go; a write whose keys lie in several ranges cannot go anywhere yet.
    pub fn plan(&self, request: &Request) -> Result<Plan> {
        if let Request::Range(r) = request {
            let mut routes = self.overlapping(&r.span);
            return match routes.len() {
                // Nothing lies in an empty span: any range can say so.
                0 => self.home(&r.span).map(Plan::One),
                1 => Ok(Plan::One(routes.remove(0).range)),
                _ => {
                    marker!("router.scan over ranges");
                    Ok(Plan::Scan(routes))
                }
            };
        }
        let mut home: Option<RangeId> = None;
        let mut several = false;
        request.spans(&mut |span, _| {
            for route in self.overlapping(span) {
                match home {
                    None => home = Some(route.range),
                    Some(h) => several |= h != route.range,
                }
            }
        });
        if several {
            marker!("router.write over ranges refused");
            let text = "transactions over several ranges are not built yet: the keys of this request lie in more than one range";
            return Err(Error::new(Kind::Unimplemented, text));
        }
        match home {
            Some(h) => Ok(Plan::One(h)),
            None => {
                let mut any = Err(Error::new(Kind::Retry, "no range holds any of the keys"));
                request.spans(&mut |span, _| {
                    if any.is_err() {
                        any = self.home(span).map(Plan::One);
                    }
                });
                // A transaction without keys: the first range answers for it.
                any.or_else(|_| self.home(&Span::users()).map(Plan::One))
            }
        }
    }

    fn home(&self, span: &Span) -> Result<RangeId> {
        let at = span.start.clone().max(Span::users().start);
        self.by_start
            .range(..=at)
            .next_back()
            .map(|(_, d)| d.id)
            .ok_or_else(|| Error::new(Kind::Retry, format!("no range is known to hold {span}")))
    }

    /// The store where the range's leader was last seen.
    pub fn leader(&self, range: RangeId) -> Option<StoreId> {
        self.leaders.get(&range).copied()
    }

    /// Somebody says that this store leads the range, or that nobody is known to.
    pub fn learn(&mut self, range: RangeId, leader: Option<StoreId>) {
        match leader {
            Some(s) => self.leaders.insert(range, s),
            None => self.leaders.remove(&range),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Epoch, Place, ReplicaId};
    use mvcc::{DeleteReq, Filter, PutReq, RangeReq};

    fn d(id: u64, span: Span) -> Descriptor {
        let place = Place { replica: ReplicaId(1), store: StoreId(1) };
        Descriptor { id: RangeId(id), span, epoch: Epoch { conf: 1, version: 1 }, replicas: vec![place] }
    }
    fn k(s: &str) -> Key {
        Key::user(s.as_bytes())
    }
    fn directory() -> Directory {
        let u = Span::users();
        Directory::new([
            d(1, Span::system()),
            d(2, Span::new(u.start.clone(), k("g"))),
            d(3, Span::new(k("g"), k("n"))),
            d(4, Span::new(k("n"), u.end)),
        ])
    }
    fn scan(a: &str, b: &str) -> Request {
        Request::Range(RangeReq {
            span: Span::new(k(a), k(b)),
            revision: base::Revision::ZERO,
            limit: 0,
            sort: None,
            keys_only: false,
            count_only: false,
            serializable: false,
            filter: Filter::default(),
        })
    }

    #[test]
    fn scans_go_where_their_keys_are() {
        let dir = directory();
        assert_eq!(dir.plan(&scan("a", "g")).unwrap(), Plan::One(RangeId(2)), "the end is not inside");
        assert_eq!(dir.plan(&scan("g", "h")).unwrap(), Plan::One(RangeId(3)));
        let Plan::Scan(parts) = dir.plan(&scan("f", "z")).unwrap() else { panic!("three ranges") };
        assert_eq!(parts.iter().map(|p| p.range.0).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(parts[1].span, Span::new(k("g"), k("n")));
        assert_eq!(dir.plan(&scan("x", "b")).unwrap(), Plan::One(RangeId(4)), "an empty span goes somewhere");
    }

    #[test]
    fn a_write_over_two_ranges_is_refused() {
        let dir = directory();
        let del = |a: &str, b: &str| Request::Delete(DeleteReq { span: Span::new(k(a), k(b)), prev_kv: false });
        assert_eq!(dir.plan(&del("a", "b")).unwrap(), Plan::One(RangeId(2)));
        assert_eq!(dir.plan(&del("a", "h")).unwrap_err().kind, Kind::Unimplemented);
        let put = Request::Put(PutReq {
            key: k("n"),
            value: bytes::Bytes::new(),
            lease: 0,
            prev_kv: false,
            ignore_value: false,
            ignore_lease: false,
        });
        assert_eq!(dir.plan(&put).unwrap(), Plan::One(RangeId(4)));
    }
}

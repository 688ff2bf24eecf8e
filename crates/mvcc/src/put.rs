//! Put: one key, one new version, always; also when the value is the one it has.

use crate::evaluate::{Stopped, Turn};
use crate::heads::Head;
use crate::record::Record;
use crate::request::{KeyValue, PutReply, PutReq};
use base::Result;
use base::error::Refusal;
use bytes::Bytes;
use engine::Read;

impl<R: Read + ?Sized> Turn<'_, R> {
    pub(crate) fn put(&mut self, p: &PutReq) -> Stopped<PutReply> {
        base::marker!("mvcc.put");
        let newest = self.before(p)?;
        // A delete mark ends a life: the next version begins a new one, at version 1.
        let before = newest.filter(|(h, _)| h.is_live() || base::bug!("version-not-reset-after-delete"));
        let was_live = before.as_ref().is_some_and(|(h, _)| h.is_live());
        if (p.ignore_value || p.ignore_lease) && !was_live {
            return Err(Refusal::KeyNotFound.into());
        }
        let own = self.own.unwrap_or_default();
        let record = match &before {
            Some((h, value)) => Record {
                sub: 0,
                create: h.create,
                version: h.version.saturating_add(1),
                lease: if p.ignore_lease { h.lease } else { p.lease },
                value: if p.ignore_value { value.clone() } else { Some(p.value.clone()) },
            },
            None => Record { sub: 0, create: own, version: 1, lease: p.lease, value: Some(p.value.clone()) },
        };
        let live_delta = i64::from(!was_live);
        self.write(p.key.clone(), record, live_delta)?;
        let prev = before.filter(|_| p.prev_kv && was_live).map(|(h, value)| KeyValue {
            key: p.key.clone(),
            create: h.create,
            modified: h.modified,
            version: h.version,
            value: value.unwrap_or_default(),
            lease: h.lease,
        });
        Ok(PutReply { prev })
    }

    /// The version before this one, with its value where that matters.
    fn before(&self, p: &PutReq) -> Result<Option<(Head, Option<Bytes>)>> {
        if p.prev_kv || p.ignore_value {
            return Ok(self.newest(&p.key)?.map(|(modified, r)| (Head::of(modified, &r), r.value)));
        }
        Ok(self.newest_head(&p.key)?.map(|h| (h, None)))
    }
}

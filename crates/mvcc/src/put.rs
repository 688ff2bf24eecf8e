//! Put: one key, one new version, always; also when the value is the one it has.

use crate::evaluate::{Stopped, Turn};
use crate::record::Record;
use crate::request::{PutReply, PutReq};
use crate::source::key_value;
use base::error::Refusal;
use engine::Read;

impl<R: Read + ?Sized> Turn<'_, R> {
    pub(crate) fn put(&mut self, p: &PutReq) -> Stopped<PutReply> {
        base::marker!("mvcc.put");
        let newest = self.newest(&p.key)?;
        // A delete mark ends a life: the next version begins a new one, at version 1.
        let before = match newest {
            Some((modified, record)) if record.is_live() || base::bug!("version-not-reset-after-delete") => {
                Some((modified, record))
            }
            _ => None,
        };
        let was_live = before.as_ref().is_some_and(|(_, r)| r.is_live());
        if (p.ignore_value || p.ignore_lease) && !was_live {
            return Err(Refusal::KeyNotFound.into());
        }
        let own = self.own.unwrap_or_default();
        let record = match &before {
            Some((_, r)) => Record {
                sub: 0,
                create: r.create,
                version: r.version.saturating_add(1),
                lease: if p.ignore_lease { r.lease } else { p.lease },
                value: if p.ignore_value { r.value.clone() } else { Some(p.value.clone()) },
            },
            None => Record { sub: 0, create: own, version: 1, lease: p.lease, value: Some(p.value.clone()) },
        };
        let live_delta = i64::from(!was_live);
        self.write(p.key.clone(), record, live_delta)?;
        let prev = before.filter(|_| p.prev_kv && was_live).map(|(m, r)| key_value(p.key.clone(), m, &r));
        Ok(PutReply { prev })
    }
}

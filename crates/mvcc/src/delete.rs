//! Delete: every live key of a span gets a delete mark. What is not there leaves no trace.

use crate::evaluate::{Stopped, Turn};
use crate::record::Record;
use crate::request::{DeleteReply, DeleteReq, KeyValue};
use crate::source::{Pages, key_value};
use crate::walk::Direction;
use base::{Error, Key, Kind, Span, limits};
use engine::Read;
use std::ops::ControlFlow;

impl<R: Read + ?Sized> Turn<'_, R> {
    pub(crate) fn delete(&mut self, d: &DeleteReq) -> Stopped<DeleteReply> {
        let (keys, prev) = self.victims(&d.span, d.prev_kv)?;
        let deleted = keys.len() as u64;
        if deleted == 0 {
            base::marker!("mvcc.delete of nothing");
            if base::bug!("delete-of-nothing-counts") && d.span.is_point() && self.own.is_some() {
                self.write(d.span.start.clone(), Record::mark(0), 0)?;
            }
        } else {
            base::marker!("mvcc.delete");
        }
        for key in keys {
            self.write(key, Record::mark(0), -1)?;
        }
        Ok(DeleteReply { deleted, prev })
    }

    /// The live keys of the span, in order, and what they hold if somebody wants to know.
    fn victims(&self, span: &Span, with_values: bool) -> Stopped<(Vec<Key>, Vec<KeyValue>)> {
        let (mut keys, mut prev) = (Vec::new(), Vec::new());
        if span.is_point() {
            let key = &span.start;
            if let Some((modified, record)) = self.newest(key)?.filter(|(_, r)| r.is_live()) {
                if with_values {
                    prev.push(key_value(key.clone(), modified, &record));
                }
                keys.push(key.clone());
            }
            return Ok((keys, prev));
        }
        // Counted while scanning, so that what is too large is found out before all of it was read.
        let (mut bytes, mut given_back) = (0, 0);
        self.source.scan_under(span, self.at, Direction::Forward, self.layer(span), |found| {
            if with_values {
                let kv = found.kv(false, &mut Pages::single())?;
                given_back += kv.key.bytes().len() + kv.value.len();
                prev.push(kv);
            }
            let key = found.key()?;
            bytes += key.bytes().len();
            keys.push(key);
            self.room_for(keys.len(), bytes)?;
            if given_back > limits::MAX_DELETED_BYTES {
                let mib = limits::MAX_DELETED_BYTES >> 20;
                let text = format!("a delete that hands back more than {mib} MiB (prev_kv): delete in parts");
                return Err(Error::new(Kind::Unimplemented, text));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((keys, prev))
    }
}

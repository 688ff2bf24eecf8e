//! A cursor over a frozen state in memory. It takes records in runs that grow while it walks on in one direction, so
//! that a seek costs one record and a long walk costs one lookup in many records.

use super::{Inner, MemView};
use crate::{Cf, Cursor};
use base::Result;
use bytes::Bytes;
use std::ops::Bound;
use std::sync::Arc;

/// The longest run.
const RUN: usize = 32;

/// A cursor; see [`Cursor`].
pub(super) struct MemCursor {
    inner: Arc<Inner>,
    /// The view that a cursor over the newest state holds itself.
    own: Option<MemView>,
    seq: u64,
    cf: Cf,
    lower: Bytes,
    upper: Bytes,
    run: Vec<(Bytes, Bytes)>,
    at: usize,
    forward: bool,
    length: usize,
    status: Result<()>,
}

impl MemCursor {
    pub(super) fn new(inner: Arc<Inner>, seq: u64, cf: Cf, (lower, upper): (&[u8], &[u8])) -> MemCursor {
        MemCursor {
            inner,
            own: None,
            seq,
            cf,
            lower: Bytes::copy_from_slice(lower),
            upper: Bytes::copy_from_slice(upper),
            run: Vec::new(),
            at: 0,
            forward: true,
            length: 1,
            status: Ok(()),
        }
    }

    /// Keeps this view alive as long as the cursor.
    pub(super) fn owning(mut self, view: MemView) -> MemCursor {
        self.own = Some(view);
        self
    }

    /// Takes the next run from here, in this direction. A rotten record ends it with an error.
    fn fill(&mut self, forward: bool, from: Bound<&[u8]>) {
        (self.forward, self.at) = (forward, 0);
        self.run.clear();
        let state = self.inner.read();
        self.status = state.check_alive();
        if self.status.is_err() || self.lower >= self.upper {
            return;
        }
        let table = state.table(self.cf);
        self.run = match forward {
            true => table.ahead(from, &self.upper, self.seq, self.length),
            false => table.back(from, &self.lower, self.seq, self.length),
        };
        // What is behind a rotten record is read when the walk comes to it, and not before.
        if let Some(i) = self.run.iter().position(|(k, _)| state.check_sound(self.cf, k).is_err()) {
            if i == 0 {
                self.status = state.check_sound(self.cf, &self.run[0].0);
            }
            self.run.truncate(i);
        }
    }

    fn start_at(&mut self, forward: bool, from: Bound<&[u8]>) {
        self.length = 1;
        self.fill(forward, from);
    }

    fn walk(&mut self, forward: bool) {
        if self.at >= self.run.len() {
            return;
        }
        if forward == self.forward && self.at + 1 < self.run.len() {
            self.at += 1;
            return;
        }
        let here = self.run[self.at].0.clone();
        self.length = if forward == self.forward { (self.length * 2).min(RUN) } else { 1 };
        self.fill(forward, Bound::Excluded(&here));
    }
}

impl Cursor for MemCursor {
    fn seek(&mut self, key: &[u8]) {
        let from = if *key < *self.lower { self.lower.clone() } else { Bytes::copy_from_slice(key) };
        self.start_at(true, Bound::Included(&from));
    }
    fn seek_for_prev(&mut self, key: &[u8]) {
        if *key >= *self.upper {
            return self.seek_last();
        }
        self.start_at(false, Bound::Included(key));
    }
    fn seek_first(&mut self) {
        let from = self.lower.clone();
        self.start_at(true, Bound::Included(&from));
    }
    fn seek_last(&mut self) {
        let from = self.upper.clone();
        self.start_at(false, Bound::Excluded(&from));
    }
    fn next(&mut self) {
        self.walk(true);
    }
    fn prev(&mut self) {
        self.walk(false);
    }
    fn item(&self) -> Option<(&[u8], &[u8])> {
        self.run.get(self.at).map(|(k, v)| (&k[..], &v[..]))
    }
    fn status(&self) -> Result<()> {
        self.status.clone()
    }
}

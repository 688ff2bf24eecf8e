//! Walking over the versions in the engine: one stop per key, at its newest version at or below a revision.
//!
//! Versions of a key lie newest first. Going forward, the walk tries a few steps to get past versions that do not
//! matter (a step costs a tenth of a seek), then seeks. Going back it meets the oldest version of a key first and keeps
//! a copy of the newest that still counts, so that the engine's iterator never has to turn round.

use base::{Error, Result, Revision, Span};
use engine::{Cf, Cursor, Read, keys};

/// Steps before a seek is cheaper.
const STEPS: usize = 6;

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// In the order of keys.
    Forward,
    /// Against the order of keys.
    Backward,
}

/// How to open cursors: may they wait for a disk?
pub(crate) fn open<'a, R: Read + ?Sized>(
    read: &'a R,
    patient: bool,
    (lower, upper): (&[u8], &[u8]),
) -> Result<Box<dyn Cursor + 'a>> {
    match patient {
        true => read.cursor(Cf::Data, lower, upper),
        false => read.try_cursor(Cf::Data, lower, upper),
    }
}

/// A position on the newest version at or below `at` of one key after the other, delete marks included.
pub(crate) struct Walk<'a> {
    cursor: Box<dyn Cursor + 'a>,
    at: Revision,
    direction: Direction,
    begun: bool,
    /// The raw key of the version here.
    raw: Vec<u8>,
    revision: Revision,
    /// Backward: a copy of the version here; the cursor may be further back already.
    held: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new<R: Read + ?Sized>(
        read: &'a R,
        patient: bool,
        span: &Span,
        at: Revision,
        direction: Direction,
    ) -> Result<Walk<'a>> {
        let (lower, upper) = keys::version_span(span);
        let cursor = open(read, patient, (&lower, &upper))?;
        Ok(Walk {
            cursor,
            at,
            direction,
            begun: false,
            raw: Vec::with_capacity(64),
            revision: Revision::ZERO,
            held: Vec::new(),
        })
    }

    /// To the next key that has a version at or below `at`. False at the end.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        match self.direction {
            Direction::Forward => self.forward(),
            Direction::Backward => self.backward(),
        }
    }

    /// The raw key of the version here.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }
    /// What all versions of the key here begin with.
    pub(crate) fn prefix(&self) -> &[u8] {
        &self.raw[..self.raw.len() - 8]
    }
    /// The revision of the version here.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }
    /// The encoded record here.
    pub(crate) fn value(&self) -> &[u8] {
        match self.direction {
            Direction::Forward => self.cursor.item().map_or(&[], |(_, v)| v),
            Direction::Backward => &self.held,
        }
    }

    /// Puts the cursor's raw key into `raw`. False off the end.
    fn take(&mut self) -> Result<bool> {
        let Some(k) = self.cursor.key() else {
            self.cursor.status()?;
            return Ok(false);
        };
        self.revision = keys::version_revision(k)?;
        self.raw.clear();
        self.raw.extend_from_slice(k);
        Ok(true)
    }

    /// Is the cursor on a version of the key in `raw`?
    fn same_key(&self) -> bool {
        let n = self.raw.len() - 8;
        self.cursor.key().is_some_and(|k| k.len() == n + 8 && k[..n] == self.raw[..n])
    }

    /// A key of the engine that lies before (`!at`) or behind (`None`) all versions of the key in `raw` that count.
    fn seek_key(&self, revision: Option<Revision>) -> Vec<u8> {
        let n = self.raw.len() - 8;
        let mut k = self.raw[..n].to_vec();
        match revision {
            Some(r) => k.extend_from_slice(&(!r.0).to_be_bytes()),
            // The terminator 00 01 becomes 00 02: behind every version, before every longer key.
            None => k[n - 1] = 2,
        }
        k
    }

    fn forward(&mut self) -> Result<bool> {
        if self.begun {
            self.leave_forward();
        } else {
            self.begun = true;
            self.cursor.seek_first();
        }
        loop {
            if !self.take()? {
                return Ok(false);
            }
            if self.revision <= self.at {
                return Ok(true);
            }
            let mut steps = 0;
            while self.revision > self.at && self.same_key() {
                steps += 1;
                if steps > STEPS {
                    self.cursor.seek(&self.seek_key(Some(self.at)));
                } else {
                    self.cursor.next();
                }
                if self.same_key() && !self.take()? {
                    return Ok(false);
                }
            }
            if self.same_key() {
                return Ok(true);
            }
        }
    }

    /// Past all versions of the key in `raw`.
    fn leave_forward(&mut self) {
        for _ in 0..STEPS {
            self.cursor.next();
            if !self.same_key() {
                return;
            }
        }
        self.cursor.seek(&self.seek_key(None));
    }

    fn backward(&mut self) -> Result<bool> {
        if !self.begun {
            self.begun = true;
            self.cursor.seek_last();
        }
        loop {
            // Here: on the oldest version of the next key, or off the end.
            if !self.take()? {
                return Ok(false);
            }
            let found = self.revision <= self.at;
            if found {
                self.hold()?;
            }
            self.leave_backward()?;
            if found {
                return Ok(true);
            }
        }
    }

    fn hold(&mut self) -> Result<()> {
        let Some((k, v)) = self.cursor.item() else {
            self.cursor.status()?;
            return Err(Error::corrupt("a version that was there a step ago is gone"));
        };
        self.revision = keys::version_revision(k)?;
        self.held.clear();
        self.held.extend_from_slice(v);
        Ok(())
    }

    /// Back past all versions of the key in `raw`, holding each that is newer and still counts.
    fn leave_backward(&mut self) -> Result<()> {
        let (mut steps, mut counts) = (0, self.revision <= self.at);
        loop {
            self.cursor.prev();
            if !self.same_key() {
                break;
            }
            steps += 1;
            if steps > STEPS {
                if counts {
                    self.cursor.seek(&self.seek_key(Some(self.at)));
                    self.hold()?;
                }
                let n = self.raw.len() - 8;
                self.cursor.seek_for_prev(&self.raw[..n]);
                break;
            }
            let Some(k) = self.cursor.key() else { break };
            counts = counts && keys::version_revision(k)? <= self.at;
            if counts {
                self.hold()?;
            }
        }
        let n = self.raw.len() - 8;
        self.raw[n..].copy_from_slice(&(!self.revision.0).to_be_bytes());
        Ok(())
    }
}

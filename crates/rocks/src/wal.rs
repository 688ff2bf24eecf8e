//! The format of RocksDB's logs: the write-ahead logs (WALs) and the manifest.
//!
//! A log is a row of blocks of 32 KiB, each filled with fragments of records:
//!
//! ```text
//!   fragment    checksum 4 ∥ length 2 ∥ type 1 ∥ payload          numbers little-endian
//!   type        1 a whole record, 2 its first, 3 a middle, 4 its last fragment
//!   checksum    CRC-32C of type and payload, rotated and shifted by a constant
//!   payload     of a WAL: sequence number 8 ∥ count 4 ∥ mark ∥ changes         of a record, once its fragments are joined
//!   mark        tag 3 ∥ length 9 ∥ 'S' ∥ number 8: all up to this sequence number was durable when this was written
//! ```
//!
//! A fragment of types 5 to 8, 11 or 131 is of a log that was used again for another, which we never let RocksDB do: its type
//! has rotted. RocksDB 11.8, which meets one behind others, reads it again and again for ever (`log_reader.cc`: "bad
//! record", and nothing is taken from the buffer), so it must not see one, in the manifest either.

use base::Result;
use bytes::Bytes;

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// As much of a record as is looked at.
const HEAD: usize = 256;

/// RocksDB's tag for what is in the WAL and nowhere else (`kTypeLogData`).
const LOG_DATA: u8 = 3;
const MARK: u8 = b'S';
const MARK_BYTES: usize = 9;
/// Sequence number, count and mark.
const BATCH_HEAD: usize = 8 + 4 + 2 + MARK_BYTES;

/// What a batch says in the WAL, and nowhere else, about what was durable before it.
pub(crate) fn mark(durable: u64) -> [u8; MARK_BYTES] {
    let mut bytes = [MARK; MARK_BYTES];
    bytes[1..].copy_from_slice(&durable.to_le_bytes());
    bytes
}

/// One record of a WAL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Batch {
    /// The sequence number of its first change.
    pub(crate) first: u64,
    /// The sequence number behind its last change.
    pub(crate) next: u64,
    /// All up to this sequence number was durable when it was written.
    pub(crate) durable: u64,
}

impl Batch {
    pub(crate) fn read(head: &[u8]) -> Option<Batch> {
        let number = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
        let first = number(0)?;
        let count = u32::from_le_bytes(head.get(8..12)?.try_into().ok()?);
        let marked = head.get(12..15) == Some(&[LOG_DATA, MARK_BYTES as u8, MARK]);
        // Nothing writes a batch without a mark; of one that lost it nothing is known but that it must not be dropped.
        let durable = if marked { number(15)? } else { u64::MAX };
        Some(Batch { first, next: first.saturating_add(u64::from(count)), durable })
    }
}

/// What a record of the manifest says that concerns the WALs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Edit {
    /// The oldest WAL that a column family needs.
    pub(crate) log: Option<u64>,
    /// The oldest WAL that is needed at all; older ones are not read.
    pub(crate) keep: Option<u64>,
    /// It changes files; otherwise it is a part of the state with which a manifest begins.
    pub(crate) changes: bool,
    /// The last sequence number in any file so far.
    pub(crate) last: Option<u64>,
}

impl Edit {
    /// These fields come before all that are not skipped here (`version_edit.cc`, `VersionEdit::EncodeTo`).
    pub(crate) fn read(record: &[u8]) -> Edit {
        const COMPARATOR: u64 = 1;
        const LOG_NUMBER: u64 = 2;
        const NEXT_FILE: u64 = 3;
        const LAST_SEQUENCE: u64 = 4;
        const PREVIOUS_LOG: u64 = 9;
        const LOG_TO_KEEP: u64 = 10;
        const LARGEST_FAMILY: u64 = 203;
        const DATABASE: u64 = (1 << 13) + 1;
        let mut found = Edit::default();
        let mut rest = Bytes::copy_from_slice(record);
        while let Ok(tag) = base::codec::get_u64(&mut rest) {
            if matches!(tag, COMPARATOR | DATABASE) {
                if base::codec::get_bytes(&mut rest).is_err() {
                    break;
                }
                continue;
            }
            if !matches!(tag, LOG_NUMBER | NEXT_FILE | LAST_SEQUENCE | PREVIOUS_LOG | LOG_TO_KEEP | LARGEST_FAMILY) {
                break;
            }
            let Ok(number) = base::codec::get_u64(&mut rest) else { break };
            match tag {
                LOG_NUMBER => found.log = Some(number),
                LOG_TO_KEEP => found.keep = Some(number),
                NEXT_FILE => found.changes = true,
                LAST_SEQUENCE => found.last = Some(number),
                _ => {}
            }
        }
        found
    }
}

/// Why a fragment cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Damage {
    /// The log ends inside a record.
    End,
    /// What is there is no fragment, and nothing sound is behind it.
    Empty,
    /// What is there is no fragment, or one that belongs to no record, but sound ones are behind it.
    Length,
    /// A complete fragment that is not what was written.
    Checksum,
    /// A fragment of a kind that is never written here, such as of a log that was used again.
    Foreign,
}

/// What a log holds, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found<'a> {
    /// A sound record: where it begins and ends, and its first bytes.
    Record { start: usize, end: usize, head: &'a [u8] },
    /// Something unreadable, up to the next sound fragment or the end.
    Damage {
        at: usize,
        what: Damage,
        /// A sector is empty, as far as it lies behind `at`: it may never have been written.
        hole: bool,
    },
}

enum Fragment<'a> {
    Sound { kind: u8, payload: &'a [u8], end: usize },
    Bad(Damage),
}

fn fragment(bytes: &[u8], at: usize) -> Fragment<'_> {
    let Some(header) = bytes.get(at..at + HEADER) else { return Fragment::Bad(Damage::End) };
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let kind = header[6];
    if matches!(kind, 5..=8 | 11 | 131) {
        return Fragment::Bad(Damage::Foreign);
    }
    let end = at + HEADER + length;
    if end > at - at % BLOCK + BLOCK || (kind == 0 && length == 0) {
        return Fragment::Bad(Damage::Empty);
    }
    if end > bytes.len() {
        return Fragment::Bad(Damage::End);
    }
    let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let crc = crc32c::crc32c(&bytes[at + 6..end]);
    if stored != crc.rotate_right(15).wrapping_add(0xa282_ead8) {
        return Fragment::Bad(Damage::Checksum);
    }
    if !(1..=4).contains(&kind) {
        return Fragment::Bad(Damage::Foreign);
    }
    Fragment::Sound { kind, payload: &bytes[at + HEADER..end], end }
}

/// The number that came next at some offset; `None` for an offset in an earlier log: between them any number may be missing.
type Next = Option<(u64, Option<usize>)>;

/// Where the next sound fragment is, anywhere behind this place. What a value holds may look like one, so it must also be
/// where RocksDB would have put it and, if it is known which number came next, go on from there.
fn next_sound(bytes: &[u8], at: usize, next: Next) -> Option<usize> {
    (at + 1..bytes.len()).find(|&p| {
        // Zeros sum up to nothing that could be told from chance; a real fragment has a type.
        if !bytes.get(p + 6).is_some_and(|kind| (1..=4).contains(kind)) {
            return false;
        }
        let Fragment::Sound { kind, payload, end } = fragment(bytes, p) else { return false };
        let (opens, fills) = (p.is_multiple_of(BLOCK), end.is_multiple_of(BLOCK));
        match kind {
            1 => goes_on(payload, next, p),
            2 => fills && (payload.len() < BATCH_HEAD || goes_on(payload, next, p)),
            3 => opens && fills,
            _ => opens,
        }
    })
}

/// Can this batch have been written at this offset?
fn goes_on(payload: &[u8], next: Next, at: usize) -> bool {
    let Some((next, from)) = next else { return true };
    // A change takes more than a byte, an ingestion a number for each of its files.
    let most = from.map_or(u64::MAX, |from| next.saturating_add((at - from) as u64 + (1 << 16)));
    Batch::read(payload).is_some_and(|batch| (next..=most).contains(&batch.first) && batch.durable < batch.first)
}

/// Is a sector of this stretch empty, as far as it lies behind the begin?
fn has_hole(bytes: &[u8], begin: usize, end: usize) -> bool {
    (begin / SECTOR..end.div_ceil(SECTOR)).any(|sector| {
        let last = ((sector + 1) * SECTOR).min(bytes.len());
        bytes[begin.max(sector * SECTOR)..last].iter().all(|b| *b == 0)
    })
}

/// Which of the two it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Log {
    /// With the number that comes next, if that is known.
    Wal(Option<u64>),
    Manifest,
}

/// Tells what a log holds, from its begin to its end or to the first error of `each`. Behind damage it goes on with the
/// next sound fragment.
pub(crate) fn walk(log: Log, bytes: &[u8], each: &mut dyn FnMut(Found<'_>) -> Result<()>) -> Result<()> {
    let mut next = match log {
        Log::Wal(next) => next.map(|number| (number, None)),
        Log::Manifest => None,
    };
    // The record whose fragments are being joined: its begin and first bytes.
    let mut open: Option<(usize, Vec<u8>)> = None;
    // Fragments of a record whose first one was damaged.
    let mut resumed = false;
    let mut at = 0;
    while at < bytes.len() {
        let left = BLOCK - at % BLOCK;
        if left < HEADER {
            at += left;
            continue;
        }
        match fragment(bytes, at) {
            Fragment::Sound { kind, payload, end } => {
                let begins = !matches!(kind, 3 | 4);
                if begins == open.is_some() && !resumed {
                    // RocksDB: "partial record without end", "missing start of fragmented record".
                    let at = open.as_ref().map_or(at, |(start, _)| *start);
                    each(Found::Damage { at, what: Damage::Length, hole: false })?;
                }
                if begins {
                    (open, resumed) = (Some((at, Vec::new())), false);
                }
                if let Some((start, head)) = &mut open {
                    head.extend_from_slice(&payload[..payload.len().min(HEAD.saturating_sub(head.len()))]);
                    if !matches!(kind, 2 | 3) {
                        if log != Log::Manifest {
                            next = Batch::read(head).map(|batch| (batch.next, Some(end)));
                        }
                        each(Found::Record { start: *start, end, head })?;
                        open = None;
                    }
                }
                at = end;
            }
            Fragment::Bad(what) => {
                let behind = next_sound(bytes, at, next);
                let missing = matches!(what, Damage::End | Damage::Empty);
                let what = if missing && behind.is_some() { Damage::Length } else { what };
                let end = behind.unwrap_or(bytes.len());
                each(Found::Damage { at, what, hole: has_hole(bytes, at, end) })?;
                (open, resumed, at) = (None, true, end);
            }
        }
    }
    match open {
        Some((at, _)) => each(Found::Damage { at, what: Damage::End, hole: false }),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod made;
#[cfg(test)]
mod tests;

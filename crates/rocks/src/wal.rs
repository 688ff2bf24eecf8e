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

/// Where the next sound fragment is, anywhere behind this place. What a value holds may look like one, so it must also be
/// where RocksDB would have put it and, if it is known which number comes next, go on from there.
fn next_sound(bytes: &[u8], at: usize, next: Option<u64>) -> Option<usize> {
    (at + 1..bytes.len()).find(|&p| {
        // Zeros sum up to nothing that could be told from chance; a real fragment has a type.
        if !bytes.get(p + 6).is_some_and(|kind| (1..=4).contains(kind)) {
            return false;
        }
        let Fragment::Sound { kind, payload, end } = fragment(bytes, p) else { return false };
        let (opens, fills) = (p.is_multiple_of(BLOCK), end.is_multiple_of(BLOCK));
        match kind {
            1 => goes_on(payload, next, p - at),
            2 => fills && (payload.len() < BATCH_HEAD || goes_on(payload, next, p - at)),
            3 => opens && fills,
            _ => opens,
        }
    })
}

/// Can this batch have been written behind the number `next`, with so many bytes of others in between?
fn goes_on(payload: &[u8], next: Option<u64>, between: usize) -> bool {
    let Some(next) = next else { return true };
    // A change takes more than a byte, an ingestion a number for each of its files.
    let most = next.saturating_add(between as u64 + (1 << 16));
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
    Wal,
    Manifest,
}

/// Tells what a log holds, from its begin to its end or to the first error of `each`. Behind damage it goes on with the
/// next sound fragment.
pub(crate) fn walk(log: Log, bytes: &[u8], each: &mut dyn FnMut(Found<'_>) -> Result<()>) -> Result<()> {
    // The record whose fragments are being joined: its begin and first bytes.
    let mut open: Option<(usize, Vec<u8>)> = None;
    // Fragments of a record whose first one was damaged.
    let mut resumed = false;
    let mut next = None;
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
                        if log == Log::Wal {
                            next = Batch::read(head).map(|batch| batch.next);
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

/// Logs as RocksDB writes them.
#[cfg(test)]
pub(crate) mod made {
    use super::*;

    /// Appends one fragment.
    pub(crate) fn push(bytes: &mut Vec<u8>, kind: u8, payload: &[u8]) {
        let mut body = vec![kind];
        body.extend_from_slice(payload);
        let crc = crc32c::crc32c(&body).rotate_right(15).wrapping_add(0xa282_ead8);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&body);
    }

    /// Appends a record, in as many fragments as it takes.
    pub(crate) fn append(bytes: &mut Vec<u8>, mut payload: &[u8]) {
        for first in [true, false].into_iter().chain(std::iter::repeat(false)) {
            let left = BLOCK - bytes.len() % BLOCK;
            if left < HEADER {
                bytes.extend(std::iter::repeat_n(0, left));
            }
            let room = BLOCK - bytes.len() % BLOCK - HEADER;
            let (part, rest) = payload.split_at(payload.len().min(room));
            let kind = match (first, rest.is_empty()) {
                (true, true) => 1,
                (true, false) => 2,
                (false, false) => 3,
                (false, true) => 4,
            };
            push(bytes, kind, part);
            payload = rest;
            if rest.is_empty() {
                return;
            }
        }
    }

    pub(crate) fn batch(first: u64, count: u32, durable: u64, filler: usize) -> Vec<u8> {
        let mut payload = first.to_le_bytes().to_vec();
        payload.extend_from_slice(&count.to_le_bytes());
        payload.extend_from_slice(&[LOG_DATA, MARK_BYTES as u8]);
        payload.extend_from_slice(&mark(durable));
        payload.extend(std::iter::repeat_n(b'x', filler));
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::made::{append, batch, push};
    use super::*;

    /// What is in it: records by their begin, damage by its kind and begin.
    fn read(bytes: &[u8]) -> (Vec<usize>, Option<(Damage, usize)>) {
        let (mut records, mut damage) = (Vec::new(), None);
        let told = walk(Log::Wal, bytes, &mut |found| {
            match found {
                Found::Record { start, .. } => records.push(start),
                Found::Damage { at, what, .. } => drop(damage.get_or_insert((what, at))),
            }
            Ok(())
        });
        told.expect("nobody refuses");
        (records, damage)
    }

    fn three() -> (Vec<u8>, [usize; 3]) {
        let (mut bytes, mut starts) = (Vec::new(), [0; 3]);
        for (i, start) in starts.iter_mut().enumerate() {
            *start = bytes.len();
            append(&mut bytes, &batch(10 + 2 * i as u64, 2, 9, 20));
        }
        (bytes, starts)
    }

    #[test]
    fn sound_logs_are_read_to_the_end() {
        let (bytes, starts) = three();
        assert_eq!(read(&bytes), (starts.to_vec(), None));
        assert_eq!(read(&[]), (vec![], None));
        assert_eq!(Batch::read(&batch(10, 2, 9, 0)), Some(Batch { first: 10, next: 12, durable: 9 }));
        assert_eq!(Batch::read(&[0; 12]).map(|b| b.durable), Some(u64::MAX), "no mark: it must not be dropped");
    }

    #[test]
    fn the_manifest_says_which_log_is_needed_and_how_far_the_files_go() {
        let edit = |log, keep, last| Edit { log, keep, changes: true, last };
        assert_eq!(Edit::read(&[2, 68, 3, 70, 4, 99, 103, 0]), edit(Some(68), None, Some(99)));
        assert_eq!(Edit::read(&[0x81, 0x40, 2, b'i', b'd', 1, 1, b'c', 2, 0x80, 1, 3, 9]), edit(Some(128), None, None));
        assert_eq!(Edit::read(&[2, 68]), Edit { log: Some(68), ..Edit::default() }, "a family, as a manifest begins");
        let whole = [9, 0, 3, 70, 0x80 | 75, 1, 2, 10, 5, 4, 7, 103, 0];
        assert_eq!(Edit::read(&whole), edit(None, Some(5), Some(7)), "whatever else may come before it");
        assert_eq!(Edit::read(&whole[..6]), edit(None, None, None));
        assert_eq!(Edit::read(&[103, 2, 68, 4, 9]), Edit::default(), "not behind what is not known here");
        assert_eq!(Edit::read(&[0x81, 0x40, 200, b'i']), Edit::default());
    }

    #[test]
    fn a_torn_tail_is_torn() {
        let (bytes, starts) = three();
        for cut in starts[2] + 1..bytes.len() {
            assert_eq!(read(&bytes[..cut]), (starts[..2].to_vec(), Some((Damage::End, starts[2]))), "cut at {cut}");
        }
        let mut zeros = bytes.clone();
        zeros.extend([0; 100]);
        assert_eq!(read(&zeros).1, Some((Damage::Empty, bytes.len())), "room that was allocated ahead");
    }

    #[test]
    fn every_flipped_bit_before_the_last_record_is_found() {
        let (bytes, starts) = three();
        for bit in 0..starts[2] * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            let (records, damage) = read(&rotten);
            let found = |(what, at)| !matches!(what, Damage::End | Damage::Empty) && at <= bit / 8;
            assert!(damage.is_some_and(found), "bit {bit}: {damage:?}");
            assert_eq!(records.last(), Some(&starts[2]), "bit {bit}: it goes on behind");
        }
    }

    #[test]
    fn a_kind_that_is_never_written_is_rot_even_in_a_torn_tail() {
        let (mut bytes, starts) = three();
        for kind in [5, 6, 7, 8, 11, 131] {
            bytes[starts[2] + 6] = kind;
            for cut in [bytes.len(), bytes.len() - 1, starts[2] + HEADER] {
                assert_eq!(read(&bytes[..cut]).1, Some((Damage::Foreign, starts[2])), "kind {kind}, cut to {cut}");
            }
        }
    }

    #[test]
    fn records_cross_blocks_and_are_found_in_later_ones() {
        let mut bytes = Vec::new();
        append(&mut bytes, &batch(5, 1, 0, BLOCK - 2 * HEADER - 23 - 4));
        let second = bytes.len();
        // Four bytes of payload fit; the record goes on in the next block.
        append(&mut bytes, &batch(6, 3, 0, 100));
        assert_eq!(read(&bytes), (vec![0, second], None));
        assert_eq!(read(&bytes[..BLOCK]), (vec![0], Some((Damage::End, second))), "a first fragment alone");
        assert_eq!(read(&bytes[..BLOCK + 3]).1, Some((Damage::End, BLOCK)));
        let end = bytes.len();
        append(&mut bytes, &batch(9, 1, 0, 3 * BLOCK));
        bytes[second + HEADER] ^= 1;
        assert_eq!(
            read(&bytes),
            (vec![0, end], Some((Damage::Checksum, second))),
            "without its first fragment a record is none"
        );
    }

    #[test]
    fn a_record_without_its_first_or_last_fragment_is_damaged() {
        for (kinds, what) in [([1, 4, 1], Damage::Length), ([2, 1, 1], Damage::Length), ([1, 1, 2], Damage::End)] {
            let mut bytes = Vec::new();
            let mut starts = Vec::new();
            for (i, kind) in kinds.into_iter().enumerate() {
                starts.push(bytes.len());
                push(&mut bytes, kind, &batch(10 + i as u64, 1, 9, 20));
            }
            let odd = kinds.iter().position(|kind| *kind != 1).unwrap();
            assert_eq!(read(&bytes).1, Some((what, starts[odd])), "{kinds:?}");
        }
    }

    /// A value may hold a log. Only what goes on from the last sound batch is one of ours.
    #[test]
    fn what_a_value_holds_is_not_taken_for_a_record() {
        let mut log = Vec::new();
        (0..9).for_each(|i| append(&mut log, &batch(500_000 + i, 1, 100, 20)));
        let mut forged = Vec::new();
        (0..9).for_each(|_| append(&mut forged, &batch(12, 1, u64::MAX, 20)));
        push(&mut forged, 4, b"the last fragment of a record, but not at the begin of a block");
        for value in [log, forged] {
            let mut bytes = Vec::new();
            append(&mut bytes, &batch(10, 2, 9, 20));
            let start = bytes.len();
            append(&mut bytes, &[&batch(12, 2, 9, 20)[..], &value[..], &[0; 100][..]].concat());
            bytes.truncate(bytes.len() - 100);
            assert_eq!(read(&bytes), (vec![0], Some((Damage::End, start))));
        }
    }

    #[test]
    fn a_hole_is_an_empty_sector_behind_the_begin_of_the_damage() {
        let holes = |zeros: std::ops::Range<usize>| {
            let mut bytes = Vec::new();
            append(&mut bytes, &batch(1, 1, 0, 700));
            append(&mut bytes, &batch(2, 1, 0, 3000));
            push(&mut bytes, 1, &batch(3, 1, 0, 10));
            bytes[zeros].fill(0);
            let mut holes = Vec::new();
            let told = walk(Log::Wal, &bytes, &mut |found| {
                if let Found::Damage { hole, .. } = found {
                    holes.push(hole);
                }
                Ok(())
            });
            told.expect("nobody refuses");
            holes
        };
        assert_eq!(holes(0..0), []);
        assert_eq!(holes(1024..1536), [true]);
        assert_eq!(holes(1025..1536), [false], "a sector is written whole or not at all");
        assert_eq!(holes(730..1024), [true], "the second record begins at 730; before it the sector is as it was");
        assert_eq!(holes(731..1024), [false]);
        assert_eq!(holes(512..1024), [true], "also what is before it was lost");
    }
}

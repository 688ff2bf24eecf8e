//! A look at the write-ahead logs before RocksDB reads them: is what cannot be read a torn tail, or rot?
//!
//! A WAL is a row of blocks of 32 KiB, each filled with fragments of records:
//!
//! ```text
//!   fragment    checksum 4 ∥ length 2 ∥ type 1 ∥ payload          numbers little-endian
//!   type        1 a whole record, 2 its first, 3 a middle, 4 its last fragment
//!   checksum    CRC-32C of type and payload, rotated and shifted by a constant
//!   payload     sequence number 8 ∥ count 4 ∥ changes             of a record, once its fragments are joined
//! ```
//!
//! RocksDB, told to tolerate a torn tail, takes a fragment that reaches beyond the end of the file for one and drops it
//! with all that follows in that block. That is right after a crash. After a bit has flipped in a *length* it is not:
//! synced records are behind it. So here the rest of the file is searched, and a sound fragment behind an unreadable
//! one is an error.
//!
//! A fragment of types 5 to 8, 11 or 131 is of a log that was used again for another, which we never let RocksDB do: its type
//! has rotted. RocksDB 11.8, which meets one behind others, reads it again and again for ever (`log_reader.cc`: "bad
//! record", and nothing is taken from the buffer), so it must not see one, in the manifest either.
//!
//! The manifest knows which closed WALs there must be, but not the newest: without it RocksDB opens happily, one family with
//! what was flushed later, the other without. Each flush notes from which WAL on its family is needed, and that WAL
//! existed then: so one with that number or a later one must be there. The manifest has the WAL's format, and in its
//! records the number comes right after two names.
//!
//! The last record of the newest WAL can still vanish without a word; that is noticed by the peers, who remember what
//! was acknowledged (protocols §9). So can the last edits of the manifest, if they only took a snapshot in
//! (`docs/crash-cases.md`).

use crate::error::from_io;
use base::{Error, Result};
use bytes::Bytes;
use std::fs;
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 << 10;
const HEADER: usize = 7;

/// Refuses a store whose WALs have rotted, naming the file and the offset.
pub fn check(db: &Path) -> Result<()> {
    let logs = logs(db)?;
    check_newest(db, logs.last().map_or(0, |(number, _)| *number))?;
    let mut behind: Option<(PathBuf, Scan)> = None;
    for (_, path) in logs {
        let bytes = fs::read(&path).map_err(|e| from_io("cannot read", &path, &e))?;
        let scan = scan(&bytes, &mut |_| ());
        scan.refuse_rot(&path)?;
        // A torn log that is followed by another: a start dropped the tail and went on from the record before it, or
        // the newer records rest on one that is gone.
        if let (Some((older, old)), Some(first)) = (&behind, scan.first)
            && old.tail == Tail::Torn
            && old.next.is_some_and(|next| first > next)
        {
            let text = format!("{}: cut off at offset {}, but {} goes on", older.display(), old.end, path.display());
            return Err(Error::corrupt(text));
        }
        if scan.first.is_some() || behind.is_none() {
            behind = Some((path, scan));
        }
    }
    Ok(())
}

/// Refuses if the newest WAL is older than one that the manifest knows.
fn check_newest(db: &Path, newest: u64) -> Result<()> {
    let name = fs::read_to_string(db.join("CURRENT")).unwrap_or_default();
    let manifest = db.join(name.trim());
    // RocksDB itself says what is wrong with these two.
    let Ok(bytes) = fs::read(&manifest) else { return Ok(()) };
    let mut needed = 0;
    let scan = scan(&bytes, &mut |record| needed = needed.max(needed_log(record).unwrap_or(0)));
    scan.refuse_rot(&manifest)?;
    if newest >= needed {
        return Ok(());
    }
    let path = db.join(format!("{needed:06}.log"));
    Err(Error::corrupt(format!("{}: missing, or a later one, though {} needs it", path.display(), manifest.display())))
}

/// The oldest WAL that a column family needs, if this record of the manifest says so: tag 2, behind the optional names of
/// the database and of the comparator.
fn needed_log(record: &[u8]) -> Option<u64> {
    const COMPARATOR: u64 = 1;
    const LOG_NUMBER: u64 = 2;
    const DATABASE: u64 = (1 << 13) + 1;
    let mut rest = Bytes::copy_from_slice(record);
    loop {
        match base::codec::get_u64(&mut rest).ok()? {
            COMPARATOR | DATABASE => drop(base::codec::get_bytes(&mut rest).ok()?),
            LOG_NUMBER => return base::codec::get_u64(&mut rest).ok(),
            _ => return None,
        }
    }
}

/// The WALs with their numbers, oldest first.
fn logs(db: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(db).map_err(|e| from_io("cannot read", db, &e))? {
        let path = entry.map_err(|e| from_io("cannot read", db, &e))?.path();
        let number = path.file_stem().and_then(|s| s.to_str()?.parse::<u64>().ok());
        if let (Some(number), Some("log")) = (number, path.extension().and_then(|x| x.to_str())) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

/// What is behind the last sound fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tail {
    /// Nothing.
    Clean,
    /// Something unreadable, and nothing sound behind it.
    Torn,
    /// A complete fragment that is not what was written.
    Checksum,
    /// Something unreadable, and sound fragments behind it.
    Length,
    /// A fragment of a log that was used again: there are none here.
    Foreign,
}

/// What one WAL holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scan {
    /// Where the sound fragments end.
    pub(crate) end: usize,
    pub(crate) tail: Tail,
    /// The sequence number of the first change.
    pub(crate) first: Option<u64>,
    /// The sequence number behind the last change.
    pub(crate) next: Option<u64>,
}

impl Scan {
    /// A torn tail is what a crash leaves; anything else is an error that names the file and the offset.
    fn refuse_rot(&self, path: &Path) -> Result<()> {
        let why = match self.tail {
            Tail::Clean | Tail::Torn => return Ok(()),
            Tail::Checksum => "checksum mismatch",
            Tail::Length => "a damaged record with sound ones behind it",
            Tail::Foreign => "a record of a kind that is never written",
        };
        Err(Error::corrupt(format!("{}: {why} at offset {}", path.display(), self.end)))
    }
}

enum Fragment<'a> {
    Sound { kind: u8, payload: &'a [u8], end: usize },
    Unreadable,
    Mismatch,
    Foreign,
}

/// As much of a record as is looked at.
const HEAD: usize = 256;

/// Reads a file of records to its end or to the first fragment that is not sound; `each` gets the head of each record.
pub(crate) fn scan(bytes: &[u8], each: &mut dyn FnMut(&[u8])) -> Scan {
    let mut found = Scan { end: 0, tail: Tail::Clean, first: None, next: None };
    let mut record: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let left = BLOCK - at % BLOCK;
        if left < HEADER {
            at += left;
            continue;
        }
        match fragment(bytes, at) {
            Fragment::Sound { kind, payload, end } => {
                if matches!(kind, 1 | 2) {
                    record.clear();
                }
                record.extend_from_slice(&payload[..payload.len().min(HEAD.saturating_sub(record.len()))]);
                if matches!(kind, 1 | 4) {
                    each(&record);
                    if let Some((first, next)) = sequence(&record) {
                        found.first.get_or_insert(first);
                        found.next = Some(next);
                    }
                }
                at = end;
                found.end = at;
            }
            Fragment::Mismatch => {
                found.tail = Tail::Checksum;
                return found;
            }
            Fragment::Foreign => {
                found.tail = Tail::Foreign;
                return found;
            }
            Fragment::Unreadable => {
                found.tail = if any_behind(bytes, at) { Tail::Length } else { Tail::Torn };
                return found;
            }
        }
    }
    found
}

fn sequence(record: &[u8]) -> Option<(u64, u64)> {
    let first = u64::from_le_bytes(record.get(..8)?.try_into().ok()?);
    let count = u32::from_le_bytes(record.get(8..12)?.try_into().ok()?);
    Some((first, first.saturating_add(u64::from(count))))
}

fn fragment(bytes: &[u8], at: usize) -> Fragment<'_> {
    let Some(header) = bytes.get(at..at + HEADER) else { return Fragment::Unreadable };
    let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
    let kind = header[6];
    if matches!(kind, 5..=8 | 11 | 131) {
        return Fragment::Foreign;
    }
    let end = at + HEADER + length;
    if end > bytes.len() || end > at - at % BLOCK + BLOCK || (kind == 0 && length == 0) {
        return Fragment::Unreadable;
    }
    let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    let crc = crc32c::crc32c(&bytes[at + 6..end]);
    if stored != crc.rotate_right(15).wrapping_add(0xa282_ead8) {
        return Fragment::Mismatch;
    }
    Fragment::Sound { kind, payload: &bytes[at + HEADER..end], end }
}

/// Is there a sound fragment anywhere behind this place: at any offset of the same block, or at the start of a later one?
fn any_behind(bytes: &[u8], at: usize) -> bool {
    let next = at - at % BLOCK + BLOCK;
    let sound = |p: usize| {
        // Zeros sum up to nothing that could be told from chance; a real fragment has a type.
        bytes.get(p + 6).is_some_and(|kind| (1..=4).contains(kind))
            && matches!(fragment(bytes, p), Fragment::Sound { .. })
    };
    (at + 1..next.min(bytes.len())).any(sound) || (next..bytes.len()).step_by(BLOCK).any(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(bytes: &mut Vec<u8>, kind: u8, payload: &[u8]) {
        let mut body = vec![kind];
        body.extend_from_slice(payload);
        let crc = crc32c::crc32c(&body).rotate_right(15).wrapping_add(0xa282_ead8);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&body);
    }

    fn record(first: u64, count: u32, filler: usize) -> Vec<u8> {
        let mut payload = first.to_le_bytes().to_vec();
        payload.extend_from_slice(&count.to_le_bytes());
        payload.extend(std::iter::repeat_n(b'x', filler));
        payload
    }

    fn three() -> (Vec<u8>, [usize; 3]) {
        let (mut bytes, mut starts) = (Vec::new(), [0; 3]);
        for (i, start) in starts.iter_mut().enumerate() {
            *start = bytes.len();
            push(&mut bytes, 1, &record(10 + 2 * i as u64, 2, 20));
        }
        (bytes, starts)
    }

    #[test]
    fn sound_logs_are_read_to_the_end() {
        let (bytes, _) = three();
        let whole = Scan { end: bytes.len(), tail: Tail::Clean, first: Some(10), next: Some(16) };
        assert_eq!(scan(&bytes, &mut |_| ()), whole);
        assert_eq!(scan(&[], &mut |_| ()).tail, Tail::Clean);
    }

    #[test]
    fn the_manifest_says_which_log_is_needed() {
        assert_eq!(needed_log(&[2, 68, 3, 70]), Some(68));
        assert_eq!(needed_log(&[0x81, 0x40, 2, b'i', b'd', 1, 1, b'c', 2, 0x80, 1, 3, 9]), Some(128));
        assert_eq!(needed_log(&[3, 70, 2, 68]), None, "it comes before anything else");
        assert_eq!(needed_log(&[0x81, 0x40, 200, b'i']), None);
    }

    #[test]
    fn a_torn_tail_is_torn() {
        let (bytes, starts) = three();
        for cut in starts[2] + 1..bytes.len() {
            let found = scan(&bytes[..cut], &mut |_| ());
            assert_eq!((found.tail, found.end, found.next), (Tail::Torn, starts[2], Some(14)), "cut at {cut}");
        }
        let mut zeros = bytes.clone();
        zeros.extend([0; 100]);
        assert_eq!(scan(&zeros, &mut |_| ()).tail, Tail::Torn, "room that was allocated ahead");
    }

    #[test]
    fn every_flipped_bit_before_the_last_record_is_found() {
        let (bytes, starts) = three();
        for bit in 0..starts[2] * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            let tail = scan(&rotten, &mut |_| ()).tail;
            assert!(matches!(tail, Tail::Checksum | Tail::Length | Tail::Foreign), "bit {bit}");
        }
    }

    #[test]
    fn a_kind_that_is_never_written_is_rot_even_in_a_torn_tail() {
        let (mut bytes, starts) = three();
        for kind in [5, 6, 7, 8, 11, 131] {
            bytes[starts[2] + 6] = kind;
            for cut in [bytes.len(), bytes.len() - 1, starts[2] + HEADER] {
                assert_eq!(scan(&bytes[..cut], &mut |_| ()).tail, Tail::Foreign, "kind {kind}, cut to {cut}");
            }
        }
    }

    #[test]
    fn records_cross_blocks_and_rot_is_found_in_later_blocks() {
        let mut bytes = Vec::new();
        push(&mut bytes, 1, &record(5, 1, BLOCK - 2 * HEADER - 12 - 4));
        // Four bytes of payload fit; the record goes on in the next block.
        let whole = record(6, 3, 100);
        push(&mut bytes, 2, &whole[..4]);
        assert_eq!(bytes.len(), BLOCK);
        push(&mut bytes, 4, &whole[4..]);
        assert_eq!(
            scan(&bytes, &mut |_| ()),
            Scan { end: bytes.len(), tail: Tail::Clean, first: Some(5), next: Some(9) }
        );
        let mut rotten = bytes.clone();
        rotten[5] = 0xff;
        assert_eq!(scan(&rotten, &mut |_| ()).tail, Tail::Length, "the next block begins with a sound fragment");
        assert_eq!(scan(&bytes[..BLOCK + 3], &mut |_| ()).tail, Tail::Torn);
    }
}

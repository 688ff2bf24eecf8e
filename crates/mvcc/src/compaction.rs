//! What compaction leaves for a background task: delete marks with nothing beneath.
//!
//! The engine's filter drops superseded versions and never a delete mark that is the newest version at or below its
//! bound: dropping one could bring a deeper version back to life that the filter's pass does not see (protocols §11). A
//! view does see everything. Where it shows that a mark at or below the bound is the oldest version of its key, the mark
//! says nothing that its absence would not say, to nobody who may still read.

use crate::record;
use crate::walk::open;
use base::{Key, Result, Revision, Span};
use bytes::Bytes;
use engine::{Read, keys};

/// What one look found.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct DeadMarks {
    /// Raw `Cf::Data` keys to delete.
    pub keys: Vec<Bytes>,
    /// Where to go on; `None` when the end of the span was reached.
    pub next: Option<Key>,
    /// Versions looked at.
    pub seen: usize,
    /// Marks at or below the bound with something beneath, which the filter has yet to take away.
    pub covering: usize,
}

/// Finds delete marks at or below `bound` that have nothing beneath, from `from` on, and stops at a key when `max`
/// versions were looked at.
pub fn dead_marks<R: Read + ?Sized>(
    read: &R,
    span: &Span,
    bound: Revision,
    from: &Key,
    max: usize,
) -> Result<DeadMarks> {
    let mut found = DeadMarks::default();
    let rest = Span::new(span.start.clone().max(from.clone()), span.end.clone());
    if rest.is_empty() {
        return Ok(found);
    }
    let (lower, upper) = keys::version_span(&rest);
    let mut cursor = open(read, true, (&lower, &upper))?;
    cursor.seek_first();
    // The oldest version so far of the key that is passing by, and whether it is such a mark.
    let (mut oldest, mut dead) = (Vec::new(), false);
    while let Some((raw, value)) = cursor.item() {
        let n = keys::prefix_len(raw)?;
        let same_key = oldest.len() == raw.len() && oldest[..n] == raw[..n];
        found.covering += usize::from(same_key && dead);
        if same_key && dead && base::bug!("mark-dropped-over-a-version") {
            found.keys.push(Bytes::copy_from_slice(&oldest));
        }
        if !same_key {
            if dead {
                base::marker!("mvcc.dead mark");
                found.keys.push(Bytes::copy_from_slice(&oldest));
            }
            if found.seen >= max {
                found.next = Some(keys::split_version(raw)?.0);
                return Ok(found);
            }
        }
        found.seen += 1;
        dead = keys::version_revision(raw)? <= bound && !record::is_live(value)?;
        oldest.clear();
        oldest.extend_from_slice(raw);
        cursor.next();
    }
    cursor.status()?;
    if dead {
        found.keys.push(Bytes::from(oldest));
    }
    Ok(found)
}

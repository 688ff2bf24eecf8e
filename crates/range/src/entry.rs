//! What a range's log entries carry.
//!
//! ```text
//! kind (1) ∥ epoch version (varint) ∥ largest revision at or before it in this log (varint) ∥ body
//!   kind 1, commands: per command its revision and its effects (mvcc::effects)
//!   kind 2, meta:     per changed record: 1 ∥ key ∥ value, or 0 ∥ key
//! ```

use base::codec::{get_bytes, get_u8, get_u64, put_bytes, put_u64};
use base::{Error, Key, Result, Revision};
use bytes::Bytes;
use placement::record::Change;

const COMMANDS: u8 = 1;
const META: u8 = 2;

/// A decoded entry.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// Encoded commands; `mvcc::decode_commands` takes them one by one.
    Commands(Bytes),
    Meta(Vec<Change>),
}

/// An entry's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The epoch's version under which its commands were evaluated.
    pub version: u64,
    /// The largest revision at or before this entry.
    pub max_revision: Revision,
}

/// Begins an entry of commands; the caller appends them with `mvcc::encode_command`.
pub fn begin_commands(header: Header, hint: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(hint + 24);
    begin(&mut out, COMMANDS, header);
    out
}

/// A whole entry of changed meta records.
pub fn meta(header: Header, changes: &[Change]) -> Bytes {
    let mut out = Vec::new();
    begin(&mut out, META, header);
    for (key, value) in changes {
        out.push(u8::from(value.is_some()));
        put_bytes(&mut out, key.bytes());
        if let Some(v) = value {
            put_bytes(&mut out, v);
        }
    }
    Bytes::from(out)
}

fn begin(out: &mut Vec<u8>, kind: u8, header: Header) {
    out.push(kind);
    put_u64(out, header.version);
    put_u64(out, header.max_revision.0);
}

/// Takes an entry apart.
pub fn decode(mut data: Bytes) -> Result<(Header, Body)> {
    let kind = get_u8(&mut data)?;
    let header = Header { version: get_u64(&mut data)?, max_revision: Revision(get_u64(&mut data)?) };
    let body = match kind {
        COMMANDS => Body::Commands(data),
        META => {
            let mut changes = Vec::new();
            while !data.is_empty() {
                let there = get_u8(&mut data)? == 1;
                let key = Key(get_bytes(&mut data)?);
                let value = if there { Some(get_bytes(&mut data)?) } else { None };
                changes.push((key, value));
            }
            Body::Meta(changes)
        }
        k => return Err(Error::corrupt(format!("a log entry of unknown kind {k}: written by a newer version?"))),
    };
    Ok((header, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_entries_round_trip() {
        let h = Header { version: 3, max_revision: Revision(9) };
        let changes = vec![(Key::system(b"a"), Some(Bytes::from_static(b"1"))), (Key::system(b"b"), None)];
        assert_eq!(decode(meta(h, &changes)).unwrap(), (h, Body::Meta(changes)));
        assert!(decode(Bytes::from_static(&[9, 0, 0])).is_err());
        assert!(decode(Bytes::new()).is_err());
    }
}

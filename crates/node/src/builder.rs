//! A frame being filled, part by part, in the memory in which it leaves.

use crate::frame::{Part, Stream, VERSION, put_part};
use base::Incarnation;
use base::codec::put_u64;
use bytes::Bytes;

/// Bytes in front of the parts: version, stream, and two numbers of ten bytes at most.
const HEAD: usize = 22;

/// A frame being filled.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    /// Room for the head, then the parts.
    bytes: Vec<u8>,
}

impl Builder {
    /// A frame that will perhaps have so many bytes.
    pub fn expecting(bytes: usize) -> Builder {
        let mut room = Vec::with_capacity(HEAD + bytes);
        room.resize(HEAD, 0);
        Builder { bytes: room }
    }
    /// Adds a part.
    pub fn push(&mut self, part: &Part) {
        put_part(&mut self.bytes, part);
    }
    /// Takes the last part out again: the frame had this many bytes before it.
    pub fn cut(&mut self, bytes: usize) {
        self.bytes.truncate(HEAD + bytes);
    }
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len() - HEAD
    }
    /// The whole frame. The head goes right before the parts, so nothing is moved.
    pub fn finish(mut self, stream: Stream, incarnation: Incarnation, number: u64) -> Bytes {
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&[VERSION, stream as u8]);
        put_u64(&mut head, incarnation.0);
        put_u64(&mut head, number);
        let begin = HEAD - head.len();
        self.bytes[begin..HEAD].copy_from_slice(&head);
        let crc = crc32c::crc32c(&self.bytes[begin..]);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        Bytes::from(self.bytes).slice(begin..)
    }
}

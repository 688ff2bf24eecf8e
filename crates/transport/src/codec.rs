//! tonic's codec for our one message: the same bytes that prost would write, without a `Frame` of its own to build and
//! copy first. One copy on the way out (into tonic's buffer), none on the way in.

use crate::message::{Arrived, Message};
use base::limits::MAX_FRAME_BYTES;
use bytes::{Buf, Bytes};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// A message holds frames up to this together, or one larger frame.
pub(crate) const MAX_BATCH_BYTES: usize = 512 << 10;
/// The largest message: one largest frame, its lengths, and a batch that ended just before it.
pub(crate) const MAX_MESSAGE_BYTES: usize = MAX_FRAME_BYTES + MAX_BATCH_BYTES + 1024;
/// The one method, `rpc Exchange` of `service Peer` in proto/flotilla/peer.proto.
pub(crate) const METHOD: &str = "/flotilla.Peer/Exchange";

/// Room for a few hundred small frames; a larger message asks for its own room.
const BUFFER_BYTES: usize = 32 << 10;

/// Encodes [`Message`], decodes to bytes that are still to be read with [`Arrived::decode`].
#[derive(Clone, Copy, Default)]
pub(crate) struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = Message;
    type Decode = Received;
    type Encoder = FrameCodec;
    type Decoder = FrameCodec;
    fn encoder(&mut self) -> FrameCodec {
        FrameCodec
    }
    fn decoder(&mut self) -> FrameCodec {
        FrameCodec
    }
}

impl Encoder for FrameCodec {
    type Item = Message;
    type Error = Status;
    fn encode(&mut self, message: Message, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(out, |out, n| out.reserve(n));
        Ok(())
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, MAX_BATCH_BYTES)
    }
}

impl Decoder for FrameCodec {
    type Item = Received;
    type Error = Status;
    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Received>, Status> {
        Ok(Some(Received(src.copy_to_bytes(src.remaining()))))
    }
    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, MAX_BATCH_BYTES)
    }
}

/// One message off the wire, unread: rubbish must become a reason with words, not a status of tonic's.
#[derive(Debug)]
pub(crate) struct Received(pub Bytes);

impl Received {
    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
    /// Reads it.
    pub(crate) fn read(self) -> base::Result<Arrived> {
        Arrived::decode(self.0)
    }
}

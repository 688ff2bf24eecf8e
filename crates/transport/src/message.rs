//! What travels in the `data` field of one gRPC message.
//!
//! ```text
//! message  = 0x0a length data                  the protobuf of `flotilla.Frame`: field 1, bytes
//! data     = kind body                         kind is one byte
//!   0 open     lane hello                      first on a stream, from the side that dialled
//!   1 hello    hello                           the answer: admitted
//!   2 refused  text                            the answer: not admitted, or a later complaint; the stream ends
//!   3 frames   (length frame)*                 only from the side that dialled
//!   4 ping     number                          only from the side that dialled, on the control lane
//!   5 pong     number                          the same number back
//! ```
//! Lengths and numbers are LEB128 varints. Several frames share one message, so that many small frames cost one system
//! call; a frame is never cut.

use crate::hello::one_line;
use crate::{Hello, Lane};
use base::codec::{get_bytes, get_u8, get_u64, put_u64};
use base::limits::MAX_FRAME_BYTES;
use base::{Error, Result};
use bytes::{Buf, BufMut, Bytes};

/// The one method, `rpc Exchange` of `service Peer` in proto/flotilla/peer.proto.
pub(crate) const METHOD: &str = "/flotilla.Peer/Exchange";
/// A message holds frames up to this together, or one larger frame.
pub(crate) const MAX_BATCH_BYTES: usize = 512 << 10;
/// The largest message: one largest frame, its lengths, and a batch that ended just before it.
pub(crate) const MAX_MESSAGE_BYTES: usize = MAX_FRAME_BYTES + MAX_BATCH_BYTES + 1024;

const FIELD_ONE_BYTES: u8 = 0x0a;
const OPEN: u8 = 0;
const HELLO: u8 = 1;
const REFUSED: u8 = 2;
const FRAMES: u8 = 3;
const PING: u8 = 4;
const PONG: u8 = 5;

/// One message, as it is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    Open(Lane, Hello),
    Hello(Hello),
    Refused(String),
    Frames(Vec<Bytes>),
    Ping(u64),
    Pong(u64),
}

/// One message, as it arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Arrived {
    Open(Lane, Hello),
    Hello(Hello),
    Refused(String),
    Frames(Frames),
    Ping(u64),
    Pong(u64),
}

/// The frames of one message, cut off one after the other without a copy. Ends after the first rubbish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frames(Bytes);

impl Iterator for Frames {
    type Item = Result<Bytes>;
    fn next(&mut self) -> Option<Result<Bytes>> {
        if self.0.is_empty() {
            return None;
        }
        let frame = get_bytes(&mut self.0);
        if frame.is_err() {
            self.0.clear();
        }
        Some(frame)
    }
}

impl Message {
    /// Bytes of `data`, and those small parts of it that are not frames.
    fn measure(&self) -> (usize, Vec<u8>) {
        let mut head = Vec::new();
        let mut frames = 0;
        match self {
            Message::Open(lane, hello) => {
                head.extend([OPEN, lane.index() as u8]);
                hello.encode(&mut head);
            }
            Message::Hello(hello) => {
                head.push(HELLO);
                hello.encode(&mut head);
            }
            Message::Refused(text) => {
                head.push(REFUSED);
                head.extend_from_slice(text.as_bytes());
            }
            Message::Frames(list) => {
                head.push(FRAMES);
                frames = list.iter().map(|f| varint_len(f.len() as u64) + f.len()).sum();
            }
            Message::Ping(n) => {
                head.push(PING);
                put_u64(&mut head, *n);
            }
            Message::Pong(n) => {
                head.push(PONG);
                put_u64(&mut head, *n);
            }
        }
        (head.len() + frames, head)
    }

    /// The message behind gRPC's prefix: the same bytes that prost would write, without a `Frame` of its own to build
    /// and copy first.
    pub(crate) fn framed(&self) -> Bytes {
        let (len, head) = self.measure();
        let size = 1 + varint_len(len as u64) + len;
        let mut out = grpc::begin(size);
        out.put_u8(FIELD_ONE_BYTES);
        put_varint(&mut out, len as u64);
        out.put_slice(&head);
        if let Message::Frames(list) = self {
            for frame in list {
                put_varint(&mut out, frame.len() as u64);
                out.put_slice(frame);
            }
        }
        debug_assert_eq!(out.len(), grpc::PREFIX + size, "as large as announced");
        out.freeze()
    }
}

impl Arrived {
    /// Reads one whole message; anything may come in. Frames are checked as they are cut off, see [`Frames`].
    pub(crate) fn decode(message: Bytes) -> Result<Arrived> {
        let mut data = data_field(message)?;
        Ok(match get_u8(&mut data)? {
            OPEN => {
                let lane = usize::from(get_u8(&mut data)?);
                let lane = *Lane::ALL.get(lane).ok_or_else(|| Error::corrupt(format!("lane {lane} does not exist")))?;
                Arrived::Open(lane, Hello::decode(data)?)
            }
            HELLO => Arrived::Hello(Hello::decode(data)?),
            REFUSED => Arrived::Refused(one_line(&data)),
            FRAMES => Arrived::Frames(Frames(data)),
            PING => Arrived::Ping(get_u64(&mut data)?),
            PONG => Arrived::Pong(get_u64(&mut data)?),
            kind => return Err(Error::corrupt(format!("a message of kind {kind} is not known"))),
        })
    }
}

/// The bytes of field 1; fields that a later version may add are skipped, as protobuf wants it.
fn data_field(mut message: Bytes) -> Result<Bytes> {
    let mut data = Bytes::new();
    while !message.is_empty() {
        let key = get_u64(&mut message)?;
        let skip = match (key, key & 7) {
            (k, _) if k == u64::from(FIELD_ONE_BYTES) => {
                data = get_bytes(&mut message)?;
                0
            }
            (_, 0) => {
                get_u64(&mut message)?;
                0
            }
            (_, 1) => 8,
            (_, 2) => get_u64(&mut message)?,
            (_, 5) => 4,
            _ => return Err(Error::corrupt("not a protobuf message")),
        };
        if skip > message.len() as u64 {
            return Err(Error::corrupt("a protobuf field is cut off"));
        }
        message.advance(skip as usize);
    }
    Ok(data)
}

fn varint_len(v: u64) -> usize {
    (70 - (v | 1).leading_zeros() as usize) / 7
}

fn put_varint(out: &mut impl BufMut, mut v: u64) {
    while v >= 0x80 {
        out.put_u8((v as u8) | 0x80);
        v >>= 7;
    }
    out.put_u8(v as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hello::tests::hello;
    use base::Rng;

    fn encode(m: &Message) -> Bytes {
        let mut out = m.framed();
        let announced = grpc::length(&out, MAX_MESSAGE_BYTES).unwrap();
        out.advance(grpc::PREFIX);
        assert_eq!(Some(out.len()), announced, "the room asked for is the room used");
        out
    }

    #[test]
    fn every_message_comes_back() {
        let decode = |m: &Message| Arrived::decode(encode(m)).unwrap();
        for lane in Lane::ALL {
            assert_eq!(decode(&Message::Open(lane, hello(1))), Arrived::Open(lane, hello(1)));
        }
        assert_eq!(decode(&Message::Hello(hello(2))), Arrived::Hello(hello(2)));
        assert_eq!(decode(&Message::Refused("no\nway".into())), Arrived::Refused("no way".into()));
        assert_eq!(decode(&Message::Ping(u64::MAX)), Arrived::Ping(u64::MAX));
        assert_eq!(decode(&Message::Pong(0)), Arrived::Pong(0));
        for sizes in [vec![], vec![0], vec![1, 127, 128, 129, 0, 20_000, 3]] {
            let frames: Vec<Bytes> = sizes.iter().map(|&n| Bytes::from(vec![n as u8; n])).collect();
            let Arrived::Frames(got) = decode(&Message::Frames(frames.clone())) else { panic!("not frames") };
            assert_eq!(got.collect::<Result<Vec<_>>>().unwrap(), frames);
        }
    }

    #[test]
    fn the_wire_is_the_protobuf_of_the_contract() {
        use proto::flotilla::Frame;
        let message = Message::Frames(vec![Bytes::from(vec![7; 300])]);
        let wire = encode(&message);
        let frame = <Frame as prost::Message>::decode(wire.clone()).unwrap();
        assert_eq!(frame.data[0], FRAMES);
        assert_eq!(prost::Message::encode_to_vec(&frame), wire);
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let mut wire = vec![0x10, 0x96, 0x01, 0x1a, 2, 9, 9, 0x25, 1, 2, 3, 4, 0x29, 1, 2, 3, 4, 5, 6, 7, 8];
        wire.extend_from_slice(&encode(&Message::Ping(4)));
        assert_eq!(Arrived::decode(Bytes::from(wire)).unwrap(), Arrived::Ping(4));
    }

    #[test]
    fn rubbish_is_an_error_and_never_a_panic() {
        assert!(Arrived::decode(Bytes::new()).is_err());
        assert!(Arrived::decode(Bytes::from_static(&[0x0a, 1, 99])).is_err(), "an unknown kind");
        assert!(Arrived::decode(Bytes::from_static(&[0x0a, 2, 0, 3])).is_err(), "an unknown lane");
        let mut rng = Rng::new(1);
        let seeds = [Message::Open(Lane::Append, hello(1)), Message::Frames(vec![Bytes::from_static(b"abc"); 5])];
        let mut refused = 0;
        for round in 0..20_000 {
            let mut wire = encode(&seeds[round % 2]).to_vec();
            for _ in 0..=rng.below(3) {
                let at = rng.below(wire.len() as u64) as usize;
                wire[at] = rng.next_u64() as u8;
            }
            wire.truncate(1 + rng.below(wire.len() as u64) as usize);
            match Arrived::decode(Bytes::from(wire)) {
                Ok(Arrived::Frames(frames)) => refused += usize::from(frames.take(10).any(|f| f.is_err())),
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 10_000, "{refused} of 20000 were refused");
    }
}

//! gRPC requests written byte by byte, for what a decent client cannot say: unknown enums, missing operations, unknown
//! methods.

use etcd_client::Error;
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status, transport::Endpoint};

/// A protobuf message under construction.
#[derive(Clone, Default)]
pub struct Message(Vec<u8>);

impl Message {
    pub fn new() -> Message {
        Message::default()
    }

    /// A number, bool or enum field.
    pub fn number(mut self, field: u32, value: u64) -> Message {
        self.varint(u64::from(field << 3));
        self.varint(value);
        self
    }

    /// A bytes, string or message field.
    pub fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Message {
        self.varint(u64::from(field << 3 | 2));
        self.varint(value.as_ref().len() as u64);
        self.0.extend_from_slice(value.as_ref());
        self
    }

    pub fn message(self, field: u32, value: Message) -> Message {
        self.bytes(field, value.0)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Calls `/service/method` with these bytes and returns the reply's.
pub async fn call(endpoint: &str, method: &str, message: Message) -> Result<Vec<u8>, Error> {
    let endpoint = Endpoint::from_shared(endpoint.to_string()).expect("a URL").timeout(Duration::from_secs(12));
    let channel = endpoint.connect().await.map_err(Error::TransportError)?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(Error::TransportError)?;
    let path = method.parse().expect("a path");
    let reply = client.unary(Request::new(message.0), path, Bytes).await.map_err(Error::GRpcStatus)?;
    Ok(reply.into_inner())
}

/// Bytes in, bytes out.
#[derive(Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Bytes;
    type Decoder = Bytes;
    fn encoder(&mut self) -> Bytes {
        Bytes
    }
    fn decoder(&mut self) -> Bytes {
        Bytes
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        use bytes::Buf;
        let mut out = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut out);
        Ok(Some(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_written_as_protobuf_says() {
        // The documentation's own example: field 1 = 150, field 2 = "testing".
        let message = Message::new().number(1, 150).bytes(2, "testing");
        assert_eq!(message.0, [&[0x08, 0x96, 0x01, 0x12, 0x07][..], b"testing"].concat());
    }
}

//! gRPC's framing over one HTTP/2 stream: a flag byte, a length, a message; the outcome in the trailers.
//!
//! etcd's traffic is almost all unary calls of a few hundred bytes. tonic boxes the body, the service, the stream and
//! the answer of each; here a call is read, answered and forgotten with plain functions over `h2`. Streaming services
//! go through tonic's generated code (`tunnel`).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response, header};
use prost::Message;
use std::time::Duration;
use tonic::Status;

/// Bytes in front of every message: a flag and a big-endian length.
pub const PREFIX: usize = 5;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Does this request speak gRPC?
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"))
}

/// The one message of a unary call, at most `limit` bytes long.
pub async fn read(mut body: RecvStream, limit: usize) -> Result<Bytes, Status> {
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(|e| Status::cancelled(e.to_string()))?;
        // An error here means that the stream is gone, which the next read will say.
        let _ = body.flow_control().release_capacity(chunk.len());
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&chunk);
        }
        let so_far = if whole.is_empty() { &first[..] } else { &whole[..] };
        if let Some(length) = length(so_far)?
            && length > limit
        {
            let text = format!("grpc: received message larger than max ({length} vs. {limit})");
            return Err(Status::resource_exhausted(text));
        }
        if so_far.len() > PREFIX + limit {
            return Err(Status::internal("grpc: a unary call carries one message"));
        }
    }
    let all = if whole.is_empty() { first } else { whole.freeze() };
    cut(all)
}

/// The message's length, as soon as its prefix is here.
fn length(bytes: &[u8]) -> Result<Option<usize>, Status> {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX>() else { return Ok(None) };
    if prefix[0] != 0 {
        return Err(Status::unimplemented("grpc: Decompressor is not installed: send messages uncompressed"));
    }
    Ok(Some(u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize))
}

fn cut(mut all: Bytes) -> Result<Bytes, Status> {
    let Some(length) = length(&all)? else { return Err(Status::internal("grpc: the request has no message")) };
    all.advance(PREFIX);
    if all.len() != length {
        return Err(Status::internal(format!("grpc: the message has {} bytes, not {length}", all.len())));
    }
    Ok(all)
}

/// Bytes of the largest answer, as in Go's gRPC: clients cannot take more, whatever they allow.
const MOST_SENT: usize = i32::MAX as usize;

/// A message with its prefix.
pub fn frame(message: &impl Message) -> Result<Bytes, Status> {
    let length = sendable(message.encoded_len())?;
    let mut out = BytesMut::with_capacity(PREFIX + length);
    out.put_u8(0);
    out.put_u32(length as u32);
    message.encode_raw(&mut out);
    Ok(out.freeze())
}

fn sendable(length: usize) -> Result<usize, Status> {
    if length <= MOST_SENT {
        return Ok(length);
    }
    let text = format!("grpc: trying to send message larger than max ({length} vs. {MOST_SENT})");
    Err(Status::resource_exhausted(text))
}

/// Answers with one framed message. False when the caller is gone.
#[must_use]
pub fn reply(mut respond: SendResponse<Bytes>, framed: Bytes) -> bool {
    let mut response = Response::new(());
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    let Ok(mut out) = respond.send_response(response, false) else { return false };
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    out.send_data(framed, false).is_ok() && out.send_trailers(trailers).is_ok()
}

/// Answers with an error: one header frame and nothing else.
pub fn refuse(mut respond: SendResponse<Bytes>, status: &Status) {
    let mut response = Response::new(());
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    if status.add_header(response.headers_mut()).is_err() {
        response.headers_mut().insert(Status::GRPC_STATUS, HeaderValue::from_static("2"));
    }
    // The caller may be gone; then nobody is left to be told.
    let _ = respond.send_response(response, true);
}

/// The caller's patience, from `grpc-timeout`: up to eight digits and a unit.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(n * 3600)),
        "M" => Some(Duration::from_secs(n * 60)),
        "S" => Some(Duration::from_secs(n)),
        "m" => Some(Duration::from_millis(n)),
        "u" => Some(Duration::from_micros(n)),
        "n" => Some(Duration::from_nanos(n)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::etcdserverpb::PutRequest;
    use tonic::Code;

    #[test]
    fn a_message_survives_its_frame() {
        let put = PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
        let message = cut(frame(&put).unwrap()).unwrap();
        assert_eq!(PutRequest::decode(message).unwrap(), put);
        assert_eq!(cut(frame(&PutRequest::default()).unwrap()).unwrap(), Bytes::new());
    }

    #[test]
    fn an_answer_that_no_client_can_take_is_refused_in_grpcs_words() {
        assert_eq!(sendable(MOST_SENT).unwrap(), MOST_SENT);
        let status = sendable(MOST_SENT + 1).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: trying to send message larger than max (2147483648 vs. 2147483647)");
    }

    #[test]
    fn broken_frames_are_refused() {
        let code = |bytes: &'static [u8]| cut(Bytes::from_static(bytes)).unwrap_err().code();
        assert_eq!(code(b""), Code::Internal);
        assert_eq!(code(b"\0\0\0"), Code::Internal);
        assert_eq!(code(b"\0\0\0\0\x02a"), Code::Internal);
        assert_eq!(code(b"\0\0\0\0\x01ab"), Code::Internal);
        assert_eq!(code(b"\x01\0\0\0\x01a"), Code::Unimplemented, "compressed");
    }

    #[test]
    fn patience_has_a_unit() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", HeaderValue::from_bytes(text.as_bytes()).expect("opaque bytes are allowed"));
            timeout(&headers)
        };
        assert_eq!(read("5S"), Some(Duration::from_secs(5)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "5", "5s", "-5S", "123456789S", "5é"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}

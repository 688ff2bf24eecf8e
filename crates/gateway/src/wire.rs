//! A unary call over one HTTP/2 stream.
//!
//! etcd's traffic is almost all unary calls of a few hundred bytes. tonic boxes the body, the service, the stream and
//! the answer of each; here a call is read, answered and forgotten with plain functions over `h2`. Streaming services
//! go through tonic's generated code (`tunnel`).

use bytes::Bytes;
use grpc::{Messages, trailers};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, header};
use prost::Message;
use std::time::Duration;
use tonic::Status;

/// Does this request speak gRPC?
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/grpc"))
}

/// The one message of a unary call, at most `limit` bytes long.
pub async fn read(body: RecvStream, limit: usize) -> Result<Bytes, Status> {
    let mut messages = Messages::new(body, limit);
    let Some(message) = messages.next().await? else {
        return Err(Status::internal("grpc: the request has no message"));
    };
    match messages.next().await? {
        None => Ok(message),
        Some(_) => Err(Status::internal("grpc: a unary call carries one message")),
    }
}

/// Bytes of the largest answer, as in Go's gRPC: clients cannot take more, whatever they allow.
const MOST_SENT: usize = i32::MAX as usize;

/// A message with its prefix.
pub fn frame(message: &impl Message) -> Result<Bytes, Status> {
    let mut out = grpc::begin(sendable(message.encoded_len())?);
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
    let Ok(mut out) = respond.send_response(grpc::response(), false) else { return false };
    out.send_data(framed, false).is_ok() && trailers(&mut out).is_ok()
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
    use grpc::PREFIX;
    use http::HeaderValue;
    use proto::etcdserverpb::PutRequest;
    use tonic::Code;

    #[test]
    fn a_message_survives_its_frame() {
        let put = PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
        let framed = frame(&put).unwrap();
        assert_eq!(grpc::length(&framed, 100).unwrap(), Some(framed.len() - PREFIX));
        assert_eq!(PutRequest::decode(&framed[PREFIX..]).unwrap(), put);
    }

    #[test]
    fn an_answer_that_no_client_can_take_is_refused_in_grpcs_words() {
        assert_eq!(sendable(MOST_SENT).unwrap(), MOST_SENT);
        let status = sendable(MOST_SENT + 1).unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: trying to send message larger than max (2147483648 vs. 2147483647)");
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

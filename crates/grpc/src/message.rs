//! gRPC's framing over one HTTP/2 stream: a flag byte, a length, a message; the outcome in the trailers.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Response, header};
use tonic::{Code, Status};

/// Bytes in front of every message: a flag and a big-endian length.
pub const PREFIX: usize = 5;
/// The content type of requests and answers.
pub const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// A buffer for one message of this length, which begins with its prefix.
#[must_use]
pub fn begin(length: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(PREFIX + length);
    out.put_u8(0);
    out.put_u32(length as u32);
    out
}

/// The length of the message that begins here, as soon as its prefix is here.
///
/// # Errors
///
/// In the words of Go's gRPC: the message is compressed, or has more than `limit` bytes.
pub fn length(bytes: &[u8], limit: usize) -> Result<Option<usize>, Status> {
    let Some((prefix, _)) = bytes.split_first_chunk::<PREFIX>() else { return Ok(None) };
    if prefix[0] != 0 {
        return Err(Status::unimplemented("grpc: Decompressor is not installed: send messages uncompressed"));
    }
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if length > limit {
        let text = format!("grpc: received message larger than max ({length} vs. {limit})");
        return Err(Status::resource_exhausted(text));
    }
    Ok(Some(length))
}

/// The messages that arrive on a stream, one after the other.
pub struct Messages {
    body: RecvStream,
    pieces: Pieces,
}

impl Messages {
    /// Of a stream on which nothing has been read, each message at most `limit` bytes long.
    #[must_use]
    pub fn new(body: RecvStream, limit: usize) -> Messages {
        Messages { body, pieces: Pieces { limit, chunk: Bytes::new(), begun: BytesMut::new() } }
    }

    /// The next message, or none when the other side has ended the stream in order. May be dropped while it waits:
    /// nothing is lost.
    ///
    /// # Errors
    ///
    /// The stream broke, carries something else, or its trailers say that the other side failed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.pieces.cut()? {
                return Ok(Some(message));
            }
            match self.body.data().await {
                Some(chunk) => {
                    let chunk = chunk.map_err(|e| broken(&e))?;
                    // An error here means that the stream is gone, which the next read will say.
                    let _ = self.body.flow_control().release_capacity(chunk.len());
                    self.pieces.chunk = chunk;
                }
                None if self.pieces.begun.is_empty() => {
                    let trailers = self.body.trailers().await.map_err(|e| broken(&e))?;
                    return trailers.as_ref().map_or(Ok(()), outcome).map(|()| None);
                }
                None => return Err(Status::internal("grpc: the stream ended within a message")),
            }
        }
    }
}

/// Bytes that have arrived and belong to no message yet.
struct Pieces {
    limit: usize,
    /// Not looked at.
    chunk: Bytes,
    /// The beginning of a message that has not arrived whole. Grows with what arrives, not with what is announced.
    begun: BytesMut,
}

impl Pieces {
    /// Cuts off a message if it is all here. One that arrived in one piece is not copied. Afterwards, if there was
    /// none, the chunk is used up.
    fn cut(&mut self) -> Result<Option<Bytes>, Status> {
        if self.begun.is_empty()
            && let Some(length) = length(&self.chunk, self.limit)?
            && self.chunk.len() >= PREFIX + length
        {
            self.chunk.advance(PREFIX);
            return Ok(Some(self.chunk.split_to(length)));
        }
        while !self.chunk.is_empty() {
            let piece = self.chunk.split_to(self.wanted()?.min(self.chunk.len()));
            self.begun.extend_from_slice(&piece);
            if self.wanted()? == 0 {
                let mut message = std::mem::take(&mut self.begun).freeze();
                message.advance(PREFIX);
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Bytes that the message that has begun, or its prefix, still lacks.
    fn wanted(&self) -> Result<usize, Status> {
        let length = length(&self.begun, self.limit)?;
        Ok(length.map_or(PREFIX, |length| PREFIX + length) - self.begun.len())
    }
}

fn broken(error: &h2::Error) -> Status {
    Status::cancelled(error.to_string())
}

/// What trailers, or headers in their place, say about the outcome; nothing is a success that goes on.
fn outcome(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

/// Looks at the headers of an answer, and begins to read what follows them.
///
/// # Errors
///
/// The other side refused, or does not speak gRPC.
pub fn answers(response: Response<RecvStream>, limit: usize) -> Result<Messages, Status> {
    if response.status() != http::StatusCode::OK {
        return Err(Status::unknown(format!("grpc: the answer is HTTP {}", response.status())));
    }
    outcome(response.headers())?;
    Ok(Messages::new(response.into_body(), limit))
}

/// The headers that begin an answer.
#[must_use]
pub fn response() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// Answers with an error: one header frame and nothing else.
pub fn refuse(mut respond: SendResponse<Bytes>, status: &Status) {
    let mut response = response();
    if status.add_header(response.headers_mut()).is_err() {
        response.headers_mut().insert(Status::GRPC_STATUS, HeaderValue::from_static("2"));
    }
    // The caller may be gone; then nobody is left to be told.
    let _ = respond.send_response(response, true);
}

/// Ends an answer in order.
///
/// # Errors
///
/// The caller is gone.
pub fn trailers(out: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    out.send_trailers(trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat()
    }

    fn pieces() -> Pieces {
        Pieces { limit: 300, chunk: Bytes::new(), begun: BytesMut::new() }
    }

    /// What comes out when these bytes arrive in chunks of `size`, and whether they end between two messages.
    fn read(bytes: &[u8], size: usize) -> Result<(Vec<Bytes>, bool), Status> {
        let (mut pieces, mut out) = (pieces(), Vec::new());
        for chunk in bytes.chunks(size) {
            pieces.chunk = Bytes::copy_from_slice(chunk);
            while let Some(message) = pieces.cut()? {
                out.push(message);
            }
            assert!(pieces.chunk.is_empty(), "used up");
        }
        Ok((out, pieces.begun.is_empty()))
    }

    #[test]
    fn messages_come_out_whole_however_they_are_cut() {
        let sent: Vec<Vec<u8>> = [0, 1, 0, 300, 2, 0].map(|n| vec![n as u8; n]).to_vec();
        let wire: Vec<u8> = sent.iter().flat_map(|m| framed(m)).collect();
        for size in 1..=wire.len() {
            let (got, ended) = read(&wire, size).unwrap();
            assert_eq!(got, sent, "in chunks of {size}");
            assert!(ended);
        }
        for cut in 1..PREFIX + 1 {
            let (got, ended) = read(&wire[..2 * PREFIX + 1 + cut], 4).unwrap();
            assert_eq!((got.len(), ended), (2 + usize::from(cut == PREFIX), cut == PREFIX));
        }
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let mut pieces = pieces();
        pieces.chunk = Bytes::from(framed(b"abc"));
        let at = pieces.chunk[PREFIX..].as_ptr();
        assert_eq!(pieces.cut().unwrap().unwrap().as_ptr(), at);
    }

    #[test]
    fn what_is_compressed_or_too_long_is_refused_before_it_is_here() {
        let code = |bytes: &[u8], size| read(bytes, size).unwrap_err().code();
        for size in [1, 5, 9] {
            assert_eq!(code(&[1, 0, 0, 0, 0], size), Code::Unimplemented);
            assert_eq!(code(&[0, 0, 0, 1, 45], size), Code::ResourceExhausted);
        }
        assert!(read(&[0, 0, 0, 1, 44], 5).is_ok());
    }

    #[test]
    fn an_outcome_is_read_from_headers() {
        let mut headers = HeaderMap::new();
        assert!(outcome(&headers).is_ok(), "a stream that goes on");
        headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
        assert!(outcome(&headers).is_ok());
        headers.insert(Status::GRPC_STATUS, HeaderValue::from_static("12"));
        assert_eq!(outcome(&headers).unwrap_err().code(), Code::Unimplemented);
    }
}

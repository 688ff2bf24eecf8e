//! One connection to an etcd endpoint, as cheap as HTTP/2 allows: the caller frames its own message on the stream and
//! reads its own answer, without a channel or a task in between. The generator shares its machine with the servers, so
//! what it saves they can use.

use crate::config::text::escaped_key;
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use std::fmt;
use tokio::net::TcpStream;

/// The calls that a load is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// `KV.Range`
    Range,
    /// `KV.Put`
    Put,
    /// `KV.Txn`
    Txn,
}

/// gRPC's code for something that the server does not do.
pub const UNIMPLEMENTED: u32 = 12;

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The server answered with this code and text.
    Status(u32, String),
    /// The connection broke, or never stood.
    Transport(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Status(code, text) => write!(f, "grpc code {code}: {text}"),
            Failure::Transport(text) => write!(f, "connection: {text}"),
        }
    }
}

impl From<h2::Error> for Failure {
    fn from(e: h2::Error) -> Failure {
        Failure::Transport(e.to_string())
    }
}

/// A connection; clones share it.
#[derive(Clone)]
pub struct Line {
    send: SendRequest<Bytes>,
    uris: [Uri; 3],
}

/// Large windows: a scan's answer never waits for a window update.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;

impl Line {
    /// Connect to `host:port`. The task that drives the connection is spawned on the present `LocalSet`.
    pub async fn open(address: &str) -> Result<Line, Failure> {
        let transport = |e: &dyn fmt::Display| Failure::Transport(format!("{address}: {e}"));
        let socket = TcpStream::connect(address).await.map_err(|e| transport(&e))?;
        socket.set_nodelay(true).map_err(|e| transport(&e))?;
        let mut builder = Builder::new();
        builder.initial_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW).enable_push(false);
        let (send, connection) = builder.handshake(socket).await.map_err(|e| transport(&e))?;
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        let uri = |call: &str| -> Result<Uri, Failure> {
            format!("http://{address}/etcdserverpb.KV/{call}").parse().map_err(|e: http::uri::InvalidUri| transport(&e))
        };
        Ok(Line { send, uris: [uri("Range")?, uri("Put")?, uri("Txn")?] })
    }

    /// One call: a message out, a message or a failure back.
    pub async fn call<Q, A>(&mut self, call: Call, message: &Q) -> Result<A, Failure>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        std::future::poll_fn(|cx| self.send.poll_ready(cx)).await?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uris[call as usize].clone();
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
        let (answer, mut stream) = self.send.send_request(request, false)?;
        stream.send_data(framed(message), true)?;
        let body = read(answer).await?;
        A::decode(body).map_err(|e| Failure::Transport(format!("unreadable answer: {e}")))
    }
}

/// gRPC's frame: not compressed, length, message.
fn framed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(5 + length);
    frame.put_u8(0);
    frame.put_u32(length as u32);
    message.encode(&mut frame).expect("the frame has room for the message");
    frame.freeze()
}

/// The message of a unary answer, once its trailers say that all is well.
async fn read(answer: ResponseFuture) -> Result<Bytes, Failure> {
    let (head, mut body) = answer.await?.into_parts();
    if !head.status.is_success() {
        return Err(Failure::Transport(format!("http status {}", head.status)));
    }
    // An answer without a body carries its status in the headers.
    status(&head.headers)?;
    let mut frame = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        let _ = body.flow_control().release_capacity(chunk.len());
        frame = if frame.is_empty() { chunk } else { [frame, chunk].concat().into() };
    }
    if let Some(trailers) = body.trailers().await? {
        status(&trailers)?;
    }
    if frame.len() < 5 {
        return Err(Failure::Transport("the answer holds no message".to_string()));
    }
    Ok(frame.split_off(5))
}

fn status(headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        None | Some("0") => Ok(()),
        Some(code) => {
            let code = code.parse().unwrap_or(2);
            // gRPC writes bytes outside of printable ASCII as %xx.
            let said = text("grpc-message").unwrap_or("");
            let plain = escaped_key(said).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            Err(Failure::Status(code, plain.unwrap_or_else(|_| said.to_string())))
        }
    }
}

//! One lane's connection and its one stream, as the side that dials sees them.

use crate::accept::{CONNECTION_WINDOW, KEEPALIVE, MAX_PIECE, STREAM_WINDOW};
use crate::message::{MAX_MESSAGE_BYTES, METHOD};
use crate::outbox::Outward;
use bytes::Bytes;
use grpc::{GRPC, Keepalive, Messages};
use h2::SendStream;
use h2::client::{Builder, Connection};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Uri, Version, header};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// For a connection, whatever its name leads to, and again for the answer to our hello.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// For each address. A packet of a connection attempt may be lost; trying anew beats the kernel's own growing pauses.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Of an address that names none.
const HTTP_PORT: u16 = 80;

/// Connects to the first address of this name that answers. The text says why there is none.
pub(crate) async fn connect(url: &str) -> Result<TcpStream, String> {
    let connected = timeout(ANSWER_TIMEOUT, reach_any(&authority(url)?)).await;
    connected.unwrap_or_else(|_| Err(TOO_LONG.to_owned()))
}

const TOO_LONG: &str = "connecting takes too long";

async fn reach_any(authority: &Authority) -> Result<TcpStream, String> {
    // An IPv6 address stands in brackets.
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let mut why = "no address has this name".to_owned();
    for address in lookup_host((host, authority.port_u16().unwrap_or(HTTP_PORT))).await.map_err(|e| e.to_string())? {
        match reach(address).await {
            Ok(socket) => return Ok(socket),
            Err(text) => why = text,
        }
    }
    Err(why)
}

async fn reach(address: SocketAddr) -> Result<TcpStream, String> {
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let socket = connected.map_err(|_| TOO_LONG)?.map_err(|e| e.to_string())?;
    // A frame must not wait for the acknowledgement of the one before.
    socket.set_nodelay(true).map_err(|e| e.to_string())?;
    Ok(socket)
}

fn authority(url: &str) -> Result<Authority, String> {
    let uri: Uri = url.parse().map_err(|e| format!("{url:?} is no address: {e}"))?;
    uri.into_parts().authority.ok_or_else(|| format!("{url:?} names no host"))
}

/// A stream that was answered. Dropped, it closes its connection at once.
pub(crate) struct Stream {
    answers: Messages,
    /// The task that carries it, and says at its end why, if it knows better than the stream.
    carried: JoinSet<Option<&'static str>>,
}

impl Stream {
    /// Begins to send, and waits for the headers of the answer. The text says why there is none.
    pub(crate) async fn open(socket: TcpStream, url: &str, outward: Outward) -> Result<Stream, String> {
        let broken = |e: h2::Error| e.to_string();
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_PIECE)
            .enable_push(false);
        let (mut asking, connection) = builder.handshake(socket).await.map_err(broken)?;
        let (answer, out) = asking.send_request(request(url)?, false).map_err(broken)?;
        let mut carried = JoinSet::new();
        carried.spawn(carry(connection, Sending { out: Some(out), outward }));
        let answered = grpc::answers(answer.await.map_err(broken)?, MAX_MESSAGE_BYTES);
        Ok(Stream { answers: answered.map_err(|status| status.message().to_owned())?, carried })
    }

    /// The next answer, or none when the other side closed the stream in order. The text says how it broke. May be
    /// dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        self.answers.next().await.map_err(|status| match self.carried.try_join_next() {
            Some(Ok(Some(why))) => why.to_owned(),
            _ => status.message().to_owned(),
        })
    }
}

fn request(url: &str) -> Result<Request<()>, String> {
    let uri = Uri::builder().scheme("http").authority(authority(url)?).path_and_query(METHOD);
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri.build().map_err(|e| e.to_string())?;
    request.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    Ok(request)
}

/// Sends and receives until the connection ends, or its other side falls silent.
async fn carry(mut connection: Connection<TcpStream, Bytes>, mut sending: Sending) -> Option<&'static str> {
    let mut keepalive = Keepalive::new(connection.ping_pong(), KEEPALIVE.0, KEEPALIVE.1);
    poll_fn(|cx| {
        // What is handed over, and room that is made, wakes this task again.
        sending.poll(cx);
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        keepalive.poll(cx).map(|()| Some("the other side fell silent"))
    })
    .await
}

/// The way from an outbox to a stream.
struct Sending {
    /// Gone when nothing more is to be sent, or can be.
    out: Option<SendStream<Bytes>>,
    outward: Outward,
}

impl Sending {
    /// Hands over messages while the stream takes them: one that is larger than its room goes whole, and the next waits
    /// until there is room again. Afterwards either a waker is left where more would come from, or nothing more comes.
    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Some(out) = &mut self.out {
            out.reserve_capacity(1);
            while out.capacity() == 0 {
                match out.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => {
                        self.out = None;
                        return;
                    }
                    Poll::Pending => return,
                }
            }
            match self.outward.poll(cx) {
                Poll::Ready(Some(message)) => {
                    // A stream that cannot be sent on has ended, which its answers will say.
                    let _ = out.send_data(message.framed(), false);
                }
                Poll::Ready(None) => {
                    let _ = out.send_data(Bytes::new(), true);
                    self.out = None;
                }
                Poll::Pending => return,
            }
        }
    }
}

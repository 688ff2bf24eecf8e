//! The side that is dialled: hears who is talking, answers, and hands in what arrives.

use crate::codec::{FrameCodec, MAX_MESSAGE_BYTES, METHOD, Received};
use crate::message::{Arrived, Message};
use crate::peer::{Peer, Shared};
use crate::stats::count;
use crate::{Event, Lane, Side};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, StreamingService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// A stream that has not said who it is by then is closed.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// What may be under way to the other side; a pong more is dropped.
const ANSWERS: usize = 8;
/// Bytes that the other side may send ahead of what we have read, per stream. Reading never waits for the disk or for a
/// step, so this is for the delay of the network alone.
pub(crate) const STREAM_WINDOW: u32 = 8 << 20;
/// The same for a connection, which carries one stream.
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest piece into which HTTP/2 cuts a message. Its default of 16 KiB costs a header and a turn per piece.
pub(crate) const MAX_PIECE: u32 = 1 << 20;
/// A connection on which nothing was heard for the first time is asked; without an answer for the second it is closed.
/// Short, because after a cut of some seconds TCP's own pauses have grown so long that dialling anew is quicker; not
/// shorter, because an overloaded machine answers late and must not lose its connections over it.
pub(crate) const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));

/// How far this node is from its end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Closing {
    /// Not at all.
    No,
    /// No new connection is accepted; what was accepted is heard.
    Door,
    /// Nothing is heard any more.
    Ears,
}

/// Waits until the end has come this near.
async fn closing(mut stage: watch::Receiver<Closing>, at: Closing) {
    let _ = stage.wait_for(|stage| *stage >= at).await;
}

/// Accepts connections until the door closes, and ends when the last of them has ended.
pub(crate) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let closed = closing(shared.closing.subscribe(), Closing::Door);
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_PIECE)
        .max_concurrent_streams(16)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .serve_with_incoming_shutdown(Door { shared }, incoming, closed);
    // Ends with the listener; what became of single connections is seen on their streams.
    let _ = server.await;
}

/// The one gRPC method, without generated code because the codec is our own.
#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
}

impl Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let shared = self.shared.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                let status = Status::unimplemented("this port is for Flotilla's nodes; clients have one of their own");
                return Ok(status.into_http());
            }
            let mut grpc = Grpc::new(FrameCodec).max_decoding_message_size(MAX_MESSAGE_BYTES);
            Ok(grpc.streaming(Exchange { shared }, request).await)
        })
    }
}

struct Exchange {
    shared: Arc<Shared>,
}

type Answers = ReceiverStream<Result<Message, Status>>;
type Exchanged = Pin<Box<dyn Future<Output = Result<Response<Answers>, Status>> + Send>>;

impl StreamingService<Received> for Exchange {
    type Response = Message;
    type ResponseStream = Answers;
    type Future = Exchanged;

    fn call(&mut self, request: Request<Streaming<Received>>) -> Exchanged {
        let shared = self.shared.clone();
        Box::pin(async move {
            let mut stream = request.into_inner();
            let opened = tokio::time::timeout(HELLO_TIMEOUT, stream.message()).await;
            let Ok(Ok(Some(opening))) = opened else {
                return Err(Status::invalid_argument("the stream did not begin with a hello"));
            };
            let (answers, outgoing) = mpsc::channel(ANSWERS);
            let answer = match Heard::welcome(shared.clone(), opening) {
                Ok(heard) => {
                    tokio::spawn(heard.listen(stream, answers.clone()));
                    Message::Hello(shared.local.clone())
                }
                Err(text) => Message::Refused(text),
            };
            answers.try_send(Ok(answer)).map_err(|_| Status::internal("the first answer finds room"))?;
            Ok(Response::new(ReceiverStream::new(outgoing)))
        })
    }
}

/// One accepted stream.
struct Heard {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    lane: Lane,
    number: u64,
}

impl Heard {
    /// Who is it, and may it talk? The text says why not.
    fn welcome(shared: Arc<Shared>, opening: Received) -> Result<Heard, String> {
        let (lane, hello) = match opening.read() {
            Ok(Arrived::Open(lane, hello)) => (lane, hello),
            Ok(_) => return Err("the stream did not begin with a hello".to_owned()),
            Err(error) => return Err(error.text),
        };
        let admitted = shared.judge(&hello).and_then(|()| {
            let peer = shared.peer_or_new(hello.store)?;
            let number = peer.meet(&hello, || {
                let number = shared.number();
                peer.hear_only(lane, number);
                number
            })?;
            Ok((peer, number))
        });
        match admitted {
            Ok((peer, number)) => {
                shared.forget_refusal(peer.store, Side::Us);
                peer.nudge();
                Ok(Heard { shared, peer, lane, number })
            }
            Err(text) => {
                shared.tell_refusal(hello.store, Side::Us, &text);
                Err(text)
            }
        }
    }

    /// Hands in what arrives until the stream ends, or a newer one takes its place, or it carries rubbish.
    async fn listen(self, mut stream: Streaming<Received>, answers: mpsc::Sender<Result<Message, Status>>) {
        let mut closed = std::pin::pin!(closing(self.shared.closing.subscribe(), Closing::Ears));
        loop {
            let message = tokio::select! {
                biased;
                () = &mut closed => return,
                message = stream.message() => message,
            };
            // An error is the end of the connection; the side that dialled dials again.
            let Ok(Some(message)) = message else { return };
            count(&self.peer.counters.received_bytes, message.len() as u64);
            match self.hear(message) {
                Ok(Some(pong)) => {
                    let _ = answers.try_send(Ok(pong));
                }
                Ok(None) => {}
                Err(text) => {
                    let _ = answers.try_send(Ok(Message::Refused(text)));
                    return;
                }
            }
        }
    }

    /// Hands in one message; perhaps there is something to answer.
    fn hear(&self, message: Received) -> Result<Option<Message>, String> {
        let rubbish = |text: &str| {
            let text = format!("rubbish on the {} stream from {}: {text}", self.lane, self.peer.store);
            count(&self.peer.counters.received_failures, 1);
            self.shared.tell_refusal(self.peer.store, Side::Us, &text);
            text
        };
        let frames = match message.read() {
            Ok(Arrived::Frames(frames)) => frames,
            Ok(Arrived::Ping(number)) => return Ok(Some(Message::Pong(number))),
            Ok(_) => return Err(rubbish("a message out of its place")),
            Err(error) => return Err(rubbish(&error.text)),
        };
        let mut damage = None;
        let current = self.peer.delivers(self.lane, self.number, || {
            for frame in frames {
                match frame {
                    Ok(bytes) => {
                        count(&self.peer.counters.received_frames, 1);
                        self.shared.tell(Event::Frame { peer: self.peer.store, lane: self.lane, bytes });
                    }
                    Err(error) => damage = Some(error.text),
                }
            }
        });
        match damage {
            Some(text) => Err(rubbish(&text)),
            None if !current => Err(format!("nobody listens to this {} stream any more", self.lane)),
            None => Ok(None),
        }
    }
}

//! The side that is dialled: hears who is talking, answers, and hands in what arrives.

use crate::message::{Arrived, MAX_MESSAGE_BYTES, METHOD, Message};
use crate::peer::{Peer, Shared};
use crate::stats::count;
use crate::{Event, Lane, Side};
use bytes::Bytes;
use grpc::{Keepalive, Messages};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::Request;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;

/// A stream that has not said who it is by then is closed.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection carries one stream; this many cost nothing and never wait for each other.
const MAX_STREAMS: u32 = 16;
/// Headers larger than this are refused; ours are a path and a handful of words.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// Bytes that the other side may send ahead of what we have read, per stream. Reading never waits for the disk or for a
/// step, so this is for the delay of the network alone.
pub(crate) const STREAM_WINDOW: u32 = 8 << 20;
/// The same for a connection, which carries one stream.
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;
/// The largest piece into which HTTP/2 cuts a message. Its default of 16 KiB costs a header and a turn per piece.
pub(crate) const MAX_PIECE: u32 = 1 << 20;
/// After the first time a connection is asked whether it is still there, also while frames come, since they come one way
/// only; without an answer for the second it is closed.
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
    let closed = closing(shared.closing.subscribe(), Closing::Door);
    grpc::accept(listener, closed, |socket| serve(shared.clone(), socket)).await;
}

async fn serve(shared: Arc<Shared>, socket: TcpStream) {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_PIECE)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_STREAMS);
    // Whoever cannot shake hands has nothing to be told; what becomes of a connection is seen on its streams.
    let Ok(Ok(mut connection)) = timeout(HELLO_TIMEOUT, builder.handshake(socket)).await else { return };
    let keepalive = Keepalive::new(connection.ping_pong(), KEEPALIVE.0, KEEPALIVE.1);
    let closed = closing(shared.closing.subscribe(), Closing::Door);
    grpc::serve(connection, keepalive, closed, |request, respond| exchange(shared.clone(), request, respond)).await;
}

/// Serves one stream, from hello to its end.
async fn exchange(shared: Arc<Shared>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    if request.uri().path() != METHOD {
        let status = Status::unimplemented("this port is for Flotilla's nodes; clients have one of their own");
        return grpc::refuse(respond, &status);
    }
    let mut messages = Messages::new(request.into_body(), MAX_MESSAGE_BYTES);
    let opened = timeout(HELLO_TIMEOUT, messages.next()).await;
    let Ok(Ok(Some(opening))) = opened else {
        return grpc::refuse(respond, &Status::invalid_argument("the stream did not begin with a hello"));
    };
    // Whatever cannot be sent from here on has nobody to hear it, and the stream will say so.
    let Ok(mut answers) = respond.send_response(grpc::response(), false) else { return };
    match Heard::welcome(shared.clone(), opening) {
        Ok(heard) => {
            let _ = answers.send_data(Message::Hello(shared.local.clone()).framed(), false);
            heard.listen(messages, &mut answers).await;
        }
        Err(text) => {
            let _ = answers.send_data(Message::Refused(text).framed(), false);
        }
    }
    let _ = grpc::trailers(&mut answers);
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
    fn welcome(shared: Arc<Shared>, opening: Bytes) -> Result<Heard, String> {
        let (lane, hello) = match Arrived::decode(opening) {
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
    async fn listen(self, mut messages: Messages, answers: &mut SendStream<Bytes>) {
        let mut closed = pin!(closing(self.shared.closing.subscribe(), Closing::Ears));
        loop {
            let message = tokio::select! {
                biased;
                () = &mut closed => return,
                message = messages.next() => message,
            };
            // An error is the end of the connection; the side that dialled dials again.
            let Ok(Some(message)) = message else { return };
            count(&self.peer.counters.received_bytes, message.len() as u64);
            match self.hear(message) {
                Ok(Some(pong)) => answer(answers, &pong),
                Ok(None) => {}
                Err(text) => {
                    let _ = answers.send_data(Message::Refused(text).framed(), false);
                    return;
                }
            }
        }
    }

    /// Hands in one message; perhaps there is something to answer.
    fn hear(&self, message: Bytes) -> Result<Option<Message>, String> {
        let rubbish = |text: &str| {
            let text = format!("rubbish on the {} stream from {}: {text}", self.lane, self.peer.store);
            count(&self.peer.counters.received_failures, 1);
            self.shared.tell_refusal(self.peer.store, Side::Us, &text);
            text
        };
        let frames = match Arrived::decode(message) {
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

/// Answers, unless the other side does not take its answers: one that pings and never reads must not fill our memory.
fn answer(answers: &mut SendStream<Bytes>, message: &Message) {
    let framed = message.framed();
    answers.reserve_capacity(framed.len());
    if answers.capacity() >= framed.len() {
        let _ = answers.send_data(framed, false);
    }
}

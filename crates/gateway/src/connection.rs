//! One HTTP/2 connection: one task, and every unary call of it is a future inside.

use crate::authority::Lenient;
use crate::backend::Backend;
use crate::keepalive::Keepalive;
use crate::{Gateway, call};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use h2::server::{Builder, Connection};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;

/// Room for one stream: a request of the largest size needs no second round trip.
const STREAM_WINDOW: u32 = 4 << 20;
/// Room for all streams of a connection together.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Headers larger than this are refused; tokens are the largest thing in them.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// How long a client may take to say hello.
pub const HELLO: Duration = Duration::from_secs(10);

/// Serves a connection until its client or `closing` ends it.
pub async fn serve<B: Backend>(gateway: Arc<Gateway<B>>, socket: TcpStream, closing: impl Future<Output = ()>) {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(gateway.limits.max_streams)
        .max_header_list_size(MAX_HEADER_BYTES);
    // A client that cannot shake hands has nothing to be told.
    if let Ok(Ok(connection)) = tokio::time::timeout(HELLO, builder.handshake(Lenient::new(socket))).await {
        run(gateway, connection, closing).await;
    }
}

async fn run<B: Backend>(
    gateway: Arc<Gateway<B>>,
    mut connection: Connection<Lenient<TcpStream>, Bytes>,
    closing: impl Future<Output = ()>,
) {
    let limits = &gateway.limits;
    let mut keepalive = Keepalive::new(connection.ping_pong(), limits.ping_interval, limits.ping_timeout);
    let mut calls = FuturesUnordered::new();
    let mut closing = pin!(closing);
    let mut leaving = false;
    poll_fn(|cx| {
        if !leaving && closing.as_mut().poll(cx).is_ready() {
            leaving = true;
            connection.graceful_shutdown();
        }
        loop {
            // Take every call that has arrived; this also reads the socket and writes what is waiting.
            while let Poll::Ready(arrived) = connection.poll_accept(cx) {
                let Some(Ok((request, respond))) = arrived else { return Poll::Ready(()) };
                keepalive.heard();
                calls.push(call::begin(gateway.clone(), request, respond));
            }
            // Then go on with all calls that can, and only then write their answers, together.
            let mut ended = false;
            while let Poll::Ready(Some(())) = Pin::new(&mut calls).poll_next(cx) {
                ended = true;
            }
            if !ended {
                return keepalive.poll(cx);
            }
        }
    })
    .await;
}

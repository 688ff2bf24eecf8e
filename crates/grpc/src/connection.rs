//! One HTTP/2 connection: one task, and every call of it is a future inside.

use crate::Keepalive;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::Request;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};

/// Serves a connection until the other side, its silence, or `closing` ends it; `begin` makes the future that serves one
/// stream. After `closing` no stream begins, and those under way go on.
pub async fn serve<S, F>(
    mut connection: Connection<S, Bytes>,
    mut keepalive: Keepalive,
    closing: impl Future<Output = ()>,
    begin: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
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
                let Some(Ok((request, respond))) = arrived else {
                    // What arrived together with the end was heard in time, and is handed in.
                    while let Poll::Ready(Some(())) = Pin::new(&mut calls).poll_next(cx) {}
                    return Poll::Ready(());
                };
                keepalive.heard();
                calls.push(begin(request, respond));
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

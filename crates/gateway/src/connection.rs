//! How a client's HTTP/2 connection is set up; `grpc::serve` runs it.

use crate::authority::Lenient;
use crate::backend::Backend;
use crate::{Gateway, call};
use grpc::Keepalive;
use h2::server::Builder;
use std::future::Future;
use std::sync::Arc;
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
    if let Ok(Ok(mut connection)) = tokio::time::timeout(HELLO, builder.handshake(Lenient::new(socket))).await {
        let limits = &gateway.limits;
        let keepalive = Keepalive::new(connection.ping_pong(), limits.ping_interval, limits.ping_timeout);
        grpc::serve(connection, keepalive, closing, |request, respond| call::begin(gateway.clone(), request, respond))
            .await;
    }
}

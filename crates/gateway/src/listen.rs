//! Listens, tells HTTP/1 from HTTP/2 by the first bytes, and ends in order.

use crate::backend::Backend;
use crate::connection::HELLO;
use crate::{Gateway, connection, http};
use ::http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long calls may go on after `closing`.
const GRACE: Duration = Duration::from_secs(5);
/// How often the rest of a first word is asked for, and how long after each try.
const HELLO_TRIES: usize = 100;
const HELLO_PAUSE: Duration = Duration::from_millis(10);

/// What a port is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// gRPC and HTTP.
    Clients,
    /// HTTP alone, without anything that shows or changes a key: it may be open to more people than the others.
    Metrics,
}

/// Serves every listener until `closing`; then takes no new call, lets those under way end, and drops what is left after
/// five seconds.
pub async fn serve<B: Backend>(
    gateway: Arc<Gateway<B>>,
    listeners: Vec<(TcpListener, Port)>,
    closing: impl Future<Output = ()>,
) {
    let (close, closed) = watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for (listener, port) in listeners {
        let (gateway, closed) = (gateway.clone(), closed.clone());
        tasks.spawn(grpc::accept(listener, until(closed.clone()), move |socket| {
            one(gateway.clone(), (socket, port), closed.clone())
        }));
    }
    drop(closed);
    closing.await;
    gateway.set_serving(false).await;
    // Every connection holds a receiver, and lets go of it when it ends.
    let _ = close.send(true);
    let _ = tokio::time::timeout(GRACE, close.closed()).await;
}

/// Ends when the door closes.
async fn until(mut closed: watch::Receiver<bool>) {
    // An error means that the sender is gone, and then it is closed too.
    let _ = closed.wait_for(|closed| *closed).await;
}

async fn one<B: Backend>(gateway: Arc<Gateway<B>>, (socket, port): (TcpStream, Port), closed: watch::Receiver<bool>) {
    if port == Port::Metrics {
        return http1(gateway, socket, until(closed)).await;
    }
    match tokio::time::timeout(HELLO, is_http2(&socket)).await {
        Ok(Some(true)) => connection::serve(gateway, socket, until(closed)).await,
        Ok(Some(false)) => http1(gateway, socket, until(closed)).await,
        // Silent for too long, or gone.
        Ok(None) | Err(_) => {}
    }
}

/// HTTP/2 opens with `PRI * HTTP/2.0`, and no method of HTTP/1 is called `PRI`. `None` when nothing comes.
async fn is_http2(socket: &TcpStream) -> Option<bool> {
    const HELLO_HTTP2: &[u8] = b"PRI ";
    let mut first = [0; HELLO_HTTP2.len()];
    for _ in 0..HELLO_TRIES {
        let n = socket.peek(&mut first).await.ok()?;
        if n == 0 {
            return None;
        }
        if n == first.len() || first[..n] != HELLO_HTTP2[..n] {
            return Some(first == HELLO_HTTP2);
        }
        // These few bytes in two packets: so rare that asking again will do, and not for long.
        tokio::time::sleep(HELLO_PAUSE).await;
    }
    None
}

async fn http1<B: Backend>(gateway: Arc<Gateway<B>>, socket: TcpStream, closing: impl Future<Output = ()>) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let gateway = gateway.clone();
        async move {
            let answer = http::answer(&gateway, request.method(), request.uri()).await;
            Ok::<_, Infallible>(answer.map(Full::new))
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HELLO);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    // What goes wrong on a connection concerns its client alone, who knows already.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = closing => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

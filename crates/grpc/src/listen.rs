//! Accepts connections until told to close.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long to wait when the process has no file descriptor for another connection.
const BREATH: Duration = Duration::from_millis(50);

/// Accepts until `closing`, then waits for the last connection. Connections end with this future, which owns them.
pub async fn accept<F>(listener: TcpListener, closing: impl Future<Output = ()>, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut closing = pin!(closing);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    // Without this an answer would wait for the acknowledgement of the one before.
                    let _ = socket.set_nodelay(true);
                    connections.spawn(serve(socket));
                }
                Err(_) => sleep(BREATH).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            () = &mut closing => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

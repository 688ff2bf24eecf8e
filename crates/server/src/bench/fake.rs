//! A server that stores nothing, for tests of the generator: it answers every call by one rule.

use super::run::{Plan, Stop};
use super::{Load, Verb};
use crate::bench::load::Keys;
use bytes::Bytes;
use http::{HeaderMap, Response};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

/// How calls are answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// With an empty message, in two pieces.
    Well,
    /// With a status in the headers, as servers do that refuse at once.
    Refuse,
    /// Not at all: the connection is cut at its third call.
    Cut,
    /// Transactions are refused as not built, everything else is well.
    NoTxn,
}

/// Serve on a free port of this machine until the test ends.
pub fn serve(rule: Rule) -> SocketAddr {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            send.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(connection(socket, rule));
            }
        });
    });
    receive.recv().unwrap()
}

async fn connection(socket: tokio::net::TcpStream, rule: Rule) {
    let mut connection = h2::server::handshake(socket).await.unwrap();
    let mut calls = 0;
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        calls += 1;
        if rule == Rule::Cut && calls == 3 {
            return;
        }
        let txn = request.uri().path().ends_with("/Txn");
        let mut response = Response::new(());
        if rule == Rule::Refuse || (rule == Rule::NoTxn && txn) {
            let code = if txn { "12" } else { "8" };
            response.headers_mut().insert("grpc-status", code.parse().unwrap());
            response.headers_mut().insert("grpc-message", "too%20many%20requests: 100%25".parse().unwrap());
            let _ = respond.send_response(response, true);
            continue;
        }
        let mut stream = respond.send_response(response, false).unwrap();
        stream.send_data(Bytes::from_static(&[0, 0, 0]), false).unwrap();
        stream.send_data(Bytes::from_static(&[0, 0]), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    }
}

/// A small load against that server.
pub fn plan(address: SocketAddr, verb: Verb, total: u64) -> Plan {
    let keys = Keys { prefixes: vec!["t/".into()], size: 8, space: 1000, sequential: true };
    let load = Load { verb, keys, value: Load::value(16), limit: 10, serializable: false, read_percent: 50 };
    Plan {
        endpoints: vec![address.to_string()],
        conns: 3,
        clients: 10,
        threads: 2,
        stop: Stop::Total(total),
        warmup: Duration::ZERO,
        prefill: false,
        load,
    }
}

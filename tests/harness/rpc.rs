//! The Rust `etcd-client`, connected with the time-outs that tests want.

use etcd_client::{Client, ConnectOptions, Error};
use std::time::Duration;

/// How long one request may take: longer than a loss of a leader, shorter than anybody's patience.
pub const REQUEST_WITHIN: Duration = Duration::from_secs(12);

/// A client of these endpoints.
pub async fn connect(endpoints: &[String]) -> Client {
    try_connect(endpoints, REQUEST_WITHIN).await.unwrap_or_else(|e| panic!("{endpoints:?}: {e}"))
}

/// A client whose requests end after `within`.
pub async fn try_connect(endpoints: &[String], within: Duration) -> Result<Client, Error> {
    let options = ConnectOptions::new().with_connect_timeout(Duration::from_secs(2)).with_timeout(within);
    Client::connect(endpoints, Some(options)).await
}

/// gRPC code and text of an error; whatever has none fails the test.
pub fn status(error: &Error) -> (i32, String) {
    match error {
        Error::GRpcStatus(status) => (status.code() as i32, status.message().to_string()),
        other => panic!("not a gRPC status: {other}"),
    }
}

/// A runtime for one test.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

//! The yardstick: a tonic server that answers etcd's puts and gets and stores nothing. What it costs is the price of gRPC
//! on this machine, so budgets that were set on another machine can be compared.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_server::{Kv, KvServer};
use proto::mvccpb::KeyValue;
use server::bench::load::Load;
use std::net::SocketAddr;
use std::process::ExitCode;
use tonic::{Request, Response, Status};

/// The word that makes this program such a server.
pub const COMMAND: &str = "serve-nothing";
/// Microseconds of CPU that a put took it where the budgets were set.
pub const REFERENCE: f64 = 17.0;

/// Serves at this address until standard input ends.
pub fn run(address: Option<&str>) -> ExitCode {
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    match address.ok_or_else(|| "no address".to_string()).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{COMMAND}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> Result<(), String> {
    let address: SocketAddr = address.parse().map_err(|e| format!("{address}: {e}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let incoming = tonic::transport::server::TcpIncoming::bind(address).map_err(|e| format!("{address}: {e}"))?;
        eprintln!("{}", server::READY);
        let server = tonic::transport::Server::builder().add_service(KvServer::new(Nothing));
        server.serve_with_incoming(incoming.with_nodelay(Some(true))).await.map_err(|e| e.to_string())
    })
}

struct Nothing;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Kv for Nothing {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Answer<pb::RangeResponse> {
        let key = request.into_inner().key;
        let kv = KeyValue { key, value: Load::value(crate::cells::VALUE), version: 1, ..KeyValue::default() };
        Ok(Response::new(pb::RangeResponse { kvs: vec![kv], count: 1, ..pb::RangeResponse::default() }))
    }

    type RangeStreamStream = tokio_stream::Empty<Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(&self, _: Request<pb::RangeRequest>) -> Answer<Self::RangeStreamStream> {
        Err(Status::unimplemented("nothing is stored here"))
    }

    async fn put(&self, _: Request<pb::PutRequest>) -> Answer<pb::PutResponse> {
        Ok(Response::new(pb::PutResponse::default()))
    }

    async fn delete_range(&self, _: Request<pb::DeleteRangeRequest>) -> Answer<pb::DeleteRangeResponse> {
        Err(Status::unimplemented("nothing is stored here"))
    }

    async fn txn(&self, _: Request<pb::TxnRequest>) -> Answer<pb::TxnResponse> {
        Err(Status::unimplemented("nothing is stored here"))
    }

    async fn compact(&self, _: Request<pb::CompactionRequest>) -> Answer<pb::CompactionResponse> {
        Err(Status::unimplemented("nothing is stored here"))
    }
}

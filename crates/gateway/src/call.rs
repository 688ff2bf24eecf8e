//! One gRPC call: which RPC, may it come in, decode, serve, encode, count.

use crate::backend::Backend;
use crate::rpc::Rpc;
use crate::{Gateway, kv, operator, refusal, tunnel, wire};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, Request};
use prost::Message;
use proto::etcdserverpb as pb;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Status;

/// What a handler knows of its call beside the message.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// When its headers were here.
    pub arrived: Instant,
    /// How long the caller will wait, counted from there.
    pub patience: Duration,
    /// Bytes of its message.
    pub size: usize,
}

impl Call {
    /// How long the caller will wait from now on.
    pub fn within(&self) -> Duration {
        self.patience.saturating_sub(self.arrived.elapsed())
    }
}

/// A request message.
pub trait Ask: Message + Default + Send + 'static {
    /// May its answer be so large that encoding it would keep other calls of this connection waiting?
    fn heavy(&self) -> bool {
        false
    }
}

/// A scan of more keys than this gets a task of its own.
const LIGHT_KEYS: i64 = 1000;

impl Ask for pb::PutRequest {}
impl Ask for pb::CompactionRequest {}
impl Ask for pb::AlarmRequest {}
impl Ask for pb::StatusRequest {}
impl Ask for pb::HashKvRequest {}
impl Ask for pb::MemberListRequest {}
impl Ask for pb::RangeRequest {
    fn heavy(&self) -> bool {
        !self.range_end.is_empty() && !self.count_only && !(1..=LIGHT_KEYS).contains(&self.limit)
    }
}
impl Ask for pb::DeleteRangeRequest {
    fn heavy(&self) -> bool {
        !self.range_end.is_empty() && self.prev_kv
    }
}
impl Ask for pb::TxnRequest {
    fn heavy(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| match &op.request {
            Some(pb::request_op::Request::RequestRange(r)) => r.heavy(),
            Some(pb::request_op::Request::RequestDeleteRange(d)) => d.heavy(),
            Some(pb::request_op::Request::RequestTxn(t)) => t.heavy(),
            Some(pb::request_op::Request::RequestPut(_)) | None => false,
        })
    }
}

/// Serves one gRPC stream, whatever it asks for.
pub async fn serve<B: Backend>(gateway: Arc<Gateway<B>>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let Some(rpc) = Rpc::of(request.uri().path()) else { return foreign(&gateway, request, respond) };
    let g = gateway.clone();
    match rpc {
        Rpc::Put => unary(g, rpc, (request, respond), kv::put).await,
        Rpc::Range => unary(g, rpc, (request, respond), kv::range).await,
        Rpc::Txn => unary(g, rpc, (request, respond), kv::txn).await,
        Rpc::DeleteRange => unary(g, rpc, (request, respond), kv::delete).await,
        Rpc::Compact => unary(g, rpc, (request, respond), kv::compact).await,
        Rpc::Alarm => unary(g, rpc, (request, respond), operator::alarm).await,
        Rpc::Status => unary(g, rpc, (request, respond), operator::status).await,
        Rpc::HashKv => unary(g, rpc, (request, respond), operator::hash_kv).await,
        Rpc::MemberList => unary(g, rpc, (request, respond), operator::member_list).await,
        _ => {
            let status = refusal::not_built(&format!("{} ({})", rpc.missing().unwrap_or("?"), &rpc.path()[1..]));
            gateway.meter.start(rpc).refused(status.code());
            wire::refuse(respond, &status);
        }
    }
}

/// A path outside etcd's API: gRPC's own health service, or nothing we know.
fn foreign<B: Backend>(gateway: &Arc<Gateway<B>>, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let path = request.uri().path();
    if path.starts_with("/grpc.health.v1.Health/") {
        // A stream that lives long must not live inside its connection's task.
        tokio::spawn(tunnel::carry(gateway.health.clone(), request, respond));
        return;
    }
    let status = match path.trim_start_matches('/').rsplit_once('/') {
        Some((service, method)) if Rpc::ALL.iter().any(|rpc| rpc.names().0 == service) => {
            Status::unimplemented(format!("unknown method {method} for service {service}"))
        }
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    };
    wire::refuse(respond, &status);
}

type Stream = (Request<RecvStream>, SendResponse<Bytes>);

async fn unary<B, Q, A, F>(
    gateway: Arc<Gateway<B>>,
    rpc: Rpc,
    (request, respond): Stream,
    serve: impl FnOnce(Arc<Gateway<B>>, Q, Call) -> F,
) where
    B: Backend,
    Q: Ask,
    A: Message + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let counted = gateway.meter.start(rpc);
    let arrived = Instant::now();
    let answer = async {
        let (parts, body) = request.into_parts();
        let patience = admit(&gateway, &parts.headers)?;
        drop(parts);
        let message = wire::read(body, gateway.limits.max_message()).await?;
        counted.received(message.len());
        let call = Call { arrived, patience, size: message.len() };
        let ask =
            Q::decode(message).map_err(|e| Status::internal(format!("grpc: error unmarshalling request: {e}")))?;
        if !ask.heavy() {
            return serve(gateway.clone(), ask, call).await.map(|a| wire::frame(&a));
        }
        let answer = serve(gateway.clone(), ask, call);
        let task = tokio::spawn(async move { answer.await.map(|a| wire::frame(&a)) });
        task.await.map_err(|e| Status::internal(format!("the answer was lost: {e}")))?
    };
    match answer.await {
        Ok(framed) => {
            let size = framed.len() - wire::PREFIX;
            if wire::reply(respond, framed) {
                counted.answered(size);
            }
        }
        Err(status) => {
            counted.refused(status.code());
            wire::refuse(respond, &status);
        }
    }
}

/// May this call come in, and how long will its caller wait?
fn admit<B: Backend>(gateway: &Gateway<B>, headers: &HeaderMap) -> Result<Duration, Status> {
    if headers.get("hasleader").is_some_and(|v| v == "true") && !gateway.backend.has_leader() {
        return Err(refusal::NO_LEADER.into());
    }
    let most = gateway.limits.request_timeout;
    Ok(wire::timeout(headers).map_or(most, |asked| asked.min(most)))
}

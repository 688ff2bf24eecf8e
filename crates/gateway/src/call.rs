//! One gRPC call: which RPC, may it come in, decode, serve, encode, count.

use crate::backend::Backend;
use crate::rpc::Rpc;
use crate::{Gateway, http, kv, operator, refusal, tunnel, wire};
use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use futures_util::future::Either;
use h2::RecvStream;
use h2::server::SendResponse;
use prost::Message;
use proto::etcdserverpb as pb;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tonic::Status;

/// What a verb knows of its call beside the message.
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

/// One unary call whose headers have been looked at. Kept small: it moves into the future that serves it.
struct Arrived {
    rpc: Rpc,
    at: Instant,
    /// How long the caller will wait, or why it may not come in.
    patience: Result<Duration, Status>,
    body: RecvStream,
    respond: SendResponse<Bytes>,
}

/// The future that serves one stream. All that headers decide is decided before it begins, so that it does not carry
/// them along.
pub fn begin<B: Backend>(
    gateway: Arc<Gateway<B>>,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> impl Future<Output = ()> + Send {
    let rpc = if wire::is_grpc(request.headers()) { Rpc::of(request.uri().path()) } else { None };
    let Some(rpc) = rpc else { return Either::Right(Box::pin(foreign(gateway, request, respond))) };
    let patience = admit(&gateway, request.headers());
    let body = request.into_body();
    Either::Left(serve(gateway, Arrived { rpc, at: Instant::now(), patience, body, respond }))
}

async fn serve<B: Backend>(gateway: Arc<Gateway<B>>, call: Arrived) {
    match call.rpc {
        Rpc::Put => unary(gateway, call, kv::put).await,
        Rpc::Range => unary(gateway, call, kv::range).await,
        Rpc::Txn => unary(gateway, call, kv::txn).await,
        Rpc::DeleteRange => unary(gateway, call, kv::delete).await,
        // Boxed, the rare ones do not make every future larger.
        Rpc::Compact => Box::pin(unary(gateway, call, kv::compact)).await,
        Rpc::Alarm => Box::pin(unary(gateway, call, operator::alarm)).await,
        Rpc::Status => Box::pin(unary(gateway, call, operator::status)).await,
        Rpc::HashKv => Box::pin(unary(gateway, call, operator::hash_kv)).await,
        Rpc::MemberList => Box::pin(unary(gateway, call, operator::member_list)).await,
        rpc => {
            let status = refusal::not_built(&format!("{} ({})", rpc.missing().unwrap_or("?"), &rpc.path()[1..]));
            gateway.meter.start(rpc).refused(status.code());
            grpc::refuse(call.respond, &status);
        }
    }
}

/// A stream outside etcd's API: plain HTTP, gRPC's own health service, or nothing we know.
async fn foreign<B: Backend>(gateway: Arc<Gateway<B>>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let path = request.uri().path();
    if !wire::is_grpc(request.headers()) {
        let answer = http::answer(&gateway, request.method(), request.uri()).await;
        let (parts, body) = answer.into_parts();
        // The caller may be gone; then nobody is left to be told.
        if let Ok(mut out) = respond.send_response(Response::from_parts(parts, ()), false) {
            let _ = out.send_data(body, true);
        }
        return;
    }
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
    grpc::refuse(respond, &status);
}

/// Reads, serves, answers and counts one unary call.
async fn unary<B, Q, A, F>(gateway: Arc<Gateway<B>>, arrived: Arrived, verb: impl FnOnce(Arc<Gateway<B>>, Q, Call) -> F)
where
    B: Backend,
    Q: Ask,
    A: Message + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let Arrived { rpc, at, patience, body, respond } = arrived;
    let counted = gateway.meter.start(rpc);
    let asked = match patience {
        Ok(patience) => read::<Q>(body, gateway.limits.max_message()).await.map(|(ask, size)| {
            counted.received(size);
            (ask, Call { arrived: at, patience, size })
        }),
        Err(status) => Err(status),
    };
    let answer = match asked {
        Ok((ask, call)) if ask.heavy() => {
            let answer = verb(gateway.clone(), ask, call);
            let task = tokio::spawn(async move { answer.await.and_then(|a| wire::frame(&a)) });
            task.await.unwrap_or_else(|e| Err(Status::internal(format!("the answer was lost: {e}"))))
        }
        Ok((ask, call)) => verb(gateway.clone(), ask, call).await.and_then(|a| wire::frame(&a)),
        Err(status) => Err(status),
    };
    gateway.backend.handled(rpc, u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX));
    match answer {
        Ok(framed) => {
            let size = framed.len() - grpc::PREFIX;
            if wire::reply(respond, framed) {
                counted.answered(size);
            }
        }
        Err(status) => {
            counted.refused(status.code());
            grpc::refuse(respond, &status);
        }
    }
}

/// The message, and its size on the wire.
async fn read<Q: Ask>(body: RecvStream, limit: usize) -> Result<(Q, usize), Status> {
    let message = wire::read(body, limit).await?;
    let size = message.len();
    let ask = Q::decode(message);
    ask.map(|a| (a, size)).map_err(|e| Status::internal(format!("grpc: error unmarshalling request: {e}")))
}

/// May this call come in, and how long will its caller wait?
fn admit<B: Backend>(gateway: &Gateway<B>, headers: &HeaderMap) -> Result<Duration, Status> {
    if headers.get("hasleader").is_some_and(|v| v == "true") && !gateway.backend.has_leader() {
        return Err(refusal::NO_LEADER.into());
    }
    let most = gateway.limits.request_timeout;
    Ok(wire::timeout(headers).map_or(most, |asked| asked.min(most)))
}

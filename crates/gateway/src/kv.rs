//! etcd's KV service: each verb is checked, translated, handed to the node and answered.

use crate::backend::{Backend, Outcome};
use crate::call::Call;
use crate::refusal::{self, Fault};
use crate::{Gateway, check, translate};
use base::{Refusal, Revision, Stage};
use mvcc::{Reply, Request};
use proto::etcdserverpb as pb;
use std::sync::Arc;
use tonic::Status;

/// What etcd's log wraps around a request before it compares it with `--max-request-bytes`.
const ENVELOPE: usize = 18;

/// KV.Range
pub async fn range<B: Backend>(
    g: Arc<Gateway<B>>,
    r: pb::RangeRequest,
    call: Call,
) -> Result<pb::RangeResponse, Status> {
    check::range(&r).map_err(refused)?;
    let outcome = run(&g, Request::Range(translate::range(r)), call).await?;
    let Reply::Range(reply) = outcome.reply else { unreachable!("a scan is answered by a scan") };
    Ok(translate::range_response(g.header_at(outcome.revision), reply))
}

/// KV.Put
pub async fn put<B: Backend>(g: Arc<Gateway<B>>, r: pb::PutRequest, call: Call) -> Result<pb::PutResponse, Status> {
    check::put(&r).map_err(refused)?;
    fits(&g, call)?;
    let outcome = run(&g, Request::Put(translate::put(r)), call).await?;
    let Reply::Put(reply) = outcome.reply else { unreachable!("a put is answered by a put") };
    Ok(translate::put_response(g.header_at(outcome.revision), reply))
}

/// KV.DeleteRange
pub async fn delete<B: Backend>(
    g: Arc<Gateway<B>>,
    r: pb::DeleteRangeRequest,
    call: Call,
) -> Result<pb::DeleteRangeResponse, Status> {
    check::delete(&r).map_err(refused)?;
    fits(&g, call)?;
    let outcome = run(&g, Request::Delete(translate::delete(r)), call).await?;
    let Reply::Delete(reply) = outcome.reply else { unreachable!("a delete is answered by a delete") };
    Ok(translate::delete_response(g.header_at(outcome.revision), reply))
}

/// KV.Txn
pub async fn txn<B: Backend>(g: Arc<Gateway<B>>, r: pb::TxnRequest, call: Call) -> Result<pb::TxnResponse, Status> {
    check::txn(&r, g.limits.max_txn_ops).map_err(refused)?;
    if !check::reads_only(&r) {
        fits(&g, call)?;
    }
    let outcome = run(&g, Request::Txn(translate::txn(r)), call).await?;
    let Reply::Txn(reply) = outcome.reply else { unreachable!("a transaction is answered by a transaction") };
    Ok(translate::txn_response(g.header_at(outcome.revision), reply))
}

/// KV.Compact
pub async fn compact<B: Backend>(
    g: Arc<Gateway<B>>,
    r: pb::CompactionRequest,
    call: Call,
) -> Result<pb::CompactionResponse, Status> {
    // A fresh store counts as compacted at -1.
    let revision = u64::try_from(r.revision).map_err(|_| refused(Refusal::Compacted))?;
    let current = g.backend.compact(Revision(revision), r.physical, call.within()).await;
    let current = current.map_err(|e| refusal::status(&e))?;
    Ok(pb::CompactionResponse { header: Some(g.header_at(current)) })
}

/// The first station of a put, and of everything else that touches keys: what was a message is a command with a
/// deadline from here on.
async fn run<B: Backend>(g: &Gateway<B>, request: Request, call: Call) -> Result<Outcome, Status> {
    let spent = call.arrived.elapsed();
    g.backend.mark(Stage::Put, u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX));
    g.backend.call(request, call.patience.saturating_sub(spent)).await.map_err(|e| refusal::status(&e))
}

fn refused(refusal: Refusal) -> Status {
    Fault::from(refusal).into()
}

fn fits<B: Backend>(g: &Gateway<B>, call: Call) -> Result<(), Status> {
    if call.size + ENVELOPE > g.limits.max_request_bytes { Err(refused(Refusal::RequestTooLarge)) } else { Ok(()) }
}

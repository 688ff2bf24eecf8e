//! What an operator asks: Maintenance and Cluster, as far as they are built.

use crate::backend::{AlarmKind, Backend};
use crate::call::Call;
use crate::{Gateway, refusal};
use base::Revision;
use proto::etcdserverpb as pb;
use std::sync::Arc;
use tonic::Status;

/// Maintenance.Alarm: only asking; alarms cannot be raised or cleared by hand yet.
pub async fn alarm<B: Backend>(g: Arc<Gateway<B>>, r: pb::AlarmRequest, _: Call) -> Result<pb::AlarmResponse, Status> {
    if r.action != pb::alarm_request::AlarmAction::Get as i32 {
        return Err(refusal::not_built("alarms raised or cleared by hand (etcdserverpb.Maintenance/Alarm)"));
    }
    let wanted = |kind: pb::AlarmType| r.alarm == pb::AlarmType::None as i32 || r.alarm == kind as i32;
    let alarms = g.backend.alarms().into_iter().map(|a| (a.member, alarm_type(a.kind)));
    let alarms = alarms.filter(|(_, kind)| wanted(*kind));
    let alarms = alarms.map(|(member_id, kind)| pb::AlarmMember { member_id, alarm: kind as i32 }).collect();
    Ok(pb::AlarmResponse { header: Some(g.header()), alarms })
}

fn alarm_type(kind: AlarmKind) -> pb::AlarmType {
    match kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    }
}

/// Maintenance.Status: this node, and the meta range where etcd would speak of its only group.
pub async fn status<B: Backend>(
    g: Arc<Gateway<B>>,
    _: pb::StatusRequest,
    _: Call,
) -> Result<pb::StatusResponse, Status> {
    let (s, versions) = (g.backend.status(), g.backend.versions());
    let mut errors = Vec::new();
    if s.leader == 0 {
        errors.push("etcdserver: no leader".to_string());
    }
    for a in g.backend.alarms() {
        errors.push(format!("memberID:{} alarm:{} ", a.member, a.kind));
    }
    Ok(pb::StatusResponse {
        header: Some(g.header()),
        version: versions.server,
        db_size: s.size as i64,
        leader: s.leader,
        raft_index: s.raft_index,
        raft_term: s.raft_term,
        raft_applied_index: s.raft_applied,
        errors,
        db_size_in_use: s.size_in_use as i64,
        is_learner: s.learner,
        storage_version: versions.storage,
        db_size_quota: s.quota as i64,
        downgrade_info: Some(pb::DowngradeInfo::default()),
    })
}

/// Maintenance.HashKV
pub async fn hash_kv<B: Backend>(
    g: Arc<Gateway<B>>,
    r: pb::HashKvRequest,
    call: Call,
) -> Result<pb::HashKvResponse, Status> {
    let revision = u64::try_from(r.revision).map_err(|_| Status::from(refusal::COMPACTED))?;
    let h = g.backend.hash_kv(Revision(revision), call.within()).await.map_err(|e| refusal::status(&e))?;
    Ok(pb::HashKvResponse {
        header: Some(g.header_at(h.current)),
        hash: h.hash,
        compact_revision: h.compacted.to_i64(),
        hash_revision: h.revision.to_i64(),
    })
}

/// Cluster.MemberList; its header carries no revision.
pub async fn member_list<B: Backend>(
    g: Arc<Gateway<B>>,
    r: pb::MemberListRequest,
    call: Call,
) -> Result<pb::MemberListResponse, Status> {
    let members = g.backend.members(r.linearizable, call.within()).await.map_err(|e| refusal::status(&e))?;
    let members = members.into_iter().map(|m| pb::Member {
        id: m.id,
        name: m.name,
        peer_ur_ls: m.peer_urls,
        client_ur_ls: m.client_urls,
        is_learner: m.learner,
    });
    Ok(pb::MemberListResponse { header: Some(g.header_at(Revision::ZERO)), members: members.collect() })
}

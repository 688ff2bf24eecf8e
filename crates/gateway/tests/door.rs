//! The whole door over real sockets: tonic's own client on one side, a toy node on the other.

mod toy;

use base::{Kind, RangeId, Refusal};
use gateway::Limits;
use mvcc::Request as Op;
use proto::etcdserverpb::{self as pb, kv_client::KvClient, request_op::Request, response_op::Response};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::{Code, Status};
use toy::World;

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: key.to_string().into(), value: value.to_string().into(), ..Default::default() }
}
fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_string().into(), ..Default::default() }
}
fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}
fn is(status: Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test]
async fn keys_go_in_and_come_out() {
    let world = World::new().await;
    let mut kv = world.kv().await;
    let header = kv.put(put("a", "1")).await.unwrap().into_inner().header.unwrap();
    assert_eq!((header.cluster_id, header.member_id, header.revision, header.raft_term), (10, 11, 2, 3));
    let again = pb::PutRequest { prev_kv: true, ..put("a", "2") };
    let prev = kv.put(again).await.unwrap().into_inner().prev_kv.unwrap();
    assert_eq!((&prev.key[..], &prev.value[..], prev.create_revision, prev.version), (&b"a"[..], &b"1"[..], 2, 1));
    let all = pb::RangeRequest { range_end: "\0".into(), limit: 1, ..get("\0") };
    kv.put(put("b", "3")).await.unwrap();
    let scan = kv.range(all).await.unwrap().into_inner();
    assert_eq!((scan.count, scan.more, scan.kvs.len(), scan.header.unwrap().revision), (2, true, 1, 4));
    assert_eq!((scan.kvs[0].mod_revision, scan.kvs[0].version), (3, 2));
    let delete = pb::DeleteRangeRequest { key: "a".into(), range_end: "c".into(), prev_kv: true };
    let gone = kv.delete_range(delete.clone()).await.unwrap().into_inner();
    assert_eq!((gone.deleted, gone.prev_kvs.len(), gone.header.unwrap().revision), (2, 2, 5));
    let none = kv.delete_range(delete).await.unwrap().into_inner();
    assert_eq!((none.deleted, none.header.unwrap().revision), (0, 5), "nothing deleted, nothing counted");
    assert_eq!(world.toy.observed.load(SeqCst), 6);
    let (received, sent) = world.gateway.meter().bytes();
    assert!(received > 30 && sent > 100, "{received} {sent}");
}

#[tokio::test]
async fn a_transaction_answers_each_operation() {
    let world = World::new().await;
    let mut kv = world.kv().await;
    let success = vec![
        op(Request::RequestRange(get("k"))),
        op(Request::RequestPut(put("k", "v"))),
        op(Request::RequestTxn(pb::TxnRequest {
            success: vec![op(Request::RequestRange(get("k")))],
            ..Default::default()
        })),
    ];
    let answer = kv.txn(pb::TxnRequest { success, ..Default::default() }).await.unwrap().into_inner();
    assert!(answer.succeeded);
    assert_eq!(answer.header.unwrap().revision, 2);
    let Some(Response::ResponseRange(before)) = &answer.responses[0].response else { panic!("{answer:?}") };
    assert_eq!((before.count, before.header.unwrap().revision), (0, 1));
    let Some(Response::ResponseTxn(nested)) = &answer.responses[2].response else { panic!("{answer:?}") };
    let Some(Response::ResponseRange(after)) = &nested.responses[0].response else { panic!("{answer:?}") };
    assert_eq!((after.count, after.header.unwrap().revision), (1, 2));
}

#[tokio::test]
async fn bad_requests_get_etcds_own_words() {
    let world = World::new().await;
    let mut kv = world.kv().await;
    let bad = Code::InvalidArgument;
    is(kv.range(get("")).await.unwrap_err(), bad, "etcdserver: key is not provided");
    let sorted = pb::RangeRequest { sort_target: 7, ..get("k") };
    is(kv.range(sorted).await.unwrap_err(), bad, "etcdserver: invalid sort option");
    let both = pb::PutRequest { ignore_value: true, ..put("k", "v") };
    is(kv.put(both).await.unwrap_err(), bad, "etcdserver: value is provided");
    let both = pb::PutRequest { ignore_lease: true, lease: 5, ..put("k", "v") };
    is(kv.put(both).await.unwrap_err(), bad, "etcdserver: lease is provided");
    is(kv.delete_range(pb::DeleteRangeRequest::default()).await.unwrap_err(), bad, "etcdserver: key is not provided");
    let txn = |success| pb::TxnRequest { success, ..Default::default() };
    let many = vec![op(Request::RequestPut(put("k", ""))); 129];
    is(kv.txn(txn(many)).await.unwrap_err(), bad, "etcdserver: too many operations in txn request");
    let twice = vec![op(Request::RequestPut(put("k", ""))); 2];
    is(kv.txn(txn(twice)).await.unwrap_err(), bad, "etcdserver: duplicate key given in txn request");
    let empty = vec![pb::RequestOp { request: None }];
    is(kv.txn(txn(empty)).await.unwrap_err(), bad, "etcdserver: key not found");
    let compact = |revision| pb::CompactionRequest { revision, physical: false };
    is(kv.compact(compact(-1)).await.unwrap_err(), Code::OutOfRange, gateway::refusal::COMPACTED.text);
    is(kv.compact(compact(9)).await.unwrap_err(), Code::OutOfRange, gateway::refusal::FUTURE_REV.text);
    assert_eq!(kv.compact(compact(1)).await.unwrap().into_inner().header.unwrap().revision, 1);
    assert!(world.toy.last.lock().unwrap().is_none(), "none of these reached the node");
    let leased = pb::PutRequest { lease: 5, ..put("k", "v") };
    is(kv.put(leased).await.unwrap_err(), Code::NotFound, "etcdserver: requested lease not found");
}

#[tokio::test]
async fn sizes_have_two_bounds() {
    let world = World::new().await;
    let mut kv = world.kv().await;
    let sized = |n: usize| put("k", &"v".repeat(n));
    let most = Limits::default().max_request_bytes;
    kv.put(sized(most - 100)).await.unwrap();
    is(kv.put(sized(most)).await.unwrap_err(), Code::InvalidArgument, "etcdserver: request is too large");
    let large = kv.put(sized(most + 600 * 1024)).await.unwrap_err();
    assert_eq!(large.code(), Code::ResourceExhausted);
    assert!(large.message().contains("received message larger than max"), "{large}");
    // A transaction that only reads is no entry of any log, so the first bound does not concern it.
    let long = get(&"k".repeat(most));
    kv.txn(pb::TxnRequest { success: vec![op(Request::RequestRange(long))], ..Default::default() }).await.unwrap();
}

#[tokio::test]
async fn a_unary_call_carries_one_message() {
    let world = World::new().await;
    for n in [0, 1, 2] {
        let mut grpc = tonic::client::Grpc::new(world.channel().await);
        grpc.ready().await.unwrap();
        let messages = tokio_stream::iter(vec![put("k", "v"); n]);
        let codec = tonic_prost::ProstCodec::<pb::PutRequest, pb::PutResponse>::default();
        let path = http::uri::PathAndQuery::from_static("/etcdserverpb.KV/Put");
        let answer = grpc.client_streaming(tonic::Request::new(messages), path, codec).await;
        match n {
            0 => is(answer.unwrap_err(), Code::Internal, "grpc: the request has no message"),
            1 => drop(answer.unwrap()),
            _ => is(answer.unwrap_err(), Code::Internal, "grpc: a unary call carries one message"),
        }
    }
}

#[tokio::test]
async fn large_answers_arrive_whole() {
    let world = World::new().await;
    let mut kv = world.kv().await;
    let value = "v".repeat(1 << 20);
    for i in 0..12 {
        kv.put(put(&format!("k{i:02}"), &value)).await.unwrap();
    }
    let scan = kv.range(pb::RangeRequest { range_end: "l".into(), ..get("k") }).await.unwrap().into_inner();
    assert_eq!((scan.kvs.len(), scan.kvs.iter().map(|kv| kv.value.len()).sum::<usize>()), (12, 12 << 20));
}

#[tokio::test]
async fn what_fails_below_is_told() {
    let world = World::new().await;
    let mut kv = world.kv().await;
    for (kind, code, text) in [
        (Kind::Unknown, Code::Unavailable, gateway::refusal::TIMEOUT_DUE_TO_LEADER_FAIL.text),
        (Kind::Elsewhere { range: RangeId(2), leader: None }, Code::Unavailable, "etcdserver: no leader"),
        (Kind::Refused(Refusal::NoSpace), Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
        (Kind::Closing, Code::Unavailable, "etcdserver: server stopped"),
        (Kind::Unimplemented, Code::Unimplemented, "flotilla: not built yet: a transaction over two ranges"),
    ] {
        *world.toy.failure.lock().unwrap() = Some(kind);
        is(kv.put(put("k", "v")).await.unwrap_err(), code, text);
    }
    let mut asked = tonic::Request::new(put("k", "v"));
    asked.metadata_mut().insert("hasleader", "true".parse().unwrap());
    world.toy.leaderless.store(true, SeqCst);
    is(kv.put(asked).await.unwrap_err(), Code::Unavailable, "etcdserver: no leader");
    kv.put(put("k", "v")).await.unwrap();
}

#[tokio::test]
async fn a_callers_patience_is_passed_on() {
    let world = World::new().await;
    let mut kv = world.kv().await;
    kv.put(put("k", "v")).await.unwrap();
    let within = world.toy.last.lock().unwrap().take().unwrap().1;
    assert!(within > Duration::from_secs(6) && within <= Duration::from_secs(7), "{within:?}");
    let mut hasty = tonic::Request::new(put("k", "v"));
    hasty.set_timeout(Duration::from_millis(1500));
    kv.put(hasty).await.unwrap();
    let (request, within) = world.toy.last.lock().unwrap().take().unwrap();
    assert!(within > Duration::from_secs(1) && within <= Duration::from_millis(1500), "{within:?}");
    assert!(matches!(request, Op::Put(p) if p.key == base::Key::user(b"k")));
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let world = World::new().await;
    let channel = world.channel().await;
    let not_built = |status: Status, feature: &str| {
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains(feature), "{status}");
    };
    let mut watch = pb::watch_client::WatchClient::new(channel.clone());
    not_built(watch.watch(tokio_stream::pending()).await.unwrap_err(), "watches (etcdserverpb.Watch/Watch)");
    let mut lease = pb::lease_client::LeaseClient::new(channel.clone());
    not_built(lease.lease_grant(pb::LeaseGrantRequest::default()).await.unwrap_err(), "leases");
    let mut auth = pb::auth_client::AuthClient::new(channel.clone());
    not_built(auth.auth_status(pb::AuthStatusRequest {}).await.unwrap_err(), "authentication");
    let mut cluster = pb::cluster_client::ClusterClient::new(channel.clone());
    not_built(cluster.member_add(pb::MemberAddRequest::default()).await.unwrap_err(), "changes of membership");
    let mut lock = proto::v3lockpb::lock_client::LockClient::new(channel.clone());
    not_built(lock.lock(proto::v3lockpb::LockRequest::default()).await.unwrap_err(), "locks");
    let mut election = proto::v3electionpb::election_client::ElectionClient::new(channel.clone());
    not_built(election.observe(proto::v3electionpb::LeaderRequest::default()).await.unwrap_err(), "elections");
    let mut care = pb::maintenance_client::MaintenanceClient::new(channel.clone());
    not_built(care.defragment(pb::DefragmentRequest {}).await.unwrap_err(), "defragmentation");
    let raise = pb::AlarmRequest { action: 1, member_id: 0, alarm: 1 };
    not_built(care.alarm(raise).await.unwrap_err(), "alarms raised or cleared by hand");
    let mut peer = proto::flotilla::peer_client::PeerClient::new(channel);
    not_built(peer.exchange(tokio_stream::pending()).await.unwrap_err(), "unknown service flotilla.Peer");
}

#[tokio::test]
async fn operators_see_the_node() {
    use gateway::backend::{Alarm, AlarmKind};
    let world = World::new().await;
    let channel = world.channel().await;
    let mut care = pb::maintenance_client::MaintenanceClient::new(channel.clone());
    let status = care.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.version.as_str(), status.leader, status.raft_index, status.db_size), ("3.6.1", 11, 8, 4096));
    assert!(status.errors.is_empty());
    assert_eq!(world.toy.handled.load(SeqCst), 1, "how long it took is told before it is answered");
    let hash = care.hash_kv(pb::HashKvRequest { revision: 0 }).await.unwrap().into_inner();
    assert_eq!((hash.hash, hash.hash_revision, hash.header.unwrap().revision), (7, 1, 1));
    assert!(care.alarm(pb::AlarmRequest::default()).await.unwrap().into_inner().alarms.is_empty());
    world.toy.alarms.lock().unwrap().push(Alarm { member: 11, kind: AlarmKind::NoSpace });
    let ask = |alarm: i32| pb::AlarmRequest { action: 0, member_id: 0, alarm };
    assert_eq!(care.alarm(ask(0)).await.unwrap().into_inner().alarms.len(), 1);
    assert!(care.alarm(ask(2)).await.unwrap().into_inner().alarms.is_empty());
    world.toy.leaderless.store(true, SeqCst);
    let status = care.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.errors, ["etcdserver: no leader", "memberID:11 alarm:NOSPACE "]);
    let mut cluster = pb::cluster_client::ClusterClient::new(channel);
    let list = cluster.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap().into_inner();
    assert_eq!((list.members[0].name.as_str(), list.header.unwrap().revision), ("one", 0));
}

#[tokio::test]
async fn grpc_health_follows_the_node() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let world = World::new().await;
    let mut health = HealthClient::new(world.channel().await);
    let ask = || HealthCheckRequest { service: String::new() };
    let mut changes = health.watch(ask()).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().status, 2, "not serving yet");
    world.gateway.set_serving(true).await;
    assert_eq!(changes.message().await.unwrap().unwrap().status, 1);
    assert_eq!(health.check(ask()).await.unwrap().into_inner().status, 1);
}

async fn http(world: &World, request: &str) -> (u16, String) {
    http_at(world.address, request).await
}

async fn http_at(address: std::net::SocketAddr, request: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_string())
}

#[tokio::test]
async fn http_endpoints() {
    use gateway::backend::{Alarm, AlarmKind};
    let world = World::new().await;
    let well = r#"{"health":"true","reason":""}"#.to_string();
    assert_eq!(http(&world, "GET /health").await, (200, well.clone()));
    assert_eq!(http(&world, "POST /health").await.0, 405);
    assert_eq!(http(&world, "GET /healthy").await, (404, "404 page not found\n".into()));
    let version = r#"{"etcdserver":"3.6.1","etcdcluster":"3.6.0","storage":"3.6.0"}"#;
    assert_eq!(http(&world, "GET /version").await, (200, version.into()));
    assert_eq!(http(&world, "GET /livez").await, (200, "ok\n".into()));
    let all = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n";
    assert_eq!(http(&world, "GET /readyz?verbose").await, (200, all.into()));
    assert_eq!(http(&world, "GET /readyz/non_learner").await.0, 200);
    assert_eq!(http(&world, "GET /readyz/nothing").await.0, 404);
    let (_, metrics) = http(&world, "GET /metrics").await;
    assert!(metrics.contains("grpc_server_started_total{grpc_method=\"Put\"") && metrics.contains("has_leader 1"));

    world.toy.alarms.lock().unwrap().push(Alarm { member: 11, kind: AlarmKind::Corrupt });
    let ill = "{\"health\":\"false\",\"reason\":\"ALARM CORRUPT\"}\n".to_string();
    assert_eq!(http(&world, "GET /health").await, (503, ill));
    assert_eq!(http(&world, "GET /health?exclude=CORRUPT").await, (200, well.clone()));
    let (code, body) = http(&world, "GET /readyz").await;
    assert_eq!(code, 503);
    assert!(
        body.starts_with("[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n"),
        "{body}"
    );
    assert_eq!(http(&world, "GET /readyz?exclude=data_corruption").await.0, 200);
    world.toy.alarms.lock().unwrap().clear();
    world.toy.leaderless.store(true, SeqCst);
    assert_eq!(http(&world, "GET /health").await.1, "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n");
    assert_eq!(http(&world, "GET /health?serializable=true").await, (200, well));
    world.toy.leaderless.store(false, SeqCst);
    *world.toy.failure.lock().unwrap() = Some(Kind::Refused(Refusal::Timeout));
    let (code, body) = http(&world, "GET /health").await;
    assert_eq!((code, body.contains("RANGE ERROR:etcdserver: request timed out")), (503, true), "{body}");
}

#[tokio::test]
async fn the_json_gateway_says_that_it_is_not_built() {
    let world = World::new().await;
    for path in ["/v3/kv/put", "/v3beta/kv/range", "/v3/lease/grant"] {
        let (code, body) = http(&world, &format!("POST {path}")).await;
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((code, told["code"].as_i64()), (501, Some(Code::Unimplemented as i64)), "{body}");
        let message = told["message"].as_str().unwrap();
        assert!(message.contains("the JSON gateway") && message.contains(path), "{body}");
    }
}

/// A node whose others are gone lives: whoever restarts what is dead must leave it alone.
#[tokio::test]
async fn livez_asks_nobody_else() {
    let world = World::new().await;
    let _others_are_gone = world.toy.gate.acquire_many(1 << 20).await.unwrap();
    assert_eq!(http(&world, "GET /livez").await, (200, "ok\n".into()));
    assert_eq!(http(&world, "GET /health?serializable=true").await.0, 200);
    world.toy.dead.store(true, SeqCst);
    let failed = "[-]serializable_read failed: range error: etcdserver: request timed out\n";
    assert_eq!(http(&world, "GET /livez").await, (503, failed.into()));
    assert_eq!(http(&world, "GET /health?serializable=true").await.0, 503);
}

/// A port for metrics may be open to people who may not see a key.
#[tokio::test]
async fn the_port_for_metrics_serves_no_calls() {
    let world = World::new().await;
    for path in ["/metrics", "/health", "/livez", "/readyz"] {
        assert_eq!(http_at(world.metrics, &format!("GET {path}")).await.0, 200, "{path}");
    }
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", world.metrics)).unwrap();
    let put = async { KvClient::new(channel.connect().await.ok()?).put(put("k", "v")).await.ok() };
    assert!(put.await.is_none(), "a put was taken");
    assert!(
        world.toy.last.lock().unwrap().as_ref().is_none_or(|(op, _)| matches!(op, Op::Range(_))),
        "it reached the node"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_share_few_connections() {
    let world = World::new().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(world.kv().await);
    }
    let calls = (0..400).map(|i| {
        let mut kv = clients[i % clients.len()].clone();
        tokio::spawn(async move {
            let key = format!("k{i}");
            kv.put(put(&key, &key)).await.unwrap();
            kv.range(get(&key)).await.unwrap().into_inner().kvs.remove(0).value == key
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert!(call.await.unwrap(), "every caller gets its own answer");
    }
    assert_eq!(world.gateway.meter().counts(gateway::rpc::Rpc::Put), (400, 400));
}

#[tokio::test]
async fn calls_under_way_end_before_the_door_closes() {
    let mut world = World::new().await;
    let mut kv = world.kv().await;
    let toy = world.toy.clone();
    let stop = toy.gate.acquire_many(1 << 20).await.unwrap();
    let mut other = kv.clone();
    let call = tokio::spawn(async move { other.put(put("k", "v")).await });
    while world.toy.last.lock().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.close();
    while TcpStream::connect(world.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!call.is_finished());
    drop(stop);
    call.await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(4), &mut world.task).await.expect("no grace is needed").unwrap();
    assert!(kv.put(put("k", "v")).await.is_err());
}

#[tokio::test]
async fn a_caller_that_goes_away_counts_as_canceled() {
    let world = World::new().await;
    let stop = world.toy.gate.acquire_many(1 << 20).await.unwrap();
    let mut kv = world.kv().await;
    let call = tokio::spawn(async move { kv.put(put("k", "v")).await });
    while world.toy.last.lock().unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    call.abort();
    let canceled = "grpc_server_handled_total{grpc_code=\"Canceled\",grpc_method=\"Put\"";
    let mut text = String::new();
    let mut counted = false;
    for _ in 0..400 {
        text.clear();
        world.gateway.meter().render(&mut text);
        counted = text.lines().any(|l| l.starts_with(canceled) && l.ends_with(" 1"));
        if counted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(counted, "{text}");
    drop(stop);
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_dropped() {
    let (ping_interval, ping_timeout) = (Duration::from_millis(50), Duration::from_millis(50));
    let world = World::with(Limits { ping_interval, ping_timeout, ..Limits::default() }).await;
    // Says hello in HTTP/2 with empty settings, and nothing ever again.
    let mut dead = TcpStream::connect(world.address).await.unwrap();
    dead.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), dead.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "the door hangs up");
    // A live one answers, and stays.
    let mut kv = world.kv().await;
    kv.put(put("k", "v")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    kv.put(put("k", "v")).await.unwrap();
}

#[tokio::test]
async fn noise_on_the_port_harms_nobody() {
    let world = World::new().await;
    for noise in [&b"\0\0\0\0\0"[..], b"PRI * HTTP/2.0\r\n\r\nXX", b"PRI", b"GET\r\n\r\n", b"\x16\x03\x01\x02\0\x01"] {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        socket.write_all(noise).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut rest)).await.expect("hangs up");
    }
    world.kv().await.put(put("k", "v")).await.unwrap();
}

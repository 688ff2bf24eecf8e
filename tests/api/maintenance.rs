//! Maintenance, Cluster, health and HTTP: what operators and their tools look at.

use crate::cases;
use crate::target::{Case, Ctx, NOT_FOUND, OUT_OF_RANGE, Outcome, UNIMPLEMENTED, newest, refused, revision};
use etcd_client::{AlarmAction, AlarmType, LeaseGrantOptions};
use harness::raw::{self, Message};
use harness::{http, rpc};
use std::net::SocketAddr;

pub const CASES: &[Case] = cases![Within: status, hash_kv_equal, hash_kv_refused, alarm_none, members, health_service,
    unknown_method, not_built_yet, http_health, http_version, http_metrics, http_ready];

async fn status(c: Ctx) -> Outcome {
    let mut leaders = std::collections::BTreeSet::new();
    let members = c.client().await.member_list().await?;
    for at in 0..c.endpoints.len() {
        let status = c.client_at(at).await.status().await?;
        let version: Vec<u32> = status.version().split('.').map(|n| n.parse().expect("numbers")).collect();
        assert!(version.len() == 3 && version[0] == 3, "{}", status.version());
        assert!(c.is_etcd() || version[1] == 6, "clients that ask are told 3.6: {}", status.version());
        assert!(status.db_size() > 0 && status.raft_used_db_size() > 0);
        assert!(status.raft_term() > 0 && status.raft_index() > 0 && status.raft_applied_index() > 0);
        assert!(!status.is_learner() && status.errors().is_empty(), "{:?}", status.errors());
        leaders.insert(status.leader());
    }
    assert_eq!(leaders.len(), 1, "all know one leader");
    assert!(members.members().iter().any(|m| leaders.contains(&m.id())), "who is a member");
    Ok(())
}

async fn hash_kv_equal(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")]).await?;
    let at = newest(&mut client).await?;
    let mut hashes = std::collections::BTreeSet::new();
    for endpoint in 0..c.endpoints.len() {
        let mut client = c.client_at(endpoint).await;
        client.get(c.key("a"), None).await?; // a linearizable read: this node has applied what we wrote
        let hash = client.hash_kv(at).await?;
        hashes.insert((hash.hash(), hash.compact_version()));
    }
    assert_eq!(hashes.len(), 1, "{hashes:?}");
    let put = c.put_all(&mut client, &[("c", "other")]).await?[0];
    assert_ne!(client.hash_kv(put).await?.hash(), hashes.first().expect("one").0, "another state, another hash");
    Ok(())
}

async fn hash_kv_refused(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    let at = c.put_all(&mut client, &[("a", "1"), ("a", "2")]).await?[1];
    let future = "etcdserver: mvcc: required revision is a future revision";
    refused(client.hash_kv(at + 1000).await, OUT_OF_RANGE, future);
    client.compact(at, None).await?;
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    refused(client.hash_kv(at - 1).await, OUT_OF_RANGE, compacted);
    Ok(())
}

async fn alarm_none(c: Ctx) -> Outcome {
    let reply = c.client().await.alarm(AlarmAction::Get, AlarmType::None, None).await?;
    let alarms: Vec<_> = reply.alarms().iter().map(|a| (a.member_id(), a.alarm())).collect();
    assert!(alarms.is_empty(), "{alarms:?}");
    Ok(())
}

async fn members(c: Ctx) -> Outcome {
    let reply = c.client().await.member_list().await?;
    let mut names: Vec<&str> = reply.members().iter().map(|m| m.name()).collect();
    names.sort_unstable();
    assert_eq!(names, ["n1", "n2", "n3"]);
    let mut urls: Vec<String> = reply.members().iter().flat_map(|m| m.client_urls().to_vec()).collect();
    urls.sort();
    let mut endpoints = c.endpoints.clone();
    endpoints.sort();
    assert_eq!(urls, endpoints);
    for member in reply.members() {
        assert!(member.id() != 0 && !member.is_learner() && member.peer_urls().len() == 1);
    }
    let header = reply.header().expect("a header");
    assert!(header.cluster_id() != 0 && header.member_id() != 0);
    Ok(())
}

/// gRPC's own health service says SERVING for the whole server.
async fn health_service(c: Ctx) -> Outcome {
    for endpoint in &c.endpoints {
        assert_eq!(raw::call(endpoint, "/grpc.health.v1.Health/Check", Message::new()).await?, [8, 1]);
    }
    Ok(())
}

async fn unknown_method(c: Ctx) -> Outcome {
    for method in ["/etcdserverpb.KV/Swap", "/etcdserverpb.Nothing/Here"] {
        match raw::call(&c.endpoints[c.home], method, Message::new()).await {
            Ok(reply) => panic!("{method} answered {reply:?}"),
            Err(error) => assert_eq!(rpc::status(&error).0, UNIMPLEMENTED),
        }
    }
    Ok(())
}

/// What is not built yet says so and names itself; it never hangs and never pretends.
async fn not_built_yet(c: Ctx) -> Outcome {
    if c.is_etcd() {
        return Ok(());
    }
    let mut client = c.client().await;
    let mut answers = vec![
        ("lease", client.lease_grant(60, Some(LeaseGrantOptions::new())).await.err()),
        ("auth", client.auth_enable().await.err()),
        ("auth", client.role_add("r").await.err()),
        ("lock", client.lock("l", None).await.err()),
        ("election", client.campaign("e", "v", 1).await.err()),
        ("member", client.member_add(["http://127.0.0.1:1"], None).await.err()),
    ];
    let watch = async {
        let mut stream = client.watch(c.key("a"), None).await?;
        stream.message().await.map(|_| ())
    };
    answers.push(("watch", watch.await.err()));
    for (feature, answer) in answers {
        let (code, text) = rpc::status(&answer.unwrap_or_else(|| panic!("{feature} was answered")));
        assert_eq!(code, UNIMPLEMENTED, "{feature}: {text}");
        assert!(text.to_lowercase().contains(feature), "`{text}` does not name {feature}");
    }
    let put = etcd_client::PutOptions::new().with_lease(1);
    refused(client.put(c.key("a"), "1", Some(put)).await, NOT_FOUND, "etcdserver: requested lease not found");
    Ok(())
}

fn address(c: &Ctx, at: usize) -> SocketAddr {
    c.endpoints[at].trim_start_matches("http://").parse().expect("an address")
}

fn get(c: &Ctx, path: &str) -> (u16, String) {
    http::get(address(c, c.home), path).unwrap_or_else(|e| panic!("{e}"))
}

async fn http_health(c: Ctx) -> Outcome {
    let (code, body) = get(&c, "/health");
    let health: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((code, health["health"].as_str()), (200, Some("true")), "{body}");
    if !c.is_etcd() {
        assert_eq!(body.trim(), r#"{"health":"true","reason":""}"#, "3.4 has no reason yet");
        for path in ["/health?serializable=true", "/health?exclude=NOSPACE"] {
            assert_eq!(get(&c, path).0, 200, "{path}");
        }
    }
    Ok(())
}

async fn http_version(c: Ctx) -> Outcome {
    let (code, body) = get(&c, "/version");
    let version: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(code, 200);
    assert!(version["etcdserver"].as_str().is_some_and(|v| v.starts_with("3.")), "{body}");
    assert!(version["etcdcluster"].as_str().is_some_and(|v| v.starts_with("3.")), "{body}");
    Ok(())
}

/// Names on which dashboards rely, and that a put is counted.
async fn http_metrics(c: Ctx) -> Outcome {
    let mut client = c.client().await;
    c.put_all(&mut client, &[("a", "1"), ("b", "2"), ("c", "3")]).await?;
    let (code, body) = get(&c, "/metrics");
    assert_eq!(code, 200);
    for name in [
        "etcd_server_has_leader",
        "etcd_server_proposals_committed_total",
        "etcd_server_proposals_applied_total",
        "etcd_server_proposals_pending",
        "etcd_disk_wal_fsync_duration_seconds_bucket",
        "etcd_disk_wal_fsync_duration_seconds_count",
        "grpc_server_handled_total",
        "grpc_server_started_total",
        "etcd_mvcc_db_total_size_in_bytes",
        "process_resident_memory_bytes",
    ] {
        assert!(body.lines().any(|l| l.starts_with(name)), "{name} is not on /metrics");
    }
    let handled = |method: &str| {
        let ours =
            |l: &&str| l.starts_with("grpc_server_handled_total{") && l.contains(&format!("grpc_method=\"{method}\""));
        body.lines().filter(ours).filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    assert!(handled("Put") >= 3.0, "three puts are counted: {}", handled("Put"));
    if !c.is_etcd() {
        for stage in
            ["put", "plan", "submit", "evaluate", "number", "append", "frame_all", "write_all", "commit", "apply"]
        {
            let label = format!("stage=\"{stage}\"");
            assert!(body.lines().any(|l| l.starts_with("flotilla_stage_seconds") && l.contains(&label)), "{label}");
        }
    }
    assert_eq!(revision(client.get(c.key("a"), None).await?.header()), newest(&mut client).await?);
    Ok(())
}

/// `/livez` and `/readyz` came after 3.4.
async fn http_ready(c: Ctx) -> Outcome {
    if c.is_etcd() {
        return Ok(());
    }
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(&c, path), (200, "ok\n".into()), "{path}");
        let (code, verbose) = get(&c, &format!("{path}?verbose"));
        assert!(code == 200 && verbose.contains("[+]serializable_read ok"), "{path}?verbose: {verbose}");
    }
    assert_eq!(get(&c, "/readyz/linearizable_read").0, 200);
    assert_eq!(get(&c, "/nothing/here").0, 404);
    Ok(())
}

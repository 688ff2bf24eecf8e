//! A node that keeps its keys in a map, and a door in front of it on a free port.

use base::{Error, Key, Kind, Refusal, Result, Revision, Stage};
use gateway::backend::{Alarm, Backend, HashKv, Header, Member, Outcome, Status, Versions};
use gateway::{Gateway, Limits, Port};
use mvcc::{DeleteReply, KeyValue, PutReply, RangeReply, Reply, Request, TxnReply};
use proto::etcdserverpb::kv_client::KvClient;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// The map, and switches to make it ill.
pub struct Toy {
    keys: Mutex<(u64, BTreeMap<Key, KeyValue>)>,
    pub leaderless: AtomicBool,
    /// It turns no more.
    pub dead: AtomicBool,
    pub alarms: Mutex<Vec<Alarm>>,
    /// What the next operation answers instead.
    pub failure: Mutex<Option<Kind>>,
    /// The last operation, and how long its caller would wait.
    pub last: Mutex<Option<(Request, Duration)>>,
    pub observed: AtomicU64,
    /// Calls whose time was told.
    pub handled: AtomicU64,
    /// Operations wait for a permit.
    pub gate: Semaphore,
}

impl Toy {
    fn apply(state: &mut (u64, BTreeMap<Key, KeyValue>), request: Request, at: u64) -> Reply {
        let (_, keys) = state;
        match request {
            Request::Range(r) => {
                let mut kvs: Vec<_> = keys.range(r.span.start..r.span.end).map(|(_, kv)| kv.clone()).collect();
                let count = kvs.len() as u64;
                kvs.truncate(if r.limit == 0 { usize::MAX } else { r.limit as usize });
                Reply::Range(RangeReply { more: (kvs.len() as u64) < count, kvs, count })
            }
            Request::Put(p) => {
                let old = keys.get(&p.key).cloned();
                let kv = KeyValue {
                    key: p.key.clone(),
                    create: old.as_ref().map_or(Revision(at), |o| o.create),
                    modified: Revision(at),
                    version: old.as_ref().map_or(1, |o| o.version + 1),
                    value: p.value,
                    lease: 0,
                };
                keys.insert(p.key, kv);
                Reply::Put(PutReply { prev: old.filter(|_| p.prev_kv) })
            }
            Request::Delete(d) => {
                let gone: Vec<_> = keys.extract_if(d.span.start..d.span.end, |_, _| true).map(|(_, kv)| kv).collect();
                let deleted = gone.len() as u64;
                Reply::Delete(DeleteReply { deleted, prev: if d.prev_kv { gone } else { vec![] } })
            }
            Request::Txn(t) => {
                let succeeded = t.compares.is_empty();
                let ops = if succeeded { t.success } else { t.failure };
                let replies = ops.into_iter().map(|op| Toy::apply(state, op, at)).collect();
                Reply::Txn(TxnReply { succeeded, replies })
            }
        }
    }
}

impl Backend for Toy {
    async fn call(&self, request: Request, within: Duration) -> Result<Outcome> {
        *self.last.lock().unwrap() = Some((request.clone(), within));
        let _permit = self.gate.acquire().await.unwrap();
        if let Some(kind) = self.failure.lock().unwrap().take() {
            return Err(Error::new(kind, "a transaction over two ranges"));
        }
        if matches!(&request, Request::Put(p) if p.lease != 0) {
            return Err(Error::refused(Refusal::LeaseNotFound));
        }
        let mut state = self.keys.lock().unwrap();
        let before = state.1.clone();
        let next = state.0 + 1;
        let reply = Toy::apply(&mut state, request, next);
        if state.1 != before {
            state.0 = next;
        }
        Ok(Outcome { revision: Revision(state.0), reply })
    }
    async fn compact(&self, revision: Revision, _: bool, _: Duration) -> Result<Revision> {
        let current = Revision(self.keys.lock().unwrap().0);
        if revision > current { Err(Error::refused(Refusal::FutureRevision)) } else { Ok(current) }
    }
    async fn hash_kv(&self, revision: Revision, _: Duration) -> Result<HashKv> {
        let current = Revision(self.keys.lock().unwrap().0);
        let revision = if revision == Revision::ZERO { current } else { revision };
        Ok(HashKv { hash: 7, current, compacted: Revision::ZERO, revision })
    }
    async fn members(&self, _: bool, _: Duration) -> Result<Vec<Member>> {
        let client_urls = vec!["http://127.0.0.1:2379".to_string()];
        Ok(vec![Member { id: 11, name: "one".into(), client_urls, ..Default::default() }])
    }
    async fn lives(&self, _: Duration) -> Result<()> {
        if self.dead.load(SeqCst) { Err(Error::refused(Refusal::Timeout)) } else { Ok(()) }
    }
    fn header(&self) -> Header {
        Header { cluster_id: 10, member_id: 11, raft_term: 3, revision: Revision(self.keys.lock().unwrap().0) }
    }
    fn status(&self) -> Status {
        let leader = if self.has_leader() { 11 } else { 0 };
        Status { size: 4096, leader, raft_index: 8, raft_term: 3, raft_applied: 8, ..Default::default() }
    }
    fn alarms(&self) -> Vec<Alarm> {
        self.alarms.lock().unwrap().clone()
    }
    fn has_leader(&self) -> bool {
        !self.leaderless.load(SeqCst)
    }
    fn versions(&self) -> Versions {
        Versions { server: "3.6.1".into(), cluster: "3.6.0".into(), storage: "3.6.0".into() }
    }
    fn mark(&self, stage: Stage, _: u64) {
        assert_eq!(stage, Stage::Put);
        self.observed.fetch_add(1, SeqCst);
    }
    fn handled(&self, _: gateway::rpc::Rpc, nanos: u64) {
        assert!(nanos > 0);
        self.handled.fetch_add(1, SeqCst);
    }
    fn metrics(&self, out: &mut String) {
        out.push_str("etcd_server_has_leader 1\n");
    }
}

/// A toy behind a door; both end with the value.
pub struct World {
    pub toy: Arc<Toy>,
    pub gateway: Arc<Gateway<Toy>>,
    pub address: SocketAddr,
    /// Where metrics and health alone are served.
    pub metrics: SocketAddr,
    close: Option<tokio::sync::oneshot::Sender<()>>,
    pub task: JoinHandle<()>,
}

impl World {
    pub async fn new() -> World {
        World::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> World {
        let toy = Arc::new(Toy {
            keys: Mutex::new((1, BTreeMap::new())),
            leaderless: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            alarms: Mutex::new(vec![]),
            failure: Mutex::new(None),
            last: Mutex::new(None),
            observed: AtomicU64::new(0),
            handled: AtomicU64::new(0),
            gate: Semaphore::new(1 << 20),
        });
        let gateway = Arc::new(Gateway::new(toy.clone(), limits).await);
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (listener, second) = (bind().await.unwrap(), bind().await.unwrap());
        let (address, metrics) = (listener.local_addr().unwrap(), second.local_addr().unwrap());
        let (close, closing) = tokio::sync::oneshot::channel();
        let listeners = vec![(listener, Port::Clients), (second, Port::Metrics)];
        let door = gateway::serve(gateway.clone(), listeners, async { closing.await.unwrap_or(()) });
        World { toy, gateway, address, metrics, close: Some(close), task: tokio::spawn(door) }
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub async fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel().await).max_decoding_message_size(usize::MAX)
    }

    /// Tells the door to close.
    pub fn close(&mut self) {
        drop(self.close.take());
    }
}

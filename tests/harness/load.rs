//! Many clients at once, and what they asked and were told, in the words of the simulator's checkers.

use crate::rpc;
use base::{Key, Revision, Rng, Span};
use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, DeleteOptions, Error, GetOptions, PutOptions, Txn, TxnOp};
use mvcc::{CompareResult, CompareTarget, Reply, Request};
use sim::check::{Ask, Op, Outcome};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What to ask, and how hard.
#[derive(Clone)]
pub struct Work {
    pub clients: usize,
    /// Keys are `<group><number>`; whatever writes more than one key stays within a group.
    pub groups: Vec<String>,
    /// Keys per group: few, so that clients meet.
    pub keys: u64,
    /// How long each client rests after each request.
    pub rest: Duration,
    pub seed: u64,
}

/// A running load.
pub struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<Vec<Op>>,
}

struct Shared {
    epoch: Instant,
    stop: AtomicBool,
    ids: AtomicU64,
    /// When writes were acknowledged, in nanoseconds after `epoch`.
    acked: Mutex<Vec<u64>>,
    endpoints: Vec<String>,
    work: Work,
}

struct Worker {
    shared: Arc<Shared>,
    number: u64,
    rng: Rng,
    door: usize,
    values: u64,
}

impl Work {
    pub fn new(clients: usize, groups: &[&str]) -> Work {
        let groups = groups.iter().map(|g| g.to_string()).collect();
        Work { clients, groups, keys: 8, rest: Duration::from_millis(20), seed: 1 }
    }
}

impl Load {
    /// Starts all clients, each at one of these endpoints and going on to the next when it is not served.
    pub fn start(endpoints: Vec<String>, work: Work) -> Load {
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            stop: AtomicBool::new(false),
            ids: AtomicU64::new(0),
            acked: Mutex::default(),
            endpoints,
            work,
        });
        let inner = shared.clone();
        let thread = std::thread::spawn(move || {
            rpc::block_on(async move {
                let mut rng = Rng::new(inner.work.seed);
                let one = |number: u64, rng: Rng| Worker {
                    shared: inner.clone(),
                    number,
                    rng,
                    door: number as usize,
                    values: 0,
                };
                let all: Vec<_> =
                    (0..inner.work.clients as u64).map(|n| tokio::spawn(one(n, rng.fork()).run())).collect();
                let mut ops = Vec::new();
                for client in all {
                    ops.extend(client.await.expect("a client does not panic"));
                }
                ops.sort_by_key(|op: &Op| op.id);
                ops
            })
        });
        Load { shared, thread }
    }

    /// Nanoseconds since the load began: the time in which operations are recorded.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// Writes acknowledged so far.
    pub fn acked(&self) -> usize {
        self.shared.acked.lock().expect("not poisoned").len()
    }

    /// Waits until `more` further writes have been acknowledged; how long that took, or `None` after `within`.
    pub fn wait_acked(&self, more: usize, within: Duration) -> Option<Duration> {
        let (from, start) = (self.acked(), Instant::now());
        while start.elapsed() < within {
            if self.acked() >= from + more {
                return Some(start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// The longest time without an acknowledged write that began at or after `from`, up to now.
    pub fn longest_silence(&self, from: u64) -> Duration {
        let mut times = self.shared.acked.lock().expect("not poisoned").clone();
        times.retain(|t| *t >= from);
        times.extend([from, self.now()]);
        times.sort_unstable();
        Duration::from_nanos(times.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0))
    }

    /// Stops all clients and returns what they did, in order of ids.
    pub fn finish(self) -> Vec<Op> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load does not panic")
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }
}

impl Worker {
    async fn run(mut self) -> Vec<Op> {
        let mut ops = Vec::new();
        let mut client = None;
        while !self.shared.stop.load(Ordering::Relaxed) {
            let Some(ready) = &mut client else {
                let endpoint = self.shared.endpoints[self.door % self.shared.endpoints.len()].clone();
                client = rpc::try_connect(&[endpoint], Duration::from_secs(4)).await.ok();
                continue;
            };
            let request = self.choose();
            let id = self.shared.ids.fetch_add(1, Ordering::Relaxed);
            let call = self.shared.now();
            let answer = send(ready, &request).await;
            let now = self.shared.now();
            let rejected = answer.is_err();
            let outcome = self.outcome(&request, answer, now);
            let ret = if outcome == Outcome::Unknown { u64::MAX } else { now };
            ops.push(Op { id, client: self.number, door: 0, call, ret, ask: Ask::Kv(request), outcome });
            if rejected {
                client = None;
                self.door += 1;
            }
            tokio::time::sleep(self.shared.work.rest).await;
        }
        ops
    }

    /// What the client knows after this answer. Only a read may be called failed: whatever an error says of a write,
    /// it may have happened.
    fn outcome(&self, request: &Request, answer: Result<(Revision, Reply), Error>, now: u64) -> Outcome {
        match answer {
            Ok((revision, reply)) => {
                if request.can_write() {
                    self.shared.acked.lock().expect("not poisoned").push(now);
                }
                Outcome::Ok(revision, Some(reply))
            }
            Err(Error::GRpcStatus(s)) if s.code() as i32 == 12 => {
                panic!("the load asks for nothing that is not built: {s}")
            }
            Err(_) if request.can_write() => Outcome::Unknown,
            Err(_) => Outcome::Failed,
        }
    }

    fn key(&mut self, group: &str) -> Key {
        Key::user(format!("{group}{}", self.rng.below(self.shared.work.keys)).as_bytes())
    }

    fn value(&mut self) -> Bytes {
        self.values += 1;
        Bytes::from(format!("c{}-{}", self.number, self.values))
    }

    fn choose(&mut self) -> Request {
        let work = &self.shared.work;
        let group = self.rng.pick(&work.groups).clone();
        let key = self.key(&group);
        match self.rng.below(100) {
            0..40 => self.put(key),
            40..55 => range(Span::point(&key), false),
            55..60 => range(Span::point(&key), true),
            60..70 => range(prefix(&group), false),
            70..73 => range(Span::users(), false),
            73..80 => delete(Span::point(&key)),
            80..90 => self.swap(key),
            _ => self.several(&group, key),
        }
    }

    fn put(&mut self, key: Key) -> Request {
        let prev_kv = self.rng.chance(500_000);
        put(key, self.value(), prev_kv)
    }

    /// Put if this client's guess at the version is right, otherwise read.
    fn swap(&mut self, key: Key) -> Request {
        let guess = self.rng.below(4) as i64;
        let compare = mvcc::Compare {
            span: Span::point(&key),
            result: if self.rng.chance(500_000) { CompareResult::Equal } else { CompareResult::Greater },
            target: CompareTarget::Version(guess),
        };
        let success = vec![self.put(key.clone())];
        Request::Txn(mvcc::TxnReq { compares: vec![compare], success, failure: vec![range(Span::point(&key), false)] })
    }

    /// Two keys of one group at one revision, and a look at the whole group.
    fn several(&mut self, group: &str, key: Key) -> Request {
        let other = self.key(group);
        let mut success = vec![self.put(key.clone())];
        if other != key {
            success.push(delete(Span::point(&other)));
        }
        success.push(range(prefix(group), false));
        Request::Txn(mvcc::TxnReq { compares: vec![], success, failure: vec![] })
    }
}

/// All keys that begin so; `text` does not end in 0xff.
pub fn prefix(text: &str) -> Span {
    let mut end = text.as_bytes().to_vec();
    *end.last_mut().expect("not empty") += 1;
    Span::new(Key::user(text.as_bytes()), Key::user(&end))
}

fn put(key: Key, value: Bytes, prev_kv: bool) -> Request {
    Request::Put(mvcc::PutReq { key, value, lease: 0, prev_kv, ignore_value: false, ignore_lease: false })
}

fn delete(span: Span) -> Request {
    Request::Delete(mvcc::DeleteReq { span, prev_kv: true })
}

fn range(span: Span, serializable: bool) -> Request {
    Request::Range(mvcc::RangeReq {
        span,
        revision: Revision::ZERO,
        limit: 0,
        sort: None,
        keys_only: false,
        count_only: false,
        serializable,
        filter: mvcc::Filter::default(),
    })
}

/// Sends a request through the client and translates the answer back.
async fn send(client: &mut Client, request: &Request) -> Result<(Revision, Reply), Error> {
    let (header, reply) = match request {
        Request::Range(r) => {
            let mut reply = client.get(r.span.start.raw(), Some(get_options(r))).await?;
            (reply.take_header(), range_reply(reply.kvs(), reply.more(), reply.count()))
        }
        Request::Put(p) => {
            let mut reply = client.put(p.key.raw(), p.value.clone(), Some(put_options(p))).await?;
            (reply.take_header(), Reply::Put(mvcc::PutReply { prev: reply.prev_key().map(key_value) }))
        }
        Request::Delete(d) => {
            let mut reply = client.delete(d.span.start.raw(), Some(delete_options(d))).await?;
            (reply.take_header(), delete_reply(reply.deleted(), reply.prev_kvs()))
        }
        Request::Txn(t) => {
            let mut reply = client.txn(txn(t)).await?;
            (reply.take_header(), txn_reply(&reply))
        }
    };
    let revision = header.expect("every answer has a header").revision();
    Ok((Revision(revision as u64), reply))
}

fn get_options(r: &mvcc::RangeReq) -> GetOptions {
    let options = if r.serializable { GetOptions::new().with_serializable() } else { GetOptions::new() };
    if r.span.is_point() { options } else { options.with_range(end(&r.span)) }
}

fn put_options(p: &mvcc::PutReq) -> PutOptions {
    if p.prev_kv { PutOptions::new().with_prev_key() } else { PutOptions::new() }
}

fn delete_options(d: &mvcc::DeleteReq) -> DeleteOptions {
    let options = if d.prev_kv { DeleteOptions::new().with_prev_key() } else { DeleteOptions::new() };
    if d.span.is_point() { options } else { options.with_range(end(&d.span)) }
}

/// etcd writes "to the end of the key space" as one zero byte.
fn end(span: &Span) -> Vec<u8> {
    if span.end == Span::users().end { vec![0] } else { span.end.raw().to_vec() }
}

fn txn(t: &mvcc::TxnReq) -> Txn {
    let compare = |c: &mvcc::Compare| {
        let op = match c.result {
            CompareResult::Equal => CompareOp::Equal,
            CompareResult::Greater => CompareOp::Greater,
            CompareResult::Less => CompareOp::Less,
            CompareResult::NotEqual => CompareOp::NotEqual,
        };
        let CompareTarget::Version(version) = c.target else { panic!("the load compares versions") };
        Compare::version(c.span.start.raw(), op, version)
    };
    Txn::new()
        .when(t.compares.iter().map(compare).collect::<Vec<_>>())
        .and_then(t.success.iter().map(txn_op).collect::<Vec<_>>())
        .or_else(t.failure.iter().map(txn_op).collect::<Vec<_>>())
}

fn txn_op(request: &Request) -> TxnOp {
    match request {
        Request::Range(r) => TxnOp::get(r.span.start.raw(), Some(get_options(r))),
        Request::Put(p) => TxnOp::put(p.key.raw(), p.value.clone(), Some(put_options(p))),
        Request::Delete(d) => TxnOp::delete(d.span.start.raw(), Some(delete_options(d))),
        Request::Txn(t) => TxnOp::txn(txn(t)),
    }
}

fn txn_reply(reply: &etcd_client::TxnResponse) -> Reply {
    let one = |r: etcd_client::TxnOpResponse| match r {
        etcd_client::TxnOpResponse::Get(g) => range_reply(g.kvs(), g.more(), g.count()),
        etcd_client::TxnOpResponse::Put(p) => Reply::Put(mvcc::PutReply { prev: p.prev_key().map(key_value) }),
        etcd_client::TxnOpResponse::Delete(d) => delete_reply(d.deleted(), d.prev_kvs()),
        etcd_client::TxnOpResponse::Txn(t) => txn_reply(&t),
    };
    Reply::Txn(mvcc::TxnReply {
        succeeded: reply.succeeded(),
        replies: reply.op_responses().into_iter().map(one).collect(),
    })
}

fn range_reply(kvs: &[etcd_client::KeyValue], more: bool, count: i64) -> Reply {
    Reply::Range(mvcc::RangeReply { kvs: kvs.iter().map(key_value).collect(), more, count: count as u64 })
}

fn delete_reply(deleted: i64, prev: &[etcd_client::KeyValue]) -> Reply {
    Reply::Delete(mvcc::DeleteReply { deleted: deleted as u64, prev: prev.iter().map(key_value).collect() })
}

/// A key-value as the checkers know it.
pub fn key_value(kv: &etcd_client::KeyValue) -> mvcc::KeyValue {
    mvcc::KeyValue {
        key: Key::user(kv.key()),
        create: Revision(kv.create_revision() as u64),
        modified: Revision(kv.mod_revision() as u64),
        version: kv.version() as u64,
        value: Bytes::copy_from_slice(kv.value()),
        lease: kv.lease(),
    }
}

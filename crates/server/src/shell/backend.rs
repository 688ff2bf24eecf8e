//! What the gateway asks of the node behind it.

use super::Inbox;
use super::View;
use super::clock;
use super::found::Founded;
use super::picture::Picture;
use super::report::Report;
use super::slots::{Slots, Told};
use crate::metrics::meters::Meters;
use base::{CallId, Error, Kind, Refusal, Result, Revision, Stage, Tick};
use crossbeam::channel::Sender;
use gateway::backend::{Alarm, AlarmKind, Backend, HashKv, Header, Member, Outcome, Status, Versions};
use gateway::rpc::Rpc;
use mvcc::Request;
use node::{ClientAsk, Input};
use range::{Answer, Origin, ReadTask};
use rocks::Rocks;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use transport::Peers;

const CLUSTER_VERSION: &str = "3.6.0";
/// The same as the metric shows it.
pub const CLUSTER_MINOR: &str = "3.6";

/// A node that has not turned for so long is not alive.
const STANDSTILL: Duration = Duration::from_secs(5);

/// One node, as its gateway sees it.
pub struct Shell {
    pub inbox: Inbox,
    pub slots: Arc<Slots>,
    pub picture: Arc<Picture>,
    pub founded: Founded,
    pub engine: Rocks,
    pub report: Report,
    pub client_urls: Vec<String>,
    pub quota: Option<u64>,
    pub readers: Sender<Vec<ReadTask<View>>>,
    pub peers: Arc<Peers>,
    pub meters: Meters,
}

impl Shell {
    async fn ask(&self, ask: ClientAsk, within: Duration) -> Result<range::Outcome> {
        let deadline = clock::now() + Tick(within.as_nanos() as u64);
        let (id, told) = self.slots.begin(deadline);
        self.hand_in(id, ask, deadline)?;
        self.told(told, deadline).await
    }

    fn hand_in(&self, id: CallId, ask: ClientAsk, deadline: Tick) -> Result<()> {
        if self.inbox.send(Input::Call(id, ask, deadline)).is_err() {
            self.slots.forget(id);
            return Err(Error::new(Kind::Closing, "the node is going down"));
        }
        Ok(())
    }

    /// The answer; a key that is in memory is read here, one that is not by the pool.
    async fn told(&self, told: oneshot::Receiver<Told>, deadline: Tick) -> Result<range::Outcome> {
        let gone = || Error::new(Kind::Closing, "the node is going down");
        let mut task = match told.await.map_err(|_| gone())? {
            Told::Answer(result) => return result,
            Told::Read(task) => task,
        };
        if let Some(result) = task.run_from_memory() {
            return result;
        }
        let (id, told) = self.slots.begin(deadline);
        task.origin = Origin::Local(id);
        self.readers.send(vec![*task]).map_err(|_| gone())?;
        match told.await.map_err(|_| gone())? {
            Told::Answer(result) => result,
            Told::Read(_) => Err(Error::corrupt("a reader answered with a question")),
        }
    }

    /// Writes are refused before they go anywhere when this store has no room, or is larger than its quota.
    fn has_room(&self, request: &Request) -> Result<()> {
        if self.report.is_full() && grows(request) {
            return Err(Error::refused(Refusal::NoSpace));
        }
        Ok(())
    }

    fn member_id(&self, store: base::StoreId) -> u64 {
        self.founded.members.iter().find(|m| m.store == store).map_or(0, |m| m.id)
    }
}

/// Can it make the store larger? Deletes may always pass: they are the way out.
fn grows(request: &Request) -> bool {
    match request {
        Request::Put(_) => true,
        Request::Range(_) | Request::Delete(_) => false,
        Request::Txn(t) => t.success.iter().chain(&t.failure).any(grows),
    }
}

impl Backend for Shell {
    async fn call(&self, request: Request, within: Duration) -> Result<Outcome> {
        self.has_room(&request)?;
        let outcome = self.ask(ClientAsk::Kv(Arc::new(request)), within).await?;
        match outcome.answer {
            Answer::Kv(reply) => {
                self.meters.served(&reply);
                Ok(Outcome { revision: outcome.revision, reply })
            }
            _ => Err(Error::corrupt("an operation was answered with something else")),
        }
    }

    async fn compact(&self, revision: Revision, physical: bool, within: Duration) -> Result<Revision> {
        let outcome = self.ask(ClientAsk::Compact(revision), within).await?;
        if physical {
            let engine = self.engine.clone();
            let (start, end) = engine::keys::version_span(&base::Span::users());
            // Compacting waits for the disk: not on a thread that serves clients.
            let done = tokio::task::spawn_blocking(move || engine::Engine::compact(&engine, &start, &end)).await;
            done.map_err(|_| Error::new(Kind::Closing, "the node is going down"))??;
        }
        Ok(outcome.revision)
    }

    async fn hash_kv(&self, revision: Revision, within: Duration) -> Result<HashKv> {
        let begun = Instant::now();
        let outcome = self.ask(ClientAsk::Hash(revision), within).await?;
        self.meters.hashed(begun.elapsed());
        let Answer::Hash { hash, compacted } = outcome.answer else {
            return Err(Error::corrupt("a hash was answered with something else"));
        };
        let at = if revision == Revision::ZERO { outcome.revision } else { revision };
        let hash = (hash ^ (hash >> 32)) as u32;
        Ok(HashKv { hash, current: outcome.revision, compacted, revision: at })
    }

    async fn members(&self, linearizable: bool, within: Duration) -> Result<Vec<Member>> {
        if linearizable {
            // The list is fixed; what is asked for is that a leader confirms it.
            self.ask(ClientAsk::Kv(Arc::new(super::start::probe())), within).await?;
        }
        let own = self.founded.identity.store;
        let seen = self.report.client_urls();
        let member = |m: &super::found::Member| Member {
            id: m.id,
            name: m.name.clone(),
            peer_urls: m.peer_urls.clone(),
            client_urls: if m.store == own {
                self.client_urls.clone()
            } else {
                seen.get(&m.store).cloned().unwrap_or_default()
            },
            learner: false,
        };
        let mut members: Vec<Member> = self.founded.members.iter().map(member).collect();
        members.sort_by_key(|m| m.id);
        Ok(members)
    }

    async fn lives(&self, within: Duration) -> Result<()> {
        if self.picture.age() > STANDSTILL {
            return Err(Error::refused(Refusal::Timeout));
        }
        let engine = self.engine.clone();
        let read = move || node::boot::identity(&engine).map(drop);
        match tokio::time::timeout(within, tokio::task::spawn_blocking(read)).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Error::new(Kind::Closing, "the node is going down")),
            Err(_) => Err(Error::refused(Refusal::Timeout)),
        }
    }

    fn header(&self) -> Header {
        Header {
            cluster_id: self.founded.identity.cluster.0,
            member_id: self.member_id(self.founded.identity.store),
            raft_term: self.picture.last().term.0,
            revision: self.picture.revision(),
        }
    }

    fn status(&self) -> Status {
        let s = self.picture.last().clone();
        let sizes = self.report.sizes();
        Status {
            size: sizes.total,
            size_in_use: sizes.in_use,
            quota: self.quota.unwrap_or(0),
            leader: s.leader.map_or(0, |l| self.member_id(l)),
            raft_index: s.index.0,
            raft_term: s.term.0,
            raft_applied: s.applied.0,
            learner: false,
        }
    }

    fn alarms(&self) -> Vec<Alarm> {
        let own = self.founded.identity.store;
        let mut full = self.picture.last().full.clone();
        // What this store knows of itself is newer than the picture.
        full.retain(|store| *store != own);
        if self.report.is_full() {
            full.push(own);
        }
        full.iter().map(|store| Alarm { member: self.member_id(*store), kind: AlarmKind::NoSpace }).collect()
    }

    fn has_leader(&self) -> bool {
        self.picture.last().leader.is_some()
    }

    fn versions(&self) -> Versions {
        let (server, cluster) = (crate::cli::ETCD_VERSION.to_string(), CLUSTER_VERSION.to_string());
        Versions { server, storage: cluster.clone(), cluster }
    }

    fn mark(&self, stage: Stage, nanos: u64) {
        crate::metrics::stage_sample(stage, nanos);
    }

    fn handled(&self, rpc: Rpc, nanos: u64) {
        self.meters.handled(rpc, nanos);
    }

    fn metrics(&self, out: &mut String) {
        out.push_str(&crate::metrics::render());
        self.meters.render(out);
        let name = |store| self.member_id(store);
        crate::metrics::network::render(&self.peers.stats(), self.member_id(self.founded.identity.store), name, out);
    }
}

//! From settings and a directory to an identity: founding a store, or recognising one.

use crate::config::{Complaint, Settings};
use base::codec::{get_bytes, get_u64, put_bytes, put_u64};
use base::{BootId, ClusterId, Key, StoreId};
use bytes::Bytes;
use engine::{Batch, Cf, Engine, Read, keys};
use node::{Founding, Identity, boot};
use rocks::Rocks;
use std::io::Read as _;

/// One node of the cluster, as founded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub store: StoreId,
    pub name: String,
    pub peer_urls: Vec<String>,
    /// As etcd's API shows it.
    pub id: u64,
}

/// What a node starts with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Founded {
    pub identity: Identity,
    pub members: Vec<Member>,
    /// Was the directory empty?
    pub fresh: bool,
}

impl Founded {
    /// What people call this node.
    pub fn name(&self, store: StoreId) -> String {
        let member = self.members.iter().find(|m| m.store == store);
        member.map_or_else(|| store.to_string(), |m| m.name.clone())
    }
}

const MEMBERS: &str = "members";

/// FNV-1a: small and fixed for ever; ids, not secrets.
fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|p| p.iter().chain(&[0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)) | 1
}

fn members(settings: &Settings) -> Vec<Member> {
    let token = settings.cluster.token.as_bytes();
    let member = |(i, m): (usize, &crate::config::settings::Member)| {
        let peer_urls: Vec<String> = m.peers.iter().map(ToString::to_string).collect();
        let id = hash(&[peer_urls.join(",").as_bytes(), token]);
        Member { store: StoreId(i as u64 + 1), name: m.name.clone(), peer_urls, id }
    };
    settings.cluster.members.iter().enumerate().map(member).collect()
}

fn founding(settings: &Settings, members: &[Member]) -> Founding {
    let mut parts: Vec<Vec<u8>> = members.iter().map(|m| m.id.to_be_bytes().to_vec()).collect();
    parts.push(settings.cluster.token.clone().into_bytes());
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Founding {
        cluster: ClusterId(hash(&parts)),
        stores: members.iter().map(|m| m.store).collect(),
        split_keys: settings.ranges.split_keys.iter().map(|k| Key::user(k)).collect(),
        replication: settings.ranges.replication_factor,
    }
}

/// Recognises the store in this directory, or founds one if it is empty.
pub fn found(engine: &Rocks, settings: &Settings) -> Result<Founded, Complaint> {
    let said = members(settings);
    let broken = |e: base::Error| Complaint::new(format!("{}: {e}", settings.data_dir.display()));
    if let Some(identity) = boot::identity(engine).map_err(broken)? {
        let stored = load_members(engine).map_err(broken)?;
        recognise(settings, &identity, &stored, &said)?;
        return Ok(Founded { identity, members: stored, fresh: false });
    }
    if settings.cluster.existing {
        return Err(Complaint::new(
            "--initial-cluster-state=existing: joining a running cluster is not built yet; found the cluster with all its members",
        ));
    }
    let own = said.iter().find(|m| m.name == settings.name).map(|m| m.store);
    let store =
        own.ok_or_else(|| Complaint::new(format!("--initial-cluster does not contain --name {}", settings.name)))?;
    let founding = founding(settings, &said);
    let mut batch = Batch::new();
    batch.put(Cf::Data, keys::store(MEMBERS), encode_members(&said));
    // Members first: an identity without them would be a store that cannot find its peers.
    engine.write(&batch, true).map_err(broken)?;
    boot::bootstrap(engine, &founding, store, BootId(random()?)).map_err(broken)?;
    let identity =
        boot::identity(engine).map_err(broken)?.ok_or_else(|| Complaint::new("the store was founded and is empty"))?;
    Ok(Founded { identity, members: said, fresh: true })
}

/// Is this directory the one that the flags speak of?
fn recognise(settings: &Settings, identity: &Identity, stored: &[Member], said: &[Member]) -> Result<(), Complaint> {
    let dir = settings.data_dir.display();
    let own = stored.iter().find(|m| m.store == identity.store).map(|m| m.name.as_str()).unwrap_or_default();
    if own != settings.name {
        return Err(Complaint::new(format!(
            "{dir} belongs to the node {own}, and this is {}: give each node its own --data-dir",
            settings.name
        )));
    }
    // A restart may leave --initial-cluster out; one that names another cluster is a mistake.
    let cluster = founding(settings, said).cluster;
    if cluster != identity.cluster && said.len() > 1 {
        return Err(Complaint::new(format!(
            "{dir} belongs to another cluster than --initial-cluster and --initial-cluster-token name: \
             use the flags it was founded with, or another --data-dir"
        )));
    }
    Ok(())
}

fn encode_members(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    put_u64(&mut out, members.len() as u64);
    for m in members {
        put_u64(&mut out, m.store.0);
        put_u64(&mut out, m.id);
        put_bytes(&mut out, m.name.as_bytes());
        put_bytes(&mut out, m.peer_urls.join(",").as_bytes());
    }
    out
}

fn load_members(read: &impl Read) -> base::Result<Vec<Member>> {
    let missing = || base::Error::corrupt("the store does not say who its peers are: it lost data; replace the node");
    let mut b: Bytes = read.get(Cf::Data, &keys::store(MEMBERS))?.ok_or_else(missing)?;
    let text = |b: &mut Bytes| -> base::Result<String> { Ok(String::from_utf8_lossy(&get_bytes(b)?).into_owned()) };
    let n = get_u64(&mut b)?;
    let mut out = Vec::new();
    for _ in 0..n {
        let (store, id) = (StoreId(get_u64(&mut b)?), get_u64(&mut b)?);
        let name = text(&mut b)?;
        let peer_urls = text(&mut b)?.split(',').map(str::to_string).collect();
        out.push(Member { store, name, peer_urls, id });
    }
    Ok(out)
}

/// Keeps where clients reach a peer: they ask for it when it is down, too.
pub fn remember_urls(engine: &Rocks, peer: StoreId, urls: &str) -> base::Result<()> {
    if known_urls(engine, peer)?.join(",") == urls {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.put(Cf::Data, urls_key(peer), urls.as_bytes().to_vec());
    engine.write(&batch, false)
}

/// Where clients reach this peer, as it said last; empty if it never did.
pub fn known_urls(engine: &Rocks, peer: StoreId) -> base::Result<Vec<String>> {
    let said = engine.get(Cf::Data, &urls_key(peer))?;
    Ok(said.map_or_else(Vec::new, |text| String::from_utf8_lossy(&text).split(',').map(str::to_string).collect()))
}

fn urls_key(peer: StoreId) -> Bytes {
    keys::store(&format!("client-urls/{}", peer.0))
}

/// From the system; for boot ids and the seed of elections' jitter.
pub fn random() -> Result<u64, Complaint> {
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|e| Complaint::new(format!("cannot read /dev/urandom: {e}")))?;
    Ok(u64::from_le_bytes(bytes) | 1)
}

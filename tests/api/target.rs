//! What a case is given, and the words in which cases are written.

use etcd_client::{Client, Error, GetOptions, KeyValue};
use harness::{Cluster, rpc};
use std::fmt::Debug;
use std::pin::Pin;

/// gRPC's codes, by the names that the contract uses.
pub const INVALID_ARGUMENT: i32 = 3;
pub const NOT_FOUND: i32 = 5;
pub const RESOURCE_EXHAUSTED: i32 = 8;
pub const OUT_OF_RANGE: i32 = 11;
pub const UNIMPLEMENTED: i32 = 12;

/// Whom the cases are run against.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    Etcd,
    FlotillaOne,
    FlotillaSplit,
}

/// Which ranges a case's writes and transactions touch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ranges {
    /// Each lies within one range, wherever the boundaries are.
    Within,
    /// Some cross boundaries: `Unimplemented` where there are any.
    Across,
}

pub type Outcome = Result<(), Error>;

/// One case: `Err` means that a call that should have been served was not.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub ranges: Ranges,
    pub run: fn(Ctx) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// Lists functions as cases: `cases![Within: get_missing, …; Across: …]`.
#[macro_export]
macro_rules! cases {
    ($($ranges:ident: $($name:ident),*);*) => {
        &[$($($crate::target::Case {
            name: stringify!($name),
            ranges: $crate::target::Ranges::$ranges,
            run: |ctx| Box::pin($name(ctx)),
        },)*)*]
    };
}

/// A case's own corner of the key space, and clients.
pub struct Ctx {
    pub name: &'static str,
    pub target: Target,
    pub endpoints: Vec<String>,
    /// Which endpoint this case talks to, unless it says otherwise.
    pub home: usize,
}

impl Ctx {
    pub fn new(case: &Case, number: usize, target: Target, cluster: &Cluster) -> Ctx {
        let endpoints = cluster.endpoints();
        Ctx { name: case.name, target, home: number % endpoints.len(), endpoints }
    }

    pub fn is_etcd(&self) -> bool {
        self.target == Target::Etcd
    }

    pub async fn client(&self) -> Client {
        self.client_at(self.home).await
    }

    pub async fn client_at(&self, endpoint: usize) -> Client {
        rpc::connect(&self.endpoints[endpoint..=endpoint]).await
    }

    /// This case's key: `a` is `<case>/a`.
    pub fn key(&self, key: &str) -> Vec<u8> {
        format!("{}/{key}", self.name).into_bytes()
    }

    /// Puts `value` under each key, one request each; returns their revisions.
    pub async fn put_all(&self, client: &mut Client, pairs: &[(&str, &str)]) -> Result<Vec<i64>, Error> {
        let mut revisions = Vec::new();
        for (key, value) in pairs {
            revisions.push(revision(client.put(self.key(key), *value, None).await?.header()));
        }
        Ok(revisions)
    }

    /// What is below this case's prefix, as `key=value`, without the prefix.
    pub async fn all(&self, client: &mut Client) -> Result<Vec<String>, Error> {
        let reply = client.get(self.key(""), Some(GetOptions::new().with_prefix())).await?;
        Ok(self.show(reply.kvs()))
    }

    /// Key-values as `key=value`, without the prefix.
    pub fn show(&self, kvs: &[KeyValue]) -> Vec<String> {
        let one = |kv: &KeyValue| format!("{}={}", self.short(kv.key()), String::from_utf8_lossy(kv.value()));
        kvs.iter().map(one).collect()
    }

    /// Keys without the prefix.
    pub fn keys(&self, kvs: &[KeyValue]) -> Vec<String> {
        kvs.iter().map(|kv| self.short(kv.key())).collect()
    }

    fn short(&self, key: &[u8]) -> String {
        let prefix = self.key("");
        String::from_utf8_lossy(key.strip_prefix(prefix.as_slice()).unwrap_or(key)).into_owned()
    }
}

/// The revision in a reply's header.
pub fn revision(header: Option<&etcd_client::ResponseHeader>) -> i64 {
    header.expect("every reply has a header").revision()
}

/// The newest revision.
pub async fn newest(client: &mut Client) -> Result<i64, Error> {
    Ok(revision(client.get("newest?", None).await?.header()))
}

/// The call was refused with exactly this code and text.
#[track_caller]
pub fn refused<T: Debug>(answer: Result<T, Error>, code: i32, text: &str) {
    match answer {
        Ok(reply) => panic!("not refused but answered: {reply:?}"),
        Err(error) => assert_eq!(rpc::status(&error), (code, text.to_string())),
    }
}

/// One key-value's create revision, mod revision and version.
pub fn times(kv: &KeyValue) -> (i64, i64, i64) {
    (kv.create_revision(), kv.mod_revision(), kv.version())
}

/// All nodes tell one hash of the newest revision, soon: whatever a case did, replicas have not drifted apart.
pub async fn same_everywhere(endpoints: &[String]) -> Result<(), String> {
    let mut seen = Vec::new();
    for _ in 0..100 {
        seen = hashes(endpoints).await.map_err(|e| e.to_string())?;
        if seen.iter().all(|h| *h == seen[0]) {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err(format!("afterwards nodes differ in (hash, compacted at): {seen:?}"))
}

async fn hashes(endpoints: &[String]) -> Result<Vec<(u32, i64)>, Error> {
    let mut out = Vec::new();
    for endpoint in endpoints {
        // Revision 0 means the newest that this node has; 3.4 refuses one that is just compacted.
        let hash = rpc::connect(std::slice::from_ref(endpoint)).await.hash_kv(0).await?;
        out.push((hash.hash(), hash.compact_version()));
    }
    Ok(out)
}

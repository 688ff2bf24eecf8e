//! Every version of every key, read back from a cluster at every revision: what the checkers judge a history by.

use crate::load::key_value;
use crate::rpc;
use base::{Key, Revision};
use etcd_client::{Client, GetOptions};
use sim::check::{History, Op, Rules, Summary, Version, check_revisions};
use std::collections::BTreeSet;

/// Readers side by side.
const READERS: i64 = 16;

/// What changed at each revision from 2 to the newest, as this endpoint tells it. Nothing may have been compacted.
pub async fn collect(endpoint: &str) -> Vec<Version> {
    let endpoints = [endpoint.to_string()];
    let newest = rpc::connect(&endpoints).await.get("newest?", None).await.expect("served");
    let newest = newest.header().expect("a header").revision();
    let share = |reader: i64| {
        let endpoints = endpoints.clone();
        tokio::spawn(async move {
            let mut client = rpc::connect(&endpoints).await;
            let (from, to) = (2 + (newest - 1) * reader / READERS, 2 + (newest - 1) * (reader + 1) / READERS);
            let mut out = Vec::new();
            let mut before = count_at(&mut client, from - 1).await;
            for revision in from..to {
                before = changes(&mut client, revision, before, &mut out).await;
            }
            out
        })
    };
    let readers: Vec<_> = (0..READERS).map(share).collect();
    let mut out = Vec::new();
    for reader in readers {
        out.extend(reader.await.expect("a reader does not panic"));
    }
    out
}

/// Adds what changed at `revision`; `before` is the number of keys one revision earlier. Returns the number after.
async fn changes(client: &mut Client, revision: i64, before: i64, out: &mut Vec<Version>) -> i64 {
    let only = all(revision).with_min_mod_revision(revision).with_max_mod_revision(revision);
    let reply = client.get("\0", Some(only)).await.unwrap_or_else(|e| panic!("revision {revision}: {e}"));
    let created = reply.kvs().iter().filter(|kv| kv.create_revision() == revision).count() as i64;
    for kv in reply.kvs() {
        let kv = key_value(kv);
        out.push(Version { key: kv.key.clone(), revision: Revision(revision as u64), sub: None, kv: Some(kv) });
    }
    // A key deleted and put again within one revision does not exist in etcd: a transaction writes a key once.
    if reply.count() < before + created {
        let (old, new) = (keys_at(client, revision - 1).await, keys_at(client, revision).await);
        for key in old.difference(&new) {
            out.push(Version { key: Key::user(key), revision: Revision(revision as u64), sub: None, kv: None });
        }
    }
    reply.count()
}

fn all(revision: i64) -> GetOptions {
    GetOptions::new().with_range("\0").with_revision(revision)
}

async fn count_at(client: &mut Client, revision: i64) -> i64 {
    client.get("\0", Some(all(revision).with_count_only())).await.expect("served").count()
}

async fn keys_at(client: &mut Client, revision: i64) -> BTreeSet<Vec<u8>> {
    let reply = client.get("\0", Some(all(revision).with_keys_only())).await.expect("served");
    reply.kvs().iter().map(|kv| kv.key().to_vec()).collect()
}

/// Judges what clients were told by what is there: every rule of the simulator's revision checker. `disruptions` are
/// times (in the load's nanoseconds) in which numbers may have been burnt.
pub fn judge(ops: Vec<Op>, versions: Vec<Version>, disruptions: Vec<(u64, u64)>) -> Summary {
    let history = History { ops, versions, disruptions };
    match check_revisions(&history, &Rules::default()) {
        Ok(summary) => summary,
        Err(violation) => {
            let file = std::env::temp_dir().join(format!("flotilla-history-{}.txt", std::process::id()));
            let kept = std::fs::write(&file, sim::check::dump(&history)).is_ok();
            let place = if kept { file.display().to_string() } else { "nowhere".into() };
            panic!("{violation}\nthe history is in {place}")
        }
    }
}

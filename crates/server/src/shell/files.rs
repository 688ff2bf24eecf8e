//! The snapshot thread: reads pieces of frozen views, stages pieces that were received.

use super::queue::Sender;
use super::write::Job;
use super::{Inbox, View};
use crossbeam::channel::Receiver;
use engine::{Engine, Stage};
use node::{Input, SnapshotWork};
use rocks::Rocks;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Runs until the queue is closed.
pub fn run(engine: Rocks, work: Receiver<SnapshotWork<View>>, writer: Sender<Job>, inbox: Inbox) {
    let mut staging: BTreeMap<u64, Box<dyn Stage>> = BTreeMap::new();
    while let Ok(work) = work.recv() {
        let input = match work {
            SnapshotWork::Read { number, view, from, to, bytes } => {
                Input::SnapshotRead(number, node::boot::read_chunk(&*view, &from, &to, bytes))
            }
            SnapshotWork::Stage { number, records } => {
                Input::Staged(number, stage(&engine, &mut staging, number, records))
            }
            SnapshotWork::Ingest { number, clear, then } => {
                let ready = staging.remove(&number).map_or_else(|| engine.stage(), Ok).and_then(|mut s| {
                    s.finish()?;
                    Ok(s)
                });
                match ready {
                    Ok(staged) => {
                        // The writer is gone only when the node is.
                        let _ = writer.send(Job::Ingest { number, staged, clear, then });
                        continue;
                    }
                    Err(e) => Input::Ingested(number, Err(e)),
                }
            }
            SnapshotWork::Drop { number } => {
                staging.remove(&number);
                continue;
            }
        };
        if inbox.send(input).is_err() {
            return;
        }
    }
}

fn stage(
    engine: &Rocks,
    staging: &mut BTreeMap<u64, Box<dyn Stage>>,
    number: u64,
    mut records: bytes::Bytes,
) -> base::Result<()> {
    let stage = match staging.entry(number) {
        Entry::Occupied(begun) => begun.into_mut(),
        Entry::Vacant(fresh) => fresh.insert(engine.stage()?),
    };
    while !records.is_empty() {
        let (key, value) = node::boot::get_record(&mut records)?;
        stage.put(&key, &value)?;
    }
    Ok(())
}

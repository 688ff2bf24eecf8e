//! Where a replica's turn puts what leaves it, and what it may look at meanwhile.

use crate::ask::{Command, Origin, Outcome, Proof, ReadAsk, ReadTask};
use base::{Index, Place, RangeId, Result, Revision, Rng, Stage, StoreId, Term, Tick};
use engine::{Batch, Engine};
use placement::Served;
use raft::{Message, Supports};
use std::sync::Arc;

/// A Raft message with its envelope.
#[derive(Clone, PartialEq, Debug)]
pub struct Letter {
    pub range: RangeId,
    pub from: Place,
    pub to: Place,
    pub message: Message,
}

/// What becomes durable with the batch of this step, told to the replica when it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    pub range: RangeId,
    /// What the Raft core wants to hear back when its part of the batch is durable.
    pub mark: Option<(Term, Index)>,
    /// State applied up to here.
    pub applied: Option<Index>,
}

/// Answers that rest on a lease; the shell opens them.
pub enum Ready<V> {
    /// To be read from frozen state.
    Read(ReadTask<V>),
    /// Known already.
    Reply(Asked, Result<Outcome>),
    /// Numbers for a node.
    Fetched(Served),
    /// What the node closes, by the number of its statement.
    Closes(u64),
}

/// What was asked, kept so that it can go another way when this replica cannot answer after all.
#[derive(Clone, PartialEq, Debug)]
pub enum Asked {
    Command(Command),
    Read(ReadAsk),
    Compact(Origin, Revision),
}

impl Asked {
    /// Who waits for the answer.
    pub fn origin(&self) -> Origin {
        match self {
            Asked::Command(c) => c.origin,
            Asked::Read(r) => r.origin,
            Asked::Compact(o, _) => *o,
        }
    }
}

/// What a turn puts out.
pub struct Sink<V> {
    /// May leave at once.
    pub now: Vec<Letter>,
    /// Leave when the batch is durable.
    pub after: Vec<Letter>,
    pub batch: Batch,
    /// Must the batch be durable before anything that waits for it?
    pub sync: bool,
    /// Does anybody wait for the batch? Otherwise it may wait for the next one, a little, to be written with it.
    pub urgent: bool,
    pub receipts: Vec<Receipt>,
    /// Facts.
    pub replies: Vec<(Origin, Result<Outcome>)>,
    /// Rest on leases.
    pub leased: Vec<(Proof, Ready<V>)>,
    /// Were never handed to Raft: may be routed again.
    pub rerouted: Vec<Asked>,
    /// Ranges led here with a follower that has committed entries and was not told so.
    pub untold: Vec<RangeId>,
    /// Ranges of which another node's call was answered at its commit.
    pub answered: Vec<(RangeId, StoreId)>,
    /// Bytes of calls that came to wait here, minus those that left.
    pub queued: i64,
    /// Members that need a snapshot of this range.
    pub snapshots: Vec<(RangeId, Place)>,
    /// Latencies of stations, in nanoseconds.
    pub samples: Vec<(Stage, u64)>,
    /// Payload bytes put into the batch for applying so far.
    pub apply_bytes: usize,
    pub counters: Counters,
}

/// Counted since the node started.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counters {
    pub proposed: u64,
    pub committed: u64,
    pub applied: u64,
    pub failed: u64,
    pub elections_won: u64,
    pub leaders_seen: u64,
    pub snapshots_installed: u64,
    pub snapshots_sent: u64,
    pub reads: u64,
    pub read_rounds: u64,
}

impl<V> Default for Sink<V> {
    fn default() -> Sink<V> {
        Sink {
            now: Vec::new(),
            after: Vec::new(),
            batch: Batch::new(),
            sync: false,
            urgent: false,
            receipts: Vec::new(),
            replies: Vec::new(),
            leased: Vec::new(),
            rerouted: Vec::new(),
            untold: Vec::new(),
            answered: Vec::new(),
            queued: 0,
            snapshots: Vec::new(),
            samples: Vec::new(),
            apply_bytes: 0,
            counters: Counters::default(),
        }
    }
}

/// There is room for no more than this of anything: a turn that drops a long log is no measure for the next.
const MOST_ROOM: usize = 4096;

/// For how much of what turns put out most there is room: for the most of late.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Room {
    batch: usize,
    replies: usize,
    samples: usize,
}

impl Room {
    /// A turn put out this much.
    pub fn note<V>(&mut self, sink: &Sink<V>) {
        let note = |most: &mut usize, now: usize| *most = crate::lately::most_of_late(*most, now).min(MOST_ROOM);
        note(&mut self.batch, sink.batch.ops().len());
        note(&mut self.replies, sink.replies.len());
        note(&mut self.samples, sink.samples.len());
    }
}

impl<V> Sink<V> {
    /// What grows bit by bit is copied each time.
    pub fn with_room(room: Room) -> Sink<V> {
        Sink {
            batch: Batch::with_capacity(room.batch),
            replies: Vec::with_capacity(room.replies),
            samples: Vec::with_capacity(room.samples),
            ..Sink::default()
        }
    }

    /// The batch must be durable, soon.
    pub fn must_sync(&mut self) {
        (self.sync, self.urgent) = (true, true);
    }

    /// Marks a station of the road with the time a command spent on the way to it.
    pub fn mark(&mut self, stage: Stage, nanos: u64) {
        self.samples.push((stage, nanos));
    }
}

/// What a replica may use during its turn.
pub struct Turn<'a, E: Engine> {
    pub now: Tick,
    pub engine: &'a E,
    pub supports: &'a Supports,
    pub rng: &'a mut Rng,
    pub sink: &'a mut Sink<E::View>,
    /// Frozen at most once a step, after every overlay was captured that it belongs to.
    pub view: &'a mut Option<Arc<E::View>>,
    /// The pins of this step's reads; the last is the lowest.
    pub pins: &'a mut Vec<Arc<Revision>>,
    /// The oldest revision a read of this store may ask for.
    pub floor: Revision,
    pub limits: &'a Limits,
    /// What all leaders of this node remember of the engine.
    pub heads: &'a mut mvcc::Heads,
}

/// Sizes a node may be configured with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    pub log_bytes: u64,
    pub log_bytes_hard: u64,
    pub max_entry_bytes: usize,
    pub max_apply_bytes: usize,
    pub max_queued_bytes: usize,
    /// Commands in one entry from which on it leaves for a quorum only.
    pub quorum_crowd: usize,
    /// Of one piece of a snapshot, as it is sent.
    pub snapshot_chunk_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        use base::limits as l;
        Limits {
            log_bytes: l::LOG_BYTES,
            log_bytes_hard: l::LOG_BYTES_HARD,
            max_entry_bytes: l::MAX_ENTRY_BYTES,
            max_apply_bytes: l::MAX_APPLY_BYTES,
            max_queued_bytes: l::MAX_QUEUED_BYTES,
            quorum_crowd: l::QUORUM_CROWD,
            snapshot_chunk_bytes: l::SNAPSHOT_CHUNK_BYTES,
        }
    }
}

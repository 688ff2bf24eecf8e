//! What this node knows about one peer, and what all of this crate's tasks share.

use crate::Hello;
use crate::accept::Closing;
use crate::outbox::Outbox;
use crate::peers::Admit;
use crate::stats::{Counters, count};
use crate::{Event, Lane, Side};
use base::{BootId, Incarnation, StoreId};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// A node that calls itself by yet another identity is refused beyond this many.
const MAX_PEERS: usize = 4096;
/// Reasons of refusal that are remembered, so that each is told once.
const MAX_REASONS: usize = 256;

/// One peer, dialled or only heard of.
pub(crate) struct Peer {
    pub store: StoreId,
    /// By [`Lane::index`].
    pub outboxes: [Arc<Outbox>; 3],
    pub counters: Counters,
    /// What the task that dials this peer should do; that task holds a receiver.
    pub orders: watch::Sender<Orders>,
    /// Has a task that dials it.
    pub dialled: AtomicBool,
    inbound: [Inbound; 3],
    /// The newest process of this peer that we have met.
    newest: Mutex<Option<(BootId, Incarnation)>>,
}

/// Orders to the task that dials a peer.
#[derive(Clone, Default)]
pub(crate) struct Orders {
    /// Where to try, in turn.
    pub urls: Vec<String>,
    /// Send what waits, close the session, and end.
    pub stop: bool,
    /// Raised when the peer was heard of: the time to try is now, and an older process's session is dead.
    pub nudges: u64,
}

/// Who may deliver the frames of one lane of one peer: the stream that was accepted last.
///
/// A stream delivers under the lock and only while its number is the current one. A newer stream changes the number
/// first and delivers only under the lock, so never between two frames of an older stream.
#[derive(Default)]
struct Inbound {
    current: AtomicU64,
    delivering: Mutex<()>,
}

impl Peer {
    fn new(store: StoreId, queue_bytes: [usize; 3]) -> Peer {
        Peer {
            store,
            outboxes: Lane::ALL.map(|lane| Arc::new(Outbox::new(lane, queue_bytes[lane.index()]))),
            counters: Counters::default(),
            orders: watch::Sender::new(Orders::default()),
            dialled: AtomicBool::new(false),
            inbound: Default::default(),
            newest: Mutex::new(None),
        }
    }

    /// Remembers the newest process, then does what is to be done before another one can be met. A process that is
    /// older than one already met is stale, and the text says so. If this one is new, nothing that an older one sent is
    /// delivered any more.
    pub(crate) fn meet<T>(&self, hello: &Hello, then: impl FnOnce() -> T) -> Result<T, String> {
        let mut newest = self.newest.lock();
        match *newest {
            Some((boot, met)) if boot == hello.boot && hello.incarnation < met => {
                let Hello { store, name, incarnation, .. } = hello;
                return Err(format!("{name} ({store}) restarted since: this is {incarnation}, {met} was met already"));
            }
            Some(met) if met == (hello.boot, hello.incarnation) => {}
            _ => {
                *newest = Some((hello.boot, hello.incarnation));
                self.silence();
            }
        }
        Ok(then())
    }

    /// Is there a newer process than this one?
    pub(crate) fn is_outdated(&self, hello: &Hello) -> bool {
        self.newest.lock().is_some_and(|met| met != (hello.boot, hello.incarnation))
    }

    /// From now on only the stream of this number delivers on this lane.
    pub(crate) fn hear_only(&self, lane: Lane, stream: u64) {
        self.inbound[lane.index()].current.store(stream, Ordering::SeqCst);
    }

    /// No stream accepted until now delivers anything any more.
    fn silence(&self) {
        for lane in Lane::ALL {
            self.hear_only(lane, 0);
        }
    }

    /// Runs `deliver` if this is still the stream to be heard on this lane.
    pub(crate) fn delivers(&self, lane: Lane, stream: u64, deliver: impl FnOnce()) -> bool {
        let inbound = &self.inbound[lane.index()];
        let _delivering = inbound.delivering.lock();
        let current = inbound.current.load(Ordering::SeqCst) == stream;
        if current {
            deliver();
        }
        current
    }

    /// Ends everything with this peer; returns when nothing of it is being delivered and nothing will be.
    pub(crate) fn stop(&self) {
        self.orders.send_modify(|orders| orders.stop = true);
        self.silence();
        for inbound in &self.inbound {
            drop(inbound.delivering.lock());
        }
    }

    /// The peer was heard of.
    pub(crate) fn nudge(&self) {
        self.orders.send_modify(|orders| orders.nudges += 1);
    }
}

/// Shared by everything in this crate.
pub(crate) struct Shared {
    pub local: Hello,
    pub began: Instant,
    pub closing: watch::Sender<Closing>,
    queue_bytes: [usize; 3],
    admit: Admit,
    on_event: Box<dyn Fn(Event) + Send + Sync>,
    peers: RwLock<BTreeMap<StoreId, Arc<Peer>>>,
    /// By peer and by whether we refused it.
    told: Mutex<BTreeMap<(StoreId, bool), String>>,
    numbers: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        local: Hello,
        queue_bytes: [usize; 3],
        admit: Admit,
        on_event: Box<dyn Fn(Event) + Send + Sync>,
    ) -> Shared {
        Shared {
            local,
            began: Instant::now(),
            closing: watch::Sender::new(Closing::No),
            queue_bytes,
            admit,
            on_event,
            peers: RwLock::default(),
            told: Mutex::default(),
            numbers: AtomicU64::new(0),
        }
    }

    /// A number never given before: for sessions and accepted streams.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.on_event)(event);
    }

    /// Tells a refusal, once per reason.
    pub(crate) fn tell_refusal(&self, peer: StoreId, by: Side, text: &str) {
        let mut told = self.told.lock();
        let key = (peer, by == Side::Us);
        if told.get(&key).is_some_and(|last| last == text) {
            return;
        }
        if told.len() >= MAX_REASONS {
            told.pop_first();
        }
        told.insert(key, text.to_owned());
        drop(told);
        self.tell(Event::Refused { peer, by, text: text.to_owned() });
    }

    /// Forgets that this side refused, because now it did not.
    pub(crate) fn forget_refusal(&self, peer: StoreId, by: Side) {
        self.told.lock().remove(&(peer, by == Side::Us));
    }

    /// May this node talk to us? The rules that hold everywhere, then those of the node.
    pub(crate) fn judge(&self, hello: &Hello) -> Result<(), String> {
        hello.check(&self.local)?;
        (self.admit)(hello)
    }

    pub(crate) fn peer(&self, store: StoreId) -> Option<Arc<Peer>> {
        self.peers.read().get(&store).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Peer>> {
        self.peers.read().values().cloned().collect()
    }

    /// The peer, made if it was not known.
    pub(crate) fn peer_or_new(&self, store: StoreId) -> Result<Arc<Peer>, String> {
        if let Some(peer) = self.peer(store) {
            return Ok(peer);
        }
        let mut peers = self.peers.write();
        if peers.len() >= MAX_PEERS {
            return Err(format!("{} knows {MAX_PEERS} nodes already", self.local.name));
        }
        Ok(peers.entry(store).or_insert_with(|| Arc::new(Peer::new(store, self.queue_bytes))).clone())
    }

    pub(crate) fn remove(&self, store: StoreId) -> Option<Arc<Peer>> {
        self.peers.write().remove(&store)
    }

    /// See [`crate::Peers::send`].
    pub(crate) fn send(&self, to: StoreId, lane: Lane, frame: Bytes) -> bool {
        use crate::outbox::Pushed;
        let peers = self.peers.read();
        let Some(peer) = peers.get(&to) else { return false };
        let counters = &peer.counters;
        count(&counters.sent_frames[lane.index()], 1);
        count(&counters.sent_bytes, frame.len() as u64);
        match peer.outboxes[lane.index()].push(frame) {
            Pushed::Queued { forgotten: 0 } => true,
            Pushed::Queued { forgotten } => {
                count(&counters.overflow_frames, forgotten);
                true
            }
            Pushed::NoSession => {
                count(&counters.unconnected_frames, 1);
                false
            }
            Pushed::NoRoom => {
                count(&counters.overflow_frames, 1);
                false
            }
        }
    }
}

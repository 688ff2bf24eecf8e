//! The handle: start, send, change, count, shut down.

use crate::accept::{Closing, accept};
use crate::dial::dial;
use crate::peer::{Peer, Shared};
use crate::{Event, Hello, Lane, PeerStats};
use base::StoreId;
use bytes::Bytes;
use parking_lot::Mutex;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

/// A node's own rules about who may talk to it: the reason it returns is one line, told to both sides.
pub type Admit = Box<dyn Fn(&Hello) -> Result<(), String> + Send + Sync>;

/// Closing in order takes no longer than this, whatever the peers do.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How to start.
pub struct Config {
    /// What we say about ourselves.
    pub local: Hello,
    /// Where peers reach us: bound already, so that failing to bind is the caller's to explain.
    pub listen: Vec<TcpListener>,
    /// Whom to dial, and where: `http://host:port`, tried in turn. Ourselves is skipped.
    pub peers: Vec<(StoreId, Vec<String>)>,
    /// Bytes that may wait for one peer, by [`Lane::index`]; a single frame may be larger.
    pub queue_bytes: [usize; 3],
    /// Threads for all peers together. With none, the thread that calls [`Peers::drive`] carries the frames.
    pub threads: usize,
}

impl Config {
    /// With queues of 4, 64 and 16 MiB, and one thread.
    #[must_use]
    pub fn new(local: Hello, listen: Vec<TcpListener>, peers: Vec<(StoreId, Vec<String>)>) -> Config {
        Config { local, listen, peers, queue_bytes: [4 << 20, 64 << 20, 16 << 20], threads: 1 }
    }
}

/// Every peer of this node, and what carries frames to and from them.
///
/// Dropped without [`Peers::shutdown`], it closes every connection at once, whatever waits.
pub struct Peers {
    shared: Arc<Shared>,
    /// Taken when dropped.
    runtime: Option<Runtime>,
    running: Mutex<Option<Running>>,
    closed: watch::Sender<bool>,
}

/// Sends frames; cheap to clone, for every step thread its own.
#[derive(Clone)]
pub struct Sender {
    shared: Arc<Shared>,
}

struct Running {
    listening: Vec<JoinHandle<()>>,
    dialling: Vec<JoinHandle<()>>,
}

impl Peers {
    /// Begins to listen and to dial.
    ///
    /// `admit` says who may talk to us, in either direction. `on_event` is told what happens, on the threads of this
    /// crate: frames of one lane of one peer one at a time and in order, `Connected` and `Disconnected` of one peer in
    /// turn. It may send; it must not call anything else here, and while it blocks, so do the peers.
    ///
    /// # Errors
    ///
    /// An address that is no `http` address, or a thread or listener that the system refuses.
    pub fn start(
        config: Config,
        admit: impl Fn(&Hello) -> Result<(), String> + Send + Sync + 'static,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> io::Result<Peers> {
        let Config { local, listen, peers, queue_bytes, threads } = config;
        let name = format!("peers-{}", local.store);
        let mut builder = if threads == 0 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
        let runtime = builder.worker_threads(threads.max(1)).thread_name(name).enable_all().build()?;
        let shared = Arc::new(Shared::new(local, queue_bytes, Box::new(admit), Box::new(on_event)));
        let mut listening = Vec::new();
        for listener in listen {
            listener.set_nonblocking(true)?;
            let _inside = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener)?;
            listening.push(runtime.spawn(accept(shared.clone(), listener)));
        }
        let running = Mutex::new(Some(Running { listening, dialling: Vec::new() }));
        let started = Peers { shared, runtime: Some(runtime), running, closed: watch::Sender::new(false) };
        for (store, urls) in peers {
            started.set_peer(store, urls)?;
        }
        Ok(started)
    }

    /// Begins to dial this peer, or changes where it is dialled; ourselves is skipped.
    ///
    /// # Errors
    ///
    /// An address that is no `http` address; nothing has changed then.
    pub fn set_peer(&self, store: StoreId, urls: Vec<String>) -> io::Result<()> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        for url in &urls {
            check_url(url).map_err(invalid)?;
        }
        if store == self.shared.local.store {
            return Ok(());
        }
        let mut running = self.running.lock();
        let Some(running) = running.as_mut() else { return Ok(()) };
        let peer = self.shared.peer_or_new(store).map_err(invalid)?;
        peer.orders.send_modify(|orders| orders.urls = urls);
        if !peer.dialled.swap(true, Ordering::Relaxed) {
            running.dialling.retain(|task| !task.is_finished());
            running.dialling.push(self.runtime().spawn(dial(self.shared.clone(), peer)));
        }
        Ok(())
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken only when this is dropped")
    }

    /// Runs a future on this thread. Without threads of our own, frames are carried while it waits, and only then: what
    /// it sends leaves, and what arrives is told, without one thread waking another.
    pub fn drive<F: Future>(&self, work: F) -> F::Output {
        self.runtime().block_on(work)
    }

    /// Waits for the end of [`Peers::shutdown`]; what the thread that drives does when it has nothing else to do.
    pub async fn closed(&self) {
        // Its other end is ours.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Sends what waits, closes the session, and delivers nothing more of what this peer sent. It may come back if
    /// `admit` lets it.
    pub fn remove_peer(&self, store: StoreId) {
        if let Some(peer) = self.shared.remove(store) {
            peer.stop();
        }
    }

    /// See [`Sender::send`].
    pub fn send(&self, to: StoreId, lane: Lane, frame: Bytes) -> bool {
        self.shared.send(to, lane, frame)
    }

    /// A handle that can only send.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender { shared: self.shared.clone() }
    }

    /// Every peer in numbers, by store.
    #[must_use]
    pub fn stats(&self) -> Vec<PeerStats> {
        self.shared.all().iter().map(|peer| peer.counters.read(peer.store)).collect()
    }

    /// Sends what waits (a goodbye, say), closes every session in order, and closes the listeners. Afterwards no frame
    /// is delivered and nothing is sent. Takes at most two seconds; call it from a thread that may wait, never from
    /// `on_event`. A second call does nothing. Without threads of our own, somebody must drive meanwhile.
    pub fn shutdown(&self) {
        let Some(Running { listening, dialling }) = self.running.lock().take() else { return };
        let tasks: Vec<AbortHandle> = listening.iter().chain(&dialling).map(JoinHandle::abort_handle).collect();
        let peers = self.shared.all();
        self.shared.closing.send_replace(Closing::Door);
        for peer in &peers {
            peer.orders.send_modify(|orders| orders.stop = true);
        }
        let (done, wait) = mpsc::channel();
        let shared = self.shared.clone();
        self.runtime().spawn(async move {
            for task in dialling {
                let _ = task.await;
            }
            shared.closing.send_replace(Closing::Ears);
            for task in listening {
                let _ = task.await;
            }
            let _ = done.send(());
        });
        let _ = wait.recv_timeout(SHUTDOWN_TIMEOUT);
        peers.iter().for_each(|peer: &Arc<Peer>| peer.stop());
        tasks.iter().for_each(AbortHandle::abort);
        self.closed.send_replace(true);
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        // What the closures hold is let go before this ends, unless it ends where nobody may wait.
        match Handle::try_current() {
            Ok(_) => runtime.shutdown_background(),
            Err(_) => runtime.shutdown_timeout(SHUTDOWN_TIMEOUT),
        }
    }
}

impl Sender {
    /// Takes a frame for this peer and never waits. False if it was dropped: the peer is not known or not connected,
    /// or the lane has no room. True is no promise: the connection may break.
    pub fn send(&self, to: StoreId, lane: Lane, frame: Bytes) -> bool {
        self.shared.send(to, lane, frame)
    }

    /// Bytes that this lane would take now; 0 while the peer is not connected. Whoever sends a snapshot asks before
    /// each chunk.
    #[must_use]
    pub fn room(&self, to: StoreId, lane: Lane) -> usize {
        self.shared.peer(to).map_or(0, |peer| peer.outboxes[lane.index()].room())
    }
}

fn check_url(url: &str) -> Result<(), String> {
    let uri: http::Uri = url.parse().map_err(|e| format!("the peer address {url:?} is no address: {e}"))?;
    match uri.scheme_str() {
        Some("http") if uri.authority().is_some() => Ok(()),
        Some("https") => Err(format!("the peer address {url} asks for TLS, which is not built yet")),
        _ => Err(format!("the peer address {url:?} is not http://host:port")),
    }
}

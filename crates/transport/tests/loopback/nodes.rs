//! Nodes to test with: what they are told, what they send.

use base::{BootId, ClusterId, Incarnation, StoreId};
use bytes::Bytes;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use transport::{Config, Event, Hello, Lane, Peers, Side};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn hello(store: u64) -> Hello {
    Hello {
        cluster: ClusterId(77),
        store: StoreId(store),
        boot: BootId(1000 + store),
        incarnation: Incarnation(1),
        name: format!("infra{store}"),
        fingerprint: 5,
        feature_level: 1,
        client_urls: String::new(),
    }
}

/// A free port: the listener holds it.
pub fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// The same port again, once the node that had it has closed it.
pub fn rebind(url: &str) -> TcpListener {
    let addr = url.strip_prefix("http://").unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpListener::bind(addr) {
            Ok(listener) => return listener,
            Err(error) => assert!(Instant::now() < deadline, "{addr}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Stores of odd numbers have no threads for their peers: a thread of ours carries the frames, as a step thread would.
pub struct Node {
    pub peers: Arc<Peers>,
    pub events: Receiver<Event>,
    driver: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Node {
    pub fn start(config: Config) -> Node {
        Node::picky(config, |_| Ok(()))
    }

    pub fn picky(mut config: Config, admit: impl Fn(&Hello) -> Result<(), String> + Send + Sync + 'static) -> Node {
        let (told, events) = channel();
        let driven = config.local.store.0 % 2 == 1;
        config.threads = usize::from(!driven);
        let peers = Arc::new(Peers::start(config, admit, move |event| drop(told.send(event))).unwrap());
        let driver = driven.then(|| {
            let (end, mut ended) = watch::channel(false);
            let peers = peers.clone();
            let run = move || {
                peers.drive(async {
                    tokio::select! {
                        () = peers.closed() => {}
                        _ = ended.wait_for(|end| *end) => {}
                    }
                });
            };
            (end, std::thread::spawn(run))
        });
        Node { peers, events, driver }
    }

    /// The first event for which `pick` finds something; what comes before is dropped.
    pub fn find<T>(&self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.events.recv_timeout(left) else { panic!("no {what}; seen: {seen:?}") };
            seen.push(event.to_string());
            if let Some(found) = pick(event) {
                return found;
            }
        }
    }

    pub fn connected(&self, store: u64) -> Hello {
        self.find("connection", |e| match e {
            Event::Connected { peer, hello } if peer == StoreId(store) => Some(hello),
            _ => None,
        })
    }

    pub fn disconnected(&self, store: u64) {
        self.find("disconnection", |e| (e == Event::Disconnected { peer: StoreId(store) }).then_some(()));
    }

    pub fn refused(&self, by: Side) -> (StoreId, String) {
        self.find("refusal", |e| match e {
            Event::Refused { peer, by: who, text } if who == by => Some((peer, text)),
            _ => None,
        })
    }

    pub fn frame(&self, lane: Lane) -> (StoreId, Bytes) {
        self.find("frame", |e| match e {
            Event::Frame { peer, lane: on, bytes } if on == lane => Some((peer, bytes)),
            _ => None,
        })
    }

    pub fn stats(&self, store: u64) -> transport::PeerStats {
        self.peers.stats().into_iter().find(|s| s.peer == StoreId(store)).unwrap()
    }
}

/// A node that is dropped is a process that is killed.
impl Drop for Node {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.driver.take() {
            end.send_replace(true);
            let _ = thread.join();
        }
    }
}

/// Waits for something that no event tells.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Nodes 1..=n that all know each other, connected both ways.
pub fn cluster(n: u64) -> (Vec<Node>, Vec<String>) {
    let (listeners, urls): (Vec<_>, Vec<_>) = (0..n).map(|_| listener()).unzip();
    let all: Vec<_> = (1..=n).map(|store| (StoreId(store), vec![urls[store as usize - 1].clone()])).collect();
    let starts = listeners.into_iter().zip(1..);
    let nodes: Vec<_> =
        starts.map(|(listener, store)| Node::start(Config::new(hello(store), vec![listener], all.clone()))).collect();
    for (node, store) in nodes.iter().zip(1..) {
        let mut missing: Vec<StoreId> = (1..=n).filter(|&other| other != store).map(StoreId).collect();
        while !missing.is_empty() {
            node.find("connection", |e| match e {
                Event::Connected { peer, hello: theirs } => {
                    assert_eq!(theirs, hello(peer.0));
                    missing.retain(|&other| other != peer);
                    Some(())
                }
                _ => None,
            });
        }
    }
    (nodes, urls)
}

pub fn numbered(n: u32, size: usize) -> Bytes {
    let mut frame = n.to_le_bytes().to_vec();
    frame.resize(size.max(4), n as u8);
    Bytes::from(frame)
}

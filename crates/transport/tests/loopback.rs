//! Several nodes in one process, on loopback: what the step threads of real nodes would see.

use base::{BootId, ClusterId, Incarnation, StoreId};
use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use transport::{Config, Event, Hello, Lane, Peers, Side};

const PATIENCE: Duration = Duration::from_secs(20);

fn hello(store: u64) -> Hello {
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
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// The same port again, once the node that had it has closed it.
fn rebind(url: &str) -> TcpListener {
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

struct Node {
    peers: Peers,
    events: Receiver<Event>,
}

impl Node {
    fn start(config: Config) -> Node {
        Node::picky(config, |_| Ok(()))
    }

    fn picky(config: Config, admit: impl Fn(&Hello) -> Result<(), String> + Send + Sync + 'static) -> Node {
        let (told, events) = channel();
        let peers = Peers::start(config, admit, move |event| drop(told.send(event))).unwrap();
        Node { peers, events }
    }

    /// The first event for which `pick` finds something; what comes before is dropped.
    fn find<T>(&self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
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

    fn connected(&self, store: u64) -> Hello {
        self.find("connection", |e| match e {
            Event::Connected { peer, hello } if peer == StoreId(store) => Some(hello),
            _ => None,
        })
    }

    fn disconnected(&self, store: u64) {
        self.find("disconnection", |e| (e == Event::Disconnected { peer: StoreId(store) }).then_some(()));
    }

    fn refused(&self, by: Side) -> (StoreId, String) {
        self.find("refusal", |e| match e {
            Event::Refused { peer, by: who, text } if who == by => Some((peer, text)),
            _ => None,
        })
    }

    fn frame(&self, lane: Lane) -> (StoreId, Bytes) {
        self.find("frame", |e| match e {
            Event::Frame { peer, lane: on, bytes } if on == lane => Some((peer, bytes)),
            _ => None,
        })
    }

    fn stats(&self, store: u64) -> transport::PeerStats {
        self.peers.stats().into_iter().find(|s| s.peer == StoreId(store)).unwrap()
    }
}

/// Waits for something that no event tells.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Nodes 1..=n that all know each other, connected both ways.
fn cluster(n: u64) -> (Vec<Node>, Vec<String>) {
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

fn numbered(n: u32, size: usize) -> Bytes {
    let mut frame = n.to_le_bytes().to_vec();
    frame.resize(size.max(4), n as u8);
    Bytes::from(frame)
}

#[test]
fn three_nodes_exchange_frames_in_order_on_every_lane() {
    const FRAMES: u32 = 3000;
    let (nodes, _) = cluster(3);
    for (node, from) in nodes.iter().zip(1..) {
        let sender = node.peers.sender();
        std::thread::spawn(move || {
            for n in 0..FRAMES {
                for to in (1..=3).filter(|&to| to != from) {
                    for lane in Lane::ALL {
                        assert!(sender.send(StoreId(to), lane, numbered(n, n as usize % 700)));
                    }
                }
            }
        });
    }
    for node in &nodes {
        let mut next = std::collections::BTreeMap::new();
        for _ in 0..FRAMES * 2 * 3 {
            let (key, bytes) = node.find("frame", |e| match e {
                Event::Frame { peer, lane, bytes } => Some(((peer, lane), bytes)),
                other => panic!("{other}"),
            });
            let next: &mut u32 = next.entry(key).or_default();
            assert_eq!(bytes, numbered(*next, *next as usize % 700), "in order and whole, from and on {key:?}");
            *next += 1;
        }
        for stats in node.peers.stats() {
            assert_eq!(stats.sent_frames, [u64::from(FRAMES); 3]);
            assert_eq!(stats.received_frames, u64::from(FRAMES) * 3);
            assert_eq!((stats.unconnected_frames, stats.overflow_frames, stats.received_failures), (0, 0, 0));
            assert!(stats.connected && stats.sessions == 1 && stats.received_bytes > stats.received_frames);
        }
    }
    eventually("a round trip is measured", || nodes[0].stats(2).round_trips.counts.iter().sum::<u64>() > 0);
}

#[test]
fn large_frames_arrive_whole_and_do_not_hold_up_control() {
    let (nodes, _) = cluster(2);
    let sent: Vec<Bytes> = (1..=4).map(|n| numbered(n, 8 << 20)).collect();
    let largest = numbered(9, base::limits::MAX_FRAME_BYTES);
    for frame in &sent {
        assert!(nodes[0].peers.send(StoreId(2), Lane::Append, frame.clone()));
    }
    assert!(nodes[0].peers.send(StoreId(2), Lane::Snapshot, largest.clone()), "larger than its queue, yet alone");
    assert!(nodes[0].peers.send(StoreId(2), Lane::Control, numbered(1, 10)));
    let (mut control_after, mut got, mut snapshot) = (None, Vec::new(), None);
    while got.len() < sent.len() || snapshot.is_none() || control_after.is_none() {
        nodes[1].find("frame", |e| match e {
            Event::Frame { lane: Lane::Append, bytes, .. } => {
                got.push(bytes);
                Some(())
            }
            Event::Frame { lane: Lane::Snapshot, bytes, .. } => {
                snapshot = Some(bytes);
                Some(())
            }
            Event::Frame { lane: Lane::Control, .. } => {
                control_after = Some((got.len(), snapshot.is_some()));
                Some(())
            }
            other => panic!("{other}"),
        });
    }
    assert_eq!(got, sent);
    assert!(snapshot == Some(largest));
    assert_ne!(control_after, Some((sent.len(), true)), "control overtakes at least something of what was sent before");
}

#[test]
fn a_peer_that_restarts_is_met_again_at_once() {
    let (mut nodes, urls) = cluster(2);
    let second = nodes.pop().unwrap();
    let first = nodes.pop().unwrap();
    for incarnation in 2..=4 {
        if incarnation == 2 {
            second.peers.shutdown();
        }
        first.disconnected(2);
        assert!(!first.peers.send(StoreId(2), Lane::Append, numbered(0, 4)), "said at once, while it is away");
        let local = Hello { incarnation: Incarnation(incarnation), ..hello(2) };
        let peers = vec![(StoreId(1), vec![urls[0].clone()])];
        let again = Node::start(Config::new(local, vec![rebind(&urls[1])], peers));
        assert_eq!(first.connected(2).incarnation, Incarnation(incarnation));
        again.connected(1);
        assert!(first.peers.send(StoreId(2), Lane::Append, numbered(7, 4)));
        assert_eq!(again.frame(Lane::Append), (StoreId(1), numbered(7, 4)));
        assert!(again.peers.send(StoreId(1), Lane::Control, numbered(8, 4)));
        assert_eq!(first.frame(Lane::Control), (StoreId(2), numbered(8, 4)));
        // Dropped without a goodbye, as a crash would.
        drop(again);
    }
    assert!(first.stats(2).unconnected_frames >= 3);
}

#[test]
fn what_was_sent_before_shutdown_arrives() {
    let (nodes, _) = cluster(2);
    for n in 0..200 {
        assert!(nodes[0].peers.send(StoreId(2), Lane::Append, numbered(n, 10_000)));
    }
    assert!(nodes[0].peers.send(StoreId(2), Lane::Control, Bytes::from_static(b"goodbye")));
    let began = Instant::now();
    nodes[0].peers.shutdown();
    assert!(began.elapsed() < Duration::from_millis(1500), "took {:?}", began.elapsed());
    assert!(!nodes[0].peers.send(StoreId(2), Lane::Append, numbered(1, 4)));
    let (mut next, mut goodbye) = (0, false);
    while next < 200 || !goodbye {
        nodes[1].find("frame", |e| match e {
            Event::Frame { lane: Lane::Append, bytes, .. } => {
                assert_eq!(bytes, numbered(next, 10_000));
                next += 1;
                Some(())
            }
            Event::Frame { lane: Lane::Control, bytes, .. } => {
                goodbye = bytes == "goodbye";
                Some(())
            }
            _ => None,
        });
    }
    nodes[0].peers.shutdown();
}

/// Starts two nodes of which the second introduces itself in its own way, and returns what each is told.
fn refusal(theirs: Hello, admit: fn(&Hello) -> Result<(), String>) -> (String, String) {
    let ((one, url_one), (two, url_two)) = (listener(), listener());
    let first = Node::picky(Config::new(hello(1), vec![one], vec![(StoreId(2), vec![url_two])]), admit);
    let second = Node::start(Config::new(theirs, vec![two], vec![(StoreId(1), vec![url_one])]));
    let by_us = first.refused(Side::Us).1;
    let by_them = second.refused(Side::Them).1;
    assert!(first.peers.stats().iter().all(|s| s.sessions == 0));
    (by_us, by_them)
}

#[test]
fn both_sides_are_told_why_one_will_not_talk_to_the_other() {
    let (us, them) = refusal(Hello { cluster: ClusterId(78), ..hello(2) }, |_| Ok(()));
    assert!(us.contains("infra2 (n2) belongs to cluster c78, infra1 (n1) to cluster c77"), "{us}");
    assert!(them.contains("--initial-cluster-token"), "{them}");

    let (us, them) = refusal(Hello { fingerprint: 6, ..hello(2) }, |_| Ok(()));
    assert!(us.contains("settings that are fixed when a cluster is bootstrapped"), "{us}");
    assert!(them.contains("--election-timeout"), "{them}");

    let emptied = |h: &Hello| if h.boot == BootId(1) { Err(format!("{}'s disk was emptied", h.name)) } else { Ok(()) };
    let (us, them) = refusal(Hello { boot: BootId(1), ..hello(2) }, emptied);
    assert_eq!((us.as_str(), them.as_str()), ("infra2's disk was emptied", "infra2's disk was emptied"));
}

#[test]
fn a_refused_peer_is_let_in_when_the_reason_is_gone_and_told_about_once() {
    let ((one, url_one), (two, url_two)) = (listener(), listener());
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let first = Node::picky(Config::new(hello(1), vec![one], vec![(StoreId(2), vec![url_two])]), move |_| {
        if gate.load(Ordering::SeqCst) { Ok(()) } else { Err("come back later".to_owned()) }
    });
    let second = Node::start(Config::new(hello(2), vec![two], vec![(StoreId(1), vec![url_one])]));
    assert_eq!(second.refused(Side::Them), (StoreId(1), "come back later".to_owned()));
    eventually("several attempts", || second.stats(1).failed_dials >= 3);
    open.store(true, Ordering::SeqCst);
    let next = second.find("event", Some);
    assert!(matches!(next, Event::Connected { .. }), "told once, not at every attempt; then {next}");
    first.connected(2);
}

#[test]
fn an_address_that_leads_elsewhere_is_found_out() {
    let (listener, url) = listener();
    let all = vec![(StoreId(1), vec![url.clone()]), (StoreId(2), vec![url.clone()])];
    let node = Node::start(Config::new(hello(1), vec![listener], all));
    let (peer, text) = node.refused(Side::Us);
    assert!(text.contains("is this very node"), "{text}");
    assert_eq!(peer, StoreId(1), "named by what it called itself");

    let other = Node::start(Config::new(hello(3), vec![], vec![(StoreId(2), vec![url.clone()])]));
    let (peer, text) = other.refused(Side::Us);
    assert_eq!((peer, text), (StoreId(2), format!("{url} should lead to n2 and leads to infra1 (n1)")));
}

#[test]
fn an_older_process_of_a_peer_is_stale() {
    let (one, url) = listener();
    let first = Node::start(Config::new(hello(1), vec![one], vec![]));
    let peers = vec![(StoreId(1), vec![url])];
    let process = |incarnation| {
        let local = Hello { incarnation: Incarnation(incarnation), ..hello(2) };
        Node::start(Config::new(local, vec![], peers.clone()))
    };
    let old = process(5);
    old.connected(1);
    assert!(old.peers.send(StoreId(1), Lane::Append, numbered(5, 4)));
    assert_eq!(first.frame(Lane::Append).1, numbered(5, 4));

    let new = process(6);
    new.connected(1);
    // From now on nothing of the old one counts, although its connection still stands.
    old.peers.send(StoreId(1), Lane::Append, numbered(50, 4));
    let text = old.refused(Side::Them).1;
    assert!(text.contains("nobody listens to this append stream") || text.contains("i6 was met already"), "{text}");
    assert!(new.peers.send(StoreId(1), Lane::Append, numbered(6, 4)));
    assert_eq!(first.frame(Lane::Append).1, numbered(6, 4), "the next frame is the new one's");
    let text = old.find("staleness", |e| match e {
        Event::Refused { text, .. } if text.contains("i6 was met already") => Some(text),
        _ => None,
    });
    assert!(text.contains("infra2 (n2) restarted since: this is i5"), "{text}");
}

#[test]
fn peers_come_and_go_while_running() {
    let ((one, url_one), (two, url_two)) = (listener(), listener());
    let first = Node::start(Config::new(hello(1), vec![one], vec![]));
    let second = Node::start(Config::new(hello(2), vec![two], vec![]));
    assert!(!first.peers.send(StoreId(2), Lane::Control, numbered(1, 4)));
    first.peers.set_peer(StoreId(2), vec!["http://127.0.0.1:1".to_owned(), url_two.clone()]).unwrap();
    first.connected(2);
    assert!(first.peers.send(StoreId(2), Lane::Control, numbered(2, 4)), "one way is enough to send that way");
    assert_eq!(second.frame(Lane::Control), (StoreId(1), numbered(2, 4)));
    assert!(!second.peers.send(StoreId(1), Lane::Control, numbered(3, 4)));
    second.peers.set_peer(StoreId(1), vec![url_one]).unwrap();
    second.connected(1);

    first.peers.remove_peer(StoreId(2));
    first.disconnected(2);
    assert!(!first.peers.send(StoreId(2), Lane::Control, numbered(4, 4)));
    second.peers.send(StoreId(1), Lane::Control, numbered(5, 4));
    second.disconnected(1);

    let wrong = ["https://127.0.0.1:1", "127.0.0.1:1", "http://", "rubbish \n"];
    for url in wrong {
        let error = first.peers.set_peer(StoreId(3), vec![url.to_owned()]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{url}: {error}");
    }
}

#[test]
fn what_a_stalled_peer_does_not_take_is_bounded_in_bytes() {
    // A closure that blocks: the peer's thread stands still, TCP and HTTP/2 fill up, then the queue here.
    let ((one, url_one), (two, url_two)) = (listener(), listener());
    let mut config = Config::new(hello(1), vec![one], vec![(StoreId(2), vec![url_two])]);
    config.queue_bytes = [64 << 10, 1 << 20, 1 << 20];
    let first = Node::start(config);
    let (told, heard) = channel();
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap();
    let config = Config::new(hello(2), vec![two], vec![(StoreId(1), vec![url_one])]);
    let passing = gate.clone();
    let second = Peers::start(
        config,
        |_| Ok(()),
        move |event| {
            if let Event::Frame { lane, bytes, .. } = event {
                drop(passing.read());
                let _ = told.send((lane, bytes));
            }
        },
    );
    let second = second.unwrap();
    first.connected(2);
    let mut n = 0;
    let mut full = |lane, first_refusal: bool| {
        let before = first.stats(2).overflow_frames;
        for _ in 0..4000 {
            let taken = first.peers.send(StoreId(2), lane, numbered(n, 16 << 10));
            n += 1;
            assert!(first.peers.sender().room(StoreId(2), lane) <= 1 << 20);
            if first.stats(2).overflow_frames > before {
                assert_eq!(taken, !first_refusal, "{lane}");
                return n - 1;
            }
            std::thread::yield_now();
        }
        panic!("64 MiB were taken in for a peer that takes nothing");
    };
    let refused = full(Lane::Append, true);
    let newest_control = full(Lane::Control, false);
    drop(closed);
    let mut append = 0;
    loop {
        let (lane, bytes) = heard.recv_timeout(PATIENCE).expect("what was taken in arrives");
        let got = u32::from_le_bytes(bytes[..4].try_into().unwrap());
        match lane {
            Lane::Append => {
                assert_eq!(got, append, "append keeps a prefix without a hole");
                append += 1;
            }
            _ if got == newest_control => break,
            _ => {}
        }
    }
    while append < refused {
        let (_, bytes) = heard.recv_timeout(PATIENCE).expect("the whole prefix arrives");
        assert_eq!(u32::from_le_bytes(bytes[..4].try_into().unwrap()), append);
        append += 1;
    }
    second.shutdown();
}

/// A wire that can be cut silently: it accepts and carries bytes both ways, and while it is cut it swallows them. What
/// was connected during a cut stays dead.
fn wire(to: String) -> (String, Arc<AtomicBool>) {
    let (listener, url) = listener();
    let cut = Arc::new(AtomicBool::new(false));
    let is_cut = cut.clone();
    std::thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let far = TcpStream::connect(&to).unwrap();
            let dead = Arc::new(AtomicBool::new(false));
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                let (is_cut, dead) = (is_cut.clone(), dead.clone());
                std::thread::spawn(move || {
                    let mut buf = [0; 4096];
                    while let Ok(n @ 1..) = from.read(&mut buf) {
                        dead.fetch_or(is_cut.load(Ordering::SeqCst), Ordering::SeqCst);
                        if !dead.load(Ordering::SeqCst) && to.write_all(&buf[..n]).is_err() {
                            break;
                        }
                    }
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    (url, cut)
}

#[test]
fn a_silent_cut_is_noticed_and_healed_by_dialling_anew() {
    let (two, url_two) = listener();
    let (url, cut) = wire(url_two.strip_prefix("http://").unwrap().to_owned());
    let second = Node::start(Config::new(hello(2), vec![two], vec![]));
    let first = Node::start(Config::new(hello(1), vec![], vec![(StoreId(2), vec![url])]));
    first.connected(2);
    cut.store(true, Ordering::SeqCst);
    let began = Instant::now();
    assert!(first.peers.send(StoreId(2), Lane::Append, numbered(1, 4)), "nobody can know yet");
    first.disconnected(2);
    assert!(began.elapsed() < Duration::from_secs(12), "noticed after {:?}", began.elapsed());
    std::thread::sleep(Duration::from_secs(1));
    assert!(!first.stats(2).connected, "still cut");
    cut.store(false, Ordering::SeqCst);
    first.connected(2);
    assert!(first.peers.send(StoreId(2), Lane::Append, numbered(2, 4)));
    assert_eq!(second.frame(Lane::Append).1, numbered(2, 4), "the frame sent into the cut is lost, not late");
}

/// Bytes that are no HTTP/2 at all, or only begin like it.
fn shout(url: &str) {
    let mut rng = base::Rng::new(7);
    for size in [0, 1, 24, 5000, 100_000] {
        let bytes: Vec<u8> = (0..size).map(|_| rng.next_u64() as u8).collect();
        for preface in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            let mut socket = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
            let _ = socket.write_all(&[preface, &bytes].concat());
        }
    }
}

/// Says these messages through the generated client, keeps the stream open, and returns the last text that came back
/// before the other side ended it.
async fn say(url: String, messages: Vec<Vec<u8>>) -> String {
    use proto::flotilla::{Frame, peer_client::PeerClient};
    let frames: Vec<Frame> = messages.into_iter().map(|data| Frame { data: Bytes::from(data) }).collect();
    let frames = tokio_stream::StreamExt::chain(tokio_stream::iter(frames), tokio_stream::pending());
    let mut client = PeerClient::connect(url).await.unwrap();
    let mut answers = client.exchange(frames).await.unwrap().into_inner();
    let mut last = Bytes::new();
    while let Some(frame) = answers.message().await.unwrap() {
        last = frame.data;
    }
    String::from_utf8_lossy(&last[1..]).into_owned()
}

#[test]
fn rubbish_from_the_network_ends_a_connection_and_nothing_else() {
    let (one, url) = listener();
    let node = Node::start(Config::new(hello(1), vec![one], vec![]));
    shout(&url);

    // A true opening: kind and lane; layout, cluster, store, boot, incarnation, name, fingerprint, feature level.
    let mut open = vec![0, 1, 1, 77, 2, 0xea, 7, 1, 6];
    open.extend_from_slice(b"infra2\x05\x01");
    let lies: [(Vec<Vec<u8>>, &str); 7] = [
        (vec![vec![]], "a byte is missing"),
        (vec![vec![0xff; 40]], "a message of kind 255 is not known"),
        (vec![vec![0, 9]], "lane 9 does not exist"),
        (vec![vec![3, 1, 1]], "the stream did not begin with a hello"),
        (vec![open.clone(), vec![42]], "rubbish on the append stream from n2: a message of kind 42 is not known"),
        (
            vec![open.clone(), vec![3, 2, 7, 7, 200, 1]],
            "rubbish on the append stream from n2: 200 bytes are announced and 0 are there",
        ),
        (vec![open.clone(), open], "rubbish on the append stream from n2: a message out of its place"),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (messages, answer) in lies {
        assert_eq!(runtime.block_on(say(url.clone(), messages)), answer);
    }
    assert_eq!(node.frame(Lane::Append).1, Bytes::from_static(&[7, 7]), "what came before the rubbish was whole");
    assert_eq!(node.stats(2).received_failures, 3);

    // And an honest peer is served as if nothing had been.
    let honest = Node::start(Config::new(hello(3), vec![], vec![(StoreId(1), vec![url])]));
    honest.connected(1);
    assert!(honest.peers.send(StoreId(1), Lane::Control, numbered(1, 4)));
    assert_eq!(node.frame(Lane::Control), (StoreId(3), numbered(1, 4)));
}

//! Who may talk to whom, and what a bad network or a stranger does.

use crate::nodes::{Node, eventually, hello, listener, numbered};
use base::{BootId, ClusterId, Incarnation, StoreId};
use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use transport::{Config, Event, Hello, Lane, Side};

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
    assert!(us.contains("infra2 (n2) belongs to cluster 4e, infra1 (n1) to cluster 4d"), "{us}");
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

    // A true opening: kind and lane; layout, cluster, store, boot, incarnation, name, fingerprint, feature level, URLs.
    let mut open = vec![0, 1, 1, 77, 2, 0xea, 7, 1, 6];
    open.extend_from_slice(b"infra2\x05\x01\0");
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

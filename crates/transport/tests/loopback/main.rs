//! Several nodes in one process, on loopback: what the step threads of real nodes would see.

mod nodes;
mod strangers;

use base::{Incarnation, StoreId};
use bytes::Bytes;
use nodes::{Node, PATIENCE, cluster, eventually, hello, listener, numbered, rebind};
use std::sync::mpsc::channel;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use transport::{Config, Event, Hello, Lane, Peers};

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
            // Now and then, so that what can leave does: on a busy machine each time takes long, and the whole must
            // take less than a silent peer is borne.
            if n % 64 == 0 {
                std::thread::yield_now();
            }
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

#[test]
fn what_arrived_together_with_the_end_is_heard() {
    let (two, url) = listener();
    let (told, heard) = channel();
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write().unwrap();
    let passing = gate.clone();
    let on_event = move |event| {
        if let Event::Frame { bytes, .. } = event {
            drop(passing.read());
            let _ = told.send(bytes);
        }
    };
    let second = Peers::start(Config::new(hello(2), vec![two], vec![]), |_| Ok(()), on_event).unwrap();
    let first = Node::start(Config::new(hello(1), vec![], vec![(StoreId(2), vec![url])]));
    first.connected(2);
    // The first of them stops the peer's thread; the others wait in its socket, and then the end does.
    for n in 0..3 {
        assert!(first.peers.send(StoreId(2), Lane::Append, numbered(n, 4)));
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(first);
    drop(closed);
    for n in 0..3 {
        assert_eq!(heard.recv_timeout(PATIENCE).expect("it was sent before the end"), numbered(n, 4));
    }
    second.shutdown();
}

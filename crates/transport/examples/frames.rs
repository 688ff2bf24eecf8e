//! What a frame costs: two nodes in one process bounce frames on the append lane, with 1, 16, 64 of them under way, and
//! the CPU time of the whole process is divided by the number of frames. One frame is one `send` and one event; so a
//! put that needs an append and an ack on one peer costs two of these numbers.
//!
//! `cargo run --release -p flotilla-transport --example frames [seconds per line]`

use base::{BootId, ClusterId, Incarnation, StoreId};
use bytes::Bytes;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use transport::{Config, Event, Hello, Lane, Peers, Sender};

/// One node: returns every frame while the bench runs, and counts them.
struct Bouncer {
    peers: Peers,
    bounced: Arc<AtomicU64>,
}

fn hello(store: u64) -> Hello {
    let name = format!("n{store}");
    let (cluster, boot) = (ClusterId(1), BootId(store));
    Hello {
        cluster,
        store: StoreId(store),
        boot,
        incarnation: Incarnation(1),
        name,
        fingerprint: 1,
        feature_level: 1,
        client_urls: String::new(),
    }
}

fn start(store: u64, listener: TcpListener, other: String, bounce: Arc<AtomicBool>) -> Bouncer {
    let to = StoreId(3 - store);
    let sender: Arc<OnceLock<Sender>> = Arc::default();
    let bounced = Arc::new(AtomicU64::new(0));
    let (own, count) = (sender.clone(), bounced.clone());
    let config = Config::new(hello(store), vec![listener], vec![(to, vec![other])]);
    let on_event = move |event| {
        if let Event::Frame { bytes, lane, .. } = event {
            count.fetch_add(1, Ordering::Relaxed);
            if bounce.load(Ordering::Relaxed) {
                own.get().expect("set before the first frame").send(to, lane, bytes);
            }
        }
    };
    let peers = Peers::start(config, |_| Ok(()), on_event).expect("loopback can be listened on");
    assert!(sender.set(peers.sender()).is_ok(), "set once");
    Bouncer { peers, bounced }
}

/// User and system time of this process so far, from Linux's count of hundredths of a second.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let after_name = stat.rsplit(')').next().expect("the name stands in brackets");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let hundredths = |n: usize| fields[n].parse::<u64>().expect("a number");
    Duration::from_millis((hundredths(11) + hundredths(12)) * 10)
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(2.0);
    println!("{:>9} {:>9} {:>12} {:>14} {:>12}", "bytes", "in flight", "frames/s", "CPU µs/frame", "µs there");
    for size in [200, 4 << 10, 64 << 10] {
        for in_flight in [1, 16, 64] {
            line(size, in_flight, Duration::from_secs_f64(seconds));
        }
    }
}

fn line(size: usize, in_flight: u64, runs: Duration) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let urls = [0, 1].map(|n: usize| format!("http://{}", listeners[n].local_addr().expect("bound")));
    let bounce = Arc::new(AtomicBool::new(true));
    let [one, two] = listeners;
    let one = start(1, one, urls[1].clone(), bounce.clone());
    let two = start(2, two, urls[0].clone(), bounce.clone());
    while ![&one, &two].iter().all(|n| n.peers.stats().iter().all(|s| s.connected)) {
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..in_flight {
        assert!(one.peers.send(StoreId(2), Lane::Append, Bytes::from(vec![7; size])));
    }
    let count = || one.bounced.load(Ordering::Relaxed) + two.bounced.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(200));
    let (frames, cpu, began) = (count(), cpu_time(), Instant::now());
    std::thread::sleep(runs);
    let (frames, cpu, took) = (count() - frames, cpu_time() - cpu, began.elapsed().as_secs_f64());
    bounce.store(false, Ordering::Relaxed);
    let per_second = frames as f64 / took;
    let micros = cpu.as_secs_f64() * 1e6 / frames as f64;
    let there = in_flight as f64 / per_second * 1e6;
    println!("{size:>9} {in_flight:>9} {per_second:>12.0} {micros:>14.2} {there:>12.0}");
    one.peers.shutdown();
    two.peers.shutdown();
}

//! From settings to a running node, and to its orderly end.

use super::backend::Shell;
use super::fatal::Fatal;
use super::found::{self, Founded};
use super::news::Told;
use super::peers::{admit, on_event};
use super::picture::Picture;
use super::queue::{Sender, Taker, queue, task_queue};
use super::report::Report;
use super::slots::{Slots, Teller};
use super::step::{self, Outlets};
use super::write::Job;
use super::{View, clock, files, policy, read, write};
use crate::READY;
use crate::config::{Complaint, Settings, Url};
use crate::metrics::meters::Meters;
use base::{Rng, Span, Tick};
use crossbeam::channel::unbounded;
use gateway::{Gateway, Port, backend::Backend};
use mvcc::{Filter, RangeReq, Request};
use node::{Config, Input, Node, SnapshotWork};
use rocks::Rocks;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use transport::{Event, Hello, Peers};

/// Readers beside the step: two are enough to keep a disk and a core busy.
const READERS: usize = 2;
/// With fewer cores than this the step thread carries the frames between its steps: a thread of their own would cost more
/// in wake-ups than the frames do.
const CORES_OF_A_PEERS_THREAD: usize = 8;
const MOST_PEERS_THREADS: usize = 2;
/// For the orderly end.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// Runs a node until it is told to stop.
pub fn run(settings: Settings) -> Result<(), Complaint> {
    policy::batch();
    let peer_listeners = bind(&settings.listen.peers, "--listen-peer-urls")?;
    let client_listeners = bind(&settings.listen.clients, "--listen-client-urls")?;
    let metrics_listeners = bind(&settings.listen.metrics, "--listen-metrics-urls")?;
    let engine = Rocks::open(&settings.data_dir, &rocks::Settings::default()).map_err(closed)?;
    if let Some(mended) = engine.mended() {
        tracing::warn!("{mended}");
    }
    let founded = found::found(&engine, &settings)?;
    let node = open(&settings, &engine)?;
    tracing::info!(
        "flotilla {}, etcd API {}: {} {} of cluster {:x}, {} members, {} ranges, data {}{}",
        crate::cli::VERSION,
        crate::cli::ETCD_VERSION,
        settings.name,
        founded.identity.store,
        founded.identity.cluster.0,
        founded.members.len(),
        node.directory().ranges().count(),
        settings.data_dir.display(),
        if founded.fresh { " (new)" } else { "" }
    );
    let running = Running::start(&settings, engine, founded, node, peer_listeners)?;
    let clients = client_listeners.into_iter().map(|l| (l, Port::Clients));
    let metrics = metrics_listeners.into_iter().map(|l| (l, Port::Metrics));
    serve(&settings, running, clients.chain(metrics).collect())
}

/// Cores of this machine. Half of them serve clients; the rest is for the step, the disk and RocksDB.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Why a store does not open; what cannot be made, read or locked is often the wrong place.
fn closed(e: base::Error) -> Complaint {
    let hint = if e.kind == base::Kind::Disk && !e.text.contains("--data-dir") { "; check --data-dir" } else { "" };
    Complaint::new(format!("{}{hint}", e.text))
}

fn addresses(urls: &[Url]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

fn bind(urls: &[Url], flag: &str) -> Result<Vec<TcpListener>, Complaint> {
    urls.iter()
        .map(|url| {
            let address = url.authority();
            let listener = TcpListener::bind(&address).map_err(|e| {
                Complaint::new(format!(
                    "cannot listen on {address} ({flag}): {e}; stop what uses it or choose another port"
                ))
            })?;
            let told = |e| Complaint::new(format!("cannot listen on {address} ({flag}): {e}"));
            listener.set_nonblocking(true).map_err(told)?;
            Ok(listener)
        })
        .collect()
}

fn open(settings: &Settings, engine: &Rocks) -> Result<Node<Rocks>, Complaint> {
    let tick = |d: Duration| Tick(d.as_nanos() as u64);
    let mut config = Config {
        heartbeat: tick(settings.timing.heartbeat),
        election_timeout: tick(settings.timing.election),
        leases: settings.ranges.lease_reads,
        ..Config::default()
    };
    config.limits.log_bytes = settings.ranges.log_bytes;
    let rng = Rng::new(found::random()?);
    let broken = |e: base::Error| Complaint::new(format!("{}: {e}", settings.data_dir.display()));
    Node::open(config, engine.clone(), rng, clock::now()).map_err(broken)
}

/// The threads of one node.
struct Running {
    shell: Arc<Shell>,
    /// To be run among the clients.
    teller: Teller,
    /// All of them, the step thread included: each may hold the engine.
    threads: Vec<JoinHandle<()>>,
    /// True once the node has ended or must end, for whatever reason.
    ended: watch::Receiver<bool>,
    fatal: Fatal,
}

impl Running {
    fn start(
        settings: &Settings,
        engine: Rocks,
        founded: Founded,
        node: Node<Rocks>,
        listeners: Vec<TcpListener>,
    ) -> Result<Running, Complaint> {
        let failed = |e: std::io::Error| Complaint::new(format!("cannot start a thread: {e}"));
        let (inbox, inputs) = task_queue::<Input<View>>();
        let (fatal, ended) = Fatal::new();
        let report = Report::default();
        let peers = start_peers(settings, &engine, (&founded, &node), listeners, (&inbox, &fatal, &report))?;
        let (slots, teller) = Slots::new(node.incarnation());
        let picture = Arc::new(Picture::new(node.status()));
        let (writer, jobs) = queue();
        let (snapshots, work) = unbounded();
        let (readers, mut threads) =
            read::start(READERS, slots.clone(), inbox.clone(), fatal.clone()).map_err(failed)?;
        let outlets = Outlets {
            writer: writer.clone(),
            readers: readers.clone(),
            snapshots,
            peers: peers.sender(),
            slots: slots.clone(),
            picture: picture.clone(),
        };
        let hearers = write::Hearers { peers: peers.sender(), inbox: inbox.clone(), report: report.clone() };
        threads.extend(start_disk(&engine, (writer, jobs), work, (hearers, fatal.clone())).map_err(failed)?);
        threads.push({
            let (fatal, peers) = (fatal.clone(), peers.clone());
            let run = move || {
                if let Some(Err(e)) = fatal.guard("step", || peers.drive(step::run(node, inputs, &outlets))) {
                    fatal.tell(format!("the store stops: {e}"));
                }
                fatal.end();
                // What waits for the peers leaves still.
                fatal.guard("step", || peers.drive(peers.closed()));
            };
            thread::Builder::new().name("step".to_string()).spawn(run).map_err(failed)?
        });
        let client_urls = addresses(&settings.advertise.clients);
        let quota = settings.limits.quota_bytes;
        report.look(&engine, quota);
        let shell = Shell {
            inbox,
            slots,
            picture,
            founded,
            engine,
            report,
            client_urls,
            quota,
            readers,
            peers,
            meters: Meters::new(),
        };
        Ok(Running { shell: Arc::new(shell), teller, threads, ended, fatal })
    }
}

/// The threads that wait for the disk: the writer, and the one that carries snapshots.
fn start_disk(
    engine: &Rocks,
    (writer, jobs): (Sender<Job>, Taker<Job>),
    work: crossbeam::channel::Receiver<SnapshotWork<View>>,
    (hearers, fatal): (write::Hearers, Fatal),
) -> std::io::Result<[JoinHandle<()>; 2]> {
    let spawn = |name: &str| thread::Builder::new().name(name.to_string());
    let inbox = hearers.inbox.clone();
    let write = {
        let (engine, fatal) = (engine.clone(), fatal.clone());
        move || {
            let stop = |e: base::Error| fatal.tell(format!("the disk refused a write, the store stops: {e}"));
            fatal.guard("writer", || write::run(engine, jobs, hearers, stop));
        }
    };
    let write = spawn("writer").spawn(write)?;
    let engine = engine.clone();
    let carry = move || {
        fatal.guard("snapshots", || files::run(engine, work, writer, inbox));
    };
    Ok([write, spawn("snapshots").spawn(carry)?])
}

type Ends<'a> = (&'a super::Inbox, &'a Fatal, &'a Report);

fn start_peers(
    settings: &Settings,
    engine: &Rocks,
    (founded, node): (&Founded, &Node<Rocks>),
    listeners: Vec<TcpListener>,
    (inbox, fatal, report): Ends,
) -> Result<Arc<Peers>, Complaint> {
    let identity = founded.identity.clone();
    let local = Hello {
        cluster: identity.cluster,
        store: identity.store,
        boot: identity.boot,
        incarnation: node.incarnation(),
        name: settings.name.clone(),
        fingerprint: identity.founding,
        feature_level: 1,
        client_urls: addresses(&settings.advertise.clients).join(","),
    };
    for member in &founded.members {
        let urls = found::known_urls(engine, member.store).map_err(|e| Complaint::new(e.text))?;
        report.learn_urls(member.store, urls);
    }
    let others = founded.members.iter().map(|m| (m.store, m.peer_urls.clone())).collect();
    let names: Vec<_> = founded.members.iter().map(|m| (m.store, m.name.clone())).collect();
    let mut config = transport::Config::new(local, listeners, others);
    config.threads = (cores() / CORES_OF_A_PEERS_THREAD).min(MOST_PEERS_THREADS);
    let (inbox, fatal) = (inbox.clone(), fatal.clone());
    let (door, kept, report) = (engine.clone(), engine.clone(), report.clone());
    let started = Peers::start(
        config,
        move |hello| admit(&door, &identity, &names, hello),
        move |event| {
            if let Event::Connected { peer, hello } = &event {
                report.learn_urls(*peer, hello.client_urls.split(',').map(str::to_string).collect());
                // A disk without room forgets it at the next start, and hears it again.
                let _ = found::remember_urls(&kept, *peer, &hello.client_urls);
            }
            on_event(event, &inbox, &fatal);
        },
    );
    started.map(Arc::new).map_err(|e| Complaint::new(format!("cannot start talking to peers: {e}")))
}

/// A read that touches nothing: answered when there is a leader, a sequencer and a lease.
pub fn probe() -> Request {
    let zero = base::Revision::ZERO;
    Request::Range(RangeReq {
        span: Span::point(&base::Key::user(b"health")),
        revision: zero,
        limit: 1,
        sort: None,
        keys_only: true,
        count_only: false,
        serializable: false,
        filter: Filter::default(),
    })
}

fn serve(settings: &Settings, running: Running, listeners: Vec<(TcpListener, Port)>) -> Result<(), Complaint> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .enable_all()
        .worker_threads(cores().div_ceil(2))
        .thread_name("clients")
        .build()
        .map_err(|e| Complaint::new(format!("cannot start serving clients: {e}")))?;
    let Running { shell, teller, threads, ended, fatal } = running;
    runtime.spawn(teller.run());
    let result = runtime.block_on(serve_clients(settings, &shell, ended.clone(), listeners));
    // Orderly: the sequencer's ceiling is lowered, leaders hand over, leases are given up, peers are told.
    let _ = shell.inbox.send(Input::Stop);
    wait_until(|| *ended.borrow());
    shell.peers.shutdown();
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(shell);
    // RocksDB must be closed before the process's own end takes away what it stands on.
    wait_until(|| threads.iter().all(JoinHandle::is_finished));
    match fatal.take() {
        Some(text) => Err(Complaint::new(text)),
        None => {
            tracing::info!("stopped");
            result
        }
    }
}

/// The node ends when everything is given up and written. A disk that hangs must not keep the process: what it has not
/// promised durably, nobody was told.
fn wait_until(ended: impl Fn() -> bool) {
    let begun = Instant::now();
    while !ended() {
        if begun.elapsed() > LAST_PATIENCE {
            tracing::error!("the disk does not answer: the node ends without an orderly goodbye");
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

async fn serve_clients(
    settings: &Settings,
    shell: &Arc<Shell>,
    mut ended: watch::Receiver<bool>,
    listeners: Vec<(TcpListener, Port)>,
) -> Result<(), Complaint> {
    let stop = async {
        tokio::select! {
            () = signalled() => {}
            _ = ended.wait_for(|e| *e) => {}
        }
    };
    let limits = gateway::Limits {
        max_request_bytes: settings.limits.request_bytes,
        max_txn_ops: settings.limits.txn_ops,
        max_streams: settings.limits.streams,
        request_timeout: Duration::from_secs(5) + 2 * settings.timing.election,
        ping_interval: settings.keepalive.interval,
        ping_timeout: settings.keepalive.timeout,
    };
    let gateway = Arc::new(Gateway::new(shell.clone(), limits).await);
    let complain = |e: std::io::Error| Complaint::new(format!("cannot serve clients: {e}"));
    let listener = |(l, port)| tokio::net::TcpListener::from_std(l).map(|l| (l, port));
    let listeners: Vec<_> = listeners.into_iter().map(listener).collect::<Result<_, _>>().map_err(complain)?;
    let upkeep = tokio::spawn(upkeep(shell.clone()));
    let ready = tokio::spawn(announce(shell.clone(), gateway.clone(), settings.advertise.clients.clone()));
    gateway::serve(gateway, listeners, stop).await;
    ready.abort();
    upkeep.abort();
    Ok(())
}

/// Says so when a linearizable read has been answered.
async fn announce(shell: Arc<Shell>, gateway: Arc<Gateway<Shell>>, urls: Vec<Url>) {
    while shell.call(probe(), Duration::from_secs(1)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.set_serving(true).await;
    tracing::info!("{READY} on {}", addresses(&urls).join(","));
}

/// Once a second: metrics, sizes, room.
async fn upkeep(shell: Arc<Shell>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    let mut told = Told::default();
    loop {
        every.tick().await;
        let shell = shell.clone();
        let look = move || {
            shell.report.look(&shell.engine, shell.quota);
            // A closed inbox means that the node is going down.
            let _ = shell.inbox.send(Input::Full(shell.report.is_full()));
            let status = node::Status { revision: shell.picture.revision(), ..shell.picture.last().clone() };
            shell.report.publish(&status, &shell.founded, shell.quota);
            crate::metrics::upkeep();
            told.look(&status, &shell.founded, || shell.peers.stats());
            told
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(looked) => told = looked,
            Err(_) => return,
        }
    }
}

async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => tracing::info!("SIGTERM: stopping"),
        _ = int.recv() => tracing::info!("SIGINT: stopping"),
    }
}

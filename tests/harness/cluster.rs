//! A cluster of real processes: start, kill, pause, restart, and take down.

use crate::address::{self, CLIENT_PORT, PEER_PORT, PROXY_PORT};
use crate::{Program, Proxy};
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a node prints when clients may come; etcd's own words.
pub const READY: &str = "ready to serve client requests";
/// How long a node may take until then: a loaded machine with two cores, and a log to replay.
const START_WITHIN: Duration = Duration::from_secs(90);

/// What cluster to start.
#[derive(Clone)]
pub struct Spec {
    pub program: Program,
    pub nodes: usize,
    /// Flags for every node, after those that the harness needs.
    pub flags: Vec<String>,
    /// Puts a [`Proxy`] before every peer port.
    pub proxied: bool,
}

/// One node: an address, a data directory, and a process while it runs.
pub struct Node {
    pub name: String,
    pub address: Ipv4Addr,
    /// May be changed while the node is down.
    pub data_dir: PathBuf,
    /// Flags for this node alone.
    pub flags: Vec<String>,
    child: Option<Child>,
    log: PathBuf,
    /// Where the log of the present run begins.
    log_start: usize,
}

pub struct Cluster {
    pub spec: Spec,
    pub nodes: Vec<Node>,
    pub proxies: Vec<Proxy>,
    /// Logs and data directories; goes when the cluster goes.
    pub dir: TempDir,
    token: String,
}

impl Spec {
    pub fn new(program: Program, nodes: usize) -> Spec {
        Spec { program, nodes, flags: vec![], proxied: false }
    }

    pub fn flag(mut self, flag: impl Into<String>) -> Spec {
        self.flags.push(flag.into());
        self
    }

    pub fn proxied(mut self) -> Spec {
        self.proxied = true;
        self
    }
}

impl Node {
    pub fn client_url(&self) -> String {
        format!("http://{}", self.client_address())
    }

    pub fn client_address(&self) -> SocketAddr {
        SocketAddr::from((self.address, CLIENT_PORT))
    }

    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What the present or last run of the process has printed.
    pub fn printed(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[self.log_start.min(text.len())..]).into_owned()
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().unwrap_or_else(|| panic!("{} is not running", self.name));
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status().expect("sh runs");
        assert!(sent.success(), "kill -{name} {pid} ({})", self.name);
    }

    /// Has it ended by itself? A zombie counts as ended.
    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("our own child");
        if status.is_some() {
            self.child = None;
        }
        status
    }
}

impl Cluster {
    /// Starts all nodes and waits until each is ready.
    pub fn start(spec: Spec) -> Cluster {
        let mut cluster = Cluster::prepare(spec);
        cluster.start_all();
        cluster
    }

    /// Everything but the processes.
    pub fn prepare(spec: Spec) -> Cluster {
        let dir = tempfile::Builder::new().prefix("flotilla-test-").tempdir().expect("a temporary directory");
        let node = |i: usize| Node {
            name: format!("n{}", i + 1),
            address: address::fresh(),
            data_dir: dir.path().join(format!("n{}.data", i + 1)),
            flags: vec![],
            child: None,
            log: dir.path().join(format!("n{}.log", i + 1)),
            log_start: 0,
        };
        let nodes: Vec<Node> = (0..spec.nodes).map(node).collect();
        let proxies = match spec.proxied {
            true => nodes.iter().map(|n| Proxy::start((n.address, PROXY_PORT), (n.address, PEER_PORT))).collect(),
            false => vec![],
        };
        let token = format!("token-{}-{}", std::process::id(), nodes[0].address);
        Cluster { spec, nodes, proxies, dir, token }
    }

    pub fn start_all(&mut self) {
        for i in 0..self.nodes.len() {
            self.spawn(i);
        }
        for i in 0..self.nodes.len() {
            self.wait_ready(i);
        }
    }

    /// Starts one node and waits until it is ready.
    pub fn start_node(&mut self, i: usize) {
        self.spawn(i);
        self.wait_ready(i);
    }

    /// Where peers are told to find node `i`.
    pub fn peer_url(&self, i: usize) -> String {
        let port = if self.spec.proxied { PROXY_PORT } else { PEER_PORT };
        format!("http://{}:{port}", self.nodes[i].address)
    }

    pub fn initial_cluster(&self) -> String {
        let one = |i: usize| format!("{}={}", self.nodes[i].name, self.peer_url(i));
        (0..self.nodes.len()).map(one).collect::<Vec<_>>().join(",")
    }

    /// The flags that node `i` is started with; the same for both programs.
    pub fn arguments(&self, i: usize) -> Vec<String> {
        let node = &self.nodes[i];
        let own = |text: &str| text.to_string();
        let mut out: Vec<String> = self.spec.program.arguments().iter().map(|a| a.to_string()).collect();
        for (flag, value) in [
            ("--name", own(&node.name)),
            ("--data-dir", node.data_dir.display().to_string()),
            ("--listen-client-urls", node.client_url()),
            ("--advertise-client-urls", node.client_url()),
            ("--listen-peer-urls", format!("http://{}:{PEER_PORT}", node.address)),
            ("--initial-advertise-peer-urls", self.peer_url(i)),
            ("--initial-cluster", self.initial_cluster()),
            ("--initial-cluster-token", own(&self.token)),
            ("--initial-cluster-state", own("new")),
        ] {
            out.extend([flag.to_string(), value]);
        }
        out.extend(self.spec.flags.iter().chain(&node.flags).cloned());
        out
    }

    /// Starts node `i` and does not wait.
    pub fn spawn(&mut self, i: usize) {
        let arguments = self.arguments(i);
        self.spawn_with(i, &arguments);
    }

    /// Starts node `i` with exactly these arguments.
    pub fn spawn_with(&mut self, i: usize, arguments: &[String]) {
        let program = self.spec.program.path();
        self.spawn_as(i, &program, arguments, &[]);
    }

    /// Starts node `i` as this file, with exactly these arguments and these variables besides our own.
    pub fn spawn_as(&mut self, i: usize, program: &Path, arguments: &[String], variables: &[(String, String)]) {
        let node = &mut self.nodes[i];
        assert!(!node.is_up(), "{} runs already", node.name);
        let log = OpenOptions::new().create(true).append(true).open(&node.log).expect("a log");
        node.log_start = log.metadata().expect("its size").len() as usize;
        let copy: File = log.try_clone().expect("a second handle");
        let child = Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(copy)
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        node.child = Some(child);
        self.tell_proxies();
    }

    /// Proxies know nodes by their process ids.
    fn tell_proxies(&self) {
        let pids: Vec<u32> = self.nodes.iter().map(|n| n.pid().unwrap_or(0)).collect();
        self.proxies.iter().for_each(|p| p.know(&pids));
    }

    pub fn wait_ready(&mut self, i: usize) {
        let give_up = Instant::now() + START_WITHIN;
        while !self.nodes[i].printed().contains(READY) {
            if let Some(status) = self.nodes[i].ended() {
                panic!(
                    "{} ended with {status} instead of getting ready:\n{}",
                    self.nodes[i].name,
                    self.nodes[i].printed()
                );
            }
            assert!(Instant::now() < give_up, "{} is not ready:\n{}", self.nodes[i].name, self.nodes[i].printed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until node `i` ends by itself; returns its status and what it printed.
    pub fn wait_end(&mut self, i: usize, within: Duration) -> (ExitStatus, String) {
        let give_up = Instant::now() + within;
        loop {
            if let Some(status) = self.nodes[i].ended() {
                return (status, self.nodes[i].printed());
            }
            assert!(Instant::now() < give_up, "{} goes on:\n{}", self.nodes[i].name, self.nodes[i].printed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// kill -9: nothing is flushed, nothing is said.
    pub fn kill(&mut self, i: usize) {
        let mut child = self.nodes[i].child.take().unwrap_or_else(|| panic!("n{} is not running", i + 1));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
    }

    /// SIGTERM, and waits for the orderly end.
    pub fn stop(&mut self, i: usize) -> (ExitStatus, String) {
        self.nodes[i].signal("TERM");
        self.wait_end(i, Duration::from_secs(30))
    }

    /// SIGSTOP: the process stands still and keeps its connections.
    pub fn pause(&self, i: usize) {
        self.nodes[i].signal("STOP");
    }

    pub fn resume(&self, i: usize) {
        self.nodes[i].signal("CONT");
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(Node::client_url).collect()
    }

    /// Cuts the way from node `from` to node `to`; the way back stays open.
    pub fn cut(&self, from: usize, to: usize) {
        assert!(self.spec.proxied, "only a proxied cluster can be cut");
        self.proxies.iter().enumerate().for_each(|(owner, p)| p.cut(owner, from, to));
    }

    /// Opens all ways again.
    pub fn heal(&self) {
        self.proxies.iter().for_each(Proxy::heal);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
            if std::thread::panicking() {
                let printed = node.printed();
                let lines: Vec<&str> = printed.lines().collect();
                let tail = lines[lines.len().saturating_sub(15)..].join("\n  ");
                eprintln!("{} printed last:\n  {tail}", node.name);
            }
        }
    }
}

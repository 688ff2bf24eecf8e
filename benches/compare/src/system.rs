//! The systems: how to start three nodes of each on this machine, and how to be sure that they stop.

use crate::{Options, nothing};
use rustix::process::{Pid, Signal, kill_process};
use server::demo::children::{News, Running, stop_all};
use server::demo::{clean_environment, free_ports, listen_for_signals, node_flags};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Which system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kind {
    /// The yardstick: one gRPC server that stores nothing
    Nothing,
    /// Debian's etcd, or the one that `ETCD` names
    Etcd,
    /// Ours
    Flotilla,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Nothing => "nothing",
            Kind::Etcd => "etcd",
            Kind::Flotilla => "flotilla",
        })
    }
}

/// One running cluster.
pub struct System {
    /// What `--version` says.
    pub version: String,
    /// Client addresses.
    pub endpoints: Vec<String>,
    nodes: Vec<Running>,
    dir: tempfile::TempDir,
}

/// What runs now, for the thread that hears Ctrl-C.
static RUNNING: Mutex<Vec<(Pid, PathBuf)>> = Mutex::new(Vec::new());

/// Time that a cluster gets to serve, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ctrl-C and SIGTERM end the nodes and remove their data, then this program.
pub fn stop_on_signals() -> Result<(), String> {
    let (send, news) = channel();
    listen_for_signals(send).map_err(|e| e.to_string())?;
    let stop = move || {
        if news.recv().is_ok() {
            for (pid, dir) in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let _ = kill_process(*pid, Signal::KILL);
                let _ = std::fs::remove_dir_all(dir);
            }
            std::process::exit(130);
        }
    };
    std::thread::Builder::new().name("stop".into()).spawn(stop).map(drop).map_err(|e| e.to_string())
}

impl System {
    /// Start the nodes and wait until all of them serve.
    pub fn start(kind: Kind, options: &Options) -> Result<System, String> {
        let program = program(kind, options)?;
        let dir = tempfile::Builder::new().prefix("flotilla-compare-").tempdir().map_err(|e| e.to_string())?;
        let ports = free_ports(if kind == Kind::Nothing { 1 } else { options.nodes }).map_err(|e| e.to_string())?;
        let (send, news) = channel();
        let mut nodes = Vec::new();
        for (number, own) in ports.iter().enumerate() {
            let name = format!("n{}", number + 1);
            let mut command = Command::new(&program);
            let flags = node_flags(&name, own, &ports);
            match kind {
                Kind::Flotilla => {
                    command.arg("start").args(flags);
                    command.arg(format!("--initial-split-keys={}", options.initial_split_keys));
                }
                Kind::Nothing => drop(command.arg(nothing::COMMAND).arg(format!("127.0.0.1:{}", own.client))),
                // The rest of the flags are etcd's own.
                Kind::Etcd => drop(command.args(flags.iter().filter(|flag| !is_ours(flag)))),
            }
            if kind != Kind::Nothing {
                command.arg(format!("--data-dir={}", dir.path().join(&name).display()));
            }
            clean_environment(&mut command);
            let log = dir.path().join(format!("{name}.log"));
            let node = Running::launch(number, &name, command, (&log, send.clone())).map_err(|e| e.to_string())?;
            if let Some(pid) = Pid::from_raw(node.pid() as i32) {
                let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
                running.push((pid, dir.path().to_path_buf()));
            }
            nodes.push(node);
        }
        let endpoints = ports.iter().map(|p| format!("127.0.0.1:{}", p.client)).collect();
        let system = System { version: version(kind, &program)?, endpoints, nodes, dir };
        for _ in 0..system.nodes.len() {
            match news.recv_timeout(PATIENCE) {
                Ok(News::Ready(_)) => {}
                Ok(News::Ended(number)) => return Err(system.ended(number)),
                _ => return Err(format!("{} does not serve after {} s", system.version, PATIENCE.as_secs())),
            }
        }
        Ok(system)
    }

    /// Process ids of the nodes.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Running::pid).collect()
    }

    /// A node that ended makes every number wrong.
    pub fn check_alive(&mut self) -> Result<(), String> {
        let ended = (0..self.nodes.len()).find(|n| self.nodes[*n].wait(Duration::ZERO).is_some());
        ended.map_or(Ok(()), |number| Err(self.ended(number)))
    }

    fn ended(&self, number: usize) -> String {
        let node = &self.nodes[number];
        format!("{}: node {} ended; its last lines:\n  {}", self.version, node.name, node.last_lines().join("\n  "))
    }

    /// Stop the nodes and remove their data.
    pub fn stop(mut self) {
        let killed = stop_all(&mut self.nodes, PATIENCE);
        if !killed.is_empty() {
            println!("  had to kill {}", killed.join(", "));
        }
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, dir)| dir != self.dir.path());
        drop(self.dir);
    }
}

fn is_ours(flag: &str) -> bool {
    flag.starts_with("--exit-with-parent") || flag.starts_with("--log-format")
}

fn program(kind: Kind, options: &Options) -> Result<PathBuf, String> {
    match (kind, &options.flotilla, std::env::var_os("ETCD")) {
        (Kind::Flotilla, Some(path), _) => Ok(path.clone()),
        (Kind::Flotilla, None, _) | (Kind::Nothing, ..) => std::env::current_exe().map_err(|e| e.to_string()),
        (Kind::Etcd, _, Some(path)) => Ok(PathBuf::from(path)),
        (Kind::Etcd, _, None) => fetched(),
    }
}

/// Debian's etcd, which the tests' own script fetches into a cache if it is not there yet.
fn fetched() -> Result<PathBuf, String> {
    let script = Path::new("tests/setup/peers.sh");
    let output = Command::new("sh").arg(script).output().map_err(|e| format!("{}: {e}", script.display()))?;
    if !output.status.success() {
        return Err(format!("no etcd; set ETCD to its path. {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("etcd"))
}

fn version(kind: Kind, program: &Path) -> Result<String, String> {
    match kind {
        Kind::Nothing => return Ok("a tonic server that stores nothing".to_string()),
        Kind::Flotilla => return Ok(format!("flotilla {}", server::cli::VERSION)),
        Kind::Etcd => {}
    }
    let output = Command::new(program).arg("--version").output().map_err(|e| format!("{}: {e}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text.lines().next().and_then(|line| line.strip_prefix("etcd Version: "));
    number.map(|n| format!("etcd {n}")).ok_or_else(|| format!("{} does not say its version", program.display()))
}

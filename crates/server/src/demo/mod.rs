//! `flotilla demo`: a cluster of real processes on this machine, temporary by default.

pub mod children;

use crate::config::Complaint;
use children::{News, Running, stop_all};
use clap::Parser;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long nodes may take to serve, and to stop.
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Run a cluster on this machine, with temporary data
#[derive(Parser, Debug)]
#[command(name = "flotilla demo", no_binary_name = true)]
struct Demo {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Keep the data here instead of in a temporary directory
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Split the key space at these keys, comma separated
    #[arg(long, default_value = "")]
    initial_split_keys: String,
    /// More flags for every node, after `--`
    #[arg(last = true)]
    more: Vec<String>,
}

/// Ports of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ports {
    /// For clients.
    pub client: u16,
    /// For other nodes.
    pub peer: u16,
}

/// Run `flotilla demo` with these arguments.
pub fn run(words: &[String]) -> Result<ExitCode, Complaint> {
    let demo = match Demo::try_parse_from(words) {
        Ok(demo) => demo,
        Err(e) => {
            let _ = e.print();
            return Ok(ExitCode::from(e.exit_code() as u8));
        }
    };
    let temporary = match &demo.data_dir {
        Some(_) => None,
        None => Some(temporary_dir()?),
    };
    let dir = demo.data_dir.clone().or(temporary.as_ref().map(|t| t.path().to_path_buf())).unwrap_or_default();
    std::fs::create_dir_all(&dir).map_err(|e| Complaint::new(format!("cannot create {}: {e}", dir.display())))?;
    let ports = kept_ports(&dir, usize::from(demo.nodes))?;
    let (send, news) = channel();
    listen_for_signals(send.clone())?;
    let program = std::env::current_exe().map_err(|e| Complaint::new(format!("cannot find this program: {e}")))?;
    let mut nodes = Vec::new();
    for (number, own) in ports.iter().enumerate() {
        let name = node_name(number);
        let mut command = Command::new(&program);
        command
            .arg("start")
            .args(node_flags(&name, own, &ports))
            .arg(format!("--data-dir={}", dir.join(&name).display()));
        command.arg(format!("--initial-split-keys={}", demo.initial_split_keys)).args(&demo.more);
        clean_environment(&mut command);
        let log = dir.join(format!("{name}.log"));
        nodes.push(Running::launch(number, &name, command, (&log, send.clone()))?);
    }
    say(&format!("starting {} nodes, logs in {}", nodes.len(), dir.display()));
    let code = watch(&mut nodes, &news, &banner(&ports, &dir, temporary.is_some()));
    let killed = stop_all(&mut nodes, STOP_PATIENCE);
    if !killed.is_empty() {
        say(&format!("had to kill {}", killed.join(", ")));
    }
    drop(nodes);
    match temporary.map(tempfile::TempDir::close) {
        Some(Ok(())) => say("stopped; the data is gone"),
        Some(Err(e)) => say(&format!("stopped, but {} could not be removed: {e}", dir.display())),
        None => say(&format!("stopped; the data is in {}", dir.display())),
    }
    Ok(code)
}

/// Print a line; a closed pipe is not our failure, and must not keep us from cleaning up.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Ports of these nodes: those of the last time, because a node's address is part of what it keeps; else free ones.
fn kept_ports(dir: &Path, nodes: usize) -> Result<Vec<Ports>, Complaint> {
    let path = dir.join("ports");
    let complain = |e: std::io::Error| Complaint::new(format!("{}: {e}", path.display()));
    let Ok(text) = std::fs::read_to_string(&path) else {
        let ports = free_ports(nodes)?;
        let lines: String = ports.iter().map(|p| format!("{} {}\n", p.client, p.peer)).collect();
        std::fs::write(&path, lines).map_err(complain)?;
        return Ok(ports);
    };
    let parse = |line: &str| {
        let (client, peer) = line.split_once(' ')?;
        Some(Ports { client: client.parse().ok()?, peer: peer.parse().ok()? })
    };
    let kept: Option<Vec<Ports>> = text.lines().map(parse).collect();
    kept.filter(|kept| kept.len() == nodes).ok_or_else(|| {
        let (dir, path) = (dir.display(), path.display());
        Complaint::new(format!(
            "{dir} holds a demo of another size, see {path}; use its --nodes, or another --data-dir"
        ))
    })
}

fn temporary_dir() -> Result<tempfile::TempDir, Complaint> {
    let made = tempfile::Builder::new().prefix("flotilla-demo-").tempdir();
    made.map_err(|e| Complaint::new(format!("cannot make a temporary directory: {e}; try --data-dir")))
}

fn node_name(number: usize) -> String {
    format!("n{}", number + 1)
}

/// A node must not inherit what the user set for another one.
pub fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
        command.env_remove(name);
    }
}

/// etcd's own flags for one node of a cluster on this machine.
pub fn node_flags(name: &str, own: &Ports, all: &[Ports]) -> Vec<String> {
    let members: Vec<String> =
        all.iter().enumerate().map(|(n, p)| format!("{}=http://127.0.0.1:{}", node_name(n), p.peer)).collect();
    vec![
        format!("--name={name}"),
        format!("--listen-client-urls=http://127.0.0.1:{}", own.client),
        format!("--advertise-client-urls=http://127.0.0.1:{}", own.client),
        format!("--listen-peer-urls=http://127.0.0.1:{}", own.peer),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{}", own.peer),
        format!("--initial-cluster={}", members.join(",")),
        "--initial-cluster-token=flotilla-demo".to_string(),
        "--initial-cluster-state=new".to_string(),
        "--log-format=console".to_string(),
        "--exit-with-parent".to_string(),
    ]
}

/// Ports for this many nodes: those of etcd's Procfile where they are free, others where they are not.
pub fn free_ports(nodes: usize) -> Result<Vec<Ports>, Complaint> {
    let usual = |node: usize| {
        if node < 6 {
            [[2379, 12380], [22379, 22380], [32379, 32380], [42379, 42380], [52379, 52380], [62379, 62380]][node]
        } else {
            [0, 0]
        }
    };
    let mut taken = BTreeSet::new();
    let mut held = Vec::new();
    let mut take = |wish: u16| -> Result<u16, Complaint> {
        let wished = if taken.contains(&wish) { None } else { TcpListener::bind(("127.0.0.1", wish)).ok() };
        let listener = match wished {
            Some(listener) => listener,
            None => TcpListener::bind(("127.0.0.1", 0)).map_err(|e| Complaint::new(format!("no free port: {e}")))?,
        };
        let port = listener.local_addr().map_err(|e| Complaint::new(format!("no free port: {e}")))?.port();
        taken.insert(port);
        // Held until all are chosen, so that the system does not hand out one port twice.
        held.push(listener);
        Ok(port)
    };
    (0..nodes).map(|node| Ok(Ports { client: take(usual(node)[0])?, peer: take(usual(node)[1])? })).collect()
}

/// Ctrl-C and SIGTERM become news, each time.
pub fn listen_for_signals(news: Sender<News>) -> Result<(), Complaint> {
    let complain = |e: std::io::Error| Complaint::new(format!("cannot listen for signals: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(complain)?;
    let listen = move || {
        runtime.block_on(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
                return;
            };
            loop {
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                if news.send(News::Stop).is_err() {
                    return;
                }
            }
        });
    };
    std::thread::Builder::new().name("signals".to_string()).spawn(listen).map(drop).map_err(complain)
}

/// Until somebody stops us or no node is left: say what happens.
fn watch(nodes: &mut [Running], news: &Receiver<News>, banner: &str) -> ExitCode {
    let (mut ready, mut ended) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let starting = ready.len() < nodes.len();
        let heard = if starting {
            news.recv_timeout(START_PATIENCE)
        } else {
            news.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        match heard {
            Ok(News::Stop) => {
                say("\nstopping …");
                return ExitCode::SUCCESS;
            }
            Ok(News::Ready(number)) => {
                ready.insert(number);
                if ready.len() == nodes.len() && starting {
                    say(&format!("{banner}{}", pids(nodes)));
                }
            }
            Ok(News::Ended(number)) => {
                report_end(&mut nodes[number]);
                ended.insert(number);
                if starting || ended.len() == nodes.len() {
                    return ExitCode::FAILURE;
                }
            }
            Err(_) => {
                say(&format!("the nodes did not serve within {} s; the last lines of each:", START_PATIENCE.as_secs()));
                nodes.iter().for_each(show_last);
                return ExitCode::FAILURE;
            }
        }
    }
}

fn report_end(node: &mut Running) {
    let status =
        node.wait(Duration::from_secs(2)).map_or("it is still ending".to_string(), |status| status.to_string());
    say(&format!("node {} (process {}) ended: {status}; its last lines:", node.name, node.pid()));
    show_last(node);
}

fn show_last(node: &Running) {
    node.last_lines().iter().for_each(|line| say(&format!("  {}: {line}", node.name)));
}

fn pids(nodes: &[Running]) -> String {
    let pids: Vec<String> = nodes.iter().map(|node| format!("{} {}", node.name, node.pid())).collect();
    format!("  processes  {}   (kill -9 one: the others go on)\n  Ctrl-C stops all", pids.join("  "))
}

/// What people copy from.
fn banner(ports: &[Ports], dir: &Path, temporary: bool) -> String {
    let addresses: Vec<String> = ports.iter().map(|p| format!("127.0.0.1:{}", p.client)).collect();
    let (first, last, all) = (&addresses[0], &addresses[addresses.len() - 1], addresses.join(","));
    let kept = if temporary { "removed at the end; --data-dir keeps it" } else { "kept" };
    format!(
        "\nflotilla {} demo: {} nodes, data in {} ({kept})\n  \
         clients    {all}   (etcd v3)\n  \
         metrics    http://{first}/metrics\n  \
         try        etcdctl --endpoints={first} put hello world\n             \
         etcdctl --endpoints={last} get hello\n             \
         flotilla bench put --endpoints {all} --seconds 5\n",
        crate::cli::VERSION,
        ports.len(),
        dir.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_distinct_and_a_taken_one_is_avoided() {
        let busy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let ports = free_ports(7).unwrap();
        let all: BTreeSet<u16> = ports.iter().flat_map(|p| [p.client, p.peer]).collect();
        assert_eq!(all.len(), 14);
        assert!(!all.contains(&busy.local_addr().unwrap().port()));
    }

    #[test]
    fn kept_data_keep_their_ports() {
        let dir = tempfile::tempdir().unwrap();
        let ports = kept_ports(dir.path(), 3).unwrap();
        assert_eq!(kept_ports(dir.path(), 3).unwrap(), ports);
        assert!(kept_ports(dir.path(), 5).unwrap_err().to_string().contains("another size"));
    }

    #[test]
    fn every_node_gets_settings_that_start_accepts() {
        let ports = [Ports { client: 1001, peer: 1002 }, Ports { client: 1003, peer: 1004 }];
        for (number, own) in ports.iter().enumerate() {
            let flags = node_flags(&node_name(number), own, &ports);
            let settings = crate::config::load(&flags, &[]).unwrap();
            assert_eq!(settings.cluster.members.len(), 2);
            assert!(settings.exit_with_parent && settings.warnings.is_empty());
        }
    }

    #[test]
    fn the_banner_has_three_commands_and_every_address() {
        let ports = [Ports { client: 1001, peer: 1002 }, Ports { client: 1003, peer: 1004 }];
        let text = banner(&ports, Path::new("/tmp/x"), true);
        assert!(text.contains("put hello world") && text.contains("--endpoints=127.0.0.1:1003 get hello"));
        assert!(text.contains("bench put --endpoints 127.0.0.1:1001,127.0.0.1:1003 --seconds 5"));
    }
}

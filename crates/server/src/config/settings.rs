//! The typed result: what a node is told before it starts.

use super::url::Url;
use super::{Complaint, Merged, text};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything `flotilla start` was told, parsed and checked. Fields are grouped so that each part of the node takes its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// This node's name, unique in the cluster.
    pub name: String,
    /// Where the store lives.
    pub data_dir: PathBuf,
    /// Addresses to bind.
    pub listen: Listen,
    /// Addresses to tell others.
    pub advertise: Advertise,
    /// Who makes the cluster at bootstrap.
    pub cluster: Cluster,
    /// Intervals.
    pub timing: Timing,
    /// What a client may ask for.
    pub limits: Limits,
    /// gRPC pings.
    pub keepalive: Keepalive,
    /// How keys are spread.
    pub ranges: Ranges,
    /// Where logs go.
    pub log: Log,
    /// Stop in an orderly way when standard input is closed (`flotilla demo` holds its other end).
    pub exit_with_parent: bool,
    /// What was accepted and does nothing, one line each, to be logged at start.
    pub warnings: Vec<String>,
}

/// Addresses to bind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// For clients: gRPC and HTTP on one port.
    pub clients: Vec<Url>,
    /// For other nodes.
    pub peers: Vec<Url>,
    /// More ports for metrics and health only; often empty.
    pub metrics: Vec<Url>,
}

/// Addresses to tell others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertise {
    /// For clients (member list).
    pub clients: Vec<Url>,
    /// For other nodes; equal to this node's entry in [`Cluster::members`].
    pub peers: Vec<Url>,
}

/// Who makes the cluster at bootstrap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cluster {
    /// All first members, sorted by name, this node among them.
    pub members: Vec<Member>,
    /// Keeps clusters with the same addresses apart.
    pub token: String,
    /// `--initial-cluster-state existing`: join, do not bootstrap.
    pub existing: bool,
}

/// One first member.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Member {
    /// Its `--name`.
    pub name: String,
    /// Its advertised peer addresses, sorted.
    pub peers: Vec<Url>,
}

/// Intervals. Those that must be equal on all nodes only count at bootstrap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Between beats.
    pub heartbeat: Duration,
    /// D: how long support lasts.
    pub election: Duration,
    /// Did anybody set one of the two above, so that a difference to the cluster's own deserves a warning?
    pub said: bool,
}

/// What a client may ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Operations in one transaction.
    pub txn_ops: usize,
    /// Bytes of one request.
    pub request_bytes: usize,
    /// Concurrent streams of one connection.
    pub streams: u32,
    /// Writes are refused above this size of the store; `None` is no limit.
    pub quota_bytes: Option<u64>,
}

/// gRPC pings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keepalive {
    /// Time between the server's pings.
    pub interval: Duration,
    /// Time to wait for the answer.
    pub timeout: Duration,
}

/// How keys are spread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ranges {
    /// User keys at which the key space is cut at bootstrap: sorted, unique, none empty.
    pub split_keys: Vec<Vec<u8>>,
    /// Copies of each range; a smaller cluster keeps one on every node.
    pub replication_factor: usize,
    /// A range's log is cut when it grows beyond this.
    pub log_bytes: u64,
    /// Read under a lease; else every read asks a quorum.
    pub lease_reads: bool,
}

/// Where logs go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// Least level that is written.
    pub level: Level,
    /// Outputs; never empty.
    pub outputs: Vec<Output>,
    /// `None`: console on a terminal, else JSON.
    pub format: Option<Format>,
}

/// etcd's log levels, as far as ours differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// `debug`
    Debug,
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`, `dpanic`, `panic` and `fatal`
    Error,
}

/// One output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// One JSON object a line, with the keys of etcd's own logs.
    Json,
    /// For people.
    Console,
}

impl Settings {
    /// Parse and check what was merged.
    pub fn from_merged(merged: &Merged) -> Result<Settings, Complaint> {
        let read = Read(merged);
        let name = read.text("name");
        let listen = super::check::listen(merged)?;
        let advertise = super::check::advertise(merged, &listen)?;
        let cluster = super::check::cluster(merged, &name, &advertise)?;
        let mut warnings = merged.warnings.clone();
        warnings.extend(unprotected(&listen, &advertise));
        Ok(Settings {
            data_dir: data_dir(merged, &name),
            listen,
            advertise,
            cluster,
            timing: timing(&read)?,
            limits: limits(&read)?,
            keepalive: Keepalive {
                interval: read.duration("grpc-keepalive-interval"),
                timeout: read.duration("grpc-keepalive-timeout"),
            },
            ranges: ranges(&read)?,
            log: log(&read)?,
            exit_with_parent: read.boolean("exit-with-parent"),
            warnings,
            name,
        })
    }
}

/// Who asks for addresses that others reach should know that nothing guards them.
fn unprotected(listen: &Listen, advertise: &Advertise) -> Vec<String> {
    let mut warnings = Vec::new();
    let open: Vec<String> =
        listen.clients.iter().chain(&listen.peers).filter(|url| !url.is_loopback()).map(Url::to_string).collect();
    if !open.is_empty() {
        warnings.push(format!(
            "{} can be reached from other machines, without encryption and without passwords: TLS and authentication \
             are not built yet, keep it in a network that you trust",
            open.join(" and ")
        ));
    }
    if let Some(url) = advertise.clients.iter().find(|url| url.scheme != "http") {
        warnings.push(format!(
            "--advertise-client-urls={url} sends clients to an address that this node does not serve: TLS is not built \
             yet, so something in front of it must speak it"
        ));
    }
    warnings
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients: Vec<String> = self.listen.clients.iter().map(Url::to_string).collect();
        let names: Vec<&str> = self.cluster.members.iter().map(|m| m.name.as_str()).collect();
        let (name, dir) = (&self.name, self.data_dir.display());
        write!(f, "node {name}  data {dir}  clients {}  cluster {}", clients.join(","), names.join(","))
    }
}

/// Reads single values; their shapes were checked when they were merged.
struct Read<'a>(&'a Merged);

impl Read<'_> {
    fn text(&self, name: &str) -> String {
        self.0.text(name).to_string()
    }
    fn boolean(&self, name: &str) -> bool {
        text::boolean(self.0.text(name)).expect("a boolean was checked when it was merged")
    }
    fn duration(&self, name: &str) -> Duration {
        text::duration(self.0.text(name)).expect("a duration was checked when it was merged")
    }
    /// A whole number between two bounds, both included.
    fn count(&self, name: &str, least: i64, most: i64) -> Result<i64, Complaint> {
        let said = text::count(self.0.text(name)).expect("a number was checked when it was merged");
        if (least..=most).contains(&said) {
            return Ok(said);
        }
        let origin = &self.0.setting(name).origin;
        Err(Complaint::new(format!("--{name}={said} ({origin}) must be between {least} and {most}")))
    }
    fn choice<T>(&self, name: &str, choices: &[(&str, T)]) -> Result<T, Complaint>
    where
        T: Clone,
    {
        let setting = self.0.setting(name);
        let found = choices.iter().find(|(word, _)| *word == setting.text).map(|(_, value)| value.clone());
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
        found.ok_or_else(|| {
            let (said, origin) = (&setting.text, &setting.origin);
            Complaint::new(format!("--{name}={said} ({origin}) must be one of {}", words.join(", ")))
        })
    }
}

fn data_dir(merged: &Merged, name: &str) -> PathBuf {
    match merged.text("data-dir") {
        "" => PathBuf::from(format!("{name}.flotilla")),
        said => PathBuf::from(said),
    }
}

fn timing(read: &Read) -> Result<Timing, Complaint> {
    let heartbeat = read.count("heartbeat-interval", 1, 50_000)?;
    let election = read.count("election-timeout", 1, 1_000_000)?;
    if election < 5 * heartbeat {
        return Err(Complaint::new(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        )));
    }
    if election > 50_000 {
        return Err(Complaint::new(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than 50000ms"
        )));
    }
    Ok(Timing {
        heartbeat: Duration::from_millis(heartbeat as u64),
        election: Duration::from_millis(election as u64),
        said: read.0.is_set("heartbeat-interval") || read.0.is_set("election-timeout"),
    })
}

/// A request must fit one log entry, with room for what is written around it.
const MOST_REQUEST_BYTES: i64 = (base::limits::MAX_ENTRY_BYTES - (64 << 10)) as i64;

fn limits(read: &Read) -> Result<Limits, Complaint> {
    let quota = read.count("quota-backend-bytes", i64::MIN, i64::MAX)?;
    Ok(Limits {
        txn_ops: read.count("max-txn-ops", 1, 1 << 20)? as usize,
        request_bytes: read.count("max-request-bytes", 1024, MOST_REQUEST_BYTES)? as usize,
        streams: read.count("max-concurrent-streams", 1, i64::from(u32::MAX))? as u32,
        quota_bytes: u64::try_from(quota).ok().filter(|quota| *quota > 0),
    })
}

fn ranges(read: &Read) -> Result<Ranges, Complaint> {
    let mut split_keys = Vec::new();
    for part in text::list(read.0.text("initial-split-keys")) {
        let key = text::escaped_key(part).map_err(|e| Complaint::new(format!("--initial-split-keys: {e}")))?;
        split_keys.push(key);
    }
    split_keys.sort();
    split_keys.dedup();
    Ok(Ranges {
        split_keys,
        replication_factor: read.count("replication-factor", 1, 9)? as usize,
        log_bytes: read.count("log-bytes", 64 << 10, base::limits::LOG_BYTES_HARD as i64)? as u64,
        lease_reads: read.boolean("enable-lease-reads"),
    })
}

fn log(read: &Read) -> Result<Log, Complaint> {
    let level = read.choice(
        "log-level",
        &[
            ("debug", Level::Debug),
            ("info", Level::Info),
            ("warn", Level::Warn),
            ("error", Level::Error),
            ("dpanic", Level::Error),
            ("panic", Level::Error),
            ("fatal", Level::Error),
        ],
    )?;
    let formats = [("", None), ("json", Some(Format::Json)), ("console", Some(Format::Console))];
    let output = |word: &str| match word {
        "default" | "stderr" => Output::Stderr,
        "stdout" => Output::Stdout,
        path => Output::File(PathBuf::from(path)),
    };
    let mut outputs: Vec<Output> = text::list(read.0.text("log-outputs")).into_iter().map(output).collect();
    if outputs.is_empty() {
        outputs.push(Output::Stderr);
    }
    Ok(Log { level, outputs, format: read.choice("log-format", &formats)? })
}

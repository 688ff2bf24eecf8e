//! Every flag of `flotilla start`, in one table: name, shape, default, and what it means here.
//!
//! The parser, the reader of variables, the reader of config files, `--help` and `flotilla config explain` are all
//! driven by this table, so a flag exists in all of them or in none.

use Class::{Inert, NotBuilt, Ours, Safety, Used};
use Shape::{Bool, Count, Duration, List, Text};

/// What a value looks like. Everything is kept as text until [`crate::config::Settings`] is made from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Any text.
    Text,
    /// Texts separated by commas.
    List,
    /// `true` or `false`; `--flag` alone means `true`.
    Bool,
    /// A whole number.
    Count,
    /// A Go duration such as `300ms` or `1h30m`.
    Duration,
}

/// What a flag means here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// etcd's flag, with etcd's meaning.
    Used,
    /// A flag of our own.
    Ours,
    /// It tunes a part that this store does not have: accepted with a warning that says why.
    Inert(&'static str),
    /// It asks for something that is not built yet and is not about safety: accepted with a warning.
    NotBuilt(&'static str),
    /// It asks for safety that is not built yet: any value but the default is refused.
    Safety(&'static str),
}

/// One flag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flag {
    /// Its name without dashes, which is also its key in a config file.
    pub name: &'static str,
    /// What its value looks like.
    pub shape: Shape,
    /// Its value when nobody says anything.
    pub default: &'static str,
    /// What it means here.
    pub class: Class,
    /// One line for `--help`.
    pub help: &'static str,
}

impl Flag {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_uppercase().replace('-', "_"))
    }
}

const fn f(name: &'static str, shape: Shape, default: &'static str, class: Class, help: &'static str) -> Flag {
    Flag { name, shape, default, class, help }
}

/// The section of etcd's config file for the client port; its keys are flag names.
pub const CLIENT_SECTION: &str = "client-transport-security";
/// The section of etcd's config file for the peer port; its keys are flag names without `peer-`.
pub const PEER_SECTION: &str = "peer-transport-security";

const BBOLT: &str = "there is no bbolt file; RocksDB is tuned by itself";
const TLS: &str = "TLS is not built yet, and plaintext is not served to somebody who asked for TLS";
const TLS_TUNING: &str = "TLS is not built yet";
const AUTH_TUNING: &str = "authentication is not built yet";
const DISCOVERY: &str = "discovery is not built yet; list the members with --initial-cluster";
const DISCOVERY_TUNING: &str = "discovery is not built yet";
const TRACING: &str = "distributed tracing is not built yet";
const TRANSPORT: &str = "peer streams have fixed deadlines of their own";
const CHECKS: &str = "the store compares replicas by itself";
const V2: &str = "the v2 store is gone";
const ROTATION: &str = "log files are not rotated; use logrotate with copytruncate";

/// All flags.
pub static FLAGS: &[Flag] = &[
    f("config-file", Text, "", Used, "YAML file with any of these settings; flags and variables win over it"),
    // member
    f("name", Text, "default", Used, "human-readable name of this node"),
    f("data-dir", Text, "", Used, "data directory; empty means <name>.flotilla"),
    f("wal-dir", Text, "", NotBuilt("the log lives in the data directory"), "separate directory for the log"),
    f("listen-peer-urls", List, "http://localhost:2380", Used, "addresses to listen on for other nodes"),
    f("listen-client-urls", List, "http://localhost:2379", Used, "addresses to listen on for clients"),
    f("listen-client-http-urls", List, "", NotBuilt("HTTP is served on the client port"), "HTTP apart from gRPC"),
    f("listen-metrics-urls", List, "", Used, "more addresses for /metrics, /health, /livez and /readyz"),
    f("heartbeat-interval", Count, "100", Used, "milliseconds between heartbeats"),
    f("election-timeout", Count, "1000", Used, "milliseconds without a heartbeat before an election"),
    f("initial-election-tick-advance", Bool, "true", Inert("there are no ticks to advance"), "start elections early"),
    f("quota-backend-bytes", Count, "0", Used, "refuse writes above this size; 0 means no limit"),
    f("max-txn-ops", Count, "128", Used, "most operations in one transaction"),
    f("max-request-bytes", Count, "1572864", Used, "largest request in bytes"),
    f("max-concurrent-streams", Count, "4294967295", Used, "most concurrent streams of one connection"),
    f(
        "grpc-keepalive-min-time",
        Duration,
        "5s",
        NotBuilt("clients that ping too often are not sent away yet"),
        "least time between a client's pings",
    ),
    f("grpc-keepalive-interval", Duration, "2h", Used, "time between the server's pings"),
    f("grpc-keepalive-timeout", Duration, "20s", Used, "time to wait for the answer to a ping"),
    f("socket-reuse-port", Bool, "false", NotBuilt("a port has one owner"), "set SO_REUSEPORT on listeners"),
    f("socket-reuse-address", Bool, "false", NotBuilt("listeners always set it"), "set SO_REUSEADDR on listeners"),
    f("enable-grpc-gateway", Bool, "true", NotBuilt("the JSON gateway is not built yet"), "serve JSON under /v3/"),
    f("max-learners", Count, "1", NotBuilt("learners cannot be added yet"), "most learners in the cluster"),
    f(
        "watch-progress-notify-interval",
        Duration,
        "10m",
        NotBuilt("watches are not built yet"),
        "time between progress notifications of a watch",
    ),
    f("snapshot-count", Count, "10000", Inert("logs are cut by size, see --log-bytes"), "entries between snapshots"),
    f("snapshot-catchup-entries", Count, "5000", Inert("logs are cut by size"), "entries kept for slow followers"),
    f("max-snapshots", Count, "5", Inert("there are no snapshot files to keep"), "snapshot files to keep"),
    f("max-wals", Count, "5", Inert("old logs are removed as soon as they can be"), "log files to keep"),
    f("memory-mlock", Bool, "false", NotBuilt("memory is not locked"), "lock memory pages"),
    f("backend-bbolt-freelist-type", Text, "map", Inert(BBOLT), "bbolt free list"),
    f("backend-batch-interval", Duration, "0s", Inert(BBOLT), "bbolt batch interval"),
    f("backend-batch-limit", Count, "0", Inert(BBOLT), "bbolt batch limit"),
    f("bootstrap-defrag-threshold-megabytes", Count, "0", Inert(BBOLT), "defragment at start above this"),
    f("raft-read-timeout", Duration, "5s", Inert(TRANSPORT), "read timeout of peer connections"),
    f("raft-write-timeout", Duration, "5s", Inert(TRANSPORT), "write timeout of peer connections"),
    f("feature-gates", List, "", Inert("etcd's feature gates name parts of etcd"), "etcd's feature gates"),
    f("unsafe-no-fsync", Bool, "false", Inert("every write is synced, always"), "skip fsync"),
    // clustering
    f("initial-advertise-peer-urls", List, "http://localhost:2380", Used, "this node's address for other nodes"),
    f("initial-cluster", List, "", Used, "the first nodes: name=url,name=url; empty means this node alone"),
    f("initial-cluster-state", Text, "new", Used, "new, or existing to join a cluster that runs"),
    f("initial-cluster-token", Text, "etcd-cluster", Used, "keeps clusters with the same addresses apart"),
    f("advertise-client-urls", List, "http://localhost:2379", Used, "this node's address for clients"),
    f("strict-reconfig-check", Bool, "true", Inert("unsafe changes are always refused"), "refuse unsafe changes"),
    f("pre-vote", Bool, "true", Inert("PreVote is always on"), "ask before campaigning"),
    f("auto-compaction-retention", Text, "0", NotBuilt("nothing is compacted by itself yet"), "history to keep"),
    f("auto-compaction-mode", Text, "periodic", NotBuilt("nothing is compacted by itself yet"), "how it is counted"),
    f("force-new-cluster", Bool, "false", Safety("making a cluster from one member is not built yet"), "recover alone"),
    f("discovery", Text, "", Safety(DISCOVERY), "discovery URL"),
    f("discovery-token", Text, "", Safety(DISCOVERY), "discovery token"),
    f("discovery-endpoints", List, "", Safety(DISCOVERY), "discovery service"),
    f("discovery-srv", Text, "", Safety(DISCOVERY), "DNS domain that lists the members"),
    f("discovery-srv-name", Text, "", Safety(DISCOVERY), "suffix of the DNS service name"),
    f("discovery-proxy", Text, "", Safety(DISCOVERY), "proxy to the discovery service"),
    f("discovery-fallback", Text, "exit", Inert(DISCOVERY_TUNING), "what to do when discovery fails"),
    f("discovery-dial-timeout", Duration, "2s", Inert(DISCOVERY_TUNING), "dial timeout"),
    f("discovery-request-timeout", Duration, "5s", Inert(DISCOVERY_TUNING), "request timeout"),
    f("discovery-keepalive-time", Duration, "2s", Inert(DISCOVERY_TUNING), "keepalive time"),
    f("discovery-keepalive-timeout", Duration, "6s", Inert(DISCOVERY_TUNING), "keepalive timeout"),
    f("discovery-insecure-transport", Bool, "true", Inert(DISCOVERY_TUNING), "discovery without TLS"),
    f("discovery-insecure-skip-tls-verify", Bool, "false", Safety(DISCOVERY), "trust any certificate"),
    f("discovery-cert", Text, "", Safety(DISCOVERY), "client certificate"),
    f("discovery-key", Text, "", Safety(DISCOVERY), "client key"),
    f("discovery-cacert", Text, "", Safety(DISCOVERY), "certificate authority"),
    f("discovery-user", Text, "", Safety(DISCOVERY), "user name"),
    f("discovery-password", Text, "", Safety(DISCOVERY), "password"),
    // security
    f("cert-file", Text, "", Safety(TLS), "certificate of the client port"),
    f("key-file", Text, "", Safety(TLS), "key of the client port"),
    f("client-cert-auth", Bool, "false", Safety(TLS), "require client certificates"),
    f("client-cert-file", Text, "", Safety(TLS), "certificate this node shows as a client"),
    f("client-key-file", Text, "", Safety(TLS), "key of that certificate"),
    f("client-crl-file", Text, "", Safety(TLS), "revoked client certificates"),
    f("client-cert-allowed-hostname", Text, "", Safety(TLS), "host name a client certificate must hold"),
    f("trusted-ca-file", Text, "", Safety(TLS), "certificate authority of clients"),
    f("auto-tls", Bool, "false", Safety(TLS), "TLS with a certificate of our own making"),
    f("peer-cert-file", Text, "", Safety(TLS), "certificate of the peer port"),
    f("peer-key-file", Text, "", Safety(TLS), "key of the peer port"),
    f("peer-client-cert-auth", Bool, "false", Safety(TLS), "require peer certificates"),
    f("peer-client-cert-file", Text, "", Safety(TLS), "certificate this node shows to peers"),
    f("peer-client-key-file", Text, "", Safety(TLS), "key of that certificate"),
    f("peer-trusted-ca-file", Text, "", Safety(TLS), "certificate authority of peers"),
    f("peer-cert-allowed-cn", Text, "", Safety(TLS), "common name a peer certificate must hold"),
    f("peer-cert-allowed-hostname", Text, "", Safety(TLS), "host name a peer certificate must hold"),
    f("peer-auto-tls", Bool, "false", Safety(TLS), "peer TLS with certificates of our own making"),
    f("peer-crl-file", Text, "", Safety(TLS), "revoked peer certificates"),
    f("peer-skip-client-san-verification", Bool, "false", Safety(TLS), "skip the check of a peer's address"),
    f("self-signed-cert-validity", Count, "1", Inert(TLS_TUNING), "years a certificate of our own making is valid"),
    f("cipher-suites", List, "", Inert(TLS_TUNING), "cipher suites"),
    f("tls-min-version", Text, "TLS1.2", Inert(TLS_TUNING), "lowest TLS version"),
    f("tls-max-version", Text, "", Inert(TLS_TUNING), "highest TLS version"),
    f("cors", List, "*", NotBuilt("no CORS header is sent"), "origins that browsers may call from"),
    f("host-whitelist", List, "*", Safety("host names are not checked yet"), "host names that are answered"),
    f("auth-token", Text, "simple", Safety("only `simple` is accepted until authentication is built"), "token kind"),
    f("auth-token-ttl", Count, "300", Inert(AUTH_TUNING), "seconds a simple token lives"),
    f("bcrypt-cost", Count, "10", Inert(AUTH_TUNING), "cost of hashing a password"),
    // logs, metrics, profiles
    f("logger", Text, "zap", Inert("there is one logger"), "zap"),
    f("log-outputs", List, "default", Used, "default, stderr, stdout, or file names"),
    f("log-level", Text, "info", Used, "debug, info, warn, error, panic or fatal"),
    f("log-format", Text, "", Used, "json or console; empty means console on a terminal, else json"),
    f("enable-log-rotation", Bool, "false", NotBuilt(ROTATION), "rotate log files"),
    f("log-rotation-config-json", Text, "", NotBuilt(ROTATION), "how log files are rotated"),
    f(
        "warning-unary-request-duration",
        Duration,
        "300ms",
        NotBuilt("slow requests are not logged yet"),
        "log requests slower than this",
    ),
    f(
        "warning-apply-duration",
        Duration,
        "100ms",
        NotBuilt("see flotilla_stage_seconds"),
        "log applies slower than this",
    ),
    f("enable-pprof", Bool, "false", NotBuilt("there is no profiling endpoint"), "serve /debug/pprof"),
    f(
        "metrics",
        Text,
        "basic",
        Inert("the latency histograms of every method are always there"),
        "basic, or extensive for latency histograms of every method",
    ),
    f("enable-distributed-tracing", Bool, "false", NotBuilt(TRACING), "send traces"),
    f("distributed-tracing-address", Text, "localhost:4317", NotBuilt(TRACING), "collector"),
    f("distributed-tracing-service-name", Text, "etcd", NotBuilt(TRACING), "service name in traces"),
    f("distributed-tracing-instance-id", Text, "", NotBuilt(TRACING), "instance in traces"),
    f("distributed-tracing-sampling-rate", Count, "0", NotBuilt(TRACING), "samples per million"),
    f("corrupt-check-time", Duration, "0s", Inert(CHECKS), "time between corruption checks"),
    f("compact-hash-check-time", Duration, "1m", Inert(CHECKS), "time between checks of compacted hashes"),
    f("compaction-batch-limit", Count, "1000", Inert("compaction is RocksDB's own work"), "revisions per batch"),
    f(
        "compaction-sleep-interval",
        Duration,
        "10ms",
        Inert("compaction is RocksDB's own work"),
        "pause between batches",
    ),
    f("downgrade-check-time", Duration, "5s", Inert("downgrades are not built"), "time between downgrade checks"),
    // of etcd 3.4 and 3.5, still written in many unit files
    f("enable-v2", Bool, "false", Inert(V2), "serve the v2 API"),
    f("v2-deprecation", Text, "gone", Inert(V2), "how far v2 is gone"),
    f("proxy", Text, "off", Safety("the v2 proxy is gone; start a node"), "off"),
    f("debug", Bool, "false", Inert("use --log-level debug"), "log more"),
    f("log-package-levels", Text, "", Inert("use --log-level"), "levels by package"),
    f("experimental-initial-corrupt-check", Bool, "false", Inert(CHECKS), "check for corruption at start"),
    f("experimental-compact-hash-check-enabled", Bool, "false", Inert(CHECKS), "check compacted hashes"),
    f("experimental-enable-lease-checkpoint", Bool, "false", Inert("leases do not need it"), "checkpoint leases"),
    f("experimental-txn-mode-write-with-shared-buffer", Bool, "true", Inert(BBOLT), "share the buffer of a txn"),
    // of our own
    f("initial-split-keys", List, "", Ours, "split the key space at these keys at bootstrap; %xx escapes a byte"),
    f("replication-factor", Count, "3", Ours, "copies of each range"),
    f("range-max-bytes", Count, "0", NotBuilt("ranges do not split by themselves yet"), "split above this size"),
    f("range-max-keys", Count, "0", NotBuilt("ranges do not split by themselves yet"), "split above this many keys"),
    f("log-bytes", Count, LOG_BYTES, Ours, "cut a range's log when it grows beyond this"),
    f("enable-lease-reads", Bool, "true", Ours, "read under a lease; false asks a quorum for every read"),
    f("exit-with-parent", Bool, "false", Ours, "stop when standard input is closed"),
];

/// [`base::limits::LOG_BYTES`] as text; a test compares the two.
const LOG_BYTES: &str = "16777216";

/// The flag of this name. `experimental-x` of etcd 3.4 and 3.5 finds the `x` it became.
pub fn find(name: &str) -> Option<&'static Flag> {
    let exact = |n: &str| FLAGS.iter().find(|f| f.name == n);
    exact(name).or_else(|| name.strip_prefix("experimental-").and_then(exact))
}

/// The nearest known name, if one is near enough to be what was meant.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.map(|k| (distance(name, k), k)).min()?;
    (best.0 <= 1 + name.len() / 4).then_some(best.1)
}

/// Edits (insert, delete, replace, swap neighbours) that turn one name into the other.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_defaults_have_their_shape() {
        let names: BTreeSet<_> = FLAGS.iter().map(|f| f.name).collect();
        assert_eq!(names.len(), FLAGS.len());
        for flag in FLAGS {
            crate::config::text::check(flag.shape, flag.default).unwrap_or_else(|e| panic!("{}: {e}", flag.name));
            assert!(!flag.help.is_empty() && flag.name == flag.name.to_lowercase());
        }
        assert_eq!(LOG_BYTES.parse::<u64>().unwrap(), base::limits::LOG_BYTES);
    }

    #[test]
    fn a_typing_error_finds_its_flag_and_nonsense_finds_none() {
        let near = |n| nearest(n, FLAGS.iter().map(|f| f.name));
        assert_eq!(near("listen-client-url"), Some("listen-client-urls"));
        assert_eq!(near("nmae"), Some("name"));
        assert_eq!(near("intial-cluster"), Some("initial-cluster"));
        assert_eq!(near("qqqqqqqqqq"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn flags_of_etcd_3_5_find_what_they_became() {
        assert_eq!(find("experimental-watch-progress-notify-interval").unwrap().name, "watch-progress-notify-interval");
        assert!(find("experimental-nothing").is_none());
    }
}

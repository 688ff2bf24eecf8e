//! What the user said: flags, variables and a file become one [`Settings`].
//!
//! The road is short and each station is a file: [`flags`] is the one table; [`args`], [`merge`] and [`file`] read the three
//! sources; [`merge::Merged`] remembers every value with its origin, refuses what asks for safety that is not built
//! and warns about what does nothing; [`settings`] parses, [`check`] compares addresses and members; [`explain`] shows it all.

pub mod args;
pub mod check;
pub mod explain;
pub mod file;
pub mod flags;
pub mod merge;
pub mod settings;
pub mod text;
pub mod url;

pub use explain::explain;
pub use merge::Merged;
pub use settings::Settings;
pub use url::Url;

use std::fmt;

/// One line that says what is wrong and, where it can, what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint(String);

impl Complaint {
    /// A complaint; line breaks are flattened, so that it stays one line.
    pub fn new(text: impl Into<String>) -> Complaint {
        Complaint(text.into().replace('\n', " "))
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
impl std::error::Error for Complaint {}

/// From a command line (without program and subcommand) and the environment to settings.
pub fn load(line: &[String], environment: &[(String, String)]) -> Result<Settings, Complaint> {
    Settings::from_merged(&Merged::gather(line, environment)?)
}

#[cfg(test)]
mod tests {
    use super::settings::{Format, Level, Output};
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;

    fn loaded(line: &[&str]) -> Result<Settings, String> {
        let line: Vec<String> = line.iter().map(|s| s.to_string()).collect();
        load(&line, &[]).map_err(|c| c.to_string())
    }

    #[test]
    fn no_flag_is_a_single_node() {
        let s = loaded(&[]).unwrap();
        assert_eq!((s.name.as_str(), s.data_dir), ("default", PathBuf::from("default.flotilla")));
        assert_eq!(s.listen.clients, [Url::parse("http://localhost:2379").unwrap()]);
        assert!(s.listen.clients.iter().chain(&s.listen.peers).all(Url::is_loopback));
        assert_eq!(s.cluster.members.len(), 1);
        assert_eq!(s.cluster.members[0].peers, s.advertise.peers);
        assert_eq!((s.timing.heartbeat, s.timing.election), (Duration::from_millis(100), Duration::from_secs(1)));
        assert_eq!((s.limits.txn_ops, s.limits.request_bytes), (128, 1536 * 1024));
        assert_eq!((s.ranges.replication_factor, s.ranges.lease_reads), (3, true));
        assert_eq!(s.limits.quota_bytes, None);
        assert!(s.warnings.is_empty() && !s.timing.said);
    }

    #[test]
    fn three_nodes_by_etcds_own_flags() {
        let s = loaded(&[
            "--name=infra2",
            "--listen-client-urls=http://127.0.0.1:22379",
            "--advertise-client-urls=http://127.0.0.1:22379",
            "--listen-peer-urls=http://127.0.0.1:22380",
            "--initial-advertise-peer-urls=http://127.0.0.1:22380",
            "--initial-cluster-token=etcd-cluster-1",
            "--initial-cluster=infra1=http://127.0.0.1:12380,infra2=http://127.0.0.1:22380,infra3=http://127.0.0.1:32380",
            "--initial-cluster-state=new",
            "--enable-pprof",
            "--logger=zap",
            "--log-outputs=stderr,node.log",
            "--log-level=panic",
            "--log-format=json",
            "--initial-split-keys=t,g,n,g",
        ])
        .unwrap();
        let names: Vec<_> = s.cluster.members.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["infra1", "infra2", "infra3"]);
        assert_eq!(s.log.outputs, [Output::Stderr, Output::File("node.log".into())]);
        assert_eq!((s.log.level, s.log.format), (Level::Error, Some(Format::Json)));
        assert_eq!(s.ranges.split_keys, [b"g".to_vec(), b"n".to_vec(), b"t".to_vec()]);
        assert_eq!(s.warnings.len(), 2);
        assert!(s.to_string().contains("node infra2"));
    }

    #[test]
    fn what_is_advertised_follows_what_is_listened_on() {
        let s = loaded(&["--listen-client-urls=http://127.0.0.1:7001", "--listen-peer-urls=http://127.0.0.1:7002"])
            .unwrap();
        assert_eq!(s.advertise.clients[0].port, 7001);
        assert_eq!(s.cluster.members[0].peers[0].port, 7002);
        let error = loaded(&["--listen-client-urls=http://0.0.0.0:7001"]).unwrap_err();
        assert!(error.contains("--advertise-client-urls is required when --listen-client-urls"), "{error}");
    }

    #[test]
    fn contradictions_are_refused_in_etcds_words() {
        let cases: [(&[&str], &str); 13] = [
            (
                &["--election-timeout=200"],
                "--election-timeout[200ms] should be at least as 5 times as --heartbeat-interval[100ms]",
            ),
            (&["--election-timeout=60000"], "is too long, and should be set less than 50000ms"),
            (&["--name=a", "--initial-cluster=b=http://localhost:2380"], "couldn't find local name \"a\""),
            (
                &["--initial-cluster=default=http://127.0.0.1:999"],
                "--initial-advertise-peer-urls=http://localhost:2380",
            ),
            (&["--initial-cluster=default"], "should be name=url"),
            (&["--initial-cluster=default=http://a:1,b=http://a:1"], "duplicate URL"),
            (&["--listen-client-urls=localhost:2379"], "URL scheme must be http"),
            (&["--listen-client-urls=http://example.com:2379"], "expected IP in URL for binding"),
            (&["--listen-client-urls=https://127.0.0.1:2379"], "TLS is not built yet"),
            (&["--listen-client-urls=http://localhost:2380"], "listened on twice"),
            (&["--initial-cluster-state=old"], "must be new or existing"),
            (&["--log-level=loud"], "must be one of debug, info"),
            (&["--max-txn-ops=0"], "must be between 1 and"),
        ];
        for (line, want) in cases {
            let error = loaded(line).unwrap_err();
            assert!(error.contains(want), "{line:?}: {error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn what_nothing_guards_is_said_aloud() {
        let warnings = |line: &[&str]| loaded(line).unwrap().warnings;
        let open =
            warnings(&["--listen-client-urls=http://0.0.0.0:7001", "--advertise-client-urls=http://10.0.0.1:7001"]);
        assert!(open.len() == 1 && open[0].contains("http://0.0.0.0:7001 can be reached"), "{open:?}");
        let https = warnings(&["--advertise-client-urls=https://10.0.0.1:2379"]);
        assert!(https.len() == 1 && https[0].contains("https://10.0.0.1:2379"), "{https:?}");
        assert!(warnings(&["--listen-client-urls=http://[::1]:7001"]).is_empty());
    }

    #[test]
    fn a_name_and_its_number_are_one_address() {
        let line =
            ["--initial-cluster=default=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://localhost:2380"];
        assert!(loaded(&line).is_ok());
    }

    #[test]
    fn explain_shows_origins_and_losers() {
        let line = ["--name=a".to_string(), "--name=b".to_string()];
        let environment =
            [("ETCD_NAME".to_string(), "c".to_string()), ("ETCD_LOG_LEVEL".to_string(), "debug".to_string())];
        let text = explain(&Merged::gather(&line, &environment).unwrap());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>()[..3], ["name", "b", "flag"]);
        assert!(lines[0].ends_with("(over an earlier flag: a, variable ETCD_NAME: c)"), "{}", lines[0]);
        assert!(lines[1].contains("variable ETCD_LOG_LEVEL"));
        assert_eq!(lines.len(), flags::FLAGS.len());
    }
}

//! What `help`, `--help` and `--version` print.

use super::{ETCD_VERSION, VERSION};
use crate::config::flags::{Class, FLAGS, Flag};
use std::fmt::Write;

/// `flotilla help`.
pub fn overview() -> String {
    format!(
        "flotilla {VERSION}: etcd without the ceiling\n\
         \n\
         flotilla start [flags]            run a node; no flag is a single node on http://localhost:2379\n\
         flotilla demo [--nodes 3]         run a cluster on this machine, with temporary data\n\
         flotilla bench <verb> [flags]     put load on any etcd endpoint: put, get, scan, mixed, txn\n\
         flotilla config explain [flags]   show every setting and where it came from\n\
         flotilla config check [flags]     say whether `start` would accept these settings\n\
         flotilla version\n\
         \n\
         `flotilla start --help` lists the flags of a node; started under the name `etcd`, it is `flotilla start`.\n"
    )
}

/// `flotilla config --help`.
pub const CONFIG: &str = "flotilla config explain [flags of start]   every setting, its value, and where that came from\n\
                          flotilla config check [flags of start]     whether `start` would accept them\n";

/// etcd's own first line, which scripts read, then ours in the places of Go's.
pub fn etcd_version() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = std::env::consts::OS;
    format!(
        "etcd Version: {ETCD_VERSION}\nGit SHA: flotilla-{VERSION}\nGo Version: none (this is Rust)\nGo OS/Arch: {os}/{arch}\n"
    )
}

/// `flotilla start --help`: what works first, then ours, then what is accepted, then what is refused.
pub fn start() -> String {
    let mut out = String::from(
        "flotilla start [flags]\n\nEach flag is also a variable (--listen-client-urls is ETCD_LISTEN_CLIENT_URLS) and a key of \
         the YAML file\nnamed by --config-file. A flag wins over a variable, a variable over the file.\n",
    );
    type Section = (&'static str, fn(&Flag) -> bool);
    let sections: [Section; 4] = [
        ("Of etcd, with etcd's meaning", |f| f.class == Class::Used),
        ("Of our own", |f| f.class == Class::Ours),
        ("Accepted without effect, with a warning", |f| matches!(f.class, Class::Inert(_) | Class::NotBuilt(_))),
        ("Refused: about safety, and not built yet", |f| matches!(f.class, Class::Safety(_))),
    ];
    for (title, belongs) in sections {
        let _ = writeln!(out, "\n{title}:");
        for flag in FLAGS.iter().filter(|flag| belongs(flag)) {
            let why = match flag.class {
                Class::Inert(why) | Class::NotBuilt(why) => format!(": {why}"),
                Class::Used | Class::Ours | Class::Safety(_) => String::new(),
            };
            let shown = if flag.default.is_empty() { String::new() } else { format!(" (default {})", flag.default) };
            let _ = writeln!(out, "  --{:<44} {}{shown}{why}", flag.name, flag.help);
        }
    }
    out
}

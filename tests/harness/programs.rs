//! Where the programs are: ours, built beside this test, and Debian's etcd and etcdctl, fetched into a cache.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that forms a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// Debian's etcd.
    Etcd,
    /// Ours.
    Flotilla,
}

impl Program {
    /// The file to run. A peer that cannot be found or fetched is a failure, never a skipped test.
    pub fn path(self) -> PathBuf {
        match self {
            Program::Etcd => peers().join("etcd"),
            Program::Flotilla => flotilla(),
        }
    }

    /// How it is told to run a node.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Program::Etcd => &[],
            Program::Flotilla => &["start"],
        }
    }
}

/// `FLOTILLA_BIN`, or the `flotilla` built in the same profile as this test.
pub fn flotilla() -> PathBuf {
    let path = match std::env::var_os("FLOTILLA_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let test = std::env::current_exe().expect("the path of this test");
            let profile = test.ancestors().find(|p| !p.ends_with("deps") && p.is_dir() && p.join("deps").is_dir());
            profile.expect("target/<profile>").join("flotilla")
        }
    };
    let built = "build it with `cargo build --release -p flotilla-server` or name it by FLOTILLA_BIN";
    assert!(path.is_file(), "no binary at {}: {built}", path.display());
    path
}

/// Debian's etcdctl.
pub fn etcdctl() -> PathBuf {
    peers().join("etcdctl")
}

/// The folder with Debian's etcd and etcdctl; `tests/setup/peers.sh` fetches them if they are not there yet.
fn peers() -> PathBuf {
    let script = Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs this")).join("setup/peers.sh");
    let output = Command::new("sh").arg(&script).output().expect("sh runs");
    assert!(output.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&output.stderr));
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert!(path.join("etcd").is_file() && path.join("etcdctl").is_file(), "no etcd in {}", path.display());
    path
}

//! A full disk: writes answer etcd's words, reads go on, and writes resume when there is room.

use crate::{program, turn};
use harness::{Cluster, Program, Spec, rpc};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const NO_SPACE: (i32, &str) = (8, "etcdserver: mvcc: database space exceeded");

/// A small file system of its own; unmounted when dropped.
struct Tmpfs {
    path: PathBuf,
}

impl Tmpfs {
    fn mount(path: &Path, mib: usize) -> Tmpfs {
        std::fs::create_dir_all(path).expect("a folder to mount on");
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(path).output();
        let output = output.expect("mount runs");
        assert!(
            output.status.success(),
            "this test fills a small tmpfs and must be root to mount it; run the tests as root (sudo -E make test).\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Tmpfs { path: path.to_path_buf() }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
    if program() == Program::Etcd {
        return; // it ends itself
    }
    for nodes in [1, 3] {
        let _turn = turn();
        fill(nodes);
    }
}

fn fill(nodes: usize) {
    let mut cluster = Cluster::prepare(Spec::new(Program::Flotilla, nodes));
    // Declared after the cluster would mean unmounted before it is killed.
    let disk = Tmpfs::mount(&cluster.dir.path().join("small"), 320);
    let ballast = disk.path.join("ballast");
    std::fs::write(&ballast, vec![0; 96 << 20]).expect("room for ballast");
    cluster.nodes[0].data_dir = disk.path.join("data");
    cluster.start_all();
    let home = cluster.endpoints();
    let written = rpc::block_on(fill_up(&home[..1], nodes));
    println!("{nodes} nodes: {written} values of 64 KiB until the disk of n1 was full");
    assert!(cluster.nodes[0].is_up(), "the node lives on");
    rpc::block_on(reads_go_on(&home[..1], written));
    std::fs::remove_file(&ballast).expect("ballast goes");
    rpc::block_on(writes_resume(&home[..1]));
    rpc::block_on(reads_go_on(&home[..1], written));
    cluster.kill(0);
    cluster.start_node(0);
    rpc::block_on(reads_go_on(&home[..1], written));
    drop(cluster);
    drop(disk);
}

/// Writes until it is refused; returns how many values were acknowledged. With three nodes the other two have room, so
/// that it may also go on; then a bound ends it.
async fn fill_up(endpoints: &[String], nodes: usize) -> usize {
    let mut client = rpc::connect(endpoints).await;
    let give_up = Instant::now() + Duration::from_secs(120);
    let (mut acked, mut unclear) = (0, 0);
    loop {
        let value = value(acked);
        match client.put(format!("full/{acked:06}"), value, None).await {
            Ok(_) => acked += 1,
            Err(error) => match rpc::status(&error) {
                status if status == (NO_SPACE.0, NO_SPACE.1.to_string()) => return acked,
                // The write on which the disk ran out may be in doubt; the next one must be told plainly.
                (14, _) if unclear < 3 => unclear += 1,
                status => panic!("after {acked} values: {status:?} instead of {NO_SPACE:?}"),
            },
        }
        if nodes > 1 && acked >= 8000 {
            return acked; // a full minority does not stop the cluster
        }
        assert!(Instant::now() < give_up && acked < 20_000, "{acked} values and never full");
    }
}

fn value(n: usize) -> Vec<u8> {
    let mut rng = base::Rng::new(n as u64);
    (0..8 << 10).flat_map(|_| rng.next_u64().to_le_bytes()).collect()
}

async fn reads_go_on(endpoints: &[String], written: usize) {
    let mut client = rpc::connect(endpoints).await;
    for n in [0, written / 2, written - 1] {
        let reply = client.get(format!("full/{n:06}"), None).await.unwrap_or_else(|e| panic!("value {n}: {e}"));
        assert_eq!(reply.kvs().first().map(|kv| kv.value().to_vec()), Some(value(n)), "value {n} of {written}");
    }
}

async fn writes_resume(endpoints: &[String]) {
    let mut client = rpc::connect(endpoints).await;
    let start = Instant::now();
    loop {
        match client.put("room", "again", None).await {
            Ok(_) => return println!("writes resumed after {:?}", start.elapsed()),
            Err(e) => assert!(start.elapsed() < Duration::from_secs(30), "there is room, yet: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

//! A full disk: writes answer etcd's words, reads go on, and writes resume when there is room.

use crate::{program, some_of, turn, wait_same_hash};
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
    for (nodes, small) in some_of(vec![(1, 1), (3, 3), (3, 1)], 2) {
        let _turn = turn();
        fill(nodes, small);
    }
}

/// A cluster of which the first nodes have a small disk each, with some ballast on it.
fn on_small_disks(nodes: usize, small: usize) -> (Cluster, Vec<Tmpfs>, Vec<PathBuf>) {
    let mut cluster = Cluster::prepare(Spec::new(Program::Flotilla, nodes));
    // Dropped after the cluster: unmounted when its processes are gone.
    let disks: Vec<Tmpfs> =
        (0..small).map(|i| Tmpfs::mount(&cluster.dir.path().join(format!("small{i}")), 320)).collect();
    let ballast: Vec<PathBuf> = disks.iter().map(|d| d.path.join("ballast")).collect();
    for (i, disk) in disks.iter().enumerate() {
        std::fs::write(&ballast[i], vec![0; 96 << 20]).expect("room for ballast");
        cluster.nodes[i].data_dir = disk.path.join("data");
    }
    cluster.start_all();
    (cluster, disks, ballast)
}

fn fill(nodes: usize, small: usize) {
    let (mut cluster, _disks, ballast) = on_small_disks(nodes, small);
    let home = cluster.endpoints();
    let written = rpc::block_on(fill_up(&home[..1]));
    println!("{small} of {nodes} disks small: {written} values of 64 KiB until one was full");
    for endpoint in home.chunks(1) {
        rpc::block_on(is_refused(endpoint));
        rpc::block_on(reads_go_on(endpoint, written));
    }
    (0..nodes).for_each(|i| assert!(cluster.nodes[i].is_up(), "n{} lives on", i + 1));
    for file in ballast {
        std::fs::remove_file(file).expect("ballast goes");
    }
    for endpoint in home.chunks(1) {
        rpc::block_on(writes_resume(endpoint));
        rpc::block_on(reads_go_on(endpoint, written));
    }
    (0..nodes).for_each(|i| cluster.kill(i));
    cluster.start_all();
    rpc::block_on(reads_go_on(&home[..1], written));
}

/// Writes until it is refused in etcd's words, and still is when flushes and compactions have had their time: they give
/// back room that may be used. Returns how many values were acknowledged.
async fn fill_up(endpoints: &[String]) -> usize {
    let mut client = rpc::connect(endpoints).await;
    let give_up = Instant::now() + Duration::from_secs(120);
    let (mut acked, mut refused, mut unclear) = (0, 0, 0);
    loop {
        match client.put(format!("full/{acked:06}"), value(acked), None).await {
            Ok(_) => (acked, refused) = (acked + 1, 0),
            Err(error) => match rpc::status(&error) {
                status if status == (NO_SPACE.0, NO_SPACE.1.to_string()) => refused += 1,
                // A disk at its end is slow, and a machine may be: in doubt, which a client may be told now and then.
                (14, _) if unclear < 3 => unclear += 1,
                status => panic!("after {acked} values: {status:?} instead of {NO_SPACE:?}"),
            },
        }
        if refused > 0 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if refused > 8 {
            return acked;
        }
        assert!(Instant::now() < give_up && acked < 8_000, "{acked} values and never full");
    }
}

/// At every door, not only where the disk is full.
async fn is_refused(endpoints: &[String]) {
    let mut client = rpc::connect(endpoints).await;
    let error = client.put("one more", "", None).await.expect_err("there is no room");
    assert_eq!(rpc::status(&error), (NO_SPACE.0, NO_SPACE.1.to_string()));
    // And whoever asks why is told, at every door too.
    let get = client.alarm(etcd_client::AlarmAction::Get, etcd_client::AlarmType::Nospace, None);
    assert!(
        !get.await.expect("served").alarms().is_empty(),
        "{endpoints:?} refuses for want of room, without an alarm"
    );
}

/// Others take the very last byte of every disk, under the hands of the writers: nobody ends, nothing acknowledged is
/// lost, and when the bytes come back writes go on without anybody's help.
#[test]
fn others_may_take_the_last_byte() {
    let _turn = turn();
    if program() == Program::Etcd {
        return;
    }
    let (mut cluster, disks, _ballast) = on_small_disks(3, 3);
    let endpoints = cluster.endpoints();
    let mut acked = Vec::new();
    rpc::block_on(write_for(&endpoints[..1], Duration::from_secs(2), &mut acked));
    assert!(acked.len() > 10, "{} values before", acked.len());
    let greedy: Vec<PathBuf> = disks.iter().map(|d| d.path.join("greedy")).collect();
    for round in some_of(vec![0, 1], 1) {
        let before = acked.len();
        let taken: Vec<u64> = greedy.iter().map(|file| take_everything(file)).collect();
        rpc::block_on(write_for(&endpoints[..1], Duration::from_secs(6), &mut acked));
        println!("round {round}: {taken:?} bytes taken; {} values were written all the same", acked.len() - before);
        (0..3).for_each(|i| assert!(cluster.nodes[i].is_up(), "n{} lives on", i + 1));
        greedy.iter().for_each(|file| std::fs::remove_file(file).expect("the others go"));
        for endpoint in endpoints.chunks(1) {
            rpc::block_on(writes_resume(endpoint));
        }
        rpc::block_on(are_there(&endpoints[1..2], &acked));
    }
    (0..3).for_each(|i| cluster.kill(i));
    cluster.start_all();
    rpc::block_on(are_there(&endpoints[2..], &acked));
    wait_same_hash(&cluster);
}

/// Writes until the file system says that it is full; how many bytes that were.
fn take_everything(file: &Path) -> u64 {
    use std::io::Write;
    let mut file = std::fs::File::create(file).expect("a file");
    let (mut piece, mut taken) = (1 << 20, 0);
    while piece >= 4096 {
        match file.write(&vec![1; piece]) {
            Ok(0) | Err(_) => piece /= 2,
            Ok(n) => taken += n as u64,
        }
    }
    taken
}

/// Puts small values one after the other for so long, whatever is answered; adds those that were acknowledged.
async fn write_for(endpoints: &[String], time: Duration, acked: &mut Vec<usize>) {
    let until = Instant::now() + time;
    let mut client = rpc::connect(endpoints).await;
    let mut n = acked.last().map_or(0, |n| n + 1);
    while Instant::now() < until {
        let left = until.saturating_duration_since(Instant::now());
        let put = client.put(format!("last/{n:06}"), n.to_string(), None);
        if let Ok(Ok(_)) = tokio::time::timeout(left, put).await {
            acked.push(n);
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        n += 1;
    }
}

async fn are_there(endpoints: &[String], acked: &[usize]) {
    let mut client = rpc::connect(endpoints).await;
    let reply = client.get("last/", Some(etcd_client::GetOptions::new().with_prefix())).await.expect("served");
    let there: std::collections::BTreeSet<Vec<u8>> = reply.kvs().iter().map(|kv| kv.key().to_vec()).collect();
    let missing: Vec<usize> =
        acked.iter().copied().filter(|n| !there.contains(format!("last/{n:06}").as_bytes())).collect();
    assert!(missing.is_empty(), "acknowledged and not there: {missing:?} of {}", acked.len());
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

//! A TCP proxy before a node's peer port that can cut one direction between two nodes.
//!
//! Bytes on a cut way are read and thrown away, as a network would; a connection that has lost bytes is closed when the
//! way is healed, since what follows would make no sense. Which node opened a connection is found in `/proc`: by the
//! socket's inode and the process that holds it. So both programs are cut without knowing of it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a copying thread waits for bytes before it looks at the cuts again.
const LOOK: Duration = Duration::from_millis(50);
/// How often a caller is looked for.
const LOOKS: u32 = 10;

pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Process ids by node; 0 while one is down.
    pids: Mutex<Vec<u32>>,
    /// (owner of this proxy, from, to): bytes of `from` to `to` are lost.
    cuts: Mutex<BTreeSet<(usize, usize, usize)>>,
    stop: AtomicBool,
    /// Bytes thrown away so far; a test can see that its cut did something.
    lost: AtomicU64,
}

impl Proxy {
    /// Listens on `front` and connects to `back` for each connection.
    pub fn start(front: (Ipv4Addr, u16), back: (Ipv4Addr, u16)) -> Proxy {
        let address = SocketAddr::from(front);
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("proxy on {address}: {e}"));
        let shared = Arc::new(Shared::default());
        let inner = shared.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if inner.stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(connection) = connection else { continue };
                let inner = inner.clone();
                std::thread::spawn(move || inner.serve(connection, SocketAddr::from(back)));
            }
        });
        Proxy { address, shared }
    }

    /// Which process is which node.
    pub fn know(&self, pids: &[u32]) {
        *self.shared.pids.lock().expect("not poisoned") = pids.to_vec();
    }

    /// Loses what `from` says to `to`. `owner` is the node behind this proxy: only its connections pass here.
    pub fn cut(&self, owner: usize, from: usize, to: usize) {
        if owner == from || owner == to {
            self.shared.cuts.lock().expect("not poisoned").insert((owner, from, to));
        }
    }

    pub fn heal(&self) {
        self.shared.cuts.lock().expect("not poisoned").clear();
    }

    /// Bytes thrown away so far.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)); // wakes the listener
    }
}

impl Shared {
    fn serve(self: Arc<Self>, front: TcpStream, back: SocketAddr) {
        let Ok(caller) = front.peer_addr() else { return };
        let opener = self.node_of(caller);
        let Ok(behind) = TcpStream::connect_timeout(&back, Duration::from_secs(5)) else { return };
        let (Ok(front_read), Ok(behind_read)) = (front.try_clone(), behind.try_clone()) else { return };
        for stream in [&front, &behind] {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(LOOK));
        }
        let broken = Arc::new(AtomicBool::new(false));
        let (there, here) = (self.clone(), broken.clone());
        std::thread::spawn(move || there.copy(front_read, behind, (opener, true), &here));
        self.copy(behind_read, front, (opener, false), &broken);
    }

    /// Copies one direction until either side ends; `way` is who opened the connection and whether this is their side.
    fn copy(&self, mut from: TcpStream, mut to: TcpStream, way: (Option<usize>, bool), broken: &AtomicBool) {
        let mut buffer = vec![0; 64 << 10];
        let mut lossy = false;
        while !self.stop.load(Ordering::Relaxed) && !broken.load(Ordering::Relaxed) {
            let cut = self.is_cut(way);
            if lossy && !cut {
                break; // healed: what comes now would follow a gap
            }
            match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) if cut => {
                    lossy = true;
                    self.lost.fetch_add(n as u64, Ordering::Relaxed);
                }
                Ok(n) => {
                    if to.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
        broken.store(true, Ordering::Relaxed);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn is_cut(&self, (opener, outward): (Option<usize>, bool)) -> bool {
        let Some(opener) = opener else { return false };
        let cuts = self.cuts.lock().expect("not poisoned");
        cuts.iter().any(|(owner, from, to)| match outward {
            true => *from == opener && to == owner,
            false => from == owner && *to == opener,
        })
    }

    /// The node whose process holds the socket with this local address. The kernel's list of sockets is not read in one
    /// piece: while connections come and go, one that lives may be missing, so whoever is not found is looked for again.
    fn node_of(&self, address: SocketAddr) -> Option<usize> {
        (0..LOOKS).find_map(|look| {
            if look > 0 {
                std::thread::sleep(LOOK);
            }
            let inode = inode_of(&std::fs::read_to_string("/proc/net/tcp").ok()?, address)?;
            let pids = self.pids.lock().expect("not poisoned").clone();
            pids.iter().position(|pid| *pid != 0 && holds(*pid, &inode))
        })
    }
}

/// The inode of the socket whose local address this is, from the text of `/proc/net/tcp`.
fn inode_of(table: &str, address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(v4) = address else { return None };
    let wanted = format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port());
    let row = table
        .lines()
        .skip(1)
        .map(|l| l.split_whitespace().collect::<Vec<_>>())
        .find(|f| f.get(1) == Some(&&*wanted))?;
    row.get(9).map(|inode| inode.to_string())
}

fn holds(pid: u32, inode: &str) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let socket = format!("socket:[{inode}]");
    files.flatten().any(|f| std::fs::read_link(f.path()).is_ok_and(|target| target.as_os_str() == socket.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address;

    /// A server that answers each byte with the next one.
    fn echo(at: SocketAddr) {
        let listener = TcpListener::bind(at).expect("a free address");
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[byte[0] + 1]).is_ok() {}
                });
            }
        });
    }

    /// Long enough to tell that nothing comes; what does come may take longer on a busy machine.
    const SILENCE: Duration = Duration::from_millis(400);
    const PATIENCE: Duration = Duration::from_secs(10);

    fn ask(stream: &mut TcpStream, patience: Duration) -> Option<u8> {
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        let mut byte = [0];
        stream.write_all(&[1]).ok()?;
        stream.read_exact(&mut byte).ok()?;
        Some(byte[0])
    }

    #[test]
    fn a_way_is_cut_and_healed() {
        let ip = address::fresh();
        let (front, back) = (SocketAddr::from((ip, 2381)), SocketAddr::from((ip, 2380)));
        echo(back);
        let proxy = Proxy::start((ip, 2381), (ip, 2380));
        proxy.know(&[0, std::process::id()]); // we are node 1, the server is node 0
        let mut stream = TcpStream::connect(front).expect("the proxy listens");
        assert_eq!(ask(&mut stream, PATIENCE), Some(2), "open");
        for (from, to) in [(1, 0), (0, 1)] {
            proxy.cut(0, from, to);
            std::thread::sleep(LOOK * 2);
            let mut stream = TcpStream::connect(front).expect("the proxy listens");
            let before = proxy.lost();
            assert_eq!(ask(&mut stream, SILENCE), None, "{from} → {to} is cut");
            assert!(proxy.lost() > before);
            proxy.heal();
            std::thread::sleep(LOOK * 3);
            assert_eq!(ask(&mut stream, SILENCE), None, "a connection that lost bytes is closed");
            let mut stream = TcpStream::connect(front).expect("the proxy listens");
            assert_eq!(ask(&mut stream, PATIENCE), Some(2), "healed");
        }
        proxy.cut(0, 2, 0);
        let mut stream = TcpStream::connect(front).expect("the proxy listens");
        assert_eq!(ask(&mut stream, PATIENCE), Some(2), "another node's way");
    }
}

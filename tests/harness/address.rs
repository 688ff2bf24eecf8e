//! Loopback addresses that nobody else uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// The port for clients on every address given out.
pub const CLIENT_PORT: u16 = 2379;
/// The port for peers.
pub const PEER_PORT: u16 = 2380;
/// The port of the proxy before the peer port.
pub const PROXY_PORT: u16 = 2381;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// An address in 127.64.0.0/10 on which all three ports are free. Two test programs begin at different places, and an
/// address that turns out to be taken is passed over. Ports on it do not collide with those of outgoing connections,
/// which start from 127.0.0.1.
pub fn fresh() -> Ipv4Addr {
    let start = std::process::id().wrapping_mul(2_654_435_761) >> 10;
    for _ in 0..10_000 {
        let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let [_, b, c, d] = n.to_be_bytes();
        let address = Ipv4Addr::new(127, 64 | (b & 0x3f), c, d);
        let free = |port| TcpListener::bind(SocketAddr::from((address, port))).is_ok();
        if d != 0 && d != 255 && free(CLIENT_PORT) && free(PEER_PORT) && free(PROXY_PORT) {
            return address;
        }
    }
    panic!("no free address in 127.64.0.0/10");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_addresses_differ_and_a_taken_one_is_passed_over() {
        let first = fresh();
        let _held = TcpListener::bind(SocketAddr::from((first, CLIENT_PORT))).expect("it was free");
        NEXT.fetch_sub(1, Ordering::Relaxed);
        assert_ne!(first, fresh());
    }
}

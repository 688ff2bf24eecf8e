//! `--exit-with-parent`: a node that was started by another program does not outlive it.

use crate::config::Complaint;
use rustix::process::{Signal, getpid, kill_process};
use std::io::Read;

/// Stop this process in the orderly way as soon as standard input is closed: its other end is held by the parent, and the
/// system closes it however the parent ends.
pub fn watch() -> Result<(), Complaint> {
    let read = || {
        let mut chunk = [0u8; 64];
        while std::io::stdin().lock().read(&mut chunk).is_ok_and(|n| n > 0) {}
        tracing::info!("standard input was closed: stopping with the parent");
        let _ = kill_process(getpid(), Signal::TERM);
    };
    let thread = std::thread::Builder::new().name("parent".to_string()).spawn(read);
    thread.map(drop).map_err(|e| Complaint::new(format!("cannot start a thread: {e}")))
}

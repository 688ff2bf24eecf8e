//! Finds out whether a silent peer is still there.

use h2::{Ping, PingPong};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Pings after an interval in which nothing was heard; the connection is dead when no answer comes within the timeout.
pub struct Keepalive {
    pings: Option<PingPong>,
    timer: Pin<Box<Sleep>>,
    interval: Duration,
    timeout: Duration,
    active: bool,
    waiting: bool,
}

impl Keepalive {
    /// Starts the first interval.
    pub fn new(pings: Option<PingPong>, interval: Duration, timeout: Duration) -> Keepalive {
        Keepalive { pings, timer: Box::pin(sleep(interval)), interval, timeout, active: false, waiting: false }
    }

    /// The other side did something.
    pub fn heard(&mut self) {
        self.active = true;
    }

    /// Ready when the other side is gone.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if self.waiting && pings.poll_pong(cx).is_ready() {
            self.waiting = false;
            self.timer.as_mut().reset(Instant::now() + self.interval);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.waiting {
                return Poll::Ready(());
            }
            let next = if std::mem::take(&mut self.active) {
                self.interval
            } else {
                // A ping that cannot be sent belongs to a connection that is closing already.
                let sent = pings.send_ping(Ping::opaque());
                self.waiting = sent.is_ok() && pings.poll_pong(cx).is_pending();
                if self.waiting { self.timeout } else { self.interval }
            };
            self.timer.as_mut().reset(Instant::now() + next);
        }
        Poll::Pending
    }
}

//! The side that dials: one task per peer keeps one session open, or keeps trying.

use crate::message::Arrived;
use crate::outbox::Outward;
use crate::peer::{Orders, Peer, Shared};
use crate::stats::count;
use crate::stream::{ANSWER_TIMEOUT, Stream, connect};
use crate::{Event, Hello, Lane, Side};
use base::Rng;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// The pause after a failure doubles from the first to the second; half of each is left to chance.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Round trips are measured this often.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// What waits is sent before a session is closed in order, unless it takes longer.
const LINGER: Duration = Duration::from_millis(500);

/// Why there is no session, or no longer.
enum End {
    /// No answer, a broken stream, a stale process. Proves nothing.
    Lost(String),
    /// One side will not talk to the other.
    Refused(Side, String),
    /// As ordered.
    Stopped,
}

/// An answered stream of one lane.
struct Open {
    hello: Hello,
    stream: Stream,
}

/// Keeps a session with this peer until told to stop.
pub(crate) async fn dial(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut orders = peer.orders.subscribe();
    let mut rng = Rng::new(shared.local.boot.0 ^ shared.local.incarnation.0.rotate_left(32) ^ peer.store.0);
    let mut pause = PAUSE.0;
    for attempt in 0.. {
        let Orders { urls, stop, .. } = orders.borrow_and_update().clone();
        if stop {
            return;
        }
        let began = Instant::now();
        if !urls.is_empty() {
            let url = &urls[attempt % urls.len()];
            let number = shared.number();
            let end = Session { shared: &shared, peer: &peer, url, number }.run(orders.clone()).await;
            note(&shared, &peer, url, end);
        }
        if began.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        let half = pause / 2;
        let nanos = rng.below(half.as_nanos() as u64);
        tokio::select! {
            () = sleep(half + Duration::from_nanos(nanos)) => pause = (pause * 2).min(PAUSE.1),
            _ = orders.changed() => pause = PAUSE.0,
        }
    }
}

/// Writes down why there is no session, and tells a refusal.
fn note(shared: &Shared, peer: &Peer, url: &str, end: End) {
    let text = match end {
        End::Lost(text) => format!("{url}: {text}"),
        End::Refused(by, text) => {
            shared.tell_refusal(peer.store, by, &text);
            text
        }
        End::Stopped => return,
    };
    *peer.counters.last_error.lock() = text;
}

/// Three streams to one peer, which live and die together.
struct Session<'a> {
    shared: &'a Arc<Shared>,
    peer: &'a Arc<Peer>,
    url: &'a str,
    number: u64,
}

impl Session<'_> {
    async fn run(&self, mut orders: watch::Receiver<Orders>) -> End {
        let opened = tokio::select! {
            opened = self.open_all() => opened,
            () = stopped(&mut orders) => Err(End::Stopped),
        };
        let end = match opened {
            Ok(lanes) => self.keep(lanes, orders).await,
            Err(end) => {
                count(&self.peer.counters.failed_dials, 1);
                end
            }
        };
        for outbox in &self.peer.outboxes {
            count(&self.peer.counters.unconnected_frames, outbox.close(self.number));
        }
        if self.peer.counters.connected.swap(false, Ordering::Relaxed) {
            self.shared.tell(Event::Disconnected { peer: self.peer.store });
        }
        end
    }

    /// Control first: a peer that refuses does so once.
    async fn open_all(&self) -> Result<[Open; 3], End> {
        let control = self.open(Lane::Control).await?;
        let (append, snapshot) = tokio::try_join!(self.open(Lane::Append), self.open(Lane::Snapshot))?;
        if append.hello != control.hello || snapshot.hello != control.hello {
            return Err(End::Lost("it restarted just now".to_owned()));
        }
        self.peer.meet(&control.hello, || ()).map_err(End::Lost)?;
        Ok([control, append, snapshot])
    }

    /// Connects, says hello, hears hello.
    async fn open(&self, lane: Lane) -> Result<Open, End> {
        let lost = |text: &dyn std::fmt::Display| End::Lost(text.to_string());
        let socket = connect(self.url).await.map_err(End::Lost)?;
        let outbox = self.peer.outboxes[lane.index()].clone();
        let outward = Outward::new(outbox, self.number, lane, self.shared.local.clone());
        let asked = timeout(ANSWER_TIMEOUT, async {
            let mut stream = Stream::open(socket, self.url, outward).await?;
            let first = stream.next().await?;
            Ok((first.ok_or("the stream ended without an answer")?, stream))
        });
        let asked = asked.await.map_err(|_| lost(&"no answer to our hello"))?;
        let (first, stream) = asked.map_err(End::Lost)?;
        match Arrived::decode(first) {
            Ok(Arrived::Hello(hello)) => {
                self.judge(&hello).map_err(|text| End::Refused(Side::Us, text))?;
                Ok(Open { hello, stream })
            }
            Ok(Arrived::Refused(text)) => Err(End::Refused(Side::Them, text)),
            Ok(_) => Err(lost(&"the answer to our hello makes no sense")),
            Err(error) => Err(lost(&error.text)),
        }
    }

    fn judge(&self, hello: &Hello) -> Result<(), String> {
        self.shared.judge(hello)?;
        if hello.store != self.peer.store {
            let (url, wanted, Hello { name, store, .. }) = (self.url, self.peer.store, hello);
            return Err(format!("{url} should lead to {wanted} and leads to {name} ({store})"));
        }
        Ok(())
    }

    /// Opens the outboxes and waits for the end.
    async fn keep(&self, [mut control, mut append, mut snapshot]: [Open; 3], orders: watch::Receiver<Orders>) -> End {
        self.begin(&control.hello);
        let hello = control.hello.clone();
        tokio::select! {
            end = self.measure(&mut control.stream) => end,
            end = complaint(&mut append.stream) => end,
            end = complaint(&mut snapshot.stream) => end,
            end = self.obey(&hello, orders) => {
                if matches!(end, End::Stopped) {
                    self.linger([control, append, snapshot]).await;
                }
                end
            }
        }
    }

    fn begin(&self, hello: &Hello) {
        for outbox in &self.peer.outboxes {
            outbox.open(self.number);
        }
        let counters = &self.peer.counters;
        counters.connected.store(true, Ordering::Relaxed);
        count(&counters.sessions, 1);
        counters.last_error.lock().clear();
        self.shared.forget_refusal(self.peer.store, Side::Us);
        self.shared.forget_refusal(self.peer.store, Side::Them);
        self.shared.tell(Event::Connected { peer: self.peer.store, hello: hello.clone() });
    }

    /// Pings on the control lane, until it ends.
    async fn measure(&self, stream: &mut Stream) -> End {
        let control = &self.peer.outboxes[Lane::Control.index()];
        let now = || self.shared.began.elapsed();
        let mut pings = interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = pings.tick() => control.ping(now().as_nanos() as u64),
                answer = next(stream) => match answer {
                    Ok(Arrived::Pong(sent)) => {
                        let took = now().saturating_sub(Duration::from_nanos(sent));
                        self.peer.counters.round_trip(took);
                    }
                    Ok(_) => return End::Lost("an answer makes no sense".to_owned()),
                    Err(end) => return end,
                }
            }
        }
    }

    /// Ends when it was ordered, the address was taken back, or the process at the other end is known to be gone.
    async fn obey(&self, hello: &Hello, mut orders: watch::Receiver<Orders>) -> End {
        loop {
            {
                let orders = orders.borrow_and_update();
                if orders.stop {
                    return End::Stopped;
                }
                if !orders.urls.iter().any(|url| url == self.url) {
                    return End::Lost("this address is not its own any more".to_owned());
                }
            }
            if self.peer.is_outdated(hello) {
                return End::Lost("it restarted".to_owned());
            }
            if orders.changed().await.is_err() {
                return End::Stopped;
            }
        }
    }

    /// Sends what waits and ends the streams; the peer ends its side when it has taken everything in.
    async fn linger(&self, lanes: [Open; 3]) {
        for outbox in &self.peer.outboxes {
            outbox.finish();
        }
        let all = async {
            for mut lane in lanes {
                while let Ok(Arrived::Pong(_)) = next(&mut lane.stream).await {}
            }
        };
        let _ = timeout(LINGER, all).await;
    }
}

/// Waits for the order to stop.
async fn stopped(orders: &mut watch::Receiver<Orders>) {
    let _ = orders.wait_for(|orders| orders.stop).await;
}

/// On a lane without pings the first word after the hello is the last.
async fn complaint(stream: &mut Stream) -> End {
    match next(stream).await {
        Ok(_) => End::Lost("an answer makes no sense".to_owned()),
        Err(end) => end,
    }
}

/// The next answer that is not a complaint.
async fn next(stream: &mut Stream) -> Result<Arrived, End> {
    match stream.next().await {
        Ok(Some(answer)) => match Arrived::decode(answer) {
            Ok(Arrived::Refused(text)) => Err(End::Refused(Side::Them, text)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(End::Lost(error.text)),
        },
        Ok(None) => Err(End::Lost("it closed the stream".to_owned())),
        Err(text) => Err(End::Lost(format!("the stream broke: {text}"))),
    }
}

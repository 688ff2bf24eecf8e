//! Store liveness: which store supports which, so that leases need no heartbeat per range (protocols §2).
//!
//! Store S asks every other store T for support in a *beat*. T promises on its own clock, from receipt; S counts on it
//! from *sending*, shortened by the worst drift of both clocks. So S always stops relying before T stops supporting,
//! whatever the network does. A promise can end early only on proof that S has given everything up.
//!
//! `now` must have been read after the beats of the step were received: an old clock would make a promise too short.

use base::{Incarnation, Revision, StoreId, Tick, limits, marker};
use raft::{Received, SupportEpoch, Supports};
use std::collections::BTreeMap;
use std::fmt;

/// What one store tells another about support, both ways.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beat {
    pub incarnation: Incarnation,
    /// The sender's epoch of this pair.
    pub n: u64,
    /// Does it ask for support?
    pub asks: bool,
    /// On the sender's clock.
    pub sent: Tick,
    /// How long the sender wants to be supported.
    pub duration: Tick,
    /// "I support you": the epoch, and when the beat that asked for it was sent (on the receiver's clock).
    pub support: Option<(SupportEpoch, Tick)>,
    /// "I will never support this epoch of yours, or an earlier one."
    pub withdrawn: Option<SupportEpoch>,
    /// Whom the sender supports.
    pub vouches: Vec<StoreId>,
    /// Answers a beat: is not answered itself.
    pub is_reply: bool,
    /// "I have given up every lease and go."
    pub goodbye: bool,
    /// "I have no room for clients' writes."
    pub full: bool,
    /// "I know that revisions up to this one are issued": for headers that name no key. The node fills it in.
    pub revision: Revision,
    /// How deep the sender's store is. The node fills it in, and what follows.
    pub depth: u64,
    /// How deep the receiver's has been in other lives than this one of it.
    pub remembered: (Incarnation, u64),
}

#[derive(Clone, Default, Debug)]
struct Peer {
    /// Our epoch toward it.
    n: u64,
    heard_at: Option<Tick>,
    /// Its last beat asked for support, which only a store does that hears us.
    asks: bool,
    /// Its newest life that we heard of.
    incarnation: Incarnation,
    promise: Option<Promise>,
    /// The largest epoch of it that we withdrew.
    withdrawn: Option<SupportEpoch>,
    next_beat: Tick,
    /// Until when it supports us, as far as was told; `FAR` once that it lapsed was told, too.
    lapses: Tick,
}

#[derive(Clone, Copy, Debug)]
struct Promise {
    epoch: SupportEpoch,
    until: Tick,
    /// When the newest beat that asked was sent, on its clock.
    asked_at: Tick,
}

/// Both halves of support, for all other stores.
#[derive(Clone, Debug)]
pub struct Liveness {
    incarnation: Incarnation,
    peers: BTreeMap<StoreId, Peer>,
    supports: Supports,
    heartbeat: Tick,
    duration: Tick,
    gone: bool,
    full: bool,
}

/// Beats to send, and stores whose support changed either way.
#[derive(Default, Debug)]
pub struct Turned {
    pub beats: Vec<(StoreId, Beat)>,
    pub changed: Vec<StoreId>,
}

impl Liveness {
    /// `voting_from`: after a restart, nobody gets a vote for as long as any promise of the last life may run.
    pub fn new(own: StoreId, incarnation: Incarnation, times: (Tick, Tick), voting_from: Tick) -> Liveness {
        let mut supports = Supports::new(own, incarnation);
        supports.voting_allowed_from =
            if base::bug!("restarted-supporter-votes-at-once") { Tick::ZERO } else { voting_from };
        let (heartbeat, duration) = times;
        Liveness { incarnation, peers: BTreeMap::new(), supports, heartbeat, duration, gone: false, full: false }
    }

    /// A store that takes part.
    pub fn add(&mut self, store: StoreId) {
        self.peers.entry(store).or_insert_with(|| Peer { n: 1, lapses: Tick::FAR, ..Peer::default() });
        self.supports.set_given(store, None);
        self.supports.set_received(store, None);
    }

    /// What the Raft cores look at.
    pub fn supports(&self) -> &Supports {
        &self.supports
    }

    /// Beats say so; that there is no room any more, at once.
    pub fn set_full(&mut self, full: bool) {
        if full && !self.full {
            self.peers.values_mut().for_each(|p| p.next_beat = Tick::ZERO);
        }
        self.full = full;
    }

    /// May leases be relied on at all?
    pub fn enable_leases(&mut self, on: bool) {
        self.supports.leases_enabled = on;
    }

    /// Was this store heard from within D?
    pub fn is_heard(&self, store: StoreId, now: Tick) -> bool {
        self.peers.get(&store).and_then(|p| p.heard_at).is_some_and(|t| now < t + self.duration)
    }

    /// Does it hear us, too, as far as we know? A store that only speaks never answers a call.
    pub fn hears_us(&self, store: StoreId, now: Tick) -> bool {
        let supported = self.supports.received(store).is_some_and(|r| now < r.until);
        // One with a shorter election timeout than ours hears us and does not support us.
        let hears = supported || self.peers.get(&store).is_some_and(|p| p.asks);
        self.is_heard(store, now) && (hears || base::bug!("deaf-leader-is-asked-for-ever"))
    }

    /// The newest life of a store that we heard of.
    pub fn incarnation_of(&self, store: StoreId) -> Incarnation {
        self.peers.get(&store).map(|p| p.incarnation).unwrap_or_default()
    }

    /// When something here must happen next.
    pub fn next_wake(&self) -> Tick {
        // Whoever has said goodbye beats no more, and must not be woken for it again and again until it is gone.
        let beat = self.peers.values().map(|p| p.next_beat).filter(|_| !self.gone);
        let promise = self.peers.values().filter_map(|p| p.promise.map(|p| p.until));
        let lapses = self.peers.values().map(|p| p.lapses);
        beat.chain(promise).chain(lapses).min().unwrap_or(Tick::FAR)
    }

    /// Time passes: promises end, beats are due. `disk_ok`: the writer has finished a turn recently.
    pub fn tick(&mut self, now: Tick, disk_ok: bool, out: &mut Turned) {
        let mut ended = Vec::new();
        for (store, peer) in &mut self.peers {
            if let Some(p) = peer.promise.filter(|p| now >= p.until) {
                marker!("liveness.support withdrawn");
                peer.withdrawn = peer.withdrawn.max(Some(p.epoch));
                peer.promise = None;
                self.supports.set_given(*store, None);
                ended.push(*store);
            }
            if now >= peer.lapses {
                // Nobody tells us: a leader that goes deaf must find out by itself that its support is over.
                marker!("liveness.support lapsed");
                peer.lapses = Tick::FAR;
                if !base::bug!("lapse-unnoticed") {
                    ended.push(*store);
                }
            }
        }
        out.changed.extend(ended);
        if self.gone {
            return;
        }
        let due: Vec<StoreId> = self.peers.iter().filter(|(_, p)| now >= p.next_beat).map(|(s, _)| *s).collect();
        for store in due {
            let beat = self.beat(store, now, disk_ok, false);
            out.beats.push((store, beat));
            if let Some(p) = self.peers.get_mut(&store) {
                p.next_beat = now + self.heartbeat;
            }
        }
    }

    fn beat(&self, store: StoreId, now: Tick, disk_ok: bool, is_reply: bool) -> Beat {
        let vouches = self.peers.iter().filter(|(_, p)| p.promise.is_some()).map(|(s, _)| *s).collect();
        let peer = &self.peers[&store];
        let heard = peer.heard_at.is_some_and(|t| now < t + self.duration) || base::bug!("asks-without-hearing");
        Beat {
            incarnation: self.incarnation,
            n: peer.n,
            asks: heard && disk_ok && !self.gone,
            sent: now,
            duration: self.duration,
            support: peer.promise.map(|p| (p.epoch, p.asked_at)),
            withdrawn: peer.withdrawn,
            vouches,
            is_reply,
            goodbye: self.gone,
            full: self.full,
            revision: Revision::ZERO,
            depth: 0,
            remembered: (Incarnation::default(), 0),
        }
    }

    /// A beat came in.
    pub fn receive(&mut self, from: StoreId, beat: &Beat, now: Tick, disk_ok: bool, out: &mut Turned) {
        let own_incarnation = self.incarnation;
        if !self.peers.contains_key(&from) {
            // A store without a replica of any range still serves clients: whoever talks to us is answered.
            marker!("liveness.store in no range");
            self.add(from);
        }
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if beat.incarnation < peer.incarnation {
            marker!("liveness.beat of an earlier life");
            return;
        }
        if beat.incarnation > peer.incarnation {
            marker!("liveness.peer restarted");
            peer.incarnation = beat.incarnation;
            // Proof: its earlier life is over, and with it every lease.
            if peer.promise.take().is_some() {
                self.supports.set_given(from, None);
            }
            peer.withdrawn = None;
            self.supports.set_received(from, None);
            out.changed.push(from);
        }
        let first = peer.heard_at.is_none();
        (peer.heard_at, peer.asks) = (Some(now), beat.asks);
        if beat.goodbye {
            marker!("liveness.goodbye");
            let epoch = SupportEpoch { incarnation: beat.incarnation, n: beat.n };
            peer.withdrawn = peer.withdrawn.max(Some(epoch));
            peer.promise = None;
            self.supports.set_given(from, None);
            out.changed.push(from);
            return;
        }
        if beat.duration > self.duration && !base::bug!("longest-promise-forgotten") {
            // After a restart this store waits for its own longest promise, not for what others would have liked.
            marker!("liveness.asked for more than is promised here");
        } else if beat.asks {
            take_promise(&mut self.supports, peer, (from, beat, now), out);
        }
        // What it says about us.
        if let Some(w) = beat.withdrawn.filter(|w| w.incarnation == own_incarnation && w.n >= peer.n) {
            marker!("liveness.next epoch");
            peer.n = w.n + 1;
            self.supports.set_received(from, None);
            out.changed.push(from);
        }
        let ours = SupportEpoch { incarnation: own_incarnation, n: peer.n };
        if let Some((_, sent)) = beat.support.filter(|(e, _)| *e == ours) {
            self.count_on(from, beat, sent, out);
        }
        self.supports.set_vouched(from, beat.vouches.clone());
        if (!beat.is_reply || first) && !self.gone {
            let reply = self.beat(from, now, disk_ok, true);
            out.beats.push((from, reply));
        }
    }

    /// The other store supports us; we count on it from when we *sent* what it answers.
    fn count_on(&mut self, from: StoreId, beat: &Beat, sent: Tick, out: &mut Turned) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let epoch = SupportEpoch { incarnation: self.incarnation, n: peer.n };
        let rho = if base::bug!("drift-counted-once") { 0 } else { limits::CLOCK_DRIFT_PERCENT };
        let counted = self.duration.0 / (100 + rho) * (100 - limits::CLOCK_DRIFT_PERCENT);
        let until = sent + Tick(counted);
        let before = self.supports.received(from);
        let same = before.is_some_and(|r| r.epoch == epoch && r.incarnation == beat.incarnation);
        let until = if same { before.map_or(until, |r| r.until.max(until)) } else { until };
        if !same || peer.lapses == Tick::FAR {
            marker!("liveness.support received");
            out.changed.push(from);
        }
        peer.lapses = until;
        self.supports.set_received(from, Some(Received { epoch, incarnation: beat.incarnation, until }));
    }

    /// The orderly end: every lease was given up. Returns the last beats.
    pub fn goodbye(&mut self, now: Tick) -> Vec<(StoreId, Beat)> {
        self.gone = true;
        self.peers.keys().map(|s| (*s, self.beat(*s, now, false, true))).collect()
    }
}

fn take_promise(supports: &mut Supports, peer: &mut Peer, ask: (StoreId, &Beat, Tick), out: &mut Turned) {
    let (from, beat, now) = ask;
    let epoch = SupportEpoch { incarnation: beat.incarnation, n: beat.n };
    if peer.withdrawn.is_some_and(|w| epoch <= w) {
        marker!("liveness.withdrawn epoch asks again");
        return;
    }
    let fresh = peer.promise.is_none_or(|p| p.epoch < epoch);
    let older = peer.promise.is_some_and(|p| p.epoch > epoch);
    if older {
        return;
    }
    let until = now + beat.duration;
    let (until, asked_at) = match peer.promise.filter(|_| !fresh) {
        Some(p) => (until.max(p.until), beat.sent.max(p.asked_at)),
        None => (until, beat.sent),
    };
    peer.promise = Some(Promise { epoch, until, asked_at });
    supports.set_given(from, Some(epoch));
    if fresh {
        marker!("liveness.support given");
        out.changed.push(from);
    }
}

impl fmt::Display for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "beat {}.{}{}", self.incarnation, self.n, if self.asks { " asks" } else { "" })?;
        if let Some((e, sent)) = self.support {
            write!(f, " supports {e} of {sent}")?;
        }
        if let Some(w) = self.withdrawn {
            write!(f, " withdrew {w}")?;
        }
        if self.goodbye {
            write!(f, " goodbye")?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const D: Tick = Tick::ms(1000);

    fn pair() -> (Liveness, Liveness) {
        let make = |own: u64, other: u64| {
            let mut l = Liveness::new(StoreId(own), Incarnation(1), (Tick::ms(100), D), Tick::ZERO);
            l.add(StoreId(other));
            l
        };
        (make(1, 2), make(2, 1))
    }

    /// Delivers beats both ways until nobody has anything to say.
    fn exchange(a: &mut Liveness, b: &mut Liveness, now: Tick) {
        let mut out = Turned::default();
        a.tick(now, true, &mut out);
        let mut to_b: Vec<Beat> = out.beats.into_iter().map(|(_, b)| b).collect();
        while !to_b.is_empty() {
            let mut back = Turned::default();
            for beat in &to_b {
                b.receive(StoreId(1), beat, now, true, &mut back);
            }
            let mut forth = Turned::default();
            for (_, beat) in &back.beats {
                a.receive(StoreId(2), beat, now, true, &mut forth);
            }
            to_b = forth.beats.into_iter().map(|(_, b)| b).collect();
        }
    }

    #[test]
    fn nobody_is_woken_for_beats_after_goodbye() {
        let (mut a, _) = pair();
        assert!(a.next_wake() < Tick::FAR);
        assert_eq!(a.goodbye(Tick::ms(5)).len(), 1);
        assert_eq!(a.next_wake(), Tick::FAR);
    }

    #[test]
    pub(crate) fn support_that_lapses_is_told_although_nobody_says_so() {
        let (mut a, mut b) = pair();
        exchange(&mut a, &mut b, Tick::ms(0));
        exchange(&mut a, &mut b, Tick::ms(100));
        let until = a.supports().received(StoreId(2)).expect("b supports a").until;
        // b's disk stands still: it asks for nothing, and a's support for it has ended.
        let mut out = Turned::default();
        for peer in a.peers.values_mut() {
            peer.promise = None;
        }
        a.tick(until - Tick(1), true, &mut out);
        assert!(out.changed.is_empty(), "it still counts");
        let wakes = (0..100).scan(until - Tick(1), |now, _| {
            *now = a.next_wake();
            a.tick(*now, true, &mut out);
            Some(*now)
        });
        assert!(wakes.take_while(|t| *t <= until).any(|t| t == until), "the node is woken for it");
        assert_eq!(out.changed, [StoreId(2)]);
        a.tick(until + D, true, &mut out);
        assert_eq!(out.changed, [StoreId(2)], "once");
    }

    #[test]
    fn support_is_counted_from_sending_and_shortened_by_both_drifts() {
        let (mut a, mut b) = pair();
        exchange(&mut a, &mut b, Tick::ms(0));
        exchange(&mut a, &mut b, Tick::ms(100));
        let r = a.supports().received(StoreId(2)).expect("b supports a");
        assert!(r.until <= Tick::ms(100) + Tick::ms(819), "D(1-rho)/(1+rho) from sending, not {}", r.until);
        assert!(r.until >= Tick::ms(100) + Tick::ms(818));
        assert!(b.supports().given(StoreId(1)).is_some());
    }

    #[test]
    fn a_withdrawn_epoch_is_never_supported_again() {
        let (mut a, mut b) = pair();
        exchange(&mut a, &mut b, Tick::ms(0));
        exchange(&mut a, &mut b, Tick::ms(100));
        let old = b.supports().given(StoreId(1)).unwrap();
        let mut out = Turned::default();
        b.tick(Tick::ms(1100), true, &mut out);
        assert_eq!(b.supports().given(StoreId(1)), None);
        assert!(out.changed.contains(&StoreId(1)));
        exchange(&mut a, &mut b, Tick::ms(1200));
        exchange(&mut a, &mut b, Tick::ms(1300));
        exchange(&mut a, &mut b, Tick::ms(1400));
        let new = b.supports().given(StoreId(1)).expect("the next epoch is supported");
        assert!(new > old);
        assert_eq!(a.supports().received(StoreId(2)).unwrap().epoch, new);
    }

    #[test]
    fn a_one_way_cut_ends_support() {
        let (mut a, _) = pair();
        let mut out = Turned::default();
        a.tick(Tick::ms(0), true, &mut out);
        assert!(!out.beats[0].1.asks, "a store that hears nothing asks for nothing");
    }

    #[test]
    fn a_stalled_disk_asks_for_nothing() {
        let (mut a, mut b) = pair();
        exchange(&mut a, &mut b, Tick::ms(0));
        let mut out = Turned::default();
        a.tick(Tick::ms(100), false, &mut out);
        assert!(!out.beats[0].1.asks);
    }

    #[test]
    fn a_restart_ends_support_and_is_told_apart() {
        let (mut a, mut b) = pair();
        exchange(&mut a, &mut b, Tick::ms(0));
        exchange(&mut a, &mut b, Tick::ms(100));
        let mut again = Liveness::new(StoreId(1), Incarnation(2), (Tick::ms(100), D), Tick::ZERO);
        again.add(StoreId(2));
        exchange(&mut again, &mut b, Tick::ms(200));
        exchange(&mut again, &mut b, Tick::ms(300));
        assert_eq!(b.supports().given(StoreId(1)).unwrap().incarnation, Incarnation(2));
    }
}

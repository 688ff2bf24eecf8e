//! Plots: coincidences that bad luck alone brings about too rarely, brought about on purpose. Each is something that can
//! happen to real machines.
//!
//! | plot | asks |
//! |---|---|
//! | `haunt` | does a new life take what was meant for the last one? |
//! | `compact_at_once` | does anybody still read what a new bound lets go? |
//! | `overtake` | the same of a scan that is on its way |
//! | `tarry` | the same of a bound that is on its way, and whoever reads before it is there |
//! | `lease_opens` | is the clock looked at when an answer leaves? |
//! | `forsake` | who remembers promises after a restart? |
//! | `woo` | the same, when somebody waits for their vote |
//! | `tear_clocks_apart` | do leases end before promises do, at the worst two clocks may do? |
//! | `begins_to_lead` | what becomes of entries that one leader after the other leaves behind on one disk each? |

use super::faults::Mend;
use super::host::Host;
use super::{Event, MS, SEC, World};
use crate::net::HUNG;
use crate::report::Part;
use base::{Leased, StoreId};
use bytes::Bytes;
use engine::mem::{Crash, MemView};
use engine::{Batch, Cf, Op, keys};
use node::Lane;
use range::{Proof, Ready};
use std::collections::VecDeque;

/// Frames that reached for this host lately: some come again in its next life.
#[derive(Default)]
pub(super) struct Lately {
    frames: VecDeque<(usize, Lane, Bytes)>,
}

/// So many are kept.
const KEPT: usize = 12;

impl World<'_> {
    /// A frame was sent to this host.
    pub(super) fn remember(&mut self, from: usize, to: usize, lane: Lane, bytes: &Bytes) {
        if self.options.net.replay == 0 || lane == Lane::Control || bytes.len() < 40 {
            return;
        }
        let frames = &mut self.hosts[to].lately.frames;
        if frames.len() >= KEPT {
            frames.pop_front();
        }
        frames.push_back((from, lane, bytes.clone()));
    }

    /// A host has started: what was said to its earlier life reaches this one.
    pub(super) fn haunt(&mut self, i: usize) {
        let frames = std::mem::take(&mut self.hosts[i].lately.frames);
        if self.faults.is_over() {
            return;
        }
        for (from, lane, bytes) in frames {
            if self.hosts[i].rng.chance(500_000) {
                let late = self.hosts[i].rng.below(20 * MS);
                self.net.replayed += 1;
                self.after(late, Event::Frame(from, i, lane, bytes));
            }
        }
    }

    /// The bound of compaction has just come into use: a compaction that begins at once is the worst for those who read.
    pub(super) fn compact_at_once(&mut self, i: usize) {
        let on = self.options.faults.filter > 0 && !self.faults.is_over();
        if !on || !self.hosts[i].rng.chance(600_000) {
            return;
        }
        let passes = if self.options.faults.chances.tarry > 0 { 3 } else { 1 };
        for _ in 0..passes {
            let host = &mut self.hosts[i];
            let mut rng = host.rng.fork();
            if host.disk.compact_some(&mut rng).is_ok_and(|dropped| dropped > 0) {
                self.faults.struck();
                self.totals.add(Part::Faults, "compaction", 1);
            }
        }
    }

    /// A bound of compaction is on its way to a disk that takes long with it, and with whatever is read meanwhile.
    pub(super) fn tarry(&mut self, i: usize, batch: &Batch) {
        let chance = self.options.faults.chances.tarry;
        let bound = |op: &Op| matches!(op, Op::Put(Cf::Data, key, _) if *key == keys::store(node::boot::BOUND));
        if chance == 0 || self.faults.is_over() || !batch.ops().iter().any(bound) || !self.faults.rng().chance(chance) {
            return;
        }
        self.totals.add(Part::Faults, "bound is slow", 1);
        self.faults.struck();
        let long = 50 * MS + self.faults.rng().below(400 * MS);
        self.hosts[i].disk.set_stalled(true);
        self.hosts[i].disk_queue.reads_wait = self.now + long;
        self.after(long, Event::Mend(Mend::Unstall(i)));
    }

    /// The shell may be held up between sending the frames of a step and opening an answer that rests on a lease.
    pub(super) fn lease_opens(&mut self, i: usize, proof: Proof, leased: Leased<Ready<MemView>>) {
        let held_up = !self.faults.is_over() && self.hosts[i].rng.chance(self.options.faults.chances.dawdle);
        if !held_up {
            return self.open_leased(i, proof, leased);
        }
        self.totals.add(Part::Faults, "answer opened late", 1);
        let late = MS + self.hosts[i].rng.below(900 * MS);
        let life = self.hosts[i].life;
        self.after(late, Event::Open(i, life, Box::new((proof, leased))));
    }

    /// A scan over several ranges was asked for here. As soon as it may know its revision, what this host says to others
    /// takes longer; meanwhile everything is compacted as far as anybody knows, and the others' disks are slow: the scan
    /// arrives when what it would read is about to go.
    pub(super) fn overtake(&mut self, door: usize) {
        let chance = self.options.faults.chances.overtake;
        if chance == 0 || self.faults.is_over() || self.options.ranges < 2 || !self.faults.rng().chance(chance) {
            return;
        }
        self.totals.add(Part::Faults, "scan overtaken", 1);
        self.faults.struck();
        let (soon, later) = (self.faults.rng().below(20 * MS), 50 * MS + self.faults.rng().below(200 * MS));
        self.after(soon, Event::Mend(Mend::Hinder(door)));
        self.after(later, Event::Mend(Mend::Compact));
    }

    /// What this host says to others takes longer for a while, and so do writes on other disks.
    pub(super) fn hinder(&mut self, door: usize) {
        if self.faults.is_over() {
            return;
        }
        let lasts = 200 * MS + self.faults.rng().below(700 * MS);
        let lane = Lane::ALL.iter().position(|l| *l == Lane::Append).unwrap_or(0);
        let others = (0..self.hosts.len()).filter(|i| *i != door);
        let links: Vec<(usize, usize)> = others.map(|other| (door, other)).collect();
        for &(_, other) in &links {
            self.net.lag(door, other, lane, lasts);
            if self.faults.rng().chance(500_000) {
                self.hosts[other].disk_queue.slow = 5 + self.faults.rng().below(100);
                self.after(2 * lasts, Event::Mend(Mend::Hasten(other)));
            }
        }
        self.after(lasts, Event::Mend(Mend::Quicken(links, lane)));
    }

    /// A host that leads some range, if there is one and somebody else.
    pub(super) fn some_leader(&mut self) -> Option<usize> {
        let leads = |h: &Host| h.node.as_ref().is_some_and(|node| node.replicas().any(|r| r.leads().is_some()));
        let leaders: Vec<usize> = (0..self.hosts.len()).filter(|i| leads(&self.hosts[*i])).collect();
        let somebody = self.hosts.len() > 1 && !leaders.is_empty();
        somebody.then(|| *self.faults.rng().pick(&leaders))
    }

    /// Cuts a host off from all others, both ways; says what to join again.
    fn sever(&mut self, i: usize) -> Vec<(usize, usize)> {
        let others = (0..self.hosts.len()).filter(|other| *other != i);
        let links: Vec<_> = others.flat_map(|other| [(i, other), (other, i)]).collect();
        links.iter().for_each(|(a, b)| self.net.cut(*a, *b));
        links
    }

    /// Cuts a host off for so long.
    pub(super) fn sever_for(&mut self, i: usize, lasts: u64) {
        if !self.faults.is_over() {
            let links = self.sever(i);
            self.after(lasts, Event::Mend(Mend::Join(links)));
        }
    }

    /// The leader is alone on its side, and all others come back as new as they can be: who remembers their promises?
    pub(super) fn forsake(&mut self, lasts: u64) -> bool {
        let Some(alone) = self.some_leader() else { return false };
        let others: Vec<usize> = (0..self.hosts.len()).filter(|i| *i != alone).collect();
        self.restart(&others);
        self.sever_for(alone, lasts);
        self.trace(format_args!("{} is forsaken", StoreId(alone as u64 + 1)));
        true
    }

    /// The leader and one other lose each other, for longer than promises last; then the leader loses the rest, too, all of
    /// whom start anew. Among them are those that had kept it in office: whom do they vote for? Or the leader loses nobody
    /// else, but only its beats get through to them: does it count on promises of their last lives?
    pub(super) fn woo(&mut self, lasts: u64) -> bool {
        let n = self.hosts.len();
        let Some(leader) = self.some_leader().filter(|_| n > 2) else { return false };
        let rival = (leader + 1 + self.faults.rng().below(n as u64 - 1) as usize) % n;
        let links = vec![(leader, rival), (rival, leader)];
        links.iter().for_each(|(a, b)| self.net.cut(*a, *b));
        let d = self.options.election_timeout().0;
        let wait = d + self.faults.rng().below(2 * d);
        let rest = (0..n).filter(|i| *i != leader && *i != rival).collect();
        let hush = self.options.faults.chances.hush;
        let hushed = hush > 0 && self.faults.rng().chance(hush);
        // Long enough for the rest to wait until they may vote, and to grow impatient.
        let lasts = if hushed { lasts.max(3 * d + self.faults.rng().below(2 * d)) } else { lasts };
        self.after(wait, Event::Mend(Mend::Desert(leader, rest, lasts, hushed)));
        self.after(wait + SEC + lasts, Event::Mend(Mend::Join(links)));
        true
    }

    /// All who stood by this host start anew, and nobody tells it.
    pub(super) fn desert(&mut self, leader: usize, rest: &[usize], lasts: u64, hushed: bool) {
        if self.faults.is_over() {
            return;
        }
        if hushed {
            self.totals.add(Part::Faults, "leader hushed", 1);
            let lane = Lane::ALL.iter().position(|l| *l == Lane::Append).unwrap_or(0);
            let links: Vec<(usize, usize)> = rest.iter().map(|other| (leader, *other)).collect();
            links.iter().for_each(|(a, b)| self.net.lag(*a, *b, lane, HUNG));
            self.after(lasts, Event::Mend(Mend::Quicken(links, lane)));
        } else {
            self.sever_for(leader, lasts);
        }
        self.restart(rest);
    }

    /// Processes end and start again at once.
    fn restart(&mut self, hosts: &[usize]) {
        for &i in hosts {
            let back = MS + self.faults.rng().below(100 * MS);
            self.end(i, Crash::Keep);
            self.after(back, Event::Mend(Mend::Start(i)));
        }
    }

    /// The leader's clock becomes the slowest there may be, all others the fastest; soon after it is cut off. Its lease
    /// ends at the latest moment, the promises that it rests on at the earliest.
    pub(super) fn tear_clocks_apart(&mut self, lasts: u64) -> bool {
        let Some(slowest) = self.some_leader() else { return false };
        let drift = self.options.drift;
        for i in 0..self.hosts.len() {
            if self.hosts[i].is_up() {
                self.set_rate(i, if i == slowest { 1_000_000 - drift } else { 1_000_000 + drift });
            }
        }
        let soon = 300 * MS + self.faults.rng().below(500 * MS);
        self.after(soon, Event::Mend(Mend::Sever(slowest, SEC + lasts)));
        true
    }

    /// This host will be cut off when it has just been told of fresh support: its leases then last longest.
    pub(super) fn sever_soon(&mut self, i: usize, lasts: u64) {
        self.faults.on_support = Some((i, lasts));
    }

    /// A frame has come in. Whoever waits for the moment at which somebody has just been promised support has it now.
    pub(super) fn supported(&mut self, to: usize, lane: Lane) {
        if lane == Lane::Control
            && let Some((i, lasts)) = self.faults.on_support.filter(|(i, _)| *i == to)
        {
            self.faults.on_support = None;
            self.trace(format_args!("{} was promised support, and is cut off", StoreId(i as u64 + 1)));
            self.sever_for(i, lasts);
        }
    }

    /// A replica has just begun to lead. It may be cut off before anybody hears of it, so that what it appends is on its
    /// disk alone, while whoever was cut off before comes back; or its disk hangs, it is heard all the same, and what it
    /// had not written is gone when it starts again.
    pub(super) fn begins_to_lead(&mut self, i: usize) {
        let coup = self.options.faults.chances.coup;
        if coup == 0 || self.faults.is_over() || self.hosts.len() < 2 || !self.faults.rng().chance(coup) {
            return;
        }
        self.totals.add(Part::Faults, "leader overthrown", 1);
        self.faults.struck();
        let before = std::mem::take(&mut self.faults.overthrown);
        before.iter().for_each(|(a, b)| self.net.join(*a, *b));
        let (store, was_out) = (self.hosts[i].store, before.first().map(|(a, _)| *a));
        if self.faults.rng().chance(600_000) {
            self.trace(format_args!("{store} leads, and is cut off"));
            self.faults.overthrown = self.sever(i);
            if self.options.faults.disks.seize > 0 && self.faults.rng().chance(500_000) {
                // Its disk went with the network, and comes back when others have led for a while.
                self.hosts[i].disk.set_stalled(true);
                let d = self.options.election_timeout().0;
                let longer = d + self.faults.rng().below(3 * d);
                self.after(longer, Event::Mend(Mend::Unstall(i)));
            }
            return;
        }
        self.trace(format_args!("{store} leads, and its disk hangs"));
        self.hosts[i].disk.set_stalled(true);
        let life = self.hosts[i].life;
        let soon = 5 * MS + self.faults.rng().below(100 * MS);
        self.after(soon, Event::Mend(Mend::Topple(i, life, was_out)));
    }

    /// A leader whose disk hung ends, and what it had not written is lost. Whoever heard it last is cut off in its place.
    pub(super) fn topple(&mut self, i: usize, life: u64, was_out: Option<usize>) {
        if self.faults.is_over() || self.hosts[i].life != life {
            return self.mend(Mend::Unstall(i));
        }
        // Before the disk moves again: what hung in it is never written.
        self.end(i, Crash::Lose);
        self.mend(Mend::Unstall(i));
        let back = 5 * MS + self.faults.rng().below(300 * MS);
        self.after(back, Event::Mend(Mend::Start(i)));
        let others: Vec<usize> = (0..self.hosts.len()).filter(|o| *o != i && Some(*o) != was_out).collect();
        if self.faults.overthrown.is_empty() && !others.is_empty() {
            let other = *self.faults.rng().pick(&others);
            self.faults.overthrown = self.sever(other);
        }
    }
}

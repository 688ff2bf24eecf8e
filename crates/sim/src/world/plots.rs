//! Plots: coincidences that bad luck alone brings about too rarely, brought about on purpose. Each is something that can
//! happen to real machines.

use super::faults::Mend;
use super::host::Host;
use super::{Event, MS, World};
use crate::report::Part;
use base::{Leased, StoreId};
use bytes::Bytes;
use engine::mem::{Crash, MemView};
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
        if on && self.hosts[i].rng.chance(600_000) {
            let host = &mut self.hosts[i];
            let mut rng = host.rng.fork();
            if host.disk.compact_some(&mut rng).is_ok_and(|dropped| dropped > 0) {
                self.faults.struck();
                self.totals.add(Part::Faults, "compaction", 1);
            }
        }
    }

    /// The shell may be held up between sending the frames of a step and opening an answer that rests on a lease.
    pub(super) fn lease_opens(&mut self, i: usize, proof: Proof, leased: Leased<Ready<MemView>>) {
        let held_up = !self.faults.is_over() && self.hosts[i].rng.chance(self.options.faults.dawdle);
        if !held_up {
            return self.open_leased(i, proof, leased);
        }
        self.totals.add(Part::Faults, "answer opened late", 1);
        let late = MS + self.hosts[i].rng.below(900 * MS);
        let life = self.hosts[i].life;
        self.after(late, Event::Open(i, life, Box::new((proof, leased))));
    }

    /// The leader is alone on its side, and all others come back as new as they can be: who remembers their promises?
    pub(super) fn forsake(&mut self, lasts: u64) -> bool {
        let n = self.hosts.len();
        let leads = |h: &Host| h.node.as_ref().is_some_and(|node| node.replicas().any(|r| r.leads().is_some()));
        let leaders: Vec<usize> = (0..n).filter(|i| leads(&self.hosts[*i])).collect();
        if n < 2 || leaders.is_empty() {
            return false;
        }
        let alone = *self.faults.rng().pick(&leaders);
        let mut links = Vec::new();
        for other in (0..n).filter(|i| *i != alone) {
            links.extend([(alone, other), (other, alone)]);
            let back = 5 * MS + self.faults.rng().below(300 * MS);
            self.end(other, Crash::Keep);
            self.after(back, Event::Mend(Mend::Start(other)));
        }
        for (a, b) in &links {
            self.net.cut(*a, *b);
        }
        self.trace(format_args!("{} is forsaken", StoreId(alone as u64 + 1)));
        self.after(lasts, Event::Mend(Mend::Join(links)));
        true
    }
}

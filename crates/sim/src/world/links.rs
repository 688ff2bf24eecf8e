//! What breaks between nodes: cuts of every form, slow streams, streams that break, bits that flip.

use super::faults::{Kind, Mend};
use super::{Event, MS, SEC, World};
use crate::net::LANES;
use bytes::Bytes;
use node::Input;

impl World<'_> {
    /// Cuts links around this host.
    pub(super) fn cut(&mut self, kind: Kind, i: usize, lasts: u64) -> bool {
        let n = self.hosts.len();
        if n < 2 {
            return false;
        }
        let mut side: Vec<bool> = (0..n).map(|_| self.faults.rng().chance(500_000)).collect();
        side[i] = true;
        side[(i + 1) % n] = false;
        let mut links = Vec::new();
        for a in 0..n {
            for b in 0..n {
                let apart = side[a] != side[b];
                let cut = match kind {
                    Kind::Bridge => apart && a != i && b != i,
                    Kind::OneWay => apart && side[a],
                    Kind::Partial => apart && (a == i || b == i),
                    _ => apart,
                };
                if a != b && cut {
                    links.push((a, b));
                }
            }
        }
        if links.is_empty() {
            return false;
        }
        links.iter().for_each(|(a, b)| self.net.cut(*a, *b));
        if self.faults.rng().chance(500_000) {
            self.after(lasts, Event::Mend(Mend::Join(links)));
            return true;
        }
        // Link by link: who comes back to one may still be gone for another.
        links.sort_by_key(|(a, b)| (*a.min(b), *a.max(b)));
        for pair in links.chunk_by(|x, y| *x == (y.1, y.0)) {
            let later = self.faults.rng().below(2 * SEC);
            self.after(lasts + later, Event::Mend(Mend::Join(pair.to_vec())));
        }
        true
    }

    /// Links stand again. Often one of the streams over them is set up later than the others.
    pub(super) fn reconnect(&mut self, links: Vec<(usize, usize)>) {
        if self.faults.rng().chance(600_000) {
            return;
        }
        let lane = self.faults.rng().below(LANES as u64) as usize;
        let late = 50 * MS + self.faults.rng().below(1_500 * MS);
        links.iter().for_each(|(a, b)| self.net.lag(*a, *b, lane, late));
        self.after(late, Event::Mend(Mend::Quicken(links, lane)));
    }

    /// One stream, or all, of some links of this host takes longer, one way or both ways.
    pub(super) fn lag(&mut self, i: usize, lasts: u64) {
        let rng = self.faults.rng();
        let (to, from) = *rng.pick(&[(true, false), (false, true), (true, true)]);
        let most = *rng.pick(&[20 * MS, 400 * MS, 3 * SEC]);
        let only = rng.chance(500_000).then(|| rng.below(LANES as u64) as usize);
        let mut links = Vec::new();
        for other in (0..self.hosts.len()).filter(|other| *other != i) {
            if self.faults.rng().chance(600_000) {
                links.extend([(other, i)].iter().filter(|_| to).chain([(i, other)].iter().filter(|_| from)));
            }
        }
        let by = MS + self.faults.rng().below(most);
        for lane in (0..LANES).filter(|lane| only.is_none_or(|o| o == *lane)) {
            links.iter().for_each(|(a, b)| self.net.lag(*a, *b, lane, by));
            self.after(lasts, Event::Mend(Mend::Quicken(links.clone(), lane)));
        }
    }

    /// Streams between this host and another break, and stand again.
    pub(super) fn reset(&mut self, i: usize) -> bool {
        let n = self.hosts.len();
        if n < 2 {
            return false;
        }
        let other = (i + 1 + self.faults.rng().below(n as u64 - 1) as usize) % n;
        for (a, b) in [(i, other), (other, i)] {
            let peer = self.hosts[b].store;
            self.input(a, Input::Disconnected(peer));
            if self.hosts[b].is_up() {
                self.input(a, Input::Connected(peer));
            }
        }
        true
    }

    /// A frame may arrive with a bit flipped.
    pub(super) fn garble(&mut self, bytes: Bytes) -> Bytes {
        let usual = self.options.net.drop == 0 || self.faults.is_over();
        if usual || !self.faults.rng().chance(self.options.net.drop / 10) || bytes.is_empty() {
            return bytes;
        }
        self.faults.garbled += 1;
        let mut copy = bytes.to_vec();
        let at = self.faults.rng().below(copy.len() as u64) as usize;
        copy[at] ^= 1 << self.faults.rng().below(8);
        Bytes::from(copy)
    }
}

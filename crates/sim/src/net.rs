//! The network between nodes: what becomes of a frame.

use crate::options::NetOptions;
use base::Rng;

/// One direction between two nodes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Link {
    /// Cut by so many faults at once.
    cuts: u32,
    /// What was under way when it was cut arrives all the same.
    leaks: bool,
}

/// Streams between two nodes, each way.
pub const LANES: usize = 3;

/// A lag without end: nothing sent over the stream meanwhile ever arrives.
pub const HUNG: u64 = u64::MAX;

/// All links of a world; nodes are counted from 0.
#[derive(Clone, Debug)]
pub struct Net {
    options: NetOptions,
    nodes: usize,
    links: Vec<Link>,
    /// When the last frame of each stream arrives: a stream keeps its order, unless a frame strays.
    streams: Vec<u64>,
    /// Everything on a stream takes so much longer, for now.
    lags: Vec<u64>,
    rng: Rng,
    /// Times of arrival, reused.
    arrivals: Vec<u64>,
    /// From here on nothing is replayed any more: a beat from long ago would name a store that is deaf by now as one
    /// that hears.
    pub quiet_from: u64,
    pub dropped: u64,
    pub duplicated: u64,
    pub straggled: u64,
    pub replayed: u64,
}

impl Net {
    /// A whole network.
    pub fn new(options: NetOptions, nodes: usize, rng: Rng) -> Net {
        Net {
            options,
            nodes,
            links: vec![Link::default(); nodes * nodes],
            streams: vec![0; nodes * nodes * LANES],
            lags: vec![0; nodes * nodes * LANES],
            rng,
            arrivals: Vec::new(),
            quiet_from: u64::MAX,
            dropped: 0,
            duplicated: 0,
            straggled: 0,
            replayed: 0,
        }
    }

    /// From now on nothing gets from one to the other; each call needs its own `join`. What is under way is lost, or not.
    pub fn cut(&mut self, from: usize, to: usize) {
        let leaks = self.rng.chance(300_000);
        let link = &mut self.links[from * self.nodes + to];
        link.leaks = leaks && link.cuts == 0;
        link.cuts += 1;
    }

    /// Cut for good: what left before does not arrive either.
    pub fn sever(&mut self, from: usize, to: usize) {
        self.cut(from, to);
        self.links[from * self.nodes + to].leaks = false;
    }

    /// Takes one cut away.
    pub fn join(&mut self, from: usize, to: usize) {
        let cuts = &mut self.links[from * self.nodes + to].cuts;
        *cuts = cuts.saturating_sub(1);
    }

    /// From now on everything on this stream takes so much longer, or hangs; 0 ends it.
    pub fn lag(&mut self, from: usize, to: usize, lane: usize, by: u64) {
        self.lags[(from * self.nodes + to) * LANES + lane] = by;
    }

    /// Takes all cuts away, and everything else that is not how a good network behaves.
    pub fn heal(&mut self) {
        self.links.fill(Link::default());
        self.lags.fill(0);
        self.options = NetOptions { drop: 0, duplicate: 0, straggle: 0, replay: 0, ..self.options };
    }

    /// Does anything get from one to the other?
    pub fn reaches(&self, from: usize, to: usize) -> bool {
        self.links[from * self.nodes + to].cuts == 0
    }

    /// Does a frame arrive that left before?
    pub fn lets_in(&self, from: usize, to: usize) -> bool {
        self.reaches(from, to) || self.links[from * self.nodes + to].leaks
    }

    /// Does nothing get from here to anybody, nor back?
    pub fn is_cut_off(&self, node: usize) -> bool {
        (0..self.nodes).filter(|n| *n != node).all(|n| !self.reaches(node, n) && !self.reaches(n, node))
    }

    /// When a frame of this stream, sent now, arrives: never, once, or more often.
    pub fn fates(&mut self, now: u64, from: usize, to: usize, lane: usize) -> &[u64] {
        self.arrivals.clear();
        let stream = (from * self.nodes + to) * LANES + lane;
        if !self.reaches(from, to) || self.lags[stream] == HUNG || self.rng.chance(self.options.drop) {
            self.dropped += 1;
            return &self.arrivals;
        }
        let mut arrives = (now + self.delay() + self.lags[stream]).max(self.streams[stream]);
        if self.rng.chance(self.options.straggle) {
            self.straggled += 1;
            arrives += self.rng.below(2_000_000_000);
        } else {
            self.streams[stream] = arrives;
        }
        self.arrivals.push(arrives);
        if self.rng.chance(self.options.duplicate) {
            self.duplicated += 1;
            let again = self.delay();
            self.arrivals.push(arrives + again);
        }
        if self.rng.chance(self.options.replay) {
            let again = arrives + self.rng.between(200_000_000, 20_000_000_000);
            if again < self.quiet_from {
                self.replayed += 1;
                self.arrivals.push(again);
            }
        }
        &self.arrivals
    }

    fn delay(&mut self) -> u64 {
        let (least, most) = self.options.delay;
        // Mostly near the least, with a long tail.
        let spread = self.rng.below(most - least + 1);
        least + if self.rng.chance(700_000) { spread / 8 } else { spread }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(drop: u64, duplicate: u64) -> NetOptions {
        NetOptions { delay: (10, 1_000), drop, duplicate, straggle: 0, replay: 0 }
    }

    #[test]
    fn cuts_are_one_way_and_counted() {
        let mut net = Net::new(options(0, 0), 3, Rng::new(1));
        net.cut(0, 1);
        net.cut(0, 1);
        net.join(0, 1);
        assert!(net.fates(0, 0, 1, 0).is_empty(), "the other fault still cuts it");
        assert_eq!(net.fates(0, 1, 0, 0).len(), 1, "the way back is open");
        net.join(0, 1);
        assert_eq!(net.fates(0, 0, 1, 0).len(), 1);
    }

    #[test]
    fn a_slow_stream_keeps_its_order_and_others_are_as_before() {
        let mut net = Net::new(options(0, 0), 2, Rng::new(3));
        net.lag(0, 1, 0, 50_000);
        let late = net.fates(0, 0, 1, 0)[0];
        assert!(late >= 50_000 && net.fates(0, 1, 0, 0)[0] < 2_000 && net.fates(0, 0, 1, 1)[0] < 2_000);
        net.lag(0, 1, 0, 0);
        assert!(net.fates(1, 0, 1, 0)[0] >= late, "nothing overtakes what is under way");
        net.lag(0, 1, 0, HUNG);
        assert!(net.fates(2, 0, 1, 0).is_empty() && !net.fates(2, 0, 1, 1).is_empty(), "only that stream hangs");
        net.heal();
        assert!(!net.fates(3, 0, 1, 0).is_empty());
    }

    #[test]
    fn what_is_replayed_comes_late_and_not_when_all_is_quiet() {
        let mut net = Net::new(NetOptions { replay: 1_000_000, ..options(0, 0) }, 2, Rng::new(5));
        net.quiet_from = 10_000_000_000;
        for _ in 0..1_000 {
            let again = net.fates(0, 0, 1, 0).get(1).copied();
            assert!(again.is_none_or(|t| (200_000_000..10_000_000_000).contains(&t)), "{again:?}");
        }
        assert!((400..600).contains(&net.replayed), "{}", net.replayed);
    }

    #[test]
    fn frames_are_lost_doubled_and_overtaken_as_often_as_was_said() {
        let mut net = Net::new(NetOptions { straggle: 50_000, ..options(100_000, 200_000) }, 2, Rng::new(7));
        let (mut arrived, mut overtaken, mut last) = (0, 0, 0);
        for sent in 0..10_000u64 {
            for arrives in net.fates(sent * 1_000_000, 0, 1, 1) {
                arrived += 1;
                overtaken += u64::from(*arrives < last);
                last = last.max(*arrives);
            }
        }
        assert!((800..1_200).contains(&net.dropped), "{}", net.dropped);
        assert!((1_600..2_000).contains(&net.duplicated), "{}", net.duplicated);
        assert_eq!(arrived, 10_000 - net.dropped + net.duplicated);
        assert!(overtaken > 400, "{overtaken}");
        net.heal();
        let mut last = 0;
        for sent in 0..1_000 {
            let fates = net.fates(sent, 0, 1, 1).to_vec();
            assert!(fates.len() == 1 && fates[0] >= last, "a healed network loses, doubles and reorders nothing");
            last = fates[0];
        }
    }
}

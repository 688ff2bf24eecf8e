//! When the next entry leaves.
//!
//! An entry costs frames, fsyncs and wake-ups on every replica, whatever its size, so entries fill while one is under way.
//! But clients whose answers have just left are about to ask again: if the next entry leaves at the moment of the commit
//! it carries the other half of them, and two halves go round after each other for ever. So under load it waits a little
//! for those who were answered, and one large entry goes round instead.
//!
//! Meanwhile what was committed is not applied yet either: it goes into the batch of that entry.
//!
//! Whether clients come back is found out: when they did not a few times in a row, nobody waits for them for a while.

use base::{Tick, marker};

/// Fewer than this do not wait for each other.
const SMALLEST_CROWD: usize = 12;
/// Nobody waits longer for others …
const MOST_PATIENCE: Tick = Tick::ms(8);
/// … nor longer than so many times what the last entry took: the way of an answer to its client and of the next question
/// back takes about as long as the way of an entry. On a full machine, where a part of them waits for a core, it takes
/// several times as long, and an entry that left without them costs as much as one with them.
const MOST_TRIPS: u64 = 4;
/// After so many entries that waited in vain …
const MOST_MISSES: u32 = 4;
/// … so many do not wait; each time that happens again, twice as many, …
const SHORTEST_REST: u32 = 64;
/// … up to so many, until so many in a row have waited and not in vain.
const LONGEST_REST: u32 = 1 << 14;
const TRUST: u32 = 64;

/// The pace of one leadership.
pub(crate) struct Pace {
    /// When the last entry was proposed.
    proposed: Tick,
    /// How many waited at that entry's commit or were answered by it.
    crowd: usize,
    /// Nothing waits longer than this; `FAR` when nothing waits.
    until: Tick,
    /// The next entry was held back.
    held: bool,
    /// Entries that waited in vain, in a row.
    misses: u32,
    /// Entries that waited and not in vain, in a row.
    hits: u32,
    /// Entries that will not wait.
    resting: u32,
    /// How many the next time.
    rest: u32,
}

impl Pace {
    /// Nothing was proposed yet.
    pub fn new() -> Pace {
        Pace {
            proposed: Tick::ZERO,
            crowd: 0,
            until: Tick::FAR,
            held: false,
            misses: 0,
            hits: 0,
            resting: 0,
            rest: SHORTEST_REST,
        }
    }

    /// An entry of so many commands leaves.
    pub fn proposed(&mut self, commands: usize, now: Tick) {
        self.resting = self.resting.saturating_sub(1);
        if self.held && commands >= self.enough() {
            (self.misses, self.hits) = (0, self.hits.saturating_add(1));
        } else if self.held {
            (self.misses, self.hits) = (self.misses + 1, 0);
        }
        if self.hits >= TRUST {
            self.rest = SHORTEST_REST;
        }
        if self.misses >= MOST_MISSES {
            marker!("pace.nobody comes back");
            (self.misses, self.resting) = (0, self.rest);
            self.rest = (self.rest * 2).min(LONGEST_REST);
        }
        (self.proposed, self.crowd, self.until, self.held) = (now, 0, Tick::FAR, false);
    }

    /// The last entry is committed; so many were answered, and so many wait already.
    pub fn committed(&mut self, answered: usize, waiting: usize, now: Tick) {
        self.crowd += answered + waiting;
        let trip = now.since(self.proposed);
        self.until = now + Tick(trip.saturating_mul(MOST_TRIPS).min(MOST_PATIENCE.0));
    }

    /// With so many of the crowd an entry leaves.
    fn enough(&self) -> usize {
        self.crowd - self.crowd / 8
    }

    /// Should the next entry wait for more than these?
    pub fn holds_entry(&mut self, waiting: usize, now: Tick) -> bool {
        let crowd = self.crowd >= SMALLEST_CROWD && self.resting == 0;
        let holds = crowd && waiting < self.enough() && self.until != Tick::FAR && now < self.until;
        self.held |= holds;
        holds
    }

    /// Should what is committed wait for the next entry? Asked once that has not left in this step.
    pub fn holds_apply(&mut self, now: Tick) -> bool {
        if now >= self.until {
            self.until = Tick::FAR;
        }
        self.until != Tick::FAR
    }

    /// When a look is due.
    pub fn until(&self) -> Tick {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One entry: how many leave, after how many milliseconds of waiting, when `arrive` waiting commands come per step of
    /// a tenth of a millisecond and the trip takes four.
    fn turn(p: &mut Pace, now: &mut Tick, answered: usize, mut waiting: usize, arrive: usize) -> (usize, u64) {
        *now = *now + Tick::ms(4);
        p.committed(answered, waiting, *now);
        let begun = *now;
        while p.holds_entry(waiting, *now) {
            assert!(p.holds_apply(*now), "an apply waits as long as the entry does");
            assert!(p.until() > *now, "whoever waits has a deadline");
            *now = *now + Tick(100_000);
            waiting += arrive;
        }
        p.proposed(waiting, *now);
        assert!(!p.holds_apply(*now) && p.until() == Tick::FAR, "what was committed goes with the entry");
        (waiting, now.since(begun) / 100_000)
    }

    #[test]
    fn a_crowd_that_comes_back_goes_round_together() {
        let (mut p, mut now) = (Pace::new(), Tick::ms(1000));
        p.proposed(32, now);
        let mut size = 32;
        for _ in 0..100 {
            (size, _) = turn(&mut p, &mut now, size, 64 - size, 4);
        }
        assert!(size >= 56, "{size} of 64 together");
    }

    #[test]
    fn who_does_not_come_back_is_not_waited_for() {
        let (mut p, mut now) = (Pace::new(), Tick::ms(1000));
        p.proposed(32, now);
        let waits: Vec<u64> = (0..2000).map(|_| turn(&mut p, &mut now, 32, 32, 0).1).collect();
        assert_eq!(waits[0], 80, "eight milliseconds, as patience goes");
        let vain = waits.iter().filter(|w| **w > 0).count();
        assert_eq!(vain, 5 * MOST_MISSES as usize, "of 2000: after 64, 128, 256, 512, 1024 that did not");
    }

    #[test]
    fn who_comes_without_having_been_answered_is_hardly_ever_held_up() {
        let (mut p, mut now) = (Pace::new(), Tick::ms(1000));
        p.proposed(32, now);
        let (mut last, mut waited) = (32, Vec::new());
        // One every tenth of a millisecond, whatever happens: forty during each trip.
        for _ in 0..20_000 {
            let (size, waits) = turn(&mut p, &mut now, last, 40, 1);
            last = size;
            waited.push(waits);
        }
        let vain = waited[4000..].iter().filter(|w| **w > 0).count();
        assert!(vain < 160, "{vain} of 16000 waited");
    }

    #[test]
    fn a_lone_client_never_waits() {
        let (mut p, mut now) = (Pace::new(), Tick::ms(1000));
        p.proposed(1, now);
        for _ in 0..20 {
            assert_eq!(turn(&mut p, &mut now, 1, 1, 0), (1, 0));
        }
    }
}

//! Hashes of the whole store, asked of any node at any time: two answers at one revision and one compacted revision are
//! equal, whoever gives them.

use super::{Event, MS, SEC, World};
use crate::check::Rule;
use crate::report::Part;
use base::{CallId, Kind, Refusal, Revision, Rng, StoreId, Tick};
use node::{ClientAsk, Input};
use range::{Answer, Outcome};
use std::collections::BTreeMap;

/// Calls from here on ask for hashes.
pub(super) const HASHES: u64 = 1 << 40;

/// What was asked, and every sum so far.
pub(super) struct Hashes {
    asked: Vec<Revision>,
    /// By revision and compacted revision.
    sums: BTreeMap<(Revision, Revision), (u64, StoreId)>,
    rng: Rng,
}

impl Hashes {
    pub fn new(rng: Rng) -> Hashes {
        Hashes { asked: Vec::new(), sums: BTreeMap::new(), rng }
    }
}

impl World<'_> {
    /// One node is asked; some time later another.
    pub(super) fn sum(&mut self) {
        let up: Vec<usize> = (0..self.hosts.len()).filter(|i| self.hosts[*i].is_up()).collect();
        let seen = self.clients.newest();
        if !up.is_empty() {
            let rng = &mut self.hashes.rng;
            let host = *rng.pick(&up);
            let back = rng.below(25);
            let at = if rng.chance(400_000) { Revision::ZERO } else { Revision(seen.0.saturating_sub(back).max(1)) };
            self.ask_hash(host, at);
        }
        if !self.clients.quiet {
            let pause = 100 * MS + self.hashes.rng.below(900 * MS);
            self.after(pause, Event::Sum);
        }
    }

    /// All nodes, when all is quiet.
    pub(super) fn sum_everywhere(&mut self) {
        for host in 0..self.hosts.len() {
            self.ask_hash(host, Revision::ZERO);
        }
    }

    fn ask_hash(&mut self, host: usize, at: Revision) {
        let id = CallId(HASHES + self.hashes.asked.len() as u64);
        self.hashes.asked.push(at);
        let store = StoreId(host as u64 + 1);
        self.trace(format_args!("{store} is asked for the hash at {at}"));
        let deadline = self.hosts[host].clock.read(self.now) + Tick(2 * SEC);
        self.input(host, Input::Call(id, ClientAsk::Hash(at), deadline));
    }

    /// A node answers.
    pub(super) fn summed(&mut self, host: usize, call: CallId, result: base::Result<Outcome>) {
        let store = StoreId(host as u64 + 1);
        let asked = self.hashes.asked[(call.0 - HASHES) as usize];
        if asked == Revision::ZERO && result.as_ref().is_err_and(|e| e.kind == Kind::Refused(Refusal::Compacted)) {
            let text = || format!("{store} says that the newest revision is compacted: {call} asks for its hash");
            let verdict = self.rules.broken(Rule::CompactionHonoured, text);
            self.judge(verdict);
        }
        let Ok(Outcome { revision, answer: Answer::Hash { hash, compacted } }) = result else { return };
        let at = if asked == Revision::ZERO { revision } else { asked };
        self.trace(format_args!("{store} says the hash at {at}, compacted {compacted}: {hash:016x}"));
        let (first, by) = *self.hashes.sums.entry((at, compacted)).or_insert((hash, store));
        self.totals.add(Part::Checks, "hashes compared", u64::from(by != store));
        if first != hash {
            let verdict = self.rules.broken(Rule::SameState, || {
                format!("the hash at {at} from {compacted} on is {hash:016x} at {store}, and was {first:016x} at {by}")
            });
            self.judge(verdict);
        }
    }
}

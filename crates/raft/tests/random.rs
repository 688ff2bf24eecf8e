//! Random walks: everything that can happen to a group, in any order, with the invariants checked after every step;
//! then everything heals, and the group must come to one leader and one state.
//!
//! `SEED=n cargo test -p flotilla-raft --test random` replays one walk; `WALKS=n` takes more of them.

mod world;

use base::{Index, Rng, Tick};
use raft::{Change, ConfChange, Group};
use world::ghost::Ghost;
use world::{World, member};

/// How a walk is mixed: chances per thousand, by action.
struct Walk {
    world: World,
    rng: Rng,
    promises: u64,
    proposals: u64,
    liveness: bool,
    membership: bool,
}

const STEPS: u64 = 1500;

impl Walk {
    fn new(seed: u64) -> Walk {
        let mut rng = Rng::new(seed);
        let liveness = rng.chance(600_000);
        let membership = rng.chance(500_000);
        let voters = 1 + rng.below(5);
        let spare = if membership { 2 } else { 0 };
        let mut world = World::new(voters + spare, voters, 0, seed);
        world.base.max_append_bytes = if rng.chance(500_000) { 40 } else { 1 << 20 };
        world.base.max_inflight = 1 + rng.below(6) as usize;
        world.tells_commits = rng.chance(800_000);
        if std::env::var_os("SEED").is_some() {
            world.trace = Some(Vec::new());
        }
        (0..world.nodes.len()).for_each(|n| world.start(n));
        Walk { world, rng, promises: 0, proposals: 0, liveness, membership }
    }

    fn any(&mut self) -> usize {
        self.rng.below(self.world.nodes.len() as u64) as usize
    }

    fn likely_leader(&mut self) -> usize {
        let any = self.any();
        if self.rng.chance(100_000) { any } else { self.world.leader().unwrap_or(any) }
    }

    fn step(&mut self) {
        match self.rng.below(1000) {
            0..450 => self.network(),
            450..700 => {
                let n = self.any();
                self.world.complete(n);
            }
            700..800 => {
                let n = self.likely_leader();
                self.proposals += 1;
                let data = format!("v{}", self.proposals);
                self.world.propose(n, &data);
            }
            800..830 => {
                let n = self.likely_leader();
                self.world.read(n);
            }
            830..840 => self.crash_or_restart(),
            840..860 => {
                let by = Tick::ms(self.rng.below(400));
                self.world.pass(by, false);
            }
            860..870 => {
                let n = self.any();
                self.world.campaign(n);
            }
            870..885 => self.transfer(),
            885..900 => self.truncate(),
            900..960 if self.liveness => self.promises(),
            960..990 if self.membership => self.change_members(),
            990..993 => {
                let n = self.any();
                self.world.call(n, |g, ctx, out| g.step_down(ctx, out));
            }
            _ => {}
        }
        if self.liveness {
            self.world.check_lease();
        }
    }

    fn network(&mut self) {
        if self.world.net.is_empty() {
            return;
        }
        // mostly in order, sometimes not, sometimes twice, sometimes never
        let len = self.world.net.len() as u64;
        let at = if self.rng.chance(700_000) { 0 } else { self.rng.below(len) as usize };
        match self.rng.below(100) {
            0..5 => {
                self.world.net.remove(at);
            }
            5..10 => {
                let copy = self.world.net[at].clone();
                self.world.deliver_copy(copy);
            }
            10..13 => {
                let late = self.world.net.remove(at);
                self.world.net.push(late);
            }
            _ => self.world.deliver(at),
        }
        if len > 400 {
            self.world.net.drain(..200);
        }
    }

    fn crash_or_restart(&mut self) {
        let n = self.any();
        if self.world.is_up(n) {
            let kept = self.rng.below(self.world.nodes[n].writes.len() as u64 + 1) as usize;
            self.world.crash(n, kept);
        } else {
            self.world.restart(n);
        }
    }

    fn transfer(&mut self) {
        let (n, to) = (self.likely_leader(), self.any());
        let to = self.world.nodes[to].member.replica;
        self.world.call(n, |g, ctx, out| g.transfer(ctx, to, out).is_ok());
    }

    fn truncate(&mut self) {
        let n = self.any();
        let to = Index(self.world.nodes[n].view.applied.0.saturating_sub(self.rng.below(4)));
        self.world.truncate(n, to);
    }

    fn promises(&mut self) {
        let (t, s) = (self.any(), self.any());
        if t == s {
            return;
        }
        match self.rng.below(10) {
            0..6 => {
                let (store, free) = (
                    self.world.nodes[s].member.store,
                    self.world.nodes[t].supports.given(self.world.nodes[s].member.store).is_none(),
                );
                let _ = store;
                if free && self.world.is_up(t) && self.world.is_up(s) {
                    self.promises += 1;
                    self.world.promise(t, s, self.promises);
                }
            }
            6 => self.world.lapse(t, s),
            _ if self.world.may_withdraw(t, s) => self.world.withdraw(t, s),
            _ => {}
        }
        for n in 0..self.world.nodes.len() {
            if self.world.is_up(n) && !self.world.somebody_relies_on(n) {
                self.world.ungate(n);
            }
        }
    }

    fn change_members(&mut self) {
        let Some(n) = self.world.leader() else { return };
        let conf = self.world.group(n).conf().clone();
        let change = if conf.is_joint() {
            ConfChange::leave()
        } else {
            let mut changes = Vec::new();
            for _ in 0..=self.rng.below(2) {
                let m = self.any() as u64 + 1;
                let change = match self.rng.below(3) {
                    0 => Change::Voter(member(m)),
                    1 => Change::Learner(member(m)),
                    _ => Change::Remove(member(m).replica),
                };
                changes.push(change);
            }
            ConfChange::enter(changes)
        };
        self.world.call(n, |g, ctx, out| g.propose_conf(ctx, &change, out).is_ok());
    }

    /// Everything works again: one leader comes, and everybody arrives at its state.
    fn heal(&mut self) {
        for n in 0..self.world.nodes.len() {
            if !self.world.is_up(n) {
                self.world.restart(n);
            }
        }
        let n = self.world.nodes.len();
        let pairs: Vec<(usize, usize)> =
            (0..n).flat_map(|t| (0..n).map(move |s| (t, s))).filter(|(t, s)| t != s).collect();
        for (t, s) in pairs.iter().filter(|_| self.liveness) {
            self.world.lapse(*t, *s);
            if self.world.may_withdraw(*t, *s) {
                self.world.withdraw(*t, *s);
            }
        }
        (0..n).for_each(|n| self.world.ungate(n));
        for (t, s) in &pairs {
            if self.liveness {
                self.promises += 1;
                self.world.promise(*t, *s, self.promises);
            }
        }
        self.world.settle();
        for _ in 0..40 {
            self.world.pass(Tick::ms(1000), true);
            if self.liveness {
                self.renew(&pairs);
            }
            if self.finished() {
                return;
            }
        }
        let lines: Vec<String> =
            self.world.nodes.iter().filter_map(|n| n.group.as_ref().map(Group::to_string)).collect();
        panic!("no leader, or not everybody at its state, after a heal:\n{}", lines.join("\n"));
    }

    /// Beats go on: what is believed holds for another while.
    fn renew(&mut self, pairs: &[(usize, usize)]) {
        for (t, s) in pairs {
            let store = self.world.nodes[*t].member.store;
            if let Some(mut r) = self.world.nodes[*s].supports.received(store) {
                r.until = self.world.now + Tick::ms(2000);
                self.world.nodes[*s].supports.set_received(store, Some(r));
            }
        }
    }

    fn finished(&mut self) -> bool {
        let Some(leader) = self.world.leader() else { return false };
        let conf = self.world.group(leader).conf().clone();
        if conf.is_joint() {
            let change = ConfChange::leave();
            let left = self.world.call(leader, |g, ctx, out| g.propose_conf(ctx, &change, out).is_ok());
            if left != Some(true) {
                let to = conf.voters.iter().find(|m| m.replica.0 != leader as u64 + 1).map(|m| m.replica);
                to.map(|to| self.world.call(leader, |g, ctx, out| g.transfer(ctx, to, out).is_ok()));
            }
            self.world.settle();
            return false;
        }
        self.proposals += 1;
        if !self.world.propose(leader, &format!("last{}", self.proposals)) {
            return false;
        }
        self.world.settle();
        // the last commit index may wait for a beat
        self.world.pass(Tick::ms(600), true);
        let state = self.world.nodes[leader].view.clone();
        let members = conf.members();
        let same = |m: &raft::Member| {
            let view = &self.world.nodes[m.replica.0 as usize - 1].view;
            (view.applied, view.state) == (state.applied, state.state)
        };
        let leads = self.world.group(leader).is_leader() && self.world.group(leader).commit() == state.applied;
        let idle = !self.liveness || self.idle(&members);
        leads && members.iter().all(same) && (self.world.tells_commits || self.liveness || true) && idle
    }

    /// With liveness, a group at rest arms nothing.
    fn idle(&self, members: &[raft::Member]) -> bool {
        members.iter().all(|m| self.world.group(m.replica.0 as usize - 1).next_deadline() == Tick::FAR)
    }
}

fn walk(seed: u64) -> (Index, u64) {
    let mut walk = Walk::new(seed);
    walk.world.campaign(0);
    for step in 0..STEPS {
        walk.step();
        if step % 50 == 0 {
            Ghost::check_logs(&walk.world.nodes);
        }
        if let Some(trace) = &mut walk.world.trace {
            trace.drain(..).for_each(|line| eprintln!("{line}"));
        }
    }
    walk.world.trace.as_mut().map(|t| t.push("--- heal".into()));
    let healed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk.heal()));
    if let Some(trace) = &mut walk.world.trace {
        trace.drain(..).for_each(|line| eprintln!("{line}"));
    }
    if let Err(broken) = healed {
        std::panic::resume_unwind(broken);
    }
    Ghost::check_logs(&walk.world.nodes);
    (walk.world.ghost.last_committed(), walk.proposals)
}

#[test]
fn random_walks() {
    if let Ok(seed) = std::env::var("SEED") {
        walk(seed.parse().expect("a number"));
        return;
    }
    let walks: u64 = std::env::var("WALKS").map_or(300, |w| w.parse().expect("a number"));
    let mut committed = 0;
    for seed in 0..walks {
        let result = std::panic::catch_unwind(|| walk(seed));
        match result {
            Ok((index, _)) => committed += index.0,
            Err(_) => panic!("replay with: SEED={seed} cargo test -p flotilla-raft --test random"),
        }
    }
    // a walk in which nothing commits proves nothing
    assert!(committed > walks * 20, "{committed} entries committed in {walks} walks");
}

/// Every classic bug of the core that a walk can meet, planted, must be noticed.
#[cfg(feature = "museum")]
#[test]
fn museum() {
    const BUGS: &[&str] = &[
        "ack-before-fsync",
        "append-without-prev-check",
        "campaign-with-old-conf",
        "commit-beyond-match",
        "commit-older-term-by-counting",
        "commit-vector-over-divergent-tail",
        "defortify-any-term",
        "defortify-forgotten",
        "delayed-timeout-now",
        "fortified-unsupported",
        "joint-counts-one-half",
        "lease-counts-stale-epoch",
        "own-copy-counts-before-written",
        "pre-vote-skipped",
        "read-confirmed-for-old-term",
        "reused-read-context",
        "snapshot-drops-the-tail",
        "two-changes-at-once",
        "vote-before-write",
        "vote-for-shorter-log",
        "vote-forgotten-on-restart",
        "vote-while-fortified",
        "votes-right-after-restart",
        "written-aba",
    ];
    let bound: u64 = std::env::var("WALKS").map_or(3000, |w| w.parse().expect("a number"));
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for bug in BUGS {
        base::museum::plant(bug);
        let found = (0..bound).find_map(|seed| {
            let broken = std::panic::catch_unwind(|| walk(seed)).err()?;
            let text = broken.downcast_ref::<String>().cloned();
            let text = text.or_else(|| broken.downcast_ref::<&str>().map(|s| (*s).to_string()));
            Some((seed, text.unwrap_or_default()))
        });
        base::museum::plant("");
        match found {
            Some((seed, text)) => eprintln!("{bug}: seed {seed}: {}", text.lines().next().unwrap_or_default()),
            None => missed.push(*bug),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not noticed within {bound} walks: {missed:?}");
}

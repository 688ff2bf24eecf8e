//! Random walks: everything that can happen to a group, in any order, with the invariants checked after every step;
//! then everything heals, and the group must come to one leader and one state.
//!
//! `SEED=n cargo test -p flotilla-raft --test group random` replays one walk; `WALKS=n` takes more of them.

use super::outside::{say, setting};
use super::world::ghost::Ghost;
use super::world::{World, member};
use base::{Index, Rng, Tick};
use raft::{Change, ConfChange, Group, Reach};

/// What a walk is mostly about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Theme {
    Everything,
    /// Promises come and go, leadership is handed over, stores restart.
    Leases,
    /// Membership changes all the time, and commit indexes are forgotten.
    Members,
}

/// One walk.
struct Walk {
    world: World,
    rng: Rng,
    theme: Theme,
    promises: u64,
    proposals: u64,
    liveness: bool,
    /// Edges that carry nothing for now: what is sent over them waits, or is lost.
    cut: Vec<(usize, usize)>,
    cut_loses: bool,
    seen: Seen,
}

/// What walks have met: a walk that meets nothing proves nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen {
    committed: u64,
    terms: u64,
    leased: u64,
    reads: u64,
    joint: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, o: Seen) {
        self.committed += o.committed;
        self.terms += o.terms;
        self.leased += o.leased;
        self.reads += o.reads;
        self.joint += o.joint;
    }
}

const STEPS: u64 = 1500;

impl Walk {
    fn new(seed: u64) -> Walk {
        let mut rng = Rng::new(seed);
        let theme = *rng.pick(&[Theme::Everything, Theme::Leases, Theme::Members]);
        let liveness = theme == Theme::Leases || rng.chance(300_000);
        let voters = if theme == Theme::Everything { 1 + rng.below(5) } else { 3 };
        let spare = if theme == Theme::Leases { 0 } else { rng.below(3) };
        let mut world = World::new(voters + spare, voters, 0, seed);
        world.base.max_append_bytes = if rng.chance(500_000) { 40 } else { 1 << 20 };
        world.base.max_inflight = 1 + rng.below(6) as usize;
        world.lazy_apply = theme == Theme::Members && rng.chance(500_000);
        world.tells_commits = rng.chance(800_000);
        if setting("SEED").is_some() {
            world.trace = Some(Vec::new());
        }
        (0..world.nodes.len()).for_each(|n| world.start(n));
        let (cut, cut_loses) = (Vec::new(), false);
        let mut walk =
            Walk { world, rng, theme, promises: 0, proposals: 0, liveness, cut, cut_loses, seen: Seen::default() };
        if liveness {
            walk.pairs().into_iter().for_each(|(t, s)| walk.promise(t, s));
        }
        walk
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let n = self.world.nodes.len();
        (0..n).flat_map(|t| (0..n).map(move |s| (t, s))).filter(|(t, s)| t != s).collect()
    }

    fn any(&mut self) -> usize {
        self.rng.below(self.world.nodes.len() as u64) as usize
    }

    /// A leader, perhaps one that does not know yet that it is none any more; sometimes anybody.
    fn likely_leader(&mut self) -> usize {
        let any = self.any();
        let leaders: Vec<usize> = (0..self.world.nodes.len())
            .filter(|n| self.world.nodes[*n].group.as_ref().is_some_and(Group::is_leader))
            .collect();
        if leaders.is_empty() || self.rng.chance(100_000) { any } else { *self.rng.pick(&leaders) }
    }

    fn step(&mut self) {
        let scale = if self.theme == Theme::Everything { 1 } else { 3 };
        match self.rng.below(1000) {
            0..430 => self.network(),
            430..660 => {
                let n = self.any();
                // the third disk is slow
                if n != 2 || self.rng.chance(300_000) {
                    self.world.complete(n);
                }
            }
            660..740 => {
                let n = self.likely_leader();
                self.proposals += 1;
                let data = format!("v{}", self.proposals);
                let reach = if self.rng.chance(500_000) { Reach::Quorum } else { Reach::All };
                self.world.propose_to(n, &data, reach);
            }
            740..770 => {
                let n = self.likely_leader();
                self.world.read(n);
            }
            770..780 => self.crash_or_restart(),
            780..790 if scale > 1 => self.crash_or_restart(),
            790..810 => {
                let by = Tick::ms(self.rng.below(400));
                self.world.pass(by, false);
            }
            810..820 => {
                let n = self.any();
                self.world.campaign(n);
            }
            820..830 => self.transfer(),
            830..850 if self.theme == Theme::Leases => self.transfer(),
            850..860 => self.truncate(),
            860..900 if self.liveness => self.promises(),
            900..950 if self.theme == Theme::Leases => self.promises(),
            900..920 if self.theme != Theme::Leases => self.change_members(),
            920..980 if self.theme == Theme::Members => self.change_members(),
            980..990 => self.cut(),
            990..993 => {
                let n = self.any();
                self.world.call(n, |g, ctx, out| g.step_down(ctx, out));
            }
            993..995 => self.world.apply_held = true,
            995..1000 if self.world.apply_held => self.world.apply_all(),
            _ => {}
        }
        if self.liveness && self.world.check_lease() {
            self.seen.leased += 1;
        }
    }

    /// Cuts a node off, both ways or one way, or joins everything again.
    fn cut(&mut self) {
        let alone = self.any();
        self.cut_loses = self.rng.chance(500_000);
        let edges = self.pairs();
        self.cut = match self.rng.below(6) {
            0 => edges.into_iter().filter(|(a, b)| *a == alone || *b == alone).collect(),
            1 => edges.into_iter().filter(|(a, _)| *a == alone).collect(),
            2 => edges.into_iter().filter(|(_, b)| *b == alone).collect(),
            _ => Vec::new(),
        };
    }

    fn network(&mut self) {
        let open: Vec<usize> = (0..self.world.net.len())
            .filter(|at| {
                let e = &self.world.net[*at];
                !self.cut.contains(&(self.world.at(e.from), self.world.at(e.to)))
            })
            .collect();
        if self.cut_loses && open.len() < self.world.net.len() {
            let mut keep = open.iter().peekable();
            let mut at = 0;
            self.world.net.retain(|_| {
                let kept = keep.next_if(|k| **k == at).is_some();
                at += 1;
                kept
            });
            return;
        }
        if open.is_empty() {
            return;
        }
        // mostly in order, sometimes not, sometimes twice, sometimes never
        let at = if self.rng.chance(700_000) { open[0] } else { *self.rng.pick(&open) };
        match self.rng.below(100) {
            0..4 => {
                self.world.net.remove(at);
            }
            4..10 => {
                let copy = self.world.net[at].clone();
                self.world.deliver_copy(copy);
            }
            10..16 => {
                let late = self.world.net.remove(at);
                self.world.net.push(late);
            }
            16..30 => {
                // one turn of a node takes in several things
                let to = self.world.net[at].to;
                let some: Vec<usize> = open.into_iter().filter(|at| self.world.net[*at].to == to).take(4).collect();
                let mut inbox: Vec<_> = some.into_iter().rev().map(|at| self.world.net.remove(at)).collect();
                inbox.reverse();
                let n = self.world.at(to);
                self.world.deliver_together(n, inbox);
            }
            _ => self.world.deliver(at),
        }
        if self.world.net.len() > 400 {
            self.world.net.drain(..200);
        }
    }

    /// Somebody dies, or, if somebody is down, mostly that one returns.
    fn crash_or_restart(&mut self) {
        let any = self.any();
        let down = (0..self.world.nodes.len()).find(|n| !self.world.is_up(*n));
        match down {
            Some(n) if self.rng.chance(800_000) => self.world.restart(n),
            _ if self.world.is_up(any) => {
                let kept = self.rng.below(self.world.nodes[any].writes.len() as u64 + 1) as usize;
                self.world.crash(any, kept);
            }
            _ => self.world.restart(any),
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

    fn promise(&mut self, t: usize, s: usize) {
        self.promises += 1;
        self.world.promise(t, s, self.promises);
    }

    fn promises(&mut self) {
        let (t, s) = (self.any(), self.any());
        if t == s {
            return;
        }
        let store = self.world.nodes[s].member.store;
        match self.rng.below(10) {
            0..6 => {
                let free = self.world.nodes[t].supports.given(store).is_none();
                if free && self.world.is_up(t) && self.world.is_up(s) {
                    self.promise(t, s);
                }
            }
            6..8 => self.world.lapse(t, s),
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
        self.world.apply_all();
        for n in 0..self.world.nodes.len() {
            if !self.world.is_up(n) {
                self.world.restart(n);
            }
        }
        let pairs = self.pairs();
        for (t, s) in pairs.iter().filter(|_| self.liveness) {
            self.world.lapse(*t, *s);
            if self.world.may_withdraw(*t, *s) {
                self.world.withdraw(*t, *s);
            }
        }
        (0..self.world.nodes.len()).for_each(|n| self.world.ungate(n));
        for (t, s) in &pairs {
            if self.liveness {
                self.promise(*t, *s);
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
        leads && members.iter().all(same) && idle
    }

    /// With liveness, a group at rest arms nothing.
    fn idle(&self, members: &[raft::Member]) -> bool {
        members.iter().all(|m| self.world.group(m.replica.0 as usize - 1).next_deadline() == Tick::FAR)
    }
}

/// Walks, heals, and says what was met.
pub fn walk(seed: u64) -> Seen {
    let mut walk = Walk::new(seed);
    walk.world.campaign(0);
    for step in 0..STEPS {
        walk.step();
        if step % 50 == 0 {
            Ghost::check_logs(&walk.world.nodes);
        }
        if let Some(trace) = &mut walk.world.trace {
            trace.drain(..).for_each(|line| say(&line));
        }
    }
    if let Some(t) = walk.world.trace.as_mut() {
        t.push("--- heal".into());
    }
    let healed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| walk.heal()));
    if let Some(trace) = &mut walk.world.trace {
        trace.drain(..).for_each(|line| say(&line));
    }
    if let Err(broken) = healed {
        std::panic::resume_unwind(broken);
    }
    Ghost::check_logs(&walk.world.nodes);
    let ghost = &walk.world.ghost;
    let term = walk.world.leader().map_or(0, |n| walk.world.term(n).0);
    let Seen { leased, .. } = walk.seen;
    Seen { committed: ghost.last_committed().0, terms: term, leased, reads: ghost.reads, joint: ghost.joint }
}

#[test]
fn random_walks() {
    if let Some(seed) = setting("SEED") {
        walk(seed);
        return;
    }
    let walks = setting("WALKS").unwrap_or(300);
    let mut seen = Seen::default();
    for seed in 0..walks {
        let result = std::panic::catch_unwind(|| walk(seed));
        match result {
            Ok(one) => seen += one,
            Err(_) => panic!("replay with: SEED={seed} cargo test -p flotilla-raft --test group random"),
        }
    }
    say(&format!("{walks} walks: {seen:?}"));
    let Seen { committed, terms, leased, reads, joint } = seen;
    let per_walk = [committed / 20, terms / 4, leased / 50, reads / 2, joint];
    assert!(per_walk.iter().all(|n| *n > walks), "too little happens in {walks} walks: {seen:?}");
}

//! Explores small worlds of the real group exhaustively: every order of messages, writes, crashes, campaigns and
//! proposals that a budget allows, each state once, every invariant checked in each.
//!
//! ```text
//! cargo run -p flotilla-raft --release --example explore                      all worlds
//! cargo run -p flotilla-raft --release --example explore -- --world votes     one of them
//! cargo run -p flotilla-raft --release --features museum --example explore -- --museum
//! ```
//!
//! A message that is lost is one that is never delivered, so losing needs no action of its own: every prefix of every
//! order is explored, and what a state leaves undelivered is lost in it. Duplicates and crashes have a budget.
//! Two equal messages under way count as one, and an answer that can never matter again is forgotten at once.
//! Time does not pass: D is 0, so nobody waits for a leader that was heard lately, which allows strictly more.

mod outside;
mod small;
#[path = "../../tests/world/mod.rs"]
mod world;

use outside::{Stopwatch, say, words};
use small::{SMALL, Small, pairs};

use base::Rng;
use raft::{ConfChange, Group, Message, Reach};
use std::collections::BTreeSet;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::rc::Rc;
use world::ghost::{Fnv, Ghost};
use world::{Body, Envelope, World, member};

/// How often each thing may still happen.
#[derive(Clone, Copy, Default, Hash)]
struct Budget {
    campaigns: u8,
    proposals: u8,
    crashes: u8,
    duplicates: u8,
    greetings: u8,
    reads: u8,
    transfers: u8,
    lapses: u8,
    promises: u8,
    changes: u8,
    steps_down: u8,
    truncations: u8,
    max_term: u64,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Deliver(usize),
    Duplicate(usize),
    Complete(usize),
    Crash(usize, usize),
    Campaign(usize),
    Propose(usize),
    Greet(usize, usize),
    Read(usize),
    Transfer(usize, usize),
    Lapse(usize, usize),
    Withdraw(usize, usize),
    Promise(usize, usize),
    Ungate(usize),
    Change(usize),
    StepDown(usize),
    Truncate(usize),
}

/// How a state was reached.
struct Path {
    action: Action,
    before: Option<Rc<Path>>,
}

#[derive(Clone)]
struct State {
    world: World,
    left: Budget,
    path: Option<Rc<Path>>,
    /// PreVotes are answered at once: for worlds that are about something else.
    quick_pre_vote: bool,
    /// Writes are durable at once: likewise.
    quick_disk: bool,
    /// For whom entries leave at once.
    reach: Reach,
}

impl State {
    fn key(&self) -> u128 {
        let mut h = Fnv::default();
        (&self.world, self.left).hash(&mut h);
        h.wide()
    }

    fn actions(&self) -> Vec<Action> {
        let (world, left) = (&self.world, &self.left);
        let mut all = Vec::new();
        for (at, e) in world.net.iter().enumerate() {
            if !world.net[..at].contains(e) {
                all.push(Action::Deliver(at));
                if left.duplicates > 0 {
                    all.push(Action::Duplicate(at));
                }
            }
        }
        for n in 0..world.nodes.len() {
            self.actions_of(n, &mut all);
        }
        if left.lapses > 0 || left.promises > 0 || world.nodes[0].supports.knows(member(2).store) {
            for (t, s) in pairs(world.nodes.len()) {
                self.actions_of_pair(t, s, &mut all);
            }
        }
        all
    }

    fn actions_of(&self, n: usize, all: &mut Vec<Action>) {
        let (world, left) = (&self.world, &self.left);
        let (node, group) = (&world.nodes[n], world.group(n));
        if !node.writes.is_empty() {
            all.push(Action::Complete(n));
        }
        if left.crashes > 0 {
            all.push(Action::Crash(n, 0));
            if !node.writes.is_empty() {
                all.push(Action::Crash(n, node.writes.len()));
            }
        }
        // while nobody has campaigned all are alike: let the first do it
        let alike = world.nodes.iter().all(|n| n.group.as_ref().is_some_and(|g| g.term().0 == 1));
        let may = !group.is_leader() && group.term().0 < left.max_term && (n == 0 || !alike);
        if left.campaigns > 0 && may {
            all.push(Action::Campaign(n));
        }
        if group.is_leader() {
            let wanted = [
                (left.proposals, Action::Propose(n)),
                (left.reads, Action::Read(n)),
                (left.changes, Action::Change(n)),
                (left.steps_down, Action::StepDown(n)),
                (left.truncations, Action::Truncate(n)),
            ];
            all.extend(wanted.into_iter().filter(|(left, _)| *left > 0).map(|(_, action)| action));
            for other in (0..world.nodes.len()).filter(|o| *o != n) {
                if left.greetings > 0 {
                    all.push(Action::Greet(n, other));
                }
                if left.transfers > 0 {
                    all.push(Action::Transfer(n, other));
                }
            }
        }
        if node.supports.voting_allowed_from > world.now && !world.somebody_relies_on(n) {
            all.push(Action::Ungate(n));
        }
    }

    fn actions_of_pair(&self, t: usize, s: usize, all: &mut Vec<Action>) {
        let (world, left) = (&self.world, &self.left);
        let (ts, ss) = (world.nodes[t].member.store, world.nodes[s].member.store);
        if left.lapses > 0 && world.nodes[s].supports.received(ts).is_some() {
            all.push(Action::Lapse(t, s));
        }
        if world.may_withdraw(t, s) {
            all.push(Action::Withdraw(t, s));
        }
        if left.promises > 0 && world.nodes[t].supports.given(ss).is_none() {
            all.push(Action::Promise(t, s));
        }
    }

    fn act(&mut self, action: Action) {
        let (world, left) = (&mut self.world, &mut self.left);
        match action {
            Action::Deliver(at) => world.deliver(at),
            Action::Duplicate(at) => {
                left.duplicates -= 1;
                let copy = world.net[at].clone();
                world.deliver_copy(copy);
            }
            Action::Complete(n) => world.complete(n),
            Action::Crash(n, kept) => {
                left.crashes -= 1;
                world.crash(n, kept);
                world.restart(n);
            }
            Action::Campaign(n) => {
                left.campaigns -= 1;
                world.campaign(n);
            }
            Action::Propose(n) => {
                left.proposals -= 1;
                let data = format!("e{}", left.proposals);
                world.propose_to(n, &data, self.reach);
            }
            Action::Greet(n, m) => {
                left.greetings -= 1;
                let store = world.nodes[m].member.store;
                world.call(n, |g, ctx, out| g.liveness_changed(ctx, store, out));
            }
            Action::Read(n) => {
                left.reads -= 1;
                world.read(n);
            }
            Action::Transfer(n, m) => {
                left.transfers -= 1;
                let to = world.nodes[m].member.replica;
                world.call(n, |g, ctx, out| g.transfer(ctx, to, out).is_ok());
            }
            Action::Lapse(t, s) => {
                left.lapses -= 1;
                world.lapse(t, s);
            }
            Action::Withdraw(t, s) => world.withdraw(t, s),
            Action::Promise(t, s) => {
                left.promises -= 1;
                world.promise(t, s, 100 + u64::from(left.promises));
            }
            Action::Ungate(n) => world.ungate(n),
            Action::Change(n) => {
                left.changes -= 1;
                world.call(n, |g, ctx, out| g.propose_conf(ctx, &ConfChange::leave(), out).is_ok());
            }
            Action::StepDown(n) => {
                left.steps_down -= 1;
                world.call(n, |g: &mut Group, ctx, out| g.step_down(ctx, out));
            }
            Action::Truncate(n) => {
                left.truncations -= 1;
                let to = world.group(n).applied_index();
                world.truncate(n, to);
            }
        }
        self.hurry();
        Ghost::check_logs(&self.world.nodes);
        self.world.check_lease();
        self.forget();
    }

    fn hurry(&mut self) {
        loop {
            let world = &mut self.world;
            let writes = (0..world.nodes.len()).find(|n| self.quick_disk && !world.nodes[*n].writes.is_empty());
            let asks = |e: &Envelope| matches!(e.body, Body::Message(Message::PreVote(_) | Message::PreVoteAck(_)));
            match (writes, world.net.iter().position(asks).filter(|_| self.quick_pre_vote)) {
                (Some(n), _) => world.complete(n),
                (None, Some(at)) => world.deliver(at),
                (None, None) => return,
            }
        }
    }

    /// Forgets what changes nothing whenever it arrives: answers of a term that is over, votes for one who was elected.
    fn forget(&mut self) {
        let nodes = &self.world.nodes;
        let mut kept: Vec<Envelope> = Vec::with_capacity(self.world.net.len());
        for e in self.world.net.drain(..) {
            let Some(group) = nodes[e.to.replica.0 as usize - 1].group.as_ref() else { continue };
            let (term, commit) = (group.term(), group.commit());
            let idle = match &e.body {
                Body::Message(Message::PreVoteAck(m)) => m.granted && m.term <= term && m.commit.0 <= commit,
                Body::Message(Message::VoteAck(m)) => {
                    m.commit.0 <= commit && (m.term < term && m.granted || m.term == term && group.is_leader())
                }
                Body::Message(Message::AppendAck(m)) => m.term < term,
                Body::Message(Message::ReadIndexAck { term: t, .. }) => *t < term,
                Body::Committed(c) => c.leader_term < term || c.index <= commit,
                _ => false,
            };
            if !idle && !kept.contains(&e) {
                kept.push(e);
            }
        }
        self.world.net = kept;
    }
}

/// What came of one world.
struct Report {
    states: usize,
    steps: usize,
    exhausted: bool,
    violation: Option<(String, Vec<Action>)>,
}

fn explore(begin: State, limit: usize) -> Report {
    let mut seen: BTreeSet<u128> = BTreeSet::from([begin.key()]);
    let mut stack = vec![begin];
    let mut steps = 0;
    // mostly depth first, in an order without favourites: a world that is too large to be exhausted is then seen evenly
    let mut rng = Rng::new(1);
    while !stack.is_empty() {
        let top = stack.len() - 1;
        let at = if rng.chance(125_000) { rng.below(stack.len() as u64) as usize } else { top };
        let state = stack.swap_remove(at);
        if seen.len() >= limit {
            return Report { states: seen.len(), steps, exhausted: false, violation: None };
        }
        let mut actions = state.actions();
        for at in (1..actions.len()).rev() {
            actions.swap(at, rng.below(at as u64 + 1) as usize);
        }
        for action in actions {
            steps += 1;
            let mut next = state.clone();
            next.path = Some(Rc::new(Path { action, before: state.path.clone() }));
            if let Err(broken) = catch_unwind(AssertUnwindSafe(|| next.act(action))) {
                let text = broken.downcast_ref::<String>().cloned();
                let text = text.or_else(|| broken.downcast_ref::<&str>().map(|s| (*s).to_string()));
                let violation = Some((text.unwrap_or_default(), path_of(&next)));
                return Report { states: seen.len(), steps, exhausted: false, violation };
            }
            if seen.insert(next.key()) {
                stack.push(next);
            }
        }
    }
    Report { states: seen.len(), steps, exhausted: true, violation: None }
}

fn path_of(state: &State) -> Vec<Action> {
    let mut path = Vec::new();
    let mut at = state.path.clone();
    while let Some(p) = at {
        path.push(p.action);
        at = p.before.clone();
    }
    path.reverse();
    path
}

/// Plays a path again and prints what happened.
fn replay(small: &Small, path: &[Action]) {
    let mut state = (small.begin)();
    state.world.trace = Some(Vec::new());
    for action in path {
        say(&format!("  {action:?}"));
        let _ = catch_unwind(AssertUnwindSafe(|| state.act(*action)));
        for line in state.world.trace.iter_mut().flat_map(|t| t.drain(..)) {
            say(&format!("      {line}"));
        }
    }
}

fn run_all(only: Option<&str>, limit: usize) -> bool {
    let (mut total, mut clean) = (0, true);
    let begun = Stopwatch::start();
    for small in SMALL.iter().filter(|s| only.is_none_or(|name| name == s.name)) {
        let watch = Stopwatch::start();
        let Report { states, steps, exhausted, violation } = explore((small.begin)(), limit);
        total += states;
        let (how, seconds) = (if exhausted { "all" } else { "cut" }, watch.seconds());
        let Small { name, about, .. } = small;
        say(&format!("{name:<11} {states:>9} states ({how}) {steps:>10} steps {seconds:>7.1} s  {about}"));
        if let Some((text, path)) = violation {
            clean = false;
            say(&format!("VIOLATION in {name}: {text}"));
            replay(small, &path);
        }
    }
    let outcome = if clean { "no violation" } else { "VIOLATED" };
    say(&format!("{total} distinct states in {:.0} s, {outcome}", begun.seconds()));
    clean && total > 0
}

#[cfg(feature = "museum")]
fn run_museum(limit: usize) -> bool {
    let (mut found, mut missed) = (0, Vec::new());
    for small in SMALL {
        for bug in small.bugs {
            let begin = (small.begin)();
            base::museum::plant(bug);
            let Report { states, exhausted, violation, .. } = explore(begin, limit);
            base::museum::plant("");
            let Some((text, path)) = violation else {
                say(&format!("{bug:<34} NOT FOUND in {:<11} {states:>8} states, all: {exhausted}", small.name));
                missed.push(*bug);
                continue;
            };
            found += 1;
            let (text, actions) = (text.lines().next().unwrap_or_default(), path.len());
            say(&format!(
                "{bug:<34} found in {:<11} after {states:>8} states, {actions:>3} actions: {text}",
                small.name
            ));
        }
    }
    say(&format!("{found} planted bugs found, {} missed: {missed:?}", missed.len()));
    missed.is_empty()
}

#[cfg(not(feature = "museum"))]
fn run_museum(_limit: usize) -> bool {
    say("build with --features museum");
    false
}

fn main() -> ExitCode {
    let args = words();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1)).map(String::as_str);
    let limit = value("--limit").map_or(200_000, |n| n.parse().expect("--limit takes a number"));
    std::panic::set_hook(Box::new(|_| {}));
    let fine = if args.iter().any(|a| a == "--museum") { run_museum(limit) } else { run_all(value("--world"), limit) };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! Golden scripts: `tests/scripts/*.txt`. A line that begins with `> ` is a command, the lines after it are what
//! happened. `UPDATE=1 cargo test -p flotilla-raft --test group scripts` writes what happens now; read the difference.

use super::outside::{rewrite, scripts, setting};
use super::world::ghost::{Ghost, log_of};
use super::world::{Body, Envelope, World, member};
use base::{Index, StoreId, Tick};
use raft::{AppendAck, AppendReject, Change, ConfChange, ConfStep, Group, Message, Reach, VoteAnswer, VoteRequest};

/// One running script.
struct Script {
    world: World,
    promises: u64,
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is not a number"))
}

fn node(word: &str) -> usize {
    number(word) as usize - 1
}

/// What a word of a filter means: `1>2` an edge, `>2` all to 2, `1>` all from 1, anything else a kind.
fn matches(e: &Envelope, words: &[&str]) -> bool {
    words.iter().all(|word| match word.split_once('>') {
        Some((from, to)) => {
            (from.is_empty() || e.from == member(number(from))) && (to.is_empty() || e.to == member(number(to)))
        }
        None => {
            let line = e.to_string();
            line.split(' ').nth(3) == Some(word)
        }
    })
}

impl Script {
    fn new() -> Script {
        let mut world = World::new(3, 3, 0, 1);
        world.trace = Some(Vec::new());
        Script { world, promises: 0 }
    }

    fn run(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, args) = words.split_first().expect("a command has a verb");
        if !self.plan(verb, args) && !self.act(verb, args) && !self.look(verb, args) {
            panic!("unknown command {line:?}");
        }
        Ghost::check_logs(&self.world.nodes);
        std::mem::take(self.world.trace.as_mut().expect("scripts are traced"))
    }

    fn say(&mut self, line: String) {
        self.world.say(|| line);
    }

    /// The world's verbs.
    fn plan(&mut self, verb: &str, args: &[&str]) -> bool {
        match verb {
            "cluster" => self.cluster(args),
            "lazy-apply" => self.world.lazy_apply = true,
            "hold-apply" => self.world.apply_held = true,
            "apply-to" => self.world.apply_to(node(args[0]), Index(number(args[1]))),
            "snapshot" => self.world.send_snapshot(node(args[0]), member(number(args[1]))),
            "apply" => self.world.apply_all(),
            "quiet-commits" => self.world.tells_commits = false,
            "window" => {
                self.world.base.max_inflight = number(args[0]) as usize;
                self.world.base.max_inflight_bytes = args.get(1).map_or(1 << 20, |a| number(a) as usize);
                self.world.base.max_append_bytes = args.get(2).map_or(1 << 20, |a| number(a) as usize);
                (0..self.world.nodes.len()).for_each(|n| self.world.start(n));
            }
            "settle" => self.world.settle(),
            "quietly" => {
                self.run(&args.join(" "));
            }
            "deliver" => self.deliver(args),
            "together" => self.deliver_together(args),
            "duplicate" => {
                let copies: Vec<Envelope> = self.world.net.iter().filter(|e| matches(e, args)).cloned().collect();
                copies.into_iter().for_each(|e| self.world.deliver_copy(e));
            }
            "drop" => {
                let gone: Vec<Envelope> = self.world.net.iter().filter(|e| matches(e, args)).cloned().collect();
                self.world.net.retain(|e| !gone.contains(e));
                gone.iter().for_each(|e| self.say(format!("lost: {e}")));
            }
            "write" => {
                let count = args.get(1).map_or(usize::MAX, |a| number(a) as usize);
                for _ in 0..count.min(self.world.nodes[node(args[0])].writes.len()) {
                    self.world.complete(node(args[0]));
                }
            }
            "pass" => self.world.pass(Tick::ms(number(args[0])), args.get(1) != Some(&"still")),
            "crash" => self.world.crash(node(args[0]), args.get(1).map_or(0, |a| number(a) as usize)),
            "rot" => self.world.rot(node(args[0]), number(args[1]) as usize),
            "restart" => self.world.restart(node(args[0])),
            "gate" => {
                let from = self.world.now + Tick::ms(number(args[1]));
                self.world.nodes[node(args[0])].supports.voting_allowed_from = from;
            }
            "ungate" => self.world.ungate(node(args[0])),
            "promise" => {
                self.promises += 1;
                self.world.promise(node(args[0]), node(args[1]), self.promises);
            }
            "lapse" => self.world.lapse(node(args[0]), node(args[1])),
            "withdraw" => self.world.withdraw(node(args[0]), node(args[1])),
            "everybody-supports" => {
                let n = self.world.nodes.len();
                for (t, s) in (0..n).flat_map(|t| (0..n).map(move |s| (t, s))).filter(|(t, s)| t != s) {
                    self.promises += 1;
                    self.world.promise(t, s, self.promises);
                }
            }
            "beat-of" => {
                let stores = args[2..].iter().map(|s| StoreId(number(s))).collect();
                self.world.nodes[node(args[0])].supports.set_vouched(StoreId(number(args[1])), stores);
            }
            _ => return false,
        }
        true
    }

    fn cluster(&mut self, args: &[&str]) {
        let mut n = args.iter().map(|a| number(a)).chain(std::iter::repeat(0));
        let (voters, learners, spare) = (n.next().unwrap_or(3), n.next().unwrap_or(0), n.next().unwrap_or(0));
        self.world = World::new(voters + learners + spare, voters, learners, 1);
        self.world.trace = Some(Vec::new());
    }

    fn deliver(&mut self, args: &[&str]) {
        let all = std::mem::take(&mut self.world.net);
        let (now, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|e| matches(e, args));
        self.world.net = later;
        now.into_iter().for_each(|e| self.world.deliver_copy(e));
    }

    /// Like `deliver`, but every node takes in all that is for it before it speaks.
    fn deliver_together(&mut self, args: &[&str]) {
        let all = std::mem::take(&mut self.world.net);
        let (now, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|e| matches(e, args));
        self.world.net = later;
        for n in 0..self.world.nodes.len() {
            let to = self.world.nodes[n].member;
            let inbox = now.iter().filter(|e| e.to == to).cloned().collect();
            self.world.deliver_together(n, inbox);
        }
    }

    /// The group's verbs.
    fn act(&mut self, verb: &str, args: &[&str]) -> bool {
        let n = args.first().and_then(|a| a.parse::<usize>().ok()).unwrap_or(1) - 1;
        let world = &mut self.world;
        match verb {
            "campaign" => world.campaign(n),
            "propose" | "propose-to-a-quorum" => {
                let reach = if verb == "propose" { Reach::All } else { Reach::Quorum };
                for data in &args[1..] {
                    if !world.propose_to(n, data, reach) {
                        world.say(|| format!("p{} refuses {data}", n + 1));
                    }
                }
            }
            "read" => {
                let round = world.read(n);
                world.say(|| round.map_or("refused".into(), |r| format!("{r} begun")));
            }
            "transfer" => {
                let to = member(number(args[1])).replica;
                let answer = world.call(n, |g, ctx, out| g.transfer(ctx, to, out));
                if let Some(Err(refused)) = answer {
                    world.say(|| format!("refused: {refused:?}"));
                }
            }
            "conf" => {
                let change = change(&args[1..]);
                let answer = world.call(n, |g, ctx, out| g.propose_conf(ctx, &change, out));
                if let Some(Err(refused)) = answer {
                    world.say(|| format!("refused: {refused:?}"));
                }
            }
            "step-down" => {
                world.call(n, |g, ctx, out| g.step_down(ctx, out));
            }
            "stop" => {
                world.call(n, |g, ctx, out| g.stop(ctx, out));
            }
            "deadline" => {
                world.call(n, |g, ctx, out| g.deadline(ctx, out));
            }
            "liveness" => {
                let store = StoreId(number(args[1]));
                world.call(n, |g, ctx, out| g.liveness_changed(ctx, store, out));
            }
            "piece-taken" => {
                let to = member(number(args[1])).replica;
                world.call(n, |g, ctx, _| g.snapshot_moves(ctx, to));
            }
            "truncate" => world.truncate(n, Index(number(args[1]))),
            "tell" => {
                let n: Vec<u64> = args.iter().map(|a| number(a)).collect();
                let told =
                    raft::Committed { leader_term: base::Term(n[4]), index: Index(n[2]), entry_term: base::Term(n[3]) };
                world.send(member(n[0]), member(n[1]), Body::Committed(told));
            }
            "forge" => {
                let m = forged(args[2], &args[3..]);
                world.send(member(number(args[0])), member(number(args[1])), Body::Message(m));
            }
            "tell-commits" => world.tell_commits(n),
            "leases-off" => world.nodes[n].supports.leases_enabled = false,
            _ => return false,
        }
        true
    }

    /// The verbs that only look.
    fn look(&mut self, verb: &str, args: &[&str]) -> bool {
        match verb {
            "status" => {
                let lines: Vec<String> = self
                    .world
                    .nodes
                    .iter()
                    .map(|n| n.group.as_ref().map_or(format!("{} is down", n.member), Group::to_string))
                    .collect();
                lines.into_iter().for_each(|l| self.say(l));
            }
            "log" => {
                let node = &self.world.nodes[node(args[0])];
                let group = node.group.as_ref().expect("the node is up");
                let entries = log_of(node, group, group.truncated().0.next(), group.last().0);
                let line: Vec<String> = entries.iter().map(ToString::to_string).collect();
                self.say(format!("{}: [{}]", node_name(args[0]), line.join(" ")));
            }
            "lease" => {
                let n = node(args[0]);
                let lease = self.world.group(n).lease(&self.world.nodes[n].supports);
                self.say(lease.map_or("no lease".into(), |until| format!("lease until {until}")));
            }
            "next" => {
                let at = self.world.group(node(args[0])).next_deadline();
                let now = self.world.now;
                let wait = if at == Tick::FAR { "idle: nothing armed".into() } else { armed(at, now) };
                self.say(format!("{} {wait}", node_name(args[0])));
            }
            "progress" => {
                let lines: Vec<String> = self
                    .world
                    .group(node(args[0]))
                    .progress()
                    .iter()
                    .map(|p| {
                        let snapshot = if p.snapshot { " needs a snapshot" } else { "" };
                        let epoch = p.fortified.map_or(String::new(), |e| format!(" fortified={e}"));
                        format!("{} matched={}{snapshot}{epoch}", p.member, p.matched)
                    })
                    .collect();
                lines.into_iter().for_each(|l| self.say(l));
            }
            "network" => {
                let lines: Vec<String> = self.world.net.iter().map(Envelope::to_string).collect();
                lines.into_iter().for_each(|l| self.say(l));
            }
            _ => return false,
        }
        true
    }
}

/// A message as somebody may once have sent it: for what takes long plots to meet by chance.
fn forged(kind: &str, args: &[&str]) -> Message {
    let n: Vec<u64> = args.iter().map(|a| number(a)).collect();
    let term = base::Term(n[0]);
    let at = |i: usize| (Index(n[i]), base::Term(n[i + 1]));
    match kind {
        "defortify" => Message::Defortify { term },
        "timeout-now" => Message::TimeoutNow { term },
        "read-index" => Message::ReadIndex { term, round: n[1] },
        "read-index-ack" => Message::ReadIndexAck { term, round: n[1] },
        "ack" => Message::AppendAck(AppendAck { term, index: Index(n[1]), fortified: None }),
        "reject" => Message::AppendReject(AppendReject { term, base: Index(n[1]), hint: at(2) }),
        "vote" => Message::Vote(VoteRequest { term, last: at(1), released: None }),
        "vote-ack" => Message::VoteAck(VoteAnswer { term, granted: n[1] == 1, commit: at(2) }),
        "pre-vote-ack" => Message::PreVoteAck(VoteAnswer { term, granted: n[1] == 1, commit: at(2) }),
        _ => panic!("unknown message {kind:?}"),
    }
}

fn node_name(word: &str) -> String {
    format!("p{word}")
}

fn armed(at: Tick, now: Tick) -> String {
    // jitter is drawn from a seed; which side of D it falls on is what matters
    let wait = at.since(now) / 1_000_000;
    let about = match wait {
        0..=250 => "soon (within D/4)",
        251..=999 => "within D",
        1000..=2000 => "in D to 2D",
        _ => "later than 2D",
    };
    format!("armed: {about}")
}

fn change(words: &[&str]) -> ConfChange {
    if words == ["leave"] {
        return ConfChange::leave();
    }
    let one = |word: &&str| {
        let (sign, n) = word.split_at(1);
        let m = member(number(n));
        match sign {
            "+" => Change::Voter(m),
            "~" => Change::Learner(m),
            "-" => Change::Remove(m.replica),
            _ => panic!("a change begins with + ~ or -"),
        }
    };
    let change = ConfChange::enter(words.iter().map(one).collect());
    assert!(matches!(change.step, ConfStep::Enter(_)));
    change
}

/// Plays a script and returns it with the output of today.
pub fn play(text: &str) -> String {
    let mut script = Script::new();
    let mut fresh = String::new();
    for line in text.lines() {
        let keeps = line.starts_with('#') || line.trim().is_empty() || line.starts_with("> ");
        if keeps {
            fresh.push_str(line);
            fresh.push('\n');
        }
        if let Some(command) = line.strip_prefix("> ") {
            for said in script.run(command) {
                fresh.push_str("  ");
                fresh.push_str(&said);
                fresh.push('\n');
            }
        }
    }
    fresh
}

#[test]
fn golden_scripts() {
    let all = scripts();
    let update = setting("UPDATE").is_some();
    let mut wrong = Vec::new();
    for (path, text) in &all {
        let name = path.file_name().expect("a file").to_string_lossy();
        assert!(text.starts_with("# "), "{name} opens with a comment that says what it shows");
        let fresh = match std::panic::catch_unwind(|| play(text)) {
            Ok(fresh) => fresh,
            Err(_) => panic!("{name} breaks an invariant"),
        };
        if fresh != *text && update {
            rewrite(path, &fresh);
        } else if fresh != *text {
            let differs = text.lines().zip(fresh.lines()).find(|(a, b)| a != b);
            wrong.push(format!("{name}: {differs:?}"));
        }
    }
    assert!(wrong.is_empty(), "what happens is not what is written:\n{}", wrong.join("\n"));
    assert!(all.len() >= 40, "{} scripts", all.len());
}

#[test]
fn a_changed_outcome_is_noticed() {
    let text = "# shows nothing\n> campaign 1\n  p1 is leader in term 9, leader p1\n";
    assert_ne!(play(text), text);
    let unused = Envelope { from: member(1), to: member(2), body: Body::Committed(told()) };
    assert!(matches(&unused, &["1>2", "commit"]) && !matches(&unused, &["2>1"]));
}

fn told() -> raft::Committed {
    raft::Committed { leader_term: base::Term(1), index: Index(1), entry_term: base::Term(1) }
}

//! Every crash point of a run: whatever prefix of its operations a disk has, and whatever a crash takes from the
//! unsynced ones, a node that starts on it finds everything that was acknowledged before, and nothing that was not
//! asked for.

use super::host::Carried;
use super::{SEC, World};
use crate::check::{Outcome, Rule, Rules, Version, Violation};
use crate::options::{FaultOptions, NetOptions, Options};
use base::{Key, Leased, Revision, Rng, Tick};
use engine::mem::{Crash, Mem};
use engine::{Cf, Engine, keys};
use mvcc::KeyValue;
use node::{Config, Input, Node};
use range::Ready;
use std::collections::BTreeMap;

/// What was tried.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct CrashPoints {
    /// Disk operations of the run.
    pub operations: u64,
    pub acknowledged: u64,
    pub recoveries: u64,
}

/// The versions that a disk must hold after so many of its operations.
struct Acked {
    /// How many disk operations had been done when it was acknowledged.
    after: u64,
    revision: Revision,
}

/// Runs one node for so many operations of clients, then tries every `stride`th prefix of its disk's operations.
pub fn crash_points(seed: u64, asked: usize, stride: usize) -> Result<CrashPoints, Violation> {
    let options = Options {
        nodes: 1,
        faults: FaultOptions::default(),
        net: NetOptions { drop: 0, duplicate: 0, straggle: 0, replay: 0, ..Options::draw(seed).net },
        faulty_for: 3_600 * SEC,
        ..Options::draw(seed)
    };
    let mut world = World::new(&options, Rules::default(), None);
    world.hosts[0].disk = Mem::recorded();
    world.begin();
    let mut acked: Vec<Acked> = Vec::new();
    let mut at = 0;
    while world.clients.answers.len() < asked && world.broken.is_none() && world.turn() {
        let done = world.hosts[0].disk.ops();
        while let Some(id) = world.clients.answers.get(at) {
            at += 1;
            let Some(op) = world.clients.ops().nth(*id as usize) else { continue };
            if let (true, Outcome::Ok(revision, _)) = (op.is_effective(), &op.outcome) {
                acked.push(Acked { after: done, revision: *revision });
            }
        }
    }
    if let Some(v) = world.broken {
        return Err(v);
    }
    let mut all: BTreeMap<Revision, Vec<Version>> = BTreeMap::new();
    for v in world.invariants.versions() {
        all.entry(v.revision).or_default().push(v);
    }
    try_all(&world.hosts[0].disk, &acked, seed, stride)
}

/// Every prefix, each with several ways in which a crash can take what was not synced.
fn try_all(disk: &Mem, acked: &[Acked], seed: u64, stride: usize) -> Result<CrashPoints, Violation> {
    let mut rng = Rng::new(seed);
    let journal = disk.journal();
    let n = journal.ops().len();
    let whole = recovered(disk.fork(), &mut rng)?;
    let mut sum = CrashPoints { operations: n as u64, acknowledged: acked.len() as u64, recoveries: 0 };
    // The first few write the founding: without it there is no store yet.
    let (disk, mut done) = (Mem::new(), 0);
    for prefix in (4..=n).step_by(stride.max(1)) {
        while done < prefix {
            journal.redo(&disk, done);
            done += 1;
        }
        let unsynced = journal.unsynced(prefix);
        let some = rng.below(unsynced as u64 + 1) as usize;
        for crash in [Crash::Lose, Crash::Keep, Crash::First(some), Crash::Torn(some)] {
            let left = disk.fork().crash(crash).expect("a replayed disk opens");
            let found = recovered(left, &mut rng)?;
            sum.recoveries += 1;
            let at = |text: String| Violation {
                rule: Rule::DurableStays,
                text: format!("seed {seed}, after {prefix} disk operations, {crash}: {text}"),
            };
            for a in acked.iter().filter(|a| a.after <= prefix as u64) {
                if !found.contains_key(&a.revision) && whole.contains_key(&a.revision) {
                    return Err(at(format!("{} was acknowledged and is gone", a.revision)));
                }
            }
            for (revision, changes) in &found {
                if whole.get(revision).is_some_and(|w| w != changes) {
                    return Err(at(format!("{revision} is not what it was")));
                }
            }
        }
    }
    Ok(sum)
}

type Found = BTreeMap<Revision, BTreeMap<Key, Option<KeyValue>>>;

/// Starts a node on this disk, lets it lead and apply what it has, and reads every version.
fn recovered(disk: Mem, rng: &mut Rng) -> Result<Found, Violation> {
    let refused =
        |e: base::Error| Violation { rule: Rule::DurableStays, text: format!("the store does not start: {e}") };
    let mut now = Tick::ms(5_000);
    let mut node = Node::open(Config::default(), disk.clone(), rng.fork(), now).map_err(refused)?;
    let mut inputs = Vec::new();
    let mut last_write = 0;
    for _ in 0..400 {
        let fx: Carried = node.step(std::mem::take(&mut inputs), now);
        if let Some(e) = fx.failed {
            return Err(refused(e));
        }
        if let Some(task) = fx.write {
            disk.write(&task.batch, task.sync).map_err(refused)?;
            last_write = task.seq;
            inputs.push(Input::Written(last_write));
        }
        for (proof, leased) in fx.leased {
            inputs.push(opened(proof, leased, now));
        }
        let settled = node.replicas().all(|r| r.is_serving() && r.readable() == r.group().last().0);
        if settled && inputs.is_empty() && last_write > 0 {
            return Ok(versions(&disk));
        }
        if inputs.is_empty() {
            now = now.max(fx.wake) + Tick(1);
        }
    }
    Err(Violation { rule: Rule::OneLeaderEach, text: "a lonely node does not come to serve".to_string() })
}

fn opened<V>(proof: range::Proof, leased: Leased<Ready<V>>, now: Tick) -> Input<V> {
    match leased.open(now) {
        Ok(ready) => Input::Proved(ready),
        Err(late) => Input::Unproved(proof, late.into_unproved()),
    }
}

fn versions(disk: &Mem) -> Found {
    let mut found = Found::new();
    for (key, value) in disk.records(Cf::Data) {
        if key.first() == Some(&keys::data::MVCC)
            && let Some(v) = super::witness::version(&key, &value)
        {
            found.entry(v.revision).or_default().insert(v.key, v.kv);
        }
    }
    found
}

//! Histories made by a reference store: sound ones are accepted, and each way of spoiling one is noticed.

use base::{Key, Revision, Rng, Span};
use bytes::Bytes;
use mvcc::*;
use sim::check::*;

fn key(rng: &mut Rng) -> Key {
    Key::user(&[b'a' + rng.below(5) as u8])
}

fn request(rng: &mut Rng, unique: u64) -> Request {
    let span = {
        let (a, b) = (key(rng), key(rng));
        if a < b { Span::new(a, b) } else { Span::new(b, a.next()) }
    };
    match rng.below(8) {
        0..=2 => put(rng, unique, 0),
        3 => Request::Delete(DeleteReq { span, prev_kv: rng.chance(500_000) }),
        4 => {
            let compares = vec![Compare {
                span: Span::point(&key(rng)),
                result: CompareResult::Greater,
                target: CompareTarget::Version(rng.below(3) as i64),
            }];
            let (success, failure) = (vec![put(rng, unique, 1), scan(rng, span.clone())], vec![scan(rng, span)]);
            Request::Txn(TxnReq { compares, success, failure })
        }
        _ => scan(rng, span),
    }
}

fn put(rng: &mut Rng, unique: u64, n: u64) -> Request {
    Request::Put(PutReq {
        key: key(rng),
        value: Bytes::from(format!("{unique}.{n}")),
        lease: 0,
        prev_kv: rng.chance(500_000),
        ignore_value: false,
        ignore_lease: false,
    })
}

fn scan(rng: &mut Rng, span: Span) -> Request {
    Request::Range(RangeReq {
        span,
        revision: Revision::ZERO,
        limit: rng.below(3),
        sort: None,
        keys_only: rng.chance(200_000),
        count_only: false,
        serializable: false,
        filter: Filter::default(),
    })
}

/// A sound history of `n` operations by four clients that overlap.
fn sound(seed: u64, n: u64) -> History {
    let mut rng = Rng::new(seed);
    let mut history = History::default();
    let (mut state, mut current, mut free) = (Flat::default(), Revision::FIRST, [0u64; 4]);
    let mut now = 10;
    for id in 0..n {
        now += 1 + rng.below(20);
        let client = rng.below(4) as usize;
        let call = free[client].max(now.saturating_sub(rng.below(30))) + 1;
        now = now.max(call) + 1;
        let ret = now + 1 + rng.below(30);
        free[client] = ret;
        let ask = request(&mut rng, id);
        let (reply, effects) = Turn::run(&state, current.next(), &ask).expect("nothing here is refused");
        let unknown = rng.chance(100_000);
        let lost = unknown && rng.chance(500_000);
        if !lost && !effects.is_empty() {
            current = current.next();
            for (key, kv) in effects {
                history.versions.push(Version { key: key.clone(), revision: current, sub: None, kv: kv.clone() });
                match kv {
                    Some(kv) => drop(state.0.insert(key, kv)),
                    None => drop(state.0.remove(&key)),
                }
            }
        }
        let outcome = if unknown { Outcome::Unknown } else { Outcome::Ok(current, Some(reply)) };
        let ret = if unknown { u64::MAX } else { ret };
        history.ops.push(Op { id, client: client as u64, door: 0, call, ret, ask: Ask::Kv(ask), outcome });
    }
    history
}

#[test]
fn sound_histories_are_accepted_by_both_judges() {
    for seed in 0..200 {
        let h = sound(seed, 300);
        let summary = check_revisions(&h, &Rules::default()).unwrap_or_else(|v| panic!("seed {seed}: {v}"));
        assert!(summary.checked > 200 && summary.owned > 50 && summary.holes == 0, "{summary:?}");
        let small = sound(seed, 40);
        match check_wgl(&small, &Rules::default(), 200_000) {
            Ok(Verdict::Linearizable(n)) => assert!(n >= 30, "{n}"),
            other => panic!("seed {seed}: {other:?}"),
        }
    }
}

/// The place of an operation for which `f` holds, somewhere behind the middle.
fn find(h: &History, f: impl Fn(&Op) -> bool) -> Option<usize> {
    (h.ops.len() / 2..h.ops.len()).find(|&i| f(&h.ops[i]))
}

#[test]
fn spoilt_histories_are_rejected() {
    type Spoil = fn(&mut History) -> Option<()>;
    let ways: [(&str, Spoil); 7] = [
        ("an acknowledged write is lost", |h| {
            let i = find(h, Op::is_effective)?;
            let r = h.ops[i].revision()?;
            h.versions.retain(|v| v.revision != r);
            Some(())
        }),
        ("a write is applied under another revision as well", |h| {
            let mut v = h.versions.iter().skip(h.versions.len() / 2).find(|v| v.kv.is_some())?.clone();
            v.revision = Revision(h.ops.len() as u64 + 7);
            v.kv.as_mut()?.modified = v.revision;
            h.versions.push(v);
            Some(())
        }),
        ("a read is stale", |h| {
            let i = find(h, |op| matches!(op.outcome, Outcome::Ok(..)) && !op.is_effective())?;
            if let Outcome::Ok(r, _) = &mut h.ops[i].outcome {
                *r = Revision(r.0.checked_sub(8)?);
            }
            Some(())
        }),
        ("a count is wrong", |h| {
            let i = find(h, |op| matches!(op.outcome, Outcome::Ok(_, Some(Reply::Range(_)))))?;
            if let Outcome::Ok(_, Some(Reply::Range(r))) = &mut h.ops[i].outcome {
                r.count += 1;
            }
            Some(())
        }),
        ("a branch is wrong", |h| {
            let i = find(h, |op| matches!(op.outcome, Outcome::Ok(_, Some(Reply::Txn(_)))))?;
            if let Outcome::Ok(_, Some(Reply::Txn(t))) = &mut h.ops[i].outcome {
                t.succeeded = !t.succeeded;
            }
            Some(())
        }),
        ("a value is mixed up", |h| {
            let n = h.versions.len();
            let v = h.versions[n / 2..].iter_mut().find(|v| v.kv.is_some())?;
            v.kv.as_mut()?.value = Bytes::from_static(b"rubbish");
            Some(())
        }),
        ("two writes changed places", |h| {
            let i = find(h, Op::is_effective)?;
            let j = (i + 12..h.ops.len()).find(|&j| h.ops[j].is_effective())?;
            let (a, b) = (h.ops[i].outcome.clone(), h.ops[j].outcome.clone());
            (h.ops[i].outcome, h.ops[j].outcome) = (b, a);
            Some(())
        }),
    ];
    for (name, spoil) in ways {
        let mut spoilt = 0;
        for seed in 0..50 {
            let mut h = sound(seed, 300);
            if spoil(&mut h).is_some() {
                spoilt += 1;
                assert!(check_revisions(&h, &Rules::default()).is_err(), "seed {seed}: unnoticed: {name}");
            }
        }
        assert!(spoilt >= 40, "{name}: only {spoilt} histories could be spoilt");
    }
}

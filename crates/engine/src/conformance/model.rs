//! A long random history of everything at once, against a plain map.

use super::{D, Lab};
use crate::{Batch, Cf, Engine, Op, Read};
use base::Rng;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

type Model = BTreeMap<(Cf, Vec<u8>), Vec<u8>>;

fn apply_to_model(model: &mut Model, op: &Op) {
    match op {
        Op::Put(cf, k, v) => {
            model.insert((*cf, k.to_vec()), v.to_vec());
        }
        Op::Delete(cf, k) => {
            model.remove(&(*cf, k.to_vec()));
        }
        Op::DeleteRange(cf, s, e) => model.retain(|(c, k), _| c != cf || k[..] < s[..] || k[..] >= e[..]),
    }
}

fn random_key(rng: &mut Rng) -> Vec<u8> {
    let mut key = vec![b'a' + rng.below(3) as u8];
    for _ in 0..rng.below(3) {
        key.push([0, b'm', 0xff][rng.below(3) as usize]);
    }
    key
}

fn random_batch(rng: &mut Rng) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..rng.below(5) {
        let cf = *rng.pick(&[Cf::Log, Cf::Data]);
        match rng.below(8) {
            0..=4 => batch.put(cf, random_key(rng), rng.next_u64().to_be_bytes().to_vec()),
            5..=6 => batch.delete(cf, random_key(rng)),
            _ => batch.delete_range(cf, random_key(rng), random_key(rng)),
        }
    }
    batch
}

/// Every record, both ways from a random place, and single reads: the same as in the model.
fn compare(from: &impl Read, model: &Model, rng: &mut Rng) {
    for cf in [Cf::Log, Cf::Data] {
        let (lower, upper) = (random_key(rng), random_key(rng));
        let place = random_key(rng);
        let inside: Vec<(&[u8], &[u8])> = model
            .range((Bound::Included((cf, lower.clone())), Bound::Unbounded))
            .filter(|((c, k), _)| *c == cf && *k < upper)
            .map(|((_, k), v)| (&k[..], &v[..]))
            .collect();
        let mut cursor = from.cursor(cf, &lower, &upper).expect("a cursor");
        let mut at = inside.iter().position(|(k, _)| *k >= &place[..]).unwrap_or(inside.len());
        cursor.seek(&place);
        for _ in 0..8 {
            assert_eq!(cursor.item(), inside.get(at).copied(), "{cf:?} [{lower:?},{upper:?}) from {place:?}");
            if at >= inside.len() {
                break;
            }
            if rng.chance(700_000) {
                cursor.next();
                at += 1;
            } else {
                cursor.prev();
                at = if at == 0 { inside.len() } else { at - 1 };
            }
        }
        cursor.seek_for_prev(&place);
        let before = inside.iter().rev().find(|(k, _)| *k <= &place[..]).copied();
        assert_eq!(cursor.item(), before, "{cf:?} [{lower:?},{upper:?}) before {place:?}");
        cursor.status().expect("a sound disk reads");
        let value = from.get(cf, &place).expect("read").map(|v| v.to_vec());
        assert_eq!(value, model.get(&(cf, place)).cloned());
    }
}

/// A long random history of batches, ingestions, views, compactions and crashes against a plain map.
pub fn model<L: Lab>(lab: &mut L, seed: u64, turns: usize) {
    let mut rng = Rng::new(seed);
    let mut e = lab.fresh();
    let mut now = Model::new();
    let mut views: Vec<(<L::E as Engine>::View, Model)> = Vec::new();
    for turn in 0..turns {
        match rng.below(64) {
            0 => {
                e.write(&Batch::new(), true).expect("sync");
                views.clear();
                e = lab.reopen(e);
            }
            1..=3 => {
                let sorted: BTreeMap<Vec<u8>, Vec<u8>> =
                    (0..rng.below(6)).map(|i| (random_key(&mut rng), vec![i as u8, turn as u8])).collect();
                let mut stage = e.stage().expect("stage");
                for (k, v) in &sorted {
                    stage.put(k, v).expect("staged");
                }
                stage.finish().expect("finish");
                let clear: Vec<(Bytes, Bytes)> =
                    (0..rng.below(3)).map(|_| (random_key(&mut rng).into(), random_key(&mut rng).into())).collect();
                let then = random_batch(&mut rng);
                e.ingest(stage, &clear, &then).expect("ingest");
                for (start, end) in clear {
                    apply_to_model(&mut now, &Op::DeleteRange(D, start, end));
                }
                now.extend(sorted.into_iter().map(|(k, v)| ((D, k), v)));
                then.ops().iter().for_each(|op| apply_to_model(&mut now, op));
            }
            4 => e.compact(&random_key(&mut rng), &random_key(&mut rng)).expect("compact"),
            5..=14 => views.push((e.view(), now.clone())),
            15..=22 if !views.is_empty() => {
                views.swap_remove(rng.below(views.len() as u64) as usize);
            }
            _ => {
                let batch = random_batch(&mut rng);
                e.write(&batch, rng.chance(100_000)).expect("write");
                batch.ops().iter().for_each(|op| apply_to_model(&mut now, op));
            }
        }
        compare(&e, &now, &mut rng);
        if !views.is_empty() {
            let (view, then) = rng.pick(&views);
            compare(view, then, &mut rng);
        }
    }
}

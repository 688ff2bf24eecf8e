//! What evaluating, encoding and applying cost per command, and what reading costs, over the in-memory engine:
//! `cargo bench -p flotilla-benches --bench mvcc`.

use base::{Key, Revision, Span};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use engine::mem::Mem;
use engine::{Batch, Engine};
use mvcc::{
    Captured, CountIndex, Evaluated, Filter, NEWEST, Overlay, PutReq, RangeReq, Request, Source, apply, apply_commands,
    encode_command, evaluate, read, read_counted,
};
use std::hint::black_box;

const KEYS: u64 = 100_000;
const VALUE: [u8; 256] = [7; 256];

fn key(i: u64) -> Key {
    Key::user(format!("bench/key/{:08}", i % KEYS).as_bytes())
}

fn put(i: u64) -> Request {
    let value = Bytes::from_static(&VALUE);
    Request::Put(PutReq { key: key(i), value, lease: 0, prev_kv: false, ignore_value: false, ignore_lease: false })
}

fn scan(span: Span, limit: u64, count_only: bool) -> RangeReq {
    let filter = Filter::default();
    let (revision, sort) = (Revision::ZERO, None);
    RangeReq { span, revision, limit, sort, keys_only: false, count_only, serializable: false, filter }
}

fn evaluated(engine: &Mem, overlay: &Overlay, i: u64) -> mvcc::Effects {
    match evaluate(&Source::live(engine, overlay), &put(i), Revision::pending(i + 1), None) {
        Ok(Evaluated::Done { effects, .. }) => effects,
        other => panic!("a put is done at once: {other:?}"),
    }
}

/// 100,000 keys of 256 bytes, each written once.
fn fill(engine: &Mem) {
    let overlay = Overlay::new();
    for chunk in 0..KEYS / 1000 {
        let mut batch = Batch::new();
        for i in chunk * 1000..(chunk + 1) * 1000 {
            let mut effects = evaluated(engine, &overlay, i);
            effects.number(Revision::pending(i + 1), Revision(i + 2));
            apply(Revision(i + 2), &effects, &mut batch);
        }
        engine.write(&batch, false).expect("the engine writes");
    }
}

fn writes(c: &mut Criterion, engine: &Mem) {
    let overlay = Overlay::new();
    let mut i = 0u64;
    let mut next = move || {
        i = i.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i >> 33
    };
    c.bench_function("evaluate put", |b| b.iter(|| evaluated(engine, &overlay, black_box(next()))));
    let mut hot = Overlay::new();
    for seq in 1..200 {
        hot.insert_command(Revision::pending(seq), &evaluated(engine, &hot, seq));
    }
    c.bench_function("evaluate put of a key in the overlay", |b| {
        b.iter(|| evaluated(engine, &hot, black_box(77)));
    });
}

/// What needs no engine.
fn commands(c: &mut Criterion) {
    let engine = Mem::new();
    let mut overlay = Overlay::new();
    let effects: Vec<_> = (0..64).map(|i| evaluated(&engine, &overlay, i)).collect();
    c.bench_function("overlay: insert, number, remove", |b| {
        let mut seq = 0;
        b.iter(|| {
            seq += 1;
            overlay.insert_command(Revision::pending(seq), &effects[seq as usize % 64]);
            overlay.number(seq, Revision(seq));
            overlay.remove(Revision(seq));
        });
    });
    let mut numbered = effects.clone();
    numbered.iter_mut().for_each(|e| e.fill(&|seq| Revision(seq)));
    let encode = || {
        let mut out = Vec::with_capacity(64 * 320);
        numbered.iter().enumerate().for_each(|(i, e)| encode_command(&mut out, Revision(i as u64), e));
        out
    };
    c.bench_function("encode 64 puts", |b| b.iter(encode));
    let entry = Bytes::from(encode());
    c.bench_function("apply 64 puts from an entry", |b| {
        b.iter_batched_ref(Batch::new, |batch| apply_commands(entry.clone(), batch), BatchSize::SmallInput);
    });
}

fn reads(c: &mut Criterion, engine: &Mem) {
    let view = engine.view();
    let (overlay, at) = (Overlay::new(), Revision(KEYS + 1));
    let mut i = 0u64;
    c.bench_function("capture and get", |b| {
        b.iter(|| {
            i += 7919;
            let request = scan(Span::point(&key(i)), 0, false);
            let captured = overlay.capture(&request.span, at);
            read(&Source::new(&view, &captured), &request, at)
        });
    });
    let none = Captured::default();
    let source = Source::new(&view, &none);
    let mut counts = CountIndex::new(at, 1);
    let all = scan(Span::users(), 0, true);
    c.bench_function("count 100,000 keys by walking", |b| b.iter(|| source.count(&all.span, NEWEST)));
    let (_, learned) = read_counted(&source, &all, at, &counts.plan(&all.span, at)).expect("a read");
    counts.learn(learned, &overlay);
    c.bench_function("scan from a key, limit 100, exact count", |b| {
        b.iter(|| {
            i += 7919;
            let request = scan(Span::new(key(i), Span::users().end), 100, false);
            let plan = counts.plan(&request.span, at);
            read_counted(&source, &request, at, &plan)
        });
    });
}

fn stations(c: &mut Criterion) {
    commands(c);
    let mem = Mem::new();
    fill(&mem);
    writes(c, &mem);
    reads(c, &mem);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1000));
    targets = stations
}
criterion_main!(benches);

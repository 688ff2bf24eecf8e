//! Station ⑧ of a Put, `write_all`, and what reads cost: both engines, the same work.
//!
//! `cargo bench -p flotilla-benches --features rocks --bench engine`

use base::{Key, Revision};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::mem::Mem;
use engine::{Batch, Cf, Engine, Read, keys};
use std::hint::black_box;

const KEYS: u64 = 20_000;

fn user(i: u64) -> Key {
    Key::user(format!("key/{:08}", i * 7919 % KEYS).as_bytes())
}

/// What one step with `n` puts of 256 bytes writes: one packed entry, `n` versions, one applied position.
fn step(n: u64, revision: u64) -> Batch {
    let value = Bytes::from(vec![7u8; 256]);
    let mut batch = Batch::new();
    let entry = vec![7u8; n as usize * 280];
    batch.put(Cf::Log, keys::entry(base::RangeId(2), base::Index(revision)), entry);
    if revision > 64 {
        batch.delete(Cf::Log, keys::entry(base::RangeId(2), base::Index(revision - 64)));
    }
    for i in 0..n {
        batch.put(Cf::Data, keys::version(&user(revision * n + i), Revision(revision)), value.clone());
    }
    batch.put(Cf::Data, keys::local(base::RangeId(2), keys::local::APPLIED), vec![1u8; 16]);
    batch
}

fn fill(engine: &impl Engine) {
    for i in 0..KEYS / 64 {
        engine.write(&step(64, 1 + i), false).expect("writes");
    }
}

fn writes(c: &mut Criterion, name: &str, engine: &impl Engine) {
    let mut revision = KEYS;
    for n in [1, 16, 64, 256] {
        let mut group = c.benchmark_group(format!("{name}/write_all"));
        group.throughput(Throughput::Elements(n)).sample_size(20);
        for sync in [false, true] {
            group.bench_function(format!("{n} puts{}", if sync { ", synced" } else { "" }), |b| {
                b.iter_batched(
                    || {
                        revision += 1;
                        step(n, revision)
                    },
                    |batch| engine.write(&batch, sync).expect("writes"),
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

fn reads(c: &mut Criterion, name: &str, engine: &impl Engine) {
    let mut group = c.benchmark_group(format!("{name}/read"));
    group.sample_size(20);
    group.bench_function("view", |b| b.iter(|| black_box(engine.view())));
    let view = engine.view();
    let mut i = 0;
    group.bench_function("applied position", |b| {
        let key = keys::local(base::RangeId(2), keys::local::APPLIED);
        b.iter(|| black_box(view.get(Cf::Data, &key).expect("reads")));
    });
    group.bench_function("newest version by seek", |b| {
        b.iter(|| {
            i += 1;
            let (lower, upper) = keys::versions_of(&user(i));
            let mut cursor = view.cursor(Cf::Data, &lower, &upper).expect("a cursor");
            cursor.seek_first();
            black_box(cursor.item().is_some())
        });
    });
    group.throughput(Throughput::Elements(100));
    group.bench_function("scan of 100 records", |b| {
        let (lower, upper) = keys::version_span(&base::Span::users());
        b.iter(|| {
            let mut cursor = view.cursor(Cf::Data, &lower, &upper).expect("a cursor");
            cursor.seek_first();
            for _ in 0..100 {
                black_box(cursor.item());
                cursor.next();
            }
        });
    });
}

fn both(c: &mut Criterion) {
    let mem = Mem::new();
    fill(&mem);
    reads(c, "mem", &mem);
    writes(c, "mem", &mem);
    let dir = tempfile::TempDir::new().expect("a directory");
    let rocks = rocks::Rocks::open(dir.path(), &rocks::Settings::default()).expect("opens");
    fill(&rocks);
    reads(c, "rocks", &rocks);
    writes(c, "rocks", &rocks);
}

criterion_group!(benches, both);
criterion_main!(benches);

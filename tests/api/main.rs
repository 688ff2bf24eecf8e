//! # api: every key-value call, through the Rust `etcd-client`, over gRPC
//!
//! One list of cases, run against three targets: Debian's etcd (which shows that the cases are right), Flotilla with one
//! range for users' keys, and Flotilla with a range boundary between almost all keys. A case writes below a prefix of
//! its own, `<case>/`; single letters (`a`, `b`, …) lie in ranges of their own in the third target, and `a1`, `a2`, …
//! lie together in one. A case whose writes or transactions cross ranges is marked [`Across`]: there it must be answered
//! `Unimplemented`, anywhere else it must pass. The list of those is printed with each run.

mod compact;
mod delete;
mod limits;
mod maintenance;
mod put;
mod scan;
mod target;
mod txn;
mod txn_compare;

use harness::{Cluster, Program, Spec};
use target::{Case, Ctx, Ranges, Target, UNIMPLEMENTED};

/// No case takes longer, even on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(90);

/// A case that takes longer is named.
const SLOW: std::time::Duration = std::time::Duration::from_secs(3);

/// All cases, in the order in which they run; the last one deletes to the end of the key space.
fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for list in [put::CASES, scan::CASES, delete::CASES, txn::CASES, txn_compare::CASES] {
        all.extend(list);
    }
    for list in [compact::CASES, limits::CASES, maintenance::CASES, delete::LAST] {
        all.extend(list);
    }
    all
}

/// A boundary between almost all keys: before `b`, `c`, `d` and `e` of every case.
fn split_keys() -> String {
    let boundaries = |case: &Case| ["b", "c", "d", "e"].map(|letter| format!("{}/{letter}", case.name));
    let mut keys: Vec<String> = cases().iter().flat_map(boundaries).collect();
    keys.sort();
    keys.join(",")
}

/// Runs all cases (or those whose names contain `API_CASE`) and fails with a list of what went wrong.
fn run(cluster: &Cluster, target: Target) {
    let only = std::env::var("API_CASE").unwrap_or_default();
    let (mut failed, mut across) = (Vec::new(), Vec::new());
    let mut passed = 0;
    for (number, case) in cases().into_iter().enumerate().filter(|(_, c)| c.name.contains(&only)) {
        let ctx = Ctx::new(&case, number, target, cluster);
        let begun = std::time::Instant::now();
        let outcome = harness::rpc::block_on(async {
            let running = tokio::spawn((case.run)(ctx));
            tokio::time::timeout(PATIENCE, running).await.unwrap_or_else(|_| panic!("{} hangs", case.name))
        });
        let must_cross = case.ranges == Ranges::Across && target == Target::FlotillaSplit;
        let verdict = match outcome {
            Err(panicked) => Err(panicked.try_into_panic().map_or("cancelled".into(), |p| text_of(&*p))),
            Ok(Ok(())) if must_cross => Err("passed, but is listed as `Unimplemented`: take it off the list".into()),
            Ok(Ok(())) => Ok(()),
            Ok(Err(etcd_client::Error::GRpcStatus(s))) if must_cross && s.code() as i32 == UNIMPLEMENTED => {
                match s.message().contains("range") {
                    true => {
                        across.push(case.name);
                        Ok(())
                    }
                    false => Err(format!("the answer does not say what is not built: {s:?}")),
                }
            }
            Ok(Err(error)) => Err(format!("{error:?}")),
        };
        let ran = begun.elapsed();
        let verdict = verdict.and_then(|()| harness::rpc::block_on(target::same_everywhere(&cluster.endpoints())));
        if begun.elapsed() > SLOW {
            println!(
                "{target:?}: {} took {ran:.1?}, and {:.1?} until all nodes were equal",
                case.name,
                begun.elapsed() - ran
            );
        }
        match verdict {
            Ok(()) => passed += 1,
            Err(why) => failed.push(format!("{}: {why}", case.name)),
        }
    }
    println!("{target:?}: {passed} cases passed, of these unimplemented over ranges: {across:?}");
    assert!(
        failed.is_empty(),
        "{target:?}: {} of {} cases failed:\n  {}",
        failed.len(),
        passed + failed.len(),
        failed.join("\n  ")
    );
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or_else(|| "panicked".into())
}

#[test]
fn debians_etcd() {
    run(&Cluster::start(Spec::new(Program::Etcd, 3)), Target::Etcd);
}

#[test]
fn flotilla_with_one_range() {
    run(&Cluster::start(Spec::new(Program::Flotilla, 3)), Target::FlotillaOne);
}

#[test]
fn flotilla_with_a_boundary_between_almost_all_keys() {
    let spec = Spec::new(Program::Flotilla, 3).flag(format!("--initial-split-keys={}", split_keys()));
    run(&Cluster::start(spec), Target::FlotillaSplit);
}

/// The list of cases is sound: names differ, sort as the boundaries need it, and the last is the last.
#[test]
fn the_list_is_sound() {
    let names: Vec<&str> = cases().iter().map(|c| c.name).collect();
    let unique: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len());
    assert_eq!(unique.last(), names.last());
    assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
}

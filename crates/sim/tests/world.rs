//! The world itself: one seed is one run, a planted bug is found, an assertion is a finding, crash points recover.

use sim::check::{Checker, Rule, Rules};
use sim::museum::{self, BUGS};
use sim::options::Options;
use sim::report::Part;
use sim::runner;

#[test]
fn one_seed_is_one_run_traced_or_not() {
    let small = Options::of(48);
    let first = runner::run(&small, Rules::default(), None);
    let mut lines = 0u64;
    let mut count = |_: u64, line: std::fmt::Arguments<'_>| lines += u64::from(!line.to_string().is_empty());
    let traced = runner::run(&small, Rules::default(), Some(&mut count));
    assert_eq!((first.hash, first.events), (traced.hash, traced.events), "looking changes nothing");
    assert!(lines > first.events / 2, "{lines} lines for {} events", first.events);
    assert_eq!(first.violation, None);
    assert_ne!(runner::run(&Options::of(32), Rules::default(), None).hash, first.hash);
}

#[test]
fn a_run_counts_elections_invariants_faults_and_operations() {
    let out = runner::run(&Options::of(7), Rules::default(), None);
    let t = &out.totals;
    assert!(t.get(Part::Protocol, "elections") > 0 && t.get(Part::Checks, "invariants") > 1_000, "{t}");
    assert!(t.sum(Part::Faults) > 0 && t.sum(Part::Asked) > t.sum(Part::Answered) / 2, "{t}");
    assert!(out.simulated > 0 && out.events > 1_000);
    for column in ["elections", "invariants", "crash", "put", "simulated seconds", "events"] {
        assert!(t.to_string().contains(column), "{column} is missing in\n{t}");
    }
}

#[test]
fn the_canary_is_found_and_nothing_stays_planted() {
    let bug = BUGS.iter().find(|b| b.name == museum::CANARY).expect("the canary is in the museum");
    let hunt = museum::hunt(bug, 1, 50, Rules::default());
    assert!(hunt.found.is_some() && hunt.broken.is_empty(), "{hunt:?}");
    assert!(!base::museum::planted(bug.name));
    assert!(museum::OFTEN.iter().all(|name| BUGS.iter().any(|b| b.name == *name)), "only exhibits are hunted");
}

/// (rule, the line of the trace at which an assertion fails)
const FAILING: &[(Rule, u64)] = &[(Rule::AssertionsHold, 1), (Rule::AssertionsHold, 500)];

#[test]
fn a_failing_assertion_is_a_finding() {
    for rule in Rule::of(Checker::Runner) {
        let mine: Vec<u64> = FAILING.iter().filter(|(r, _)| *r == rule).map(|(_, at)| *at).collect();
        assert!(mine.len() >= 2, "{rule:?} has {} worlds that it must reject", mine.len());
        for at in mine {
            let run = |rules: Rules| {
                let mut lines = 0;
                let mut fail = |_: u64, _: std::fmt::Arguments<'_>| {
                    lines += 1;
                    assert!(lines < at, "line {at}");
                };
                runner::run(&Options::of(16), rules, Some(&mut fail)).violation
            };
            let violation = run(Rules::default()).expect("it was caught");
            assert_eq!(violation.rule, rule);
            assert!(violation.text.contains(&format!("line {at}")), "{violation}");
            assert_eq!(run(Rules::default().without(rule)), None, "no other rule sees it");
        }
    }
}

#[test]
fn every_crash_point_of_short_runs_recovers() {
    let (mut recoveries, mut acknowledged) = (0, 0);
    for seed in 1..=3 {
        let tried = sim::world::crash_points(seed, 60, 1).unwrap_or_else(|v| panic!("seed {seed}: {v}"));
        recoveries += tried.recoveries;
        acknowledged += tried.acknowledged;
    }
    assert!(recoveries > 450 && acknowledged > 15, "{recoveries} recoveries, {acknowledged} acknowledged writes");
}

//! One seed, whatever happens in it: a failing assertion inside a node is a finding like any other.

use crate::check::{History, Rule, Rules};
use crate::options::Options;
use crate::report::Totals;
use crate::world::{self, Outcome, Tracer};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the world of this seed.
pub fn run_seed(seed: u64, tracer: Option<Tracer<'_>>) -> Outcome {
    run(&Options::of(seed), Rules::default(), tracer)
}

/// Runs a world; an assertion that fails in it is a violation.
pub fn run(options: &Options, rules: Rules, tracer: Option<Tracer<'_>>) -> Outcome {
    let caught = catch_unwind(AssertUnwindSafe(|| world::run(options, rules, tracer)));
    caught.unwrap_or_else(|panic| Outcome {
        violation: rules.broken(Rule::AssertionsHold, || text_of(&*panic)).err(),
        totals: Totals { markers: base::marker::take(), ..Totals::default() },
        hash: 0,
        events: 0,
        simulated: 0,
        history: History::default(),
    })
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_string())
}

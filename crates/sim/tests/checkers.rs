//! The judges judged: every rule must reject histories that break it, and without the rule at least one of these
//! goes unnoticed, so that no rule is idle. In the texts `@` stands for the tag byte of a user's key.

use sim::check::*;

/// (rule, what is wrong, the history)
const VIOLATIONS: &[(Rule, &str, &str)] = &[
    (Rule::AckedStays, "an acknowledged put is not on disk", "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -"),
    (
        Rule::AckedStays,
        "an acknowledged put left another value",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         version '@a 2 2 1 0 '9",
    ),
    (
        Rule::AckedStays,
        "half of an acknowledged transaction is on disk",
        "op 1 c1 d0 10 20 txn 0 2 0 put '@a '1 0 - put '@b '2 0 - => ok 2 txn yes 2 put - put -
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::AppliedOnce,
        "two deletes of one key under one revision",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 90 del '@a '@a%00 - => ok 3 del 1 0
         op 3 c2 d0 30 90 del '@a '@a%00 - => ok 3 del 1 0
         version '@a 2 2 1 0 '1
         gone '@a 3",
    ),
    (
        Rule::AppliedOnce,
        "a put without an answer was applied a second time",
        "op 1 c1 d0 10 - put '@a '1 0 - => unknown
         version '@a 2 2 1 0 '1
         version '@a 3 2 2 0 '1",
    ),
    (Rule::NoneFromNowhere, "a value that nobody wrote", "version '@a 2 2 1 0 '1"),
    (
        Rule::NoneFromNowhere,
        "a delete without an answer removed a key outside its span",
        "op 1 c1 d0 10 20 put '@b '1 0 - => ok 2 put -
         op 2 c1 d0 30 - del '@a '@b - => unknown
         version '@b 2 2 1 0 '1
         gone '@b 3",
    ),
    (
        Rule::NoneFromNowhere,
        "the other branch of a transaction without an answer",
        "op 1 c1 d0 10 - txn 1 1 1 '@a '@a%00 Equal version 0 put '@a 'yes 0 - put '@a 'no 0 - => unknown
         version '@a 2 2 1 0 'no",
    ),
    (
        Rule::RefusedLeavesNothing,
        "answered 'not done', and done",
        "op 1 c1 d0 10 20 put '@a '1 0 - => failed
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::RefusedLeavesNothing,
        "refused for its size, and done",
        "op 1 c1 d0 10 20 put '@a '1 0 - => refused TooManyRequests
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::ResultsMatch,
        "a previous value that was never there",
        "op 1 c1 d0 10 20 put '@a '1 0 p => ok 2 put prev '@a 1 1 1 0 '0
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::ResultsMatch,
        "the other branch, with the same effect",
        "op 1 c1 d0 10 20 txn 1 1 1 '@a '@a%00 Equal version 0 put '@a '1 0 - put '@a '1 0 - => ok 2 txn no 1 put -
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::ResultsMatch,
        "a scan inside a transaction misses the transaction's own put",
        "op 1 c1 d0 10 20 txn 0 2 0 put '@a '1 0 - range '@a '@z 0 0 - - 0 0 0 0 => ok 2 txn yes 2 put - range 0 all 0
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::SubOrder,
        "the second put lies before the first",
        "op 1 c1 d0 10 20 txn 0 2 0 put '@b '1 0 - put '@a '2 0 - => ok 2 txn yes 2 put - put -
         version '@a 2 2 1 0 '2
         sub '@a 2 0
         version '@b 2 2 1 0 '1
         sub '@b 2 1",
    ),
    (
        Rule::SubOrder,
        "two puts of one transaction lie at one place",
        "op 1 c1 d0 10 20 txn 0 2 0 put '@a '1 0 - put '@b '2 0 - => ok 2 txn yes 2 put - put -
         version '@a 2 2 1 0 '1
         sub '@a 2 0
         version '@b 2 2 1 0 '2
         sub '@b 2 0",
    ),
    (
        Rule::ReadsMatch,
        "a read at revision 2 that does not see revision 2",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 40 range '@a '@a%00 0 0 - - 0 0 0 0 => ok 2 range 0 all 0
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::ReadsMatch,
        "a count that does not count what the limit hides",
        "op 1 c1 d0 10 20 txn 0 2 0 put '@a '1 0 - put '@b '2 0 - => ok 2 txn yes 2 put - put -
         op 2 c1 d0 30 40 range '@a '@z 0 1 - - 0 0 0 0 => ok 2 range 1 more 1 '@a 2 2 1 0 '1
         version '@a 2 2 1 0 '1
         version '@b 2 2 1 0 '2",
    ),
    (
        Rule::ReadsMatch,
        "a delete that finds nothing where something is",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 40 del '@a '@b - => ok 2 del 0 0
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::ReadsMatch,
        "sorted by value, falling, and it rises",
        "op 1 c1 d0 10 20 txn 0 2 0 put '@a '1 0 - put '@b '2 0 - => ok 2 txn yes 2 put - put -
         op 2 c1 d0 30 40 range '@a '@z 0 0 Value< - 0 0 0 0 => ok 2 range 2 all 2 '@a 2 2 1 0 '1 '@b 2 2 1 0 '2
         version '@a 2 2 1 0 '1
         version '@b 2 2 1 0 '2",
    ),
    (
        Rule::RealTime,
        "a read that was asked after a put was acknowledged shows the time before",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c2 d0 30 40 range '@a '@a%00 0 0 - - 0 0 0 0 => ok 1 range 0 all 0
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::RealTime,
        "a late arrival: a put below what a read had shown",
        "op 1 c1 d0 10 20 put '@b '1 0 - => ok 3 put -
         op 2 c2 d0 30 40 put '@a '2 0 - => ok 2 put -
         version '@b 3 3 1 0 '1
         version '@a 2 2 1 0 '2",
    ),
    (
        Rule::RealTime,
        "a read saw a put before it was asked for",
        "op 1 c1 d0 10 20 range '@a '@a%00 0 0 - - 0 0 0 0 => ok 2 range 1 all 1 '@a 2 2 1 0 '1
         op 2 c2 d0 30 40 put '@a '1 0 - => ok 2 put -
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::Dense,
        "a number is missing and nothing had broken",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 3 put -
         version '@a 3 3 1 0 '1",
    ),
    (
        Rule::Dense,
        "a number is missing, and what broke was over long before",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 930 940 put '@a '2 0 - => ok 3 put -
         op 3 c1 d0 950 960 put '@a '3 0 - => ok 5 put -
         version '@a 2 2 1 0 '1
         version '@a 3 2 2 0 '2
         version '@a 5 2 3 0 '3
         disruption 100 200",
    ),
    (
        Rule::CompactionHonoured,
        "an old state is served after it was compacted",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 40 put '@a '2 0 - => ok 3 put -
         op 3 c1 d0 50 60 compact 3 => ok 3 -
         op 4 c1 d0 70 80 range '@a '@a%00 2 0 - - 0 0 0 0 => ok 3 range 1 all 1 '@a 2 2 1 0 '1
         version '@a 2 2 1 0 '1
         version '@a 3 2 2 0 '2",
    ),
    (
        Rule::CompactionHonoured,
        "an old state is refused as compacted, and nobody compacted",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 40 put '@a '2 0 - => ok 3 put -
         op 3 c1 d0 50 60 compact 2 => ok 3 -
         op 4 c1 d0 70 80 range '@a '@a%00 2 0 - - 0 0 0 0 => refused Compacted
         version '@a 2 2 1 0 '1
         version '@a 3 2 2 0 '2",
    ),
    (
        Rule::CompactionHonoured,
        "a transaction reads what was compacted, in the branch that it took",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 40 put '@a '2 0 - => ok 3 put -
         op 3 c1 d0 50 60 compact 3 => ok 3 -
         op 4 c1 d0 70 80 txn 0 1 0 range '@a '@a%00 2 0 - - 0 0 0 0 => ok 3 txn yes 1 range 1 all 1 '@a 2 2 1 0 '1
         version '@a 2 2 1 0 '1
         version '@a 3 2 2 0 '2",
    ),
    (
        Rule::CompactionHonoured,
        "compacted twice, and both were told that it was new",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 50 60 compact 2 => ok 2 -
         op 3 c1 d0 70 80 compact 2 => ok 2 -
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::RefusalTrue,
        "a revision is refused as future that had been shown",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 40 range '@a '@a%00 2 0 - - 0 0 0 0 => refused FutureRevision
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::RefusalTrue,
        "a key is refused as missing that was there all the time",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 40 put '@a ' 0 v => refused KeyNotFound
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::RefusalTrue,
        "a revision above the header is served",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 40 range '@a '@a%00 9 0 - - 0 0 0 0 => ok 2 range 1 all 1 '@a 2 2 1 0 '1
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::NodeKeepsPace,
        "a serializable read is behind what its node had shown",
        "op 1 c1 d7 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c2 d7 30 40 range '@a '@a%00 0 0 - s 0 0 0 0 => ok 1 range 0 all 0
         version '@a 2 2 1 0 '1",
    ),
    (
        Rule::NodeKeepsPace,
        "two serializable reads at one node, the second older",
        "op 1 c1 d3 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c2 d7 30 40 range '@a '@a%00 0 0 - s 0 0 0 0 => ok 2 range 1 all 1 '@a 2 2 1 0 '1
         op 3 c2 d7 50 60 range '@a '@a%00 0 0 - s 0 0 0 0 => ok 1 range 0 all 0
         version '@a 2 2 1 0 '1",
    ),
];

fn history(text: &str) -> History {
    let text: String = text.replace('@', "%02");
    load(&text.lines().map(str::trim).collect::<Vec<_>>().join("\n")).expect("a history")
}

#[test]
fn every_rule_rejects_what_breaks_it() {
    for (rule, name, text) in VIOLATIONS {
        match check_revisions(&history(text), &Rules::default()) {
            Err(v) => assert_eq!(v.rule, *rule, "{name}: {v}"),
            Ok(_) => panic!("{rule:?} let this through: {name}"),
        }
    }
}

#[test]
fn each_rule_has_two_violating_histories_and_is_needed_by_one() {
    for rule in Rule::of(Checker::Revisions) {
        let mine: Vec<_> = VIOLATIONS.iter().filter(|(r, ..)| *r == rule).collect();
        assert!(mine.len() >= 2, "{rule:?} has {} violating histories", mine.len());
        let rules = Rules::default().without(rule);
        let through = mine.iter().filter(|(.., text)| check_revisions(&history(text), &rules).is_ok()).count();
        assert!(through > 0, "{rule:?} is idle: the others reject all it rejects");
    }
}

#[test]
fn a_sound_history_is_accepted_and_counted() {
    let text = "op 1 c1 d1 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c2 d1 15 - del '@a '@c - => unknown
         op 3 c3 d2 15 - del '@a '@b - => unknown
         op 4 c1 d1 30 40 range '@a '@z 0 0 - - 0 0 0 0 => ok 3 range 0 all 0
         op 5 c1 d1 50 60 put '@b '2 0 p => ok 4 put -
         op 6 c1 d1 70 80 txn 1 1 1 '@b '@b%00 Greater mod 3 put '@b '3 0 - range '@a '@z 0 0 - - 0 0 0 0 => ok 5 txn yes 1 put -
         op 7 c1 d1 90 99 range '@a '@z 4 0 - - 0 0 0 0 => ok 7 range 1 all 1 '@b 4 4 1 0 '2
         op 8 c4 d1 90 99 put '@zz ' 0 v => refused KeyNotFound
         version '@a 2 2 1 0 '1
         gone '@a 3
         version '@b 4 4 1 0 '2
         version '@b 5 4 2 0 '3
         gone '@b 6";
    let history = history(text);
    let summary = check_revisions(&history, &Rules::default()).expect("it is sound");
    assert_eq!(summary, Summary { checked: 5, owned: 5, resolved: 2, holes: 0 });
    assert_eq!(load(&dump(&history)).expect("what was dumped can be loaded"), history);
}

#[test]
fn burnt_numbers_are_excused_by_what_broke_at_that_time() {
    let text = "op 1 c1 d0 10 20 put '@a '1 0 - => ok 4 put -
         version '@a 4 4 1 0 '1
         disruption 5 15";
    assert_eq!(check_revisions(&history(text), &Rules::default()).expect("excused").holes, 2);
}

/// Judged without looking at revisions: those below are lies that fit together, or simply wrong.
const WGL_VIOLATIONS: &[(Rule, &str, &str)] = &[
    (
        Rule::Linearizable,
        "a read misses a put that was acknowledged before it",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c2 d0 30 40 range '@a '@a%00 0 0 - - 0 0 0 0 => ok 1 range 0 all 0",
    ),
    (
        Rule::Linearizable,
        "two creators of one key",
        "op 1 c1 d0 10 50 txn 1 1 0 '@a '@a%00 Equal version 0 put '@a '1 0 - => ok 2 txn yes 1 put -
         op 2 c2 d0 10 50 txn 1 1 0 '@a '@a%00 Equal version 0 put '@a '2 0 - => ok 3 txn yes 1 put -",
    ),
    (
        Rule::Linearizable,
        "a value comes back after it was overwritten",
        "op 1 c1 d0 10 20 put '@a '1 0 - => ok 2 put -
         op 2 c1 d0 30 40 put '@a '2 0 - => ok 3 put -
         op 3 c2 d0 50 60 range '@a '@a%00 0 0 - - 0 0 0 0 => ok 3 range 1 all 1 '@a 3 2 2 0 '2
         op 4 c2 d0 70 80 range '@a '@a%00 0 0 - - 0 0 0 0 => ok 3 range 1 all 1 '@a 2 2 1 0 '1",
    ),
];

#[test]
fn the_search_rejects_what_no_order_explains() {
    for rule in Rule::of(Checker::Wgl) {
        let mine: Vec<_> = WGL_VIOLATIONS.iter().filter(|(r, ..)| *r == rule).collect();
        assert!(mine.len() >= 2, "{rule:?} has {} violating histories", mine.len());
        for (_, name, text) in mine {
            let h = history(text);
            assert_eq!(check_wgl(&h, &Rules::default(), 10_000).expect_err(name).rule, rule);
            assert!(check_wgl(&h, &Rules::default().without(rule), 10_000).is_ok());
        }
    }
}

#[test]
fn the_search_finds_an_order_for_overlapping_and_unanswered_operations() {
    let text = "op 1 c1 d0 10 90 put '@a '1 0 - => ok 2 put -
         op 2 c2 d0 10 90 put '@a '2 0 p => ok 3 put -
         op 3 c3 d0 10 - put '@a '3 0 - => unknown
         op 4 c4 d0 95 99 range '@a '@a%00 0 0 - - 0 0 0 0 => ok 9 range 1 all 1 '@a 4 2 3 0 '3";
    let verdict = check_wgl(&history(text), &Rules::default(), 10_000).expect("there is an order");
    assert_eq!(verdict, Verdict::Linearizable(4));
    let old = "op 1 c1 d0 10 20 range '@a '@b 1 0 - - 0 0 0 0 => ok 1 range 0 all 0";
    assert_eq!(check_wgl(&history(old), &Rules::default(), 10).expect("not judged"), Verdict::NotApplicable);
}

/// A new checker does not compile here before somebody says which tests judge it, and a rule belongs to a checker.
#[test]
fn every_checker_is_judged() {
    for checker in Checker::ALL {
        let tests = match checker {
            Checker::Revisions | Checker::Wgl => include_str!("checkers.rs"),
            Checker::Invariants | Checker::Liveness => include_str!("inside.rs"),
            Checker::Runner => include_str!("world.rs"),
        };
        assert!(tests.contains(&format!("in Rule::of(Checker::{checker:?})")), "no test goes through {checker:?}");
        assert!(Rule::of(*checker).count() > 0, "{checker:?} has no rules");
    }
}

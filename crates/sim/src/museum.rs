//! The museum: classic bugs of consensus stores, each planted behind `base::bug!` where it would live, each of which
//! the simulator must find. `docs/museum.md` says where each has bitten somebody.

use crate::check::{Rules, Violation};
use crate::options::Options;
use crate::runner;
use crate::tempers::Temper;
use std::collections::BTreeSet;

/// One exhibit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bug {
    /// As in `base::bug!`.
    pub name: &'static str,
    /// What it does, in a few words.
    pub what: &'static str,
    /// What the seeds that hunt it are bent towards.
    pub favours: Temper,
}

const fn bug(name: &'static str, what: &'static str) -> Bug {
    Bug { name, what, favours: Temper::Drawn }
}

impl Bug {
    /// Seldom met by a seed as it is drawn: hunted by seeds in this temper.
    const fn under(self, favours: Temper) -> Bug {
        Bug { favours, ..self }
    }

    /// The world of this seed in which it is hunted.
    pub fn options(&self, seed: u64) -> Options {
        match self.favours {
            Temper::Drawn => Options::of(seed),
            temper => temper.of(seed),
        }
    }
}

/// All exhibits that a world shows. The others are in [`TESTS`].
pub const BUGS: &[Bug] = &[
    bug("ack-before-fsync", "a follower acknowledges what its disk does not have yet"),
    bug("alone-and-stuck-awake", "a lone leader with a slow disk wakes itself until the disk has written"),
    bug("append-without-prev-check", "entries are appended behind a base that does not match"),
    bug("asks-without-hearing", "a store asks for support although it hears nobody"),
    bug(
        "backs-off-across-the-cut",
        "a new leader looks for a follower's place below its own cut, and offers a snapshot nobody needs",
    ),
    bug("batch-not-atomic", "a crash leaves half a batch: state without its applied index, or the reverse"),
    bug("bounds-of-another-command", "bounds fetched for a command that has left are used by the next one"),
    bug("capture-skips-marks", "a read captures puts that are not applied yet, but not deletes"),
    bug("clock-beyond-its-bound", "clocks drift further than leases allow for"),
    bug("closed-over-what-is-not-in-the-log", "a revision is closed while a smaller one is not in the log yet"),
    bug("closed-range-stays-in-its-group", "a range that is written to is still closed with the idle ones"),
    bug("closed-without-a-position", "a follower counts a closed revision before it has applied what belongs to it"),
    bug("commit-beyond-match", "a follower commits beyond what is known to match"),
    bug("commit-older-term-by-counting", "an entry of an older term is committed by counting copies")
        .under(Temper::Coups),
    bug("commit-vector-over-divergent-tail", "a commit index without entries is taken over a divergent tail"),
    bug("compare-sees-own-writes", "a nested compare sees what its own transaction wrote"),
    bug("count-honours-limit", "count counts what is returned, not what is there"),
    bug("deaf-leader-is-asked-for-ever", "calls go to a remembered leader that can speak but not hear"),
    bug("defortify-any-term", "the end of one leadership ends the fortification of another"),
    bug("delayed-timeout-now", "a late TimeoutNow starts an election in a later term"),
    bug("delete-of-nothing-counts", "a delete that finds nothing takes a revision"),
    bug("disk-awaited-by-nobody", "the end of a write that commits something waits for the next step"),
    bug("drift-counted-once", "a lease is shortened for one clock's drift, not for both"),
    bug("emptied-disk-comes-back", "a store that lost its disk takes part under its old name"),
    bug("every-waiting-call-wakes-the-node", "calls that wait for a leader are tried again each at a time of its own")
        .under(Temper::Crowd),
    bug("fetch-repeat-issues-anew", "a repeated fetch gets new numbers"),
    bug("filter-ignores-pins", "compaction removes what a reader still reads"),
    bug("filter-under-a-reader", "a read is admitted below the bound of the filter").under(Temper::Compactions),
    bug("floor-forgets-the-bound-being-written", "a read is admitted below a bound on its way to the disk")
        .under(Temper::Compactions),
    bug("frame-taken-twice", "a frame that comes again is taken again"),
    bug("held-frames-leave-at-once", "what is held for company is acknowledged before it is written"),
    bug("held-writes-overtaken", "what is urgent is written before what was held back earlier"),
    bug("issue-above-ceiling", "the sequencer issues above what is replicated").under(Temper::Crowd),
    bug("lease-counts-stale-epoch", "a lease rests on an acknowledgement of an earlier epoch")
        .under(Temper::Supporters),
    bug("no-effect-reply-ahead", "a reply without effect leaves before what it describes is committed"),
    bug("mark-dropped-over-a-version", "a delete mark is removed although an older version lies beneath"),
    bug("old-disk-comes-back", "a store is restarted on an old copy of its disk"),
    bug("own-copy-counts-before-written", "a leader counts its own copy before its disk has it"),
    bug("own-filter-before-numbering", "a scan filters on the revision of its own transaction before that is known"),
    bug("read-confirmed-for-old-term", "a read round of an earlier leadership confirms a read").under(Temper::Partings),
    bug("restart-forgets-what-was-shown", "a restarted node reads from its replicas before it knows what it has shown"),
    bug("restarted-supporter-votes-at-once", "a restarted store votes although it had promised not to")
        .under(Temper::Supporters),
    bug("reused-read-context", "a read round is confirmed by answers to an earlier one").under(Temper::Partings),
    bug("serializable-behind-what-was-shown", "a serializable read is older than what the node has shown"),
    bug("stale-read-after-pause", "an answer under a lease is handed over without looking at the clock"),
    bug("sub-order-lost", "operations of one transaction are ordered by key alone"),
    bug("tells-itself-what-is-closed", "a node waits for itself to be told, and wakes without end"),
    bug("truncate-unapplied-log", "the log is cut before it is applied"),
    bug("txn-branch-swapped", "a transaction reports the branch that it did not take"),
    bug("version-not-reset-after-delete", "a key that was deleted goes on counting versions"),
    bug("vote-before-write", "a vote leaves before it is durable"),
    bug("vote-for-shorter-log", "a vote for a candidate whose log is behind"),
    bug("vote-forgotten-on-restart", "a vote is not read back at boot"),
    bug("vote-while-fortified", "a follower votes while its leader holds a lease"),
    bug("waits-awake-for-a-late-gate", "a node wakes itself until the lease gate has answered"),
    bug("written-aba", "the completion of an old write acknowledges a newer entry at the same index")
        .under(Temper::SlowDisks),
    bug("written-without-sync", "the writer reports what it has not synced"),
];

/// Those that are shown by tests of their own: the test, by the name of its binary and its own, and what it plants. It
/// passes if what it runs fails with each of them.
pub const TESTS: &[(&str, &[&str])] = &[
    (
        "node::tests::each_of_these_tests_fails_when_its_bug_is_planted",
        &[
            "any-write-ends-the-writing-bound",
            "call-of-an-earlier-life",
            "candidate-takes-a-snapshot",
            "closed-over-a-fetch-in-flight",
            "depth-forgotten-with-the-next-life",
            "frame-too-large-to-send",
            "hash-below-the-floor",
            "hash-of-two-compactions",
            "lapse-unnoticed",
            "late-answer-ends-an-ingest",
            "lease-outlives-leadership",
            "longest-promise-forgotten",
            "marks-of-a-replaced-state",
            "newest-hash-refused",
            "no-bound-on-waiting-calls",
            "nothing-heard-after-a-failed-install",
            "numbers-of-an-older-sequencer",
            "only-the-newest-revision-meets-the-floor",
            "parts-of-two-revisions",
            "pieces-put-off-the-word",
            "sequencer-forgotten",
            "silent-receiver-keeps-its-slot",
            "silent-sender-keeps-its-slot",
            "slow-sender-loses-its-slot",
            "snapshot-sent-without-a-pin",
            "snapshots-of-an-earlier-life",
            "under-way-is-answered-as-failed",
        ],
    ),
    (
        "node::closed::tests::each_of_these_tests_fails_when_its_bug_is_planted",
        &["closed-group-left-at-a-later-value", "closed-over-a-gap"],
    ),
    (
        "node::closing::tests::each_of_these_tests_fails_when_its_bug_is_planted",
        &["closed-stream-counts-from-one-again"],
    ),
    (
        "placement::sequencer::tests::each_of_these_tests_fails_when_its_bug_is_planted",
        &["refused-ceiling-blocks-the-next"],
    ),
    ("closed::each_of_these_tests_fails_when_its_bug_is_planted", &["closed-by-an-old-leader"]),
    ("depth::each_of_these_tests_fails_when_its_bug_is_planted", &["depth-not-remembered"]),
    (
        "eyes::each_of_these_tests_fails_when_its_bug_is_planted",
        &["hash-without-the-overlay", "late-follower-hears-no-commit", "transfer-burns-numbers"],
    ),
    ("loss::each_of_these_tests_fails_when_its_bug_is_planted", &["calls-into-the-void"]),
    ("patience::each_of_these_tests_fails_when_its_bug_is_planted", &["follows-the-sequencer-without-rest"]),
    ("stop::each_of_these_tests_fails_when_its_bug_is_planted", &["stops-without-an-answer"]),
    (
        "group::museum::planted::walks_find",
        &[
            "campaign-with-old-conf",
            "defortify-forgotten",
            "joint-counts-one-half",
            "own-write-awaited-by-nobody",
            "snapshot-drops-the-tail",
            "two-changes-at-once",
        ],
    ),
    (
        "group::museum::planted::scripts_find",
        &[
            "campaigner-keeps-its-promises",
            "leaves-while-a-snapshot-arrives",
            "lost-acknowledgements-unnoticed",
            "old-term-costs-a-whole-wait",
            "pre-vote-skipped",
            "spares-forgotten",
            "stays-tired-when-heard-again",
            "taking-heart-puts-off-again",
            "votes-right-after-restart",
            "waits-for-a-shorter-log",
        ],
    ),
];

/// The one that every run of CI must find.
pub const CANARY: &str = "ack-before-fsync";

/// Those that some tens of seeds show, whichever those are: every run of CI hunts a few of them.
pub const OFTEN: &[&str] = &[
    "ack-before-fsync",
    "asks-without-hearing",
    "backs-off-across-the-cut",
    "bounds-of-another-command",
    "capture-skips-marks",
    "clock-beyond-its-bound",
    "closed-over-what-is-not-in-the-log",
    "closed-range-stays-in-its-group",
    "closed-without-a-position",
    "commit-older-term-by-counting",
    "compare-sees-own-writes",
    "count-honours-limit",
    "deaf-leader-is-asked-for-ever",
    "delete-of-nothing-counts",
    "emptied-disk-comes-back",
    "every-waiting-call-wakes-the-node",
    "fetch-repeat-issues-anew",
    "frame-taken-twice",
    "issue-above-ceiling",
    "mark-dropped-over-a-version",
    "no-effect-reply-ahead",
    "old-disk-comes-back",
    "own-copy-counts-before-written",
    "own-filter-before-numbering",
    "reused-read-context",
    "serializable-behind-what-was-shown",
    "sub-order-lost",
    "tells-itself-what-is-closed",
    "truncate-unapplied-log",
    "txn-branch-swapped",
    "version-not-reset-after-delete",
    "vote-forgotten-on-restart",
];

/// How a bug was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub seed: u64,
    /// How many seeds it took.
    pub seeds: u64,
    pub violation: Violation,
}

/// What became of a hunt.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Hunt {
    pub found: Option<Found>,
    /// Seeds that break without the bug, and how: each is a finding in our own code, and none in the museum.
    pub broken: Vec<(u64, Violation)>,
}

/// Plants a bug and runs seeds until one finds it that finds nothing without it.
pub fn hunt(bug: &Bug, first: u64, most: u64, rules: Rules) -> Hunt {
    let mut hunt = Hunt::default();
    for seed in first..first + most {
        let options = bug.options(seed);
        base::museum::plant(bug.name);
        let violation = runner::run(&options, rules, None).violation;
        base::museum::plant("");
        let Some(violation) = violation else { continue };
        // What breaks without the bug, too, is not this bug.
        match runner::run(&options, rules, None).violation {
            Some(own) => hunt.broken.push((seed, own)),
            None => {
                hunt.found = Some(Found { seed, seeds: seed - first + 1, violation });
                break;
            }
        }
    }
    hunt
}

/// The tests that passed, by the name of their binary and their own, in what `cargo test` printed.
pub fn passed(printed: &str) -> BTreeSet<String> {
    let (mut passed, mut binary) = (BTreeSet::new(), "");
    for line in printed.lines().map(str::trim) {
        if let Some((_, file)) = line.strip_prefix("Running ").and_then(|rest| rest.rsplit_once('/')) {
            binary = file.rsplit_once('-').map_or(file, |(stem, _)| stem);
        }
        if let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... ok")) {
            passed.insert(format!("{binary}::{test}"));
        }
    }
    passed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_passed_when_cargo_says_so() {
        let printed = "     Running unittests src/lib.rs (/t/release/deps/node-3c84f2)\n\
            test closed::tests::one ... ok\ntest closed::tests::two ... FAILED\n\
                 Running tests/group/main.rs (/t/release/deps/group-77)\ntest a::b ... ok\ntest c ... ignored\n";
        let names: Vec<String> = passed(printed).into_iter().collect();
        assert_eq!(names, ["group::a::b", "node::closed::tests::one"]);
    }
}

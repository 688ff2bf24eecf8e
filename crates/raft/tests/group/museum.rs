//! The museum of this crate: every bug that is planted in its source (`base::bug!`) must be noticed by random walks, by
//! a golden script, or by the exploration of small worlds (`make explore`), and each bug names who notices it here.

use super::outside::text;
use std::collections::BTreeSet;
use std::path::Path;

/// Noticed by walks that meet it by chance.
const WALKS: &[&str] = &[
    "ack-before-fsync",
    "append-without-prev-check",
    "campaign-with-old-conf",
    "commit-beyond-match",
    "commit-older-term-by-counting",
    "commit-vector-over-divergent-tail",
    "defortify-forgotten",
    "joint-counts-one-half",
    "own-copy-counts-before-written",
    "own-write-awaited-by-nobody",
    "snapshot-drops-the-tail",
    "two-changes-at-once",
    "vote-before-write",
    "vote-forgotten-on-restart",
    "written-aba",
];

/// Noticed because a script goes otherwise. What only disturbs breaks no invariant, but it is written there.
const SCRIPTS: &[&str] = &[
    "ack-before-fsync",
    "backs-off-across-the-cut",
    "campaigner-keeps-its-promises",
    "defortify-forgotten",
    "leaves-while-a-snapshot-arrives",
    "lost-acknowledgements-unnoticed",
    "old-term-costs-a-whole-wait",
    "pre-vote-skipped",
    "spares-forgotten",
    "stays-tired-when-heard-again",
    "taking-heart-puts-off-again",
    "votes-right-after-restart",
    "waits-for-a-shorter-log",
    "written-aba",
];

/// Noticed by a test in `looks`: in a script it would never end.
const LOOKS: &[&str] = &["alone-and-stuck-awake"];

/// The names between the quotes after `before`, in every file of a folder of this crate.
fn names_in(folder: &str, before: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        let text = text(&file.expect("readable").path());
        for after in text.split(before).skip(1) {
            let list = after.split(']').next().unwrap_or_default();
            let list = if before.ends_with('[') { list } else { after.split(')').next().unwrap_or_default() };
            names.extend(list.split('"').skip(1).step_by(2).map(String::from));
        }
    }
    names
}

#[test]
fn every_planted_bug_has_somebody_who_finds_it() {
    let planted = names_in("src", "bug!(");
    let explored = names_in("examples/explore", "bugs: &[");
    assert!(planted.len() >= 24 && explored.len() >= 15, "{planted:?} {explored:?}");
    let mut found = explored;
    found.extend(WALKS.iter().chain(SCRIPTS).chain(LOOKS).map(ToString::to_string));
    assert_eq!(planted, found, "planted here, and looked for by walks, scripts or the exploration");
}

#[cfg(feature = "museum")]
mod planted {
    use super::super::looks;
    use super::super::outside::{say, scripts, setting};
    use super::super::random::walk;
    use super::super::scripts::play;
    use super::{LOOKS, SCRIPTS, WALKS};
    use std::panic::catch_unwind;

    /// Plants each bug and lets `find` look for it; it says how it found it.
    fn all_are_found(bugs: &[&'static str], find: impl Fn() -> Option<String>) {
        let mut missed = Vec::new();
        for bug in bugs {
            base::museum::plant(bug);
            let found = find();
            base::museum::plant("");
            match found {
                Some(how) => say(&format!("{bug}: {how}")),
                None => missed.push(*bug),
            }
        }
        assert!(missed.is_empty(), "not noticed: {missed:?}");
    }

    #[test]
    fn walks_find() {
        let bound = setting("WALKS").unwrap_or(3000);
        all_are_found(WALKS, || {
            (0..bound).find_map(|seed| {
                let broken = catch_unwind(|| walk(seed)).err()?;
                let text = broken.downcast_ref::<String>().cloned();
                let text = text.or_else(|| broken.downcast_ref::<&str>().map(|s| (*s).to_string()));
                let text = text.unwrap_or_default();
                Some(format!("walk {seed}: {}", text.lines().next().unwrap_or_default()))
            })
        });
    }

    #[test]
    fn looks_find() {
        all_are_found(LOOKS, || {
            let failed = catch_unwind(looks::who_leads_alone_waits_for_its_disk_asleep).is_err();
            failed.then(|| "who_leads_alone_waits_for_its_disk_asleep".to_string())
        });
    }

    #[test]
    fn scripts_find() {
        let all = scripts();
        all_are_found(SCRIPTS, || {
            let other = |text: &str| catch_unwind(|| play(text)).map_or(true, |fresh| fresh != text);
            let (path, _) = all.iter().find(|(_, text)| other(text))?;
            Some(path.file_name()?.to_string_lossy().into_owned())
        });
    }
}

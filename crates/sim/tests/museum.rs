//! The museum is whole: whatever is planted anywhere has somebody who is to find it, and a line in `docs/museum.md`.

use sim::museum::{BUGS, TESTS};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file of Rust below a folder.
fn sources(folder: &Path, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there").map(|e| e.expect("readable").path()) {
        if entry.is_dir() {
            sources(&entry, out);
        } else if entry.extension().is_some_and(|e| e == "rs") {
            out.push(std::fs::read_to_string(&entry).expect("text"));
        }
    }
}

fn planted() -> BTreeSet<String> {
    let mut texts = Vec::new();
    for krate in std::fs::read_dir(root().join("crates")).expect("crates").map(|e| e.expect("readable").path()) {
        if krate.is_dir() {
            sources(&krate.join("src"), &mut texts);
        }
    }
    let names = |text: &String| -> Vec<String> {
        let after = text.split("base::bug!(\"").skip(1);
        after.filter_map(|rest| rest.split('"').next()).map(String::from).collect()
    };
    texts.iter().flat_map(names).collect()
}

fn exhibits() -> Vec<&'static str> {
    BUGS.iter().map(|b| b.name).chain(TESTS.iter().flat_map(|(_, bugs)| bugs.iter().copied())).collect()
}

#[test]
fn whatever_is_planted_is_an_exhibit_once() {
    let all = exhibits();
    let once: BTreeSet<String> = all.iter().map(ToString::to_string).collect();
    assert_eq!(once.len(), all.len(), "hunted by seeds or shown by a test, not both");
    assert_eq!(planted(), once);
}

#[test]
fn the_page_says_of_each_what_it_is() {
    let page = std::fs::read_to_string(root().join("docs/museum.md")).expect("the page");
    let lines = page.lines().filter_map(|l| l.strip_prefix("| `")?.split('`').next());
    let named: Vec<&str> = lines.collect();
    let (page, all): (BTreeSet<&str>, BTreeSet<&str>) =
        (named.iter().copied().collect(), exhibits().into_iter().collect());
    assert_eq!(page, all);
    assert_eq!(named.len(), all.len(), "each has one line");
}

//! Words: what no name may be called, what is put off, what a pure crate may not name, who opens with a comment.

use super::{Offence, source::Source, source::parts, source::words};

/// Never part of any name: the glossary has the word to use instead.
const NEVER: [(&str, &str); 4] = [("region", "range"), ("shard", "range"), ("tablet", "range"), ("tso", "sequencer")];

/// Never part of the name of a type, a module or a file: such a name says nothing.
const EMPTY: [&str; 8] = ["manager", "handler", "util", "utils", "helper", "helpers", "common", "misc"];

/// What a pure crate may not name, and what it uses instead.
const IMPURE: [(&str, &str); 20] = [
    ("std::thread", "the shell has threads; a step has none"),
    ("tokio", "floors 5 and 6"),
    ("tonic", "floors 5 and 6"),
    ("rocksdb", "the trait engine::Engine"),
    ("Instant", "base::Tick, handed in"),
    ("SystemTime", "base::Tick, handed in"),
    ("HashMap", "BTreeMap: its order is the same in every run"),
    ("HashSet", "BTreeSet: its order is the same in every run"),
    ("RandomState", "BTreeMap"),
    ("println!", "effects; the shell prints"),
    ("eprintln!", "effects; the shell prints"),
    ("print!", "effects; the shell prints"),
    ("eprint!", "effects; the shell prints"),
    ("dbg!", "effects; the shell prints"),
    ("std::fs", "engine::Engine"),
    ("std::net", "node::Frame"),
    ("std::env", "an argument"),
    ("async", "a plain function"),
    ("unsafe", "safe code"),
    ("std::process", "an error of Kind::Corrupt"),
];

/// Crates that decide something: floors 0 to 4 without `rocks` and `proto`, and the simulator but for its `main`.
pub const PURE: [&str; 9] = ["base", "raft", "engine", "mvcc", "placement", "range", "router", "node", "sim"];

pub fn check(file: &Source) -> Vec<Offence> {
    let mut out = names(file);
    out.extend(put_off(&file.path, &file.text));
    if PURE.iter().any(|c| file.path.starts_with(&format!("crates/{c}/src/"))) && file.path != "crates/sim/src/main.rs"
    {
        out.extend(impure(file));
    }
    out
}

/// Banned words among names.
fn names(file: &Source) -> Vec<Offence> {
    let mut out = Vec::new();
    let identifiers = file.code.split(|c: char| !super::source::is_word(c)).filter(|w| !w.is_empty());
    let mut counted = std::collections::BTreeMap::new();
    for identifier in identifiers {
        for word in parts(identifier) {
            if let Some((_, instead)) = NEVER.iter().find(|(never, _)| word == *never || word == format!("{never}s")) {
                *counted.entry((word, *instead)).or_insert(0) += 1;
            }
        }
    }
    for ((word, instead), times) in counted {
        let place = format!("{}::{word}", file.path);
        out.push(Offence::new("banned-word", &place, times, format!("the glossary says `{instead}`")));
    }
    let stem = file.path.rsplit('/').next().unwrap_or("").trim_end_matches(".rs").to_string();
    let declared = file.declared().into_iter().filter(|(keyword, _)| !matches!(*keyword, "fn" | "const" | "static"));
    for (_, name) in declared.chain([("file", stem)]) {
        if parts(&name).iter().any(|w| EMPTY.contains(&w.as_str())) {
            let place = format!("{}::{name}", file.path);
            out.push(Offence::new("banned-word", &place, 1, "say what it does, not that it is there"));
        }
    }
    out
}

/// Work that was put off.
pub fn put_off(path: &str, text: &str) -> Vec<Offence> {
    // Spelt apart, so that this file does not offend itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
    ];
    let times: usize = marks.iter().map(|m| words_or_macro(text, m)).sum();
    match times {
        0 => vec![],
        n => vec![Offence::new("put-off", path, n, "do it now, or write it under \"What we left out\"")],
    }
}

fn words_or_macro(text: &str, mark: &str) -> usize {
    match mark.ends_with('(') {
        true => text.matches(mark).count(),
        false => words(text, mark).len(),
    }
}

/// What a pure crate may not name outside its tests.
fn impure(file: &Source) -> Vec<Offence> {
    let mut out = Vec::new();
    for (word, instead) in IMPURE {
        let times = match word.strip_suffix('!') {
            Some(name) => words(&file.live, name).iter().filter(|at| file.live[**at..].starts_with(word)).count(),
            None => words(&file.live, word).len(),
        };
        if times > 0 {
            let place = format!("{}::{word}", file.path);
            out.push(Offence::new("impure", &place, times, format!("use {instead}")));
        }
    }
    out
}

/// A script says at its top what it shows or does.
pub fn check_script(path: &str, text: &str) -> Vec<Offence> {
    let first = text.lines().find(|l| !l.starts_with("#!") && !l.trim().is_empty()).unwrap_or("");
    let comment = first.trim_start_matches('#').trim();
    match first.starts_with('#') && comment.len() >= 10 {
        true => vec![],
        false => vec![Offence::new("script-comment", path, 1, "open it with a comment that says what it shows")],
    }
}

/// A crate opens with an essay, `//! # name: …`, which ends with what was left out; and forbids unsafe code.
pub fn check_lib(file: &Source, name: &str) -> Vec<Offence> {
    let mut out = Vec::new();
    let essay: Vec<&str> = file.text.lines().take_while(|l| l.starts_with("//!")).collect();
    let opens = essay.first().is_some_and(|l| l.starts_with(&format!("//! # {name}: ")));
    let sections: Vec<usize> = (0..essay.len()).filter(|i| essay[*i].starts_with("//! ## ")).collect();
    let ends = sections.last().is_some_and(|i| essay[*i] == "//! ## What we left out" && essay.len() > i + 2);
    if !opens || !ends {
        let says = format!("open with `//! # {name}: …` and end the essay with `## What we left out`");
        out.push(Offence::new("essay", &file.path, 1, says));
    }
    if !file.code.contains("#![forbid(unsafe_code)]") {
        out.push(Offence::new("forbid-unsafe", &file.path, 1, "add #![forbid(unsafe_code)]"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).iter().map(|o| format!("{} {} {}", o.rule, o.place, o.number)).collect()
    }

    #[test]
    fn a_word_that_the_glossary_replaces_is_found_in_names_only() {
        assert_eq!(found("a.rs", "fn split_region() { RegionId }"), ["banned-word a.rs::region 2"]);
        assert_eq!(found("a.rs", "// a region elsewhere\nfn a() { \"shard\" }"), [""; 0]);
        assert_eq!(found("a.rs", "fn a() { sharding(); tablets() }"), ["banned-word a.rs::tablets 1"]);
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        assert_eq!(found("a.rs", "struct PutHandler;"), ["banned-word a.rs::PutHandler 1"]);
        assert_eq!(found("a.rs", "mod util { }"), ["banned-word a.rs::util 1"]);
        assert_eq!(found("x/common.rs", ""), ["banned-word x/common.rs::common 1"]);
        assert_eq!(found("a.rs", "fn common_prefix() {}"), [""; 0]);
    }

    #[test]
    fn work_put_off_is_found() {
        let later = concat!("// TO", "DO later");
        assert_eq!(found("a.rs", later), ["put-off a.rs 1"]);
        assert_eq!(found("a.rs", concat!("fn a() { unimple", "mented!() }")), ["put-off a.rs 1"]);
    }

    #[test]
    fn an_impure_crate_is_found_and_its_tests_are_not() {
        assert_eq!(
            found("crates/raft/src/a.rs", "let t = Instant::now();"),
            ["impure crates/raft/src/a.rs::Instant 1"]
        );
        assert_eq!(found("crates/raft/src/a.rs", "use std::collections::HashMap;").len(), 1);
        assert_eq!(found("crates/raft/src/a.rs", "println!();"), ["impure crates/raft/src/a.rs::println! 1"]);
        assert_eq!(found("crates/raft/src/a.rs", "use tokio::sync;\nasync fn a() {}").len(), 2);
        assert_eq!(found("crates/raft/src/a.rs", "#[cfg(test)]\nmod tests { use std::thread; }"), [""; 0]);
        assert_eq!(found("crates/server/src/a.rs", "let t = Instant::now();"), [""; 0]);
        assert_eq!(found("crates/sim/src/main.rs", "println!();"), [""; 0]);
    }

    #[test]
    fn a_script_without_a_comment_is_found() {
        assert_eq!(check_script("a.sh", "#!/bin/sh\nset -e\n").len(), 1);
        assert_eq!(check_script("a.sh", "#!/bin/sh\n# says what it does\n").len(), 0);
        assert_eq!(check_script("a.txt", "propose r1\n").len(), 1);
    }

    #[test]
    fn a_crate_without_an_essay_is_found() {
        let good = "//! # raft: one group agrees\n//!\n//! Why.\n//!\n//! ## What we left out\n//!\n//! This.\n#![forbid(unsafe_code)]\n";
        let rules =
            |text: &str| check_lib(&Source::new("l.rs", text), "raft").iter().map(|o| o.rule).collect::<Vec<_>>();
        assert_eq!(rules(good), [""; 0]);
        assert_eq!(rules(&good.replace("# raft", "# mvcc")), ["essay"]);
        assert_eq!(rules(&good.replace("left out", "kept")), ["essay"]);
        assert_eq!(rules(&good.replace("//! This.", "//! ## More\n//! x\n//! y")), ["essay"]);
        assert_eq!(rules(&good.replace("forbid", "deny")), ["forbid-unsafe"]);
    }
}

//! Docs: every path that they name exists, and what a newcomer opens first is there.

use super::Offence;

/// Where the house keeps what every newcomer opens first.
const FIRST: [&str; 7] = [
    "README.md",
    "docs/put.md",
    "docs/glossary.md",
    "docs/architecture.md",
    "docs/crash-cases.md",
    "docs/museum.md",
    "docs/bugs.md",
];

/// First components of a path in this repository.
const TOP: [&str; 6] = ["crates", "tests", "benches", "docs", "proto", ".ci"];

pub fn check_first(exists: impl Fn(&str) -> bool) -> Vec<Offence> {
    let missing = FIRST.iter().filter(|p| !exists(p));
    missing.map(|p| Offence::new("docs", p, 1, "a newcomer opens this page first: write it")).collect()
}

/// Paths in backquotes and links of one page that lead nowhere. `crates` are the folder names under `crates/`.
pub fn check_page(page: &str, text: &str, crates: &[String], exists: impl Fn(&str) -> bool) -> Vec<Offence> {
    let mut out = Vec::new();
    for path in quoted(text) {
        let Some(full) = resolve(&path, crates) else { continue };
        if !exists(&full) {
            out.push(Offence::new("docs", &format!("{page} → {path}"), 1, "it names a path that does not exist"));
        }
    }
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    for link in links(text) {
        if !exists(&join(folder, &link)) {
            out.push(Offence::new("docs", &format!("{page} → {link}"), 1, "it links to a path that does not exist"));
        }
    }
    out
}

/// What stands between backquotes on one line and looks like a path.
fn quoted(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        for piece in line.split('`').skip(1).step_by(2) {
            let path = piece.split([':', '#', ' ']).next().unwrap_or("").trim_end_matches('/');
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
            if path.contains('/') && path.chars().all(plain) {
                out.push(path.to_string());
            }
        }
    }
    out
}

/// A quoted path from the top of the repository, or `None` if it is no path of ours.
fn resolve(path: &str, crates: &[String]) -> Option<String> {
    let (first, second) = path.split_once('/')?;
    if TOP.contains(&first) {
        return Some(path.to_string());
    }
    let of_crate = crates.iter().any(|c| c == first)
        && ["src", "tests", "benches", "build.rs"].contains(&second.split('/').next()?);
    of_crate.then(|| format!("crates/{path}"))
}

/// Targets of `[…](…)` within the repository.
fn links(text: &str) -> Vec<String> {
    let targets = text.match_indices("](").filter_map(|(at, _)| text[at + 2..].split([')', '\n']).next());
    targets
        .map(|t| t.split('#').next().unwrap_or("").to_string())
        .filter(|t| !t.is_empty() && !t.contains("://") && !t.starts_with("mailto:") && !t.contains(' '))
        .collect()
}

fn join(folder: &str, link: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| !p.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<String> {
        let there = ["crates/raft/src/lib.rs", "docs/put.md", "README.md"];
        let crates = ["raft".to_string()];
        check_page("docs/a.md", text, &crates, |p| there.contains(&p)).into_iter().map(|o| o.place).collect()
    }

    #[test]
    fn a_path_that_leads_nowhere_is_found() {
        assert_eq!(places("see `crates/raft/src/lib.rs` and `raft/src/lib.rs:12` and `docs/put.md#x`"), [""; 0]);
        assert_eq!(places("see `crates/raft/src/gone.rs`"), ["docs/a.md → crates/raft/src/gone.rs"]);
        assert_eq!(places("see `raft/src/gone.rs`"), ["docs/a.md → raft/src/gone.rs"]);
        assert_eq!(places("`read/write` and `a/b` and `crates/*/src` are no paths"), [""; 0]);
        assert_eq!(places("```\nls crates/gone\n`crates/gone`\n```\n"), [""; 0]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        assert_eq!(places("[put](put.md) [top](../README.md) [web](https://x.y/z)"), [""; 0]);
        assert_eq!(places("[gone](gone.md#part)"), ["docs/a.md → gone.md"]);
    }

    #[test]
    fn a_missing_first_page_is_found() {
        assert_eq!(check_first(|p| p != "README.md").len(), 1);
    }
}

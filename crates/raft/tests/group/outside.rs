//! The only place in these tests that touches the world outside: settings, files, and lines for people.

use std::path::{Path, PathBuf};

/// The number in this environment variable.
#[expect(clippy::disallowed_methods, reason = "a person says which walk is wanted")]
pub fn setting(name: &str) -> Option<u64> {
    let word = std::env::var(name).ok()?;
    Some(word.parse().unwrap_or_else(|_| panic!("{name}={word} is not a number")))
}

/// A line for whoever looks.
#[expect(clippy::disallowed_macros, reason = "a person reads along")]
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// Every golden script: where it is, and its text.
pub fn scripts() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let paths = std::fs::read_dir(folder).expect("the scripts are there").map(|e| e.expect("readable").path());
    let mut all: Vec<_> = paths.map(|path| (path.clone(), text(&path))).collect();
    all.sort();
    all
}

/// A file's text.
pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Writes a script anew.
#[expect(clippy::disallowed_methods, reason = "UPDATE=1 asks for it")]
pub fn rewrite(path: &Path, text: &str) {
    std::fs::write(path, text).expect("writable");
}

//! `flotilla config explain`: each value and where it came from.

use super::flags::{FLAGS, Flag};
use super::merge::{Merged, Origin, Setting};
use std::fmt::Write;

/// One line per flag: those somebody set first, then the defaults.
pub fn explain(merged: &Merged) -> String {
    let mut out = String::new();
    let (set, unset): (Vec<&Flag>, Vec<&Flag>) = FLAGS.iter().partition(|flag| merged.is_set(flag.name));
    for flag in set.into_iter().chain(unset) {
        let setting = merged.setting(flag.name);
        let mut line = format!("{:<42} {:<40} {}", flag.name, quoted(setting), setting.origin);
        let lost: Vec<String> = merged.shadowed(flag.name).into_iter().map(shadow).collect();
        if !lost.is_empty() {
            let _ = write!(line, " (over {})", lost.join(", "));
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for warning in &merged.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

fn quoted(setting: &Setting) -> String {
    if setting.text.is_empty() { "\"\"".to_string() } else { setting.text.clone() }
}

fn shadow(setting: &Setting) -> String {
    match &setting.origin {
        Origin::Flag => format!("an earlier flag: {}", quoted(setting)),
        origin => format!("{origin}: {}", quoted(setting)),
    }
}

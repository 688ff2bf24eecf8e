//! Text into text: every function with mutants becomes a `match` over its bodies.

use std::collections::BTreeMap;
use std::ops::Range;

/// A place in a file: line and column, from 1, in characters.
pub type Place = (usize, usize);

/// One change of the source.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Its place in the list, from 1.
    pub number: usize,
    /// How `cargo mutants` calls it.
    pub name: String,
    pub file: String,
    /// What goes, and what comes instead.
    pub span: (Place, Place),
    pub replacement: String,
    /// Is something with a comma removed, a field or the arm of a `match`?
    pub with_comma: bool,
    /// Name and place of the function around it, if that may have several bodies.
    pub body: Option<(String, Place, Place)>,
}

impl Mutant {
    /// The file with this change alone.
    pub fn alone(&self, text: &str) -> String {
        self.changed(text, &(offset(text, self.span.0)..offset(text, self.span.1)))
    }

    fn changed(&self, text: &str, span: &Range<usize>) -> String {
        let (before, mut after) = (&text[..span.start], &text[span.end..]);
        if self.with_comma {
            after = after.strip_prefix(',').unwrap_or(after);
        }
        format!("{before} {} {after}", self.replacement)
    }
}

/// A file with several bodies per function.
pub struct Woven {
    pub text: String,
}

impl Woven {
    /// The mutant whose body this line belongs to.
    pub fn mutant_at(&self, line: usize) -> Option<usize> {
        let mark = |l: &str| l.split_once("/*mutant ")?.1.split_once("*/")?.0.parse::<usize>().ok();
        self.text.lines().take(line).filter_map(mark).last().filter(|number| *number > 0)
    }
}

/// Where a place is in the text, in bytes.
fn offset(text: &str, (line, column): Place) -> usize {
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    before + text[before..].chars().take(column - 1).map(char::len_utf8).sum::<usize>()
}

/// Gives every function that these mutants are in one body for each of them, and its own.
pub fn weave(text: &str, mutants: &[&Mutant]) -> Woven {
    let mut functions: BTreeMap<usize, Vec<&Mutant>> = BTreeMap::new();
    for m in mutants {
        let (_, from, _) = m.body.as_ref().expect("it is in a function");
        functions.entry(offset(text, *from)).or_default().push(m);
    }
    let mut woven = text.to_string();
    // from the end, so that what is before stays where it is
    for (from, here) in functions.into_iter().rev() {
        let (name, _, to) = here[0].body.as_ref().expect("it is in a function");
        let end = offset(text, *to) - 1;
        let head = text[from..].find(&format!("fn {}", name.rsplit("::").next().unwrap_or(name)));
        let head = from + head.expect("the function has its name");
        let begin = head + text[head..].find('{').expect("a function has a body") + 1;
        assert!(text[end..].starts_with('}'), "{name} ends elsewhere");
        let body = &text[begin..end];
        let mut bodies = String::from(" match crate::mutant() {\n");
        for m in here {
            let span = offset(text, m.span.0) - begin..offset(text, m.span.1) - begin;
            let changed = m.changed(body, &span);
            bodies.push_str(&format!("/*mutant {}*/ {} => {{{changed}\n}}\n", m.number, m.number));
        }
        bodies.push_str(&format!("/*mutant 0*/ _ => {{{body}}} }} "));
        woven.replace_range(begin..end, &bodies);
    }
    Woven { text: woven }
}

/// The root of the crate, with the number of the mutant that lives.
pub fn root(text: &str) -> String {
    let live = "#![allow(warnings, clippy::all, arithmetic_overflow, unconditional_panic)]
/// The number of the mutant that lives in this process.
#[inline(always)]
pub(crate) fn mutant() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static LIVE: AtomicUsize = AtomicUsize::new(usize::MAX);
    if LIVE.load(Ordering::Relaxed) == usize::MAX {
        let number = std::env::var(\"MUTANT\").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
        LIVE.store(number, Ordering::Relaxed);
    }
    LIVE.load(Ordering::Relaxed)
}
";
    text.replace("#![forbid(unsafe_code)]", live)
}

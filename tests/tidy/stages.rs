//! Stages: each station of a Put is one function, which marks itself; so each `Stage` is marked exactly once.

use super::{Offence, source::Source, source::is_word, source::words};

/// Calls that mark a station: `mark(Stage::Put …)`, `stage!(Stage::Put)`, `marks.mark(base::Stage::Put, …)`.
const MARKS: [&str; 3] = ["mark", "stage", "station"];

/// The stations, read from the enum in `crates/base/src/stage.rs`.
pub fn names(stage: &Source) -> Vec<String> {
    let start = stage.code.find("pub enum Stage").expect("crates/base/src/stage.rs declares Stage");
    let body = &stage.code[start..];
    let open = body.find('{').expect("a body");
    let close = super::source::matching(body, open).expect("closed");
    body[open + 1..close].split(',').map(|v| v.trim().to_string()).filter(|v| !v.is_empty()).collect()
}

pub fn check<'a>(stages: &[String], files: impl Iterator<Item = &'a Source> + Clone) -> Vec<Offence> {
    let mut out = Vec::new();
    for stage in stages {
        let marked: usize = files.clone().map(|f| times_marked(f, stage)).sum();
        match marked {
            1 => {}
            0 => out.push(Offence::new("stage", &format!("Stage::{stage} unmarked"), 1, "its function marks it")),
            n => out.push(Offence::new(
                "stage",
                &format!("Stage::{stage} marked"),
                n,
                "it is one function's: mark it once",
            )),
        }
    }
    out
}

fn times_marked(file: &Source, stage: &str) -> usize {
    if !file.path.starts_with("crates/")
        || file.path.starts_with("crates/sim/")
        || file.path.starts_with("crates/base/src/stage")
    {
        return 0;
    }
    let name = format!("Stage::{stage}");
    let live = &file.live;
    words(live, &name)
        .into_iter()
        .filter(|at| {
            // Back over the path and earlier arguments to the call's name.
            let before = &live[..*at];
            let start = before.rfind(['\n', ';', '{']).map_or(0, |n| n + 1);
            let statement = &before[start..];
            MARKS.iter().any(|m| words(statement, m).iter().any(|p| opens_call(&statement[p + m.len()..])))
        })
        .count()
}

fn opens_call(rest: &str) -> bool {
    let rest = rest.strip_prefix('!').unwrap_or(rest);
    rest.starts_with('(')
        && !rest.chars().any(|c| c == ')')
        && rest[1..].chars().all(|c| is_word(c) || " ,:&.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(text: &str) -> Vec<String> {
        let file = Source::new("crates/node/src/a.rs", text);
        check(&["Put".to_string()], [&file].into_iter())
            .into_iter()
            .map(|o| format!("{} {}", o.place, o.number))
            .collect()
    }

    #[test]
    fn a_station_marked_once_is_right() {
        assert_eq!(numbers("fn put() { self.marks.mark(Stage::Put); }"), [""; 0]);
        assert_eq!(numbers("fn put() { base::mark!(base::Stage::Put); }"), [""; 0]);
        assert_eq!(numbers("fn put() { times.stage(range, Stage::Put, t0); }"), [""; 0]);
    }

    #[test]
    fn a_station_unmarked_or_marked_twice_is_found() {
        assert_eq!(numbers("match s { Stage::Put => 1 } // mark(Stage::Put)"), ["Stage::Put unmarked 1"]);
        assert_eq!(numbers("fn put() { mark(Stage::Put); mark(Stage::Put); }"), ["Stage::Put marked 2"]);
        assert_eq!(numbers("fn put() { mark(Stage::PutMore); }"), ["Stage::Put unmarked 1"]);
    }

    #[test]
    fn the_enum_is_read() {
        let stage = Source::new("s.rs", "/// x\npub enum Stage {\n    /// a, b\n    Put,\n    Plan,\n}\n");
        assert_eq!(names(&stage), ["Put", "Plan"]);
    }
}

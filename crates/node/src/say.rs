//! One line for everything that moves between nodes.

use crate::frame::{Ask, Part};
use std::fmt;

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Beat(b) => write!(f, "{b}"),
            Part::Letter(l) => write!(f, "{} {}→{} {}", l.range, l.from.replica, l.to.replica, l.message),
            Part::Commit(range, from, to, told) => write!(f, "{range} {}→{} {told}", from.replica, to.replica),
            Part::Call(id, (ms, _), ask) => write!(f, "{id} within {ms}ms {ask}"),
            Part::Reply(id, Ok(o)) => write!(f, "{id} answered at {}", o.revision),
            Part::Reply(id, Err(e)) => write!(f, "{id} refused: {e}"),
            Part::Closes(c) => write!(f, "{c}"),
            Part::Fetch(x) => write!(f, "{x}"),
            Part::Fetched(x) => write!(f, "{x}"),
            Part::Offer(range, _, to, n, (applied, _)) => {
                write!(f, "{range} snapshot {n} offered to {} at {}@{}", to.replica, applied.index, applied.term)
            }
            Part::Wanted(range, n, pieces) => write!(f, "{range} snapshot {n} wanted from piece {pieces}"),
            Part::Refused(range, n) => write!(f, "{range} snapshot {n} refused"),
            Part::Chunk(range, n, at, last, bytes) => {
                write!(
                    f,
                    "{range} snapshot {n} piece {at}{} of {} bytes",
                    if *last { " (last)" } else { "" },
                    bytes.len()
                )
            }
            Part::Installed(range, n, index) => write!(f, "{range} snapshot {n} is in at {index}"),
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ask::Kv(range, request) => write!(f, "{range} {request:?}"),
            Ask::At(range, spec, x, _) => write!(f, "{range} at {x}: {spec:?}"),
            Ask::Compact(r) => write!(f, "compact {r}"),
        }
    }
}

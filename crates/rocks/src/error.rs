//! RocksDB's errors in our words: what to do, then one line that names the file.

use base::{Error, Kind};
use rocksdb::ErrorKind;
use std::path::Path;

/// What this error of RocksDB asks for. `what` says what was tried, `dir` where.
pub(crate) fn from_rocks(what: &str, dir: &Path, error: &rocksdb::Error) -> Error {
    let kind = match error.kind() {
        // What a damaged file makes RocksDB say varies; none of these can be the caller's fault.
        ErrorKind::Corruption | ErrorKind::NotFound | ErrorKind::InvalidArgument | ErrorKind::NotSupported => {
            Kind::Corrupt
        }
        ErrorKind::Incomplete => Kind::Retry,
        ErrorKind::ShutdownInProgress | ErrorKind::Aborted => Kind::Closing,
        _ => Kind::Disk,
    };
    let text: Vec<&str> = error.as_ref().split_whitespace().collect();
    Error::new(kind, format!("{what} {}: {}", dir.display(), text.join(" ")))
}

/// An error at open: RocksDB often says what is wrong and not where. Then it is the manifest that `CURRENT` points to, or
/// a file that the manifest names.
pub(crate) fn at_open(db: &Path, error: &rocksdb::Error) -> Error {
    let mut found = from_rocks("cannot open", db, error);
    if !found.text.contains(".sst") && !found.text.contains(".log") && !found.text.contains("MANIFEST") {
        let current = std::fs::read_to_string(db.join("CURRENT")).unwrap_or_default();
        let manifest = if current.trim().starts_with("MANIFEST-") { current.trim() } else { "CURRENT" };
        found.text.push_str(&format!(" (see {manifest} and the files it names)"));
    }
    found
}

/// An error of the file system.
pub(crate) fn from_io(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Disk, format!("{what} {}: {error}", path.display()))
}

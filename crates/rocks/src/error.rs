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

/// An error of the file system.
pub(crate) fn from_io(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::new(Kind::Disk, format!("{what} {}: {error}", path.display()))
}

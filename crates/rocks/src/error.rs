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

/// Did RocksDB meet the end of the disk in a way after which the same batch may be written again?
///
/// Then RocksDB takes no further write until it has flushed everything that was written before and begun a new WAL, which
/// it does by itself when there is room: what the full WAL ends with is never looked at again, unless the process dies
/// before; then it is a torn tail that nobody was told about. Nothing of the batch is readable, or, when it was the manifest
/// that met the end (`SyncWAL` tells it of a closed WAL), all of it is: written again it says the same. Not so after an
/// fsync: pages of which the kernel has reported that they could not be written are gone, whatever a later fsync says.
pub(crate) fn is_no_space(error: &rocksdb::Error) -> bool {
    let text = error.as_ref();
    let syncing = ["While fdatasync", "While fsync", "While sync_file_range"].iter().any(|s| text.contains(s));
    error.kind() == ErrorKind::IOError && text.contains("No space left on device") && !syncing
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

//! The store's directory: whose it is, what it is, and that only one process is in it.
//!
//! `STORE` is one line. A store being made says `new`; when RocksDB stands, it says `ready`. So a start that was cut off
//! half way is known from a store that lost its database.

use crate::error::from_io;
use base::{Error, Kind, Result};
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The format that this program writes. A later one is refused.
const FORMAT: u64 = 1;

/// The directory, locked.
pub(crate) struct Home {
    dir: PathBuf,
    fresh: bool,
    /// Held until the store is closed.
    _lock: File,
}

impl Home {
    /// Enters a directory: makes it if need be, locks it, and looks whether it is a store.
    pub(crate) fn enter(dir: &Path) -> Result<Home> {
        if dir.is_file() {
            return Err(Error::corrupt(format!(
                "{}: a file, not a directory: choose another --data-dir",
                dir.display()
            )));
        }
        fs::create_dir_all(dir).map_err(|e| from_io("cannot make", dir, &e))?;
        let stranger = first_stranger(dir)?;
        let ready = read_label(dir)?;
        if let (None, Some(name)) = (ready, &stranger) {
            let hint = if name == "member" { " (etcd's data directory?)" } else { "" };
            let text = format!(
                "{}: not a Flotilla store: no STORE file, but there is {name}{hint}; choose an empty --data-dir",
                dir.display()
            );
            return Err(Error::corrupt(text));
        }
        let lock = lock(dir)?;
        // Another process may have made a store while we waited for nothing: look again, under the lock.
        let fresh = read_label(dir)? != Some(true);
        let home = Home { dir: dir.to_path_buf(), fresh, _lock: lock };
        if fresh {
            // Nobody was ever told that this store is open, so nothing in it counts.
            home.remove_dir(&home.db())?;
            home.write_label("new")?;
        } else if !home.db().join("CURRENT").is_file() {
            let path = home.db().join("CURRENT");
            return Err(Error::corrupt(format!("{}: missing, though the store was in use", path.display())));
        }
        home.remove_dir(&home.staging())?;
        for made in [home.db(), home.staging()] {
            fs::create_dir_all(&made).map_err(|e| from_io("cannot make", &made, &e))?;
        }
        home.sync_dir(dir)?;
        Ok(home)
    }

    /// The database stands: from now on it must be found again.
    pub(crate) fn settle(&self) -> Result<()> {
        if self.fresh {
            self.sync_dir(&self.db())?;
            self.write_label("ready")?;
        }
        Ok(())
    }

    /// Was there no store before?
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
    pub(crate) fn db(&self) -> PathBuf {
        self.dir.join("db")
    }
    pub(crate) fn staging(&self) -> PathBuf {
        self.dir.join("staging")
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(from_io("cannot empty", path, &e)),
            _ => Ok(()),
        }
    }

    /// Replaces the label durably: a crash leaves the old one or the new one.
    fn write_label(&self, state: &str) -> Result<()> {
        let (path, temporary) = (self.dir.join("STORE"), self.dir.join("STORE.tmp"));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(label(FORMAT, state).as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|e| from_io("cannot write", &path, &e))?;
        self.sync_dir(&self.dir)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        File::open(path).and_then(|d| d.sync_all()).map_err(|e| from_io("cannot sync", path, &e))
    }
}

fn label(format: u64, state: &str) -> String {
    format!("flotilla store, format {format}, {state}\n")
}

/// `None`: no store here; else whether it was ever ready.
fn read_label(dir: &Path) -> Result<Option<bool>> {
    let path = dir.join("STORE");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(from_io("cannot read", &path, &e)),
    };
    if text == label(FORMAT, "ready") {
        return Ok(Some(true));
    }
    if text == label(FORMAT, "new") {
        return Ok(Some(false));
    }
    let format = text.strip_prefix("flotilla store, format ").and_then(|t| t.split(',').next()?.parse::<u64>().ok());
    Err(Error::corrupt(match format {
        Some(format) if format > FORMAT => {
            format!("{}: format {format} is newer than this program's ({FORMAT})", path.display())
        }
        _ => format!("{}: not the label of a Flotilla store: {:.60}", path.display(), text.escape_debug().to_string()),
    }))
}

/// The name of something that a store being made could not have left here.
fn first_stranger(dir: &Path) -> Result<Option<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| from_io("cannot read", dir, &e))? {
        let entry = entry.map_err(|e| from_io("cannot read", dir, &e))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    // A file system of its own has this directory.
    Ok(names.into_iter().find(|n| !["LOCK", "STORE", "STORE.tmp", "lost+found"].contains(&n.as_str())))
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("LOCK");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| from_io("cannot open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            Kind::Disk,
            format!("{}: another process has this store open; stop it or choose another --data-dir", dir.display()),
        )),
        Err(TryLockError::Error(e)) => Err(from_io("cannot lock", &path, &e)),
    }
}

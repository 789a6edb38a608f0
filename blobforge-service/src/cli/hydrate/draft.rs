//! Folders for what is on its way to a place beside a source. They hold a lock, by which those of processes that were killed
//! are known: nobody else holds theirs.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

/// How drafts are called.
const PREFIX: &str = ".blobforge-";

/// A folder that is gone with this.
#[derive(Debug)]
pub(super) struct Draft {
    folder: tempfile::TempDir,
    _lock: File,
}

impl Draft {
    /// A new one, within a folder.
    pub(super) fn new(within: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(within)?;
        let lock = File::open(folder.path())?;
        // Where there are no locks, nobody tidies up either.
        let _ = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        Ok(Self { folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the drafts in a folder that processes have left which were killed.
pub(super) fn tidy_up(within: &Path) {
    let Ok(entries) = fs::read_dir(within) else { return };
    for entry in entries.flatten() {
        let is_draft = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.file_type().is_ok_and(|found| found.is_dir());
        if !is_draft {
            continue;
        }
        let is_left = File::open(entry.path())
            .is_ok_and(|folder| flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok());
        if is_left {
            // The next run may be luckier.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_that_nobody_holds_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let held = Draft::new(folder.path()).unwrap();
        fs::write(held.path().join("on its way"), "text").unwrap();
        fs::create_dir_all(folder.path().join(".blobforge-left/assets")).unwrap();
        fs::create_dir(folder.path().join("books")).unwrap();
        tidy_up(folder.path());
        assert!(held.path().join("on its way").exists());
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        left.retain(|path| path != held.path());
        assert_eq!(left, [folder.path().join("books")]);
    }
}

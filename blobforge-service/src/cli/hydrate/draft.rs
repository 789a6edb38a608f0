//! Folders for what is on its way to a place beside a source. They hold a lock, by which those of processes that were killed
//! are known: nobody holds theirs.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use rustix::fs::{FlockOperation, flock};

/// How drafts are called.
const PREFIX: &str = ".blobforge-draft-";
/// The file that says that a folder is a draft, and of which machine: locks may not reach farther.
const MARK: &str = "draft of blobforge hydrate";

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
        // Where there are no locks, nothing says that this may be tidied up.
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::write(folder.path().join(MARK), machine())?;
        }
        Ok(Self { folder, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What this machine is called.
fn machine() -> Vec<u8> {
    rustix::system::uname().nodename().to_bytes().to_vec()
}

/// Removes the drafts in a folder that processes of this machine have left which were killed.
pub(super) fn tidy_up(within: &Path) {
    let Ok(entries) = fs::read_dir(within) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_draft = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && fs::read(path.join(MARK)).is_ok_and(|of| of == machine());
        let is_left = is_draft
            && File::open(&path)
                .is_ok_and(|folder| flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok());
        if is_left {
            // The next run may be luckier.
            let _ = fs::remove_dir_all(path);
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
        let left = |name: &str, of: Option<&[u8]>| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.join("assets")).unwrap();
            of.into_iter().for_each(|of| fs::write(path.join(MARK), of).unwrap());
            path
        };
        let killed = left(".blobforge-draft-left", Some(&machine()));
        let kept = [
            left(".blobforge-draft-elsewhere", Some(b"another machine")),
            left(".blobforge-draft-notes", None),
            left(".blobforge-notes", None),
            left("books", None),
        ];
        tidy_up(folder.path());
        assert!(!killed.exists());
        assert!(kept.iter().all(|path| path.exists()), "{kept:?}");
        assert!(held.path().join("on its way").exists());
    }
}

//! Where the file lies, and whether it still does.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::storage::StorageError;

/// A path, and which file it named when it was opened.
///
/// An open file that was deleted, or that another was moved over, can still be written, and is gone when the last
/// process closes it: everything acknowledged until then would be lost without a word.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: FileId,
}

impl Place {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: file_id(path)? })
    }

    /// Whether the path still names the file that was opened.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        let why = match file_id(&self.path) {
            Ok(file) if file == self.file => return Ok(()),
            Ok(_) => "was replaced by another file".to_owned(),
            Err(error) => format!("is not there any more ({error})"),
        };
        let at = self.path.display();
        Err(StorageError::Broken(format!("{at} {why} while this program had it open")))
    }
}

#[cfg(unix)]
type FileId = (u64, u64);

#[cfg(unix)]
fn file_id(path: &Path) -> io::Result<FileId> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// Elsewhere an open file can be neither deleted nor replaced.
#[cfg(not(unix))]
type FileId = ();

#[cfg(not(unix))]
fn file_id(path: &Path) -> io::Result<FileId> {
    std::fs::metadata(path).map(|_| ())
}

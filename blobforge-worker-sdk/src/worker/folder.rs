//! Where the files of running jobs lie.
//!
//! Each process has a folder of its own, and beside it a file that it keeps locked. A folder whose lock is free belongs
//! to a process that died, and whoever comes next removes it.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use blobforge_core::{Epoch, JobId};
use tempfile::TempDir;

use super::{
    WorkerError,
    identity::{locked, random},
};
use crate::child::Mark;

/// A process's folder. It is removed with this value.
#[derive(Debug)]
pub(super) struct WorkFolder {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl WorkFolder {
    /// Makes a folder below `parent`, and removes what dead processes left there.
    pub(super) fn open(parent: &Path) -> Result<Self, WorkerError> {
        let failed = |source| WorkerError::Folder { path: parent.to_owned(), source };
        fs::create_dir_all(parent).map_err(failed)?;
        sweep(parent).map_err(failed)?;
        loop {
            let name = format!("run-{}", hex::encode(random::<8>()?));
            let lock_path = parent.join(format!("{name}.lock"));
            let Some(lock) = locked(&lock_path).map_err(failed)? else { continue };
            // Somebody who swept up may have removed the file between its making and its locking.
            if lock.metadata().map_err(failed)?.nlink() == 0 {
                continue;
            }
            let path = parent.join(name);
            private_dir(&path).map_err(failed)?;
            return Ok(Self { path, lock_path, _lock: lock });
        }
    }

    pub(super) fn workplace(&self) -> Workplace {
        Workplace(self.path.clone())
    }

    /// Makes the folder of an attempt, with an empty `scratch` and an empty `outputs` in it.
    pub(super) fn attempt(&self, job: JobId, epoch: Epoch) -> io::Result<AttemptFolder> {
        let folder = AttemptFolder(self.path.join(format!("{job}-{}", epoch.get())));
        private_dir(&folder.0)?;
        private_dir(&folder.0.join("scratch"))?;
        private_dir(&folder.0.join("outputs"))?;
        Ok(folder)
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        remove(&self.path);
        // What stays is swept up by the next process.
        let _ = fs::remove_file(&self.lock_path);
    }
}

/// Where the processes that a worker starts have their folders. What is left of a worker that dies is found by it.
#[derive(Clone, Debug)]
pub struct Workplace(PathBuf);

impl Workplace {
    /// The place in which an attempt has its folder.
    pub(crate) fn around(attempt: &Path) -> Self {
        Self(attempt.parent().unwrap_or(attempt).to_owned())
    }

    /// A new folder for something that outlives an attempt. It is removed with the value, and at the latest by the next
    /// worker that starts here.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder_for(&self, what: &str) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix(&format!("{what}-")).tempdir_in(&self.0)
    }

    /// By what a child that is started here is found again.
    pub(crate) fn next_mark(&self) -> Mark {
        Mark::next_of_run(&name_of(&self.0))
    }
}

fn name_of(run: &Path) -> String {
    run.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folder of one attempt. It is removed with this value.
#[derive(Debug)]
pub(super) struct AttemptFolder(PathBuf);

impl AttemptFolder {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for AttemptFolder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let lock_path = entry?.path();
        let is_lock = lock_path.extension().is_some_and(|extension| extension == "lock")
            && lock_path.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with("run-"));
        if is_lock && let Some(_dead) = locked(&lock_path)? {
            let run = lock_path.with_extension("");
            let orphans = Mark::of_run(&name_of(&run)).kill_bearers();
            if orphans > 0 {
                tracing::warn!(orphans, "killed what a worker that died had left running");
            }
            // The folder first: without its lock nobody would know whose it was.
            remove(&run);
            let _ = fs::remove_file(&lock_path);
        }
    }
    Ok(())
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a folder of temporary files was not removed");
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_dead_processes_left_is_removed_and_what_living_ones_have_stays() {
        let parent = tempfile::tempdir().unwrap();
        let living = WorkFolder::open(parent.path()).unwrap();
        let attempt = living.attempt(JobId::new(1), Epoch::new(1)).unwrap();
        let dead = parent.path().join("run-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("source.pdf"), "left over").unwrap();
        fs::write(parent.path().join("run-dead.lock"), "").unwrap();
        let other = WorkFolder::open(parent.path()).unwrap();
        assert!(!dead.exists() && !parent.path().join("run-dead.lock").exists());
        assert!(attempt.path().join("scratch").is_dir());
        drop((attempt, living, other));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}

//! Files on their way from a disk: found, and read for their hashes.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{Stream, StreamExt as _};
use indicatif::ProgressBar;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{BATCH, Outcome};
use crate::cli::{
    fingerprint::{self, Fingerprint, Version},
    walk::{Found, Wanted, walk},
};

/// How many files are read at once.
const READ_AT_ONCE: usize = 2;
/// How many files are found ahead of time.
const FOUND_AHEAD: usize = 1024;

/// What files were as they were seen to their ends.
pub(in crate::cli) type Seen = HashMap<PathBuf, Version>;

/// A file that was read.
pub(super) struct Item {
    pub(super) path: PathBuf,
    pub(super) tags: Vec<String>,
    pub(super) fingerprint: Fingerprint,
}

/// Reads files ahead of those who ask about them and send them.
#[derive(Clone)]
pub(super) struct Reader {
    bar: ProgressBar,
    /// What was seen in earlier runs.
    seen: Arc<Seen>,
    /// What each file was as it was read.
    versions: Arc<Mutex<Seen>>,
}

impl Reader {
    pub(super) fn new(bar: ProgressBar, seen: Seen) -> Self {
        Self { bar, seen: Arc::new(seen), versions: Arc::default() }
    }

    /// The files at or below some paths that are new, or why one cannot be read. Reading goes on by itself while others are
    /// sent, and ends when nobody takes what comes of it.
    pub(super) fn files(
        self,
        paths: Vec<PathBuf>,
        wanted: Wanted,
    ) -> impl Stream<Item = Result<Item, Outcome>> + Unpin {
        let (found, files) = mpsc::channel(FOUND_AHEAD);
        let seen = self.seen.clone();
        tokio::task::spawn_blocking(move || {
            let all = paths.iter().flat_map(|path| walk(path, &wanted));
            let is_new = |found: &Found| seen.get(&found.path) != Some(&Version::of(&found.path));
            for file in all.filter(|file| file.as_ref().map_or(true, is_new)) {
                if found.blocking_send(file).is_err() {
                    return;
                }
            }
        });
        let (read, items) = mpsc::channel(BATCH);
        tokio::spawn(async move {
            let mut files = ReceiverStream::new(files).map(|found| self.read(found)).buffered(READ_AT_ONCE);
            while let Some(item) = files.next().await {
                if read.send(item).await.is_err() {
                    return;
                }
            }
        });
        ReceiverStream::new(items)
    }

    async fn read(&self, found: Result<Found, (PathBuf, String)>) -> Result<Item, Outcome> {
        let Found { path, tags } = found.map_err(|(path, why)| Outcome::failed(path, why))?;
        let version = Version::of(&path);
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), version);
        let (file, bar) = (path.clone(), self.bar.clone());
        let fingerprint =
            tokio::task::spawn_blocking(move || fingerprint::take(&file, &|bytes| bar.inc(bytes)));
        match fingerprint.await {
            Ok(Ok(fingerprint)) => Ok(Item { path, tags, fingerprint }),
            Ok(Err(error)) => Err(Outcome::failed(path, error.to_string())),
            Err(error) => Err(Outcome::failed(path, format!("it could not be read: {error}"))),
        }
    }

    /// What was seen to its end, now that these were as well.
    pub(super) fn close(self, ended: Vec<PathBuf>) -> Seen {
        self.bar.finish_and_clear();
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = Arc::unwrap_or_clone(self.seen);
        seen.extend(ended.iter().filter_map(|path| versions.remove_entry(path)));
        seen
    }
}

//! What a restore does to the file before anybody uses it.

use std::{path::Path, sync::Arc};

use super::{SqliteOptions, open};
use crate::{Clock, Generation, storage::StorageError};

/// Notes that a file was restored from a backup. Who opens such a file notices it by itself, by the file `<name>-home` that a
/// backup leaves out; this is for files that were changed in place.
///
/// The store's generation rises, so that leases given before the restore count for nothing: their holders may have
/// finished what this file believes to be running. That waits again, at no cost. Ids go on far behind those that the file
/// knows, since later ones may have been given out. And for 7 days no file is deleted, for who looks at what came back
/// and may yet restore another backup.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("queue.db");
/// use std::sync::Arc;
/// use blobforge_core::{Generation, SystemClock, storage::sqlite::{self, SqliteOptions, SqliteStorage}};
/// # drop(SqliteStorage::open(&path, SqliteOptions::default()).await.unwrap());
/// let generation = sqlite::mark_restored(&path, Arc::new(SystemClock)).await.unwrap();
/// assert!(generation > Generation::new(1));
/// # });
/// ```
///
/// # Errors
/// When there is no such file, or it cannot be opened as [`SqliteStorage::open`](super::SqliteStorage::open) would.
pub async fn mark_restored(
    path: impl AsRef<Path>,
    clock: Arc<dyn Clock>,
) -> Result<Generation, StorageError> {
    let path = path.as_ref().to_owned();
    let marking = tokio::task::spawn_blocking(move || {
        if !path.is_file() {
            let at = path.display();
            return Err(StorageError::Unusable(format!("there is no file {at}: restore it first")));
        }
        mark(&path, clock)
    });
    marking.await.map_err(|_| StorageError::Closed)?
}

fn mark(path: &Path, clock: Arc<dyn Clock>) -> Result<Generation, StorageError> {
    let options = SqliteOptions { clock, ..SqliteOptions::default() };
    let mut opened = open::open(path, &options)?;
    // Who opens it finds out by itself, if it was not opened here last.
    let restored = match opened.restored {
        None => opened.home.settle(&mut opened.writer, &*options.clock, true)?,
        found => found,
    };
    Ok(restored.map_or(opened.generation, |restored| restored.generation))
}

//! What a restore does to the file before anybody uses it.

use std::{path::Path, sync::Arc};

use rusqlite::{TransactionBehavior, params};

use super::{SqliteOptions, failure::storage_error, open};
use crate::{Clock, Generation, storage::StorageError};

/// Notes that a file was restored from a backup; to be done once, before anything opens it.
///
/// The store's generation rises, so that leases given before the restore count for nothing: their holders may have
/// finished what this file believes to be running. And for 7 days no file is deleted, for who looks at what came back
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
/// assert_eq!(generation, Generation::new(2));
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
        mark(&path, &*clock)
    });
    marking.await.map_err(|_| StorageError::Closed)?
}

fn mark(path: &Path, clock: &dyn Clock) -> Result<Generation, StorageError> {
    let mut writer = open::open(path, &SqliteOptions::default())?.writer;
    let mut marked = || {
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let generation: u32 = transaction.query_row(
            "UPDATE meta SET value = value + 1 WHERE key = 'generation' RETURNING value",
            [],
            |row| row.get(0),
        )?;
        transaction.execute("UPDATE leases SET generation = ?1", [generation])?;
        transaction.execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES ('restored_at', ?1)",
            params![clock.now().as_millis()],
        )?;
        transaction.commit()?;
        Ok(Generation::new(generation))
    };
    marked().map_err(|error: rusqlite::Error| storage_error(&error))
}

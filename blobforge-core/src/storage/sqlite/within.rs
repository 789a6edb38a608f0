//! Carrying commands out within a transaction of the caller's own.

use rusqlite::{Connection, Transaction};

use super::{
    failure::storage_error,
    migrations::{self, APPLICATION_ID},
    rows::SqliteRows,
    statements::Statements,
};
use crate::{
    Generation, Timestamp,
    storage::{Command, Committed, StorageError, execute::execute},
};

/// Carries out `commands` in a transaction on the caller's own connection to a store's file: they take effect exactly if
/// the caller commits. Nobody is told; a queue on the same file finds out by itself.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("jobs.db");
/// use blobforge_core::{Clock, JobType, SystemClock, rusqlite::{Connection, TransactionBehavior}};
/// use blobforge_core::storage::{Command, Storage, sqlite::{SqliteOptions, SqliteStorage, commit_within}};
/// let store = SqliteStorage::open(&path, SqliteOptions::default()).await.unwrap();
/// let mut mine = Connection::open(&path).unwrap();
/// let transaction = mine.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
/// let pause = Command::SetPaused(JobType::new("pdf").unwrap(), true);
/// commit_within(&transaction, SystemClock.now(), vec![pause]).unwrap();
/// transaction.commit().unwrap();
/// assert!(store.types().await.unwrap()[0].paused);
/// # });
/// ```
///
/// # Errors
/// When the connection's file is none of this version, or the database fails: roll the transaction back.
pub fn commit_within(
    transaction: &Transaction<'_>,
    now: Timestamp,
    commands: Vec<Command>,
) -> Result<Committed, StorageError> {
    let generation = generation(transaction)?;
    let mut sql = Statements::new(transaction);
    let mut rows = SqliteRows { sql: &mut sql, generation };
    execute(&mut rows, now, commands).map_err(|error| storage_error(&error))
}

/// The generation of the file, if it is one that this program can write.
fn generation(connection: &Connection) -> Result<Generation, StorageError> {
    let failed = |error: rusqlite::Error| storage_error(&error);
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let version = migrations::version(connection).map_err(failed)?;
    if application_id != APPLICATION_ID || version != migrations::latest() {
        return Err(StorageError::Unusable(format!(
            "this connection's file was not made by this version of BlobForge (its version is {version}, this program writes {}): open it with this version first",
            migrations::latest()
        )));
    }
    let number =
        connection.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0));
    number.map(Generation::new).map_err(failed)
}

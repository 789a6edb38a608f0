//! Submitting within a transaction of the caller's own.

use rusqlite::{Connection, Transaction};

use super::{
    failure::storage_error,
    migrations::{self, APPLICATION_ID},
    rows::SqliteRows,
    statements::Statements,
};
use crate::{
    Clock, Generation, Invalid, NewJob, NewSource,
    blob::keys,
    storage::{Command, Done, Refusal, StorageError, Submit, Submitted, execute::execute},
};

/// How many failing runs a job gets if neither it nor its type says, as in [`crate::queue::Settings`].
const DEFAULT_MAX_ATTEMPTS: u32 = 3;

/// Why a job was not submitted within a transaction.
#[derive(Debug, thiserror::Error)]
pub enum SubmitWithinError {
    /// The job is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The state of things does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The file is no queue, or cannot be written now. Roll the transaction back.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness(#[source] std::io::Error),
}

/// Submits a job in a transaction on the caller's own connection to a queue's file: the job is there exactly if the
/// caller commits. A queue that has the file open finds it within a tenth of a second.
///
/// The transaction should be [immediate](rusqlite::TransactionBehavior::Immediate): a deferred one that has read before
/// can find the file busy. Whether the commit survives a power cut is up to the caller's `PRAGMA synchronous`. A job whose
/// source is still to come gets it afterwards, through [`crate::Queue::put_source`].
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("jobs.db");
/// use blobforge_core::{NewJob, Queue, SystemClock, rusqlite::{Connection, TransactionBehavior}};
/// use blobforge_core::storage::sqlite::submit_within;
/// let queue = Queue::open(&path).await.unwrap();
///
/// let mut mine = Connection::open(&path).unwrap();
/// mine.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, job INTEGER)", []).unwrap();
/// let transaction = mine.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
/// let job = submit_within(&transaction, NewJob::new("invoice").unwrap(), &SystemClock).unwrap();
/// transaction.execute("INSERT INTO orders (job) VALUES (?1)", [job.id.get()]).unwrap();
/// transaction.commit().unwrap();
///
/// assert!(queue.get(job.id).await.unwrap().is_some());
/// # });
/// ```
///
/// # Errors
/// When the job is not valid or refused: then nothing was written. When the file is no queue of this version, or the
/// database fails: then roll back.
pub fn submit_within(
    transaction: &Transaction<'_>,
    job: NewJob,
    clock: &dyn Clock,
) -> Result<Submitted, SubmitWithinError> {
    job.validate()?;
    if matches!(job.source, NewSource::Stored { .. }) {
        let reason = "a stored source belongs to the queue that stored it: submit the job with a source to come, and send it after the commit";
        return Err(Invalid::new("source", reason).into());
    }
    let upload_key = keys::source(&drawn_id()?);
    let submit = Submit { job, upload_key, default_max_attempts: DEFAULT_MAX_ATTEMPTS };
    let generation = generation(transaction)?;
    let mut sql = Statements::new(transaction);
    let mut rows = SqliteRows { sql: &mut sql, generation };
    let committed = execute(&mut rows, clock.now(), vec![Command::Submit(Box::new(submit))]);
    let outcome = committed.map_err(|error| storage_error(&error))?.outcomes.pop();
    match outcome {
        Some(Ok(Done::Submitted(submitted))) => Ok(submitted),
        Some(Err(refusal)) => Err(refusal.into()),
        other => Err(StorageError::Broken(format!("a submission was answered with {other:?}")).into()),
    }
}

/// The generation of the queue's file, if it is one that this program can write.
fn generation(connection: &Connection) -> Result<Generation, StorageError> {
    let failed = |error: rusqlite::Error| storage_error(&error);
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
    let version = migrations::version(connection).map_err(failed)?;
    if application_id != APPLICATION_ID || version != migrations::latest() {
        return Err(StorageError::Unusable(format!(
            "this connection's file is no queue of this version of BlobForge (its version is {version}, this program writes {}): open the file with `Queue::open` first",
            migrations::latest()
        )));
    }
    let number =
        connection.query_row("SELECT value FROM meta WHERE key = 'generation'", [], |row| row.get(0));
    number.map(Generation::new).map_err(failed)
}

fn drawn_id() -> Result<String, SubmitWithinError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other).map_err(SubmitWithinError::Randomness)?;
    Ok(hex::encode(bytes))
}

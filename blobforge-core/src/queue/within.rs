//! Submitting within a transaction of the caller's own.

use rusqlite::Transaction;

use super::{Queue, QueueError, admission::admitted};
use crate::{
    Invalid, NewJob, NewSource,
    storage::{Done, Submitted, sqlite::commit_within},
};

impl Queue {
    /// Submits a job in a transaction on the caller's own connection to this queue's file: the job is there exactly if
    /// the caller commits. Whoever waits for work learns of it within a tenth of a second.
    ///
    /// The transaction should be [immediate](rusqlite::TransactionBehavior::Immediate): a deferred one that has read
    /// before can find the file busy. Whether the commit survives a power cut is up to the caller's `PRAGMA synchronous`.
    /// A job whose source is still to come gets it afterwards, through [`Queue::put_source`].
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("jobs.db");
    /// use blobforge_core::{NewJob, Queue};
    /// use blobforge_core::rusqlite::{Connection, TransactionBehavior};
    /// let queue = Queue::open(&path).await.unwrap();
    ///
    /// let mut mine = Connection::open(&path).unwrap();
    /// mine.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, job INTEGER)", []).unwrap();
    /// let transaction = mine.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    /// let job = queue.submit_within(&transaction, NewJob::new("invoice").unwrap()).unwrap();
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
    pub fn submit_within(&self, transaction: &Transaction<'_>, job: NewJob) -> Result<Submitted, QueueError> {
        if matches!(job.source, NewSource::Stored { .. }) {
            let reason = "a stored source belongs to the queue that stored it: submit the job with a source to come, and send it after the commit";
            return Err(Invalid::new("source", reason).into());
        }
        let submit = admitted(self.submission(job)?)?;
        let committed = commit_within(transaction, self.now(), vec![submit])?;
        match committed.outcomes.into_iter().next() {
            Some(Ok(Done::Submitted(submitted))) => Ok(submitted),
            Some(Err(refusal)) => Err(refusal.into()),
            other => Err(QueueError::Contract(format!("{other:?}"))),
        }
    }
}

//! Where jobs are kept: the contract of every backend.
//!
//! # Contract
//! - [`Storage::commit`] carries out a batch in order, atomically, and durably: when it returns, the batch survives
//!   the death of the process and, if the disk honours flushes, a power cut.
//! - A refused command writes nothing and is an outcome; an error fails the whole batch, of which then nothing is kept.
//! - Commands are taken as they are: a queue has checked that nothing in them is out of bounds.
//! - What a command does to a job is decided by [`crate::lifecycle`] and the shared executor, never by a backend.
//! - Reads see every commit that returned before they began.

mod command;
mod execute;
pub mod memory;
mod query;
mod record;
mod rows;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod verdict;

pub use command::{
    AttemptChange, Beat, BeatReply, Claim, Claimed, Command, Committed, Done, Event, GarbagePlace, HeldLease,
    LeaseState, MAX_CHECKPOINTS, Maintain, Maintained, MarkGarbage, MarkedGarbage, Outcome, Ready, Refusal,
    Report, Settled, Submit, Submitted, Wake,
};
pub use execute::MAX_ATTEMPTS_KEPT;
pub(crate) use execute::MAX_CLASSES;
pub(crate) use verdict::verdict;

pub use record::RecordChange;

pub use query::{
    Attempt, Counts, HOURS_KEPT, Hour, JobFilter, JobPage, LeftBytes, MAX_EXAMINED, MAX_PAGE, Workload,
};

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    Checkpoint, FailureGroup, Generation, Job, JobId, JobType, Subscriber, Timestamp, TypeRecord, WorkerId,
    WorkerRecord,
};

/// A durable home for jobs. See the [contract](self).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::{NewJob, Status, storage::{Command, Done, Storage, Submit, Wake, memory::MemoryStorage}};
/// let storage = MemoryStorage::default();
/// let (job, upload_key) = (NewJob::new("pdf").unwrap(), "sources/a".to_owned());
/// let submit = Submit { job, upload_key, default_max_attempts: 3 };
/// let committed = storage.commit(vec![Command::Submit(Box::new(submit))]).await.unwrap();
/// let Ok(Done::Submitted(submitted)) = &committed.outcomes[0] else { unreachable!("it is valid") };
/// assert_eq!(committed.ready[0].wake, Wake::One);
/// let job = storage.job(submitted.id).await.unwrap().unwrap();
/// assert_eq!(job.status(), Status::Pending);
/// # });
/// ```
///
/// # Errors
/// A read fails as [`StorageError::Busy`] when it takes too long, and as [`StorageError::Broken`] or
/// [`StorageError::Closed`] when nothing more is to be had from the store.
#[async_trait]
pub trait Storage: Send + Sync + fmt::Debug {
    /// Carries out `commands` in order, in one durable transaction.
    ///
    /// As in [`Storage`].
    ///
    /// # Errors
    /// Nothing of the batch was kept, unless it is [`StorageError::Unknown`]; [`StorageError::is_retryable`] tells
    /// whether trying again can help.
    async fn commit(&self, commands: Vec<Command>) -> Result<Committed, StorageError>;

    /// One job.
    ///
    /// As in [`Storage`].
    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError>;

    /// Jobs that match, newest first, below the cursor. A page may be short or empty while there are more:
    /// it examines at most [`MAX_EXAMINED`] rows.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// # queue.submit(blobforge_core::NewJob::new("pdf").unwrap()).await.unwrap();
    /// # let claimed = queue.claim(&smith, &pdf, 1, std::time::Duration::ZERO).await.unwrap().remove(0);
    /// use blobforge_core::storage::{JobFilter, Storage};
    /// let (storage, id) = (queue.storage(), claimed.job.id);
    /// assert_eq!(storage.jobs(&JobFilter::all(10)).await.unwrap().items[0].id, id);
    /// assert_eq!(storage.counts().await.unwrap().total(), 1);
    /// assert_eq!(storage.types().await.unwrap()[0].job_type, pdf[0]);
    /// assert_eq!(storage.attempts(id).await.unwrap()[0].end, None, "it runs");
    /// assert!(storage.checkpoints(id).await.unwrap().is_empty());
    /// assert!(storage.failure_groups(None, 10).await.unwrap().is_empty());
    /// assert_eq!(storage.worker(&smith).await.unwrap(), storage.workers().await.unwrap().pop());
    /// # });
    /// ```
    async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, StorageError>;

    /// The types that the store knows, by name: those that jobs were submitted of, or that were set up.
    ///
    /// As in [`Storage::jobs`].
    async fn types(&self) -> Result<Vec<TypeRecord>, StorageError>;

    /// How many jobs there are by type and status.
    ///
    /// As in [`Storage::jobs`].
    async fn counts(&self) -> Result<Counts, StorageError>;

    /// How many jobs ended in each of the last hours, by type and then by time; hours in which none did are left out, and
    /// there may be older ones than [`HOURS_KEPT`] of types that have been idle since. What ended elsewhere, before it came
    /// here, does not count.
    ///
    /// As in [`Hour`].
    async fn hours(&self) -> Result<Vec<(JobType, Hour)>, StorageError>;

    /// What waits for longest, and who runs how much. It costs no more where many jobs wait.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// use blobforge_core::{NewJob, storage::Storage};
    /// for _ in 0..3 {
    ///     queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
    /// }
    /// queue.claim(&smith, &pdf, 2, std::time::Duration::ZERO).await.unwrap();
    /// let workload = queue.storage().workload().await.unwrap();
    /// assert_eq!(workload.running[&smith], 2);
    /// assert!(workload.oldest[&pdf[0]] <= queue.now());
    /// # });
    /// ```
    async fn workload(&self) -> Result<Workload, StorageError>;

    /// The attempts of a job, the first one first, a running one last: of those that have ended the last
    /// [`MAX_ATTEMPTS_KEPT`].
    ///
    /// As in [`Storage::jobs`].
    async fn attempts(&self, id: JobId) -> Result<Vec<Attempt>, StorageError>;

    /// How many jobs of its lane stand before a job in line, at most [`MAX_EXAMINED`]: those of its type that ask the same of
    /// their worker and share its limit key. `None` of a job that stands in no line, as before its time.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, Priority, storage::Storage};
    /// let first = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
    /// let urgent = NewJob { priority: Priority::Critical, ..NewJob::new("pdf").unwrap() };
    /// let urgent = queue.submit(urgent).await.unwrap().id;
    /// let storage = queue.storage();
    /// assert_eq!((storage.ahead(urgent).await.unwrap(), storage.ahead(first).await.unwrap()), (Some(0), Some(1)));
    /// # });
    /// ```
    async fn ahead(&self, id: JobId) -> Result<Option<u64>, StorageError>;

    /// The groups of failures of a type, or of all types: the one with most failed jobs first, then the one met last. At
    /// most `limit`, and at most [`MAX_PAGE`].
    ///
    /// As in [`Storage::jobs`].
    async fn failure_groups(
        &self,
        job_type: Option<&JobType>,
        limit: usize,
    ) -> Result<Vec<FailureGroup>, StorageError>;

    /// The partial results that a job's next attempt can go on from.
    ///
    /// As in [`Storage::jobs`].
    async fn checkpoints(&self, id: JobId) -> Result<Vec<Checkpoint>, StorageError>;

    /// One worker.
    ///
    /// As in [`Storage::jobs`].
    async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRecord>, StorageError>;

    /// All workers, by id.
    ///
    /// As in [`Storage::jobs`].
    async fn workers(&self) -> Result<Vec<WorkerRecord>, StorageError>;

    /// Who is told of the ends of jobs, by name.
    ///
    /// As in [`Subscriber`].
    async fn subscribers(&self) -> Result<Vec<Subscriber>, StorageError>;

    /// When the first message of the outbox is due; `None` while there is none.
    ///
    /// As in [`Subscriber`].
    async fn next_message(&self) -> Result<Option<Timestamp>, StorageError>;

    /// One record that a program keeps beside its jobs.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::storage::{Command, Storage, memory::MemoryStorage};
    /// let storage = MemoryStorage::default();
    /// let (collection, key) = ("accounts".to_owned(), "ann".to_owned());
    /// let put = Command::PutRecord { collection, key, value: "may submit".into() };
    /// storage.commit(vec![put]).await.unwrap();
    /// assert_eq!(storage.record("accounts", "ann").await.unwrap(), Some("may submit".into()));
    /// assert_eq!(storage.records("accounts").await.unwrap()[0].0, "ann");
    /// # });
    /// ```
    async fn record(&self, collection: &str, key: &str) -> Result<Option<Value>, StorageError>;

    /// All records of a collection, by key.
    ///
    /// As in [`Storage::record`].
    async fn records(&self, collection: &str) -> Result<Vec<(String, Value)>, StorageError>;

    /// Entries of a log with their numbers, the newest first: those before the one with the number `before`, or the
    /// last ones. At most `limit`, and at most [`MAX_PAGE`].
    ///
    /// As in [`RecordChange`].
    async fn log(
        &self,
        log: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Value)>, StorageError>;

    /// Whether this store recorded creating a file under `key`, and is not deleting it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::storage::{Command, Storage, memory::MemoryStorage};
    /// let storage = MemoryStorage::default();
    /// let key = "sources/a".to_owned();
    /// storage.commit(vec![Command::ReserveFile { key, owner: None }]).await.unwrap();
    /// assert!(storage.has_file("sources/a").await.unwrap());
    /// assert!(!storage.has_file("sources/b").await.unwrap(), "whatever lies there is somebody else's");
    /// # });
    /// ```
    async fn has_file(&self, key: &str) -> Result<bool, StorageError>;

    /// The store's number, raised by every restore.
    ///
    /// As in [`MemoryStorage::mark_restored`](memory::MemoryStorage::mark_restored).
    fn generation(&self) -> Generation;

    /// Whether jobs outlive the process. Beside a store where they do not, files may be kept in memory too.
    ///
    /// ```
    /// use blobforge_core::storage::{Storage, memory::MemoryStorage};
    /// assert!(!MemoryStorage::default().is_durable());
    /// ```
    fn is_durable(&self) -> bool {
        true
    }

    /// How many statements it has run so far, where it runs statements.
    ///
    /// ```
    /// use blobforge_core::storage::{Storage, memory::MemoryStorage};
    /// assert_eq!(MemoryStorage::default().statements(), None);
    /// ```
    fn statements(&self) -> Option<u64> {
        None
    }

    /// How often to ask [`Storage::changed_elsewhere`] while anybody waits for something; `None` where nobody else can
    /// write to the store.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::storage::{Storage, memory::MemoryStorage};
    /// let storage = MemoryStorage::default();
    /// assert_eq!(storage.is_shared(), None);
    /// assert!(!storage.changed_elsewhere().await.unwrap());
    /// # });
    /// ```
    fn is_shared(&self) -> Option<Duration> {
        None
    }

    /// Whether somebody else has committed to this store since it was last asked. It may be said once too often, and
    /// never not at all.
    ///
    /// As in [`Storage::is_shared`].
    async fn changed_elsewhere(&self) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Does a little of what nobody waits for, such as bringing an index up to date, in a few milliseconds; whether there
    /// is more of it. Nothing that is read depends on it, but for how long reading takes.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::storage::{Storage, memory::MemoryStorage};
    /// assert!(!MemoryStorage::default().upkeep().await.unwrap(), "it has nothing to look after");
    /// # });
    /// ```
    async fn upkeep(&self) -> Result<bool, StorageError> {
        Ok(false)
    }

    /// Puts all that was committed where whoever copies the store's file finds it. A queue asks for it when it is closed; the
    /// store can be used as before.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("jobs.db");
    /// use blobforge_core::storage::{Storage, sqlite::SqliteStorage};
    /// let store = SqliteStorage::open(&path, Default::default()).await.unwrap();
    /// store.settle().await.unwrap();
    /// assert_eq!(std::fs::metadata(folder.path().join("jobs.db-wal")).unwrap().len(), 0);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the store failed, or somebody else uses it: then it is as it was.
    async fn settle(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Why a store could not do something at all.
///
/// As in [`StorageError::is_retryable`].
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// The disk, or the space allowed to the database, is full.
    #[error("the disk is full: {0}. Nothing was changed; free some space and try again")]
    Full(String),
    /// Somebody else holds the database for too long, or a read took too long.
    #[error("the database is busy: {0}. Nothing was changed; try again")]
    Busy(String),
    /// The connection to the store broke while a batch was being written: it was kept whole, or not at all.
    #[error(
        "the database did not say whether it kept this: {0}. Look, or try again: a repeated report is harmless"
    )]
    Unknown(String),
    /// The database cannot be opened by this version, on this machine or at all.
    #[error("{0}")]
    Unusable(String),
    /// Something that is kept cannot be read. What met it did nothing, nor did what was committed together with it, which
    /// can be tried again.
    #[error(
        "what is kept cannot be read: {0}. Nothing was changed; other jobs are not concerned. Repair that row, or restore a backup"
    )]
    Unreadable(String),
    /// The disk or the database failed; what it holds is not to be trusted until somebody has looked.
    #[error("the database failed: {0}. The queue stops; look at the disk, then restart or restore a backup")]
    Broken(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StorageError {
    /// Whether the same call can succeed later without anybody repairing something.
    ///
    /// ```
    /// use blobforge_core::storage::StorageError;
    /// assert!(StorageError::Busy("another process writes".to_owned()).is_retryable());
    /// assert!(!StorageError::Broken("the file is damaged".to_owned()).is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        // Most of those who were told that something is unreadable only stood beside who asked for it.
        matches!(self, Self::Full(_) | Self::Busy(_) | Self::Unknown(_) | Self::Unreadable(_))
    }

    /// Whether the batch may have been kept all the same.
    ///
    /// ```
    /// use blobforge_core::storage::StorageError;
    /// assert!(StorageError::Unknown("the connection broke".to_owned()).may_have_been_kept());
    /// assert!(!StorageError::Full("no space".to_owned()).may_have_been_kept());
    /// ```
    pub fn may_have_been_kept(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

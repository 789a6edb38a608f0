//! A store in one SQLite file: the default.
//!
//! One thread writes; it commits a batch in one transaction and answers when the file has been flushed. Reads come from
//! a pool of connections that see the last commit and never wait for the writer. The file is the truth: nothing is
//! cached between batches, so that several processes may share it on one machine.
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("queue.db");
//! use blobforge_core::storage::{Storage, sqlite::{SqliteOptions, SqliteStorage}};
//! let store = SqliteStorage::open(&path, SqliteOptions::default()).await.unwrap();
//! assert_eq!(store.counts().await.unwrap().total(), 0);
//! # });
//! ```

mod columns;
mod copying;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod cost;
mod earlier;
mod failure;
mod filesystem;
mod front;
mod history;
mod home;
mod lanes;
mod listing;
mod migrations;
mod open;
mod outbox;
mod place;
mod reads;
mod restore;
mod rows;
mod search;
mod statements;
mod within;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub use copying::{Examined, check_pages, copy_database, examine, make_durable, record_in};
pub use earlier::{EarlierJob, earlier_jobs};
pub use home::note_restore;
pub use open::{CheckedFile, check_file};
pub use restore::mark_restored;
pub use within::commit_within;

use async_trait::async_trait;
use deadpool_sqlite::{Hook, HookError, InteractError, Pool, PoolError, Runtime};
use serde_json::Value;
use tokio::runtime::Handle;

use self::{failure::storage_error, reads::Snapshot, writer::Writer};
use super::{
    Attempt, Command, Committed, Counts, Hour, JobFilter, JobPage, MAX_PAGE, Storage, StorageError, Workload,
};
use crate::{
    Checkpoint, Clock, FailureGroup, Generation, Job, JobId, JobType, Subscriber, SystemClock, Timestamp,
    TypeRecord, WorkerId, WorkerRecord,
};

/// How many steps of SQLite's machine pass between two looks at the time: some tens of microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1000;

/// How long somebody who waits may not notice what another process did. A look costs some microseconds.
const LOOK_ELSEWHERE_EVERY: Duration = Duration::from_millis(100);

/// How an SQLite file is used.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("jobs.db");
/// use blobforge_core::storage::{Storage, sqlite::{SqliteOptions, SqliteStorage}};
/// use std::time::Duration;
/// let patient = SqliteOptions { readers: 8, read_limit: Duration::from_secs(10), ..SqliteOptions::default() };
/// let storage = SqliteStorage::open(&path, patient).await.unwrap();
/// assert_eq!(storage.counts().await.unwrap().total(), 0);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How many reads may run at the same time; at least 1.
    pub readers: usize,
    /// How long a read may take before it is given up as [`StorageError::Busy`].
    pub read_limit: Duration,
    /// To how many pages of 4 KiB the file may grow; `None` leaves it to the disk.
    pub max_pages: Option<u32>,
    /// After how many pages the log is worked into the file; 0 leaves that to another program, such as Litestream, unless
    /// the log has grown to 256 MiB because that one is away.
    pub wal_autocheckpoint: u32,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            readers: 4,
            read_limit: Duration::from_secs(1),
            max_pages: None,
            wal_autocheckpoint: 1000,
        }
    }
}

/// Jobs in an SQLite file.
///
/// ```
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("jobs.db");
/// use blobforge_core::storage::sqlite::{SqliteOptions, SqliteStorage};
/// let storage = SqliteStorage::open(&path, SqliteOptions::default()).await.unwrap();
/// assert_eq!(storage.path().file_name().unwrap(), "jobs.db");
/// std::fs::write(folder.path().join("letter.pdf"), "%PDF-1.7").unwrap();
/// assert!(SqliteStorage::open(folder.path().join("letter.pdf"), SqliteOptions::default()).await.is_err());
/// # });
/// ```
pub struct SqliteStorage {
    path: PathBuf,
    came_back: bool,
    writer: Writer,
    readers: Pool,
    read_limit: Duration,
    /// Where the readers are closed, since closing blocks.
    runtime: Handle,
    /// How many statements were run.
    statements: Arc<AtomicU64>,
}

impl SqliteStorage {
    /// Opens a file; makes it, and its folder, if they are not there.
    ///
    /// Runs within a tokio runtime with its timer enabled.
    ///
    /// As in [`SqliteStorage`].
    ///
    /// # Errors
    /// [`StorageError::Unusable`] says what about the file or this machine will not do, and what would.
    pub async fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, StorageError> {
        let path = path.as_ref().to_owned();
        let SqliteOptions { readers, read_limit, .. } = options;
        let statements = Arc::new(AtomicU64::new(0));
        let counter = statements.clone();
        let opening = tokio::task::spawn_blocking(move || {
            let opened = open::open(&path, &options)?;
            let (path, came_back) = (opened.path.clone(), opened.restored.is_some());
            let writer = Writer::start(opened, options.clock, counter).map_err(|e| {
                StorageError::Unusable(format!("no thread could be started to write with: {e}"))
            })?;
            Ok((path, came_back, writer))
        });
        let (path, came_back, writer) = opening.await.map_err(|_| StorageError::Closed)??;
        let readers = pool(&path, readers, read_limit)?;
        Ok(Self { path, came_back, writer, readers, read_limit, runtime: Handle::current(), statements })
    }

    /// Whether it was found when it was opened that the file came back from a backup: then what lay beside it may be lost.
    ///
    /// As in [`note_restore`].
    pub fn came_back(&self) -> bool {
        self.came_back
    }

    /// The file.
    ///
    /// As in [`SqliteStorage`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads within one snapshot, and gives up when the time for it is over.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let reader = self.readers.get().await.map_err(|error| no_reader(&error))?;
        let (limit, statements) = (self.read_limit, self.statements.clone());
        let interaction = reader.interact(move |connection| {
            let started = Instant::now();
            let late = move || started.elapsed() >= limit;
            connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(late))?;
            read(&Snapshot::new(connection.transaction()?, &statements))
        });
        match interaction.await {
            Ok(result) => result.map_err(|error| storage_error(&error)),
            Err(InteractError::Panic(_)) => Err(StorageError::Broken("a read panicked".to_owned())),
            Err(InteractError::Cancelled) => Err(StorageError::Closed),
        }
    }
}

fn pool(path: &Path, readers: usize, read_limit: Duration) -> Result<Pool, StorageError> {
    let Ok(builder) = deadpool_sqlite::Config::new(path).builder(Runtime::Tokio1);
    builder
        .max_size(readers.max(1))
        .wait_timeout(Some(read_limit))
        .post_create(Hook::async_fn(move |reader, _| {
            Box::pin(async move {
                match reader.interact(move |c| open::set_up_reader(c, read_limit)).await {
                    Ok(set_up) => set_up.map_err(HookError::Backend),
                    Err(_) => Err(HookError::message("setting up a reader was interrupted")),
                }
            })
        }))
        .build()
        .map_err(|e| StorageError::Unusable(format!("the readers could not be set up: {e}")))
}

fn no_reader(error: &PoolError) -> StorageError {
    match error {
        PoolError::Timeout(_) => StorageError::Busy("every reader is in use".to_owned()),
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
            storage_error(error)
        }
        PoolError::Closed => StorageError::Closed,
        other => StorageError::Broken(other.to_string()),
    }
}

impl fmt::Debug for SqliteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStorage").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for SqliteStorage {
    fn drop(&mut self) {
        // The pool closes its connections on tokio's threads, whichever thread drops the store.
        let _runtime = self.runtime.enter();
        self.readers.close();
    }
}

#[async_trait]
impl Storage for SqliteStorage {
    async fn commit(&self, commands: Vec<Command>) -> Result<Committed, StorageError> {
        self.writer.commit(commands).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StorageError> {
        self.read(move |c| reads::job(c, id)).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<JobPage, StorageError> {
        let filter = filter.clone();
        self.read(move |c| listing::jobs(c, &filter)).await
    }

    async fn types(&self) -> Result<Vec<TypeRecord>, StorageError> {
        self.read(reads::types).await
    }

    async fn counts(&self) -> Result<Counts, StorageError> {
        self.read(reads::counts).await
    }

    async fn hours(&self) -> Result<Vec<(JobType, Hour)>, StorageError> {
        self.read(reads::hours).await
    }

    async fn workload(&self) -> Result<Workload, StorageError> {
        self.read(reads::workload).await
    }

    async fn ahead(&self, id: JobId) -> Result<Option<u64>, StorageError> {
        self.read(move |snapshot| reads::ahead(snapshot, id)).await
    }

    async fn attempts(&self, id: JobId) -> Result<Vec<Attempt>, StorageError> {
        self.read(move |c| reads::attempts(c, id)).await
    }

    async fn failure_groups(
        &self,
        job_type: Option<&JobType>,
        limit: usize,
    ) -> Result<Vec<FailureGroup>, StorageError> {
        let (job_type, limit) = (job_type.cloned(), limit.clamp(1, MAX_PAGE));
        self.read(move |c| history::failure_groups(c, job_type.as_ref(), limit)).await
    }

    async fn checkpoints(&self, id: JobId) -> Result<Vec<Checkpoint>, StorageError> {
        self.read(move |c| reads::checkpoints(c, id)).await
    }

    async fn worker(&self, id: &WorkerId) -> Result<Option<WorkerRecord>, StorageError> {
        let id = id.clone();
        self.read(move |c| reads::worker(c, &id)).await
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, StorageError> {
        self.read(reads::workers).await
    }

    async fn subscribers(&self) -> Result<Vec<Subscriber>, StorageError> {
        self.read(outbox::subscribers).await
    }

    async fn next_message(&self) -> Result<Option<Timestamp>, StorageError> {
        self.read(outbox::next_message).await
    }

    async fn record(&self, collection: &str, key: &str) -> Result<Option<Value>, StorageError> {
        let (collection, key) = (collection.to_owned(), key.to_owned());
        self.read(move |c| reads::record(c, &collection, &key)).await
    }

    async fn records(&self, collection: &str) -> Result<Vec<(String, Value)>, StorageError> {
        let collection = collection.to_owned();
        self.read(move |c| reads::records(c, &collection)).await
    }

    async fn log(
        &self,
        log: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, Value)>, StorageError> {
        let log = log.to_owned();
        self.read(move |c| reads::log(c, &log, before, limit)).await
    }

    async fn has_file(&self, key: &str) -> Result<bool, StorageError> {
        let key = key.to_owned();
        self.read(move |c| reads::has_file(c, &key)).await
    }

    fn generation(&self) -> Generation {
        self.writer.generation()
    }

    fn statements(&self) -> Option<u64> {
        Some(self.statements.load(Ordering::Relaxed))
    }

    fn is_shared(&self) -> Option<Duration> {
        Some(LOOK_ELSEWHERE_EVERY)
    }

    async fn changed_elsewhere(&self) -> Result<bool, StorageError> {
        self.writer.changed_elsewhere().await
    }

    async fn upkeep(&self) -> Result<bool, StorageError> {
        self.writer.upkeep().await
    }

    async fn settle(&self) -> Result<(), StorageError> {
        self.writer.settle().await
    }
}

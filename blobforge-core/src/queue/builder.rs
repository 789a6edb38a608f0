//! How a queue is opened.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{MIN_KEPT, Meter, Queue, QueueError, Settings, Shared, driver, garbage, upkeep};
use crate::{
    Clock, Entropy, Invalid, RetryPolicy, SystemClock, SystemEntropy,
    blob::{BlobStore, ObjectBlobs},
    bounds::{attempts, span},
    storage::{Storage, memory::MemoryStorage},
};

/// The shortest time between two heartbeats: what is asked for more often leaves no time for anything else.
const MIN_HEARTBEAT: Duration = Duration::from_millis(10);

/// Opens a queue with other than the default settings.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::{ManualClock, Queue, RetryPolicy, Timestamp};
/// use std::{sync::Arc, time::Duration};
/// let second = Duration::from_secs(1);
/// let queue = Queue::builder()
///     .lease(60 * second)
///     .heartbeat_every(5 * second)
///     .max_attempts(5)
///     .retry(RetryPolicy { first: second, longest: 60 * second })
///     .clock(Arc::new(ManualClock::new(Timestamp::ZERO)))
///     .open_in_memory()
///     .unwrap();
/// assert_eq!((queue.settings().max_attempts, queue.now()), (5, Timestamp::ZERO));
/// # });
/// ```
#[derive(Debug, Default)]
pub struct QueueBuilder {
    settings: Settings,
    clock: Option<Arc<dyn Clock>>,
    entropy: Option<Arc<dyn Entropy>>,
    blobs: Option<Arc<dyn BlobStore>>,
    meter: Option<Arc<dyn Meter>>,
}

impl QueueBuilder {
    /// For how long a lease is good without a heartbeat: at least a second, at most a year; 180 s by default.
    ///
    /// As in [`QueueBuilder`].
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How often workers are told to send a heartbeat: at least every 10 ms; 30 s by default, and at least three times a
    /// lease.
    ///
    /// As in [`QueueBuilder`].
    #[must_use]
    pub fn heartbeat_every(mut self, every: Duration) -> Self {
        self.settings.heartbeat_every = every;
        self
    }

    /// How many failing runs a job gets, 1 to [`MAX_ATTEMPTS_LIMIT`](crate::MAX_ATTEMPTS_LIMIT); 3 by default.
    ///
    /// As in [`QueueBuilder`].
    #[must_use]
    pub fn max_attempts(mut self, runs: u32) -> Self {
        self.settings.max_attempts = runs;
        self
    }

    /// How long a failed job waits before it runs again, at most [`MAX_SPAN`](crate::MAX_SPAN); by default 10 s, doubled by
    /// each further failure up to an hour.
    ///
    /// As in [`QueueBuilder`].
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.settings.retry = policy;
        self
    }

    /// For how long files are kept that nobody needs any more, such as those of deleted jobs; 30 days by default, and at
    /// least [`MIN_KEPT`].
    ///
    /// It must be longer than you keep backups of the database: a backup names the files that were there when it was
    /// made, and a database restored from it needs them again. The time of day counts: a clock that is set forward takes
    /// files for longer dead than they are, so give more days than it can ever be wrong.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{Queue, queue::MIN_KEPT};
    /// use std::time::Duration;
    /// let week = Duration::from_secs(7 * 24 * 60 * 60);
    /// assert!(Queue::builder().keep_deleted_files_for(week).open_in_memory().is_ok());
    /// assert!(Queue::builder().keep_deleted_files_for(MIN_KEPT / 2).open_in_memory().is_err());
    /// # });
    /// ```
    #[must_use]
    pub fn keep_deleted_files_for(mut self, span: Duration) -> Self {
        self.settings.keep_deleted_files = span;
        self
    }

    /// Takes the time from this clock; by default from the machine's.
    ///
    /// As in [`QueueBuilder`].
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Draws secrets, names and jitter from here; by default from the operating system.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use blobforge_core::{Queue, SystemEntropy};
    /// use std::sync::Arc;
    /// let queue = Queue::builder().entropy(Arc::new(SystemEntropy)).open_in_memory();
    /// assert!(queue.is_ok());
    /// # });
    /// ```
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// Keeps files here; by default in the folder beside the SQLite file, or in memory.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// use blobforge_core::{NewJob, Queue, blob::{ObjectBlobs, read_bytes}};
    /// use std::sync::Arc;
    /// let files = folder.path().join("files");
    /// let queue = Queue::builder().blobs(Arc::new(ObjectBlobs::local(&files).unwrap())).open_in_memory().unwrap();
    /// queue.submit_stream(NewJob::new("pdf").unwrap(), read_bytes("%PDF-1.7"), 1000).await.unwrap();
    /// assert_eq!(std::fs::read_dir(files.join("sources")).unwrap().count(), 1);
    /// # });
    /// ```
    #[must_use]
    pub fn blobs(mut self, blobs: Arc<dyn BlobStore>) -> Self {
        self.blobs = Some(blobs);
        self
    }

    /// Who is told what there is to be measured.
    ///
    /// As in [`Meter`].
    #[must_use]
    pub fn meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Opens the queue in this SQLite file, or makes it. Files go to the folder beside it that has its name and
    /// `-files`, unless another blob store was given.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("jobs.db");
    /// use blobforge_core::{NewJob, Queue, blob::read_bytes};
    /// let queue = Queue::builder().max_attempts(1).open(folder.path().join("jobs.db")).await.unwrap();
    /// queue.submit_stream(NewJob::new("pdf").unwrap(), read_bytes("%PDF-1.7"), 1000).await.unwrap();
    /// assert!(folder.path().join("jobs.db").is_file() && folder.path().join("jobs.db-files").is_dir());
    /// # });
    /// ```
    ///
    /// # Errors
    /// When a setting is out of bounds, or the file cannot be used.
    #[cfg(feature = "sqlite")]
    pub async fn open(mut self, path: impl AsRef<Path>) -> Result<Queue, QueueError> {
        use crate::storage::sqlite::{SqliteOptions, SqliteStorage};
        let path = path.as_ref();
        let clock = self.given_clock();
        let storage = SqliteStorage::open(path, SqliteOptions { clock, ..SqliteOptions::default() }).await?;
        if self.blobs.is_none() {
            self.blobs = Some(Arc::new(ObjectBlobs::local(files_beside(path))?));
        }
        self.open_on(Arc::new(storage))
    }

    /// Opens a queue in memory, for tests: nothing survives the process.
    ///
    /// As in [`QueueBuilder`].
    ///
    /// # Errors
    /// When a setting is out of bounds.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn open_in_memory(self) -> Result<Queue, QueueError> {
        self.check()?;
        Ok(self.start_in_memory())
    }

    pub(super) fn start_in_memory(mut self) -> Queue {
        let storage = MemoryStorage::new(self.given_clock());
        self.start(Arc::new(storage))
    }

    /// Opens a queue on a storage that is open already and reads the same clock. Where its files go has to be said by
    /// [`QueueBuilder::blobs`], unless the jobs are in memory too.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{NewJob, Queue, SystemClock, storage::{Storage, memory::MemoryStorage}};
    /// use std::sync::Arc;
    /// let clock = Arc::new(SystemClock);
    /// let storage = Arc::new(MemoryStorage::new(clock.clone()));
    /// let queue = Queue::builder().clock(clock).open_on(storage.clone()).unwrap();
    /// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
    /// assert!(storage.job(id).await.unwrap().is_some());
    /// # });
    /// ```
    ///
    /// # Errors
    /// When a setting is out of bounds, or files would be kept in memory beside jobs that are kept for good.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn open_on(self, storage: Arc<dyn Storage>) -> Result<Queue, QueueError> {
        self.check()?;
        if self.blobs.is_none() && storage.is_durable() {
            let reason = "say where files are kept: ObjectBlobs::local(folder), or ObjectBlobs::in_memory() if they may be lost when the program ends";
            return Err(Invalid::new("blobs", reason).into());
        }
        Ok(self.start(storage))
    }

    fn check(&self) -> Result<(), Invalid> {
        span("lease", self.settings.lease)?;
        if self.settings.heartbeat_every < MIN_HEARTBEAT {
            let reason = "workers are told to send a heartbeat every 10 milliseconds at most";
            return Err(Invalid::new("heartbeat_every", reason));
        }
        attempts(self.settings.max_attempts)?;
        self.settings.retry.check()?;
        if self.settings.keep_deleted_files < MIN_KEPT {
            let reason = "deleted files are kept for at least an hour: workers may still be writing them";
            return Err(Invalid::new("keep_deleted_files_for", reason));
        }
        Ok(())
    }

    fn start(mut self, storage: Arc<dyn Storage>) -> Queue {
        let clock = self.given_clock();
        let blobs = self.blobs.unwrap_or_else(|| Arc::new(ObjectBlobs::in_memory()));
        let entropy = self.entropy.unwrap_or_else(|| Arc::new(SystemEntropy));
        let running = driver::start(storage.clone(), clock.clone(), self.meter);
        let halted = running.halted.clone();
        let shared = Arc::new(Shared {
            storage,
            blobs,
            clock: clock.clone(),
            entropy,
            settings: self.settings,
            requests: running.requests,
            notices: running.notices,
            listening: running.listening,
            halted: running.halted,
            collecting: Arc::default(),
            uploading: Default::default(),
        });
        tokio::spawn(garbage::run(Arc::downgrade(&shared), clock.clone(), halted.clone()));
        tokio::spawn(upkeep::run(Arc::downgrade(&shared), clock, halted));
        Queue { shared }
    }

    fn given_clock(&mut self) -> Arc<dyn Clock> {
        self.clock.get_or_insert_with(|| Arc::new(SystemClock)).clone()
    }
}

/// Where a queue keeps its files unless it is told otherwise: beside its database.
///
/// ```
/// # use std::path::Path;
/// use blobforge_core::files_beside;
/// assert_eq!(files_beside(Path::new("/shop/jobs.db")), Path::new("/shop/jobs.db-files"));
/// ```
pub fn files_beside(database: &Path) -> PathBuf {
    let mut name = database.file_name().unwrap_or_default().to_owned();
    name.push("-files");
    database.with_file_name(name)
}

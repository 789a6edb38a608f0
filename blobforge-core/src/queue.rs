//! What a user holds: a queue of jobs, open.

mod admission;
mod broker;
mod builder;
mod bulk;
mod committer;
mod driver;
mod error;
mod feed;
mod files;
mod garbage;
mod meter;
mod obstacle;
mod parked;
mod reading;
mod steering;
mod submitting;
mod types;
mod upkeep;
mod uploads;
#[cfg(feature = "sqlite")]
mod within;
mod working;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::{broadcast, mpsc};

pub use admission::{MAX_BEAT, MAX_OUTPUTS, MAX_RECORDS};
pub use builder::QueueBuilder;
#[cfg(feature = "sqlite")]
pub use builder::files_beside;
pub use bulk::{Action, BulkOutcome, MAX_BULK_IDS, Refusals, Selection};
pub use driver::Halted;
pub use error::QueueError;
pub use feed::{Feed, Notice};
pub use files::{SIGNED_URL_LIFETIME, UPLOAD_LIMIT};
pub use garbage::{Garbage, MIN_KEPT};
pub use meter::{Measure, Meter};
pub use obstacle::Obstacle;
pub use types::MAX_TYPE_CHANGES;
pub use uploads::{PartToSend, PartsToSend, Sending, SentPart};

use crate::{
    Clock, Entropy, RetryPolicy, Timestamp,
    blob::BlobStore,
    storage::{Command, Done, Storage},
};
use driver::Request;

/// The most jobs that one claim takes.
///
/// As in [`Queue::claim`].
pub const MAX_CLAIM: usize = 100;
/// The most jobs that one batch submits.
///
/// As in [`Queue::submit_many`].
pub const MAX_SUBMIT: usize = 1000;

/// An open queue. Clones share it; it runs until [`Queue::close`] or until the last clone is dropped.
///
/// Every method that changes something returns once the change is durable. A future that is dropped before then
/// may still take effect: the command was queued.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::{NewJob, Queue};
/// let queue = Queue::in_memory();
/// let shared = queue.clone();
/// let submitting = tokio::spawn(async move { shared.submit(NewJob::new("pdf").unwrap()).await });
/// let id = submitting.await.unwrap().unwrap().id;
/// assert!(queue.get(id).await.unwrap().is_some());
/// queue.close().await;
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    storage: Arc<dyn Storage>,
    blobs: Arc<dyn BlobStore>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    settings: Settings,
    requests: mpsc::Sender<Request>,
    notices: broadcast::WeakSender<Notice>,
    listening: Arc<tokio::sync::Notify>,
    halted: Halted,
    /// Held by whoever collects garbage.
    collecting: Arc<tokio::sync::Mutex<()>>,
    /// One of them is held by whoever begins or ends the upload of a file in parts, by its key.
    uploading: [tokio::sync::Mutex<()>; 32],
}

/// What a queue does unless a job says otherwise.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use blobforge_core::Queue;
/// use std::time::Duration;
/// let queue = Queue::builder().lease(Duration::from_secs(30)).open_in_memory().unwrap();
/// let settings = queue.settings();
/// assert_eq!((settings.lease, settings.max_attempts), (Duration::from_secs(30), 3));
/// assert_eq!(settings.heartbeat_every, Duration::from_secs(30), "the wish");
/// assert_eq!(settings.heartbeat(), Duration::from_secs(10), "but three go into a lease");
/// # });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// For how long a lease is good without a heartbeat.
    pub lease: Duration,
    /// How often workers are told to send one.
    pub heartbeat_every: Duration,
    /// How many failing runs a job gets.
    pub max_attempts: u32,
    /// How long a failed job waits before it runs again.
    pub retry: RetryPolicy,
    /// For how long files are kept that nobody needs any more.
    pub keep_deleted_files: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(180),
            heartbeat_every: Duration::from_secs(30),
            max_attempts: 3,
            retry: RetryPolicy::default(),
            keep_deleted_files: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Settings {
    /// How often a heartbeat is due: the wish, but at least three times a lease.
    ///
    /// As in [`Settings`].
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat_every.min(self.lease / 3)
    }
}

impl Queue {
    /// Opens the queue in this SQLite file, with its files in a folder beside it, or makes it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("jobs.db");
    /// use blobforge_core::{NewJob, Queue, Status};
    /// let queue = Queue::open(&path).await.unwrap();
    /// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
    /// queue.close().await;
    ///
    /// let again = Queue::open(&path).await.unwrap();
    /// assert_eq!(again.job(id).await.unwrap().status(), Status::Pending);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the file is no queue, is newer than this program, lies on a network filesystem, or cannot be read.
    #[cfg(feature = "sqlite")]
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, QueueError> {
        Self::builder().open(path).await
    }

    /// A queue in memory with the default settings, for tests and to try things out: nothing survives the process.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{NewJob, Queue};
    /// let queue = Queue::in_memory();
    /// assert_eq!(queue.submit(NewJob::new("greet").unwrap()).await.unwrap().id.get(), 1);
    /// # });
    /// ```
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn in_memory() -> Self {
        Self::builder().start_in_memory()
    }

    /// Opens a queue with other settings, another storage or another blob store.
    ///
    /// As in [`QueueBuilder`].
    pub fn builder() -> QueueBuilder {
        QueueBuilder::default()
    }

    /// Carries out any command. What a worker says of a failure or of its progress is cut to what is kept of it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::storage::{Command, Done};
    /// let (collection, key) = ("accounts".to_owned(), "ann".to_owned());
    /// let command = Command::PutRecord { collection, key, value: "may submit".into() };
    /// assert_eq!(queue.run(command).await.unwrap(), Done::Ok);
    /// let kept = queue.storage().record("accounts", "ann").await.unwrap();
    /// assert_eq!(kept, Some("may submit".into()));
    /// # });
    /// ```
    ///
    /// # Errors
    /// When something that it says is out of bounds, it is refused, or the store fails.
    pub async fn run(&self, command: Command) -> Result<Done, QueueError> {
        driver::receive(self.send(command, None)).await
    }

    fn send(&self, command: Command, wait_until: Option<Duration>) -> driver::Waiting {
        self.enqueue(admission::admitted(command)?, wait_until)
    }

    fn enqueue(&self, admitted: Command, wait_until: Option<Duration>) -> driver::Waiting {
        driver::send(&self.shared.requests, &self.shared.halted, admitted, wait_until)
    }

    /// The time by the queue's clock.
    ///
    /// As in [`QueueBuilder`].
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// What the queue does unless a job says otherwise.
    ///
    /// As in [`Settings`].
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Where jobs are kept.
    ///
    /// As in [`Queue::run`].
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.shared.storage
    }

    /// Where files are kept.
    ///
    /// As in [`Queue::source_uploaded`].
    pub fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.shared.blobs
    }

    /// Waits until the queue has stopped because its storage failed, and says how.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{NewJob, Queue, SystemClock, storage::memory::MemoryStorage, testing::FaultyStorage};
    /// use std::sync::Arc;
    /// let storage = FaultyStorage::new(Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
    /// let faults = storage.faults();
    /// let queue = Queue::builder().open_on(Arc::new(storage)).unwrap();
    /// faults.break_for_good();
    /// assert!(queue.submit(NewJob::new("pdf").unwrap()).await.is_err());
    /// assert!(!queue.halted().await.is_retryable());
    /// # });
    /// ```
    pub async fn halted(&self) -> QueueError {
        self.shared.halted.wait().await;
        self.shared.halted.error()
    }

    /// Takes nothing more in, finishes what was taken in, and stops.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, QueueError};
    /// queue.close().await;
    /// let refused = queue.submit(NewJob::new("pdf").unwrap()).await;
    /// assert!(matches!(refused, Err(QueueError::Closed)));
    /// # });
    /// ```
    pub async fn close(&self) {
        let (done, closed) = tokio::sync::oneshot::channel();
        if self.shared.requests.send(Request::Close(done)).await.is_ok() {
            // An error means that it stopped by itself, which is as good.
            let _ = closed.await;
        }
    }

    /// 128 random bits in hexadecimal, to name something that nobody can guess.
    fn drawn_id(&self) -> Result<String, QueueError> {
        drawn_id(&*self.shared.entropy)
    }
}

/// 128 random bits in hexadecimal, to name something that nobody can guess.
fn drawn_id(entropy: &dyn Entropy) -> Result<String, QueueError> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes).map_err(QueueError::Randomness)?;
    Ok(hex::encode(bytes))
}

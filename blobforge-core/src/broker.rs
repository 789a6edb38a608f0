//! The worker's view of a queue.
//!
//! A [`Broker`] is what a worker talks to: the embedded [`crate::Queue`], or a remote service through the SDK's client.
//! Both keep the same contract: a report is accepted only under the current lease, repeating it is harmless, and a
//! refusal changes nothing.

use std::{fmt, path::Path, time::Duration};

use async_trait::async_trait;
use serde_json::Value;

use crate::{
    Body, Checkpoint, Failure, Finished, JobId, JobType, LeaseToken, Output, Registration, Sha256, Timestamp,
    WorkerId,
    blob::{ByteStream, Stored},
    storage::{Beat, BeatReply},
};

/// What a worker talks to. See [the module](self).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{JobType, NewJob, Registration, Status, WorkerId, broker::{Broker, Ending, Wish}};
/// use std::time::Duration;
/// queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
/// let broker: &dyn Broker = &queue;
/// let (worker, types) = (WorkerId::new("smith").unwrap(), vec![JobType::new("pdf").unwrap()]);
/// let registration = Registration::new(worker.clone(), types.clone(), "drawn at the start");
/// let welcome = broker.register(&registration).await.unwrap();
/// assert_eq!(welcome.heartbeat_every, Duration::from_secs(30));
///
/// let wish = Wish { worker, types, limit: 1, wait: Duration::from_secs(30), claim_id: None };
/// let work = broker.claim(&wish).await.unwrap();
/// let done = Ending::Complete { outputs: Vec::new(), result: None };
/// assert_eq!(broker.finish(&work[0], done).await.unwrap().status, Status::Completed);
/// # });
/// ```
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug {
    /// Introduces a worker; repeating it after a restart of the queue is fine.
    ///
    /// As in [`Broker`].
    ///
    /// # Errors
    /// When its labels or its host are not valid ([`BrokerError::Refused`]), or a live process has that id already
    /// ([`BrokerError::WorkerInUse`]).
    async fn register(&self, registration: &Registration) -> Result<Welcome, BrokerError>;

    /// Says good-bye and gives back what is held.
    ///
    /// As in [`Broker::heartbeat`].
    ///
    /// # Errors
    /// When there is no such worker, or its instance is another.
    async fn unregister(&self, worker: &WorkerId, instance: &str) -> Result<(), BrokerError>;

    /// Asks for work and waits for it as the wish says; empty when none came.
    ///
    /// As in [`Broker`].
    ///
    /// # Errors
    /// [`BrokerError::NotRegistered`] when the queue does not know the worker.
    async fn claim(&self, wish: &Wish) -> Result<Vec<Assignment>, BrokerError>;

    /// Renews leases and hears what was asked of them.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// # let letter = blobforge_core::blob::read_bytes("%PDF-1.7");
    /// # queue.submit_stream(blobforge_core::NewJob::new("pdf").unwrap(), letter, 100).await.unwrap();
    /// # let broker: &dyn blobforge_core::broker::Broker = &queue;
    /// # let (worker, types, wait) = (smith.clone(), pdf.to_vec(), std::time::Duration::ZERO);
    /// # let wish = blobforge_core::broker::Wish { worker, types, limit: 1, wait, claim_id: None };
    /// # let work = broker.claim(&wish).await.unwrap().remove(0);
    /// use blobforge_core::{Status, storage::{Beat, HeldLease, LeaseState}};
    /// let held = HeldLease { job: work.job, token: work.token, progress: None, log_tail: None, ahead: None };
    /// let reply = broker.heartbeat(Beat { worker: smith.clone(), leases: vec![held], condition: None }).await.unwrap();
    /// assert_eq!(reply.leases, [(work.job, LeaseState::Held)]);
    /// broker.unregister(&smith, "drawn at the start").await.unwrap();
    /// assert_eq!(queue.job(work.job).await.unwrap().status(), Status::Pending);
    /// # });
    /// ```
    ///
    /// # Errors
    /// [`BrokerError::NotRegistered`] when the queue does not know the worker. A lost lease is no error: the reply says so.
    async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, BrokerError>;

    /// Ends an attempt.
    ///
    /// As in [`Broker`].
    ///
    /// # Errors
    /// [`BrokerError::LeaseLost`] when the lease is not the current one; [`BrokerError::Refused`] when the result is too
    /// large, a failure's kind is none or an output was never put: then the attempt goes on.
    async fn finish(&self, assignment: &Assignment, ending: Ending) -> Result<Finished, BrokerError>;

    /// The job's source as a stream.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// # let letter = blobforge_core::blob::read_bytes("%PDF-1.7");
    /// # queue.submit_stream(blobforge_core::NewJob::new("pdf").unwrap(), letter, 100).await.unwrap();
    /// # let broker: &dyn blobforge_core::broker::Broker = &queue;
    /// # let (worker, types, wait) = (smith.clone(), pdf.to_vec(), std::time::Duration::ZERO);
    /// # let wish = blobforge_core::broker::Wish { worker, types, limit: 1, wait, claim_id: None };
    /// # let work = broker.claim(&wish).await.unwrap().remove(0);
    /// use futures_util::TryStreamExt;
    /// let content: Vec<_> = broker.source(&work).await.unwrap().try_collect().await.unwrap();
    /// assert_eq!(content.concat(), b"%PDF-1.7");
    /// let sha256 = work.source.as_ref().unwrap().sha256.unwrap();
    /// broker.source_verified(&work, blobforge_core::blob::Stored { size: 8, sha256 }).await.unwrap();
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the job has no source, or its file cannot be had.
    async fn source(&self, assignment: &Assignment) -> Result<ByteStream, BrokerError>;

    /// Says what the whole source is, once it was read. If it is another one than was announced, the job fails for good
    /// as `source_corrupt`, and the lease is over; a retry of the job has its source sent again.
    ///
    /// As in [`Broker::source`].
    ///
    /// # Errors
    /// [`BrokerError::LeaseLost`] when the lease is not the current one.
    async fn source_verified(&self, assignment: &Assignment, read: Stored) -> Result<(), BrokerError>;

    /// Sends an output file; it becomes visible when the completion that names it is accepted.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// # let letter = blobforge_core::blob::read_bytes("%PDF-1.7");
    /// # queue.submit_stream(blobforge_core::NewJob::new("pdf").unwrap(), letter, 100).await.unwrap();
    /// # let broker: &dyn blobforge_core::broker::Broker = &queue;
    /// # let (worker, types, wait) = (smith.clone(), pdf.to_vec(), std::time::Duration::ZERO);
    /// # let wish = blobforge_core::broker::Wish { worker, types, limit: 1, wait, claim_id: None };
    /// # let work = broker.claim(&wish).await.unwrap().remove(0);
    /// # let folder = tempfile::tempdir().unwrap();
    /// use blobforge_core::broker::Ending;
    /// let file = folder.path().join("text.md");
    /// std::fs::write(&file, "# Letter").unwrap();
    /// let output = broker.put_output(&work, "text.md", &file).await.unwrap();
    /// assert!(queue.output(work.job, "text.md").await.is_err(), "nobody sees it yet");
    /// let done = Ending::Complete { outputs: vec![output], result: None };
    /// broker.finish(&work, done).await.unwrap();
    /// assert!(queue.output(work.job, "text.md").await.is_ok());
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the name is not a [good one](crate::file_name), the lease is not the current one, or the file cannot be read.
    async fn put_output(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<Output, BrokerError>;

    /// Sends and keeps a partial result; it survives the attempt.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// # let letter = blobforge_core::blob::read_bytes("%PDF-1.7");
    /// # queue.submit_stream(blobforge_core::NewJob::new("pdf").unwrap(), letter, 100).await.unwrap();
    /// # let broker: &dyn blobforge_core::broker::Broker = &queue;
    /// # let (worker, types, wait) = (smith.clone(), pdf.to_vec(), std::time::Duration::ZERO);
    /// # let wish = blobforge_core::broker::Wish { worker, types, limit: 1, wait, claim_id: None };
    /// # let work = broker.claim(&wish).await.unwrap().remove(0);
    /// # let folder = tempfile::tempdir().unwrap();
    /// use blobforge_core::broker::Ending;
    /// use futures_util::TryStreamExt;
    /// let file = folder.path().join("pages.json");
    /// std::fs::write(&file, "[1, 2, 3]").unwrap();
    /// broker.put_checkpoint(&work, "pages.json", &file).await.unwrap();
    /// broker.finish(&work, Ending::Release).await.unwrap();
    ///
    /// let next = broker.claim(&wish).await.unwrap().remove(0);
    /// let kept = broker.checkpoint(&next, &next.checkpoints[0]).await.unwrap();
    /// assert_eq!(kept.try_collect::<Vec<_>>().await.unwrap().concat(), b"[1, 2, 3]");
    /// # });
    /// ```
    ///
    /// # Errors
    /// As [`Broker::put_output`].
    async fn put_checkpoint(
        &self,
        assignment: &Assignment,
        name: &str,
        file: &Path,
    ) -> Result<(), BrokerError>;

    /// A partial result of an earlier attempt as a stream.
    ///
    /// As in [`Broker::put_checkpoint`].
    ///
    /// # Errors
    /// When its file cannot be had.
    async fn checkpoint(
        &self,
        assignment: &Assignment,
        checkpoint: &Checkpoint,
    ) -> Result<ByteStream, BrokerError>;
}

/// What a worker is told when it registers.
///
/// As in [`Broker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// How often to send a heartbeat.
    pub heartbeat_every: Duration,
    /// For how long a lease is good without one.
    pub lease: Duration,
}

/// What work a worker wants.
///
/// As in [`Broker`].
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who wants it.
    pub worker: WorkerId,
    /// Of which types.
    pub types: Vec<JobType>,
    /// At most this many jobs.
    pub limit: usize,
    /// How long to wait for the first one.
    pub wait: Duration,
    /// A name for this claim of at most 255 printable bytes: repeated, it gets what it got before and still holds,
    /// rather than more.
    pub claim_id: Option<String>,
}

/// A job to be run, and the right to run it.
///
/// As in [`Broker::source`].
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Which job.
    pub job: JobId,
    /// Of which type.
    pub job_type: JobType,
    /// What the submitter said.
    pub body: Body,
    /// Its source, if it has one.
    pub source: Option<AssignedSource>,
    /// How many runs have failed before.
    pub failures: u32,
    /// How many runs were lost since a checkpoint last advanced: killed, or with their worker. Whoever takes the job then
    /// does well to go by smaller steps.
    pub losses: u32,
    /// At how many it fails for good.
    pub max_attempts: u32,
    /// What to show with every report.
    pub token: LeaseToken,
    /// For how long the lease is good without a heartbeat.
    pub lease: Duration,
    /// Until when it is good, by the queue's clock.
    pub expires_at: Timestamp,
    /// What earlier attempts left to go on from.
    pub checkpoints: Vec<Checkpoint>,
    /// After how long without progress, checkpoint or output the worker stops the attempt; `None` for never.
    pub no_progress: Option<Duration>,
}

/// A source to be read.
///
/// As in [`Broker::source`].
#[derive(Clone, Debug)]
pub struct AssignedSource {
    /// Where it is: a key for the embedded queue, a URL for a remote one.
    pub location: String,
    /// Its size in bytes.
    pub size: Option<u64>,
    /// Its hash.
    pub sha256: Option<Sha256>,
    /// The hash was found by reading the whole file.
    pub verified: bool,
}

/// How a worker ends an attempt.
///
/// As in [`Broker`].
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// The work is done.
    Complete {
        /// The files it made, each put before.
        outputs: Vec<Output>,
        /// A small result.
        result: Option<Value>,
    },
    /// The handler failed.
    Fail {
        /// Why.
        failure: Failure,
        /// Whether another run could do better.
        retryable: bool,
    },
    /// What did the work was killed, for lack of memory or by the machine: a loss, with the evidence.
    Crash(Failure),
    /// The worker stops; the job keeps its place in line.
    Release,
    /// The handler asks to be called again so long after this is accepted.
    Snooze(Duration),
}

/// Why a broker did not do what a worker asked.
///
/// As in [`BrokerError::is_retryable`].
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The lease is not the current one: stop the work, report nothing more.
    #[error("{0}")]
    LeaseLost(String),
    /// The queue does not know this worker: register again.
    #[error("{0}")]
    NotRegistered(String),
    /// Another live process has this worker's id.
    #[error("{0}")]
    WorkerInUse(String),
    /// The credentials do not allow it.
    #[error("{0}")]
    Unauthorized(String),
    /// The request makes no sense to the queue; repeating it will not help.
    #[error("{0}")]
    Refused(String),
    /// The queue or the way to it is not there now; trying again may help.
    #[error("{0}")]
    Unavailable(String),
    /// A local file could not be read or written.
    #[error("a local file failed: {0}")]
    LocalFile(#[from] std::io::Error),
}

impl BrokerError {
    /// Whether the same call can succeed later.
    ///
    /// ```
    /// use blobforge_core::broker::BrokerError;
    /// assert!(BrokerError::Unavailable("no route to the service".to_owned()).is_retryable());
    /// assert!(!BrokerError::LeaseLost("another worker has it".to_owned()).is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

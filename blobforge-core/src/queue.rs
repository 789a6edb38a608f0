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
mod types;
#[cfg(feature = "sqlite")]
mod within;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::{broadcast, mpsc};

pub use admission::{MAX_BEAT, MAX_OUTPUTS, MAX_RECORDS};
pub use builder::QueueBuilder;
pub use bulk::{Action, BulkOutcome, MAX_BULK_IDS, Refusals, Selection};
pub use driver::Halted;
pub use error::QueueError;
pub use feed::{Feed, Notice};
pub use files::{SIGNED_URL_LIFETIME, UPLOAD_LIMIT};
pub use garbage::{Garbage, MIN_KEPT};
pub use meter::{Measure, Meter};
pub use obstacle::Obstacle;
pub use types::MAX_TYPE_CHANGES;

use crate::{
    Clock, Entropy, Failure, FailureGroup, Finished, Job, JobId, JobType, LeaseSecret, LeaseToken, NewJob,
    Priority, Registration, RetryPolicy, Status, Timestamp, TypeRecord, TypeSettings, WorkerId, WorkerRecord,
    blob::{BlobStore, keys},
    broker::Wish,
    storage::{
        Attempt, Beat, BeatReply, Claim, Claimed, Command, Counts, Done, JobFilter, JobPage, Refusal, Report,
        Storage, Submit, Submitted,
    },
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

    /// Takes a job in.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, Status};
    /// let submitted = queue.submit(NewJob::new("pdf").unwrap().tag("invoices")).await.unwrap();
    /// assert_eq!((submitted.id.get(), submitted.status, submitted.existing), (1, Status::Pending, false));
    ///
    /// let refused = queue.submit(NewJob::new("pdf").unwrap().max_attempts(0)).await.unwrap_err();
    /// assert_eq!(refused.to_string(), "max_attempts: 0 is out of bounds: use 1 to 1000");
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the job is not valid, or the store cannot take it.
    pub async fn submit(&self, job: NewJob) -> Result<Submitted, QueueError> {
        match self.run(self.submission(job)?).await? {
            Done::Submitted(submitted) => Ok(submitted),
            other => Err(QueueError::unexpected(&other)),
        }
    }

    /// Takes many jobs in, in one durable step as far as batches reach; the results come in the same order.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, queue::MAX_SUBMIT};
    /// let page = |number| NewJob::new("page").unwrap().param("number", number);
    /// let submitted = queue.submit_many((1..=3).map(page).collect()).await.unwrap();
    /// assert!(submitted.len() == 3 && submitted.iter().all(Result::is_ok));
    ///
    /// let too_many = vec![page(1); MAX_SUBMIT + 1];
    /// assert!(queue.submit_many(too_many).await.is_err());
    /// assert_eq!(queue.counts().await.unwrap().total(), 3, "none of them was taken in");
    /// # });
    /// ```
    ///
    /// # Errors
    /// When there are more than [`MAX_SUBMIT`], or one of them is not valid: then none is taken in.
    pub async fn submit_many(
        &self,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Result<Submitted, QueueError>>, QueueError> {
        if jobs.len() > MAX_SUBMIT {
            let reason = format!("{} are too many at once: at most {MAX_SUBMIT}", jobs.len());
            return Err(crate::Invalid::new("jobs", reason).into());
        }
        let admitted = |job| Ok::<_, QueueError>(admission::admitted(self.submission(job)?)?);
        let submissions = jobs.into_iter().map(admitted).collect::<Result<Vec<_>, _>>()?;
        let waiting: Vec<_> = submissions.into_iter().map(|command| self.enqueue(command, None)).collect();
        let mut results = Vec::with_capacity(waiting.len());
        for reply in waiting {
            results.push(match driver::receive(reply).await {
                Ok(Done::Submitted(submitted)) => Ok(submitted),
                Ok(other) => Err(QueueError::unexpected(&other)),
                Err(error) => Err(error),
            });
        }
        Ok(results)
    }

    fn submission(&self, job: NewJob) -> Result<Command, QueueError> {
        let upload_key = keys::source(&self.drawn_id()?);
        let default_max_attempts = self.shared.settings.max_attempts;
        Ok(Command::Submit(Box::new(Submit { job, upload_key, default_max_attempts })))
    }

    /// Takes up to `limit` jobs of these types for a registered worker, at most [`MAX_CLAIM`], and waits up to `wait` for
    /// the first one.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// use blobforge_core::{NewJob, queue::MAX_CLAIM};
    /// use std::time::Duration;
    /// for page in 1..=3 {
    ///     queue.submit(NewJob::new("pdf").unwrap().param("page", page)).await.unwrap();
    /// }
    /// let first = queue.claim(&smith, &pdf, 2, Duration::ZERO).await.unwrap();
    /// assert_eq!((first.len(), &first[0].job.body.params["page"]), (2, &1.into()));
    /// // Who asks for more than MAX_CLAIM gets that many at most.
    /// let rest = queue.claim(&smith, &pdf, MAX_CLAIM + 1, Duration::ZERO).await.unwrap();
    /// assert_eq!(rest.len(), 1);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When no job or no type is asked for, the worker is not registered, or the store fails.
    pub async fn claim(
        &self,
        worker: &WorkerId,
        types: &[JobType],
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<Claimed>, QueueError> {
        let (worker, types) = (worker.clone(), types.to_vec());
        self.claim_wish(Wish { worker, types, limit, wait, claim_id: None }).await
    }

    /// As [`Queue::claim`], for a wish that may have a name: repeated under the same [`Wish::claim_id`] it renews and
    /// returns the leases that it got, as far as they are still held, rather than taking more. For workers whose reply
    /// may get lost.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use std::time::Duration;
    /// use blobforge_core::{JobType, NewJob, Queue, Registration, WorkerId, broker::Wish};
    /// let queue = Queue::builder().open_in_memory().unwrap();
    /// # let json = serde_json::json!({"id": "smith", "types": ["greet"], "instance": "first"});
    /// # let registration: Registration = serde_json::from_value(json).unwrap();
    /// # queue.register(registration).await.unwrap();
    /// for _ in 0..2 {
    ///     queue.submit(NewJob::new("greet").unwrap()).await.unwrap();
    /// }
    /// let wish = Wish {
    ///     worker: WorkerId::new("smith").unwrap(),
    ///     types: vec![JobType::new("greet").unwrap()],
    ///     limit: 1,
    ///     wait: Duration::ZERO,
    ///     claim_id: Some("the first of today".to_owned()),
    /// };
    /// let first = queue.claim_wish(wish.clone()).await.unwrap();
    /// let again = queue.claim_wish(wish).await.unwrap();
    /// assert_eq!((again.len(), again[0].token), (1, first[0].token));
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the wish asks for no job or of no type, or its name is not 1 to 255 printable bytes; when the worker is not
    /// registered, or the store fails.
    pub async fn claim_wish(&self, wish: Wish) -> Result<Vec<Claimed>, QueueError> {
        let Wish { worker, types, limit, wait, claim_id } = wish;
        let secrets = (0..limit.min(MAX_CLAIM))
            .map(|_| LeaseSecret::draw(&*self.shared.entropy))
            .collect::<Result<Vec<_>, _>>()
            .map_err(QueueError::Randomness)?;
        let claim = Claim { worker, types, secrets, lease: self.shared.settings.lease, claim_id };
        let deadline = (!wait.is_zero()).then(|| self.shared.clock.uptime().saturating_add(wait));
        match driver::receive(self.send(Command::Claim(claim), deadline)).await? {
            Done::Claimed(claimed) => Ok(claimed),
            other => Err(QueueError::unexpected(&other)),
        }
    }

    /// Renews leases, keeps what they say of their progress, and says what became of them.
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
    /// use blobforge_core::{Progress, storage::{Beat, HeldLease, LeaseState}};
    /// let id = claimed.job.id;
    /// let progress = Progress { done: 3, total: Some(12), ..Progress::default() };
    /// let held = HeldLease { job: id, token: claimed.token, progress: Some(progress), log_tail: None };
    /// let reply = queue.heartbeat(Beat { worker: smith, leases: vec![held] }).await.unwrap();
    /// assert_eq!(reply.leases, [(id, LeaseState::Held)]);
    /// assert_eq!(queue.job(id).await.unwrap().progress.unwrap().done, 3);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the worker is not registered, or the store fails.
    pub async fn heartbeat(&self, beat: Beat) -> Result<BeatReply, QueueError> {
        match self.run(Command::Heartbeat(beat)).await? {
            Done::Beat(reply) => Ok(reply),
            other => Err(QueueError::unexpected(&other)),
        }
    }

    /// Ends an attempt. Repeating it gets the same reply.
    ///
    /// A result is small: at most [`MAX_RESULT_BYTES`](crate::MAX_RESULT_BYTES) of JSON. A failure is cut to
    /// [`MAX_FAILURE_MESSAGE_BYTES`](crate::MAX_FAILURE_MESSAGE_BYTES) of message,
    /// [`MAX_FAILURE_DETAILS_BYTES`](crate::MAX_FAILURE_DETAILS_BYTES) of details, and the last
    /// [`MAX_LOG_TAIL_BYTES`](crate::MAX_LOG_TAIL_BYTES) of its log; but its kind has to be
    /// [a good one](crate::check_failure_kind).
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
    /// use blobforge_core::{Status, storage::Report};
    /// use serde_json::json;
    /// let done = Report::Complete { outputs: Vec::new(), result: Some(json!({"pages": 12})) };
    /// let finished = queue.report(claimed.job.id, claimed.token, done.clone()).await.unwrap();
    /// assert_eq!(finished.status, Status::Completed);
    /// // The reply may get lost: to report the same again is harmless.
    /// assert_eq!(queue.report(claimed.job.id, claimed.token, done).await.unwrap(), finished);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the result is too large or a failure's kind is none (the attempt goes on, and can be reported otherwise), the
    /// lease is not the current one, or the store fails.
    pub async fn report(
        &self,
        job: JobId,
        token: LeaseToken,
        report: Report,
    ) -> Result<Finished, QueueError> {
        match self.run(Command::Report { job, token, report: Box::new(report) }).await? {
            Done::Finished(finished) => Ok(finished),
            other => Err(QueueError::unexpected(&other)),
        }
    }

    /// Reports a failure under the queue's retry policy.
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
    /// use blobforge_core::{Failure, Status};
    /// let failure = Failure::new("gpu_busy", "Another program holds the GPU.");
    /// let finished = queue.fail(claimed.job.id, claimed.token, failure, true).await.unwrap();
    /// assert_eq!(finished.status, Status::Pending);
    /// assert!(finished.ready_at.unwrap() > queue.now(), "it waits before it runs again");
    /// # });
    /// ```
    ///
    /// # Errors
    /// As [`Queue::report`].
    pub async fn fail(
        &self,
        job: JobId,
        token: LeaseToken,
        failure: Failure,
        retryable: bool,
    ) -> Result<Finished, QueueError> {
        let mut bits = [0; 2];
        self.shared.entropy.fill(&mut bits).map_err(QueueError::Randomness)?;
        let jitter = crate::Jitter::from_bits(u16::from_ne_bytes(bits));
        let policy = self.shared.settings.retry;
        self.report(job, token, Report::Fail { failure, retryable, policy, jitter }).await
    }

    /// Calls a job off: at once if it waits, by the next heartbeat if it runs.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, Priority, Status};
    /// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
    /// assert_eq!(queue.cancel(id).await.unwrap().status(), Status::Cancelled);
    /// assert!(queue.reprioritise(id, Priority::High).await.is_err(), "it has ended");
    /// assert_eq!(queue.retry(id).await.unwrap().status(), Status::Pending);
    /// assert_eq!(queue.reprioritise(id, Priority::High).await.unwrap().priority, Priority::High);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When there is no such job, or it has ended.
    pub async fn cancel(&self, job: JobId) -> Result<Job, QueueError> {
        self.change(Command::Cancel(job)).await
    }

    /// Runs an ended job again, with its counters at zero.
    ///
    /// As in [`Queue::cancel`].
    ///
    /// # Errors
    /// When there is no such job, or it has not failed or been cancelled.
    pub async fn retry(&self, job: JobId) -> Result<Job, QueueError> {
        self.change(Command::Retry(job)).await
    }

    /// Changes how urgent a job is.
    ///
    /// As in [`Queue::cancel`].
    ///
    /// # Errors
    /// When there is no such job, or it has ended.
    pub async fn reprioritise(&self, job: JobId, priority: Priority) -> Result<Job, QueueError> {
        self.change(Command::Reprioritise(job, priority)).await
    }

    /// Forgets a job that has ended. Its files are deleted some time later, as far as no other job has them.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{NewJob, Queue};
    /// let queue = Queue::builder().open_in_memory().unwrap();
    /// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
    /// assert!(queue.delete(id).await.is_err(), "it has not ended");
    /// queue.cancel(id).await.unwrap();
    /// queue.delete(id).await.unwrap();
    /// assert_eq!(queue.get(id).await.unwrap(), None);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When there is no such job, or it has not ended: cancel it first.
    pub async fn delete(&self, job: JobId) -> Result<(), QueueError> {
        self.run(Command::Delete(job)).await.map(drop)
    }

    /// Changes what holds for all jobs of a type, from now on; it is kept in the store.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{JobType, Limits, Queue, TypeSettings};
    /// let queue = Queue::builder().open_in_memory().unwrap();
    /// let pdf = JobType::new("pdf").unwrap();
    /// let limits = Limits { running: Some(2), starts: None };
    /// queue.set_type(pdf, TypeSettings { limits, ..TypeSettings::default() }).await.unwrap();
    /// assert_eq!(queue.types().await.unwrap()[0].settings.limits, limits);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When a setting is out of bounds, or the store fails.
    pub async fn set_type(&self, job_type: JobType, settings: TypeSettings) -> Result<(), QueueError> {
        let settings = Box::new(settings);
        self.run(Command::SetType { job_type, settings }).await.map(drop)
    }

    /// Gives nobody any job of a type until it is resumed; what runs goes on.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// use blobforge_core::NewJob;
    /// use std::time::Duration;
    /// queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
    /// queue.pause(pdf[0].clone()).await.unwrap();
    /// assert!(queue.claim(&smith, &pdf, 1, Duration::ZERO).await.unwrap().is_empty());
    /// queue.resume(pdf[0].clone()).await.unwrap();
    /// assert_eq!(queue.claim(&smith, &pdf, 1, Duration::ZERO).await.unwrap().len(), 1);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the store fails.
    pub async fn pause(&self, job_type: JobType) -> Result<(), QueueError> {
        self.run(Command::SetPaused(job_type, true)).await.map(drop)
    }

    /// Gives jobs of a paused type to workers again.
    ///
    /// As in [`Queue::pause`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn resume(&self, job_type: JobType) -> Result<(), QueueError> {
        self.run(Command::SetPaused(job_type, false)).await.map(drop)
    }

    async fn change(&self, command: Command) -> Result<Job, QueueError> {
        match self.run(command).await? {
            Done::Job(job) => Ok(*job),
            other => Err(QueueError::unexpected(&other)),
        }
    }

    /// Introduces a worker; only a registered one can claim.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{JobType, Registration, WorkerId};
    /// let (smith, pdf) = (WorkerId::new("smith").unwrap(), JobType::new("pdf").unwrap());
    /// let registration = Registration::new(smith, [pdf], "drawn at the start");
    /// queue.register(registration.clone()).await.unwrap();
    /// queue.register(registration.clone()).await.expect("the same process may say it again");
    ///
    /// let other = Registration { instance: "drawn by another".to_owned(), ..registration };
    /// assert!(queue.register(other).await.is_err(), "smith is alive");
    /// # });
    /// ```
    ///
    /// # Errors
    /// When something it says of itself is not valid, or a live process has that id already.
    pub async fn register(&self, registration: Registration) -> Result<(), QueueError> {
        let registration = Box::new(registration);
        self.run(Command::Register { registration, alive_for: self.shared.settings.lease }).await.map(drop)
    }

    /// Gives back what a worker holds and takes it for gone.
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
    /// use blobforge_core::Status;
    /// queue.unregister(smith, Some("drawn at the start".to_owned())).await.unwrap();
    /// assert_eq!(queue.job(claimed.job.id).await.unwrap().status(), Status::Pending);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When there is no such worker, or its instance is another.
    pub async fn unregister(&self, worker: WorkerId, instance: Option<String>) -> Result<(), QueueError> {
        self.run(Command::Unregister { worker, instance }).await.map(drop)
    }

    /// Gives a worker no more work, or gives it work again.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// # let smith = blobforge_core::WorkerId::new("smith").unwrap();
    /// # let pdf = [blobforge_core::JobType::new("pdf").unwrap()];
    /// # let registration = blobforge_core::Registration::new(smith.clone(), pdf.clone(), "drawn at the start");
    /// # queue.register(registration).await.unwrap();
    /// use blobforge_core::NewJob;
    /// use std::time::Duration;
    /// queue.submit(NewJob::new("pdf").unwrap()).await.unwrap();
    /// queue.set_draining(smith.clone(), true).await.unwrap();
    /// assert!(queue.claim(&smith, &pdf, 1, Duration::ZERO).await.unwrap().is_empty());
    /// assert!(queue.workers().await.unwrap()[0].draining);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When there is no such worker.
    pub async fn set_draining(&self, worker: WorkerId, draining: bool) -> Result<(), QueueError> {
        self.run(Command::SetDraining(worker, draining)).await.map(drop)
    }

    /// Forgets a worker; what it holds is free at once.
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
    /// use blobforge_core::Status;
    /// queue.remove_worker(smith).await.unwrap();
    /// assert!(queue.workers().await.unwrap().is_empty());
    /// assert_eq!(queue.job(claimed.job.id).await.unwrap().status(), Status::Pending);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When there is no such worker.
    pub async fn remove_worker(&self, worker: WorkerId) -> Result<(), QueueError> {
        self.run(Command::RemoveWorker(worker)).await.map(drop)
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

    /// One job.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{JobId, NewJob};
    /// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
    /// assert_eq!(queue.job(id).await.unwrap().job_type.as_str(), "pdf");
    /// let nobody = JobId::new(99);
    /// assert_eq!(queue.get(nobody).await.unwrap(), None);
    /// assert!(queue.job(nobody).await.is_err());
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>, QueueError> {
        Ok(self.shared.storage.job(id).await?)
    }

    /// One job that must be there.
    ///
    /// As in [`Queue::get`].
    ///
    /// # Errors
    /// When there is no such job, or the store fails.
    pub async fn job(&self, id: JobId) -> Result<Job, QueueError> {
        self.get(id).await?.ok_or(QueueError::Refused(Refusal::NoSuchJob(id)))
    }

    /// Jobs that match, newest first.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, storage::JobFilter};
    /// for tag in ["invoice", "letter", "invoice"] {
    ///     queue.submit(NewJob::new("pdf").unwrap().tag(tag)).await.unwrap();
    /// }
    /// let invoices = JobFilter { tag: Some("invoice".to_owned()), ..JobFilter::all(1) };
    /// let page = queue.list(&invoices).await.unwrap();
    /// assert_eq!(page.items[0].id.get(), 3);
    /// let page = queue.list(&JobFilter { below: page.next, ..invoices }).await.unwrap();
    /// assert_eq!(page.items[0].id.get(), 1);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, filter: &JobFilter) -> Result<JobPage, QueueError> {
        Ok(self.shared.storage.jobs(filter).await?)
    }

    /// The attempts of a job, the first one first: a running one, and of those that have ended the last
    /// [`MAX_ATTEMPTS_KEPT`](crate::storage::MAX_ATTEMPTS_KEPT).
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
    /// use blobforge_core::{End, storage::Report};
    /// queue.report(claimed.job.id, claimed.token, Report::Release).await.unwrap();
    /// let attempts = queue.history(claimed.job.id).await.unwrap();
    /// assert_eq!((attempts[0].worker.as_str(), attempts[0].end), ("smith", Some(End::Released)));
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the store fails.
    pub async fn history(&self, id: JobId) -> Result<Vec<Attempt>, QueueError> {
        Ok(self.shared.storage.attempts(id).await?)
    }

    /// What goes wrong: the groups of failures of a type, or of all types, the one with most failed jobs first.
    ///
    /// The jobs of a group can be listed, and all of them retried.
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
    /// use blobforge_core::{Failure, queue::{Action, Selection}, storage::JobFilter};
    /// let failure = Failure::new("no_text", "page 17 has no text");
    /// queue.fail(claimed.job.id, claimed.token, failure, false).await.unwrap();
    /// let group = &queue.failure_groups(None, 10).await.unwrap()[0];
    /// assert_eq!((group.jobs, group.message.as_str()), (1, "page <n> has no text"));
    /// let filter = JobFilter { failure_group: Some(group.id), ..JobFilter::default() };
    /// let outcome = queue.bulk(Action::Retry, Selection::Filter(filter), false).await.unwrap();
    /// assert_eq!(outcome.changed, 1);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the store fails.
    pub async fn failure_groups(
        &self,
        job_type: Option<&JobType>,
        limit: usize,
    ) -> Result<Vec<FailureGroup>, QueueError> {
        Ok(self.shared.storage.failure_groups(job_type, limit).await?)
    }

    /// How many jobs there are by type and status.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::{NewJob, Status};
    /// for job_type in ["pdf", "pdf", "thumbnail"] {
    ///     queue.submit(NewJob::new(job_type).unwrap()).await.unwrap();
    /// }
    /// let counts = queue.counts().await.unwrap();
    /// assert_eq!((counts.total(), counts.of_status(Status::Failed)), (3, 0));
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the store fails.
    pub async fn counts(&self) -> Result<Counts, QueueError> {
        Ok(self.shared.storage.counts().await?)
    }

    /// All workers, by id.
    ///
    /// As in [`Queue::set_draining`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>, QueueError> {
        Ok(self.shared.storage.workers().await?)
    }

    /// The types that the store knows, by name, with what holds for them.
    ///
    /// As in [`Queue::set_type`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn types(&self) -> Result<Vec<TypeRecord>, QueueError> {
        Ok(self.shared.storage.types().await?)
    }

    /// What a job waits for, besides its turn; `None` if a live worker can run it, and for a job that does not wait.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let queue = blobforge_core::Queue::in_memory();
    /// use blobforge_core::NewJob;
    /// let id = queue.submit(NewJob::new("pdf").unwrap()).await.unwrap().id;
    /// let job = queue.job(id).await.unwrap();
    /// let obstacle = queue.obstacle(&job).await.unwrap().unwrap();
    /// assert_eq!(obstacle.to_string(), "no live worker serves type pdf: start one");
    /// # });
    /// ```
    ///
    /// # Errors
    /// When the store fails.
    pub async fn obstacle(&self, job: &Job) -> Result<Option<Obstacle>, QueueError> {
        if !matches!(job.status(), Status::Uploading | Status::Pending) {
            return Ok(None);
        }
        let types = self.types().await?;
        let paused = types.iter().any(|known| known.job_type == job.job_type && known.paused);
        Ok(Obstacle::of(job, paused, &self.workers().await?, self.now(), self.shared.settings.lease))
    }

    /// Waits until a job has ended, at most for `limit`; the job as it is then, ended or not.
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
    /// use blobforge_core::{Status, storage::Report};
    /// use std::time::Duration;
    /// let id = claimed.job.id;
    /// let done = Report::Complete { outputs: Vec::new(), result: None };
    /// let (job, _) = tokio::join!(
    ///     queue.wait(id, Duration::from_secs(60)),
    ///     queue.report(id, claimed.token, done),
    /// );
    /// assert_eq!(job.unwrap().status(), Status::Completed);
    /// # });
    /// ```
    ///
    /// # Errors
    /// When there is no such job, or the store fails.
    pub async fn wait(&self, id: JobId, limit: Duration) -> Result<Job, QueueError> {
        let mut feed = self.events();
        let deadline = self.shared.clock.sleep(limit);
        let ended = async {
            loop {
                let job = self.job(id).await?;
                if job.status().is_final() {
                    return Ok(job);
                }
                if !feed.concerns(id).await {
                    return Err(self.shared.halted.error());
                }
            }
        };
        tokio::select! {
            biased;
            ended = ended => ended,
            () = deadline => self.job(id).await,
        }
    }

    /// What happens from now on, as hints: who falls behind is told how much it missed.
    ///
    /// As in [`Feed`].
    pub fn events(&self) -> Feed {
        // Of a queue that has stopped there is nothing to hear: this feed is at its end.
        let notices = self.shared.notices.upgrade().unwrap_or_else(|| broadcast::channel(1).0);
        let feed = Feed::new(notices.subscribe());
        self.shared.listening.notify_one();
        feed
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

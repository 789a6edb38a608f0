//! What a user holds: a queue of jobs, open.

mod broker;
mod builder;
mod bulk;
mod committer;
mod driver;
mod error;
mod feed;
mod files;
mod garbage;
mod obstacle;
mod parked;
#[cfg(feature = "sqlite")]
mod within;

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::{broadcast, mpsc};

pub use builder::QueueBuilder;
pub use bulk::{Action, BulkOutcome, MAX_BULK_IDS, Refusals, Selection};
pub use driver::Halted;
pub use error::QueueError;
pub use feed::{Feed, Notice};
pub use files::{SIGNED_URL_LIFETIME, UPLOAD_LIMIT};
pub use garbage::{Garbage, MIN_KEPT};
pub use obstacle::Obstacle;
#[cfg(feature = "sqlite")]
pub use within::submit_within;

use crate::{
    Clock, Entropy, Failure, FailureGroup, Finished, Job, JobId, JobType, LeaseSecret, LeaseToken, NewJob,
    Priority, Registration, RetryPolicy, Status, Timestamp, TypeRecord, TypeSettings, WorkerId, WorkerRecord,
    blob::{BlobStore, keys},
    broker::Wish,
    inline,
    new_job::printable,
    storage::{
        Attempt, Beat, BeatReply, Claim, Claimed, Command, Counts, Done, JobFilter, JobPage, Refusal, Report,
        Storage, Submit, Submitted,
    },
};
use driver::Request;

/// The most jobs that one claim takes.
pub const MAX_CLAIM: usize = 100;
/// The most jobs that one batch submits.
pub const MAX_SUBMIT: usize = 1000;

/// An open queue. Clones share it; it runs until [`Queue::close`] or until the last clone is dropped.
///
/// Every method that changes something returns once the change is durable. A future that is dropped before then
/// may still take effect: the command was queued.
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
    pub fn heartbeat(&self) -> Duration {
        self.heartbeat_every.min(self.lease / 3)
    }
}

impl Queue {
    /// Opens the queue in this SQLite file, with its files in a folder beside it, or makes it.
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
    pub fn builder() -> QueueBuilder {
        QueueBuilder::default()
    }

    /// Takes a job in.
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
        let submissions = jobs.into_iter().map(|job| self.submission(job)).collect::<Result<Vec<_>, _>>()?;
        let waiting: Vec<_> = submissions.into_iter().map(|command| self.send(command, None)).collect();
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
        job.validate()?;
        let upload_key = keys::source(&self.drawn_id()?);
        let default_max_attempts = self.shared.settings.max_attempts;
        Ok(Command::Submit(Box::new(Submit { job, upload_key, default_max_attempts })))
    }

    /// Takes up to `limit` jobs of these types for a registered worker, and waits up to `wait` for the first one.
    ///
    /// # Errors
    /// When the worker is not registered, or the store fails.
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
    /// When the wish's name is not 1 to 255 printable bytes, the worker is not registered, or the store fails.
    pub async fn claim_wish(&self, wish: Wish) -> Result<Vec<Claimed>, QueueError> {
        let Wish { worker, types, limit, wait, claim_id } = wish;
        claim_id.as_deref().map_or(Ok(()), |id| printable("claim_id", id))?;
        let secrets = (0..limit.clamp(1, MAX_CLAIM))
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
    /// # Errors
    /// When there is no such job, or it has ended.
    pub async fn cancel(&self, job: JobId) -> Result<Job, QueueError> {
        self.change(Command::Cancel(job)).await
    }

    /// Runs an ended job again, with its counters at zero.
    ///
    /// # Errors
    /// When there is no such job, or it has not failed or been cancelled.
    pub async fn retry(&self, job: JobId) -> Result<Job, QueueError> {
        self.change(Command::Retry(job)).await
    }

    /// Changes how urgent a job is.
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
        settings.validate()?;
        let settings = Box::new(settings);
        self.run(Command::SetType { job_type, settings }).await.map(drop)
    }

    /// Gives nobody any job of a type until it is resumed; what runs goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn pause(&self, job_type: JobType) -> Result<(), QueueError> {
        self.run(Command::SetPaused(job_type, true)).await.map(drop)
    }

    /// Gives jobs of a paused type to workers again.
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
    /// # Errors
    /// When its labels or its host are not valid, or a live process has that id already.
    pub async fn register(&self, registration: Registration) -> Result<(), QueueError> {
        registration.validate()?;
        let registration = Box::new(registration);
        self.run(Command::Register { registration, alive_for: self.shared.settings.lease }).await.map(drop)
    }

    /// Gives back what a worker holds and takes it for gone.
    ///
    /// # Errors
    /// When there is no such worker, or its instance is another.
    pub async fn unregister(&self, worker: WorkerId, instance: Option<String>) -> Result<(), QueueError> {
        self.run(Command::Unregister { worker, instance }).await.map(drop)
    }

    /// Gives a worker no more work, or gives it work again.
    ///
    /// # Errors
    /// When there is no such worker.
    pub async fn set_draining(&self, worker: WorkerId, draining: bool) -> Result<(), QueueError> {
        self.run(Command::SetDraining(worker, draining)).await.map(drop)
    }

    /// Forgets a worker; what it holds is free at once.
    ///
    /// # Errors
    /// When there is no such worker.
    pub async fn remove_worker(&self, worker: WorkerId) -> Result<(), QueueError> {
        self.run(Command::RemoveWorker(worker)).await.map(drop)
    }

    /// Carries out any command. What a worker says of a failure or of its progress is cut to what is kept of it.
    ///
    /// # Errors
    /// When it is refused, a result is too large, a failure's kind is none, or the store fails.
    pub async fn run(&self, command: Command) -> Result<Done, QueueError> {
        driver::receive(self.send(inline::bounded(command)?, None)).await
    }

    fn send(&self, command: Command, wait_until: Option<Duration>) -> driver::Waiting {
        driver::send(&self.shared.requests, &self.shared.halted, command, wait_until)
    }

    /// One job.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>, QueueError> {
        Ok(self.shared.storage.job(id).await?)
    }

    /// One job that must be there.
    ///
    /// # Errors
    /// When there is no such job, or the store fails.
    pub async fn job(&self, id: JobId) -> Result<Job, QueueError> {
        self.get(id).await?.ok_or(QueueError::Refused(Refusal::NoSuchJob(id)))
    }

    /// Jobs that match, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, filter: &JobFilter) -> Result<JobPage, QueueError> {
        Ok(self.shared.storage.jobs(filter).await?)
    }

    /// The attempts of a job, the first one first: a running one, and of those that have ended the last
    /// [`MAX_ATTEMPTS_KEPT`](crate::storage::MAX_ATTEMPTS_KEPT).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn history(&self, id: JobId) -> Result<Vec<Attempt>, QueueError> {
        Ok(self.shared.storage.attempts(id).await?)
    }

    /// What goes wrong: the groups of failures of a type, or of all types, the one with most failed jobs first.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use blobforge_core::{Queue, queue::{Action, Selection}, storage::JobFilter};
    /// let queue = Queue::builder().open_in_memory().unwrap();
    /// // The jobs of each group can be listed, and all of them retried.
    /// for group in queue.failure_groups(None, 10).await.unwrap() {
    ///     println!("{} jobs failed: {}", group.jobs, group.message);
    ///     let filter = JobFilter { failure_group: Some(group.id), ..JobFilter::all(100) };
    ///     queue.bulk(Action::Retry, Selection::Filter(filter), false).await.unwrap();
    /// }
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
    /// # Errors
    /// When the store fails.
    pub async fn counts(&self) -> Result<Counts, QueueError> {
        Ok(self.shared.storage.counts().await?)
    }

    /// All workers, by id.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn workers(&self) -> Result<Vec<WorkerRecord>, QueueError> {
        Ok(self.shared.storage.workers().await?)
    }

    /// The types that the store knows, by name, with what holds for them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn types(&self) -> Result<Vec<TypeRecord>, QueueError> {
        Ok(self.shared.storage.types().await?)
    }

    /// What a job waits for, besides its turn; `None` if a live worker can run it, and for a job that does not wait.
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
    pub fn events(&self) -> Feed {
        // Of a queue that has stopped there is nothing to hear: this feed is at its end.
        let notices = self.shared.notices.upgrade().unwrap_or_else(|| broadcast::channel(1).0);
        let feed = Feed::new(notices.subscribe());
        self.shared.listening.notify_one();
        feed
    }

    /// The time by the queue's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// What the queue does unless a job says otherwise.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Where jobs are kept.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.shared.storage
    }

    /// Where files are kept.
    pub fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.shared.blobs
    }

    /// Waits until the queue has stopped because its storage failed, and says how.
    pub async fn halted(&self) -> QueueError {
        self.shared.halted.wait().await;
        self.shared.halted.error()
    }

    /// Takes nothing more in, finishes what was taken in, and stops.
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

//! What workers do: come and go, claim, and report.

use std::time::Duration;

use super::{MAX_CLAIM, Queue, QueueError, driver};
use crate::{
    Failure, Finished, JobId, JobType, LeaseSecret, LeaseToken, Registration, WorkerId,
    broker::Wish,
    storage::{Beat, BeatReply, Claim, Claimed, Command, Done, Report},
};

impl Queue {
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
    /// let held = HeldLease { job: id, token: claimed.token, progress: Some(progress), log_tail: None, ahead: None };
    /// let reply = queue.heartbeat(Beat { worker: smith, leases: vec![held], condition: None }).await.unwrap();
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
        let (policy, jitter) = (self.shared.settings.retry, self.jitter()?);
        self.report(job, token, Report::Fail { failure, retryable, policy, jitter }).await
    }

    /// Says that what did the work was killed, for lack of memory or by the machine: a loss and no failure. The job runs
    /// again after a while, and [`MAX_LOSSES`](crate::MAX_LOSSES) times without advancing a checkpoint end it, with this as
    /// the evidence.
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
    /// let failure = Failure::new("host_oom", "The converter was killed at 31 GB.");
    /// let finished = queue.crash(claimed.job.id, claimed.token, failure).await.unwrap();
    /// assert_eq!(finished.status, Status::Pending);
    /// let job = queue.job(claimed.job.id).await.unwrap();
    /// assert_eq!((job.life.failures, job.life.losses), (0, 1));
    /// # });
    /// ```
    ///
    /// # Errors
    /// As [`Queue::report`].
    pub async fn crash(
        &self,
        job: JobId,
        token: LeaseToken,
        failure: Failure,
    ) -> Result<Finished, QueueError> {
        let (policy, jitter) = (self.shared.settings.retry, self.jitter()?);
        self.report(job, token, Report::Crash { failure, policy, jitter }).await
    }

    fn jitter(&self) -> Result<crate::Jitter, QueueError> {
        let mut bits = [0; 2];
        self.shared.entropy.fill(&mut bits).map_err(QueueError::Randomness)?;
        Ok(crate::Jitter::from_bits(u16::from_ne_bytes(bits)))
    }
}

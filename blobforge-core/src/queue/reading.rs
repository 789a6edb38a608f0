//! What there is, and what becomes of it.

use std::time::Duration;

use tokio::sync::broadcast;

use super::{Feed, Obstacle, Queue, QueueError};
use crate::{
    FailureGroup, Job, JobId, JobType, Status, TypeRecord, WorkerRecord,
    storage::{Attempt, Counts, Hour, JobFilter, JobPage, Refusal},
};

impl Queue {
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

    /// How many jobs ended in each of the last hours, by type and then by time.
    ///
    /// As in [`Hour`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn hours(&self) -> Result<Vec<(JobType, Hour)>, QueueError> {
        Ok(self.shared.storage.hours().await?)
    }

    /// How many jobs stand before one in line; `None` of one that stands in no line.
    ///
    /// As in [`Storage::ahead`](crate::storage::Storage::ahead).
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ahead(&self, id: JobId) -> Result<Option<u64>, QueueError> {
        Ok(self.shared.storage.ahead(id).await?)
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
}

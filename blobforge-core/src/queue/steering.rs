//! What people do with jobs and types that are there.

use super::{Queue, QueueError};
use crate::{
    Job, JobId, JobType, Priority, TypeSettings,
    storage::{Command, Done},
};

impl Queue {
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

    pub(super) async fn change(&self, command: Command) -> Result<Job, QueueError> {
        match self.run(command).await? {
            Done::Job(job) => Ok(*job),
            other => Err(QueueError::unexpected(&other)),
        }
    }
}

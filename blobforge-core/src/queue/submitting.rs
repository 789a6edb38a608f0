//! Jobs are handed in.

use super::{MAX_SUBMIT, Queue, QueueError, admission, driver};
use crate::{
    NewJob,
    blob::keys,
    storage::{Command, Done, Submit, Submitted},
};

impl Queue {
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

    pub(super) fn submission(&self, job: NewJob) -> Result<Command, QueueError> {
        let upload_key = keys::source(&self.drawn_id()?);
        let default_max_attempts = self.shared.settings.max_attempts;
        Ok(Command::Submit(Box::new(Submit { job, upload_key, default_max_attempts })))
    }
}

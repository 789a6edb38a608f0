//! Why a queue did not do something.

use crate::{
    Invalid, Refused,
    blob::BlobError,
    storage::{Done, Refusal, StorageError},
};

/// Why a queue did not do something.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # let queue = blobforge_core::Queue::in_memory();
/// use blobforge_core::{JobId, QueueError, storage::Refusal};
/// let error = queue.job(JobId::new(7)).await.unwrap_err();
/// assert!(matches!(error, QueueError::Refused(Refusal::NoSuchJob(_))));
/// assert_eq!(error.to_string(), "there is no job 7");
/// # });
/// ```
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// What was asked for is not valid.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The state of things does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too much is waiting to be written.
    #[error("the queue is busy: {0} requests wait to be written. Nothing was changed; try again")]
    Busy(usize),
    /// The store could not do it, or failed for good and stopped the queue.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file could not be moved.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The system has no randomness to give.
    #[error("the system has no randomness to give")]
    Randomness(#[source] std::io::Error),
    /// A store answered a command with what belongs to another one.
    #[error("the storage backend broke its contract: it answered {0}")]
    Contract(String),
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
}

impl QueueError {
    pub(crate) fn unexpected(done: &Done) -> Self {
        Self::Contract(format!("{done:?}"))
    }

    /// Whether the same call can succeed later without anybody repairing something.
    ///
    /// ```
    /// use blobforge_core::QueueError;
    /// assert!(QueueError::Busy(8192).is_retryable());
    /// assert!(!QueueError::Closed.is_retryable());
    /// ```
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy(_) => true,
            Self::Storage(error) => error.is_retryable(),
            Self::Blob(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether a report came under a lease that is not the current one.
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
    /// use blobforge_core::storage::Report;
    /// queue.remove_worker(smith).await.unwrap();
    /// let late = queue.report(claimed.job.id, claimed.token, Report::Release).await;
    /// assert!(late.is_err_and(|error| error.is_lease_lost()));
    /// # });
    /// ```
    pub fn is_lease_lost(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Lifecycle(Refused::LeaseLost { .. })))
    }
}

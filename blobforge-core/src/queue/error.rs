//! Why a queue did not do something.

use crate::{
    Invalid, Refused,
    blob::BlobError,
    storage::{Done, Refusal, StorageError},
};

/// Why a queue did not do something.
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
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy(_) => true,
            Self::Storage(error) => error.is_retryable(),
            Self::Blob(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// Whether a report came under a lease that is not the current one.
    pub fn is_lease_lost(&self) -> bool {
        matches!(self, Self::Refused(Refusal::Lifecycle(Refused::LeaseLost { .. })))
    }
}

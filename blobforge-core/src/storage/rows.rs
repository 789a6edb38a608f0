//! What a backend does for [`super::execute`]: select, insert, update and delete, and nothing that decides.

use serde_json::Value;

use crate::{
    Checkpoint, EndedLease, Epoch, Failure, Generation, Job, JobId, JobType, Priority, Progress, Sha256,
    Status, Timestamp, WorkerId, WorkerRecord,
};

/// A job's place among those of its type that may run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) priority: Priority,
    pub(super) ready_at: Timestamp,
    pub(super) id: JobId,
}

impl Place {
    pub(super) fn of(job: &Job) -> Self {
        Self { priority: job.priority, ready_at: job.life.ready_at, id: job.id }
    }
}

/// An attempt that has ended, as it is kept.
#[derive(Clone, Debug)]
pub(super) struct AttemptRow {
    pub(super) lease: EndedLease,
    pub(super) worker: WorkerId,
    pub(super) started_at: Timestamp,
    pub(super) ended_at: Timestamp,
    pub(super) failure: Option<Failure>,
    pub(super) progress: Option<Progress>,
}

/// The rows of a store within one transaction.
pub(super) trait Rows {
    type Error;

    fn generation(&self) -> Generation;

    fn job(&mut self, id: JobId) -> Result<Option<Job>, Self::Error>;
    /// Inserts a job that is not running; its id is ignored, and the new one returned.
    fn insert_job(&mut self, job: &Job) -> Result<JobId, Self::Error>;
    /// Makes the row of `before` that of `after`, lease included.
    fn update_job(&mut self, before: &Job, after: &Job) -> Result<(), Self::Error>;

    /// Puts a job into the line of its type.
    fn push_ready(&mut self, job_type: &JobType, place: &Place) -> Result<(), Self::Error>;
    /// Takes it out, if it is there.
    fn remove_ready(&mut self, job_type: &JobType, place: &Place) -> Result<bool, Self::Error>;
    /// The first in the line of a type.
    fn first_ready(&mut self, job_type: &JobType) -> Result<Option<Place>, Self::Error>;

    fn push_scheduled(&mut self, at: Timestamp, id: JobId) -> Result<(), Self::Error>;
    fn remove_scheduled(&mut self, at: Timestamp, id: JobId) -> Result<(), Self::Error>;
    /// Jobs scheduled up to `now`, the earliest first.
    fn due_scheduled(&mut self, now: Timestamp, limit: usize)
    -> Result<Vec<(Timestamp, JobId)>, Self::Error>;
    fn next_scheduled(&mut self) -> Result<Option<Timestamp>, Self::Error>;

    /// Running jobs whose lease has expired and was not marked so, the earliest first.
    fn due_leases(&mut self, now: Timestamp, limit: usize) -> Result<Vec<JobId>, Self::Error>;
    fn next_lease_expiry(&mut self) -> Result<Option<Timestamp>, Self::Error>;
    fn leases_of(&mut self, worker: &WorkerId) -> Result<Vec<JobId>, Self::Error>;
    /// Uploading jobs last changed up to `before`, the oldest first.
    fn stale_uploads(&mut self, before: Timestamp, limit: usize) -> Result<Vec<JobId>, Self::Error>;

    fn insert_attempt(&mut self, job: JobId, attempt: &AttemptRow) -> Result<(), Self::Error>;
    fn ended_lease(&mut self, job: JobId, epoch: Epoch) -> Result<Option<EndedLease>, Self::Error>;

    fn checkpoints(&mut self, job: JobId) -> Result<Vec<Checkpoint>, Self::Error>;
    fn put_checkpoint(&mut self, job: JobId, checkpoint: &Checkpoint) -> Result<(), Self::Error>;
    fn delete_checkpoints(&mut self, job: JobId) -> Result<(), Self::Error>;

    /// The job that does this work, if one is known in this scope.
    fn duplicate(&mut self, work: &[u8; 32], scope: &str) -> Result<Option<JobId>, Self::Error>;
    /// Remembers who does this work, unless somebody does already.
    fn put_duplicate(&mut self, work: &[u8; 32], scope: &str, job: JobId) -> Result<(), Self::Error>;
    /// Where verified content lies.
    fn content(&mut self, sha256: &Sha256) -> Result<Option<(String, u64)>, Self::Error>;
    fn put_content(&mut self, sha256: &Sha256, key: &str, size: u64) -> Result<(), Self::Error>;

    fn put_file(&mut self, key: &str, job: Option<JobId>, at: Timestamp) -> Result<(), Self::Error>;
    fn has_file(&mut self, key: &str) -> Result<bool, Self::Error>;

    /// Whether a worker is registered, and if so whether it is draining.
    fn is_draining(&mut self, id: &WorkerId) -> Result<Option<bool>, Self::Error>;
    fn worker(&mut self, id: &WorkerId) -> Result<Option<WorkerRecord>, Self::Error>;
    fn put_worker(&mut self, worker: &WorkerRecord) -> Result<(), Self::Error>;
    fn touch_worker(&mut self, id: &WorkerId, now: Timestamp) -> Result<(), Self::Error>;
    fn delete_worker(&mut self, id: &WorkerId) -> Result<(), Self::Error>;

    fn put_record(&mut self, collection: &str, key: &str, value: &Value) -> Result<(), Self::Error>;
    fn delete_record(&mut self, collection: &str, key: &str) -> Result<(), Self::Error>;

    fn add_count(&mut self, job_type: &JobType, status: Status, change: i64) -> Result<(), Self::Error>;
}

impl AttemptRow {
    /// What of it is anybody's to see.
    pub(super) fn to_attempt(&self) -> super::Attempt {
        super::Attempt {
            epoch: self.lease.token.epoch,
            worker: self.worker.clone(),
            started_at: self.started_at,
            ended_at: Some(self.ended_at),
            end: Some(self.lease.end),
            failure: self.failure.clone(),
            progress: self.progress.clone(),
        }
    }
}

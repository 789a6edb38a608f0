//! The rows that remember: which submission was named how, what went wrong how often, and what handlers said.

use super::LaneRows;
use crate::{FailureGroupId, JobId, JobType, Timestamp, failure_group::Sameness};

/// A submission that was given a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::storage) struct KeyRow {
    /// A hash of everything that the submitter said.
    pub(in crate::storage) fingerprint: [u8; 32],
    /// The job that it got, which may be deleted since.
    pub(in crate::storage) job: JobId,
    pub(in crate::storage) expires_at: Timestamp,
}

/// The keys of submissions, each in the scope of its submitter.
pub(in crate::storage) trait KeyRows: LaneRows {
    /// Also one whose time is over.
    fn submission_key(&mut self, scope: &str, key: &str) -> Result<Option<KeyRow>, Self::Error>;
    /// Inserts or replaces.
    fn put_submission_key(&mut self, scope: &str, key: &str, row: &KeyRow) -> Result<(), Self::Error>;
    fn delete_submission_key(&mut self, scope: &str, key: &str) -> Result<(), Self::Error>;
    /// Those whose time is over at `now`, as scope and key, the earliest first.
    fn expired_submission_keys(
        &mut self,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Self::Error>;
}

/// What the handlers of running attempts said last, apart from the rows that every heartbeat rewrites.
pub(in crate::storage) trait LogRows: LaneRows {
    /// Inserts or replaces.
    fn put_log(&mut self, job: JobId, log_tail: &str) -> Result<(), Self::Error>;
    /// Deletes it, and says what it was.
    fn take_log(&mut self, job: JobId) -> Result<Option<String>, Self::Error>;
}

/// The groups of failures.
pub(in crate::storage) trait FailureGroupRows: LaneRows {
    fn failure_group(
        &mut self,
        job_type: &JobType,
        same: &Sameness,
    ) -> Result<Option<FailureGroupId>, Self::Error>;
    /// How many groups a type has.
    fn failure_groups_of(&mut self, job_type: &JobType) -> Result<usize, Self::Error>;
    /// Inserts a group without jobs and failures.
    fn insert_failure_group(
        &mut self,
        job_type: &JobType,
        same: &Sameness,
        at: Timestamp,
    ) -> Result<FailureGroupId, Self::Error>;
    /// One more in it at `now`: a failed attempt, a failed job, or both.
    fn add_to_failure_group(
        &mut self,
        id: FailureGroupId,
        jobs: u32,
        failures: u32,
        now: Timestamp,
    ) -> Result<(), Self::Error>;
    /// The group of a type that was met longest ago, of those in which no job is failed now.
    fn unused_failure_group(&mut self, job_type: &JobType) -> Result<Option<FailureGroupId>, Self::Error>;
    fn delete_failure_group(&mut self, id: FailureGroupId) -> Result<(), Self::Error>;
    /// One job of it is not failed any more.
    fn leave_failure_group(&mut self, id: FailureGroupId) -> Result<(), Self::Error>;
}

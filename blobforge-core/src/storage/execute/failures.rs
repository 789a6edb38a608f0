//! Keeping count of what goes wrong.

use super::Batch;
use crate::{
    FailureGroupId, Job, JobType, MAX_FAILURE_GROUPS, Status, failure_group::Sameness, storage::rows::Rows,
};

impl<R: Rows> Batch<'_, R> {
    /// Counts what a step made fail: an attempt, a job, or both. What failed nothing costs nothing.
    pub(super) fn count_failure(
        &mut self,
        before: &Job,
        after: &mut Job,
        attempt_failed: bool,
    ) -> Result<(), R::Error> {
        let is_failed = after.status() == Status::Failed;
        if !is_failed {
            self.leave_group(before)?;
            after.failure_group = None;
        }
        let job_failed = is_failed && before.status() != Status::Failed;
        let Some(failure) = after.last_error.as_ref().filter(|_| attempt_failed || job_failed) else {
            return Ok(());
        };
        let same = Sameness::of(failure);
        let id = self.group(&after.job_type, &same)?;
        self.rows.add_to_failure_group(id, job_failed.into(), attempt_failed.into(), self.now)?;
        if job_failed {
            after.failure_group = Some(id);
        }
        Ok(())
    }

    /// Counts one job less in the group of a job, if it is in one.
    pub(super) fn leave_group(&mut self, job: &Job) -> Result<(), R::Error> {
        match job.failure_group {
            Some(id) => self.rows.leave_failure_group(id),
            None => Ok(()),
        }
    }

    /// The group of such failures, made if there is room for another one.
    fn group(&mut self, job_type: &JobType, same: &Sameness) -> Result<FailureGroupId, R::Error> {
        if let Some(id) = self.rows.failure_group(job_type, same)? {
            return Ok(id);
        }
        if self.rows.failure_groups_of(job_type)? < MAX_FAILURE_GROUPS {
            return self.rows.insert_failure_group(job_type, same, self.now);
        }
        if let Some(unused) = self.rows.unused_failure_group(job_type)? {
            self.rows.delete_failure_group(unused)?;
            return self.rows.insert_failure_group(job_type, same, self.now);
        }
        let other = Sameness::other();
        match self.rows.failure_group(job_type, &other)? {
            Some(id) => Ok(id),
            None => self.rows.insert_failure_group(job_type, &other, self.now),
        }
    }
}
